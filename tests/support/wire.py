"""Peers without sockets: a broker in this process, its connections, and turns that a test takes one at a time.

``Server`` stands in for the reactor: it hands bytes to adapters, lets the broker finish its turn, and collects what is
owed. Time never passes and nothing waits, so a run depends on nothing but what a test feeds. Bytes are encoded and
decoded by ``raw_peer``, not by amqpd.
"""

from collections.abc import Iterable, Iterator
from typing import Any, Final, NamedTuple

from amqpd import limits
from amqpd.broker.broker import Broker
from amqpd.broker.message import Message
from amqpd.broker.ports import Op, Store
from amqpd.broker.queues import backlog, classic
from amqpd.broker.queues.base import Queue
from amqpd.broker.queues.classic import ClassicQueue
from amqpd.broker.queues.priority import PriorityQueue
from amqpd.protocols.adapter import Stage
from amqpd.protocols.amqp091.connection import Connection
from amqpd.protocols.amqp091.handshake import Tuning
from amqpd.protocols.outbox import Outbox
from amqpd.store.memory import MemoryStore
from tests.support import raw_peer
from tests.support.passwords import CheckerOfStrangers
from tests.support.raw_peer import CONTENT_METHODS, Frame, Method, PeerError

TURNS_MAX: Final = 100_000  # a server that is not done by then never will be


class CountingIds:
    """Names that are the same in every run."""

    def __init__(self) -> None:
        self.count = 0

    def unique(self) -> str:
        self.count += 1
        return f"{self.count:022d}"


class DelayedStore(Store):
    """A store whose commits complete when the test says so, and that reads unless it says no."""

    def __init__(self, inner: MemoryStore | None = None) -> None:
        self.inner = inner or MemoryStore()
        self.waiting: list[tuple[int, list[Op]]] = []  # one at most, as the contract has it
        self.is_delaying = True
        self.asked: list[tuple[int, list[tuple[int, bytes]]]] = []  # to be read
        self.is_reading = True

    def commit(self, ticket: int, ops: list[Op]) -> None:
        assert not self.waiting, "a commit while another one runs"
        self.waiting.append((ticket, ops))
        if not self.is_delaying:
            self.complete()

    def complete(self) -> bool:
        """Make the batch durable that waits, if one does."""
        for ticket, ops in self.waiting:
            self.inner.commit(ticket, ops)
        is_any = bool(self.waiting)
        self.waiting.clear()
        return is_any

    def completed(self) -> int:
        return self.inner.completed()

    def wake_fd(self) -> int:
        return -1

    def alarm(self) -> str:
        return ""

    def read(self, table: int, key: bytes) -> bytes | None:
        return self.inner.read(table, key)

    def fetch(self, number: int, wanted: list[tuple[int, bytes]]) -> None:
        self.asked.append((number, wanted))

    def fetched(self) -> list[tuple[int, list[bytes | None]]]:
        if self.is_reading:
            for number, wanted in self.asked:
                self.inner.fetch(number, wanted)
            self.asked.clear()
        return self.inner.fetched()

    def scan(self, table: int, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return self.inner.scan(table, prefix)

    def keys(self, table: int, prefix: bytes) -> Iterator[bytes]:
        return self.inner.keys(table, prefix)

    def range(self, table: int, first: bytes, limit: int) -> list[tuple[bytes, int]]:
        return self.inner.range(table, first, limit)

    def close(self) -> None:
        self.complete()


class Said(NamedTuple):
    """One thing that the broker said: a method, with its content if it has one."""

    channel: int
    name: str
    args: dict[str, Any]
    properties: bytes = b""
    body: bytes = b""


class Server:
    """A broker and the peers of its connections."""

    def __init__(
        self,
        store: Store | None = None,
        *,
        queue_window_bytes: int = limits.QUEUE_WINDOW_BYTES,
        tuning: Tuning | None = None,
    ) -> None:
        self.store: Store = store or MemoryStore()
        self.broker = Broker(self.store, CountingIds(), queue_window_bytes=queue_window_bytes)
        self.broker.logins.checker = CheckerOfStrangers()
        self.stage = Stage()
        self.tuning = tuning or Tuning()
        self.peers: dict[int, Peer] = {}
        self.peer_count = 0

    def connect(self) -> "Peer":
        """A new connection that has said nothing yet."""
        self.peer_count += 1
        peer = Peer(self, self.peer_count)
        self.peers[peer.key] = peer
        return peer

    def peer(self, *channels: int, capabilities: dict[str, bool] | None = None, frame_max: int = 131_072) -> "Peer":
        """A connection that is logged in, with these channels open."""
        peer = self.connect()
        peer.log_in(*channels, capabilities=capabilities, frame_max=frame_max)
        return peer

    def turn(self) -> None:
        """Turns until there is nothing left to do. What waits for a delayed store goes on waiting."""
        for _ in range(TURNS_MAX):
            if not self.turn_once():
                return
        raise AssertionError(f"still not done after {TURNS_MAX} turns")

    def turn_once(self) -> bool:
        """What the reactor does in one turn. True when it wants another one at once."""
        for peer in list(self.peers.values()):
            peer.receive_unread()
        more = self.broker.turn.finish()
        resumable = self.stage.resumable
        if resumable:
            self.stage.resumable = []
            for adapter in resumable:
                adapter.resume()
            more = True
        while self.stage.touched:
            touched = self.stage.touched
            self.stage.touched = []
            for outbox in touched:
                self._flush(outbox)
        return (
            more
            or len(self.broker.turn.dirty) > 0
            or len(self.stage.resumable) > 0
            or any(peer.can_receive_unread() for peer in self.peers.values())
        )

    def _flush(self, outbox: Outbox) -> None:
        data = b"".join(outbox.take())
        outbox.on_sent(len(data))
        peer = self.peers.get(outbox.key)
        if peer is None:
            return
        peer.sent += data
        if outbox.is_starved and outbox.size < limits.OUTBOX_LOW_BYTES:
            outbox.is_starved = False
            peer.connection.on_outbox_low()
        if peer.connection.is_finished:
            peer.hang_up()

    def check(self) -> None:
        """The world adds up: call it between turns."""
        check_broker(self.broker)
        connections = {id(peer.connection) for peer in self.peers.values()}
        for queue in queues_of(self.broker):
            assert queue.owner is None or id(queue.owner) in connections, f"{queue.name}: its connection is gone"


class Peer:
    """One connection, from the other end of a socket that is not there."""

    def __init__(self, server: Server, key: int) -> None:
        self.server = server
        self.key = key
        self.connection = Connection(
            f"peer {key}",
            Outbox(server.stage, key),
            server.stage,
            server.broker,
            server.tuning,
            is_loopback=True,
            now=0.0,
        )
        self.unread: list[bytes] = []  # fed, but the server does not read from us now
        self.sent = b""  # by the server, not looked at yet
        self.is_gone = False
        self.frame_max = 131_072

    # -- bytes --

    def feed(self, data: bytes) -> None:
        """Send bytes: one chunk. It waits while the server does not read."""
        self.unread.append(data)
        self.receive_unread()

    def can_receive_unread(self) -> bool:
        return bool(self.unread) and self.connection.is_reading and not self.is_gone

    def receive_unread(self) -> None:
        while self.can_receive_unread():
            self.connection.receive(self.unread.pop(0))

    def turn(self) -> None:
        self.server.turn()

    def take_bytes(self) -> bytes:
        """Everything that the server sent since the last look, as bytes."""
        sent = self.sent
        self.sent = b""
        return sent

    def output(self) -> list[Said]:
        """The same, decoded."""
        return list(assemble(split_frames(self.take_bytes())))

    def hang_up(self) -> None:
        """The connection ends, without a word."""
        if not self.is_gone:
            self.is_gone = True
            self.server.peers.pop(self.key, None)
            self.connection.receive_eof()

    # -- methods --

    def send(self, channel: int, name: str, **args: Any) -> None:
        self.feed(method(channel, name, **args))

    def publish(
        self,
        channel: int,
        exchange: str = "",
        routing_key: str = "",
        body: bytes = b"",
        props: bytes = raw_peer.NO_PROPERTIES,
        *,
        mandatory: bool = False,
    ) -> None:
        self.feed(publish(channel, exchange, routing_key, body, props, mandatory=mandatory, frame_max=self.frame_max))

    def call(self, channel: int, name: str, **args: Any) -> Method:
        """Send a method, take a turn; its answer must be all that comes."""
        self.send(channel, name, **args)
        self.turn()
        said = self.output()
        if len(said) != 1 or (said[0].channel, said[0].name) != (channel, f"{name}-ok"):
            raise PeerError(f"expected {name}-ok on channel {channel}, got {said}")
        return Method(said[0].name, said[0].args)

    def log_in(self, *channels: int, capabilities: dict[str, bool] | None = None, frame_max: int = 131_072) -> None:
        self.feed(login(*channels, capabilities=capabilities, frame_max=frame_max))
        self.frame_max = frame_max
        self.turn()
        names = [said.name for said in self.output()]
        wanted = ["connection.start", "connection.tune", "connection.open-ok", *["channel.open-ok"] * len(channels)]
        if names != wanted:
            raise PeerError(f"expected {wanted}, got {names}")


# -- bytes of a peer --


def method(channel: int, name: str, **args: Any) -> bytes:
    return raw_peer.frame(raw_peer.METHOD, channel, raw_peer.method_payload(name, **args))


def publish(
    channel: int,
    exchange: str = "",
    routing_key: str = "",
    body: bytes = b"",
    props: bytes = raw_peer.NO_PROPERTIES,
    *,
    mandatory: bool = False,
    frame_max: int = 131_072,
) -> bytes:
    """A whole publish."""
    step = frame_max - 8
    return b"".join(
        [
            method(channel, "basic.publish", exchange=exchange, routing_key=routing_key, mandatory=mandatory),
            raw_peer.frame(raw_peer.CONTENT_HEADER, channel, raw_peer.content_header(len(body), props)),
            *(raw_peer.frame(raw_peer.BODY, channel, body[at : at + step]) for at in range(0, len(body), step)),
        ]
    )


def login(*channels: int, capabilities: dict[str, bool] | None = None, frame_max: int = 131_072) -> bytes:
    """A whole handshake, without heartbeats and without waiting for answers, and the channels opened."""
    client = {"product": "wire", "capabilities": raw_peer.ALL_CAPABILITIES if capabilities is None else capabilities}
    return b"".join(
        [
            raw_peer.HEADER,
            method(
                0,
                "connection.start-ok",
                client_properties=client,
                mechanism="PLAIN",
                response=b"\x00guest\x00guest",
                locale="en_US",
            ),
            method(0, "connection.tune-ok", channel_max=2047, frame_max=frame_max, heartbeat=0),
            method(0, "connection.open", virtual_host="/"),
            *(method(channel, "channel.open") for channel in channels),
        ]
    )


# -- bytes of the broker --


def split_frames(data: bytes) -> Iterator[Frame]:
    """Whole frames only: a broker writes no halves. A protocol header is skipped."""
    at = 8 if data.startswith(b"AMQP") else 0
    while at < len(data):
        end = at + 8 + int.from_bytes(data[at + 3 : at + 7], "big")
        if end > len(data) or data[end - 1 : end] != raw_peer.FRAME_END:
            raise PeerError(f"not a frame: {data[at : at + 64]!r}")
        yield Frame(data[at], int.from_bytes(data[at + 1 : at + 3], "big"), data[at + 7 : end - 1])
        at = end


def assemble(frames: Iterable[Frame]) -> Iterator[Said]:
    """Methods, with the contents that follow some of them. Contents come whole: nothing of the channel in between."""
    stream = iter(frames)
    for frame in stream:
        if frame.kind == raw_peer.HEARTBEAT:
            continue
        if frame.kind != raw_peer.METHOD:
            raise PeerError(f"expected a method, got {frame}")
        decoded = raw_peer.decode_method(frame.payload)
        if decoded.name not in CONTENT_METHODS:
            yield Said(frame.channel, decoded.name, decoded.args)
            continue
        header = next(stream)
        if (header.kind, header.channel) != (raw_peer.CONTENT_HEADER, frame.channel):
            raise PeerError(f"expected the content header of {decoded}, got {header}")
        size = int.from_bytes(header.payload[4:12], "big")
        body = b""
        while len(body) < size:
            part = next(stream)
            if (part.kind, part.channel) != (raw_peer.BODY, frame.channel) or not part.payload:
                raise PeerError(f"expected the body of {decoded}, got {part}")
            body += part.payload
        if len(body) != size:
            raise PeerError(f"{decoded}: a body of {len(body)} bytes where {size} were announced")
        yield Said(frame.channel, decoded.name, decoded.args, header.payload[12:], body)


# -- the world --


def take_head(server: Server, queue: Queue) -> Message | None:
    """The head, once it may be got, unacked then; None when there is no ready message."""
    for _ in range(TURNS_MAX):
        if not queue.hold_ticket():
            return queue.get()
        server.turn()
    raise AssertionError(f"{queue.name}: its head never comes")


def queues_of(broker: Broker) -> Iterator[Queue]:
    for vhost in broker.vhosts.values():
        yield from vhost.queues.values()


def check_broker(broker: Broker) -> None:
    """Counts add up, and everything that is named exists."""
    assert not classic._NOTHING, "what stands for no messages has some"
    assert not backlog._NO_RUNS, "what stands for no runs has some"
    for vhost in broker.vhosts.values():
        for binding in vhost.bindings:
            assert binding.source in vhost.exchanges, f"{binding}: its source is gone"
            there = vhost.queues if binding.to_queue else vhost.exchanges
            assert binding.destination in there, f"{binding}: its destination is gone"
        for name, queue in vhost.queues.items():
            assert queue.name == name
            assert not queue.deleted
            check_queue(queue)


def check_queue(queue: Queue) -> None:
    ring = [consumer for level in queue.consumers.levels for consumer in level.ring]
    for consumer in queue.consumers.all:
        assert consumer.unacked >= 0
        assert not consumer.cancelled
        assert not consumer.active or consumer in ring
    assert len(ring) == queue.consumers.active_count == sum(consumer.active for consumer in queue.consumers.all)
    if isinstance(queue, PriorityQueue):
        assert queue.ready_count == sum(part.ready_count for part in queue.parts.values())
        for part in queue.parts.values():
            check_queue(part)
        return
    assert isinstance(queue, ClassicQueue)
    paged = check_backlog(queue)
    held = len(queue.ready) + len(queue.returned) + paged + len(queue.tail)
    assert queue.ready_count == held, f"{queue.name}: {queue.ready_count} ready, {held} found"
    assert queue.unacked_count >= 0, f"{queue.name}: {queue.unacked_count} unacked"
    in_memory = [*queue.ready, *queue.tail]
    size = sum(len(message.content) + limits.MESSAGE_OVERHEAD_BYTES for message in in_memory)
    assert queue.memory_bytes == size, f"{queue.name}: memory is counted as {queue.memory_bytes}, is {size}"
    positions = [message.position for message in in_memory]
    assert positions == sorted(set(positions)), f"{queue.name}: out of order: {positions}"
    fresh = [message.position for message in queue.fresh]
    assert len(fresh) == len(set(fresh)), f"{queue.name}: to be stored twice: {fresh}"
    assert not (queue.tail or paged) or queue.paging


def check_backlog(queue: ClassicQueue) -> int:
    """How many messages its runs have."""
    backlog = queue.backlog
    runs = [*backlog.here, *backlog.coming, *backlog.away]
    firsts = [run.first for run in runs]
    assert firsts == sorted(set(firsts)), f"{queue.name}: runs out of order: {firsts}"
    assert backlog.here_bytes == sum(segment.size for segment in backlog.values)
    for first, segment in backlog.segments.items():
        assert segment.first == first
        assert segment.successor is None
        assert 0 < segment.live <= segment.count or segment.changed
    assert backlog.sparse_bytes == sum(segment.size for segment in backlog.segments.values() if segment.sparse)
    return sum(run.count for run in runs)


def check_left(server: Server) -> None:
    """No connection is left: nothing of theirs may be."""
    for queue in queues_of(server.broker):
        assert queue.owner is None, f"{queue.name}: exclusive to nobody"
        assert not queue.consumers.all, f"{queue.name}: has consumers"
        assert queue.unacked_count == 0, f"{queue.name}: {queue.unacked_count} unacked"
    journal = server.broker.journal
    if not journal.busy:
        assert not journal.waiters, "somebody waits for a ticket"
        assert journal.is_idle(), "something waits to be stored"
    assert not server.broker.turn.dirty
    check_broker(server.broker)


def snapshot(broker: Broker) -> dict[str, Any]:
    """What brokers that saw the same have in common: topology, queues with messages, and the store, byte for byte."""
    store = broker.journal.store
    inner = store.inner if isinstance(store, DelayedStore) else store
    assert isinstance(inner, MemoryStore)
    state: dict[str, Any] = {"store": [dict(rows) for rows in inner.tables]}
    for vhost in broker.vhosts.values():
        state[f"exchanges of {vhost.name}"] = [
            (exchange.name, exchange.type_name, exchange.durable, exchange.auto_delete, exchange.internal)
            for exchange in vhost.exchanges.values()
        ]
        state[f"bindings of {vhost.name}"] = list(vhost.bindings)
        state[f"queues of {vhost.name}"] = [_queue_state(queue) for queue in vhost.queues.values()]
    return state


def _queue_state(queue: Queue) -> tuple[Any, ...]:
    if isinstance(queue, PriorityQueue):
        parts = [(priority, _queue_state(part)) for priority, part in sorted(queue.parts.items())]
        return queue.name, queue.ready_count, queue.unacked_count, parts
    assert isinstance(queue, ClassicQueue)
    messages = [*(message for _, message in sorted(queue.returned, key=_position)), *queue.ready, *queue.tail]
    consumers = [(consumer.tag, consumer.unacked, consumer.active) for consumer in queue.consumers.all]
    return (
        (queue.name, queue.durable, queue.auto_delete, queue.owner is not None),
        (queue.ready_count, queue.unacked_count, queue.next_position, queue.paging),
        [(message.position, message.redelivered, message.stored, message.address) for message in messages],
        [(message.expires_at, message.priority, message.channel, message.content) for message in messages],
        consumers,
    )


def _position(entry: tuple[int, Any]) -> int:
    return entry[0]
