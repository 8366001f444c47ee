"""Faults begin, last, and end: by themselves, with their block, with the broker."""

from collections.abc import Iterator

import pytest

from amqpd.testing import Broker, NotRunning
from tests.support.raw_peer import HEADER, RawPeer
from tests.support.wire import method
from tests.testing.peers import logged_in, newest

REFUSED = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile."


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture
def peer(broker: Broker) -> Iterator[RawPeer]:
    with logged_in(broker) as peer:
        peer.call(1, "queue.declare", queue="q")
        yield peer


def consume(peer: RawPeer) -> int:
    """Publish a message and have it delivered; its tag."""
    peer.publish(1, "", "q", b"a")
    return peer.expect_deliver(1).tag


# -- all connections, once --


def test_close_all(broker: Broker, peer: RawPeer) -> None:
    with logged_in(broker) as other, RawPeer(broker.host, broker.port) as stranger:
        stranger.start()
        broker.faults.close_connections("all of you")
        for each in (peer, other):
            each.expect_connection_close(320, "CONNECTION_FORCED - all of you")
        stranger.expect_socket_closed()


def test_abort_all(broker: Broker, peer: RawPeer) -> None:
    with logged_in(broker) as other:
        broker.faults.abort_connections()
        assert [each.socket.recv(100) for each in (peer, other)] == [b"", b""]


def test_reset_all(broker: Broker, peer: RawPeer) -> None:
    broker.faults.abort_connections(reset=True)
    with pytest.raises(ConnectionResetError):
        peer.socket.recv(100)


# -- frozen --


def test_frozen_connections_and_those_to_come(broker: Broker, peer: RawPeer) -> None:
    frozen = broker.faults.freeze_connections()
    with RawPeer(broker.host, broker.port) as late:
        peer.send(1, "basic.qos")
        late.send_bytes(HEADER)
        late.expect_nothing(10)
        peer.expect_nothing(1)
        frozen.end()
        peer.expect(1, "basic.qos-ok")
        late.expect(0, "connection.start")
    with logged_in(broker):
        pass


# -- acks --


def test_dropped_acks(broker: Broker, peer: RawPeer) -> None:
    peer.call(1, "basic.consume", queue="q")
    tag = consume(peer)
    with broker.faults.drop_acks(), logged_in(broker) as late:
        peer.send(1, "basic.ack", delivery_tag=tag)
        peer.call(1, "basic.qos")
        late.publish(1, "", "q", b"b")
        late.call(1, "basic.qos")
        peer.expect_deliver(1, b"b")
        late.call(1, "queue.declare", queue="r")
        late.publish(1, "", "r", b"c")
        late.send(1, "basic.ack", delivery_tag=late.get(1, "r").tag)
        late.call(1, "basic.qos")
        assert broker.queue("q").unacked == 2
        assert broker.queue("r").unacked == 1
    peer.send(1, "basic.ack", delivery_tag=0, multiple=True)
    peer.call(1, "basic.qos")
    assert broker.queue("q").unacked == 0


def test_dropped_from_the_middle_of_a_frame(broker: Broker, peer: RawPeer) -> None:
    """The broker has half of an ack: it gets all of it, and no other."""
    ack = method(1, "basic.ack", delivery_tag=1)
    for _ in range(2):
        peer.publish(1, "", "q", b"a")
        peer.get(1, "q")
    peer.send_bytes(ack[:9])
    broker.wait_for(lambda: newest(broker).subject.held_size == 9)
    with broker.faults.drop_acks():
        peer.send_bytes(ack[9:] + method(1, "basic.ack", delivery_tag=2))
        peer.call(1, "basic.qos")
        assert broker.queue("q").unacked == 1


def test_dropped_acks_of_one(broker: Broker, peer: RawPeer) -> None:
    deaf = broker.faults.drop_acks(newest(broker))
    with logged_in(broker) as other:
        for each in (peer, other):
            each.publish(1, "", "q", b"a")
            each.send(1, "basic.ack", delivery_tag=each.get(1, "q").tag)
            each.call(1, "basic.qos")
    assert broker.queue("q").unacked == 1
    deaf.end()


def test_dropped_acks_twice_over(broker: Broker, peer: RawPeer) -> None:
    """Each ends by itself."""
    peer.call(1, "basic.consume", queue="q")
    with broker.faults.drop_acks():
        with broker.faults.drop_acks(newest(broker)):
            pass
        peer.send(1, "basic.ack", delivery_tag=consume(peer))
        peer.call(1, "basic.qos")
        assert broker.queue("q").unacked == 1
    peer.send(1, "basic.ack", delivery_tag=1)
    peer.call(1, "basic.qos")
    assert broker.queue("q").unacked == 0


def test_a_client_that_only_acks_is_not_silent() -> None:
    with Broker(clock="manual", heartbeat_s=10) as broker, RawPeer(broker.host, broker.port) as peer:
        peer.start()
        peer.start_ok()
        peer.expect(0, "connection.tune")
        peer.tune_ok(heartbeat=10)
        peer.call(0, "connection.open", virtual_host="/")
        peer.open_channel(1)
        with broker.faults.drop_acks():
            for _ in range(3):
                peer.send(1, "basic.ack", delivery_tag=1)  # an error, if it came
                broker.advance(9.0)
        assert len(broker.connections) == 1


# -- logins --


def test_refused_logins(broker: Broker, peer: RawPeer) -> None:
    with broker.faults.refuse_logins(), RawPeer(broker.host, broker.port) as stranger:
        stranger.start()
        stranger.start_ok()
        stranger.expect_connection_close(403, REFUSED, lingers=True)
        peer.call(1, "basic.qos")
    with logged_in(broker):
        pass


# -- publishers --


def test_blocked_publishers(broker: Broker, peer: RawPeer) -> None:
    with logged_in(broker) as other, logged_in(broker, capabilities={}) as deaf:
        for each in (peer, deaf):
            each.publish(1, "", "q", b"a")
            each.call(1, "basic.qos")
        with broker.faults.block_publishers("low on patience"):
            peer.expect(0, "connection.blocked", reason="low on patience")
            other.call(1, "basic.qos")
            other.publish(1, "", "q", b"b")
            other.expect(0, "connection.blocked", reason="low on patience")
            peer.send(1, "basic.qos")
            peer.expect_nothing(1)
            deaf.send(1, "basic.qos")
            deaf.expect_nothing(1)
            broker.server.hand_on_alarm()  # as a wake-up does
        for each in (peer, other):
            each.expect(0, "connection.unblocked")
        peer.expect(1, "basic.qos-ok")
        deaf.expect(1, "basic.qos-ok")


def test_blocked_for_two_reasons(broker: Broker, peer: RawPeer) -> None:
    peer.publish(1, "", "q", b"a")
    peer.call(1, "basic.qos")
    first = broker.faults.block_publishers()
    second = broker.faults.block_publishers("low on disk")
    peer.expect(0, "connection.blocked", reason="low on memory")
    first.end()
    peer.expect_nothing(1)
    second.end()
    peer.expect(0, "connection.unblocked")


def test_nacks(broker: Broker, peer: RawPeer) -> None:
    peer.call(1, "confirm.select")
    with broker.faults.nack_next(2) as nacks:
        assert nacks.left == 2
        peer.publish(1, "", "q", b"a")
        peer.expect(1, "basic.nack", delivery_tag=1)
        assert nacks.left == 1
    peer.publish(1, "", "q", b"b")
    peer.expect(1, "basic.ack", delivery_tag=2)
    assert nacks.left == 1
    assert [message.body for message in broker.queue("q").messages()] == [b"b"]


def test_returns(broker: Broker, peer: RawPeer) -> None:
    returns = broker.faults.return_next()
    peer.publish(1, "", "q", b"a", mandatory=True)
    peer.expect_content(1, "basic.return", b"a", reply_code=312, reply_text="NO_ROUTE")
    assert returns.left == 0
    peer.publish(1, "", "q", b"b", mandatory=True)
    peer.call(1, "basic.qos")
    assert broker.queue("q").ready == 1
    returns.end()


def test_no_publishes_are_too_few(broker: Broker) -> None:
    with pytest.raises(ValueError, match="count is 0"):
        broker.faults.nack_next(0)


# -- the end --


def test_clear_ends_everything(broker: Broker, peer: RawPeer) -> None:
    faults = broker.faults
    peer.call(1, "confirm.select")
    peer.publish(1, "", "q", b"a")
    peer.expect(1, "basic.ack")
    begun = [faults.refuse_logins(), faults.block_publishers(), faults.nack_next(), faults.return_next()]
    begun += [faults.drop_acks(), faults.freeze_connections()]
    faults.clear()
    assert all(fault.is_over for fault in begun)
    peer.expect(0, "connection.blocked")
    peer.expect(0, "connection.unblocked")
    peer.publish(1, "", "q", b"b", mandatory=True)
    peer.expect(1, "basic.ack", delivery_tag=2)
    with logged_in(broker) as other:
        other.send(1, "basic.ack", delivery_tag=other.get(1, "q").tag)
        other.call(1, "basic.qos")
        assert broker.queue("q").unacked == 0


def test_clear_thaws(broker: Broker, peer: RawPeer) -> None:
    newest(broker).freeze()
    peer.send(1, "basic.qos")
    broker.faults.clear()
    peer.expect(1, "basic.qos-ok")


def test_an_end_is_an_end(broker: Broker, peer: RawPeer) -> None:
    """The second one must not end what another began."""
    first, second = broker.faults.refuse_logins(), broker.faults.refuse_logins()
    first.end()
    first.end()
    with RawPeer(broker.host, broker.port) as stranger:
        stranger.start()
        stranger.start_ok()
        stranger.expect(0, "connection.close", reply_code=403)
    second.end()


def test_after_a_restart_all_are_gone(broker: Broker) -> None:
    with (
        broker.faults.refuse_logins() as fault,
        broker.faults.block_publishers(),
        broker.faults.nack_next(),
        broker.faults.drop_acks(),
        broker.faults.freeze_connections(),
    ):
        broker.restart()
        with logged_in(broker) as peer:
            peer.call(1, "queue.declare", queue="q")
            peer.call(1, "confirm.select")
            peer.publish(1, "", "q", b"a")
            peer.expect(1, "basic.ack")
    assert fault.is_over
    with logged_in(broker):
        pass


def test_a_broker_may_end_first(broker: Broker, peer: RawPeer) -> None:
    with broker.faults.freeze_connections() as fault:
        broker.stop()
        assert peer.socket.recv(1) == b"", "a frozen one is told nothing"
    assert fault.is_over
    broker.faults.clear()
    with pytest.raises(NotRunning):
        broker.faults.drop_acks()
