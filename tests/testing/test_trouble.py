"""What a client meets when something happens to its connection, its channel, its consumer."""

import socket
from collections.abc import Iterator

import pytest

from amqpd.protocols.amqp091.connection import Connection
from amqpd.testing import Broker, trouble
from tests.support.raw_peer import BODY, HEARTBEAT, RawPeer, frame
from tests.testing.peers import logged_in, newest


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker(clock="manual") as broker:
        yield broker


@pytest.fixture
def peer(broker: Broker) -> Iterator[RawPeer]:
    with logged_in(broker) as peer:
        yield peer


@pytest.fixture
def connection(broker: Broker, peer: RawPeer) -> Connection:
    return newest(broker).subject


# -- connections --


def test_close(broker: Broker, connection: Connection, peer: RawPeer) -> None:
    trouble.close_connection(broker, connection, "enough")
    peer.expect_connection_close(320, "CONNECTION_FORCED - enough")
    trouble.close_connection(broker, connection, "again")


def test_abort_is_the_end_of_the_stream(broker: Broker, connection: Connection, peer: RawPeer) -> None:
    trouble.abort_connection(broker, connection)
    assert peer.socket.recv(100) == b""
    assert broker.connections == []
    trouble.abort_connection(broker, connection)


def test_abort_is_the_end_of_the_stream_even_if_something_was_not_read(
    broker: Broker, connection: Connection, peer: RawPeer
) -> None:
    trouble.freeze_connection(broker, connection)
    peer.send(1, "basic.qos")
    trouble.abort_connection(broker, connection)
    assert peer.socket.recv(100) == b""


def test_reset(broker: Broker, connection: Connection, peer: RawPeer) -> None:
    trouble.abort_connection(broker, connection, reset=True)
    with pytest.raises(ConnectionResetError):
        peer.socket.recv(100)


def test_what_it_held_is_free_when_abort_returns(broker: Broker, connection: Connection, peer: RawPeer) -> None:
    peer.call(1, "queue.declare", queue="q")
    peer.publish(1, "", "q", b"a")
    peer.get(1, "q")
    trouble.abort_connection(broker, connection)
    assert (broker.queue("q").ready, broker.queue("q").unacked) == (1, 0)


def test_freeze_until_thawed(broker: Broker, connection: Connection, peer: RawPeer) -> None:
    trouble.freeze_connection(broker, connection)
    peer.send(1, "basic.qos")
    broker.advance(1000.0)
    peer.expect_nothing(1)
    trouble.thaw_connection(broker, connection)
    peer.expect(1, "basic.qos-ok")
    trouble.thaw_connection(broker, connection)


def test_freeze_for_some_time(broker: Broker, connection: Connection, peer: RawPeer) -> None:
    trouble.freeze_connection(broker, connection, 2.0)
    peer.send(1, "basic.qos")
    broker.advance(1.9)
    peer.expect_nothing(1)
    broker.advance(0.1)
    peer.expect(1, "basic.qos-ok")


def test_the_last_freeze_counts(broker: Broker, connection: Connection, peer: RawPeer) -> None:
    trouble.freeze_connection(broker, connection, 1.0)
    trouble.thaw_connection(broker, connection)
    trouble.freeze_connection(broker, connection, 1.5)
    trouble.freeze_connection(broker, connection)
    peer.send(1, "basic.qos")
    broker.advance(2.0)
    peer.expect_nothing(1)


def test_each_thaws_in_its_own_time(broker: Broker, connection: Connection, peer: RawPeer) -> None:
    with logged_in(broker) as second:
        trouble.freeze_connection(broker, connection, 1.0)
        trouble.freeze_connection(broker, newest(broker).subject, 2.0)
        for each in (peer, second):
            each.send(1, "basic.qos")
        broker.advance(1.0)
        peer.expect(1, "basic.qos-ok")
        second.expect_nothing(1)


def test_a_frozen_client_misses_its_heartbeats() -> None:
    with Broker(clock="manual", heartbeat_s=4) as broker, RawPeer(broker.host, broker.port) as peer:
        peer.start()
        peer.start_ok()
        peer.expect(0, "connection.tune", heartbeat=4)
        peer.tune_ok(heartbeat=4)
        peer.call(0, "connection.open", virtual_host="/")
        broker.advance(2.0)
        assert peer.read_frame().kind == HEARTBEAT
        trouble.freeze_connection(broker, newest(broker).subject)
        broker.advance(100.0)
        peer.expect_nothing(1)
        assert len(broker.connections) == 1, "the broker is the one that hears nothing"


def test_a_frozen_connection_can_be_closed(broker: Broker, connection: Connection, peer: RawPeer) -> None:
    trouble.freeze_connection(broker, connection, 1.0)
    trouble.close_connection(broker, connection)
    peer.expect_nothing(1)
    broker.advance(1.0)
    peer.expect_connection_close(320, "CONNECTION_FORCED - closed by the test")


def test_one_that_took_its_socket_is_left_alone(broker: Broker, connection: Connection, peer: RawPeer) -> None:
    """The kernel gives numbers of sockets again, the lowest first."""
    trouble.abort_connection(broker, connection)
    peer.abort()
    with logged_in(broker) as second:
        assert newest(broker).subject.outbox.key == connection.outbox.key
        trouble.freeze_connection(broker, connection)
        trouble.abort_connection(broker, connection)
        second.call(1, "basic.qos")


# -- channels --


def test_close_a_channel(broker: Broker, peer: RawPeer) -> None:
    peer.call(1, "queue.declare", queue="q")
    peer.publish(1, "", "q", b"a")
    peer.get(1, "q")
    [channel] = broker.channels
    trouble.close_channel(broker, channel.subject, 599, "what the test says")
    peer.expect_channel_close(1, 599, "what the test says")
    assert broker.queue("q").ready == 1
    peer.open_channel(1)
    peer.call(1, "basic.qos")
    trouble.close_channel(broker, channel.subject, 404, "not this one")
    peer.call(1, "basic.qos")


def test_close_a_channel_that_the_client_has_closed(broker: Broker, peer: RawPeer) -> None:
    [channel] = broker.channels
    peer.close_channel(1)
    peer.open_channel(1)
    trouble.close_channel(broker, channel.subject, 406, "another has its number")
    peer.call(1, "basic.qos")


def test_close_a_channel_in_the_middle_of_a_publish(broker: Broker, peer: RawPeer) -> None:
    peer.send(1, "basic.publish", routing_key="q")
    [channel] = broker.channels
    trouble.close_channel(broker, channel.subject, 406, "no")
    peer.expect(1, "channel.close", reply_code=406, reply_text="no")
    trouble.close_channel(broker, channel.subject, 406, "twice")
    peer.send_bytes(frame(2, 1, bytes.fromhex("003c0000" + "0000000000000001" + "0000")) + frame(BODY, 1, b"a"))
    peer.send(1, "channel.close-ok")
    peer.open_channel(1)


# -- consumers --


def test_cancel_a_consumer(broker: Broker, peer: RawPeer) -> None:
    peer.call(1, "queue.declare", queue="q")
    peer.call(1, "basic.consume", queue="q", consumer_tag="c")
    peer.publish(1, "", "q", b"a")
    tag = peer.expect_deliver(1, b"a").tag
    [consumer] = broker.queue("q").consumers
    trouble.cancel_consumer(broker, consumer.subject)
    peer.expect(1, "basic.cancel", consumer_tag="c", nowait=True)
    trouble.cancel_consumer(broker, consumer.subject)
    peer.publish(1, "", "q", b"b")
    peer.send(1, "basic.ack", delivery_tag=tag)
    peer.call(1, "basic.qos")
    assert (broker.queue("q").ready, broker.queue("q").unacked) == (1, 0)


def test_cancel_all_consumers_of_a_queue(broker: Broker, peer: RawPeer) -> None:
    for queue, tag in (("q", "a"), ("q", "b"), ("r", "c")):
        peer.call(1, "queue.declare", queue=queue)
        peer.call(1, "basic.consume", queue=queue, consumer_tag=tag)
    queue_ = broker.node.vhosts["/"].queues["q"]
    trouble.cancel_consumers(broker, queue_)
    peer.expect(1, "basic.cancel", consumer_tag="a")
    peer.expect(1, "basic.cancel", consumer_tag="b")
    peer.expect_nothing(1)
    assert len(broker.queue("r").consumers) == 1


def test_an_auto_delete_queue_goes_with_its_last_consumer(broker: Broker, peer: RawPeer) -> None:
    peer.call(1, "queue.declare", queue="q", auto_delete=True)
    for tag in ("a", "b"):
        peer.call(1, "basic.consume", queue="q", consumer_tag=tag)
    trouble.cancel_consumers(broker, broker.node.vhosts["/"].queues["q"])
    assert not broker.queue("q").exists


def test_a_socket_is_closed_once(broker: Broker, connection: Connection) -> None:
    link = broker.server.reactor.links[connection.outbox.key]
    assert isinstance(link.sock, socket.socket)
    trouble.abort_connection(broker, connection)
    assert link.sock.fileno() == -1
