"""Segments: the messages that one batch adds to one queue, as one value of the store, and what of it is settled.

Layout, big endian:

    4 magic and version | 4 CRC-32 of all that follows | front | records
    front:  8 first position | 8 last position | 4 count | 4 CRC-32 of these three
    record: 4 position - first | 4 channel | 4 size of the address | 4 size of the content | address | content

Settled positions of a segment are a bit map in the table of acks (bit 0 of byte 0: the first position) behind a CRC-32
of its own.
"""
# HOT. Every persistent message passes `SegmentWriter.add` once and `Segment.settle` at most once.
# Bench: tests/bench, scenarios D and D-only.

from __future__ import annotations

import zlib
from typing import Final

from librt.strings import BytesWriter, read_i32_be, read_i64_be, write_i32_be, write_i64_be
from mypy_extensions import i32, i64

SEGMENT_MAGIC: Final = 0x53454701  # "SEG", 1
SEGMENT_HEADER_BYTES: Final = 32
RECORD_HEADER_BYTES: Final = 16

Record = tuple[int, int, bytes, bytes]  # position, channel, address, content


class CorruptSegment(Exception):
    """A value does not have the checksum it was written with, or is no segment at all."""


def queue_key(queue_id: int) -> bytes:
    """What every key of a queue begins with."""
    return queue_id.to_bytes(4, "big")


def segment_key(queue_id: int, first: int) -> bytes:
    """The key of the segment that begins at position ``first``."""
    return queue_id.to_bytes(4, "big") + first.to_bytes(8, "big")


class Segment:
    """A segment as its queue knows it: where it lies and how much of it is still wanted.

    ``ticket``: of the batch that writes it; 0 once recovered. ``live``: records not settled. ``changed``: settled some
    since
    the acks were last written.
    """

    __slots__ = ("changed", "first", "last", "live", "scratch", "settled", "ticket")

    def __init__(self, first: int, last: int, live: int, ticket: int, scratch: bool) -> None:
        self.first = first
        self.last = last
        self.live = live
        self.ticket = ticket
        self.scratch = scratch
        self.settled: bytearray | None = None
        self.changed = False

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
        self.records = BytesWriter()

    def add(self, position: i64, channel: i64, address: bytes, content: bytes) -> None:
        w = self.records
        if self.count == 0:
            self.first = position
        write_i32_be(w, i32(position - self.first))
        write_i32_be(w, i32(channel))
        write_i32_be(w, len(address))
        write_i32_be(w, len(content))
        w.write(address)
        w.write(content)
        self.last = position
        self.count += 1

    def size(self) -> int:
        return len(self.records)

    def value(self) -> bytes:
        head = BytesWriter()
        write_i64_be(head, self.first)
        write_i64_be(head, self.last)
        write_i32_be(head, i32(self.count))
        front = head.getvalue()
        rest = front + zlib.crc32(front).to_bytes(4, "big") + self.records.getvalue()
        return SEGMENT_MAGIC.to_bytes(4, "big") + zlib.crc32(rest).to_bytes(4, "big") + rest


def read_segment_header(value: bytes) -> tuple[int, int, int]:
    """First position, last position and count, without a look at the records.

    Raises CorruptSegment when ``value`` is too short or of no known version.
    """
    if len(value) < SEGMENT_HEADER_BYTES or read_i32_be(value, 0) != SEGMENT_MAGIC:
        raise CorruptSegment("not a segment of a known version")
    if zlib.crc32(value[8:28]) != int.from_bytes(value[28:32], "big"):
        raise CorruptSegment("the checksum of a segment's front does not hold")
    return read_i64_be(value, 8), read_i64_be(value, 16), read_i32_be(value, 24)


def read_segment(value: bytes) -> list[Record]:
    """All records, in order of their positions. Raises CorruptSegment when the checksum does not hold."""
    first, _, count = read_segment_header(value)
    if zlib.crc32(value[8:]) != int.from_bytes(value[4:8], "big"):
        raise CorruptSegment(f"the checksum of the segment at position {first} does not hold")
    records: list[Record] = []
    p: i64 = SEGMENT_HEADER_BYTES
    for _n in range(count):
        position = first + int(read_i32_be(value, p))
        channel = int(read_i32_be(value, p + 4))
        middle: i64 = p + RECORD_HEADER_BYTES + int(read_i32_be(value, p + 8))
        end: i64 = middle + int(read_i32_be(value, p + 12))
        records.append((position, channel, value[p + RECORD_HEADER_BYTES : middle], value[middle:end]))
        p = end
    return records


def acks_value(settled: bytearray) -> bytes:
    """The value that holds a bit map of settled positions."""
    bits = bytes(settled)
    return zlib.crc32(bits).to_bytes(4, "big") + bits


def read_acks(value: bytes) -> bytearray:
    """The bit map of settled positions. Raises CorruptSegment."""
    bits = value[4:]
    if not bits:
        raise CorruptSegment("an ack map is empty")
    if zlib.crc32(bits) != int.from_bytes(value[:4], "big"):
        raise CorruptSegment("the checksum of an ack map does not hold")
    return bytearray(bits)
