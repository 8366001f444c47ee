"""Time on a real server: handshakes that do not go on, heartbeats both ways."""

import itertools
import select
import time

import pytest

from tests.server.conftest import Serve
from tests.support.raw_peer import HEARTBEAT, METHOD, RawPeer, frame, method_payload

BEAT = frame(HEARTBEAT, 0, b"")


@pytest.mark.parametrize("progress", ["nothing", "half a header", "header", "start-ok", "tune-ok"])
def test_silent_handshake_is_ended(serve: Serve, progress: str) -> None:
    broker = serve(environ={"AMQPD_HANDSHAKE_TIMEOUT_S": "0.4"})
    began = time.monotonic()
    peer = broker.connect()
    if progress == "half a header":
        peer.send_bytes(b"AMQP")
    elif progress != "nothing":
        peer.start()
        if progress != "header":
            peer.start_ok()
            peer.expect(0, "connection.tune")
            if progress == "tune-ok":
                peer.tune_ok()
    peer.expect_socket_closed()
    assert 0.3 < time.monotonic() - began < 2.0
    broker.wait_log("handshake timeout")


def test_handshake_drop_by_drop_is_ended(serve_on: Serve) -> None:
    """The timeout is for the whole of it, not from octet to octet."""
    broker = serve_on(environ={"AMQPD_HANDSHAKE_TIMEOUT_S": "0.5"})
    peer = broker.connect()
    began = time.monotonic()
    peer.start()
    response = frame(METHOD, 0, method_payload("connection.start-ok", mechanism="PLAIN", response=b"x" * 200))
    for octet in response:
        if not peer.open:
            break
        peer.send_bytes(bytes([octet]))
        time.sleep(0.02)
    assert not peer.open
    assert time.monotonic() - began < 2.0


def test_one_that_logged_in_stays(serve_on: Serve) -> None:
    broker = serve_on(environ={"AMQPD_HANDSHAKE_TIMEOUT_S": "0.2"})
    peer = broker.login()
    peer.expect_nothing(500)
    peer.call(1, "basic.qos")


def login_with_heartbeat(peer: RawPeer, seconds: int) -> None:
    peer.start()
    peer.start_ok()
    peer.expect(0, "connection.tune", heartbeat=60)
    peer.tune_ok(heartbeat=seconds)
    peer.call(0, "connection.open", virtual_host="/")


def test_silent_client_is_dropped_without_a_word(serve: Serve) -> None:
    broker = serve()
    peer = broker.connect()
    login_with_heartbeat(peer, 1)
    began = time.monotonic()
    heard = b""
    while chunk := peer.socket.recv(4096):
        heard += chunk
    beats = len(heard) // len(BEAT)
    assert heard == beats * BEAT, "heartbeats and no other word"
    assert 1.5 < time.monotonic() - began < 3.5
    assert beats >= 2, "the broker beats at half the interval"
    broker.wait_log(r"left: missed heartbeats from the client, timeout: 1s")


def test_client_that_beats_stays(serve: Serve) -> None:
    broker = serve()
    peer = broker.connect()
    login_with_heartbeat(peer, 1)
    peer.open_channel(1)
    until = time.monotonic() + 2.3
    arrived = []
    while time.monotonic() < until:
        peer.send_bytes(BEAT)
        arrived += beats_within(peer, 0.4)
    assert len(arrived) >= 3
    assert max(later - earlier for earlier, later in itertools.pairwise(arrived)) < 1.2
    peer.call(1, "basic.qos")


def beats_within(peer: RawPeer, seconds: float) -> list[float]:
    arrived = []
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        if select.select([peer.socket], [], [], left)[0]:
            assert peer.read_frame().kind == HEARTBEAT
            arrived.append(time.monotonic())
    return arrived


def test_any_frame_counts_as_a_beat(serve_on: Serve) -> None:
    broker = serve_on()
    peer = broker.connect()
    login_with_heartbeat(peer, 1)
    peer.open_channel(1)
    for _ in range(5):
        time.sleep(0.45)
        peer.call(1, "basic.qos")


def test_no_heartbeat_no_end(serve_on: Serve) -> None:
    broker = serve_on()
    peer = broker.connect()
    login_with_heartbeat(peer, 0)
    peer.expect_nothing(2200)


def test_a_dead_client_loses_what_it_held(serve_on: Serve) -> None:
    """The network is gone: its unacked message goes to another, its exclusive queue away."""
    broker = serve_on()
    other, dead = broker.login(), broker.connect()
    login_with_heartbeat(dead, 1)
    dead.open_channel(1)
    other.call(1, "queue.declare", queue="q")
    other.publish(1, "", "q", b"a")
    dead.get(1, "q", b"a")
    dead.call(1, "queue.declare", queue="mine", exclusive=True)
    other.call(1, "basic.consume", queue="q", consumer_tag="c")
    other.expect_deliver(1, b"a", redelivered=True)
    other.refused(1, 404, "NOT_FOUND - no queue 'mine' in vhost '/'", "queue.declare", queue="mine", passive=True)
