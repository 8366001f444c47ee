"""What every kind of queue is (the seam ``x-queue-type``): a name, its properties, its consumers, and the verbs of a
queue.
"""
# HOT. Abstract base class: `enqueue`, `settle` and `pump` are called for every message, through the vtable.

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from amqpd.broker.consumers import Consumer, Consumers
from amqpd.broker.fields import Table
from amqpd.broker.message import Message
from amqpd.broker.ports import Op
from amqpd.broker.turn import Turn

if TYPE_CHECKING:
    from amqpd.broker.owner import Owner


class Queue:
    """A queue of one virtual host.

    ``queue_id`` is its number in the store, never used twice. ``owner``: the connection that it is exclusive to, None
    for a
    queue that is for all. ``created``: the ticket that holds its declaration, 0 when it needs no disk.
    """

    def __init__(
        self,
        name: str,
        queue_id: int,
        turn: Turn,
        arguments: Table,
        *,
        durable: bool,
        auto_delete: bool,
        owner: Owner | None,
    ) -> None:
        self.name = name
        self.queue_id = queue_id
        self.turn = turn
        self.journal = turn.journal
        self.arguments = arguments
        self.durable = durable
        self.auto_delete = auto_delete
        self.owner = owner
        self.on_disk = durable and owner is None  # an exclusive queue ends with its connection, durable or not
        self.created = 0
        self.consumers = Consumers()
        self.dirty = False
        self.deleted = False
        self.enlisted = False
        self.recovered_mark = 0  # positions up to it may have been delivered by an earlier run of the broker
        self.ready_count = 0
        self.unacked_count = 0

    def mark_dirty(self) -> None:
        """Have this queue pumped at the end of the turn."""
        if not self.dirty:
            self.dirty = True
            self.turn.dirty.append(self)

    def enlist(self) -> None:
        """Have this queue asked for what it adds to the open batch, and told when that is durable."""
        if not self.enlisted:
            self.enlisted = True
            self.journal.enlist(self)

    def add_consumer(self, consumer: Consumer) -> None:
        self.consumers.add(consumer)
        self.mark_dirty()

    def activate(self, consumer: Consumer) -> None:
        """``consumer`` may have credit again."""
        if not consumer.active and not consumer.cancelled:
            self.consumers.activate(consumer)
            self.mark_dirty()

    @abstractmethod
    def enqueue(self, message: Message) -> None:
        """Add a message at the tail."""

    @abstractmethod
    def pump(self, budget: int) -> bool:
        """Deliver ready messages to consumers with credit, ``budget`` at most. True when the budget ended it."""

    @abstractmethod
    def hold_ticket(self) -> int:
        """The ticket to wait for before the head may be got; 0 when it may be now."""

    @abstractmethod
    def get(self) -> Message | None:
        """Take the head out as one unacked message; None when there is no ready one."""

    @abstractmethod
    def settle(self, message: Message) -> None:
        """A message that was taken out is wanted no more."""

    @abstractmethod
    def requeue(self, messages: list[Message]) -> None:
        """Put messages that were taken out back in their places, as redelivered."""

    @abstractmethod
    def purge(self) -> int:
        """Drop all ready messages; how many there were."""

    @abstractmethod
    def on_deleted(self) -> None:
        """The queue is gone: forget everything, on disk too."""

    @abstractmethod
    def seal(self, ops: list[Op], ticket: int) -> None:
        """Add what changed since the last batch to ``ops``."""

    @abstractmethod
    def on_durable(self, durable: int) -> None:
        """The batch that this queue was in is on disk."""

    @abstractmethod
    def on_fetched(self, number: int, values: list[bytes | None]) -> None:
        """What this queue asked ``Journal.fetch`` for."""

    @abstractmethod
    def stop(self) -> None:
        """The broker stops cleanly: note for the next start what was delivered."""

    @abstractmethod
    def forget(self) -> None:
        """The broker is no more: let go of all messages."""
