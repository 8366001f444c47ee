"""The end of a broker: signals, last words to clients, what is kept, and that nothing holds it up."""

import signal
import time

import pytest

from tests.server.conftest import Serve
from tests.support.raw_peer import RawPeer, properties

PERSISTENT = properties(delivery_mode=2)
FORCED = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"


def told_to_go(peer: RawPeer) -> None:
    peer.expect(0, "connection.close", reply_code=320, reply_text=FORCED)
    peer.send(0, "connection.close-ok")
    peer.expect_socket_closed()
    peer.abort()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_in_good_order(serve: Serve, data_dir: str, number: signal.Signals) -> None:
    broker = serve("--data-dir", data_dir)
    peer, idle = broker.login(), broker.login()
    silent = broker.connect()
    peer.call(1, "queue.declare", queue="q", durable=True)
    for body in (b"a", b"b", b"c"):
        peer.publish(1, "", "q", body, PERSISTENT)
    peer.get(1, "q", b"a")
    broker.signal(number)
    for each in (peer, idle):
        told_to_go(each)
    silent.expect_socket_closed()
    silent.abort()
    began = time.monotonic()
    assert broker.wait_exit() == 0
    assert time.monotonic() - began < 1.0, "everybody had answered: nothing to wait for"
    assert f"{number.name}: stopping" in broker.log()
    again = serve("--data-dir", data_dir).login()
    again.get(1, "q", b"a", redelivered=True)
    again.get(1, "q", b"b", redelivered=False)  # unconfirmed, but a clean stop loses nothing it had
    again.get(1, "q", b"c", redelivered=False)


def test_nobody_there(serve: Serve) -> None:
    broker = serve()
    began = time.monotonic()
    assert broker.stop() == 0
    assert time.monotonic() - began < 1.0


def test_client_that_does_not_answer(serve_on: Serve, data_dir: str) -> None:
    """It is waited for, but not for long."""
    broker = serve_on("--data-dir", data_dir)
    broker.login()
    began = time.monotonic()
    assert broker.stop() == 0
    assert time.monotonic() - began < 6.0


def test_second_signal_ends_it_at_once(serve: Serve, data_dir: str) -> None:
    broker = serve("--data-dir", data_dir)
    peer = broker.login()
    broker.signal(signal.SIGTERM)
    peer.expect(0, "connection.close", reply_code=320)  # and is not answered
    began = time.monotonic()
    broker.signal(signal.SIGTERM)
    assert broker.wait_exit() != 0
    assert time.monotonic() - began < 1.0
    assert "Traceback" not in broker.log()


def test_no_new_connections_while_it_stops(serve: Serve) -> None:
    broker = serve()
    peer = broker.login()
    broker.signal(signal.SIGTERM)
    peer.expect(0, "connection.close", reply_code=320)
    with pytest.raises(ConnectionRefusedError):
        broker.connect()


def test_stop_under_load_keeps_what_was_confirmed(serve: Serve, data_dir: str) -> None:
    broker = serve("--data-dir", data_dir)
    peer = broker.login()
    peer.call(1, "queue.declare", queue="q", durable=True)
    peer.call(1, "confirm.select")
    for number in range(3000):
        peer.publish(1, "", "q", b"%d" % number, PERSISTENT)
    broker.signal(signal.SIGTERM)
    confirmed = 0
    while True:  # confirms go on until the close
        frame = peer.read_frame()
        if frame.channel == 0:
            break
        peer.unread[1].append(frame)
        confirmed = peer.expect(1, "basic.ack")["delivery_tag"]
    peer.send(0, "connection.close-ok")
    peer.abort()
    assert broker.wait_exit() == 0
    again = serve("--data-dir", data_dir).login()
    bodies = again.take_all(1, "q")
    assert len(bodies) >= confirmed
    assert bodies == [b"%d" % number for number in range(len(bodies))]


def test_stop_while_the_disk_is_full(serve_on: Serve, data_dir: str) -> None:
    """What cannot be written any more must not keep a process for ever that was told to go."""
    broker = serve_on("--data-dir", data_dir)
    peer = broker.login()
    peer.call(1, "queue.declare", queue="q", durable=True)
    peer.call(1, "confirm.select")
    broker.fill_disk()
    peer.publish(1, "", "q", b"x" * 1000, PERSISTENT)
    broker.wait_log("disk is full")
    peer.abort()
    broker.signal(signal.SIGTERM)
    broker.wait_exit(8.0)
    assert "Traceback" not in broker.log()


def test_full_disk_blocks_publishers_and_lets_them_go_on(serve: Serve, data_dir: str) -> None:
    broker = serve("--data-dir", data_dir)
    peer, other = broker.login(), broker.login()
    peer.call(1, "queue.declare", queue="q", durable=True)
    peer.call(1, "confirm.select")
    peer.publish(1, "", "q", b"before", PERSISTENT)
    peer.expect(1, "basic.ack")
    broker.fill_disk()
    peer.publish(1, "", "q", b"while full", PERSISTENT)
    peer.expect(0, "connection.blocked", reason="low on disk")
    queue = other.call(1, "queue.declare", exclusive=True)["queue"]  # all that needs no disk goes on
    other.get_empty(1, queue)
    assert other.call(1, "queue.declare", queue="q", passive=True)["message_count"] == 2
    peer.expect_nothing(300)
    broker.empty_disk()
    peer.expect(0, "connection.unblocked")
    peer.expect(1, "basic.ack", delivery_tag=2)
    peer.publish(1, "", "q", b"after", PERSISTENT)
    peer.expect(1, "basic.ack", delivery_tag=3)
    assert peer.take_all(1, "q") == [b"before", b"while full", b"after"]
