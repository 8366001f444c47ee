"""What of a queue is on disk: every segment and what of it is settled, and the ready messages that are nowhere else.

Ready messages that are not in memory are runs, in order:  here (values read, not yet messages) | coming (asked for) |
away. Reading happens off the loop and ahead of need. Rules: docs/architecture.md, "Queues".
"""
# HOT. `settle` runs once a persistent message, the rest once a segment. Bench: tests/bench/depth.py.
# Limits: half of `read_bytes` is here when the next are asked for; COMPACTION_STEP_BYTES are rewritten at a time.

from __future__ import annotations

import bisect
import logging
from collections import deque
from typing import Final

from mypy_extensions import mypyc_attr

from amqpd import limits
from amqpd.broker.message import Message
from amqpd.broker.ports import ACKS, QUARANTINE, SCRATCH, SEGMENTS, THERE, Op
from amqpd.broker.queues import compaction
from amqpd.broker.queues.base import Queue
from amqpd.broker.queues.segments import CorruptSegment, Record, Segment, acks_key, check_segment, read_segment
from amqpd.broker.records import seal

logger = logging.getLogger("amqpd.queues")


@mypyc_attr(acyclic=True)  # freed by its count: the collector would look at every message there is
class Run:
    """``count`` ready messages of ``segment`` from position ``first`` on."""

    def __init__(self, segment: Segment, first: int, count: int) -> None:
        self.segment = segment
        self.first = first
        self.count = count


# Stands for an empty deque until there is something: most queues never have a backlog.
_NO_RUNS: Final[deque[Run]] = deque()


class Backlog:
    """See the module. ``queue`` takes what is read as messages; ``read_bytes`` are asked for at a time."""

    def __init__(self, queue: Queue, read_bytes: int) -> None:
        self.queue = queue
        self.queue_id = queue.queue_id
        self.journal = queue.journal
        self.read_bytes = read_bytes
        self.segments: dict[int, Segment] = {}  # by first position
        self.changed: list[Segment] = []  # with acks for the open batch
        self.priority = 0  # of all messages here (priority.py)
        self.has_scratch = False  # transient messages were paged out
        self.away: deque[Run] = _NO_RUNS
        self.coming: list[Run] = []
        self.coming_number = 0  # of the fetch; 0 when none is under way
        self.coming_segments: list[Segment] = []
        self.here: deque[Run] = _NO_RUNS
        self.here_bytes = 0
        self.values: dict[Segment, bytes | None] = {}  # of what is here
        self.records: dict[Segment, list[Record]] = {}  # of segments that more than one run here is of
        self.uses: dict[Segment, int] = {}  # runs here or coming
        self.sparse_bytes = 0  # of segments of which most is settled
        self.groups: list[list[Segment]] = []  # to be compacted, the next one last
        self.compacting: list[list[Segment]] = []  # being read for it
        self.compacting_number = 0
        self.compacted: dict[Segment, bytes] = {}  # written anew, not yet durable
        self.compact_above_segments = limits.COMPACTION_SEGMENTS
        self.compact_above_bytes = limits.COMPACTION_BYTES

    # -- writing --

    def add(self, segment: Segment) -> None:
        """A segment that the open batch writes."""
        self.segments[segment.first] = segment
        self.has_scratch = self.has_scratch or segment.scratch

    def settle(self, segment: Segment, position: int) -> None:
        """The message at ``position`` is wanted no more."""
        if segment.successor is not None:
            segment = segment.current()
        segment.settle(position)
        if not segment.changed:
            segment.changed = True
            self.changed.append(segment)
            self.queue.enlist()

    def seal(self, ops: list[Op]) -> None:
        """What was settled, for the batch."""
        changed = self.changed
        if changed:
            self.changed = []
            for segment in changed:
                segment.changed = False
                if segment.successor is None and not segment.damaged:
                    self._seal_acks(segment, ops)

    def _seal_acks(self, segment: Segment, ops: list[Op]) -> None:
        if segment.live == 0:
            ops.append((_deletion(segment), segment.key(self.queue_id), None))
            if segment.settled is not None and not segment.scratch:
                ops.append((ACKS, acks_key(self.queue_id, segment.first), None))
            self._forget(segment)
            return
        if segment.settled is not None and not segment.scratch:
            key = acks_key(self.queue_id, segment.first)
            ops.append((ACKS, key, seal(key, bytes(segment.settled))))
        self._note_sparse(segment)

    def _note_sparse(self, segment: Segment) -> None:
        if segment.live * 2 < segment.count and not segment.sparse:
            segment.sparse = True
            self.sparse_bytes += segment.size

    def _forget(self, segment: Segment) -> None:
        if self.segments.get(segment.first) is segment:
            del self.segments[segment.first]
        if segment.sparse:
            segment.sparse = False
            self.sparse_bytes -= segment.size

    def on_durable(self) -> None:
        """A batch of the queue is on disk."""
        if self.compacted:
            durable = self.journal.durable
            self.compacted = {segment: value for segment, value in self.compacted.items() if segment.ticket > durable}
        if not self.compacting_number and self._wants_compaction():
            self._compact()

    # -- reading --

    def is_empty(self) -> bool:
        """Whether all ready messages are in memory."""
        return not (self.here or self.coming or self.away)

    def count_bytes(self) -> int:
        """Of the bodies of the ready messages that are not in memory; guessed when they are many."""
        runs = [*self.here, *self.coming, *self.away]
        segments = {run.segment.current() for run in runs}
        if sum([segment.size for segment in segments]) > limits.COUNT_BYTES:
            return sum([_guess_bytes(run) for run in runs])
        return sum([self._count_run(run) for run in runs])

    def _count_run(self, run: Run) -> int:
        segment = run.segment.current()
        records = self._read_segment(segment)
        wanted = [record[4] for record in records if record[0] >= run.first and not segment.is_settled(record[0])]
        return sum([int.from_bytes(content[11:19], "big") for content in wanted[: run.count]])

    def _read_segment(self, segment: Segment) -> list[Record]:
        """Read at once; none when it is damaged, which is told when a consumer comes to it."""
        key = segment.key(self.queue_id)
        value = self.compacted.get(segment) or self.journal.store.read(_table(segment), key)
        try:
            return read_segment(key, value)
        except CorruptSegment:
            return []

    def peek(self, limit: int) -> list[Message]:
        """The first ``limit`` messages of the runs, in order. Changes nothing, and reads at once."""
        messages: list[Message] = []
        read: dict[Segment, list[Record]] = {}  # runs of two segments may alternate
        for run in [*self.here, *self.coming, *self.away]:
            if len(messages) >= limit:
                break
            segment = run.segment.current()
            if segment not in read:
                read[segment] = self._read_segment(segment)
            if read[segment]:
                messages.extend(self._pick(segment, read[segment], run.first, min(run.count, limit - len(messages))))
        return messages

    def add_run(self, run: Run) -> None:
        """Ready messages behind all others that are now on disk only."""
        if self.away is _NO_RUNS:
            self.away = deque()
        self.away.append(run)

    def next_messages(self) -> list[Message]:
        """The messages of the next run that is here; empty when none is. Asks for more in good time."""
        messages: list[Message] = []
        while not messages and self.here:
            messages = self._messages(self.here.popleft())
        self.read_ahead()
        return messages

    def read_ahead(self) -> None:
        """Ask for the next runs, unless enough is here or coming."""
        if self.coming_number or self.here_bytes > self.read_bytes // 2:
            return
        wanted: list[tuple[int, bytes]] = []
        size = 0
        while self.away:
            run = self.away[0]
            segment = run.segment = run.segment.current()
            uses = self.uses.get(segment, 0)
            if segment.ticket > self.journal.durable:
                break
            # Runs of two segments may alternate, one stored and one transient: both or neither.
            if size >= self.read_bytes and uses == 0 and len(wanted) > 1:
                break
            self.away.popleft()
            if segment.damaged:
                self.queue.lose(run.count)
                continue
            self.coming.append(run)
            self.uses[segment] = uses + 1
            if uses == 0:
                self.coming_segments.append(segment)
                wanted.append((_table(segment), segment.key(self.queue_id)))
                size += segment.size
        if wanted:
            self.coming_number = self.journal.fetch(self.queue, wanted)
        else:
            self._arrive([])

    def _arrive(self, values: list[bytes | None]) -> None:
        for segment, value in zip(self.coming_segments, values, strict=True):
            self.values[segment] = value
            self.here_bytes += segment.size
        if self.here is _NO_RUNS:
            self.here = deque()
        self.here.extend(self.coming)
        self.coming = []
        self.coming_segments = []
        self.coming_number = 0

    def on_fetched(self, number: int, values: list[bytes | None]) -> None:
        """What ``read_ahead`` or compaction asked for; what was asked for before a purge is wanted no more."""
        if number == self.coming_number:
            self._arrive(values)
            self.queue.mark_dirty()
        elif number == self.compacting_number:
            self._rewrite(values)

    def _messages(self, run: Run) -> list[Message]:
        segment = run.segment
        records = self._records(segment)
        self._use(segment)
        if segment.damaged:
            self.queue.lose(run.count)
            return []
        return self._pick(segment, records, run.first, run.count)

    def _pick(self, segment: Segment, records: list[Record], first: int, count: int) -> list[Message]:
        """The ``count`` messages from position ``first`` on, of all that are in ``segment``."""
        messages: list[Message] = []
        stored = not segment.scratch
        mark = self.queue.recovered_mark
        index = bisect.bisect_left(records, first, key=_position)
        while len(messages) < count:
            position, channel, expires_at, address, content = records[index]
            index += 1
            if not segment.is_settled(position):
                message = Message(content, address, channel, self.queue.front, stored)
                message.position = position
                message.priority = self.priority
                message.expires_at = expires_at
                message.segment = segment
                message.redelivered = position <= mark
                messages.append(message)
        return messages

    def _records(self, segment: Segment) -> list[Record]:
        """What is in a segment that is here; none, when it is damaged."""
        if segment.damaged:
            return []
        records = self.records.get(segment)
        if records is not None:
            return records
        key = segment.key(self.queue_id)
        value = self.values[segment]
        try:
            records = read_segment(key, value)
        except CorruptSegment as error:
            self._quarantine(segment, key, value, error)
            return []
        if self.uses[segment] > 1:
            self.records[segment] = records
        return records

    def _use(self, segment: Segment) -> None:
        """One run less needs the value."""
        uses = self.uses[segment] - 1
        if uses > 0:
            self.uses[segment] = uses
            return
        del self.uses[segment]
        del self.values[segment]
        self.records.pop(segment, None)
        self.here_bytes -= segment.size

    def _quarantine(self, segment: Segment, key: bytes, value: bytes | None, error: CorruptSegment) -> None:
        """Never deliver what is damaged, and never read it again; keep it for a person to look at."""
        segment.damaged = True
        self._forget(segment)
        if value is not None:  # where it is missing, it may be found again: its acks are kept for that
            if not segment.scratch:
                self.journal.put(QUARANTINE, key, value)
            self.journal.delete(_table(segment), key)
            self.journal.delete(ACKS, acks_key(self.queue_id, segment.first))
        logger.error(
            "queue %r: %s: %d messages are lost to this queue; what is left of them is in quarantine",
            self.queue.name,
            error,
            segment.live,
        )

    def drop(self) -> None:
        """Settle all runs."""
        counts: dict[Segment, int] = {}
        runs = [*self.here, *self.coming, *self.away]
        for run in runs:
            run.segment = run.segment.current()
            counts[run.segment] = counts.get(run.segment, 0) + run.count
        self._clear_runs()
        for segment, count in counts.items():
            if segment.damaged:
                continue
            if count >= segment.live:
                segment.live = 1
                self.settle(segment, segment.first)
            else:
                self._drop_some([run for run in runs if run.segment is segment], segment)

    def _drop_some(self, runs: list[Run], segment: Segment) -> None:
        """Of one segment some messages are in memory, unacked: only its records tell which are not."""
        key = segment.key(self.queue_id)
        value = self.compacted.get(segment) or self.journal.store.read(_table(segment), key)
        try:
            records = read_segment(key, value)
        except CorruptSegment as error:
            self._quarantine(segment, key, value, error)
            return
        for run in runs:
            index = bisect.bisect_left(records, run.first, key=_position)
            left = run.count
            while left > 0:
                position = records[index][0]
                index += 1
                if not segment.is_settled(position):
                    self.settle(segment, position)
                    left -= 1

    def _clear_runs(self) -> None:
        self.away.clear()
        self.here.clear()
        self.coming = []
        self.coming_segments = []
        self.coming_number = 0
        self.values = {}
        self.records = {}
        self.uses = {}
        self.here_bytes = 0

    def clear(self) -> None:
        """The queue is deleted, its rows too."""
        self._clear_runs()
        self.segments = {}
        self.changed = []
        self.groups = []
        self.compacting = []
        self.compacting_number = 0
        self.compacted = {}

    def restore(self, segments: list[Segment]) -> None:
        """What recovery found: nothing is read, all is away."""
        for segment in segments:
            if segment.ticket > 0:
                self.queue.enlist()  # it was repaired: to be told when it can be read
            self.segments[segment.first] = segment
            self.add_run(Run(segment, segment.first, segment.live))
            self._note_sparse(segment)

    # -- compaction --

    def _wants_compaction(self) -> bool:
        return (
            len(self.groups) > 0
            or len(self.segments) > self.compact_above_segments
            or self.sparse_bytes > self.compact_above_bytes
        )

    def _compact(self) -> None:
        """Ask for the next groups that are worth it, as many as may be rewritten at a time."""
        if not self.groups:
            self.groups = compaction.choose([self.segments[at] for at in sorted(self.segments)], self.journal.durable)
            self.groups.reverse()
            self.compact_above_segments = max(
                limits.COMPACTION_SEGMENTS, 2 * (len(self.segments) - _saved(self.groups))
            )
            self.compact_above_bytes = limits.COMPACTION_BYTES if self.groups else 2 * self.sparse_bytes
        size = 0
        while self.groups and size < limits.COMPACTION_STEP_BYTES:
            group = [segment for segment in self.groups.pop() if segment.live > 0 and segment.successor is None]
            if group:
                self.compacting.append(group)
                size += sum([segment.size for segment in group])
        wanted = [(_table(segment), segment.key(self.queue_id)) for group in self.compacting for segment in group]
        if wanted:
            self.compacting_number = self.journal.fetch(self.queue, wanted)

    def _rewrite(self, values: list[bytes | None]) -> None:
        groups = self.compacting
        self.compacting = []
        self.compacting_number = 0
        at = 0
        was_rewritten = False
        for group in groups:
            was_rewritten |= self._rewrite_group(group, values[at : at + len(group)])
            at += len(group)
        if was_rewritten:
            self._join_runs()
            self.queue.enlist()  # to be told when it is durable, and go on

    def _rewrite_group(self, group: list[Segment], values: list[bytes | None]) -> bool:
        """Whether it was worth it, and possible now."""
        for segment in group:
            if segment in self.uses and segment not in self.values:
                return False  # it is being read: what is asked for must not go away
        try:
            writer = compaction.merge(self.queue_id, group, values)
        except CorruptSegment:
            for segment, value in zip(group, values, strict=True):
                segment.fixed = not self._is_whole(segment, value)  # told when a consumer comes to it
            return False
        if writer.count == 0:
            return False
        merged = writer.segment(self.journal.ticket, group[0].scratch)
        for segment in group:
            self._replace(segment, merged)
        self.segments[merged.first] = merged
        key = merged.key(self.queue_id)
        value = writer.value(key)
        self.journal.put(_table(merged), key, value)
        self.compacted[merged] = value
        return True

    def _is_whole(self, segment: Segment, value: bytes | None) -> bool:
        try:
            check_segment(segment.key(self.queue_id), value)
        except CorruptSegment:
            return False
        return True

    def _replace(self, segment: Segment, merged: Segment) -> None:
        if segment.live == 0:
            return  # its end is on its way
        self._forget(segment)
        segment.successor = merged
        self.journal.delete(_deletion(segment), segment.key(self.queue_id))
        if segment.settled is not None and not segment.scratch:
            self.journal.delete(ACKS, acks_key(self.queue_id, segment.first))

    def _join_runs(self) -> None:
        """Neighbours that are now of one segment are one run."""
        joined: deque[Run] = deque()
        for run in self.away:
            run.segment = run.segment.current()
            if joined and joined[-1].segment is run.segment:
                joined[-1].count += run.count
            else:
                joined.append(run)
        self.away = joined


def _guess_bytes(run: Run) -> int:
    segment = run.segment.current()
    return max(segment.size - segment.count * limits.RECORD_ESTIMATE_BYTES, 0) * run.count // segment.count


def _table(segment: Segment) -> int:
    return SCRATCH if segment.scratch else SEGMENTS


def _deletion(segment: Segment) -> int:
    """A batch that met a full disk is tried again, and what it deleted of the scratch tables is gone by then."""
    return SCRATCH if segment.scratch else THERE | SEGMENTS


def _position(record: Record) -> int:
    return record[0]


def _saved(groups: list[list[Segment]]) -> int:
    return sum([len(group) - 1 for group in groups])
