"""A turn's loose ends: queues to pump, channels that owe confirms, the batch to seal (docs/architecture.md, "A
turn").
"""
# HOT. Runs once a turn over what the turn touched.

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from mypy_extensions import i64

from amqpd import limits
from amqpd.broker.journal import Journal
from amqpd.broker.ports import Waiter
from amqpd.broker.timers import Timers

if TYPE_CHECKING:
    from amqpd.broker.queues.base import Queue


class Turn:
    """One per broker. Whoever changes something in a turn leaves a note here; ``finish`` acts on them, in a fixed
    order. ``epoch_ms``: what the clock's zero is in milliseconds since 1970; ``now_ms``: this turn's time in them."""

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self.timers = Timers()
        self.epoch_ms: i64 = 0
        self.now_ms: i64 = 0
        self.now_us: i64 = 0  # the same, finer: two turns never have the same
        self.dirty: deque[Queue] = deque()
        self.confirming: list[Waiter] = []  # channels with publishes to confirm; each notes itself once

    def begin(self, now: float) -> bool:
        """The clock says ``now`` (seconds): do what is due. True when something was."""
        self.now_us = self.epoch_ms * 1000 + i64(now * 1_000_000.0 + 0.5)
        self.now_ms = self.now_us // 1000
        return self.timers.run(int(self.now_ms))

    def next_timer(self) -> float:
        """When the clock will say that something is due; negative when nothing ever will be."""
        due_ms = self.timers.next_ms()
        return (due_ms - int(self.epoch_ms)) / 1000.0 if due_ms else -1.0

    def finish(self) -> bool:
        """Deliver, seal, confirm. True when a queue stopped at its bound and wants another turn."""
        self._pump()
        self.journal.seal()
        while self.journal.collect():  # a store that completes at once
            self._pump()
            self.journal.seal()
        confirming = self.confirming
        if confirming:
            self.confirming = []
            for waiter in confirming:
                if not waiter.on_durable(self.journal.durable):
                    self.journal.wait(waiter)
        return len(self.dirty) > 0

    def _pump(self) -> None:
        dirty = self.dirty
        unfinished: list[Queue] = []
        rounds = 0
        while dirty and rounds < limits.TURN_ROUNDS:  # what dies in one queue may be due in another at once
            rounds += 1
            for _ in range(len(dirty)):
                queue = dirty.popleft()
                queue.dirty = False
                if queue.pump(limits.TURN_DELIVERIES):
                    unfinished.append(queue)
        for queue in unfinished:
            queue.mark_dirty()
