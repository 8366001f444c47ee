"""Messages that wait for their time: rows of one table of the store, in the order in which they are due.

Only the keys of the nearest are known here, ``limits.SCHEDULE_KEYS`` or so of them; the others, and what the messages
are, stay in the store until they are due, so that a million of them cost no memory. A message that is due leaves with
the batch that holds what it became: after a crash it is either still here, or where it went.

A row's key: 4 bytes number of the exchange | 8 bytes when it is due, in ms | 8 bytes number of the message; its value
is sealed.
"""

from __future__ import annotations

import bisect
import logging
from collections import deque
from collections.abc import Callable
from typing import Final

from amqpd import limits
from amqpd.broker import records
from amqpd.broker.ports import QUARANTINE, Fetcher
from amqpd.broker.timers import Deadline
from amqpd.broker.turn import Turn

logger = logging.getLogger("amqpd.schedule")

PAUSE_MS: Final = 10  # while the store is behind
KEYS_AT_ONCE: Final = 65_536  # counted at the start
NEVER: Final = 1 << 62  # the ticket of a deletion that is to come

Release = Callable[[bytes], None]


class Schedule(Fetcher):
    """The rows under ``number`` in ``table``; ``release`` gets what was added, when it is due."""

    def __init__(self, table: int, number: int, turn: Turn, release: Release) -> None:
        self.table = table
        self.prefix = number.to_bytes(4, "big")
        self.turn = turn
        self.journal = turn.journal
        self.release = release
        self.count = 0
        self.near: list[tuple[bytes, int]] = []  # keys, and sizes of values: all that are before ``far``
        self.far: bytes | None = None  # where the keys begin that only the store knows; None: there are none
        self.fresh: dict[bytes, bytes] = {}  # rows that may not be in the store yet
        self.gone: dict[bytes, int] = {}  # keys that may still be in the store, and the ticket of their deletion
        self.unsettled: deque[tuple[int, bytes]] = deque()  # both in order: the ticket of what was done to a key
        self.leaving: list[tuple[bytes, bytes | None]] = []  # due: keys, and the values that need not be read
        self.alarm = _Alarm(self)

    def restore(self) -> int:
        """Take note of what the store has, of which only keys are read; the highest number there is."""
        highest = bytes(8)
        first = self.prefix
        is_more = True
        while is_more:
            found = self.journal.store.range(self.table, first, KEYS_AT_ONCE)
            numbers = [key[12:] for key, _ in found if key.startswith(self.prefix)]
            highest = max([highest, *numbers])
            self.count += len(numbers)
            is_more = len(numbers) == KEYS_AT_ONCE
            first = found[-1][0] + b"\0" if is_more else b""
        if self.count:
            self.far = self.prefix
            self._set_alarm()
        return int.from_bytes(highest, "big")

    def clear(self) -> None:
        """All are gone, and nothing is due any more."""
        self.turn.timers.clear(self.alarm)
        self.near.clear()
        self.fresh.clear()
        self.leaving.clear()
        self.far = None
        self.count = 0

    # -- one message --

    def key(self, due_ms: int, number: int) -> bytes:
        return self.prefix + due_ms.to_bytes(8, "big") + number.to_bytes(8, "big")

    def add(self, key: bytes, body: bytes) -> int:
        """Keep ``body`` until it is time; the ticket that holds it."""
        self._settle()
        value = records.seal(key, body)
        ticket = self.journal.put(self.table, key, value)
        self.journal.pending_bytes += len(value) + limits.MESSAGE_OVERHEAD_BYTES
        self.fresh[key] = value
        self.unsettled.append((ticket, key))
        self.count += 1
        if self.far is None or key < self.far:
            bisect.insort(self.near, (key, len(value)))
            if len(self.near) > 2 * limits.SCHEDULE_KEYS:
                self.far = self.near[limits.SCHEDULE_KEYS][0]
                del self.near[limits.SCHEDULE_KEYS :]
            self._set_alarm()
        return ticket

    def cancel(self, key: bytes) -> bool:
        """Forget one that is not due yet; False when there is none."""
        if self.find(key) is None:
            return False
        at = bisect.bisect_left(self.near, (key,))
        if at < len(self.near) and self.near[at][0] == key:
            del self.near[at]
        self._delete(key)
        self._set_alarm()
        return True

    def find(self, key: bytes) -> bytes | None:
        """What was added under this key; None when it is not here."""
        self._settle()
        if key in self.gone or not key.startswith(self.prefix):
            return None
        value = self.fresh.get(key) or self.journal.store.read(self.table, key)
        return None if value is None else _unseal(key, value)

    def first(self, count: int) -> list[bytes]:
        """The keys of those that are due first."""
        keys = [key for key, _ in self.near[:count]]
        if len(keys) < count and self.far is not None:
            keys += [key for key, _ in self._range(self.far, count)[0][: count - len(keys)]]
        return keys

    # -- time --

    def on_due(self, now_ms: int) -> None:
        """Let go of what is due, as much as one step may; the next step is the next turn's."""
        if self.leaving:
            return
        if self.journal.is_overloaded():
            self.turn.timers.set(self.alarm, now_ms + PAUSE_MS)
            return
        self._settle()
        count = self._count_due(now_ms)
        self.leaving = [(key, self.fresh.get(key)) for key, _ in self.near[:count]]
        del self.near[:count]
        self.gone.update((key, NEVER) for key, _ in self.leaving)
        unread = [(self.table, key) for key, value in self.leaving if value is None]
        if unread:
            self.journal.fetch(self, unread)
        else:
            self._leave([])

    def on_fetched(self, number: int, values: list[bytes | None]) -> None:
        self._leave(values)

    def _count_due(self, now_ms: int) -> int:
        """How many of the nearest are due, and few enough for one step."""
        end = self.prefix + (now_ms + 1).to_bytes(8, "big")
        size = 0
        for at, (key, value_size) in enumerate(self.near):
            size += value_size + limits.MESSAGE_OVERHEAD_BYTES
            if key >= end or (at and size > limits.SCHEDULE_STEP_BYTES):
                return at
        return len(self.near)

    def _leave(self, values: list[bytes | None]) -> None:
        leaving = self.leaving
        self.leaving = []
        read = iter(values)
        for key, value in leaving:
            self._let_go(key, value or next(read))
        self._set_alarm()

    def _let_go(self, key: bytes, value: bytes | None) -> None:
        body = None if value is None else _unseal(key, value)
        if body is not None:
            self.release(body)
        elif value is not None:
            logger.error("a delayed message is damaged: it is in quarantine (key %s)", key.hex())
            self.journal.put(QUARANTINE, key, value)
        else:
            logger.error("a delayed message is lost (key %s)", key.hex())
        self._delete(key)

    def _delete(self, key: bytes) -> None:
        ticket = self.gone[key] = self.journal.delete(self.table, key)
        self.unsettled.append((ticket, key))
        self.fresh.pop(key, None)
        self.count -= 1

    def _set_alarm(self) -> None:
        """For the one that is due first."""
        if self.leaving:
            return
        while not self.near and self.far is not None:
            self.near, self.far = self._range(self.far, limits.SCHEDULE_KEYS)
        if self.near:
            self.turn.timers.set(self.alarm, int.from_bytes(self.near[0][0][4:12], "big"))
        else:
            self.turn.timers.clear(self.alarm)

    # -- the store --

    def _range(self, first: bytes, count: int) -> tuple[list[tuple[bytes, int]], bytes | None]:
        """The next keys from ``first`` on, with sizes, and where those behind them begin, None when there are none."""
        self._settle()
        found = self.journal.store.range(self.table, first, count)
        end = found[-1][0] + b"\0" if len(found) == count and found[-1][0].startswith(self.prefix) else None
        sizes = {key: size for key, size in found if key.startswith(self.prefix) and key not in self.gone}
        for key, value in self.fresh.items():
            if key >= first and (end is None or key < end):
                sizes[key] = len(value)
        return sorted(sizes.items()), end

    def _settle(self) -> None:
        """Forget about rows that are durable, or durably gone."""
        while self.unsettled and self.unsettled[0][0] <= self.journal.durable:
            ticket, key = self.unsettled.popleft()
            self.fresh.pop(key, None)
            if self.gone.get(key) == ticket:
                del self.gone[key]


class _Alarm(Deadline):
    def __init__(self, schedule: Schedule) -> None:
        super().__init__()
        self._schedule = schedule

    def on_deadline(self, now_ms: int) -> None:
        self._schedule.on_due(now_ms)


def _unseal(key: bytes, value: bytes) -> bytes | None:
    """What was sealed; None when more than one bit of it was flipped."""
    try:
        return records.unseal(key, value)
    except records.CorruptRecord:
        mended = records.repair(key, value)
        return None if mended is None else mended[1]
