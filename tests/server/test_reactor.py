"""Many sockets, and unfriendly ones: who does not read is owed little, who floods does not starve the others."""

import contextlib
import os
import selectors
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from amqpd import limits
from amqpd.broker.broker import Broker
from amqpd.broker.ids import RandomIds
from amqpd.protocols.adapter import Stage
from amqpd.protocols.amqp091.connection import Connection
from amqpd.protocols.amqp091.constants import HEARTBEAT_FRAME
from amqpd.protocols.amqp091.handshake import Tuning
from amqpd.protocols.outbox import Outbox
from amqpd.server.reactor import Reactor
from amqpd.store.memory import MemoryStore
from tests.durability.peer import Gone, LoadPeer, publish_frames
from tests.server.conftest import Serve
from tests.server.serving import Served, wait_until
from tests.support.raw_peer import HEADER, RawPeer, frame, method_payload, properties
from tests.support.wire import login, method, publish

PERSISTENT = properties(delivery_mode=2)
MB = 1_000_000


def send_for(peer: LoadPeer, data: bytes, seconds: float) -> int:
    """Send it again and again as far as the broker takes it; how many octets that were. Reads nothing."""
    peer.socket.setblocking(False)
    until = time.monotonic() + seconds
    sent, at = 0, 0
    with selectors.DefaultSelector() as selector:
        selector.register(peer.socket, selectors.EVENT_WRITE)
        while (left := until - time.monotonic()) > 0:
            if selector.select(left):
                size = peer.socket.send(memoryview(data)[at:])
                sent, at = sent + size, (at + size) % len(data)
    return sent


@contextlib.contextmanager
def in_background(work: Callable[[threading.Event], None], count: int = 1) -> Iterator[None]:
    """So many threads of ``work``, which is to end when the event is set. Their faults are raised here."""
    ended = threading.Event()
    faults: list[BaseException] = []

    def guarded() -> None:
        try:
            work(ended)
        except BaseException as error:  # noqa: BLE001 - the edge of a thread
            faults.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join(20.0)
    if faults:
        raise faults[0]


def round_trips(peer: RawPeer, seconds: float) -> list[float]:
    taken = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        peer.call(1, "basic.qos")
        taken.append(time.monotonic() - began)
        time.sleep(0.01)
    return taken


def test_returns_that_nobody_reads(serve: Serve) -> None:
    """Each mandatory message comes back; who does not take them is not read from any more."""
    broker = serve()
    peer = LoadPeer(*broker.addresses[0])
    other = broker.login()
    before = broker.rss_bytes()
    sent = send_for(peer, publish_frames("", "nowhere", PERSISTENT, bytes(20_000), mandatory=True), 1.2)
    grown = broker.rss_bytes() - before
    assert grown < 60 * MB, f"{grown / MB:.0f} MB after {sent / MB:.0f} MB of returns"
    assert sent < 100 * MB, "it should have been stopped"
    other.call(1, "basic.qos")
    peer.abort()
    wait_until(lambda: broker.rss_bytes() - before < 40 * MB, "what it owed to the dead is forgotten")


def test_gets_whose_answers_nobody_reads(serve: Serve, data_dir: str) -> None:
    """A few octets ask for 100 KB each: many questions in one packet must not bring the whole queue into memory."""
    broker = serve("--data-dir", data_dir)
    peer = LoadPeer(*broker.addresses[0])
    peer.call("queue.declare", queue="q", durable=True)
    peer.call("confirm.select")
    body = bytes(100_000)
    for _ in range(2000):
        peer.send(publish_frames("", "q", PERSISTENT, body))
    taken = 0
    while taken < 2000:
        for event in peer.read():
            taken = getattr(event, "tag", taken)
    before = broker.rss_bytes()
    peer.send(frame(1, 1, method_payload("basic.get", queue="q")) * 2000)
    time.sleep(1.0)
    grown = broker.rss_bytes() - before
    assert grown < 60 * MB, f"{grown / MB:.0f} MB for one client that does not read"
    peer.abort()


def test_consumer_that_does_not_read(serve: Serve) -> None:
    """Without prefetch: it gets what its outbox may hold, the rest waits in the queue for those that read."""
    broker = serve()
    lazy, eager = LoadPeer(*broker.addresses[0]), broker.login()
    lazy.call("queue.declare", queue="q")
    lazy.send_method("basic.consume", queue="q")
    count = 300
    for _ in range(count):
        eager.publish(1, "", "q", bytes(100_000))
    eager.call(1, "basic.qos")
    ready = eager.call(1, "queue.declare", queue="q", passive=True)["message_count"]
    assert ready > count // 2
    eager.get(1, "q", bytes(100_000), redelivered=False)
    lazy.abort()
    wait_until(
        lambda: bool(eager.call(1, "queue.declare", queue="q", passive=True)["message_count"] == count - 1),
        "what the lazy one had is back",
    )


def test_floods_do_not_starve_the_quiet(serve: Serve) -> None:
    """More flooding sockets than fit in a turn's budget of octets: the one that asks little still has its turn."""
    broker = serve()
    quiet = broker.login()
    data = publish_frames("", "nowhere", b"\x00\x00", bytes(60_000)) * 20

    def flood(ended: threading.Event) -> None:
        peer = LoadPeer(*broker.addresses[0])
        while not ended.is_set():
            peer.send(data)
        peer.abort()

    with in_background(flood, 8):
        late_comer = broker.login()
        taken = round_trips(quiet, 0.7) + round_trips(late_comer, 0.7)
    assert len(taken) > 20
    assert max(taken) < 1.0, f"the longest round trip was {max(taken):.2f} s"


def test_publisher_that_is_held_back_and_dies_costs_nothing(serve_on: Serve, data_dir: str) -> None:
    """Its socket is not read from, but always ready: an error that nobody wants to hear. The broker must not spin."""
    broker = serve_on("--data-dir", data_dir)
    other = broker.login()
    other.call(1, "queue.declare", queue="q", durable=True)
    broker.fill_disk()
    peer = LoadPeer(*broker.addresses[0])
    send_for(peer, publish_frames("", "q", PERSISTENT, bytes(50_000)), 0.6)
    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.abort()  # a reset
    time.sleep(0.2)
    before = broker.cpu_s()
    time.sleep(1.0)
    spent = broker.cpu_s() - before
    other.call(1, "basic.qos")
    assert spent < 0.3, f"{spent:.2f} s of CPU in a second"


def test_full_disk_bounds_memory(serve_on: Serve, data_dir: str) -> None:
    """Publishers go on until they are held back; then they wait, all of it is there once there is room."""
    broker = serve_on("--data-dir", data_dir)
    other = broker.login()
    other.call(1, "queue.declare", queue="q", durable=True)
    broker.fill_disk()
    before = broker.rss_bytes()
    peer = LoadPeer(*broker.addresses[0])
    message = publish_frames("", "q", PERSISTENT, bytes(50_000))
    sent = send_for(peer, message, 2.0)
    grown = broker.rss_bytes() - before
    assert grown < 100 * MB, f"{grown / MB:.0f} MB"
    assert sent < 200 * MB, "it should have been stopped"
    broker.empty_disk()
    peer.socket.setblocking(True)
    rest = -sent % len(message)
    peer.send(message[len(message) - rest :])
    count = (sent + rest) // len(message)
    wait_until(
        lambda: bool(other.call(1, "queue.declare", queue="q", passive=True)["message_count"] == count),
        "all messages are there",
        15.0,
    )
    peer.abort()


def test_idle_costs_no_cpu(serve_on: Serve) -> None:
    broker = serve_on()
    peers = [broker.login() for _ in range(50)]
    before = broker.cpu_s()
    time.sleep(1.0)
    assert broker.cpu_s() - before < 0.1
    assert len(peers) == 50


@pytest.mark.slow
def test_a_thousand_idle_connections(serve_on: Serve) -> None:
    broker = serve_on()
    broker.login()
    before = broker.rss_bytes()
    peers = [broker.login() for _ in range(1000)]
    each = (broker.rss_bytes() - before) / 1000
    sys.stdout.write(f"{each / 1000:.1f} KB a connection with one channel\n")
    assert each < 60_000
    peers[500].call(1, "basic.qos")
    for peer in peers:
        peer.abort()
    wait_until(lambda: broker.log().count(" left: ") == 1000, "all are gone", 10.0)
    broker.login().call(1, "basic.qos")


def test_a_storm_of_connections(serve: Serve) -> None:
    """They come and go in many states; nothing of them stays."""
    broker = serve()
    quiet = broker.login()
    before = descriptors(broker)

    def storm(ended: threading.Event) -> None:
        while not ended.is_set():
            with contextlib.suppress(Gone):
                LoadPeer(*broker.addresses[0]).abort()
            with socket.create_connection(broker.addresses[0]) as half:
                half.sendall(b"AMQP\x00\x00")
            socket.create_connection(broker.addresses[0]).close()

    with in_background(storm, 4):
        taken = round_trips(quiet, 1.0)
    assert max(taken) < 1.0
    wait_until(lambda: descriptors(broker) == before, "sockets are closed", 10.0)
    assert "Traceback" not in broker.log()


def descriptors(broker: Served) -> int:
    return len(os.listdir(f"/proc/{broker.pid}/fd"))


class LiveLink:
    """A connection of a reactor that a test turns by hand, and its other end."""

    def __init__(self) -> None:
        self.broker = Broker(MemoryStore(), RandomIds())
        self.reactor = Reactor(self.broker.turn, Stage(), 0.0)
        ours, self.peer = socket.socketpair()
        ours.setblocking(False)
        self.peer.setblocking(False)
        outbox = Outbox(self.reactor.stage, ours.fileno())
        adapter = Connection(
            "peer", outbox, self.reactor.stage, self.broker, Tuning(handshake_timeout_s=5.0), is_loopback=True, now=0.0
        )
        self.reactor.add(ours, adapter)
        [self.link] = self.reactor.links.values()

    def turn(self, now: float = 1.0) -> None:
        while self.reactor.turn_once(now):
            pass

    def is_open(self) -> bool:
        return self.link in self.reactor.links.values()

    def said(self) -> bytes:
        """What has come to the other end."""
        with contextlib.suppress(BlockingIOError):
            return self.peer.recv(65536)
        return b""


@pytest.fixture
def live() -> Iterator[LiveLink]:
    live = LiveLink()
    yield live
    live.peer.close()
    live.reactor.close()


class NotedSocket(socket.socket):
    """Takes the place of ``sock``, and notes how much it was asked for at once."""

    def __init__(self, sock: socket.socket) -> None:
        super().__init__(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self.setblocking(False)
        self.asked: list[int] = []

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        self.asked.append(size)
        return super().recv(size, flags)


def test_the_rest_of_a_large_message_is_read_at_once(live: LiveLink) -> None:
    live.peer.sendall(login(frame_max=131_072) + method(1, "channel.open"))
    live.turn()
    noted = live.link.sock = NotedSocket(live.link.sock)
    large = publish(1, "", "nobody", bytes(100_000))
    for part in (large[:50_000], large[50_000:-100], large[-100:], HEARTBEAT_FRAME):
        live.peer.sendall(part)
        live.turn()
    assert noted.asked == [
        limits.RECEIVE_BYTES,
        limits.RECEIVE_LARGE_BYTES,
        limits.RECEIVE_BYTES,  # so little is due that it is no matter
        limits.RECEIVE_BYTES,
    ]


def test_a_frozen_link_is_neither_read_nor_written(live: LiveLink) -> None:
    live.reactor.freeze(live.link)
    live.peer.sendall(HEADER)
    live.link.outbox.write(b"owed")
    live.turn()
    live.reactor.set_alarm("low on memory")  # looks at each link
    live.reactor.set_alarm("")
    live.turn()
    assert live.said() == b""
    live.link.outbox.write(b" too")
    live.reactor.thaw(live.link)
    live.turn()
    assert live.said().startswith(b"owed too\x01\0\0"), "what was owed, then the answer to what was sent"


def test_a_frozen_link_is_not_silent(live: LiveLink) -> None:
    """Who is not listened to is not missed, and has his time again afterwards."""
    untuned, tuned = (method(0, "connection.tune-ok", channel_max=2047, frame_max=8192, heartbeat=s) for s in (0, 10))
    live.peer.sendall(login(frame_max=8192).replace(untuned, tuned))
    live.turn(1.0)
    assert live.link.adapter in live.broker.connections
    live.said()
    live.reactor.freeze(live.link)
    for now in range(2, 100):
        live.turn(float(now))
    assert live.said() == b""
    live.reactor.thaw(live.link)
    live.turn(100.0)
    assert live.said() == HEARTBEAT_FRAME * 19, "those of half an interval each"
    live.turn(118.0)
    assert live.is_open()
    live.turn(120.0)
    assert not live.is_open()


def test_a_frozen_link_can_be_dropped(live: LiveLink) -> None:
    """The handshake takes too long: nobody waits for what cannot be said."""
    live.reactor.freeze(live.link)
    live.turn(4.9)
    assert live.is_open()
    live.turn(5.1)
    assert not live.is_open()
    assert live.peer.recv(10) == b""


def test_a_peer_that_resets_a_frozen_link_is_gone(live: LiveLink) -> None:
    live.link.outbox.write(b"never read")
    live.turn()
    live.reactor.freeze(live.link)
    live.peer.close()  # before it has read all: a reset
    live.turn()
    assert not live.is_open()
    live.reactor.thaw(live.link)  # nothing happens


def test_a_closed_link_does_not_freeze(live: LiveLink) -> None:
    live.peer.close()
    live.turn()
    assert not live.is_open()
    live.reactor.freeze(live.link)
    assert not live.link.is_frozen
