"""A broker whose queues a test fills and empties by hand, over a store that it can hold up, stop and crash.

Connections are there when a test wants them (``server``); most tests of queues need none.
"""

from amqpd import limits
from amqpd.broker.fields import Table
from amqpd.broker.message import Message
from amqpd.broker.owner import Owner
from amqpd.broker.ports import NEXT, SCRATCH
from amqpd.broker.queues.classic import ClassicQueue
from amqpd.broker.recovery import restore
from amqpd.protocols.amqp091.channel import Channel
from amqpd.store.memory import MemoryStore
from tests.support.wire import DelayedStore, Server, check_broker

ADDRESS = b"\x00\x01q\xce"  # exchange "", routing key "q"


class World:
    """One start of a broker. Commits complete at once until ``store.is_delaying`` is set."""

    def __init__(self, disk: MemoryStore | None = None, *, window_bytes: int = limits.QUEUE_WINDOW_BYTES) -> None:
        self.disk = disk or MemoryStore()
        self.store = DelayedStore(self.disk)
        self.store.is_delaying = False
        self.window_bytes = window_bytes
        self.server = Server(self.store, queue_window_bytes=window_bytes)
        self.broker = self.server.broker
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

    def find(self, name: str = "q") -> ClassicQueue:
        queue = self.vhost.queues[name]
        assert isinstance(queue, ClassicQueue)
        return queue

    def publish(self, queue: ClassicQueue, *bodies: bytes, persistent: bool = True) -> None:
        """Messages in the open batch: no turn is taken."""
        for body in bodies:
            queue.enqueue(Message(body, ADDRESS, 1, queue, persistent and queue.on_disk))

    def take(self, queue: ClassicQueue) -> Message:
        """The head, once it may be got; it is unacked."""
        while queue.hold_ticket():
            ticket = queue.hold_ticket()
            self.turn()
            assert queue.hold_ticket() != ticket or ticket == NEXT, "its mark is not durable"
        assert queue.hold_ticket() == 0, "its mark is not durable"
        message = queue.get()
        assert message is not None, "the queue is empty"
        return message

    def drain(self, queue: ClassicQueue) -> list[tuple[bytes, bool]]:
        """All ready messages, taken and settled: content and redelivered."""
        taken = []
        while queue.ready_count:
            message = self.take(queue)
            taken.append((message.content, message.redelivered))
            queue.settle(message)
        self.turn()
        return taken

    def bodies(self, queue: ClassicQueue) -> list[bytes]:
        return [content for content, _ in self.drain(queue)]

    # -- turns, and the end --

    def turn(self) -> None:
        self.server.turn()
        check_broker(self.broker)

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
        return World(disk, window_bytes=self.window_bytes)

    def stop(self) -> "World":
        """The next start, after a clean stop."""
        self.broker.stop()
        self.turn()
        return self.crash()


def channel_of(world: World) -> Channel:
    """An open channel of a connection of its own: a real outlet."""
    return world.server.peer(1).connection.channels[1]
