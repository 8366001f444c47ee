"""Which segments are joined, and what they become. The backlog that does it: ``test_backlog.py``."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd import limits
from amqpd.broker.queues.compaction import choose, merge
from amqpd.broker.queues.segments import CorruptSegment, Segment, SegmentWriter, read_segment
from tests.support.small_segments import needs_interpreter, small_segments

COUNT = 10
SMALL = limits.SMALL_SEGMENT_BYTES - 1
LARGE = limits.SEGMENT_BYTES


def segment(first: int, size: int = SMALL, *, live: int = COUNT, scratch: bool = False, ticket: int = 0) -> Segment:
    """Ten messages from ``first`` on."""
    made = Segment(first, first + COUNT - 1, COUNT, size, ticket, scratch)
    made.live = live
    made.sparse = live * 2 < COUNT
    return made


def chosen(*segments: Segment, durable: int = 0) -> list[list[int]]:
    return [[each.first for each in group] for group in choose(list(segments), durable)]


# --- which ---


def test_small_neighbours_are_joined() -> None:
    assert chosen(segment(1), segment(11), segment(21)) == [[1, 11, 21]]


def test_one_that_is_small_is_left_alone() -> None:
    assert chosen() == []
    assert chosen(segment(1)) == []
    assert chosen(segment(1, 100), segment(11, LARGE)) == []


def test_one_of_which_most_is_settled_is_written_anew() -> None:
    assert chosen(segment(1, LARGE, live=4)) == [[1]]
    assert chosen(segment(1, LARGE, live=5)) == []


def test_large_ones_are_left_alone() -> None:
    assert chosen(segment(1, SMALL + 1), segment(11, SMALL + 1), segment(21, LARGE)) == []


def test_what_is_left_alone_parts_the_others() -> None:
    found = chosen(*[segment(at, 300 if at % 30 != 1 else LARGE) for at in range(1, 91, 10)])
    assert found == [[11, 21], [41, 51], [71, 81]]


def test_full_when_what_is_wanted_makes_a_segment() -> None:
    found = chosen(*[segment(at, limits.SEGMENT_BYTES // 5) for at in range(1, 101, 10)])
    assert found == [[1, 11, 21, 31, 41], [51, 61, 71, 81, 91]]


def test_no_more_than_a_step_is_read_for_one_group() -> None:
    """However little of it is wanted: it is done in one turn."""
    many = [segment(at, LARGE, live=1) for at in range(1, 401, 10)]
    groups = choose(many, 0)
    assert all(sum(each.size for each in group) <= limits.COMPACTION_STEP_BYTES for group in groups)
    assert [each for group in groups for each in group] == many
    assert len(groups) == 10


def test_one_that_is_larger_than_a_step_is_alone() -> None:
    step = limits.COMPACTION_STEP_BYTES
    assert chosen(segment(1, 2 * step, live=1), segment(11, 2 * step, live=1)) == [[1], [11]]


def test_no_wider_than_its_map_of_settled_ones_may_be() -> None:
    span = limits.SEGMENT_SPAN
    assert chosen(segment(1), segment(span - 10)) == [[1, span - 10]]
    assert chosen(segment(1), segment(span)) == []
    assert chosen(segment(1), segment(1 << 40), segment((1 << 40) + 10)) == [[1 << 40, (1 << 40) + 10]]


def test_kinds_are_apart_and_the_other_one_between_does_not_matter() -> None:
    segments = [segment(at, scratch=at % 20 == 11) for at in range(1, 61, 10)]
    assert chosen(*segments) == [[1, 21, 41], [11, 31, 51]]


def test_what_is_not_durable_stays_where_it_is() -> None:
    segments = [segment(at, ticket=at // 10) for at in range(1, 61, 10)]
    assert chosen(*segments, durable=3) == [[1, 11, 21, 31]]
    assert chosen(*segments, durable=0) == []


def test_what_is_all_settled_is_no_neighbour() -> None:
    """Its deletion is on its way."""
    assert chosen(segment(1), segment(11, live=0), segment(21)) == [[1, 21]]


@pytest.mark.parametrize("name", ["fixed", "damaged"])
def test_what_cannot_be_read_is_left_alone(name: str) -> None:
    bad = segment(21, live=1)
    setattr(bad, name, True)
    assert chosen(segment(1), segment(11), bad, segment(31), segment(41)) == [[1, 11], [31, 41]]


def segments_of(draw: st.DrawFn) -> list[Segment]:
    at = 1
    made = []
    for _ in range(draw(st.integers(0, 30))):
        each = segment(
            at,
            draw(st.integers(60, 600)),
            live=draw(st.integers(0, COUNT)),
            scratch=draw(st.booleans()),
            ticket=draw(st.integers(0, 3)),
        )
        each.fixed = draw(st.integers(0, 9)) == 0
        made.append(each)
        at += COUNT + draw(st.integers(0, 5))
    return made


@needs_interpreter
@given(segments=st.composite(segments_of)())
def test_groups_are_neighbours_that_gain(segments: list[Segment]) -> None:
    with small_segments():
        groups = choose(segments, 2)
        taken = [each for group in groups for each in group]
        assert len(taken) == len(set(taken)), "once"
        for group in groups:
            scratch = group[0].scratch
            kin = [each for each in segments if each.scratch == scratch and each.live > 0]
            at = kin.index(group[0])
            assert kin[at : at + len(group)] == group
            assert len(group) > 1 or group[0].sparse
            for each in group:
                assert each.ticket <= 2
                assert not each.fixed
                assert each.sparse or each.size < limits.SMALL_SEGMENT_BYTES
        left = [each for each in segments if each.sparse and each.live and each.ticket <= 2 and not each.fixed]
        assert all(each in taken for each in left), "room is given back"


# --- what they become ---


def written(*positions: int) -> tuple[Segment, bytes]:
    writer = SegmentWriter()
    for position in positions:
        writer.add(position, position % 100, b"a%d" % position, b"content %d" % position, expiry_of(position))
    made = writer.segment(0, False)
    return made, writer.value(made.key(7))


def expiry_of(position: int) -> int:
    """Every third one never expires."""
    return position % 3 * 1_700_000_000_000


def group_of(*parts: tuple[Segment, bytes]) -> tuple[list[Segment], list[bytes | None]]:
    """Segments and their values."""
    return [made for made, _ in parts], [value for _, value in parts]


def contents(writer: SegmentWriter) -> list[int]:
    key = writer.segment(0, False).key(7)
    found = read_segment(key, writer.value(key))
    assert all(
        (channel, expires_at, address, content)
        == (position % 100, expiry_of(position), b"a%d" % position, b"content %d" % position)
        for position, channel, expires_at, address, content in found
    )
    return [position for position, *_ in found]


def test_exactly_what_is_wanted_is_left_in_order() -> None:
    group, values = group_of(written(1, 2, 3), written(10, 20, 30), written(31, 40))
    for each, position in zip(group, (1, 30, 40), strict=True):
        each.settle(position)
    assert contents(merge(7, group, values)) == [2, 3, 10, 20, 31]


def test_what_was_settled_since_it_was_chosen_is_left_out() -> None:
    group, values = group_of(written(1, 2), written(3))
    group[1].settle(3)
    assert contents(merge(7, group, [values[0], None])) == [1, 2], "perhaps it is deleted by now"
    group[0].settle(1)
    group[0].settle(2)
    assert merge(7, group, [None, None]).count == 0


@pytest.mark.parametrize("value", [None, b"", b"junk"])
def test_one_that_is_damaged_spoils_the_group(value: bytes | None) -> None:
    group, values = group_of(written(1, 2), written(3))
    with pytest.raises(CorruptSegment):
        merge(7, group, [values[0], value])


@given(data=st.data(), sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_any_group_keeps_what_is_wanted(data: st.DataObject, sizes: list[int]) -> None:
    group, values, wanted, at = [], [], [], 1
    for size in sizes:
        positions = list(range(at, at + size))
        made, value = written(*positions)
        settled = data.draw(st.sets(st.sampled_from(positions)))
        for position in settled:
            made.settle(position)
        wanted += [position for position in positions if position not in settled]
        group.append(made)
        values.append(value)
        at += size + data.draw(st.integers(0, 100))
    writer = merge(7, group, list(values))
    assert writer.count == len(wanted)
    assert not wanted or contents(writer) == wanted
