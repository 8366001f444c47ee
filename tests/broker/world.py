"""A broker whose queues a test fills and empties by hand, over a store that it can hold up, stop and crash.

Connections are there when a test wants them (``server``); most tests of queues need none. Time passes when a test says
so (``pass_ms``).
"""

from typing import Any, Final

from amqpd import limits
from amqpd.broker.fields import Field, Table, boolean, longstr
from amqpd.broker.message import Message
from amqpd.broker.owner import Owner
from amqpd.broker.ports import NEXT, SCRATCH
from amqpd.broker.publication import Publication
from amqpd.broker.queues.base import Queue
from amqpd.broker.queues.classic import ClassicQueue
from amqpd.broker.queues.priority import PriorityQueue
from amqpd.broker.recovery import restore
from amqpd.protocols.amqp091.channel import Channel
from amqpd.protocols.amqp091.hot_codec import body_of, content_frames
from amqpd.store.memory import MemoryStore
from tests.support.raw_peer import content_header, properties
from tests.support.wire import DelayedStore, Server, check_broker

ADDRESS = b"\x00\x01q\xce"  # exchange "", routing key "q"
EPOCH_MS: Final = 1_700_000_000_000  # when the first broker of a test starts


class World:
    """One start of a broker. Commits complete at once until ``store.is_delaying`` is set."""

    def __init__(
        self, disk: MemoryStore | None = None, *, window_bytes: int = limits.QUEUE_WINDOW_BYTES, now_ms: int = EPOCH_MS
    ) -> None:
        self.disk = disk or MemoryStore()
        self.store = DelayedStore(self.disk)
        self.store.is_delaying = False
        self.window_bytes = window_bytes
        self.server = Server(self.store, queue_window_bytes=window_bytes)
        self.broker = self.server.broker
        self.broker.turn.epoch_ms = self.now_ms = now_ms
        self.broker.turn.begin(0.0)
        self.journal = self.broker.journal
        self.vhost = self.broker.vhosts["/"]
        self.owner = Owner("a connection")
        restore(self.broker)
        self.turn()

    # -- queues --

    def queue(
        self,
        name: str = "q",
        *,
        durable: bool = True,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Table | None = None,
    ) -> ClassicQueue:
        """Declared, and durable if it is to be."""
        queue = self.vhost.declare_queue(
            name, self.owner, durable=durable, exclusive=exclusive, auto_delete=auto_delete, arguments=arguments or {}
        )
        assert isinstance(queue, ClassicQueue)
        self.turn()
        return queue

    def priorities(self, name: str = "q", levels: int = 9, **words: Any) -> PriorityQueue:
        """A durable queue with these priorities, and whatever other arguments."""
        table = arguments(max_priority=levels, **words)
        queue = self.vhost.declare_queue(
            name, self.owner, durable=True, exclusive=False, auto_delete=False, arguments=table
        )
        assert isinstance(queue, PriorityQueue)
        self.turn()
        return queue

    def find(self, name: str = "q") -> ClassicQueue:
        queue = self.vhost.queues[name]
        assert isinstance(queue, ClassicQueue)
        return queue

    def find_priorities(self, name: str = "q") -> PriorityQueue:
        queue = self.vhost.queues[name]
        assert isinstance(queue, PriorityQueue)
        return queue

    def publish(self, queue: ClassicQueue, *bodies: bytes, persistent: bool = True) -> None:
        """Messages in the open batch: no turn is taken."""
        for body in bodies:
            queue.enqueue(Message(body, ADDRESS, 1, queue, persistent and queue.on_disk))

    def send(self, name: str, *bodies: bytes, persistent: bool = True, **props: Any) -> None:
        """Whole messages to the queue ``name``, with properties, in the open batch."""
        for body in bodies:
            content = content_of(body, delivery_mode=1 + persistent, **props)
            self.vhost.publish(Publication("", name, content, 1, persistent=persistent), self.vhost.exchanges[""])

    def take(self, queue: Queue) -> Message:
        """The head, once it may be got; it is unacked."""
        while queue.hold_ticket():
            ticket = queue.hold_ticket()
            self.turn()
            assert queue.hold_ticket() != ticket or ticket == NEXT, "its mark is not durable"
        assert queue.hold_ticket() == 0, "its mark is not durable"
        message = queue.get()
        assert message is not None, "the queue is empty"
        return message

    def drain(self, queue: Queue) -> list[tuple[bytes, bool]]:
        """All ready messages, taken and settled: content and redelivered."""
        taken = []
        while queue.ready_count:
            message = self.take(queue)
            taken.append((message.content, message.redelivered))
            queue.settle(message)
        self.turn()
        return taken

    def bodies(self, queue: Queue) -> list[bytes]:
        """The contents of all ready messages, taken and settled."""
        return [content for content, _ in self.drain(queue)]

    def received(self, name: str = "q") -> list[bytes]:
        """The bodies of what was sent with ``send``, taken and settled."""
        return [body_of(content) for content in self.bodies(self.vhost.queues[name])]

    # -- turns, and the end --

    def turn(self) -> None:
        self.server.turn()
        check_broker(self.broker)

    def pass_ms(self, ms: int) -> None:
        """Time passes; what is due is done."""
        self.now_ms += ms
        self.broker.turn.begin((self.now_ms - int(self.broker.turn.epoch_ms)) / 1000.0)
        self.turn()

    def complete(self) -> None:
        """The store is done with its batch."""
        assert self.store.complete(), "no batch is with the store"
        self.turn()

    def rows(self, table: int) -> dict[bytes, bytes]:
        """What is durable."""
        return dict(self.disk.tables[table])

    def crash(self) -> "World":
        """The next start, with what is durable now."""
        disk = MemoryStore()
        disk.tables = [dict(rows) for rows in self.disk.tables]
        disk.tables[SCRATCH].clear()
        return World(disk, window_bytes=self.window_bytes, now_ms=self.now_ms)

    def stop(self) -> "World":
        """The next start, after a clean stop."""
        self.broker.stop()
        self.turn()
        return self.crash()


def arguments(**words: str | int) -> Table:
    """The arguments of a queue: ``message_ttl=5`` is ``x-message-ttl``."""
    return {f"x-{name.replace('_', '-')}": _field(word) for name, word in words.items()}


def _field(word: str | int) -> Field:
    if isinstance(word, bool):
        return boolean(word)
    return longstr(word) if isinstance(word, str) else Field("l", word)


def content_of(body: bytes, **props: Any) -> bytes:
    """Content frames, as on channel 1."""
    return content_frames(1, content_header(len(body), properties(**props)), body, 131_072)


def channel_of(world: World) -> Channel:
    """An open channel of a connection of its own: a real outlet."""
    return world.server.peer(1).connection.channels[1]
