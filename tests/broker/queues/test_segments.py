import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.broker.queues.segments import (
    SEGMENT_HEADER_BYTES,
    CorruptSegment,
    Record,
    Segment,
    SegmentWriter,
    acks_value,
    queue_key,
    read_acks,
    read_segment,
    read_segment_header,
    segment_key,
)


@st.composite
def segments(draw: st.DrawFn) -> list[Record]:
    """Records of a segment: positions grow, with holes where messages were of another kind or settled in time."""
    position = draw(st.integers(1, 1 << 50))
    made: list[Record] = []
    for _ in range(draw(st.integers(1, 6))):
        made.append((position, draw(st.integers(1, 65535)), draw(st.binary(max_size=6)), draw(st.binary(max_size=20))))
        position += draw(st.integers(1, 1 << 20))
    return made


def written(records: list[Record]) -> bytes:
    writer = SegmentWriter()
    for position, channel, address, content in records:
        writer.add(position, channel, address, content)
    return writer.value()


THREE: list[Record] = [(7, 1, b"a\xce", b"one"), (9, 2, b"", b""), (300, 65535, b"b\xce", bytes(range(256)))]

# --- the format ---


@given(records=segments())
def test_any_records_come_back(records: list[Record]) -> None:
    value = written(records)
    assert read_segment(value) == records
    assert read_segment_header(value) == (records[0][0], records[-1][0], len(records))


def test_layout() -> None:
    assert written([(5, 2, b"ad", b"content")]).hex(" ", -4) == (
        "53454701 fc0238ad "  # magic and version, checksum of what follows
        "00000000 00000005 00000000 00000005 00000001 ad1d9778 "  # first, last, count, checksum of these three
        "00000000 00000002 00000002 00000007 "  # position - first, channel, sizes
        "6164636f 6e74656e 74"
    )


def test_the_header_is_enough_to_count() -> None:
    assert read_segment_header(written(THREE)[:SEGMENT_HEADER_BYTES]) == (7, 300, 3)


def test_any_flipped_bit_of_what_is_counted_by_is_found_without_the_records() -> None:
    value = written(THREE)[:SEGMENT_HEADER_BYTES]
    for bit in [*range(4 * 8), *range(8 * 8, SEGMENT_HEADER_BYTES * 8)]:  # between: the checksum of the records
        spoilt = bytearray(value)
        spoilt[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptSegment):
            read_segment_header(bytes(spoilt))


def test_size_grows_with_what_is_written() -> None:
    writer = SegmentWriter()
    sizes = []
    for position, channel, address, content in THREE:
        writer.add(position, channel, address, content)
        sizes.append(writer.size())
    assert sizes == [16 + 5, 16 + 5 + 16, 16 + 5 + 16 + 16 + 258]
    assert len(writer.value()) == SEGMENT_HEADER_BYTES + sizes[-1]


def test_large_contents() -> None:
    records: list[Record] = [(1, 1, b"a", bytes(1_000_000)), (2, 1, b"a", b"\xff" * 1_000_000)]
    assert read_segment(written(records)) == records


# --- corruption ---


@given(records=segments(), data=st.data())
def test_any_flipped_bit_is_found(records: list[Record], data: st.DataObject) -> None:
    value = bytearray(written(records))
    bit = data.draw(st.integers(0, len(value) * 8 - 1))
    value[bit // 8] ^= 1 << bit % 8
    with pytest.raises(CorruptSegment):
        read_segment(bytes(value))


def test_every_flipped_bit_is_found() -> None:
    value = written(THREE)
    for bit in range(len(value) * 8):
        spoilt = bytearray(value)
        spoilt[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptSegment):
            read_segment(bytes(spoilt))


def test_every_truncation_is_found() -> None:
    value = written(THREE)
    for size in range(len(value)):
        with pytest.raises(CorruptSegment):
            read_segment(value[:size])
    with pytest.raises(CorruptSegment):
        read_segment(value + b"\x00")


@pytest.mark.parametrize("value", [b"", b"junk", bytes(SEGMENT_HEADER_BYTES), b"SEG\x02" + written(THREE)[4:]])
def test_no_segment_of_a_known_version(value: bytes) -> None:
    for read in (read_segment_header, read_segment):
        with pytest.raises(CorruptSegment, match=r"^not a segment of a known version$"):
            read(value)


def test_a_spoilt_segment_is_named_by_its_position() -> None:
    value = written(THREE)
    with pytest.raises(CorruptSegment, match=r"^the checksum of the segment at position 7 does not hold$"):
        read_segment(value[:-1] + b"?")


# --- keys ---


def test_keys_are_in_the_order_of_positions() -> None:
    pairs = [(1, 1), (1, 255), (1, 256), (1, 1 << 40), (2, 1), (256, 1)]
    keys = [segment_key(*pair) for pair in pairs]
    assert keys == sorted(keys)


def test_keys_of_a_queue_begin_alike_and_no_others() -> None:
    assert segment_key(7, 1 << 40).startswith(queue_key(7))
    assert not segment_key(7 << 8, 0).startswith(queue_key(7))


# --- acks ---


def settled_of(segment: Segment) -> list[int]:
    return [position for position in range(segment.first, segment.last + 1) if segment.is_settled(position)]


def test_a_new_segment_is_all_wanted() -> None:
    segment = Segment(10, 30, 5, 3, False)
    assert settled_of(segment) == []
    assert (segment.live, segment.settled, segment.changed) == (5, None, False)


def test_settled_positions_are_marked() -> None:
    segment = Segment(10, 30, 21, 0, False)
    for position in (10, 17, 18, 30):
        segment.settle(position)
    assert settled_of(segment) == [10, 17, 18, 30]
    assert segment.live == 17
    assert segment.settled is not None
    assert segment.settled.hex() == "810110"


def test_the_last_one_settled_needs_no_mark() -> None:
    segment = Segment(10, 10, 1, 0, False)
    segment.settle(10)
    assert segment.live == 0
    assert segment.settled is None, "all of it is deleted"


@given(span=st.integers(1, 200), data=st.data())
def test_ack_maps_come_back(span: int, data: st.DataObject) -> None:
    segment = Segment(1, span, span + 1, 0, False)
    positions = data.draw(st.lists(st.integers(1, span), unique=True, min_size=1))
    for position in positions:
        segment.settle(position)
    assert segment.settled is not None
    again = Segment(1, span, span, 0, False)
    again.settled = read_acks(acks_value(segment.settled))
    assert settled_of(again) == sorted(positions)


def test_every_fault_of_an_ack_map_is_found() -> None:
    value = acks_value(bytearray(b"\x81\x01\x10"))
    assert value[4:] == b"\x81\x01\x10"
    for bit in range(len(value) * 8):
        spoilt = bytearray(value)
        spoilt[bit // 8] ^= 1 << bit % 8
        with pytest.raises(CorruptSegment):
            read_acks(bytes(spoilt))
    for part in (*(value[:size] for size in range(len(value))), value + b"\x00", bytes(4), bytes(8)):
        with pytest.raises(CorruptSegment):
            read_acks(part)
