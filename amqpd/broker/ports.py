"""What the domain asks of the world: a store that keeps batches, outlets that take deliveries, ids.

Abstract base classes, not protocols: mypyc calls them through a vtable, and every message crosses one.
"""
# HOT. Only declarations; compiled because a typing.Protocol would cost a dictionary look-up a call.

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from amqpd.broker.consumers import Consumer
    from amqpd.broker.message import Message
    from amqpd.broker.queues.base import Queue

# The tables of a store. Order is part of the schema: records.SCHEMA_VERSION changes with it.
META: Final = 0  # schema version and the like
EXCHANGES: Final = 1
QUEUES: Final = 2
BINDINGS: Final = 3
SEGMENTS: Final = 4
ACKS: Final = 5
STATES: Final = 6  # queue id -> the position up to which messages may have been delivered
SCRATCH: Final = 7  # segments of transient messages paged out of memory; emptied at start
QUARANTINE: Final = 8  # what was found damaged, under its old key: never read, kept for a person
ENTITIES: Final = 9  # what is neither exchange, queue nor binding: virtual hosts, users, permissions, policies
DELAYED: Final = 10  # (source, due time, number) -> a message that is not routed before that time
SEEN: Final = 11  # digests of message ids -> until when a message with that id is a duplicate
TABLES: Final = (
    "meta",
    "exchanges",
    "queues",
    "bindings",
    "segments",
    "acks",
    "states",
    "scratch",
    "quarantine",
    "entities",
    "delayed",
    "seen",
)

# (table, key, value), value None deletes. Plain, and idempotent but for deletions of what must be there.
Op = tuple[int, bytes, bytes | None]
CLEAR: Final = 16  # added to the table of a deletion: delete every key that begins with the key
THERE: Final = 32  # added to it, but for SCRATCH: the key must be there
TABLE: Final = 15  # the table without what is added to it

# As a ticket to wait for:
NEXT: Final = -1  # whatever the store has to tell next
SOON: Final = -2  # nothing but the next turn


@mypyc_attr(allow_interpreted_subclasses=True)
class Fetcher:
    """Something that asks for values of the store."""

    @abstractmethod
    def on_fetched(self, number: int, values: list[bytes | None]) -> None:
        """What it asked ``Journal.fetch`` for, by the number that it got then."""


class Waiter:
    """Something that waits for tickets."""

    @abstractmethod
    def on_durable(self, durable: int) -> bool:
        """All batches up to ``durable`` are on disk. True: nothing left to wait for."""


class Asker:
    """Who waits for answers under a name of its own (RabbitMQ: direct reply-to)."""

    @abstractmethod
    def answer(self, address: bytes, content: bytes, channel: int) -> None:
        """Send it on; ``content`` is as on ``channel``."""


class Outlet(Waiter):
    """Where a consumer's deliveries go: one channel of some protocol."""

    @abstractmethod
    def has_room(self) -> bool:
        """Whether a delivery may be added now (channel-wide prefetch, flow, and the outbox's bound)."""

    @abstractmethod
    def deliver(self, consumer: Consumer, message: Message) -> None:
        """Send ``message`` to ``consumer``; the outlet's ledger owns it from here unless the consumer is no-ack."""

    @abstractmethod
    def on_consumer_cancelled(self, consumer: Consumer) -> None:
        """The queue of ``consumer`` is gone."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Home:
    """What a queue asks of its virtual host."""

    @abstractmethod
    def dead_letter(self, queue: Queue, message: Message, reason: str) -> None:
        """Publish a dead message of ``queue`` to its dead letter exchange."""

    @abstractmethod
    def expire_queue(self, queue: Queue) -> None:
        """Delete a queue that nobody used for too long."""

    @abstractmethod
    def take_number(self) -> int:
        """A number in the store that nothing had before."""

    @abstractmethod
    def save_queue(self, queue: Queue) -> int:
        """What is stored of ``queue`` beside its messages has changed; the ticket that holds it, 0 if nothing is."""


@mypyc_attr(allow_interpreted_subclasses=True)
class Store:
    """Where batches are kept. ``testing.conformance`` holds every implementation to this contract.

    ``commit`` is called with growing tickets, never before ``completed()`` has reached the one before.
    """

    @abstractmethod
    def commit(self, ticket: int, ops: list[Op]) -> None:
        """Begin to make ``ops`` durable, all or nothing. Returns at once."""

    @abstractmethod
    def completed(self) -> int:
        """The highest ticket that is durable. Raises StoreFailed when no more will be."""

    @abstractmethod
    def wake_fd(self) -> int:
        """A descriptor that is readable when ``completed()`` has changed; -1 when all is done at once."""

    @abstractmethod
    def alarm(self) -> str:
        """Why batches do not become durable now, in the words of connection.blocked; "" when they do."""

    @abstractmethod
    def read(self, table: int, key: bytes) -> bytes | None:
        """A value that is durable."""

    @abstractmethod
    def fetch(self, number: int, wanted: list[tuple[int, bytes]]) -> None:
        """Begin to read the values at (table, key), off the loop. Returns at once."""

    @abstractmethod
    def fetched(self) -> list[tuple[int, list[bytes | None]]]:
        """What was fetched since the last call: the number given and the values in order, None where there is none.

        ``wake_fd`` is readable when there is some. Raises StoreFailed when the store cannot be read.
        """

    @abstractmethod
    def scan(self, table: int, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Keys that begin with ``prefix`` and their values, in order."""

    @abstractmethod
    def keys(self, table: int, prefix: bytes) -> Iterator[bytes]:
        """Keys that begin with ``prefix``, in order. Touches no value."""

    @abstractmethod
    def range(self, table: int, first: bytes, limit: int) -> list[tuple[bytes, int]]:
        """The first ``limit`` keys from ``first`` on that are durable, in order, and the sizes of their values."""

    @abstractmethod
    def close(self) -> None:
        """Wait for the commit that runs, then release files and threads."""


class StoreFailed(Exception):
    """The store cannot keep its promise any more (an I/O error other than a full disk): the broker stops."""
