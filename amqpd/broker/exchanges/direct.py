"""The direct exchange: the routing key equals the binding key.

Owns the bindings by key. Must not know that the default exchange, a direct one as well, routes by queue name without
bindings (``routing.py``). Rules: AMQP 0-9-1 section 3.1.3.1.
"""

from collections.abc import Iterable
from typing import Unpack

from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.base import Exchange, Properties
from amqpd.broker.publication import Publication


class DirectExchange(Exchange):
    """Routes to the bindings whose key is the routing key."""

    type_name = "direct"

    def __init__(self, name: str, **properties: Unpack[Properties]) -> None:
        super().__init__(name, **properties)
        # Binding key -> its bindings, in order; a key without bindings is not kept.
        self._by_key: dict[str, dict[Binding, None]] = {}

    def match(self, routing_key: str, message: Publication | None) -> Iterable[Binding]:
        """The bindings under this key."""
        return self._by_key.get(routing_key, ())

    def _insert(self, binding: Binding) -> None:
        self._by_key.setdefault(binding.key, {})[binding] = None

    def _discard(self, binding: Binding) -> None:
        group = self._by_key.get(binding.key, {})
        group.pop(binding, None)
        if not group:
            self._by_key.pop(binding.key, None)
