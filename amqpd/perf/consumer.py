"""A consumer: deliveries found in what was received, timed and checked; acks. Bytes in, bytes out; knows no socket.

What the stamp of a message is: producer.py.
"""
# HOT. One walk over the frames, a ledger entry and a histogram bucket a message, no object.
# Bench: docs/perf.md.
# Limits: a frame that is not whole is kept; WAITING_MAX messages wait for a consumer that takes its time.
# Twin: the plain client in tests/perf/test_consumer.py reads and counts the same.

from __future__ import annotations

from collections import deque
from typing import Final

from librt.strings import BytesWriter, read_i32_be, read_i64_be, write_i64_be
from mypy_extensions import i64

from amqpd.perf.histogram import Histogram
from amqpd.perf.ledger import Ledger
from amqpd.perf.receiver import Receiver

DELIVER: Final = 0x003C003C
STAMP_BYTES: Final = 16
ACK_HEAD: Final = b"\x01\x00\x01\x00\x00\x00\x0d\x00\x3c\x00\x50"  # up to the delivery tag
NS: Final = 1_000_000_000
DAY_NS: Final = 86_400 * NS
WAITING_MAX: Final = 1000
UNKNOWN: Final = -1  # a time
HALF_TURN: Final = 1 << 31  # of sequence numbers: what is further back than that is further on


class Tally:
    """What all consumers of a run count together."""

    def __init__(self, run: int) -> None:
        self.run: i64 = run & 0x7FFF
        self.consumed: i64 = 0
        self.consumed_at: i64 = 0  # the last
        self.latency = Histogram()  # from publish to delivery
        self.foreign: i64 = 0  # not published by this run
        self.duplicates: i64 = 0
        self.redelivered: i64 = 0
        self.reordered: i64 = 0
        self.faults: list[str] = []  # the first few duplicates and messages out of order

    def complain(self, what: str, queue: str, producer: i64, sequence: i64) -> None:
        if len(self.faults) < 5:
            self.faults.append(f"{what}: queue {queue!r}, message {sequence} of producer {producer}")


class Consumer(Receiver):
    """All that one connection consumes, from one queue. ``ledgers``: of that queue, by producer."""

    def __init__(
        self, tally: Tally, queue: str, ledgers: list[Ledger], *, ack_every: int, limit: int, autoack: bool
    ) -> None:
        super().__init__()
        self.tally = tally
        self.queue = queue
        self.ledgers: list[Ledger] = ledgers
        self.last: list[int] = [-1] * len(ledgers)  # by producer: the highest number seen
        self.ack_every: i64 = 0 if autoack else ack_every
        self.limit: i64 = limit
        self.consumed: i64 = 0
        self.unacked: i64 = 0  # consumed and not acked yet
        self.pace: i64 = 0  # nanoseconds that each message takes
        self.free_at: i64 = 0  # when it has consumed all that came
        self.waiting: deque[tuple[int, int, int]] = deque()  # what is to be consumed: (done at, tag, latency)
        self.tag: i64 = 0  # of the message at hand
        self.sent_at: i64 = UNKNOWN  # when it was published
        self.is_redelivered = False
        self.body_left: i64 = 0
        self.is_stamp_due = False
        self.writer = BytesWriter()  # acks

    @property
    def is_done(self) -> bool:
        """Whether it has consumed all that it should."""
        return self.limit > 0 and self.consumed >= self.limit

    @property
    def is_full(self) -> bool:
        """Whether so much waits for it that no more should be read."""
        return len(self.waiting) > WAITING_MAX

    def on_frame(self, data: bytes, p: i64, after: i64, now: i64) -> None:
        """A part of a delivery, or what else the broker says."""
        kind: i64 = i64(data[p])
        if kind == 3:
            size: i64 = after - p - 8
            if self.is_stamp_due:
                self.is_stamp_due = False
                self.check(data, p + 7, size, now)
            self.body_left -= size
            if self.body_left <= 0:
                self.take(now)
        elif kind == 2:
            self.body_left = read_i64_be(data, p + 11)
            self.is_stamp_due = True
            self.sent_at = UNKNOWN
            if self.body_left == 0:
                self.tally.foreign += 1
                self.take(now)
        elif kind == 1:
            if read_i32_be(data, p + 7) == DELIVER:
                at = p + 12 + i64(data[p + 11])  # behind the consumer tag
                self.tag = read_i64_be(data, at)
                self.is_redelivered = data[at + 8] & 1 == 1
            else:
                self.others.append(data[p:after])

    def check(self, data: bytes, p: i64, size: i64, now: i64) -> None:
        """The stamp at ``p``, if there is one: when it was published, and whether it should come now."""
        tally = self.tally
        if size < STAMP_BYTES:
            tally.foreign += 1
            return
        at = read_i64_be(data, p)
        word = read_i64_be(data, p + 8)
        if at < now - 365 * DAY_NS or at > now + DAY_NS:  # text, or anything else
            tally.foreign += 1
            return
        self.sent_at = at
        producer = (word >> 32) & 0xFFFF
        if (word >> 48) & 0xFFFF != tally.run or producer >= len(self.ledgers):
            tally.foreign += 1
            return
        last: i64 = self.last[producer]
        sequence = word & 0xFFFFFFFF
        sequence += ((last - sequence + HALF_TURN) >> 32) << 32  # four bytes of it are in the stamp
        if self.is_redelivered:
            tally.redelivered += 1
            self.ledgers[producer].note(sequence)
        elif not self.ledgers[producer].note(sequence):
            tally.duplicates += 1
            tally.complain("came twice", self.queue, producer, sequence)
        elif sequence < last:
            tally.reordered += 1
            tally.complain("came late", self.queue, producer, sequence)
        else:
            self.last[producer] = int(sequence)

    def take(self, now: i64) -> None:
        """The message at hand is whole."""
        pace = self.pace
        begins_at = now
        if self.free_at > now:
            begins_at = self.free_at
        latency: i64 = UNKNOWN
        if self.sent_at != UNKNOWN:
            latency = begins_at - self.sent_at
            if latency < 0:  # the clocks of two machines
                latency = 0
        if pace == 0 and not self.waiting:
            self.consume(self.tag, latency, now)
        else:
            self.free_at = begins_at + pace
            self.waiting.append((int(self.free_at), int(self.tag), int(latency)))

    def work(self, now: i64) -> None:
        """Consume what waits and is due."""
        waiting = self.waiting
        while waiting and waiting[0][0] <= now:
            _, tag, latency = waiting.popleft()
            self.consume(tag, latency, now)

    def consume(self, tag: i64, latency: i64, now: i64) -> None:
        """Count, time and ack a message, unless it is one more than wanted: the broker may have that again."""
        if self.limit > 0 and self.consumed >= self.limit:
            return
        self.consumed += 1
        self.tally.consumed += 1
        self.tally.consumed_at = now
        if latency != UNKNOWN:
            self.tally.latency.record(latency)
        if self.ack_every > 0:
            self.unacked += 1
            if self.unacked >= self.ack_every or self.consumed == self.limit:
                self.ack(tag)

    def ack(self, tag: i64) -> None:
        w = self.writer
        w.write(ACK_HEAD)
        write_i64_be(w, tag)
        w.append(1 if self.unacked > 1 else 0)
        w.append(0xCE)
        self.unacked = 0

    def take_output(self) -> bytes:
        """The acks that are due, handed out once."""
        if len(self.writer) == 0:
            return b""
        data = self.writer.getvalue()
        self.writer.truncate(0)
        return data
