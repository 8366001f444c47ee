"""The classic queue: ready messages in order, a window of them in memory, the rest in segments of the store.

In order of position:  returned (a heap: requeued, so older than what follows) | ready | the runs of the backlog (on
disk, ``backlog.py``) | tail. The latter two are empty while the queue fits its window. Rules: docs/architecture.md,
"Queues".
"""
# HOT. Enqueue and deliver are a deque append and popleft; all else happens once a batch or beyond the window.
# Bench: tests/bench, scenarios A, B, D, G.   Twin: tests/properties/model.py, a queue as a plain list.

from __future__ import annotations

import heapq
import itertools
from collections import deque
from typing import Final

from mypy_extensions import i64

from amqpd import limits
from amqpd.broker.message import MOVED, Message
from amqpd.broker.ports import ACKS, CLEAR, NEXT, QUARANTINE, SCRATCH, SEGMENTS, STATES, Home, Op
from amqpd.broker.queues.backlog import Backlog, Run
from amqpd.broker.queues.base import Declared, Queue, body_size
from amqpd.broker.queues.segments import Segment, SegmentWriter, queue_key
from amqpd.broker.records import seal
from amqpd.broker.turn import Turn

# Stands for an empty deque until something comes: a deque takes 760 bytes, and most queues of a broker are idle.
_NOTHING: Final[deque[Message]] = deque()


class ClassicQueue(Queue):
    """See the module."""

    def __init__(
        self,
        declared: Declared,
        queue_id: int,
        turn: Turn,
        window_bytes: int,
        home: Home | None,
        front: Queue | None = None,
    ) -> None:
        self.ready: deque[Message] = _NOTHING
        self.returned: list[tuple[int, Message]] = []  # by position; where returns count, by the order of return
        self.return_count = 0
        self.tail: deque[Message] = _NOTHING
        self.paging = False  # beyond the window: new messages go to the tail, and to disk
        self.memory_bytes = 0  # of `ready` and `tail`
        self.next_position = 1
        self.fresh: list[Message] = []  # for the open batch
        self.delivered = 0  # the highest position that was delivered
        self.delivered_mark = 0  # stored messages up to here may be delivered: a crash brings them back as redelivered
        self.asked_mark = 0
        self.asked_ticket = 0
        self.awaits_batch = False  # the head does, before it may be delivered
        super().__init__(declared, queue_id, turn, window_bytes, home, front)
        self.backlog = Backlog(self, window_bytes // 4)

    # -- in --

    def enqueue(self, message: Message) -> None:
        position = self.next_position
        self.next_position = position + 1
        message.position = position
        self.ready_count += 1
        size = len(message.content) + limits.MESSAGE_OVERHEAD_BYTES
        self.memory_bytes += size
        if self.max_bytes >= 0:
            self.ready_bytes += body_size(message.content)
        if self.paging:
            if self.tail is _NOTHING:
                self.tail = deque()
            self.tail.append(message)
        else:
            if self.ready is _NOTHING:
                self.ready = deque()
            self.ready.append(message)
        if message.stored or self.paging:
            self.journal.pending_bytes += size
            self.fresh.append(message)
            self.enlist()
        if not self.dirty:
            self.mark_dirty()

    def put_back(self, message: Message) -> None:
        self.return_count += 1
        heapq.heappush(self.returned, (self.return_count if self.counts_returns else message.position, message))
        self.ready_count += 1
        self.unacked_count -= 1
        if self.max_bytes >= 0:
            self.ready_bytes += body_size(message.content)

    # -- out --

    def prepare(self) -> None:
        if self.memory_bytes > self.window_bytes and not self.paging:
            self._start_paging()

    def read_ahead(self) -> None:
        if self.paging and (self.front.consumers.active_count or self.front.is_expiring):
            self.backlog.read_ahead()
        self._ask_ahead()

    def _ask_ahead(self) -> None:
        """Move the mark in good time, so that deliveries need not wait; after a restart only once they reach it."""
        mark = self.delivered_mark
        if mark == self.asked_mark and self.recovered_mark < mark < self.delivered + limits.DELIVERED_AHEAD // 2:
            self._ask_mark(self.delivered)

    def on_consumer(self) -> None:
        """The first message that comes need not wait for its mark."""
        if self.on_disk and self.asked_mark < self.next_position and not self.ready_count:
            self._ask_mark(self.next_position)

    def ticket_of_head(self) -> int:
        message = self.head()
        if message is None:
            return 0 if self.backlog.is_empty() else NEXT
        if self.may_deliver(message):
            return 0
        return max(self.asked_ticket, self._ticket_of(message))

    def head(self) -> Message | None:
        if self.returned:  # what was delivered before is older than all that was not
            return self.returned[0][1]
        if not self.ready and self.paging:
            self._refill()
        return self.ready[0] if self.ready else None

    def peek(self, limit: int) -> list[Message]:
        messages = [message for _, message in heapq.nsmallest(limit, self.returned)]
        messages.extend(itertools.islice(self.ready, limit - len(messages)))
        if self.paging:
            messages.extend(self.backlog.peek(limit - len(messages)))
        messages.extend(itertools.islice(self.tail, limit - len(messages)))
        return messages

    def take(self, message: Message) -> None:
        if self.returned:
            heapq.heappop(self.returned)
        else:
            self.ready.popleft()
            self.memory_bytes -= len(message.content) + limits.MESSAGE_OVERHEAD_BYTES
            self.delivered = max(self.delivered, message.position)  # not below what an earlier run had delivered
        self.ready_count -= 1
        self.unacked_count += 1
        if self.max_bytes >= 0:
            self.ready_bytes = self.ready_bytes - body_size(message.content) if self.ready_count else 0

    def may_deliver(self, message: Message) -> bool:
        if not message.stored:
            return True
        if message.channel & MOVED and self._ticket_of(message) > self.journal.durable:
            self.awaits_batch = True
            return False
        if message.position <= self.delivered_mark:
            return True
        if self.asked_mark < message.position:
            self._ask_mark(message.position)
        return False

    def _ticket_of(self, message: Message) -> int:
        """What has to be durable for a stored message to be on disk."""
        segment = message.segment
        return self.journal.ticket if segment is None else segment.current().ticket

    def _ask_mark(self, position: int) -> None:
        self.asked_mark = position + limits.DELIVERED_AHEAD
        self.asked_ticket = self._put_mark(self.asked_mark)
        self.enlist()

    def _put_mark(self, position: int) -> int:
        key = queue_key(self.queue_id)
        return self.journal.put(STATES, key, seal(key, position.to_bytes(8, "big")))

    def settle(self, message: Message) -> None:
        self.unacked_count -= 1
        self._forget(message)

    def _forget(self, message: Message) -> None:
        message.settled = True
        message.consumer = None
        segment = message.segment
        if segment is not None:
            self.backlog.settle(segment, message.position)

    def purge(self) -> int:
        count = self.ready_count
        for message in self.ready:
            self._forget(message)
        for message in self.tail:
            self._forget(message)
        for _, message in self.returned:
            self._forget(message)
        self.backlog.drop()
        self.ready.clear()
        self.tail.clear()
        self.returned = []
        self.memory_bytes = 0
        self.ready_count = 0
        self.ready_bytes = 0
        self.paging = False
        return count

    def count_bytes(self) -> int:
        size: i64 = self.backlog.count_bytes() if self.paging else 0
        for message in self.ready:
            size += body_size(message.content)
        for message in self.tail:
            size += body_size(message.content)
        for _, message in self.returned:
            size += body_size(message.content)
        return size

    def on_deleted(self) -> None:
        self.deleted = True
        if self.on_disk:
            for table in (SEGMENTS, ACKS, STATES, QUARANTINE):
                self.journal.delete(CLEAR | table, queue_key(self.queue_id))
        if self.backlog.has_scratch:
            self.journal.delete(CLEAR | SCRATCH, queue_key(self.queue_id))
        self.forget()
        self.ready_count = 0

    def forget(self) -> None:
        self.ready.clear()
        self.tail.clear()
        self.backlog.clear()
        self.returned = []
        self.fresh = []
        self.paging = False
        self.memory_bytes = 0

    # -- the store --

    def seal(self, ops: list[Op], ticket: int) -> None:
        self.enlisted = False
        if self.deleted:
            return
        fresh = self.fresh
        if fresh:
            self.fresh = []
            self._seal_fresh([message for message in fresh if message.stored and not message.settled], ops, ticket)
            self._seal_fresh([message for message in fresh if not message.stored and not message.settled], ops, ticket)
        self.backlog.seal(ops)

    def _seal_fresh(self, fresh: list[Message], ops: list[Op], ticket: int) -> None:
        """Segments of messages of one kind, as many as their size asks for."""
        writer = SegmentWriter()
        members: list[Message] = []
        for message in fresh:
            if writer.size() >= limits.SEGMENT_BYTES:
                self._seal_segment(writer, members, ops, ticket)
                writer = SegmentWriter()
                members = []
            writer.add(message.position, message.channel, message.address, message.content, message.expires_at)
            members.append(message)
        if members:
            self._seal_segment(writer, members, ops, ticket)

    def _seal_segment(self, writer: SegmentWriter, members: list[Message], ops: list[Op], ticket: int) -> None:
        segment = writer.segment(ticket, not members[0].stored)
        for message in members:
            message.segment = segment
        self.backlog.add(segment)
        key = segment.key(self.queue_id)
        ops.append((SCRATCH if segment.scratch else SEGMENTS, key, writer.value(key)))

    def on_durable(self, durable: int) -> None:
        if self.asked_mark > self.delivered_mark and self.asked_ticket <= durable:
            self.delivered_mark = self.asked_mark
            self.mark_dirty()
        if self.paging:
            self._page_out(durable)
            self.mark_dirty()
        elif self.awaits_batch:
            self.mark_dirty()
        self.awaits_batch = False
        self.backlog.on_durable()

    def on_fetched(self, number: int, values: list[bytes | None]) -> None:
        if not self.deleted:
            self.backlog.on_fetched(number, values)

    def stop(self) -> None:
        if self.on_disk and self.asked_mark > 0:
            self._put_mark(self.delivered)

    # -- beyond the window --

    def _start_paging(self) -> None:
        """Keep half a window in ``ready``, move the rest to the tail, and send to disk what is not on its way there."""
        self.paging = True
        kept = self.memory_bytes
        moved: list[Message] = []
        while kept > self.window_bytes // 2 and len(self.ready) > 1:
            message = self.ready.pop()
            kept -= len(message.content) + limits.MESSAGE_OVERHEAD_BYTES
            moved.append(message)
        moved.reverse()
        self.tail = deque(moved)
        enlisted = {message.position for message in self.fresh}
        unsealed = [message for message in moved if message.segment is None and message.position not in enlisted]
        if unsealed:
            merged = self.fresh + unsealed
            merged.sort(key=_position)
            self.fresh = merged
            for message in unsealed:
                self.journal.pending_bytes += len(message.content) + limits.MESSAGE_OVERHEAD_BYTES
            self.enlist()
        self._page_out(self.journal.durable)

    def _page_out(self, durable: int) -> None:
        """Forget what is on disk at the front of the tail."""
        tail = self.tail
        while tail:
            message = tail[0]
            segment = message.segment
            if segment is None:
                return
            segment = segment.current()
            if segment.ticket > durable:
                return
            run = Run(segment, message.position, 0)
            while tail and _is_in(tail[0], segment):
                self.memory_bytes -= len(tail.popleft().content) + limits.MESSAGE_OVERHEAD_BYTES
                run.count += 1
            self.backlog.add_run(run)

    def _refill(self) -> None:
        """Fill ``ready``, which is empty, from the backlog, and from the tail when nothing is left there."""
        if self.ready is _NOTHING:
            self.ready = deque()
        for message in self.backlog.next_messages():
            self.ready.append(message)
            self.memory_bytes += len(message.content) + limits.MESSAGE_OVERHEAD_BYTES
        if self.backlog.is_empty():
            self.ready.extend(self.tail)
            self.tail.clear()
            self.paging = False

    def restore(self, segments: list[Segment], delivered_mark: int, last_key: int) -> None:
        """What recovery found. ``last_key``: the highest position in any key."""
        self.recovered_mark = self.delivered_mark = self.asked_mark = self.delivered = delivered_mark
        self.next_position = max(delivered_mark, last_key) + 1
        self.backlog.restore(segments)
        for segment in segments:
            self.ready_count += segment.live
            self.is_expiring = self.is_expiring or segment.expiring
        self.paging = len(segments) > 0
        if self.max_bytes >= 0:
            self.ready_bytes = self.count_bytes()
        if self.is_expiring or self.is_bounded:
            self.mark_dirty()


def _is_in(message: Message, segment: Segment) -> bool:
    return message.segment is not None and message.segment.current() is segment


def _position(message: Message) -> int:
    return message.position
