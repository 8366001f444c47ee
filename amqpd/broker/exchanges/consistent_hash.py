"""The consistent hash exchange: each message to one binding, the same for the same hash, shares by weight.

A binding key is the binding's weight. What is hashed is the routing key, or what the arguments ``hash-header`` or
``hash-property`` name; messages without it have the same hash, all of them. Rules and texts: RabbitMQ's plug-in of that
name. Which hash goes where is our own: weighted rendezvous hashing, by which a binding that goes or comes moves its own
share and nothing else, and a restart moves nothing.

All hashes fall into ``PAGES`` times ``SLOTS`` slots. On each page every binding knocks at slots by chance, as often as
its weight says, and who knocks first at a slot has it: a race in which none of the others matters.

Bounds: a weight is a factor and costs nothing, however large. (A ring with a place for each unit of weight is as large
as its weights: CVE-2026-67219.) A page is filled when the first message comes to it; that asks every binding once.
"""

from __future__ import annotations

import heapq
import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, Unpack

from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.base import Exchange, Properties
from amqpd.broker.exchanges.hashing import HASH_MAX, hash64
from amqpd.broker.exchanges.terms import as_term
from amqpd.broker.fields import Field, Table
from amqpd.errors import PreconditionFailed

if TYPE_CHECKING:
    from amqpd.broker.publication import Publication

PAGES: Final = 1024
SLOTS: Final = 64  # of a page; all in all so many that shares are exact to a percent or so
PROPERTIES: Final = ("correlation_id", "message_id", "timestamp")
_WEIGHT: Final = re.compile(r"[+-]?[0-9]+")


class ConsistentHashExchange(Exchange):
    """Routes to one of its bindings."""

    type_name = "x-consistent-hash"
    uses_keys = False

    def __init__(self, name: str, **properties: Unpack[Properties]) -> None:
        super().__init__(name, **properties)
        self._header = _text(self.arguments.get("hash-header"))
        self._property = _text(self.arguments.get("hash-property"))
        self.uses_message = self._header is not None or self._property is not None
        self._weights: dict[Binding, float] = {}
        self._pages: dict[int, dict[int, Binding]] = {}  # owners by slot, where one was asked for since a change

    @classmethod
    def check_arguments(cls, arguments: Table) -> None:
        """One of the two at most, and a property that is there."""
        super().check_arguments(arguments)
        header, hashed = arguments.get("hash-header"), arguments.get("hash-property")
        if header is not None and hashed is not None:
            raise PreconditionFailed("hash-header and hash-property are mutually exclusive")
        if header is not None and header.kind != "S":
            raise PreconditionFailed(f"Invalid argument {as_term(header.value)}, 'hash-header' must be a string")
        if hashed is not None and hashed.value not in PROPERTIES:
            shown = hashed.value if isinstance(hashed.value, str) else as_term(hashed.value)
            raise PreconditionFailed(f"Unsupported property: {shown}")

    def check_binding(self, key: str, arguments: Table) -> None:
        """A whole number above 0."""
        if not _WEIGHT.fullmatch(key):
            raise PreconditionFailed(f"The binding key must be an integer: {as_term(key)}")
        if int(key) < 1:
            raise PreconditionFailed("The binding key must be greater than 0")

    def match(self, routing_key: str, message: Publication | None) -> Iterable[Binding]:
        """The binding that owns the message's slot."""
        if not self._weights:
            return ()
        slot, page = divmod(hash64(self._hashed(routing_key, message)) % (SLOTS * PAGES), PAGES)
        owners = self._pages.get(page)
        if owners is None:
            owners = self._pages[page] = self._owners(page)
        return (owners[slot],)

    def _hashed(self, routing_key: str, message: Publication | None) -> str:
        if message is None or not self.uses_message:
            return routing_key
        if self._header is not None:
            header = message.headers.get(self._header)
            return "" if header is None else str(header.value)
        assert self._property is not None
        return message.find(self._property) or ""

    def _owners(self, page: int) -> dict[int, Binding]:
        """Who knocks first at each slot."""
        owners: dict[int, Binding] = {}
        bindings = list(self._weights)
        knocks = [self._knock(page, bindings, number, 0, 0.0) for number in range(len(bindings))]
        heapq.heapify(knocks)
        while len(owners) < SLOTS:
            time, slot, number, count = knocks[0]
            owners.setdefault(slot, bindings[number])
            heapq.heapreplace(knocks, self._knock(page, bindings, number, count + 1, time))
        return owners

    def _knock(
        self, page: int, bindings: list[Binding], number: int, count: int, last: float
    ) -> tuple[float, int, int, int]:
        """When a binding knocks again and where, its number and count: a Poisson process of the weight's rate."""
        binding = bindings[number]
        # Not the binding key: a queue that is bound twice has the larger of both weights.
        bits = hash64(binding.destination, b"%d %d %d" % (binding.to_queue, page, count))
        pause = -math.log((bits // SLOTS + 1) / (HASH_MAX // SLOTS)) / self._weights[binding]
        return last + pause, bits % SLOTS, number, count

    def _insert(self, binding: Binding) -> None:
        self._weights[binding] = float(binding.key)
        self._pages.clear()

    def _discard(self, binding: Binding) -> None:
        self._weights.pop(binding, None)
        self._pages.clear()


def _text(argument: Field | None) -> str | None:
    return argument.value if argument is not None and isinstance(argument.value, str) else None
