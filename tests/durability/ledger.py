"""What was published, confirmed, delivered and settled, as the clients know it, and which promises a delivery breaks.

A message is named by its producer and number; a number is published once, ever. Threads share a ledger: each producer
is advanced by one thread, marks of a message are single octets.
"""

import math
import random
import struct
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from tests.durability.peer import Delivery

# Of a published message.
SENT: Final = 1
CONFIRMED: Final = 2
# Of a message in one queue.
DELIVERED: Final = 1
ACKED: Final = 2  # the ack was sent
SETTLED: Final = 4  # something sent behind the ack is on disk, so the ack is
RECOVERED: Final = 8  # it was delivered by a later run of the broker than it was published to
SEEN: Final = 16  # in the audit that runs
OVER: Final = DELIVERED | ACKED | SETTLED | RECOVERED  # it was found to be gone: it must not come back

ON_DISK: Final = "acked and known to be on disk"

NAME: Final = struct.Struct(">IQ")
PERSISTENT: Final = b"\x10\x00\x02"
TRANSIENT: Final = b"\x10\x00\x01"
NAMED_PERSISTENT: Final = b"\x10\x80\x02\x0c"  # delivery mode and a message id of 12 octets
NAMED_TRANSIENT: Final = b"\x10\x80\x01\x0c"
MEBIBYTE: Final = 1 << 20
FILL: Final = random.Random(0).randbytes(MEBIBYTE + 4096)
SIZES: Final = (0, 1, 5, 12, 12, 16, 16, 16, 16, 16, 40, 40, 40, 80, 100, 100, 100, 150, 200, 200, 300, 500, 1000, 1500)
LARGE_EVERY: Final = 41  # about every so many messages is one of these
LARGE_SIZES: Final = (2000, 4000, 4096, 5000, 9000, 20_000, 40_000, 65_536)
HUGE_EVERY: Final = 2503
HUGE_SIZES: Final = (131_064, 300_000, MEBIBYTE)

KINDS: Final = (
    "confirmed and lost",
    "acked and redelivered",
    "phantom",
    "out of order",
    "duplicate without the flag",
    "flagged, never delivered",
    "transient came back",
    "half a transaction",
    "count is wrong",
    "topology",
    "broker failed",
)


@dataclass
class Producer:
    """A source of numbered messages that end in ``queues``."""

    number: int
    exchange: str
    key: str
    queues: tuple[str, ...]
    persistent: bool = True
    sent: bytearray = field(default_factory=lambda: bytearray(1))  # by number, the first is 1
    transactions: list[tuple[int, int]] = field(default_factory=list)  # first and last number, fate unknown
    fresh_from: int = 1  # the first number after the last kill: what is older may be flagged as redelivered
    run_from: int = 1  # the first number that the broker's present run could get

    def next_message(self) -> tuple[int, bytes, bytes]:
        """Number, properties and body of the next message, which counts as sent."""
        number = len(self.sent)
        self.sent.append(SENT)
        properties, body = self.content(number)
        return number, properties, body

    def content(self, number: int) -> tuple[bytes, bytes]:
        """Small bodies have no room for the name, which then is the message id."""
        size = _size(number * 7919 + self.number * 104729)
        name = NAME.pack(self.number, number)
        if size < NAME.size:
            return (NAMED_PERSISTENT if self.persistent else NAMED_TRANSIENT) + name, FILL[:size]
        at = number % 4096
        return PERSISTENT if self.persistent else TRANSIENT, name + FILL[at : at + size - NAME.size]

    def confirm(self, first: int, last: int) -> None:
        for number in range(first, last + 1):
            self.sent[number] = CONFIRMED


class Reader:
    """One consumer's view of its queue: what must ascend."""

    def __init__(self, queue: str, name: str = "drain", *, is_alone: bool = False) -> None:
        self.queue = queue
        self.name = name
        self.is_alone = is_alone  # it gets everything there is, so redelivered ones must be in order too
        self.newest: dict[int, int] = {}


@dataclass(slots=True)
class Excuse:
    """What the broker has reported as damaged in a queue, until the next audit."""

    missing: float = 0
    may_return: bool = False
    may_lose_flags: bool = False


class Ledger:
    """See the module. ``volatile``: queues that do not survive their broker."""

    def __init__(self, producers: list[Producer], queues: tuple[str, ...], volatile: tuple[str, ...] = ()) -> None:
        self.producers = {producer.number: producer for producer in producers}
        self.volatile = frozenset(volatile)
        self.marks: dict[str, dict[int, bytearray]] = {
            queue: {producer.number: bytearray(1) for producer in producers} for queue in (*queues, *volatile)
        }
        # By queue and producer: everything below this number is over.
        self.open_from = {queue: dict.fromkeys(self.producers, 1) for queue in queues}
        # Queue, producer and number of a message -> what was published in its stead in the transaction that acked it.
        self.moves: dict[tuple[str, int, int], list[tuple[Producer, int]]] = {}
        self.excuses: dict[str, Excuse] = {}
        self.was_excused = False  # since the last `forget`
        self.excused_names: set[str] = set()  # of exchanges, queues and bindings reported as damaged
        self.violations: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        self.examples: list[str] = []
        self.counts: Counter[str] = Counter()

    def violated(self, kind: str, words: str) -> None:
        assert kind in KINDS
        self.violations[kind] += 1
        if self.violations[kind] <= 5:
            self.examples.append(f"{kind}: {words}")

    def topology_differs(self, name: str, words: str) -> None:
        """Broken, unless the broker has reported it."""
        if not self.excused_names & {name, "*"}:
            self.violated("topology", words)

    def mark(self, queue: str, producer: int, number: int, bit: int) -> None:
        marks = self.marks[queue][producer]
        if number >= len(marks):
            marks.extend(bytes(number + 1 - len(marks)))
        marks[number] |= bit

    def marks_of(self, queue: str, producer: int, number: int) -> int:
        marks = self.marks[queue][producer]
        return marks[number] if number < len(marks) else 0

    def deliver(self, reader: Reader, delivery: Delivery) -> tuple[int, int] | None:
        """Judge a delivery; the name of the message, None for one that nobody published."""
        self.counts["delivered"] += 1
        name = _name(delivery)
        producer = self.producers.get(name[0])
        where = f"queue {reader.queue}, {reader.name}, message {name}, redelivered={delivery.redelivered}"
        if producer is None or not 0 < name[1] < len(producer.sent) or reader.queue not in producer.queues:
            self.violated("phantom", where)
            return None
        if producer.content(name[1]) != (delivery.properties, delivery.body):
            self.violated("phantom", f"{where}: other content than was published")
        marks = self.marks_of(reader.queue, *name)
        excuse = self.excuses.get(reader.queue, NOTHING)
        if marks & SETTLED and not excuse.may_return:
            self.violated("acked and redelivered", where)
        if marks & DELIVERED and not delivery.redelivered and not excuse.may_lose_flags:
            self.violated("duplicate without the flag", where)
        if delivery.redelivered and not marks & DELIVERED and name[1] >= producer.fresh_from:
            self.violated("flagged, never delivered", where)
        if not producer.persistent and name[1] < producer.fresh_from:
            self.violated("transient came back", where)
        if reader.queue in self.volatile and name[1] < producer.run_from:
            self.violated("transient came back", where)
        self._check_order(reader, name, delivery, where)
        self.mark(reader.queue, *name, DELIVERED | (RECOVERED if name[1] < producer.fresh_from else 0))
        return name

    def _check_order(self, reader: Reader, name: tuple[int, int], delivery: Delivery, where: str) -> None:
        if delivery.redelivered and not reader.is_alone:
            return  # what others had goes back to its place, which this reader may be past
        if name[1] <= reader.newest.get(name[0], 0):
            self.violated("out of order", f"{where} behind {reader.newest[name[0]]}")
        reader.newest[name[0]] = name[1]

    def mark_all(self, queue: str, producer: int, first: int, last: int, bits: int) -> None:
        """What was purged or deleted together."""
        for number in range(first, last + 1):
            self.mark(queue, producer, number, bits)

    # -- between the runs of the broker --

    def on_restart(self) -> None:
        """It is another process now; transient messages are gone, what is older than this may come flagged."""
        for producer in self.producers.values():
            producer.fresh_from = producer.run_from = len(producer.sent)

    def on_clean_restart(self) -> None:
        """Stopped in good order: only transient messages may be gone."""
        for producer in self.producers.values():
            producer.run_from = len(producer.sent)
            if not producer.persistent:
                producer.fresh_from = len(producer.sent)

    def forget(self) -> None:
        """The data directory was emptied: nothing is owed, and nothing may come back."""
        for producer in self.producers.values():
            for queue in self.open_from:
                self.marks[queue][producer.number][:] = bytes([OVER]) * len(producer.sent)
                self.open_from[queue][producer.number] = len(producer.sent)
            producer.transactions.clear()
        self.moves.clear()
        self.excuses.clear()
        self.excused_names.clear()
        self.was_excused = False
        self.on_restart()

    # -- damage that the broker reported --

    def excuse(
        self, queue: str, missing: float = math.inf, *, may_return: bool = False, may_lose_flags: bool = False
    ) -> None:
        """Until the next audit is over. ``may_lose_flags``: what comes again may come without the flag."""
        self.was_excused = True
        excuse = self.excuses.setdefault(queue, Excuse())
        excuse.missing += missing
        excuse.may_return |= may_return
        excuse.may_lose_flags |= may_lose_flags

    def excuse_topology(self, name: str) -> None:
        """An exchange, a queue or a binding (by the name of its queue) of this name may be missing."""
        self.was_excused = True
        self.excused_names.add(name)

    # -- audits --

    def begin_audit(self) -> None:
        """Nothing has been seen; an audit before this one may have been cut short."""
        for queue, numbers in self.open_from.items():
            for producer, start in numbers.items():
                marks = self.marks[queue][producer]
                marks[start:] = marks[start:].translate(UNSEEN)

    def audit(self, drained: Collection[str], peeked: Collection[str] = ()) -> None:
        """All that was in ``drained`` was taken and settled, all that is in ``peeked`` was looked at and put back:
        what was confirmed must have been seen."""
        missing: Counter[str] = Counter()
        for producer in self.producers.values():
            for queue in self._audited(producer, drained, peeked):
                missing[queue] += self._audit_queue(producer, queue, missing[queue])
            for first, last in producer.transactions:
                self._audit_transaction(producer, first, last)
            producer.transactions.clear()
        for (queue, number, message), attempts in self.moves.items():
            self._audit_move(queue, self.producers[number], message, attempts)
        self.moves.clear()
        for producer in self.producers.values():
            for queue in self._audited(producer, drained, peeked):
                self._close(producer, queue, is_drained=queue in drained)
        for queue in (*drained, *peeked):
            self.excuses.pop(queue, None)
        self.counts["missing, but reported"] += sum(missing.values())

    @staticmethod
    def _audited(producer: Producer, drained: Collection[str], peeked: Collection[str]) -> list[str]:
        return [queue for queue in producer.queues if queue in drained or queue in peeked]

    def _audit_queue(self, producer: Producer, queue: str, already: int) -> int:
        """How many are missing and excused."""
        if not producer.persistent:
            return 0
        excused = self.excuses.get(queue, NOTHING).missing - already
        missing = 0
        marks = self.marks[queue][producer.number]
        marks.extend(bytes(len(producer.sent) - len(marks)))
        for number in range(self.open_from[queue][producer.number], len(producer.sent)):
            if producer.sent[number] != CONFIRMED or marks[number] & (ACKED | SEEN):
                continue
            if missing < excused:
                missing += 1
            else:
                self.violated("confirmed and lost", f"queue {queue}, message {(producer.number, number)}")
        return missing

    def _audit_transaction(self, producer: Producer, first: int, last: int) -> None:
        """All or nothing survives a crash. What consumers had seen before the crash may be gone, and proves nothing."""
        marks = [
            self.marks_of(queue, producer.number, number)
            for queue in producer.queues
            if queue not in self.volatile and queue not in self.excuses
            for number in range(first, last + 1)
        ]
        recovered = sum(1 for each in marks if each & RECOVERED)
        if recovered and 0 in marks:
            words = f"{recovered} are there, {marks.count(0)} are not"
            self.violated("half a transaction", f"messages {first} to {last} of {producer.number}: {words}")

    def _audit_move(self, queue: str, producer: Producer, number: int, attempts: list[tuple[Producer, int]]) -> None:
        """A message and those that took its place in transactions: one of them is there."""
        places = [(queue, producer, number), *((to.queues[0], to, moved) for to, moved in attempts)]
        if any(place in self.excuses for place, _, _ in places):
            return
        found = sum(1 for place, source, each in places if self.marks_of(place, source.number, each) & SEEN)
        if found > 1 or (found == 0 and producer.sent[number] == CONFIRMED):
            words = f"message {(producer.number, number)} of queue {queue}, moved {len(attempts)} times"
            self.violated("half a transaction", f"{words}, is there {found} times")

    def _close(self, producer: Producer, queue: str, *, is_drained: bool) -> None:
        """What was not seen is over; what was seen is there for certain from now on, unless it was taken."""
        marks = self.marks[queue][producer.number]
        marks.extend(bytes(len(producer.sent) - len(marks)))
        start = self.open_from[queue][producer.number]
        oldest = len(producer.sent)
        for number in range(start, len(producer.sent)):
            if is_drained or not marks[number] & SEEN:
                marks[number] = OVER
                continue
            oldest = min(oldest, number)
            marks[number] = DELIVERED | RECOVERED
            producer.sent[number] = CONFIRMED
        self.open_from[queue][producer.number] = oldest

    @property
    def is_clean(self) -> bool:
        return not any(self.violations.values())

    def table(self) -> str:
        rows = [*((name, self.counts[name]) for name in sorted(self.counts)), *self.violations.items()]
        return "\n".join([*(f"{name:<32}{count:>12,}" for name, count in rows), *self.examples])


NOTHING: Final = Excuse()
UNSEEN: Final = bytes(octet & ~SEEN for octet in range(256))


def _size(number: int) -> int:
    """Mostly small, now and then large."""
    if number % HUGE_EVERY == 0:
        return HUGE_SIZES[number // HUGE_EVERY % len(HUGE_SIZES)]
    if number % LARGE_EVERY == 0:
        return LARGE_SIZES[number // LARGE_EVERY % len(LARGE_SIZES)]
    return SIZES[number % len(SIZES)]


def _name(delivery: Delivery) -> tuple[int, int]:
    is_named = len(delivery.properties) == 4 + NAME.size
    raw = delivery.properties[4:] if is_named else delivery.body[: NAME.size]
    if len(raw) != NAME.size:
        return (0, 0)
    producer, number = NAME.unpack(raw)
    return (producer, number)
