"""The delayed message exchange: what has the header ``x-delay`` is routed so many milliseconds later, by another type.

Owns what a delay is, and what is kept of a delayed message. Must not know how time passes (``schedule.py``). Rules and
texts: RabbitMQ's plug-in of that name. As there, a message that is delayed is not returned as unroutable, and one that
had a delay is delivered with it negated. Persistent messages of a durable exchange survive a restart, and are confirmed
when they are on disk; the others wait in the scratch tables, so that neither take memory.
"""

from __future__ import annotations

import heapq
import itertools
import math
import re
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final, NamedTuple, Unpack

from amqpd import limits
from amqpd.broker import contents, tables
from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.base import Exchange, Properties
from amqpd.broker.exchanges.plain_types import PLAIN_TYPES
from amqpd.broker.exchanges.schedule import Schedule
from amqpd.broker.fields import INTEGER_KINDS, Field, Table
from amqpd.broker.ports import CLEAR, DELAYED, SCRATCH
from amqpd.broker.publication import Publication
from amqpd.errors import PreconditionFailed

if TYPE_CHECKING:
    from amqpd.broker.vhost import VirtualHost

DELAY: Final = "x-delay"
_PERSISTENT: Final = 1
_INT32_MIN: Final = -(1 << 31)
_NUMBER: Final = re.compile(r"[+-]?[0-9]{1,19}")
_ID: Final = re.compile(r"([0-9]{1,19})-([0-9]{1,19})")


class DelayedMessage(NamedTuple):
    """One that waits, as ``DelayedExchange.delayed`` shows it. ``id`` is its name for ``cancel``."""

    id: str
    due_ms: int  # since 1970
    routing_key: str
    body_bytes: int
    persistent: bool


class DelayedExchange(Exchange):
    """Routes as an exchange of the type in ``x-delayed-type`` does, when the time has come."""

    type_name = "x-delayed-message"
    uses_message = True

    def __init__(self, name: str, **properties: Unpack[Properties]) -> None:
        super().__init__(name, **properties)
        # How it routes. Duplicates are dropped here, before they wait.
        self._inner = _inner_type(self.arguments)(name, durable=self.durable, arguments=self.arguments)
        self.seen, self._inner.seen = self.seen or self._inner.seen, None
        self.uses_keys = self._inner.uses_keys
        self._schedules: dict[int, Schedule] = {}  # by table; there once it was started
        self._last_number = 0  # of its messages
        self._vhost: VirtualHost | None = None
        self._is_releasing = False  # what comes now is no message of a client, but one whose time has come

    # -- its life --

    @classmethod
    def check_arguments(cls, arguments: Table) -> None:
        """``x-delayed-type`` is the name of another type, which has a say as well."""
        super().check_arguments(arguments)
        _inner_type(arguments).check_arguments(arguments)

    def start(self, vhost: VirtualHost) -> None:
        is_restored = self.number != 0
        if not is_restored:
            self.number = vhost.take_number()
        super().start(vhost)
        self._vhost = vhost
        for table in (DELAYED, SCRATCH):
            self._schedules[table] = Schedule(table, self.number, vhost.turn, self._release)
        if is_restored:
            self._last_number = self._schedules[DELAYED].restore()
        self._inner.start(vhost)

    def on_deleted(self) -> None:
        super().on_deleted()
        for table, schedule in self._schedules.items():
            schedule.clear()
            schedule.journal.delete(CLEAR | table, schedule.prefix)
        self._inner.on_deleted()

    # -- as the other type does --

    def check_binding(self, key: str, arguments: Table) -> None:
        self._inner.check_binding(key, arguments)

    def on_bound(self, binding: Binding) -> None:
        self._inner.on_bound(binding)

    def match(self, routing_key: str, message: Publication | None) -> Iterable[Binding]:
        return self._inner.match(routing_key, message)

    def _insert(self, binding: Binding) -> None:
        self._inner.add(binding)

    def _discard(self, binding: Binding) -> None:
        self._inner.remove(binding)

    # -- messages --

    @property
    def keeps_messages(self) -> bool:
        return True

    @property
    def delayed_count(self) -> int:
        """How many messages wait."""
        return sum(schedule.count for schedule in self._schedules.values())

    def keep(self, message: Publication) -> bool:
        """Take what is to come later."""
        if not self._is_releasing:
            if super().keep(message):
                return True
            delay_ms = read_delay(message.headers.get(DELAY))
            if delay_ms:
                self._delay(message, delay_ms)
                return True
        return self._inner.keep(message)

    def _delay(self, message: Publication, delay_ms: int) -> None:
        negated = Field("I" if -delay_ms >= _INT32_MIN else "l", -delay_ms)
        content = contents.with_headers(message.content, {**message.headers, DELAY: negated})
        flags = _PERSISTENT if message.persistent else 0
        body = bytes([flags]) + message.channel.to_bytes(4, "big") + message.address + content
        schedule = self._schedules[DELAYED if self.durable and message.persistent else SCRATCH]
        self._last_number += 1
        ticket = schedule.add(schedule.key(schedule.turn.now_ms + delay_ms, self._last_number), body)
        if schedule.table == DELAYED:
            message.ticket = max(message.ticket, ticket)

    def _release(self, body: bytes) -> None:
        assert self._vhost is not None
        self._is_releasing = True
        try:
            message = _read(body)
            message.moved = message.persistent
            self._vhost.publish(message, self)
        finally:
            self._is_releasing = False

    # -- for operators --

    def delayed(self, limit: int) -> list[DelayedMessage]:
        """Those that are due first."""
        keys = ([(key, table) for key in schedule.first(limit)] for table, schedule in self._schedules.items())
        first = itertools.islice(heapq.merge(*keys), limit)
        found = [(key, self._schedules[table].find(key)) for key, table in first]
        return [_describe(key, body) for key, body in found if body is not None]

    def cancel(self, id_: str) -> int | None:
        """Delete one that waits; the ticket of that. None: there is none, or its time has come."""
        parts = _ID.fullmatch(id_)
        if parts is None:
            return None
        for schedule in self._schedules.values():
            if schedule.cancel(schedule.key(int(parts[1]), int(parts[2]))):
                return schedule.journal.ticket if schedule.table == DELAYED else 0
        return None


def read_delay(header: Field | None) -> int:
    """The delay in ms that ``x-delay`` asks for; 0 for none, and for what makes no sense."""
    if header is None:
        return 0
    kind, value = header
    delay = 0
    if kind in INTEGER_KINDS and isinstance(value, int):
        delay = value
    elif isinstance(value, float) and math.isfinite(value):
        delay = int(value)
    elif isinstance(value, str) and _NUMBER.fullmatch(value):
        delay = int(value)
    return delay if 0 < delay <= limits.DELAY_MAX_MS else 0


def _inner_type(arguments: Table) -> type[Exchange]:
    """Raises PreconditionFailed."""
    name = arguments.get("x-delayed-type")
    if name is not None and name.value == DelayedExchange.type_name:
        raise PreconditionFailed("Invalid argument, 'x-delayed-message' can't be used for 'x-delayed-type'")
    inner_type = PLAIN_TYPES.get(name.value) if name is not None and isinstance(name.value, str) else None
    if inner_type is None:
        raise PreconditionFailed("Invalid argument, 'x-delayed-type' must be an existing exchange type")
    return inner_type


def _read(body: bytes) -> Publication:
    """The message that waited: flags, channel, address, content."""
    at = 5
    names: list[str] = []
    for _ in range(2):
        end = at + 1 + body[at]
        names.append(tables.text_of(body[at + 1 : end]))
        at = end
    channel = int.from_bytes(body[1:5], "big")
    return Publication(names[0], names[1], body[at + 1 :], channel, persistent=body[0] == _PERSISTENT)


def _describe(key: bytes, body: bytes) -> DelayedMessage:
    message = _read(body)
    due_ms = int.from_bytes(key[4:12], "big")
    number = int.from_bytes(key[12:], "big")
    return DelayedMessage(
        f"{due_ms}-{number}", due_ms, message.routing_key, contents.body_size(message.content), message.persistent
    )
