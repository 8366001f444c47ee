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

from tests.durability.peer import Gone, LoadPeer, publish_frames
from tests.server.conftest import Serve
from tests.server.serving import Served, wait_until
from tests.support.raw_peer import RawPeer, frame, method_payload, properties

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
