"""Which messages an exchange has seen lately, by their ids, so that it drops what a publisher sends again.

Any type of exchange does it with the argument ``x-message-deduplication`` (LavinMQ's): the id is the header that
``x-deduplication-header`` names, the one of that very name by default, else the property ``message_id``. The exchange
type of that name (RabbitMQ's plug-in rabbitmq-message-deduplication) always does, by the header only. A message without
an id is never a duplicate.

What died in a queue and comes here again is no duplicate, for it is nowhere else.

An id is known until ``x-cache-ttl`` ms are over (a header of that name has precedence), or ``x-cache-size`` ids came
after it. It is remembered once the message is in a queue, so that what was returned or refused can come again. Of a
durable exchange the ids of persistent messages are stored, unless ``x-cache-persistence`` is "memory", in the batch of
the message: after a crash neither is there without the other.

A row's key: 4 bytes number of the exchange | 12 bytes digest of the id; its value, sealed: 8 bytes until when, in ms, 0
for ever | 8 bytes number in order of arrival.
"""

from __future__ import annotations

import hashlib
import heapq
import logging
from typing import TYPE_CHECKING, Final

from amqpd import limits
from amqpd.broker import records, tables
from amqpd.broker.exchanges.terms import as_term
from amqpd.broker.fields import INTEGER_KINDS, Field, Table
from amqpd.broker.ports import CLEAR, SEEN
from amqpd.broker.timers import Deadline
from amqpd.broker.turn import Turn
from amqpd.errors import PreconditionFailed

if TYPE_CHECKING:
    from amqpd.broker.publication import Publication

logger = logging.getLogger("amqpd.seen")

ARGUMENT: Final = "x-message-deduplication"
HEADER: Final = "x-deduplication-header"
SIZE: Final = "x-cache-size"
TTL: Final = "x-cache-ttl"
PERSISTENCE: Final = "x-cache-persistence"
STALE_MAX: Final = 1024  # times of forgotten ids in the heap beside as many that count


class Seen(Deadline):
    """The ids of one exchange. ``is_type``: the exchange is of the type, not one with the argument."""

    def __init__(self, arguments: Table, *, is_type: bool, durable: bool) -> None:
        super().__init__()
        header = arguments.get(HEADER)
        self.header = header.value if not is_type and header is not None and isinstance(header.value, str) else HEADER
        self.uses_message_id = not is_type
        self.size = _number(arguments.get(SIZE)) or limits.SEEN_IDS
        self.ttl_ms = _number(arguments.get(TTL))
        persistence = arguments.get(PERSISTENCE)
        self.is_stored = durable and (persistence is None or persistence.value != "memory")
        self.prefix = b""  # of its keys in the store
        self.turn: Turn | None = None
        self.number = 0  # of ids seen
        self.ids: dict[bytes, tuple[int, bool]] = {}  # by key, in order: until when, and whether it is in the store
        self.times: list[tuple[int, bytes]] = []  # a heap of those that are not for ever
        self.dropped_count = 0

    def start(self, turn: Turn, number: int) -> None:
        """Take note of what the store has under ``number``."""
        self.turn = turn
        self.prefix = number.to_bytes(4, "big")
        for _, key, until_ms in sorted(self._read_rows(turn)):
            self._remember(key, until_ms, is_stored=True)
        self._set_deadline()

    def clear(self) -> None:
        """The exchange is gone."""
        assert self.turn is not None
        self.turn.timers.clear(self)
        if self.is_stored:
            self.turn.journal.delete(CLEAR | SEEN, self.prefix)

    def stops(self, message: Publication) -> bool:
        """Whether it is a duplicate, whose confirm waits for what it is one of."""
        assert self.turn is not None
        key = self._key(message)
        until_ms, _ = self.ids.get(key, (-1, False))
        if not key or until_ms < 0 or 0 < until_ms <= self.turn.now_ms:
            return False
        message.ticket = max(message.ticket, self.turn.journal.newest())
        self.dropped_count += 1
        return True

    def note(self, message: Publication) -> None:
        """Remember its id, and forget the oldest if they become too many."""
        assert self.turn is not None
        key = self._key(message)
        if not key:
            return
        ttl_ms = max(0, _number(message.headers.get(TTL))) or self.ttl_ms
        until_ms = int(self.turn.now_ms) + ttl_ms if ttl_ms else 0
        is_stored = self.is_stored and message.persistent
        self._forget(key)
        self._remember(key, until_ms, is_stored=is_stored)
        if is_stored:
            body = until_ms.to_bytes(8, "big") + self.number.to_bytes(8, "big")
            self.turn.journal.put(SEEN, key, records.seal(key, body))
        while len(self.ids) > self.size:
            self._forget(next(iter(self.ids)))
        self._set_deadline()

    def on_deadline(self, now_ms: int) -> None:
        """Forget those whose time is over, so many at once."""
        for _ in range(limits.SEEN_STEP):
            if not self.times or self.times[0][0] > now_ms:
                break
            until_ms, key = heapq.heappop(self.times)
            if self.ids.get(key, (0, False))[0] == until_ms:
                self._forget(key)
        self._set_deadline()

    # -- ids --

    def _key(self, message: Publication) -> bytes:
        """The key of its id; empty when it has none."""
        header = message.headers.get(self.header)
        identity = header.value if header is not None else message.find("message_id") if self.uses_message_id else None
        if identity in (None, ""):
            return b""
        return self.prefix + hashlib.blake2b(tables.bytes_of(as_term(identity)), digest_size=12).digest()

    def _remember(self, key: bytes, until_ms: int, *, is_stored: bool) -> None:
        self.number += 1
        self.ids[key] = (until_ms, is_stored)
        if until_ms:
            heapq.heappush(self.times, (until_ms, key))
            if len(self.times) > 2 * len(self.ids) + STALE_MAX:
                self.times = [(until, key) for key, (until, _) in self.ids.items() if until]
                heapq.heapify(self.times)

    def _forget(self, key: bytes) -> None:
        _, is_stored = self.ids.pop(key, (0, False))
        if is_stored:
            assert self.turn is not None
            self.turn.journal.delete(SEEN, key)

    def _set_deadline(self) -> None:
        assert self.turn is not None
        if self.times:
            self.turn.timers.set(self, self.times[0][0])

    def _read_rows(self, turn: Turn) -> list[tuple[int, bytes, int]]:
        """Number, key and time of each row."""
        rows: list[tuple[int, bytes, int]] = []
        for key, value in turn.journal.store.scan(SEEN, self.prefix):
            try:
                body = records.unseal(key, value)
            except records.CorruptRecord:
                logger.error("the id of a message is damaged, that message may come twice (key %s)", key.hex())
                turn.journal.delete(SEEN, key)
                continue
            rows.append((int.from_bytes(body[8:], "big"), key, int.from_bytes(body[:8], "big")))
        return rows


def is_asked_for(arguments: Table) -> bool:
    """Whether an exchange of any type is to do it."""
    wish = arguments.get(ARGUMENT)
    return wish is not None and wish.value is True


def check_arguments(arguments: Table, *, is_type: bool) -> None:
    """Raise PreconditionFailed for what makes no sense."""
    for name, highest in ((SIZE, limits.SEEN_IDS_MAX), (TTL, 1 << 53)):
        field = arguments.get(name)
        if field is None and (name == TTL or not is_type):
            continue
        if field is None or not 0 < _number(field) <= highest:
            raise PreconditionFailed(f"Invalid argument, '{name}' must be an integer between 1 and {highest}")
    persistence = arguments.get(PERSISTENCE)
    if persistence is not None and persistence.value not in ("memory", "disk"):
        raise PreconditionFailed(f"Invalid argument, '{PERSISTENCE}' must be either 'memory' or 'disk'")


def _number(field: Field | None) -> int:
    """A whole number, 0 for what is none."""
    return field.value if field is not None and field.kind in INTEGER_KINDS and isinstance(field.value, int) else 0
