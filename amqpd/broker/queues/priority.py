"""The priority queue (RabbitMQ: ``x-max-priority``): one order for each priority that was ever used, the highest first.

Each of these parts is a classic queue without consumers, with segments and marks of its own. It is made when the first
message of its priority comes, so that levels nobody uses cost nothing.
"""
# HOT. One look-up by priority more than a classic queue, whatever the number of levels.

from __future__ import annotations

from amqpd.broker.arguments import QueueSettings
from amqpd.broker.message import Message
from amqpd.broker.ports import NEXT, Home, Op
from amqpd.broker.queues.base import Declared, Queue
from amqpd.broker.queues.classic import ClassicQueue
from amqpd.broker.turn import Turn


class PriorityQueue(Queue):
    """See the module. ``filled``: bit n is set when the part of priority n has ready messages."""

    def __init__(self, declared: Declared, queue_id: int, turn: Turn, window_bytes: int, home: Home | None) -> None:
        self.parts: dict[int, ClassicQueue] = {}
        self.filled = 0
        super().__init__(declared, queue_id, turn, window_bytes, home)

    # -- parts --

    def part_numbers(self) -> dict[int, int]:
        return {priority: part.queue_id for priority, part in self.parts.items() if part.queue_id != self.queue_id}

    def _part_of(self, message: Message) -> ClassicQueue:
        """Where a message of its priority lies; made now, if it is the first."""
        priority = min(message.priority, self.settings.max_priority)
        message.priority = priority
        part = self.parts.get(priority)
        return self._new_part(priority) if part is None else part

    def _new_part(self, priority: int) -> ClassicQueue:
        # The lowest part has the queue's own number, so that a queue without priorities is stored as a classic one.
        if priority == 0 or self.home is None:
            return self.add_part(priority, self.queue_id)
        part = self.add_part(priority, self.home.take_number())
        self.home.save_queue(self)
        return part

    def add_part(self, priority: int, number: int) -> ClassicQueue:
        """The part of ``priority``, stored under ``number``."""
        # A part drops nothing itself; it counts bytes if the queue has to.
        settings = QueueSettings(max_length_bytes=0 if self.max_bytes >= 0 else None)
        declared = Declared(self.name, {}, settings, durable=self.durable, auto_delete=False, owner=self.owner)
        part = ClassicQueue(declared, number, self.turn, self.window_bytes, None, self)
        part.backlog.priority = priority
        self.parts[priority] = part
        return part

    def count(self) -> None:
        """Parts were filled or emptied behind the queue's back: by recovery, or by what could not be read."""
        self.filled = 0
        self.ready_count = 0
        self.ready_bytes = 0
        for priority, part in self.parts.items():
            self.ready_count += part.ready_count
            self.ready_bytes += part.ready_bytes
            self.is_expiring = self.is_expiring or part.is_expiring
            if part.ready_count:
                self.filled |= 1 << priority

    def _highest(self) -> ClassicQueue | None:
        while self.filled:
            priority = self.filled.bit_length() - 1
            part = self.parts[priority]
            if part.ready_count:
                return part
            self.filled ^= 1 << priority
        return None

    # -- a queue's verbs, each for the part that it concerns --

    def enqueue(self, message: Message) -> None:
        part = self._part_of(message)
        before = part.ready_bytes
        part.enqueue(message)
        self.filled |= 1 << message.priority
        self.ready_count += 1
        self.ready_bytes += part.ready_bytes - before

    def head(self) -> Message | None:
        part = self._highest()
        if part is None:
            return None
        message = part.head()
        if message is None and not part.ready_count:  # what there was could not be read
            self.count()
            return self.head()
        return message

    def peek(self, limit: int) -> list[Message]:
        messages: list[Message] = []
        for priority in sorted(self.parts, reverse=True):
            messages.extend(self.parts[priority].peek(limit - len(messages)))
        return messages

    def may_deliver(self, message: Message) -> bool:
        return self.parts[message.priority].may_deliver(message)

    def take(self, message: Message) -> None:
        part = self.parts[message.priority]
        before = part.ready_bytes
        part.take(message)
        self.ready_count -= 1
        self.unacked_count += 1
        self.ready_bytes += part.ready_bytes - before

    def put_back(self, message: Message) -> None:
        part = self.parts[message.priority]
        before = part.ready_bytes
        part.put_back(message)
        self.filled |= 1 << message.priority
        self.ready_count += 1
        self.unacked_count -= 1
        self.ready_bytes += part.ready_bytes - before

    def settle(self, message: Message) -> None:
        self.unacked_count -= 1
        self.parts[message.priority].settle(message)

    def ticket_of_head(self) -> int:
        message = self.head()
        if message is None:
            return NEXT if self.ready_count else 0
        return self.parts[message.priority].ticket_of_head()

    def purge(self) -> int:
        count = self.ready_count
        for part in self.parts.values():
            part.purge()
        self.filled = 0
        self.ready_count = 0
        self.ready_bytes = 0
        return count

    def count_bytes(self) -> int:
        size = 0
        for part in self.parts.values():
            part.apply(QueueSettings(max_length_bytes=0))
            size += part.ready_bytes
        return size

    def prepare(self) -> None:
        for part in self.parts.values():
            part.prepare()

    def read_ahead(self) -> None:
        for part in self.parts.values():
            part.read_ahead()

    def on_consumer(self) -> None:
        for part in self.parts.values():
            part.on_consumer()

    def on_deleted(self) -> None:
        self.deleted = True
        for part in self.parts.values():
            part.on_deleted()
        self.forget()
        self.ready_count = 0

    def forget(self) -> None:
        for part in self.parts.values():
            part.forget()
        self.filled = 0

    def stop(self) -> None:
        for part in self.parts.values():
            part.stop()

    # -- the store knows parts only --

    def seal(self, ops: list[Op], ticket: int) -> None:
        self.enlisted = False

    def on_durable(self, durable: int) -> None:
        pass

    def on_fetched(self, number: int, values: list[bytes | None]) -> None:
        pass
