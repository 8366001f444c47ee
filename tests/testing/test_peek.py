"""Looking into queues: what is ready and what is held, in their order, and nothing happens to either."""

import os
import select
from pathlib import Path

import pytest

from amqpd import limits
from amqpd.broker.broker import Broker
from amqpd.broker.queues.base import Queue
from amqpd.store.lmdb_store import LmdbStore
from amqpd.testing import peek
from tests.broker.world import World, arguments
from tests.support.raw_peer import properties
from tests.support.wire import Peer, Server, snapshot

FULL = 1000


@pytest.fixture
def world() -> World:
    return World()


def bodies(queue: Queue, limit: int = FULL) -> list[bytes]:
    return [message.body for message in peek.ready_messages(queue, limit)]


def held(broker: Broker, queue: Queue, limit: int = FULL) -> list[tuple[bytes, int, str | None]]:
    found = peek.unacked_messages(broker, queue, limit)
    return [(message.body, message.delivery_tag, message.consumer_tag) for message in found]


def consume(peer: Peer, channel: int, queue: str, tag: str, prefetch: int) -> None:
    peer.call(channel, "basic.qos", prefetch_count=prefetch)
    peer.send(channel, "basic.consume", queue=queue, consumer_tag=tag)
    peer.turn()
    peer.take_bytes()


# --- ready ---


def test_nothing_is_ready_in_an_empty_queue(world: World) -> None:
    assert bodies(world.queue()) == []


def test_ready_messages_with_all_that_is_known_of_them(world: World) -> None:
    queue = world.queue()
    peer = world.server.peer(1)
    peer.call(1, "queue.bind", queue="q", exchange="amq.topic", routing_key="#")
    peer.publish(1, "amq.topic", "a.b", b"body", properties(headers={"h": [1]}, app_id="me"))
    peer.turn()
    (message,) = peek.ready_messages(queue, FULL)
    assert (message.body, message.exchange, message.routing_key, message.redelivered) == (
        b"body",
        "amq.topic",
        "a.b",
        False,
    )
    assert (message.headers, message.properties.app_id) == ({"h": [1]}, "me")


def test_looking_has_no_effect(world: World) -> None:
    queue = world.queue(arguments=arguments(message_ttl=1000))
    world.send("q", b"1", b"2", b"3")
    queue.requeue([world.take(queue)])
    world.turn()
    before = snapshot(world.broker)
    assert bodies(queue) == bodies(queue) == [b"1", b"2", b"3"]
    world.turn()
    assert snapshot(world.broker) == before


def test_no_more_than_the_limit(world: World) -> None:
    queue = world.queue()
    world.send("q", b"1", b"2", b"3")
    assert [bodies(queue, limit) for limit in range(4)] == [[], [b"1"], [b"1", b"2"], [b"1", b"2", b"3"]]


def test_the_highest_priority_first(world: World) -> None:
    queue = world.priorities()
    for body in (b"1", b"9", b"5"):
        world.send("q", body, priority=int(body))
    assert bodies(queue) == [b"9", b"5", b"1"]


def test_what_is_requeued_is_redelivered_and_in_its_place(world: World) -> None:
    queue = world.queue()
    world.send("q", b"1", b"2", b"3")
    first, second = world.take(queue), world.take(queue)
    queue.requeue([second])
    queue.requeue([first])
    found = peek.ready_messages(queue, FULL)
    assert [(message.body, message.redelivered) for message in found] == [(b"1", True), (b"2", True), (b"3", False)]


def test_a_deep_queue_on_disk(tmp_path: Path) -> None:
    """A few messages are in memory, all others were written to LMDB."""
    count = 3000
    store = LmdbStore(tmp_path / "data")
    try:
        server = Server(store, queue_window_bytes=50 * limits.MESSAGE_OVERHEAD_BYTES)
        peer = server.peer(1)
        peer.send(1, "queue.declare", queue="q", durable=True)
        for number in range(count):
            peer.publish(1, "", "q", b"%d" % number, properties(delivery_mode=1 + number % 2))
        queue = written(server)
        assert queue.ready_count == count
        assert bodies(queue, count + 1) == [b"%d" % number for number in range(count)]
        assert bodies(queue, 70) == [b"%d" % number for number in range(70)]
        assert queue.ready_count == count
    finally:
        store.close()


def written(server: Server) -> Queue:
    """The queue, once all of it is on disk that is to be."""
    server.turn()
    while not server.broker.journal.is_idle():
        select.select([server.store.wake_fd()], [], [])
        os.read(server.store.wake_fd(), 4096)
        server.turn()
    return server.broker.vhosts["/"].queues["q"]


# --- held ---


def test_what_consumers_hold_and_what_was_got(world: World) -> None:
    queue = world.queue()
    world.queue("other")
    world.send("q", b"1", b"2", b"3", b"4")
    world.send("other", b"not this one")
    world.turn()
    peer, second = world.server.peer(1, 2), world.server.peer(7)
    consume(peer, 1, "other", "c0", 1)
    consume(peer, 1, "q", "c1", 2)
    consume(second, 7, "q", "c2", 1)
    peer.send(2, "basic.get", queue="q")
    peer.turn()
    assert held(world.broker, queue) == [(b"1", 2, "c1"), (b"2", 3, "c1"), (b"3", 1, "c2"), (b"4", 1, None)]
    found = peek.unacked_messages(world.broker, queue, FULL)
    assert [(message.connection, message.channel) for message in found] == [
        ("peer 1", 1),
        ("peer 1", 1),
        ("peer 2", 7),
        ("peer 1", 2),
    ]
    assert held(world.broker, queue, 2) == [(b"1", 2, "c1"), (b"2", 3, "c1")]
    assert queue.unacked_count == 4


def test_what_is_acked_is_held_no_more(world: World) -> None:
    queue = world.queue()
    world.send("q", b"1", b"2")
    peer = world.server.peer(1)
    consume(peer, 1, "q", "c", 2)
    peer.send(1, "basic.ack", delivery_tag=1)
    peer.turn()
    assert held(world.broker, queue) == [(b"2", 2, "c")]


def test_what_is_acked_in_a_transaction_is_held_until_its_end(world: World) -> None:
    queue = world.queue()
    world.send("q", b"1", b"2")
    peer = world.server.peer(1)
    peer.call(1, "tx.select")
    consume(peer, 1, "q", "c", 2)
    peer.send(1, "basic.ack", delivery_tag=1)
    peer.turn()
    assert held(world.broker, queue) == [(b"1", 1, "c"), (b"2", 2, "c")]
    peer.call(1, "tx.commit")
    assert held(world.broker, queue) == [(b"2", 2, "c")]


def test_what_is_held_of_higher_priority_comes_first(world: World) -> None:
    queue = world.priorities()
    peer = world.server.peer(1)
    for body in (b"2", b"8"):
        world.send("q", body, priority=int(body))
        peer.send(1, "basic.get", queue="q")
        peer.turn()
    assert held(world.broker, queue) == [(b"8", 2, None), (b"2", 1, None)]


# --- who is there ---


def test_open_connections_and_channels(world: World) -> None:
    first, second = world.server.peer(1, 2), world.server.peer(1)
    world.server.connect()  # and says nothing
    assert peek.open_connections(world.broker) == [first.connection, second.connection]
    places = [(channel.connection.name, channel.number) for channel in peek.open_channels(world.broker)]
    assert places == [("peer 1", 1), ("peer 1", 2), ("peer 2", 1)]


def test_a_channel_that_the_broker_closed_is_not_open(world: World) -> None:
    peer = world.server.peer(1, 2)
    peer.send(1, "queue.declare", queue="none", passive=True)
    peer.turn()
    assert peer.connection.channels[1].is_closing
    assert [channel.number for channel in peek.open_channels(world.broker)] == [2]
