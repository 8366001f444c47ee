"""Segments: the messages that one batch adds to one queue, as one value of the store, and what of it is settled.

Layout, big endian. The key says all that a start needs to know, so that it need not touch the messages:

    key:    4 queue id | 8 first position | 8 last position | 4 count | 4 size of the value | 4 CRC-32 of these
    value:  4 magic and version | 4 CRC-32 of all that follows | 32 key | records
    record: 4 position - first | 4 channel | 4 size of the address | 4 size of the content
            | 8 when it expires, if the channel has EXPIRES | address | content

The count has EXPIRING when any record expires, so that a start knows which queues have something to look after.

A value names itself, so that it is found again where the tree that led to it is damaged (``store/salvage.py``).
Settled positions of a segment are a bit map in the table of acks (bit 0 of byte 0: the first position), sealed as
records are.
"""
# HOT. Every persistent message passes `SegmentWriter.add` once and `Segment.settle` at most once.
# Bench: tests/bench, scenarios D and D-only.

from __future__ import annotations

import zlib
from typing import Final

from librt.strings import BytesWriter, read_i32_be, read_i64_be, write_i32_be, write_i64_be
from mypy_extensions import i32, i64

from amqpd import limits

SEGMENT_MAGIC: Final = 0x53454702  # "SEG", 2
SEGMENT_KEY_BYTES: Final = 32
SEGMENT_HEADER_BYTES: Final = 40
RECORD_HEADER_BYTES: Final = 16

EXPIRES: Final = 0x10000  # added to the channel of a record
EXPIRING: Final = 0x80000000  # added to the count of a segment

Record = tuple[int, int, int, bytes, bytes]  # position, channel, when it expires or 0, address, content


class CorruptSegment(Exception):
    """A value does not have the checksum it was written with, or is no segment at all."""


def queue_key(queue_id: int) -> bytes:
    """What every key of a queue begins with."""
    return queue_id.to_bytes(4, "big")


def segment_key(queue_id: int, first: int, last: int, count: int, size: int) -> bytes:
    """The key of a segment: ``count`` messages at positions ``first`` to ``last``, ``size`` bytes in all."""
    front = (
        queue_id.to_bytes(4, "big")
        + first.to_bytes(8, "big")
        + last.to_bytes(8, "big")
        + count.to_bytes(4, "big")
        + size.to_bytes(4, "big")
    )
    return front + zlib.crc32(front).to_bytes(4, "big")


def read_segment_key(key: bytes) -> tuple[int, int, int, int, int]:
    """What ``segment_key`` was given, the count without EXPIRING. Raises CorruptSegment."""
    if len(key) != SEGMENT_KEY_BYTES or zlib.crc32(key[:28]) != int.from_bytes(key[28:], "big"):
        raise CorruptSegment(f"the key {key.hex()} of a segment is damaged")
    queue_id = int.from_bytes(key[:4], "big")
    first, last = read_i64_be(key, 4), read_i64_be(key, 12)
    return queue_id, first, last, int.from_bytes(key[20:24], "big") & ~EXPIRING, int.from_bytes(key[24:28], "big")


def is_expiring(key: bytes) -> bool:
    """Whether a segment has messages that expire, by its key."""
    return key[20] & 0x80 != 0


def segment_of(key: bytes) -> tuple[int, Segment]:
    """The queue's number, and the segment as its queue knew it before anything was settled. Raises CorruptSegment."""
    queue_id, first, last, count, size = read_segment_key(key)
    segment = Segment(first, last, count, size, 0, False)
    segment.expiring = is_expiring(key)
    return queue_id, segment


def acks_key(queue_id: int, first: int) -> bytes:
    """The key of the acks of the segment that begins at position ``first``."""
    return queue_id.to_bytes(4, "big") + first.to_bytes(8, "big")


def read_acks_key(key: bytes) -> tuple[int, int]:
    """What ``acks_key`` was given."""
    return int.from_bytes(key[:4], "big"), int.from_bytes(key[4:12], "big")


class Segment:
    """A segment as its queue knows it: where it lies and how much of it is still wanted.

    ``ticket``: of the batch that writes it; 0 once recovered. ``count`` records, ``live`` of them not settled.
    ``size``: bytes of the value. ``changed``: settled some since the acks were last written. ``sparse``: more than half
    is settled. ``successor``: where compaction moved what was live. ``fixed``: compaction leaves it alone. ``damaged``:
    it cannot be read. ``expiring``: some of it expires. Not acyclic, as messages are: successors may be a long chain,
    and mypyc cannot free one of objects that the collector does not know.
    """

    __slots__ = (
        "changed",
        "count",
        "damaged",
        "expiring",
        "first",
        "fixed",
        "last",
        "live",
        "scratch",
        "settled",
        "size",
        "sparse",
        "successor",
        "ticket",
    )

    def __init__(self, first: int, last: int, count: int, size: int, ticket: int, scratch: bool) -> None:
        self.first = first
        self.last = last
        self.count = count
        self.live = count
        self.size = size
        self.ticket = ticket
        self.scratch = scratch
        self.settled: bytearray | None = None
        self.changed = False
        self.sparse = False
        self.fixed = False
        self.damaged = False
        self.expiring = False
        self.successor: Segment | None = None

    def key(self, queue_id: int) -> bytes:
        count = self.count | EXPIRING if self.expiring else self.count
        return segment_key(queue_id, self.first, self.last, count, self.size)

    def current(self) -> Segment:
        """Itself, or where compaction moved what was live in it."""
        segment = self
        while segment.successor is not None:
            segment = segment.successor
        return segment

    def settle(self, position: int) -> None:
        """``position`` is wanted no more."""
        self.live -= 1
        if self.live == 0:
            return
        bits = self.settled
        if bits is None:
            bits = self.settled = bytearray((self.last - self.first) // 8 + 1)
        offset = position - self.first
        bits[offset >> 3] |= 1 << (offset & 7)

    def is_settled(self, position: int) -> bool:
        bits = self.settled
        if bits is None:
            return False
        offset = position - self.first
        return bits[offset >> 3] >> (offset & 7) & 1 == 1


class SegmentWriter:
    """Collects the records of one segment."""

    def __init__(self) -> None:
        self.first: i64 = 0
        self.last: i64 = 0
        self.count: i64 = 0
        self.expiring = False
        self.parts: list[bytes] = []  # before what is in `records`
        self.parts_bytes: i64 = 0
        self.records = BytesWriter()

    def add(self, position: i64, channel: i64, address: bytes, content: bytes, expires_at: i64 = 0) -> None:
        w = self.records
        if self.count == 0:
            self.first = position
        write_i32_be(w, i32(position - self.first))
        write_i32_be(w, i32(channel if expires_at == 0 else channel | EXPIRES))
        write_i32_be(w, len(address))
        write_i32_be(w, len(content))
        if expires_at:
            self.expiring = True
            write_i64_be(w, expires_at)
        w.write(address)
        if len(content) < limits.LARGE_RECORD_BYTES:
            w.write(content)
        else:
            self.parts.append(w.getvalue())
            self.parts.append(content)
            self.parts_bytes += len(w) + len(content)
            w.truncate(0)
        self.last = position
        self.count += 1

    def size(self) -> int:
        """Bytes of the value so far."""
        return SEGMENT_HEADER_BYTES + int(self.parts_bytes) + len(self.records)

    def segment(self, ticket: int, scratch: bool) -> Segment:
        """What was collected, as the queue will know it."""
        segment = Segment(self.first, self.last, self.count, self.size(), ticket, scratch)
        segment.expiring = self.expiring
        return segment

    def value(self, key: bytes) -> bytes:
        parts = [key, *self.parts, self.records.getvalue()]
        checksum = 0
        for part in parts:
            checksum = zlib.crc32(part, checksum)
        return b"".join([SEGMENT_MAGIC.to_bytes(4, "big"), checksum.to_bytes(4, "big"), *parts])


def own_key(value: bytes) -> bytes:
    """The key that a segment's value tells; it may be damaged."""
    return value[SEGMENT_HEADER_BYTES - SEGMENT_KEY_BYTES : SEGMENT_HEADER_BYTES]


def check_segment(key: bytes, value: bytes | None) -> None:
    """Raises CorruptSegment when ``value`` is not what was written under ``key``."""
    _, first, last, _, size = read_segment_key(key)
    name = f"segment {first}-{last}"
    if value is None:
        raise CorruptSegment(f"{name} is missing")
    if len(value) < SEGMENT_HEADER_BYTES or read_i32_be(value, 0) != SEGMENT_MAGIC:
        raise CorruptSegment(f"{name} is no segment of a known version")
    if len(value) != size or zlib.crc32(memoryview(value)[8:]) != int.from_bytes(value[4:8], "big"):
        raise CorruptSegment(f"the checksum of {name} does not hold")
    if own_key(value) != key:
        raise CorruptSegment(f"{name} lies under another one's key")


def read_segment(key: bytes, value: bytes | None) -> list[Record]:
    """All records, in order of their positions. Raises CorruptSegment."""
    check_segment(key, value)
    assert value is not None
    _, first, _, count, _ = read_segment_key(key)
    records: list[Record] = []
    p: i64 = SEGMENT_HEADER_BYTES
    for _n in range(count):
        position = first + int(read_i32_be(value, p))
        channel: i64 = int(read_i32_be(value, p + 4))
        start: i64 = p + RECORD_HEADER_BYTES
        expires_at: i64 = 0
        if channel & EXPIRES:
            channel &= ~EXPIRES
            expires_at = read_i64_be(value, start)
            start += 8
        middle: i64 = start + int(read_i32_be(value, p + 8))
        end: i64 = middle + int(read_i32_be(value, p + 12))
        records.append((position, int(channel), int(expires_at), value[start:middle], value[middle:end]))
        p = end
    return records


def copy_live(segment: Segment, key: bytes, value: bytes | None, writer: SegmentWriter) -> None:
    """Add the records of ``value`` that are not settled to ``writer``. Raises CorruptSegment."""
    for position, channel, expires_at, address, content in read_segment(key, value):
        if not segment.is_settled(position):
            writer.add(position, channel, address, content, expires_at)
