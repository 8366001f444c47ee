"""Which segments of a queue are worth writing anew, and what they become: small neighbours one, gaps closed.

Order of positions is kept, because only neighbours are put together. Rules: docs/architecture.md, "Queues".
"""
# HOT. Copies every record that is still wanted. Bench: tests/bench/depth.py, holes.

from __future__ import annotations

from amqpd import limits
from amqpd.broker.queues.segments import Segment, SegmentWriter, copy_live


def choose(segments: list[Segment], durable: int) -> list[list[Segment]]:
    """Groups of neighbours among ``segments``, which are in order, that would be better off as one segment each."""
    return _choose(segments, durable, False) + _choose(segments, durable, True)


def _choose(segments: list[Segment], durable: int, scratch: bool) -> list[list[Segment]]:
    """Segments of one kind: those of the other lie between them, in another table."""
    groups: list[list[Segment]] = []
    group: list[Segment] = []
    size = live_bytes = 0
    for segment in segments:
        if segment.scratch != scratch or segment.live == 0:
            continue
        is_worth_it = segment.sparse or segment.size < limits.SMALL_SEGMENT_BYTES
        can_move = is_worth_it and segment.ticket <= durable and not segment.fixed and not segment.damaged
        more_live_bytes = segment.size * segment.live // segment.count
        is_full = len(group) > 0 and (
            live_bytes + more_live_bytes > limits.SEGMENT_BYTES
            or size + segment.size > limits.COMPACTION_STEP_BYTES
            or segment.last - group[0].first > limits.SEGMENT_SPAN
        )
        if is_full or not can_move:
            _close(group, groups)
            group = []
            size = live_bytes = 0
        if can_move:
            group.append(segment)
            size += segment.size
            live_bytes += more_live_bytes
    _close(group, groups)
    return groups


def _close(group: list[Segment], groups: list[list[Segment]]) -> None:
    if len(group) > 1 or (group and group[0].sparse):
        groups.append(group)


def merge(queue_id: int, group: list[Segment], values: list[bytes | None]) -> SegmentWriter:
    """What is still wanted of ``group``. Raises CorruptSegment."""
    writer = SegmentWriter()
    for segment, value in zip(group, values, strict=True):
        if segment.live > 0:
            copy_live(segment, segment.key(queue_id), value, writer)
    return writer
