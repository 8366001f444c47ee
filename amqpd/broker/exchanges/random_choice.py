"""The random exchanges: each message to one binding, whichever.

Chance is a hash of the message's number: even, not secret, and the same in every run of a test. Rules: RabbitMQ's
plug-in, and its local random exchange, which prefers queues of the node that the publisher is connected to: here all
are. Binding keys are kept, since they tell bindings apart, and ignored.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Unpack

from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.base import Exchange, Properties
from amqpd.broker.exchanges.hashing import hash64

if TYPE_CHECKING:
    from amqpd.broker.publication import Publication


class RandomExchange(Exchange):
    """Routes to one of its bindings."""

    type_name = "x-random"
    uses_message = True  # not that it reads it: no two answers are the same
    uses_keys = False

    def __init__(self, name: str, **properties: Unpack[Properties]) -> None:
        super().__init__(name, **properties)
        self._places: dict[Binding, int] = {}  # where each is in ``_bindings``
        self._bindings: list[Binding] = []
        self._count = 0  # of messages

    def match(self, routing_key: str, message: Publication | None) -> Iterable[Binding]:
        """Any one."""
        if not self._bindings:
            return ()
        self._count += 1
        return (self._bindings[hash64(f"{self.name} {self._count}") % len(self._bindings)],)

    def _insert(self, binding: Binding) -> None:
        if binding not in self._places:
            self._places[binding] = len(self._bindings)
            self._bindings.append(binding)

    def _discard(self, binding: Binding) -> None:
        place = self._places.pop(binding, None)
        if place is None:
            return
        last = self._bindings.pop()
        if last != binding:
            self._bindings[place] = last
            self._places[last] = place


class LocalRandomExchange(RandomExchange):
    """The same by another name."""

    type_name = "x-local-random"
