"""What was published, confirmed, delivered and settled, as the clients know it, and which promises a delivery breaks.

A message is named by its producer and number; a number is published once, ever. Threads share a ledger: each producer
is advanced by one thread, marks of a message are single octets.
"""

import random
import struct
from collections import Counter
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

NAME: Final = struct.Struct(">IQ")
PERSISTENT: Final = b"\x10\x00\x02"
TRANSIENT: Final = b"\x10\x00\x01"
NAMED_PERSISTENT: Final = b"\x10\x80\x02\x0c"  # delivery mode and a message id of 12 octets
NAMED_TRANSIENT: Final = b"\x10\x80\x01\x0c"
FILL: Final = random.Random(0).randbytes(65536 + 4096)
SIZES: Final = (0, 5, 12, 16, 16, 16, 16, 40, 100, 100, 200, 300, 500, 1000, 1500, 2000, 4000, 5000, 9000, 40000, 65536)

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
    "start",
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

    def next_message(self) -> tuple[int, bytes, bytes]:
        """Number, properties and body of the next message, which counts as sent."""
        number = len(self.sent)
        self.sent.append(SENT)
        properties, body = self.content(number)
        return number, properties, body

    def content(self, number: int) -> tuple[bytes, bytes]:
        """Small bodies have no room for the name, which then is the message id."""
        size = SIZES[(number * 7919 + self.number * 104729) % len(SIZES)]
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


class Ledger:
    """See the module."""

    def __init__(self, producers: list[Producer], queues: tuple[str, ...]) -> None:
        self.producers = {producer.number: producer for producer in producers}
        self.marks: dict[str, dict[int, bytearray]] = {
            queue: {producer.number: bytearray(1) for producer in producers} for queue in queues
        }
        self.violations: Counter[str] = Counter(dict.fromkeys(KINDS, 0))
        self.examples: list[str] = []
        self.counts: Counter[str] = Counter()

    def violated(self, kind: str, words: str) -> None:
        assert kind in KINDS
        self.violations[kind] += 1
        if self.violations[kind] <= 5:
            self.examples.append(f"{kind}: {words}")

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
        if marks & SETTLED:
            self.violated("acked and redelivered", where)
        if marks & DELIVERED and not delivery.redelivered:
            self.violated("duplicate without the flag", where)
        if delivery.redelivered and not marks & DELIVERED and name[1] >= producer.fresh_from:
            self.violated("flagged, never delivered", where)
        if not producer.persistent and name[1] < producer.fresh_from:
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

    # -- between the runs of the broker --

    def on_restart(self) -> None:
        """It is another process now; transient messages are gone, what is older than this may come flagged."""
        for producer in self.producers.values():
            producer.fresh_from = len(producer.sent)

    def on_clean_restart(self) -> None:
        """Stopped in good order: only transient messages may be gone."""
        for producer in self.producers.values():
            if not producer.persistent:
                producer.fresh_from = len(producer.sent)

    def audit_drained(self) -> None:
        """Every queue was emptied, and all of that settled: what was confirmed must have been seen."""
        for producer in self.producers.values():
            for queue in producer.queues:
                self._audit_queue(producer, queue)
            for first, last in producer.transactions:
                self._audit_transaction(producer, first, last)
            producer.transactions.clear()
            for queue in producer.queues:
                marks = self.marks[queue][producer.number]
                marks[:] = bytes([DELIVERED | ACKED | SETTLED | RECOVERED]) * len(producer.sent)

    def _audit_queue(self, producer: Producer, queue: str) -> None:
        if not producer.persistent:
            return
        for number in range(1, len(producer.sent)):
            if producer.sent[number] == CONFIRMED and not self.marks_of(queue, producer.number, number):
                self.violated("confirmed and lost", f"queue {queue}, message {(producer.number, number)}")
                self.mark(queue, producer.number, number, DELIVERED)

    def _audit_transaction(self, producer: Producer, first: int, last: int) -> None:
        """All or nothing survives a crash. What consumers had seen before the crash may be gone, and proves nothing."""
        marks = [
            self.marks_of(queue, producer.number, number)
            for queue in producer.queues
            for number in range(first, last + 1)
        ]
        recovered = sum(1 for each in marks if each & RECOVERED)
        if recovered and 0 in marks:
            words = f"{recovered} are there, {marks.count(0)} are not"
            self.violated("half a transaction", f"messages {first} to {last} of {producer.number}: {words}")

    @property
    def is_clean(self) -> bool:
        return not any(self.violations.values())

    def table(self) -> str:
        rows = [*((name, self.counts[name]) for name in sorted(self.counts)), *self.violations.items()]
        return "\n".join([*(f"{name:<32}{count:>12,}" for name, count in rows), *self.examples])


def _name(delivery: Delivery) -> tuple[int, int]:
    is_named = len(delivery.properties) == 4 + NAME.size
    raw = delivery.properties[4:] if is_named else delivery.body[: NAME.size]
    if len(raw) != NAME.size:
        return (0, 0)
    producer, number = NAME.unpack(raw)
    return (producer, number)
