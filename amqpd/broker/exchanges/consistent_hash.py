"""The consistent hash exchange: each message to one binding, the same for the same hash, shares by weight.

A binding key is the binding's weight. What is hashed is the routing key, or what the arguments ``hash-header`` or
``hash-property`` name; messages without it have the same hash, all of them. Rules and texts: RabbitMQ's plug-in of that
name. Which hash goes where is our own: weighted rendezvous hashing, by which a binding that goes or comes moves its own
share and nothing else, and a restart moves nothing.

Bounds: a weight is a factor and costs nothing, however large. (A ring with a place for each unit of weight is as large
as its weights: CVE-2026-67219.) Choosing asks every binding, so it is done once for each of ``SLOTS`` parts of all
hashes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.base import Exchange
from amqpd.broker.exchanges.hashing import HASH_MAX, hash64
from amqpd.broker.exchanges.terms import as_term
from amqpd.broker.fields import Field, Table
from amqpd.errors import PreconditionFailed

if TYPE_CHECKING:
    from amqpd.broker.publication import Publication

SLOTS: Final = 65_536  # parts of all hashes: shares are exact to a percent or so
PROPERTIES: Final = ("correlation_id", "message_id", "timestamp")
_WEIGHT: Final = re.compile(r"[+-]?[0-9]+")


class ConsistentHashExchange(Exchange):
    """Routes to one of its bindings."""

    type_name = "x-consistent-hash"
    uses_keys = False

    def __init__(
        self,
        name: str,
        *,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Table | None = None,
    ) -> None:
        super().__init__(name, durable=durable, auto_delete=auto_delete, internal=internal, arguments=arguments)
        self._header = _text(self.arguments.get("hash-header"))
        self._property = _text(self.arguments.get("hash-property"))
        self.uses_message = self._header is not None or self._property is not None
        self._weights: dict[Binding, float] = {}
        self._owners: dict[int, Binding] = {}  # by slot, of those that were asked for since the bindings changed

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
        """The binding that owns the message's hash."""
        if not self._weights:
            return ()
        slot = hash64(self._hashed(routing_key, message)) % SLOTS
        owner = self._owners.get(slot)
        if owner is None:
            owner = self._owners[slot] = max(self._weights, key=lambda binding: self._score(binding, slot))
        return (owner,)

    def _hashed(self, routing_key: str, message: Publication | None) -> str:
        if message is None or not self.uses_message:
            return routing_key
        if self._header is not None:
            header = message.headers.get(self._header)
            return "" if header is None else str(header.value)
        assert self._property is not None
        return message.find(self._property) or ""

    def _score(self, binding: Binding, slot: int) -> float:
        """An exponential variate with the weight as its rate, negated: the first of several is each with the chance of
        its share."""
        # Not the binding key: a queue that is bound twice has the larger of both weights.
        seed = b"%d%d" % (binding.to_queue, slot)
        return math.log((hash64(binding.destination, seed) + 1) / HASH_MAX) / self._weights[binding]

    def _insert(self, binding: Binding) -> None:
        self._weights[binding] = float(binding.key)
        self._owners.clear()

    def _discard(self, binding: Binding) -> None:
        self._weights.pop(binding, None)
        self._owners.clear()


def _text(argument: Field | None) -> str | None:
    return argument.value if argument is not None and isinstance(argument.value, str) else None
