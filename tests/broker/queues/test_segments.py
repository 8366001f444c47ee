import gc
import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.broker.queues.segments import (
    SEGMENT_HEADER_BYTES,
    SEGMENT_KEY_BYTES,
    CorruptSegment,
    Record,
    Segment,
    SegmentWriter,
    acks_key,
    check_segment,
    copy_live,
    is_expiring,
    queue_key,
    read_acks_key,
    read_segment,
    read_segment_key,
    segment_key,
)

QUEUE_ID = 7


@st.composite
def segments(draw: st.DrawFn) -> list[Record]:
    """Records of a segment: positions grow, with holes where messages were of another kind or settled in time."""
    position = draw(st.integers(1, 1 << 50))
    made: list[Record] = []
    for _ in range(draw(st.integers(1, 6))):
        expires_at = draw(st.sampled_from([0, 1, 1 << 41]))
        channel, address, content = (
            draw(st.integers(1, 65535)),
            draw(st.binary(max_size=6)),
            draw(st.binary(max_size=20)),
        )
        made.append((position, channel, expires_at, address, content))
        position += draw(st.integers(1, 1 << 20))
    return made


def written(records: list[Record], queue_id: int = QUEUE_ID) -> tuple[bytes, bytes]:
    """Key and value of a segment."""
    writer = SegmentWriter()
    for position, channel, expires_at, address, content in records:
        writer.add(position, channel, address, content, expires_at)
    key = writer.segment(0, False).key(queue_id)
    return key, writer.value(key)


def flipped(octets: bytes, bit: int) -> bytes:
    spoilt = bytearray(octets)
    spoilt[bit // 8] ^= 1 << bit % 8
    return bytes(spoilt)


THREE: list[Record] = [(7, 1, 0, b"a\xce", b"one"), (9, 2, 0, b"", b""), (300, 65535, 0, b"b\xce", bytes(range(256)))]

# --- the format ---


@given(records=segments(), queue_id=st.integers(0, (1 << 32) - 1))
def test_any_records_come_back(records: list[Record], queue_id: int) -> None:
    key, value = written(records, queue_id)
    assert read_segment(key, value) == records
    assert read_segment_key(key) == (queue_id, records[0][0], records[-1][0], len(records), len(value))
    check_segment(key, value)


def test_layout() -> None:
    key, value = written([(5, 2, 0, b"ad", b"content")])
    assert key.hex(" ", -4) == (
        "00000007 00000000 00000005 00000000 00000005 "  # queue, first, last
        "00000001 00000041 cca27a34"  # count, bytes of the value, checksum of all these
    )
    assert zlib.crc32(key[:28]) == 0xCCA27A34
    assert value[:8].hex(" ", -4) == f"53454702 {zlib.crc32(value[8:]):08x}"  # magic and version, checksum of the rest
    assert value[8:40] == key
    assert value[40:].hex(" ", -4) == (
        "00000000 00000002 00000002 00000007 "  # position - first, channel, sizes
        "6164636f 6e74656e 74"
    )


def test_layout_of_what_expires() -> None:
    key, value = written([(5, 2, 0x1234, b"ad", b"content")])
    assert (key[20:24].hex(), is_expiring(key), read_segment_key(key)[3]) == ("80000001", True, 1)
    assert value[40:].hex(" ", -4) == (
        "00000000 00010002 00000002 00000007 "  # position - first, channel and flag, sizes
        "00000000 00001234 6164636f 6e74656e 74"
    )
    assert not is_expiring(written(THREE)[0])


def test_size_grows_with_what_is_written() -> None:
    writer = SegmentWriter()
    sizes = []
    for position, channel, _, address, content in THREE:
        writer.add(position, channel, address, content)
        sizes.append(writer.size() - SEGMENT_HEADER_BYTES)
    assert sizes == [16 + 5, 16 + 5 + 16, 16 + 5 + 16 + 16 + 258]
    segment = writer.segment(3, True)
    assert (segment.first, segment.last, segment.count, segment.live) == (7, 300, 3, 3)
    assert (segment.size, segment.ticket, segment.scratch) == (writer.size(), 3, True)
    assert len(writer.value(segment.key(QUEUE_ID))) == segment.size


def test_large_contents() -> None:
    records: list[Record] = [(1, 1, 0, b"a", bytes(1_000_000)), (2, 1, 0, b"a", b"\xff" * 1_000_000)]
    assert read_segment(*written(records)) == records


# --- corruption ---


@given(records=segments(), data=st.data())
def test_any_flipped_bit_is_found(records: list[Record], data: st.DataObject) -> None:
    key, value = written(records)
    bit = data.draw(st.integers(0, (len(key) + len(value)) * 8 - 1))
    both = flipped(key + value, bit)
    with pytest.raises(CorruptSegment):
        read_segment(both[:SEGMENT_KEY_BYTES], both[SEGMENT_KEY_BYTES:])


def test_every_flipped_bit_of_a_value_is_found() -> None:
    key, value = written(THREE)
    for bit in range(len(value) * 8):
        for read in (read_segment, check_segment):
            with pytest.raises(CorruptSegment):
                read(key, flipped(value, bit))


def test_every_flipped_bit_of_a_key_is_found_without_the_value() -> None:
    key, _ = written(THREE)
    for bit in range(len(key) * 8):
        with pytest.raises(CorruptSegment, match=r"^the key [0-9a-f]{64} of a segment is damaged$"):
            read_segment_key(flipped(key, bit))


@pytest.mark.parametrize("key", [b"", bytes(31), bytes(33), segment_key(1, 1, 1, 1, 1)[:-1]])
def test_no_key_of_a_segment(key: bytes) -> None:
    with pytest.raises(CorruptSegment):
        read_segment_key(key)


def test_every_truncation_is_found() -> None:
    key, value = written(THREE)
    for size in range(len(value)):
        with pytest.raises(CorruptSegment):
            read_segment(key, value[:size])
    with pytest.raises(CorruptSegment):
        read_segment(key, value + b"\x00")


@pytest.mark.parametrize("value", [b"", b"junk", bytes(SEGMENT_HEADER_BYTES), b"SEG\x01" + written(THREE)[1][4:]])
def test_no_segment_of_a_known_version(value: bytes) -> None:
    with pytest.raises(CorruptSegment, match=r"^segment 7-300 is no segment of a known version$"):
        read_segment(written(THREE)[0], value)


def test_a_value_that_is_not_there() -> None:
    with pytest.raises(CorruptSegment, match=r"^segment 7-300 is missing$"):
        read_segment(written(THREE)[0], None)


def test_a_spoilt_segment_is_named_by_its_positions() -> None:
    key, value = written(THREE)
    with pytest.raises(CorruptSegment, match=r"^the checksum of segment 7-300 does not hold$"):
        read_segment(key, value[:-1] + b"?")


def test_a_value_under_another_ones_key() -> None:
    """Its checksum holds: a page that was written to the wrong place, or read from one."""
    key, _ = written(THREE, QUEUE_ID)
    _, value = written(THREE, QUEUE_ID + 1)
    with pytest.raises(CorruptSegment, match=r"^segment 7-300 lies under another one's key$"):
        read_segment(key, value)


# --- keys ---


def test_keys_are_in_the_order_of_positions() -> None:
    places = [(1, 1), (1, 255), (1, 256), (1, 1 << 40), (2, 1), (256, 1)]
    for keys in (
        [segment_key(queue_id, first, first + 9, 2, 100) for queue_id, first in places],
        [acks_key(*place) for place in places],
    ):
        assert keys == sorted(keys)


def test_keys_of_a_queue_begin_alike_and_no_others() -> None:
    for key in (segment_key(7, 1 << 40, 1 << 41, 3, 100), acks_key(7, 1 << 40)):
        assert key.startswith(queue_key(7))
    assert not segment_key(7 << 8, 0, 1, 1, 1).startswith(queue_key(7))


@given(queue_id=st.integers(0, (1 << 32) - 1), first=st.integers(0, (1 << 63) - 1))
def test_keys_of_acks_come_back(queue_id: int, first: int) -> None:
    assert read_acks_key(acks_key(queue_id, first)) == (queue_id, first)


# --- what is settled ---


def settled_of(segment: Segment) -> list[int]:
    return [position for position in range(segment.first, segment.last + 1) if segment.is_settled(position)]


def test_a_new_segment_is_all_wanted() -> None:
    segment = Segment(10, 30, 5, 900, 3, False)
    assert settled_of(segment) == []
    assert (segment.live, segment.settled, segment.changed) == (5, None, False)


def test_settled_positions_are_marked() -> None:
    segment = Segment(10, 30, 21, 900, 0, False)
    for position in (10, 17, 18, 30):
        segment.settle(position)
    assert settled_of(segment) == [10, 17, 18, 30]
    assert segment.live == 17
    assert segment.settled is not None
    assert segment.settled.hex() == "810110"


def test_the_last_one_settled_needs_no_mark() -> None:
    segment = Segment(10, 10, 1, 80, 0, False)
    segment.settle(10)
    assert segment.live == 0
    assert segment.settled is None, "all of it is deleted"


def test_what_was_joined_leads_to_where_it_is_now() -> None:
    chain = [Segment(position, position, 1, 80, 0, False) for position in (3, 2, 1)]
    for segment, successor in itertools.pairwise(chain):
        segment.successor = successor
    assert [segment.current() for segment in chain] == [chain[2]] * 3


@given(records=segments(), data=st.data())
def test_exactly_what_is_not_settled_is_copied(records: list[Record], data: st.DataObject) -> None:
    key, value = written(records)
    segment = Segment(records[0][0], records[-1][0], len(records), len(value), 0, False)
    settled = data.draw(st.sets(st.sampled_from([position for position, *_ in records]), max_size=len(records) - 1))
    for position in settled:
        segment.settle(position)
    writer = SegmentWriter()
    writer.add(records[0][0] - 1, 9, b"before", b"")
    copy_live(segment, key, value, writer)
    copy = writer.segment(0, False)
    wanted = [record for record in records if record[0] not in settled]
    copied = read_segment(copy.key(QUEUE_ID), writer.value(copy.key(QUEUE_ID)))
    assert copied == [(records[0][0] - 1, 9, 0, b"before", b""), *wanted]
    assert is_expiring(copy.key(QUEUE_ID)) == any(expires_at for _, _, expires_at, _, _ in wanted)


def test_nothing_is_copied_of_what_is_damaged() -> None:
    key, value = written(THREE)
    writer = SegmentWriter()
    with pytest.raises(CorruptSegment):
        copy_live(Segment(7, 300, 3, len(value), 0, False), key, flipped(value, 400), writer)
    assert writer.count == 0


def test_a_long_chain_of_successors_can_be_freed() -> None:
    """A message that stays unacked holds all that its segment became."""
    for _ in range(100):
        first = last = Segment(1, 2, 2, 10, 0, False)
        for _ in range(300):
            last.successor = Segment(1, 2, 2, 10, 0, False)
            last = last.successor
        assert first.current() is last
        del first, last
        gc.collect(0)
