"""Heartbeats and time-outs, with explicit times."""

import pytest

from amqpd.protocols.amqp091.handshake import Tuning
from tests.protocols.amqp091.dialogue import HEARTBEAT, peer_at, slow_server, start_ok, tune_ok
from tests.support.raw_peer import HEADER
from tests.support.wire import Peer, Server, login, method

SHORT_OF = 0.001


def is_abandoned(peer: Peer) -> bool:
    return peer.connection.is_abandoned


def is_finished(peer: Peer) -> bool:
    return peer.connection.is_finished


def test_beats_after_half_an_interval_of_our_silence() -> None:
    peer = peer_at("running", heartbeat=10)
    connection = peer.connection
    assert connection.tick(0.0, 0.0, 0.0) == 5.0
    assert connection.tick(5.0 - SHORT_OF, 4.0, 0.0) == 5.0
    peer.turn()
    assert peer.take_bytes() == b""
    assert connection.tick(5.0, 4.0, 0.0) == 10.0
    peer.turn()
    assert peer.take_bytes() == HEARTBEAT


def test_what_we_send_counts_as_a_beat() -> None:
    peer = peer_at("running", heartbeat=10)
    assert peer.connection.tick(5.0, 4.0, 3.0) == 8.0
    peer.turn()
    assert peer.take_bytes() == b""


def test_the_end_after_two_intervals_of_the_peers_silence() -> None:
    peer = peer_at("running", heartbeat=10)
    connection = peer.connection
    assert connection.tick(20.0 - SHORT_OF, 0.0, 19.0) == 20.0
    assert not is_abandoned(peer)
    assert connection.tick(20.0, 0.0, 19.0) == 20.0
    assert is_abandoned(peer)
    assert is_finished(peer)
    assert connection.why == "missed heartbeats from the client, timeout: 10s"
    assert peer.take_bytes() == b"", "without a close method"


def test_what_the_peer_sends_counts_as_a_beat() -> None:
    peer = peer_at("running", heartbeat=10)
    assert peer.connection.tick(30.0, 29.0, 28.0) == 33.0
    assert peer.connection.tick(48.0, 29.0, 47.0) == 49.0
    assert not is_abandoned(peer)


def test_an_odd_interval() -> None:
    peer = peer_at("running", heartbeat=1)
    assert peer.connection.tick(100.0, 100.0, 100.0) == 100.5
    assert peer.connection.tick(100.5, 100.0, 100.0) == 101.0
    assert peer.connection.tick(102.0, 100.0, 101.9) == 102.0
    assert is_abandoned(peer)


def test_no_heartbeats() -> None:
    peer = peer_at("running", heartbeat=0)
    assert peer.connection.tick(1e6, 0.0, 0.0) > 1e6
    peer.turn()
    assert peer.take_bytes() == b""
    assert not is_abandoned(peer)


def test_a_dead_peer_gives_back_what_it_held() -> None:
    peer = peer_at("running", heartbeat=10)
    peer.feed(method(1, "channel.open") + method(1, "queue.declare", queue="mine", exclusive=True))
    peer.turn()
    assert "mine" in peer.server.broker.vhosts["/"].queues
    peer.connection.tick(20.0, 0.0, 0.0)
    peer.turn()
    assert "mine" not in peer.server.broker.vhosts["/"].queues


def test_a_peer_that_is_not_read_from_is_not_silent() -> None:
    """Its beats lie in the socket that is left alone."""
    server, store = slow_server()
    peer = server.connect()
    peer.feed(login(1).replace(tune_ok(), tune_ok(heartbeat=10)))
    peer.turn()
    peer.take_bytes()
    store.is_delaying = True
    peer.send(1, "queue.declare", queue="d", durable=True)
    assert not peer.connection.is_reading
    assert peer.connection.tick(25.0, 0.0, 24.0) == 29.0
    assert not is_abandoned(peer)
    assert peer.connection.tick(29.0, 0.0, 24.0) == 34.0
    peer.turn()
    assert peer.take_bytes() == HEARTBEAT, "it hears our beats meanwhile"
    store.complete()
    peer.turn()
    peer.connection.tick(50.0, 30.0, 50.0)
    assert is_abandoned(peer), "from then on it must beat again"


@pytest.mark.parametrize("state", ["header", "starting", "tuning", "opening"])
def test_the_handshake_has_a_time(state: str) -> None:
    peer = peer_at(state, tuning=Tuning(handshake_timeout_s=7.0))
    connection = peer.connection
    assert connection.tick(0.0, 0.0, 0.0) == 7.0
    assert connection.tick(7.0 - SHORT_OF, 6.9, 6.9) == 7.0
    assert not is_abandoned(peer)
    connection.tick(7.0, 6.9, 6.9)
    assert is_abandoned(peer)
    assert connection.why == f"handshake timeout while {state}"


def test_the_handshakes_time_ends_with_it() -> None:
    peer = peer_at("opening", heartbeat=60)
    peer.connection.wants_tick = False
    peer.send(0, "connection.open", virtual_host="/")
    assert peer.connection.wants_tick, "the server must ask for the new time"
    assert peer.connection.tick(11.0, 11.0, 11.0) == 41.0
    assert not is_abandoned(peer)


def test_the_time_of_a_handshake_counts_from_its_connection() -> None:
    """Bytes that trickle in do not prolong it."""
    peer = Server(tuning=Tuning(handshake_timeout_s=7.0)).connect()
    for number, octet in enumerate(HEADER):
        peer.feed(bytes([octet]))
        peer.connection.tick(float(number), float(number), 0.0)
    assert is_abandoned(peer)


def test_close_ok_is_waited_for_ten_seconds() -> None:
    peer = peer_at("closing")
    connection = peer.connection
    assert connection.wants_tick
    assert connection.tick(100.0, 0.0, 0.0) == 110.0
    assert connection.tick(105.0, 104.0, 104.0) == 110.0
    assert not is_finished(peer)
    assert connection.tick(110.0, 109.0, 109.0) == 110.0
    assert is_finished(peer)


def test_a_failed_login_is_let_go_after_a_pause() -> None:
    """Told nothing, and not at once: guessing passwords must be slow."""
    peer = Server().connect()
    peer.feed(HEADER + start_ok(response=b"\x00guest\x00wrong", basic=True))
    peer.turn()
    connection = peer.connection
    assert [said.name for said in peer.output()] == ["connection.start"]
    assert connection.wants_tick
    assert connection.tick(100.0, 100.0, 100.0) == 101.0
    assert not is_finished(peer)
    connection.tick(101.0, 100.0, 100.0)
    assert is_finished(peer)
    peer.turn()
    assert peer.take_bytes() == b""
