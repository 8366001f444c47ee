"""Consumers of a queue: credit, and turns among those that have some (basic.consume, basic.qos; AMQP 0-9-1, 1.8.3)."""
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
        self, tag: str, queue: Queue, outlet: Outlet, arguments: Table, *, no_ack: bool, exclusive: bool, prefetch: int
    ) -> None:
        self.tag = tag
        self.queue = queue
        self.outlet = outlet
        self.arguments = arguments
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.prefetch = prefetch
        self.unacked = 0
        self.active = False  # in the ring of its queue
        self.cancelled = False
        self.prefix = b""  # the deliver method up to the delivery tag, for addresses of prefix_size bytes
        self.prefix_size = -1

    def has_credit(self) -> bool:
        if not self.no_ack and 0 < self.prefetch <= self.unacked:
            return False
        return self.outlet.has_room()


class Consumers:
    """All consumers of one queue, and the ring of those that may have credit."""

    def __init__(self) -> None:
        self.all: list[Consumer] = []
        self.ring: deque[Consumer] = deque()

    def add(self, consumer: Consumer) -> None:
        self.all.append(consumer)
        self.activate(consumer)

    def remove(self, consumer: Consumer) -> None:
        consumer.cancelled = True
        self.all.remove(consumer)
        if consumer.active:
            self.ring.remove(consumer)
            consumer.active = False

    def activate(self, consumer: Consumer) -> None:
        """Its credit may be back."""
        if not consumer.active and not consumer.cancelled:
            consumer.active = True
            self.ring.append(consumer)

    def next(self) -> Consumer | None:
        """Whose turn it is, of those with credit; it stays in the ring, at the end."""
        ring = self.ring
        while ring:
            consumer = ring[0]
            if consumer.has_credit():
                if len(ring) > 1:
                    ring.rotate(-1)
                return consumer
            ring.popleft()
            consumer.active = False
        return None
