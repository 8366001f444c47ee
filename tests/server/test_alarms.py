"""Alarms: when they are raised and over, what the log and publishers hear of it, and who is not concerned."""

import contextlib
import logging
import math
import os
import signal
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pika
import pytest
from anyio.from_thread import start_blocking_portal

from amqpd.broker import recovery
from amqpd.broker.broker import Broker
from amqpd.broker.ids import RandomIds
from amqpd.clock import SystemClock
from amqpd.protocols.amqp091.handshake import Tuning
from amqpd.server.alarms import MARGIN_MAX_BYTES, SAMPLE_MIN_S, SAMPLE_S, Alarms, Resource
from amqpd.server.lifecycle import Server
from amqpd.server.listeners import listen
from amqpd.server.resources import free_disk_bytes, memory_bytes
from amqpd.store.memory import MemoryStore
from tests.server.conftest import Serve
from tests.server.serving import Served, wait_until
from tests.support.raw_peer import HEARTBEAT, RawPeer, properties

MB = 1_000_000
PERSISTENT = properties(delivery_mode=2)
MORE_THAN_ANY_DISK = str(2**60)


class Meter:
    """A figure that the test sets, and how often it was asked for."""

    def __init__(self, amount: int = 0) -> None:
        self.amount = amount
        self.fault = ""
        self.count = 0
        self.relieved = 0

    def measure(self) -> int:
        self.count += 1
        if self.fault:
            raise OSError(self.fault)
        return self.amount

    def relieve(self) -> None:
        self.relieved += 1


def memory(meter: Meter, limit: int = 1000) -> Resource:
    return Resource("memory", limit, True, meter.measure, "memory_high_watermark", "drain", meter.relieve)


def disk(meter: Meter, limit: int = 1000) -> Resource:
    return Resource("disk", limit, False, meter.measure, "disk_free_limit_bytes", "make room")


def no_store_alarm() -> str:
    return ""


# -- when --


class Watched:
    """Alarms, and a clock that stands still between looks."""

    def __init__(self, *resources: Resource) -> None:
        self.store_alarm = ""
        self.alarms = Alarms(resources, lambda: self.store_alarm, 100.0)
        self.now = 100.0
        self.pause_s = 0.0  # from the last look to the next

    def reason(self) -> str:
        """At the next look."""
        self.now += self.pause_s
        self.pause_s = self.alarms.tick(self.now) - self.now
        return self.alarms.reason()


def assert_reasons(watched: Watched, meter: Meter, *rows: tuple[int, str]) -> None:
    """What is said at each of these amounts, one after another."""
    for amount, reason in rows:
        meter.amount = amount
        assert watched.reason() == reason, amount


def test_memory_is_short_above_its_limit() -> None:
    meter = Meter()
    assert_reasons(
        Watched(memory(meter, 1000)),
        meter,
        (0, ""),
        (1000, ""),
        (1001, "low on memory"),
        (1000, "low on memory"),  # not yet over: it would come and go
        (951, "low on memory"),
        (950, ""),
        (1000, ""),
        (5000, "low on memory"),
        (0, ""),
    )


def test_disk_is_short_below_its_limit() -> None:
    meter = Meter()
    assert_reasons(
        Watched(disk(meter, 1000)),
        meter,
        (5000, ""),
        (1000, ""),
        (999, "low on disk"),
        (1000, "low on disk"),
        (1049, "low on disk"),
        (1050, ""),
        (1000, ""),
        (0, "low on disk"),
    )


def test_the_margin_of_a_large_limit_is_not_large() -> None:
    meter = Meter(0)
    watched = Watched(disk(meter, 10**12))
    assert watched.reason() == "low on disk"
    meter.amount = 10**12 + MARGIN_MAX_BYTES - 1
    assert watched.reason() == "low on disk"
    meter.amount += 1
    assert watched.reason() == ""


def test_all_that_is_short_is_named() -> None:
    used, free = Meter(2000), Meter(5000)
    watched = Watched(disk(free), memory(used))
    assert watched.reason() == "low on memory"
    free.amount = 0
    assert watched.reason() == "low on disk & memory"
    used.amount = 0
    assert watched.reason() == "low on disk"
    free.amount = 5000
    assert watched.reason() == ""


def test_a_full_disk_that_the_store_met_is_the_same_alarm() -> None:
    used, free = Meter(0), Meter(5000)
    watched = Watched(memory(used), disk(free))
    watched.store_alarm = "low on disk"
    assert watched.reason() == "low on disk"
    free.amount = 0
    assert watched.reason() == "low on disk"
    used.amount = 2000
    assert watched.reason() == "low on disk & memory"
    free.amount = 5000
    assert watched.reason() == "low on disk & memory"
    used.amount, watched.store_alarm = 0, ""
    assert watched.reason() == ""


def test_nothing_is_looked_at_before_its_time() -> None:
    """A tick of every turn would cost nothing."""
    meter = Meter()
    alarms = Alarms([memory(meter, 10**10)], no_store_alarm, 5.0)
    for _ in range(1000):
        assert alarms.tick(5.0) == 5.0 + SAMPLE_S
    assert meter.count == 1
    alarms.tick(5.0 + SAMPLE_S - 0.001)
    assert meter.count == 1
    alarms.tick(5.0 + SAMPLE_S)
    assert meter.count == 2


@pytest.mark.parametrize(
    ("room", "pause_s"),
    [(10**10, SAMPLE_S), (5 * 10**8, SAMPLE_S), (250 * MB, 0.5), (50 * MB, SAMPLE_MIN_S), (0, SAMPLE_MIN_S)],
)
def test_the_closer_the_oftener(room: int, pause_s: float) -> None:
    used, free = memory(Meter(10**10 - room), 10**10), disk(Meter(10**10 + room), 10**10)
    for watched in (Watched(used), Watched(free), Watched(disk(Meter(10**15)), used)):
        assert watched.reason() == ""
        assert watched.pause_s == pytest.approx(pause_s)


def test_nothing_to_look_at() -> None:
    alarms = Alarms([], no_store_alarm, 0.0)
    assert alarms.tick(0.0) == math.inf
    assert alarms.reason() == ""


def test_memory_is_given_back_during_an_alarm_only() -> None:
    meter = Meter(900)
    watched = Watched(memory(meter))
    watched.reason()
    assert meter.relieved == 0
    meter.amount = 1001
    watched.reason()
    assert (meter.relieved, watched.pause_s) == (1, SAMPLE_S)
    watched.reason()
    assert meter.relieved == 2
    meter.amount = 0
    watched.reason()
    assert meter.relieved == 2


# -- what the log says --


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[int, str]]:
    said = [(record.levelno, record.getMessage()) for record in caplog.records]
    caplog.clear()
    return said


def test_log_of_memory(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "amqpd.server")
    meter = Meter(1_100 * MB)
    watched = Watched(memory(meter, 1_000 * MB))
    watched.reason()
    assert lines(caplog) == [
        (
            logging.WARNING,
            "low on memory: 1,100.0 MB used, the limit is 1,000.0 MB (memory_high_watermark); "
            "publishers are blocked until no more than 950.0 MB are used: drain",
        )
    ]
    watched.reason()
    assert lines(caplog) == [], "said once"
    meter.amount = 940 * MB
    watched.reason()
    assert lines(caplog) == [
        (
            logging.INFO,
            "enough memory again: 940.0 MB used, the limit is 1,000.0 MB (memory_high_watermark); publishers go on",
        )
    ]


def test_log_of_disk(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "amqpd.server")
    meter = Meter(40 * MB)
    watched = Watched(disk(meter, 50 * MB))
    watched.reason()
    assert lines(caplog) == [
        (
            logging.WARNING,
            "low on disk: 40.0 MB free, the limit is 50.0 MB (disk_free_limit_bytes); "
            "publishers are blocked until 52.5 MB are free: make room",
        )
    ]


@pytest.mark.parametrize(
    ("amount", "reason", "words"), [(0, "", "cannot be raised"), (2000, "low on memory", "stays up")]
)
def test_what_cannot_be_measured_stays_as_it_was(
    caplog: pytest.LogCaptureFixture, amount: int, reason: str, words: str
) -> None:
    meter = Meter(amount)
    watched = Watched(memory(meter))
    watched.reason()
    lines(caplog)
    meter.fault = "no such thing"
    for _ in range(3):
        assert watched.reason() == reason
        assert watched.pause_s == SAMPLE_S
    expected = f"memory cannot be measured (no such thing): its alarm {words}"
    assert lines(caplog) == [(logging.WARNING, expected)]
    meter.fault, meter.amount = "", 0
    assert watched.reason() == ""
    meter.fault = "again"
    watched.reason()
    assert (logging.WARNING, "memory cannot be measured (again): its alarm cannot be raised") in lines(caplog)


def test_a_new_limit_holds_at_once() -> None:
    meter = Meter(500)
    alarms = Alarms([memory(meter)], lambda: "", 0.0)
    alarms.tick(0.0)
    assert alarms.set_limit("memory", 400, "as the test said")
    alarms.tick(0.0)
    assert alarms.reason() == "low on memory"
    assert alarms.set_limit("memory", 1000, "as the test said")
    alarms.tick(0.0)
    assert alarms.reason() == ""
    assert not alarms.set_limit("disk", 1, "as the test said")


# -- what publishers see, with figures that the test sets --


@contextlib.contextmanager
def serving(*resources: Resource) -> Iterator[tuple[str, int]]:
    """A server in a thread of this process; its address."""
    broker = Broker(MemoryStore(), RandomIds(), queue_window_bytes=8 * MB)
    recovery.restore(broker)
    sock = listen("127.0.0.1", 0)
    tuning = Tuning(
        channel_max=2047, frame_max=131072, heartbeat_s=60, max_message_size=128 * MB, handshake_timeout_s=10.0
    )
    server = Server(
        broker, [sock], tuning, SystemClock(), max_connections=100, patience_s=0.0, resources=list(resources)
    )
    host, port = sock.getsockname()
    with start_blocking_portal() as portal:
        running = portal.start_task_soon(server.run)
        try:
            yield host, port
        finally:
            running.cancel()


class Peers:
    """Logged in, with channel 1 open; dropped at the end."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.all: list[RawPeer] = []

    def new(self, heartbeat_s: int = 0, capabilities: dict[str, bool] | None = None) -> RawPeer:
        peer = RawPeer(*self.address)
        self.all.append(peer)
        peer.start()
        peer.start_ok(capabilities=capabilities)
        peer.expect(0, "connection.tune")
        peer.tune_ok(heartbeat=heartbeat_s)
        peer.call(0, "connection.open", virtual_host="/")
        peer.open_channel(1)
        return peer


@pytest.fixture
def meter() -> Meter:
    return Meter(0)


@pytest.fixture
def peers(meter: Meter) -> Iterator[Peers]:
    """Of a server whose memory is what ``meter`` says, of 1000 bytes."""
    with serving(memory(meter)) as address:
        peers = Peers(address)
        yield peers
        for peer in peers.all:
            peer.abort()


def depth(peer: RawPeer, queue: str) -> int:
    count: int = peer.call(1, "queue.declare", queue=queue, passive=True)["message_count"]
    return count


def test_publisher_waits_and_everybody_else_goes_on(peers: Peers, meter: Meter) -> None:
    publisher, consumer, other = peers.new(), peers.new(), peers.new()
    consumer.call(1, "queue.declare", queue="q")
    publisher.publish_all(1, "q", [b"a", b"b"])
    wait_until(lambda: depth(other, "q") == 2, "both are there")
    meter.amount = 2000
    publisher.expect(0, "connection.blocked", reason="low on memory")
    publisher.publish(1, "", "q", b"c")
    publisher.send(1, "basic.qos")
    consumer.call(1, "basic.consume", queue="q", consumer_tag="t")
    for tag, body in enumerate((b"a", b"b"), 1):
        consumer.expect_deliver(1, body)
        consumer.send(1, "basic.ack", delivery_tag=tag)
    other.call(1, "queue.declare", queue="r")
    assert depth(other, "q") == 0
    consumer.expect_nothing()
    publisher.expect_nothing()
    meter.amount = 0
    publisher.expect(0, "connection.unblocked")
    publisher.expect(1, "basic.qos-ok")
    consumer.expect_deliver(1, b"c")


def test_who_begins_to_publish_is_blocked_then(peers: Peers, meter: Meter) -> None:
    old = peers.new()
    old.publish(1, "", "nowhere", b"x")
    late = peers.new()
    late.call(1, "confirm.select")
    meter.amount = 2000
    old.expect(0, "connection.blocked")
    late.call(1, "queue.declare", queue="q")
    late.publish(1, "", "q", b"the one that shows what it is")
    late.expect(0, "connection.blocked", reason="low on memory")
    late.expect(1, "basic.ack", delivery_tag=1)
    late.publish(1, "", "q", b"waits")
    newcomer = peers.new()
    assert depth(newcomer, "q") == 1
    newcomer.publish(1, "", "nowhere", b"x")
    newcomer.expect(0, "connection.blocked", reason="low on memory")
    meter.amount = 0
    for each in (old, late, newcomer):
        each.expect(0, "connection.unblocked")
    late.expect(1, "basic.ack", delivery_tag=2)


def test_who_does_not_understand_is_not_told_and_waits_all_the_same(peers: Peers, meter: Meter) -> None:
    plain, late = peers.new(capabilities={}), peers.new(capabilities={})
    other, witness = peers.new(), peers.new()
    other.call(1, "queue.declare", queue="q")
    plain.publish(1, "", "q", b"a")
    witness.publish(1, "", "nowhere", b"x")
    wait_until(lambda: depth(other, "q") == 1, "it is there")
    meter.amount = 2000
    witness.expect(0, "connection.blocked")
    plain.publish(1, "", "q", b"b")
    late.publish(1, "", "q", b"the one that shows what it is")
    wait_until(lambda: depth(other, "q") == 2, "that one was read")
    late.publish(1, "", "q", b"c")
    plain.expect_nothing()
    late.expect_nothing()
    assert depth(other, "q") == 2
    meter.amount = 0
    witness.expect(0, "connection.unblocked")
    wait_until(lambda: depth(other, "q") == 4, "they were read")
    plain.call(1, "basic.qos")


def test_blocked_publisher_is_alive_and_hears_that_we_are(peers: Peers, meter: Meter) -> None:
    """It beats, and nobody reads it: its silence means nothing. Ours would."""
    publisher = peers.new(heartbeat_s=1)
    meter.amount = 2000
    publisher.publish(1, "", "nowhere", b"x")
    publisher.expect(0, "connection.blocked")
    until = time.monotonic() + 2.5
    beats = 0
    while time.monotonic() < until:
        beat = publisher.read_frame()
        assert (beat.kind, beat.channel) == (HEARTBEAT, 0)
        beats += 1
    assert beats >= 4
    meter.amount = 0
    while (got := publisher.read_frame()).kind == HEARTBEAT:
        pass
    publisher.unread[0].append(got)
    publisher.expect(0, "connection.unblocked")
    publisher.call(1, "basic.qos")


def test_messages_bring_about_no_look(peers: Peers, meter: Meter) -> None:
    began, before = time.monotonic(), meter.count
    peer = peers.new()
    peer.call(1, "confirm.select")
    for tag in range(1, 501):
        peer.publish(1, "", "nowhere", b"x")
        peer.expect(1, "basic.ack", delivery_tag=tag)
    looks = meter.count - before
    assert looks <= 1 + (time.monotonic() - began) / SAMPLE_MIN_S


def test_an_alarm_that_is_there_from_the_start() -> None:
    with serving(memory(Meter(2000))) as address:
        peers = Peers(address)
        peer = peers.new()
        peer.publish(1, "", "nowhere", b"x")
        peer.expect(0, "connection.blocked", reason="low on memory")
        peer.abort()


# -- with the machine's own figures --


def watermark(limit_bytes: int) -> str:
    return f"{limit_bytes / memory_bytes():.9f}"


def test_memory_fills_up_and_is_drained(serve: Serve) -> None:
    """All of it is freed and given back, or publishers would wait for ever."""
    limit = 100 * MB
    broker = serve(environ={"AMQPD_MEMORY_HIGH_WATERMARK": watermark(limit)})
    publisher, consumer = broker.login(), broker.login()
    consumer.call(1, "queue.declare", queue="q")
    body = os.urandom(1000)
    count = publish_until_blocked(publisher, body)
    broker.wait_log("low on memory: .* MB used, the limit is 100.0 MB")
    assert limit * 0.7 < broker.rss_bytes() < limit * 2.5, "it has released what it could, and is not much beyond"
    publisher.publish(1, "", "q", b"last")
    consumer.call(1, "basic.consume", queue="q", no_ack=True)
    for _ in range(count):
        consumer.expect_deliver(1, body)
    publisher.expect(0, "connection.unblocked")
    consumer.expect_deliver(1, b"last")
    broker.wait_log("enough memory again")


def publish_until_blocked(publisher: RawPeer, body: bytes) -> int:
    """How many are published: those that are read by the time we hear of it, and those that wait in between."""
    publisher.socket.settimeout(10.0)
    count = 0
    while not publisher.unread[0]:
        for _ in range(100):
            publisher.publish(1, "", "q", body)
        count += 100
        publisher.send(1, "basic.qos")
        got = publisher.read_frame()
        publisher.unread[got.channel].append(got)
        publisher.unread[1].clear()
    publisher.expect(0, "connection.blocked", reason="low on memory")
    return count


def test_disk_limit_that_no_disk_has(serve: Serve, data_dir: str) -> None:
    broker = serve("--data-dir", data_dir, environ={"AMQPD_DISK_FREE_LIMIT_BYTES": MORE_THAN_ANY_DISK})
    peer = broker.login()
    assert "low on disk: " in broker.log(), "said, and true, before the first connection"
    peer.call(1, "queue.declare", queue="q", durable=True)
    peer.call(1, "confirm.select")
    peer.publish(1, "", "q", b"a", PERSISTENT)
    peer.expect(0, "connection.blocked", reason="low on disk")
    peer.expect(1, "basic.ack", delivery_tag=1)  # what was taken is kept and confirmed
    peer.publish(1, "", "q", b"b", PERSISTENT)
    peer.expect_nothing(300)
    broker.login().get(1, "q", b"a")


@pytest.fixture
def quiet_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory where nobody else writes much: in memory, if there is such a file system."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(prefix="amqpd-test-", dir=shared) as directory:
        yield Path(directory)


def test_disk_fills_up_and_has_room_again(quiet_disk: Path, tmp_path: Path) -> None:
    free = free_disk_bytes(quiet_disk)
    spare = min(free // 4, 300 * MB)
    options = ("--data-dir", str(quiet_disk / "data"))
    with Served(tmp_path, *options, environ={"AMQPD_DISK_FREE_LIMIT_BYTES": str(free - spare)}) as broker:
        peer = broker.wait_ready().login()
        peer.publish(1, "", "nowhere", b"x")
        peer.call(1, "basic.qos")
        with (quiet_disk / "somebody's").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, spare * 3 // 2)
        peer.expect(0, "connection.blocked", reason="low on disk")
        (quiet_disk / "somebody's").unlink()
        peer.expect(0, "connection.unblocked")
        peer.call(1, "basic.qos")
        broker.wait_log("enough disk again")


def test_alarms_that_are_switched_off(serve_on: Serve, data_dir: str) -> None:
    off = {"AMQPD_DISK_FREE_LIMIT_BYTES": "0", "AMQPD_MEMORY_HIGH_WATERMARK": "0"}
    assert publishes_freely(serve_on("--data-dir", data_dir, environ=off))


def test_memory_alone_minds_no_disk(serve_on: Serve, tmp_path: Path) -> None:
    options = ("--memory", "--data-dir", str(tmp_path))
    assert publishes_freely(serve_on(*options, environ={"AMQPD_DISK_FREE_LIMIT_BYTES": MORE_THAN_ANY_DISK}))


def publishes_freely(broker: Served) -> bool:
    peer = broker.login()
    peer.publish(1, "", "nowhere", b"x")
    peer.call(1, "basic.qos")
    return "low on" not in broker.log()


def test_stop_hears_the_answer_of_a_blocked_publisher(serve: Serve, data_dir: str) -> None:
    broker = serve("--data-dir", data_dir, environ={"AMQPD_DISK_FREE_LIMIT_BYTES": MORE_THAN_ANY_DISK})
    peer = broker.login()
    peer.publish(1, "", "nowhere", b"x")
    peer.expect(0, "connection.blocked")
    peer.publish(1, "", "nowhere", b"behind it")
    broker.signal(signal.SIGTERM)
    peer.expect(0, "connection.close", reply_code=320)
    began = time.monotonic()
    peer.send(0, "connection.close-ok")
    peer.expect_socket_closed()
    peer.abort()
    assert broker.wait_exit() == 0
    assert time.monotonic() - began < 1.5, "it was waited for"


def test_pika_is_told(serve_on: Serve) -> None:
    """A real client: it waits inside basic_publish, its callbacks run, and it goes on by itself."""
    broker = serve_on(environ={"AMQPD_MEMORY_HIGH_WATERMARK": watermark(100 * MB)})
    heard: list[str] = []
    with ThreadPoolExecutor(1) as executor:
        publishing = executor.submit(publish_until_unblocked, broker, heard)
        broker.wait_log("low on memory", timeout_s=20.0)
        broker.login().call(1, "queue.purge", queue="q")
        try:
            assert publishing.result(20.0) == "went on"
        finally:
            broker.kill()  # or pika would wait for ever for the answer of a broker that does not read it
    assert heard[:2] == ["low on memory", "unblocked"]


def publish_until_unblocked(broker: Served, heard: list[str]) -> str:
    connection: Any = pika.BlockingConnection(pika.ConnectionParameters("127.0.0.1", broker.port))
    connection.add_on_connection_blocked_callback(lambda _, method: heard.append(method.method.reason))
    connection.add_on_connection_unblocked_callback(lambda _, method: heard.append("unblocked"))
    channel = connection.channel()
    channel.queue_declare("q")
    body = os.urandom(100_000)
    while "unblocked" not in heard:
        channel.basic_publish("", "q", body)
        connection.process_data_events(0)
    channel.queue_purge("q")
    connection.close()
    return "went on"
