"""A producer: publishes encoded in batches, confirms counted and timed. Bytes in, bytes out; knows no socket.

The first 16 bytes of a body are the stamp: when it was published (nanoseconds since 1970, 8 bytes), the number of this
run (2 bytes), of the producer (2) and of the message among the producer's own (4), from 0 on.
"""
# HOT. Four writes a publish, one histogram bucket a confirm, no object a message.
# Bench: docs/perf.md.
# Limits: BATCH_BYTES encoded at a time; confirms are remembered for a window's length.
# Twin: the plain client in tests/perf/test_producer.py reads what is written here.

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from librt.strings import BytesWriter, read_i32_be, read_i64_be, write_i64_be
from mypy_extensions import i64

from amqpd.perf.histogram import Histogram
from amqpd.perf.receiver import Receiver

if TYPE_CHECKING:
    from amqpd.perf.publish import Publish

ACK: Final = 0x003C0050
NACK: Final = 0x003C0078
RETURN: Final = 0x003C0032
BATCH_BYTES: Final = 65536
NS: Final = 1_000_000_000
BURST_S: Final = 1.0  # of its rate: what a producer that was held up catches up with


class WrongConfirm(Exception):
    """The broker confirms what it had confirmed, or what nobody published."""


class Producer(Receiver):
    """All that one connection publishes."""

    def __init__(self, number: int, run: int, *, window: int, limit: int, publishes: list[Publish]) -> None:
        super().__init__()
        self.number = number
        self.word: i64 = ((run & 0x7FFF) << 48) | (number << 32)  # the second half of a stamp, but for the number
        self.window: i64 = window
        self.limit: i64 = limit
        self.publishes: list[Publish] = publishes  # in turn
        self.published: i64 = 0
        self.published_at: i64 = 0  # the last
        self.confirmed: i64 = 0
        self.nacked: i64 = 0
        self.returned: i64 = 0
        self.latency = Histogram()  # from publish to confirm
        self.oldest: i64 = 1  # the lowest delivery tag without a confirm; the next one is published + 1
        self.sent_at: list[int] = [0] * window  # by tag modulo window; 0 once confirmed
        self.credit = 1.0  # publishes that its rate allows
        self.credited_at: i64 = 0
        self.is_blocked = False  # connection.blocked
        self.writer = BytesWriter()

    @property
    def unconfirmed(self) -> int:
        return int(self.published - self.confirmed - self.nacked) if self.window else 0

    @property
    def is_done(self) -> bool:
        """Whether it has published all that it should."""
        return self.limit > 0 and self.published >= self.limit

    def allowed(self, now: i64, rate: float) -> i64:
        """How many it may publish now, at ``rate`` messages a second; 0 is as fast as can be."""
        count: i64 = 1 << 30
        if rate > 0.0:
            self.credit += float(now - self.credited_at) / NS * rate
            self.credit = min(self.credit, 1.0 + rate * BURST_S)
            count = int(self.credit)
        self.credited_at = now
        if self.limit > 0 and self.limit - self.published < count:
            count = self.limit - self.published
        if self.window > 0 and self.oldest + self.window - self.published - 1 < count:
            count = self.oldest + self.window - self.published - 1
        return 0 if self.is_blocked else count

    def encode(self, count: i64, now: i64) -> bytes:
        """So many publishes, or as many as make a batch."""
        w = self.writer
        publishes = self.publishes
        kinds: i64 = len(publishes)
        window = self.window
        sequence = self.published
        end = sequence + count
        while sequence < end and len(w) < BATCH_BYTES:
            publish = publishes[sequence % kinds] if kinds > 1 else publishes[0]
            w.write(publish.head)
            write_i64_be(w, now)
            write_i64_be(w, self.word | (sequence & 0xFFFFFFFF))
            w.write(publish.tail)
            sequence += 1
            if window > 0:
                self.sent_at[sequence % window] = int(now)
        self.credit -= float(sequence - self.published)
        self.published = sequence
        self.published_at = now
        data = w.getvalue()
        if len(data) > 2 * BATCH_BYTES:
            self.writer = BytesWriter()
        else:
            w.truncate(0)
        return data

    def on_frame(self, data: bytes, p: i64, after: i64, now: i64) -> None:
        """A confirm, a return, or what else the broker says. Raises WrongConfirm."""
        if data[p] != 1:
            return
        method: i64 = int(read_i32_be(data, p + 7))
        if method == ACK or method == NACK:
            self.settle(read_i64_be(data, p + 11), data[p + 19] & 1 == 1, method == ACK, now)
        elif method == RETURN:
            self.returned += 1
        else:
            self.others.append(data[p:after])

    def settle(self, tag: i64, multiple: bool, is_ack: bool, now: i64) -> None:
        """A confirm, or a nack, of one publish or of all up to it."""
        if tag > self.published or self.window == 0:
            raise WrongConfirm(f"the broker confirms number {tag} of {self.published} publishes")
        first = tag
        if multiple:
            first = self.oldest
            if tag == 0:
                tag = self.published
        elif tag < self.oldest or self.sent_at[tag % self.window] == 0:
            raise WrongConfirm(f"the broker confirms publish {tag} twice")
        count: i64 = 0
        while first <= tag:
            at: i64 = self.sent_at[first % self.window]
            if at != 0:
                self.latency.record(now - at)
                self.sent_at[first % self.window] = 0
                count += 1
            first += 1
        if is_ack:
            self.confirmed += count
        else:
            self.nacked += count
        while self.oldest <= self.published and self.sent_at[self.oldest % self.window] == 0:
            self.oldest += 1
