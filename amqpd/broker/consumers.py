"""Consumers of a queue: credit, and turns among those that have some (basic.consume, basic.qos; AMQP 0-9-1, 1.8.3).

Rules beyond the standard: RabbitMQ's consumer priorities and single active consumer.
"""
# HOT. `next` is called for every delivery: O(1), consumers without credit leave the ring until they have it again.

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amqpd.broker.fields import Table
    from amqpd.broker.ports import Outlet
    from amqpd.broker.queues.base import Queue


class Consumer:
    """One basic.consume. ``prefetch`` 0 is no limit; ``unacked`` counts what it holds."""

    def __init__(
        self,
        tag: str,
        queue: Queue,
        outlet: Outlet,
        arguments: Table,
        *,
        no_ack: bool,
        exclusive: bool,
        prefetch: int,
        priority: int = 0,
    ) -> None:
        self.tag = tag
        self.queue = queue
        self.outlet = outlet
        self.arguments = arguments
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.prefetch = prefetch
        self.priority = priority
        self.unacked = 0
        self.active = False  # in a ring of its queue
        self.cancelled = False
        self.prefix = b""  # the deliver method up to the delivery tag, for addresses of prefix_size bytes
        self.prefix_size = -1

    def has_credit(self) -> bool:
        if not self.no_ack and 0 < self.prefetch <= self.unacked:
            return False
        return self.outlet.has_room()


class Level:
    """Those of one priority that may have credit, in turn."""

    def __init__(self, priority: int) -> None:
        self.priority = priority
        self.ring: deque[Consumer] = deque()


class Consumers:
    """All consumers of one queue, oldest first, and the rings of those that may have credit.

    ``single_active``: only one of them gets messages, the one with the highest priority among the oldest, until it
    leaves.
    """

    def __init__(self, single_active: bool = False) -> None:
        self.all: list[Consumer] = []
        self.levels: list[Level] = []  # the highest priority first
        self.active_count = 0
        self.single_active = single_active
        self.single: Consumer | None = None

    def add(self, consumer: Consumer) -> None:
        self.all.append(consumer)
        if self.single_active and self.single is None:
            self.single = consumer
        self.activate(consumer)

    def remove(self, consumer: Consumer) -> None:
        consumer.cancelled = True
        self.all.remove(consumer)
        if consumer.active:
            self._level(consumer.priority).ring.remove(consumer)
            self._rest(consumer)
        if self.single is consumer:
            self._hand_over()

    def _hand_over(self) -> None:
        """The next one is the single active consumer."""
        self.single = None
        for consumer in self.all:
            if self.single is None or consumer.priority > self.single.priority:
                self.single = consumer
        if self.single is not None:
            self.activate(self.single)

    def activate(self, consumer: Consumer) -> None:
        """Its credit may be back."""
        if consumer.active or consumer.cancelled or (self.single_active and consumer is not self.single):
            return
        consumer.active = True
        self.active_count += 1
        self._level(consumer.priority).ring.append(consumer)

    def _level(self, priority: int) -> Level:
        index = 0
        for level in self.levels:
            if level.priority == priority:
                return level
            if level.priority < priority:
                break
            index += 1
        level = Level(priority)
        self.levels.insert(index, level)
        return level

    def _rest(self, consumer: Consumer) -> None:
        """It has left its ring."""
        consumer.active = False
        self.active_count -= 1

    def next(self) -> Consumer | None:
        """Whose turn it is, of those with credit and the highest priority; it goes to the end of its ring."""
        consumer = self.peek()
        if consumer is not None:
            ring = self.levels[0].ring
            if len(ring) > 1:
                ring.rotate(-1)
        return consumer

    def peek(self) -> Consumer | None:
        """The same, and it stays where it is."""
        levels = self.levels
        while levels:
            ring = levels[0].ring
            while ring:
                consumer = ring[0]
                if consumer.has_credit():
                    return consumer
                ring.popleft()
                self._rest(consumer)
            if len(levels) == 1:  # kept, for credit comes back
                break
            levels.pop(0)
        return None
