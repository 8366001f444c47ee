"""What every exchange type is.

Owns an exchange's own attributes and the record of its bindings to other exchanges. Must not know queues, other
exchanges or how a message walks between them (``routing.py``), nor which type this is. Rules: AMQP 0-9-1 section 3.1
(exchanges); ``alternate-exchange``: RabbitMQ, Alternate Exchanges.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar, TypedDict

from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges import seen
from amqpd.broker.exchanges.seen import Seen
from amqpd.broker.fields import Table

if TYPE_CHECKING:
    from amqpd.broker.publication import Publication
    from amqpd.broker.vhost import VirtualHost


class Properties(TypedDict, total=False):
    """What an exchange is declared with beside its name; what is left out is False or empty."""

    durable: bool
    auto_delete: bool
    internal: bool
    arguments: Table | None


class Exchange(ABC):
    """A name that routes. A type overrides the two private methods, ``match`` and, where it has reason to, others."""

    type_name: ClassVar[str]
    # Whether ``match`` reads more than the routing key; if it does not, its answers can be kept by that.
    uses_message: bool = False
    # Whether the type drops messages that came already; any exchange does with the argument (``seen.py``).
    deduplicates: ClassVar[bool] = False
    # Whether other routing keys of a message (CC, BCC) may match other bindings.
    uses_keys: bool = True

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
        self.policy: dict[str, Any] = {}  # what the policy that applies says
        self.number = 0  # in the keys of what it has in the store; 0: it has nothing there
        # Which messages came already; None unless it drops those that come again.
        self.seen = self._make_seen()
        # Those of its bindings that lead to exchanges, in order: what routing needs to see how far a message may go.
        self.exchange_bindings: dict[Binding, None] = {}

    # -- its life: a type that keeps nothing has no part in it --

    @classmethod
    def check_arguments(cls, arguments: Table) -> None:
        """Raise PreconditionFailed if no exchange of this type can have them. Asked when one is declared."""
        if cls.deduplicates or seen.is_asked_for(arguments):
            seen.check_arguments(arguments, is_type=cls.deduplicates)

    def _make_seen(self) -> Seen | None:
        if self.deduplicates or seen.is_asked_for(self.arguments):
            return Seen(self.arguments, is_type=self.deduplicates, durable=self.durable)
        return None

    def start(self, vhost: VirtualHost) -> None:
        """It was declared, or restored."""
        if self.seen is not None:
            self.number = self.number or vhost.take_number()
            self.seen.start(vhost.turn, self.number)

    def on_deleted(self) -> None:
        """It is gone, and so is what it has in the store."""
        if self.seen is not None:
            self.seen.clear()

    # -- bindings --

    @property
    def alternate(self) -> str | None:
        """The exchange that gets what finds no destination here: by argument, or else by policy."""
        kind, value = self.arguments.get("alternate-exchange", (None, None))
        name = value if kind == "S" else self.policy.get("alternate-exchange")
        return name if isinstance(name, str) else None

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

    def on_bound(self, binding: Binding) -> None:
        """A client made this binding, which is there now."""

    # -- messages --

    @property
    def keeps_messages(self) -> bool:
        """Whether ``keep`` wants to see every message."""
        return self.seen is not None

    def keep(self, message: Publication) -> bool:
        """Look at a message before it is matched. True: it goes no further for now."""
        if self.seen is None or message.is_dead:
            return False
        if self.seen.stops(message):
            return True
        message.passed.append(self)
        return False

    def note(self, message: Publication) -> None:
        """A message that passed is in a queue, or kept: from now on there may be duplicates of it."""
        assert self.seen is not None
        self.seen.note(message)

    @abstractmethod
    def match(self, routing_key: str, message: Publication | None) -> Iterable[Binding]:
        """The bindings that a message satisfies, each once. To be read before the exchange changes again.

        ``message`` may be None only where ``uses_message`` is False.
        """

    @abstractmethod
    def _insert(self, binding: Binding) -> None: ...

    @abstractmethod
    def _discard(self, binding: Binding) -> None: ...
