"""What every exchange type is.

Owns an exchange's own attributes and the record of its bindings to other exchanges. Must not know queues, other
exchanges or how a message walks between them (``routing.py``), nor which type this is. Rules: AMQP 0-9-1 section 3.1
(exchanges); ``alternate-exchange``: RabbitMQ, Alternate Exchanges.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import ClassVar

from amqpd.broker.bindings import Binding
from amqpd.broker.fields import Table
from amqpd.broker.publication import Publication


class Exchange(ABC):
    """A name that routes. A type overrides the two private methods, ``match`` and, if it must, ``check_binding``."""

    type_name: ClassVar[str]
    # Whether ``match`` reads more than the routing key; if it does not, its answers can be kept by that.
    uses_message: ClassVar[bool] = False

    def __init__(
        self,
        name: str,
        *,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Table | None = None,
    ) -> None:
        self.name = name
        self.durable = durable
        self.auto_delete = auto_delete
        self.internal = internal
        self.arguments: Table = {} if arguments is None else arguments
        # Those of its bindings that lead to exchanges, in order: what routing needs to see how far a message may go.
        self.exchange_bindings: dict[Binding, None] = {}

    @property
    def alternate(self) -> str | None:
        """The exchange that gets what finds no destination here."""
        kind, value = self.arguments.get("alternate-exchange", (None, None))
        return value if kind == "S" and isinstance(value, str) else None

    def check_binding(self, key: str, arguments: Table) -> None:
        """Raise if this type cannot have such a binding. Asked when binding, not when unbinding."""

    def add(self, binding: Binding) -> None:
        """Route by this binding from now on; adding it twice changes nothing."""
        if not binding.to_queue:
            self.exchange_bindings[binding] = None
        self._insert(binding)

    def remove(self, binding: Binding) -> None:
        """Forget this binding; nothing happens if it is not there."""
        self.exchange_bindings.pop(binding, None)
        self._discard(binding)

    @abstractmethod
    def match(self, routing_key: str, message: Publication | None) -> Iterable[Binding]:
        """The bindings that a message satisfies, each once. To be read before the exchange changes again.

        ``message`` may be None only where ``uses_message`` is False.
        """

    @abstractmethod
    def _insert(self, binding: Binding) -> None: ...

    @abstractmethod
    def _discard(self, binding: Binding) -> None: ...
