"""The fanout exchange: every message to every binding.

Owns its bindings and nothing else. Rules: AMQP 0-9-1 section 3.1.3.2; the binding key is kept, since it tells bindings
apart, and ignored.
"""

from collections.abc import Iterable
from typing import Unpack

from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.base import Exchange, Properties
from amqpd.broker.publication import Publication


class FanoutExchange(Exchange):
    """Routes to all of its bindings."""

    type_name = "fanout"

    def __init__(self, name: str, **properties: Unpack[Properties]) -> None:
        super().__init__(name, **properties)
        self._bindings: dict[Binding, None] = {}

    def match(self, routing_key: str, message: Publication | None) -> Iterable[Binding]:
        """All of them."""
        return self._bindings

    def _insert(self, binding: Binding) -> None:
        self._bindings[binding] = None

    def _discard(self, binding: Binding) -> None:
        self._bindings.pop(binding, None)
