"""The open batch: what this turn and those before it changed and no commit holds yet. Tickets number the batches.

``put`` and ``delete`` add plain operations; queues enlist themselves and hand theirs over when the batch is sealed, so
that what was acked before is never written. One batch is with the store at a time; what comes meanwhile becomes the
next one, together.
"""
# HOT. `enlist` runs once a queue and batch, `seal` once a turn. Bench: tests/bench, scenarios D and D-only.

from __future__ import annotations

from typing import TYPE_CHECKING

from amqpd import limits
from amqpd.broker.ports import Fetcher, Op, Store, Waiter

if TYPE_CHECKING:
    from amqpd.broker.queues.base import Queue


class Journal:
    """``ticket`` is the open batch's number; ``durable`` the newest one on disk. What holds ticket 0 needs no disk."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.ticket = 1
        self.durable = 0
        self.busy = False  # the store has batch `ticket - 1`
        self.pending_bytes = 0  # of messages in the open batch, for back-pressure
        self.sealed_bytes = 0  # the same of the batch that the store has
        self.ops: list[Op] = []
        self.queues: list[Queue] = []
        self.sealed_queues: list[Queue] = []  # to be told when that batch is durable
        self.waiters: list[Waiter] = []
        self.fetch_number = 0
        self.fetching: dict[int, Fetcher] = {}  # by number: who waits for values

    def put(self, table: int, key: bytes, value: bytes) -> int:
        """Add to the open batch; the ticket to wait for."""
        self.ops.append((table, key, value))
        return self.ticket

    def delete(self, table: int, key: bytes) -> int:
        self.ops.append((table, key, None))
        return self.ticket

    def fetch(self, fetcher: Fetcher, wanted: list[tuple[int, bytes]]) -> int:
        """Have the durable values at (table, key) read; ``fetcher.on_fetched`` gets them with the number returned."""
        self.fetch_number += 1
        self.fetching[self.fetch_number] = fetcher
        self.store.fetch(self.fetch_number, wanted)
        return self.fetch_number

    def enlist(self, queue: Queue) -> None:
        """``queue`` has something for the open batch."""
        self.queues.append(queue)

    def wait(self, waiter: Waiter) -> None:
        """Have ``waiter`` told of all that the store tells until it says that it is done."""
        self.waiters.append(waiter)

    def is_overloaded(self) -> bool:
        return self.pending_bytes + self.sealed_bytes > limits.BATCH_HIGH_BYTES

    def is_swamped(self) -> bool:
        return self.pending_bytes + self.sealed_bytes > limits.BATCH_STOP_BYTES

    def is_relieved(self) -> bool:
        return self.pending_bytes + self.sealed_bytes < limits.BATCH_LOW_BYTES

    def seal(self) -> None:
        """Offer the open batch to the store, when there is one and the store is free."""
        if self.busy or not (self.ops or self.queues):
            return
        ops = self.ops
        self.ops = []
        self.sealed_queues = self.queues
        self.queues = []
        for queue in self.sealed_queues:
            queue.seal(ops, self.ticket)
        self.sealed_bytes = self.pending_bytes
        self.pending_bytes = 0
        self.busy = True
        self.ticket += 1
        self.store.commit(self.ticket - 1, ops)

    def collect(self) -> bool:
        """Take note of what the store has completed and fetched. True when there was something."""
        has_news = False
        if self.fetching:
            for number, values in self.store.fetched():
                has_news = True
                self.fetching.pop(number).on_fetched(number, values)
        if self.busy:
            completed = self.store.completed()
            if completed > self.durable:
                has_news = True
                self._on_durable(completed)
        if has_news and self.waiters:
            waiters = self.waiters
            self.waiters = []
            for waiter in waiters:
                if not waiter.on_durable(self.durable):
                    self.waiters.append(waiter)
        return has_news

    def _on_durable(self, completed: int) -> None:
        self.durable = completed
        self.busy = False
        self.sealed_bytes = 0
        queues = self.sealed_queues
        self.sealed_queues = []
        for queue in queues:
            queue.on_durable(completed)

    def newest(self) -> int:
        """The ticket that holds everything so far."""
        if self.ops or self.queues:
            return self.ticket
        return self.ticket - 1 if self.busy else 0

    def is_idle(self) -> bool:
        """Whether nothing is open and nothing is with the store."""
        return not (self.busy or self.ops or self.queues)
