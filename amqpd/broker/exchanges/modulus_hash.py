"""The modulus hash exchange: each message to the binding whose number is the hash of its routing key, modulo the number
of bindings.

Any binding that comes or goes moves most messages; where that matters there is the consistent hash exchange. Rules:
RabbitMQ's sharding plug-in. Binding keys are kept, since they tell bindings apart, and ignored; the bindings' order is
that of their names, so that a restart moves nothing.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable
from typing import TYPE_CHECKING, Unpack

from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.base import Exchange, Properties
from amqpd.broker.exchanges.hashing import hash64

if TYPE_CHECKING:
    from amqpd.broker.publication import Publication


class ModulusHashExchange(Exchange):
    """Routes to one of its bindings."""

    type_name = "x-modulus-hash"
    uses_keys = False

    def __init__(self, name: str, **properties: Unpack[Properties]) -> None:
        super().__init__(name, **properties)
        self._bindings: list[Binding] = []  # by name

    def match(self, routing_key: str, message: Publication | None) -> Iterable[Binding]:
        """The one."""
        bindings = self._bindings
        return (bindings[hash64(routing_key) % len(bindings)],) if bindings else ()

    def _insert(self, binding: Binding) -> None:
        place = self._place(binding)
        if self._bindings[place : place + 1] != [binding]:
            self._bindings.insert(place, binding)

    def _discard(self, binding: Binding) -> None:
        place = self._place(binding)
        if self._bindings[place : place + 1] == [binding]:
            del self._bindings[place]

    def _place(self, binding: Binding) -> int:
        return bisect.bisect_left(self._bindings, _name(binding), key=_name)


def _name(binding: Binding) -> tuple[str, bool, str, str]:
    return binding.destination, binding.to_queue, binding.key, repr(binding.identity)
