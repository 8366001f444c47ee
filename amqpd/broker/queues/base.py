"""What every kind of queue is (the seam ``x-queue-type``): a name, its properties, its consumers, and what happens to
its messages: delivery, expiry, overflow, death.

Where messages lie is the kinds' affair (``classic.py``, ``priority.py``). Rules: AMQP 0-9-1, class queue; RabbitMQ's
pages on TTL, queue length limits, dead lettering, and quorum queues (delivery limit).
"""
# HOT. Abstract base class: `enqueue`, `settle` and `pump` are called for every message, through the vtable.
# Bench: tests/bench, scenarios A to E.   Twin: tests/properties/model.py, a queue as a plain list.

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Final

from librt.strings import read_i64_be
from mypy_extensions import i64

from amqpd import limits
from amqpd.broker.arguments import QUORUM, QueueSettings
from amqpd.broker.consumers import Consumer, Consumers
from amqpd.broker.fields import Table
from amqpd.broker.message import Message
from amqpd.broker.ports import SOON, Fetcher, Home, Op
from amqpd.broker.timers import Deadline
from amqpd.broker.turn import Turn

if TYPE_CHECKING:
    from amqpd.broker.owner import Owner

# Reasons for a death, as x-death has them.
REJECTED: Final = "rejected"
EXPIRED: Final = "expired"
MAXLEN: Final = "maxlen"
DELIVERY_LIMIT: Final = "delivery_limit"


class Declared:
    """What a queue is declared with, and the settings that come of it. ``owner``: the connection that it is exclusive
    to, None for a queue that is for all.
    """

    def __init__(
        self,
        name: str,
        arguments: Table,
        settings: QueueSettings,
        *,
        durable: bool,
        auto_delete: bool,
        owner: Owner | None,
    ) -> None:
        self.name = name
        self.arguments = arguments
        self.settings = settings
        self.durable = durable
        self.auto_delete = auto_delete
        self.owner = owner


class Queue(Fetcher):
    """A queue of one virtual host.

    ``queue_id`` is its number in the store, never used twice. ``created``: the ticket that holds its declaration, 0
    when it needs no disk. ``window_bytes`` of its messages stay in memory. ``front``: the queue that messages and
    clients know; another one where this is a part of it (``priority.py``).
    """

    def __init__(
        self,
        declared: Declared,
        queue_id: int,
        turn: Turn,
        window_bytes: int,
        home: Home | None,
        front: Queue | None = None,
    ) -> None:
        self.name = declared.name
        self.queue_id = queue_id
        self.turn = turn
        self.journal = turn.journal
        self.window_bytes = window_bytes
        self.arguments = declared.arguments
        self.durable = declared.durable
        self.auto_delete = declared.auto_delete
        self.owner = declared.owner
        self.home = home
        self.front: Queue = self if front is None else front
        # An exclusive queue ends with its connection, durable or not.
        self.on_disk = declared.durable and declared.owner is None
        self.created = 0
        self.consumers = Consumers(declared.settings.single_active_consumer)
        self.dirty = False
        self.deleted = False
        self.enlisted = False
        self.recovered_mark = 0  # positions up to it may have been delivered by an earlier run of the broker
        self.ready_count = 0
        self.unacked_count = 0
        self.ready_bytes: i64 = 0  # of the bodies of ready messages; counted only where max_bytes asks for it
        self.is_held = False  # the head waits for its mark before it may be delivered
        self.passed_us: i64 = 0  # what expires at this time or before was looked at, and found nobody
        self.spared: Message | None = None  # the head, if it does not expire while it waits for its mark
        # What settings ask for; -1 where they do not.
        self.settings = declared.settings
        self.policies: tuple[object, object] = (None, None)  # what of the settings policies say
        self.ttl_ms: i64 = -1
        self.max_length: i64 = -1
        self.max_bytes: i64 = -1
        self.is_bounded = False
        self.rejects = False  # overflow: new messages are refused, instead of old ones dropped
        self.counts_returns = False  # how often each message comes back; and those that do go first, in that order
        self.stores_all = False  # transient messages, too
        self.is_expiring = False  # some messages may expire
        self.expiry: _Expiry | None = None
        self.disuse: _Disuse | None = None
        self.apply(declared.settings)

    def part_numbers(self) -> dict[int, int]:
        """By priority, the numbers in the store of parts that have one of their own."""
        return {}

    # -- settings --

    def apply(self, settings: QueueSettings) -> None:
        """Arguments or policies ask for this from now on; what is ready already counts at once."""
        self.settings = settings
        ttl_ms, max_length, max_bytes = settings.message_ttl_ms, settings.max_length, settings.max_length_bytes
        self.ttl_ms = -1 if ttl_ms is None else ttl_ms
        self.max_length = -1 if max_length is None else max_length
        had_bytes = self.max_bytes >= 0
        self.max_bytes = -1 if max_bytes is None else max_bytes
        self.is_bounded = self.max_length >= 0 or self.max_bytes >= 0
        self.rejects = self.is_bounded and settings.overflow != "drop-head"
        self.counts_returns = self.stores_all = settings.queue_type == QUORUM
        if self.max_bytes >= 0 and not had_bytes:
            self.ready_bytes = self.count_bytes()
        self.use()
        self.mark_dirty()

    def use(self) -> None:
        """It was declared, got from, or lost a consumer: the time begins after which it expires (x-expires)."""
        expires_ms = self.settings.expires_ms
        if expires_ms is None:
            if self.disuse is not None:
                self.turn.timers.clear(self.disuse)
            return
        if self.disuse is None:
            self.disuse = _Disuse(self)
        self.turn.timers.set(self.disuse, self.turn.now_ms + expires_ms)

    def drop_deadlines(self) -> None:
        """The queue is going: nothing of it will be due."""
        for deadline in (self.expiry, self.disuse):
            if deadline is not None:
                self.turn.timers.clear(deadline)

    def lose(self, count: int) -> None:
        """So many ready messages cannot be read: they are not ready any more."""
        self.ready_count -= count
        if self.front is not self:
            self.front.ready_count -= count

    def mark_dirty(self) -> None:
        """Have this queue pumped at the end of the turn."""
        front = self.front
        if not front.dirty:
            front.dirty = True
            self.turn.dirty.append(front)

    def enlist(self) -> None:
        """Have this queue asked for what it adds to the open batch, and told when that is durable."""
        if not self.enlisted:
            self.enlisted = True
            self.journal.enlist(self)

    # -- consumers --

    def add_consumer(self, consumer: Consumer) -> None:
        self.consumers.add(consumer)
        self.on_consumer()
        self.mark_dirty()

    def remove_consumer(self, consumer: Consumer) -> None:
        self.consumers.remove(consumer)
        if not self.consumers.all:
            self.use()
        self.mark_dirty()

    def activate(self, consumer: Consumer) -> None:
        """``consumer`` may have credit again."""
        if not consumer.active and not consumer.cancelled:
            self.consumers.activate(consumer)
            self.mark_dirty()

    # -- in --

    def refuses(self, content: bytes) -> bool:
        """Whether the queue is full for this message, and refuses new ones then (x-overflow)."""
        if not self.rejects or self._has_room(content):
            return False
        self.catch_up()  # what consumers can take goes first, and what has expired
        return not self._has_room(content)

    def _has_room(self, content: bytes) -> bool:
        if 0 <= self.max_length <= self.ready_count:
            return False
        return self.max_bytes < 0 or self.ready_bytes + body_size(content) <= self.max_bytes

    def refuse(self, message: Message) -> None:
        """The queue ``refuses`` this message, which was never in it."""
        if self.settings.overflow == "reject-publish-dlx" and self.settings.dead_letter_exchange is not None:
            if self.home is not None:
                self.home.dead_letter(self, message, MAXLEN)

    def expire_after(self, message: Message, ttl_ms: i64) -> None:
        """The message's own time to live, -1 for none, or the queue's if that is shorter."""
        if ttl_ms < 0 or 0 <= self.ttl_ms < ttl_ms:
            ttl_ms = self.ttl_ms
        if ttl_ms >= 0:
            message.expires_at = max(self.turn.now_us, int(self.passed_us) + 1) + ttl_ms * 1000
            self.is_expiring = True

    # -- out --

    def pump(self, budget: int) -> bool:
        """Deliver ready messages to consumers with credit, ``budget`` at most. True when the budget ended it."""
        self.prepare()
        consumers = self.consumers
        left = budget
        self.is_held = False
        while left > 0 and consumers.active_count:
            message = self.head()
            if message is None:
                break
            if message.expires_at and self._is_too_late(message):
                left -= self._die(message, EXPIRED)
                continue
            if not self.may_deliver(message):
                self.is_held = True
                break
            consumer = consumers.next()
            if consumer is None:
                break
            self.take(message)
            consumer.outlet.deliver(consumer, message)
            if consumer.no_ack:
                self.settle(message)
            left -= 1
        self.spared = self._spare_head() if self.is_held and self.is_expiring else None
        if not self.is_held and (self.is_expiring or self.is_bounded):
            left = self._drop(left)
        self.read_ahead()
        return left <= 0

    def _spare_head(self) -> Message | None:
        """The head, if a consumer was there for it in time and only its mark is not durable yet."""
        return None if self.consumers.peek() is None else self.head()

    def _drop(self, budget: int) -> int:
        """Drop from the head what has expired and what is too much, ``budget`` at most; what is left of that."""
        message = self.head()
        while message is not None and budget > 0:
            if self._is_over():
                budget -= self._die(message, MAXLEN)
            elif self._has_expired(message):
                budget -= self._die(message, EXPIRED)
            else:
                break
            message = self.head()
        if message is not None and message.expires_at:
            self._expire_at((int(message.expires_at) + 999) // 1000)
        return budget

    def _is_over(self) -> bool:
        if self.rejects:
            return False
        return 0 <= self.max_length < self.ready_count or 0 <= self.max_bytes < self.ready_bytes

    def _expire_at(self, at_ms: int) -> None:
        if self.expiry is None:
            self.expiry = _Expiry(self)
        self.turn.timers.set(self.expiry, at_ms)

    def _die(self, message: Message, reason: str) -> int:
        """Take the head out for good; how many deliveries that is as much work as."""
        self.take(message)
        self.bury(message, reason)
        return 1 if self.settings.dead_letter_exchange is None else limits.DEATH_DELIVERIES

    def bury(self, message: Message, reason: str) -> None:
        """A message that was taken out is dead: to the dead letter exchange with it, if there is one."""
        if self.settings.dead_letter_exchange is not None and self.home is not None:
            self.home.dead_letter(self, message, reason)
        self.settle(message)

    def catch_up(self) -> None:
        """Have what this turn published expire, overflow and go to consumers now, for an answer that counts."""
        if self.dirty and (self.is_expiring or self.is_bounded):
            self.pump(limits.TURN_DELIVERIES)
            # What is to be delivered at once or never was not, though it is the same moment still.
            self.passed_us = max(self.turn.now_us, int(self.passed_us) + 1)
            if not self.is_held:
                self._drop(limits.TURN_DELIVERIES)

    def hold_ticket(self) -> int:
        """The ticket to wait for before the head may be got; 0 when it may be now."""
        self.catch_up()
        message = self.head()
        if message is not None and self._has_expired(message):
            self.mark_dirty()
            return SOON  # there are more than this turn could bury
        return self.ticket_of_head()

    def _has_expired(self, message: Message) -> bool:
        """Whether nobody may have it any more who does not have it now."""
        if message.expires_at == 0 or message is self.spared:
            return False
        return message.expires_at <= self.turn.now_us or message.expires_at <= self.passed_us

    def _is_too_late(self, message: Message) -> bool:
        """Whether it expired before this moment: what has no time to live at all may still go to who is ready."""
        if message is self.spared:
            return False
        return message.expires_at < self.turn.now_us or message.expires_at <= self.passed_us

    def get(self) -> Message | None:
        """Take the head out as one unacked message; None when there is no ready one. Ask ``hold_ticket`` before."""
        message = self.head()
        if message is not None:
            self.take(message)
            if self.is_expiring:
                self._drop(limits.TURN_DELIVERIES)  # the new head, before anybody counts
        if self.settings.expires_ms is not None:
            self.use()
        return message

    # -- back --

    def requeue(self, messages: list[Message]) -> None:
        """Put messages that were taken out back in their places, as redelivered."""
        if self.deleted:
            return
        if self.counts_returns:
            messages = self._count_returns(messages)
        for message in messages:
            message.redelivered = True
            message.consumer = None
            self.put_back(message)
        if self.is_expiring or self.is_bounded:
            self._drop(limits.TURN_DELIVERIES)  # what comes back may be too much before it finds a consumer
        self.mark_dirty()

    def _count_returns(self, messages: list[Message]) -> list[Message]:
        """Those that may be delivered again; the others have been too often (RabbitMQ: x-delivery-limit)."""
        limit = self.settings.delivery_limit
        kept: list[Message] = []
        for message in messages:
            message.returns += 1
            if limit is not None and message.returns > limit:
                self.bury(message, DELIVERY_LIMIT)
            else:
                kept.append(message)
        return kept

    def reject(self, message: Message) -> None:
        """Its consumer does not want it, nor that anybody else gets it."""
        if self.deleted:
            self.settle(message)
        else:
            self.bury(message, REJECTED)

    # -- where messages lie --

    @abstractmethod
    def enqueue(self, message: Message) -> None:
        """Add a message at the tail."""

    @abstractmethod
    def head(self) -> Message | None:
        """The ready message that is next; None when there is none, or none in memory yet."""

    @abstractmethod
    def peek(self, limit: int) -> list[Message]:
        """The first ``limit`` ready messages, in the order in which they are to be delivered. Changes nothing; what is
        on disk only is read while everybody waits."""

    @abstractmethod
    def may_deliver(self, message: Message) -> bool:
        """Whether a crash now would bring the head back as redelivered. If not, ask for the mark that does it."""

    @abstractmethod
    def take(self, message: Message) -> None:
        """Take the head, which is ``message``, out of the ready ones."""

    @abstractmethod
    def put_back(self, message: Message) -> None:
        """Among the ready ones again, in its place."""

    @abstractmethod
    def settle(self, message: Message) -> None:
        """A message that was taken out is wanted no more."""

    @abstractmethod
    def ticket_of_head(self) -> int:
        """As ``hold_ticket``, for the head as it is."""

    @abstractmethod
    def purge(self) -> int:
        """Drop all ready messages; how many there were."""

    @abstractmethod
    def count_bytes(self) -> int:
        """The bytes of all ready bodies, as far as they are known: what is on disk only is estimated."""

    @abstractmethod
    def prepare(self) -> None:
        """Before messages are delivered."""

    @abstractmethod
    def read_ahead(self) -> None:
        """After messages were delivered: what the next ones will need."""

    @abstractmethod
    def on_consumer(self) -> None:
        """A consumer has come."""

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
    def stop(self) -> None:
        """The broker stops cleanly: note for the next start what was delivered."""

    @abstractmethod
    def forget(self) -> None:
        """The broker is no more: let go of all messages."""


class _Expiry(Deadline):
    """The head of a queue expires."""

    def __init__(self, queue: Queue) -> None:
        super().__init__()
        self.queue = queue

    def on_deadline(self, now_ms: int) -> None:
        if not self.queue.deleted:
            self.queue.mark_dirty()


class _Disuse(Deadline):
    """A queue was not used for as long as x-expires says."""

    def __init__(self, queue: Queue) -> None:
        super().__init__()
        self.queue = queue

    def on_deadline(self, now_ms: int) -> None:
        queue = self.queue
        if not queue.deleted and not queue.consumers.all and queue.home is not None:
            queue.home.expire_queue(queue)


def body_size(content: bytes) -> i64:
    """The size of a message's body, as its content header says."""
    return read_i64_be(content, 11)
