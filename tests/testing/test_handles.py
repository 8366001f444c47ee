"""Handles: what they show is what there is now, whoever has changed it, and what is gone says so.

Messages: ``test_views.py``, ``test_peek.py``. What needs a socket to happen to it: ``test_trouble.py``.
"""

import pytest

from amqpd.testing.errors import NoSuchQueue, NotRunning, WaitTimeout
from amqpd.testing.handles import ChannelHandle, ConnectionHandle, QueueHandle
from tests.broker.world import World
from tests.support.raw_peer import Typed
from tests.support.wire import Peer
from tests.testing.wire_host import WireHost


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def host(world: World) -> WireHost:
    return WireHost(world.server)


@pytest.fixture
def peer(world: World) -> Peer:
    """Logged in, with channels 1 and 2."""
    return world.server.peer(1, 2)


def connections(host: WireHost) -> list[ConnectionHandle]:
    return [ConnectionHandle(host, connection) for connection in host.node.connections]


def channel_of(host: WireHost, peer: Peer, number: int = 1) -> ChannelHandle:
    return ChannelHandle(host, peer.connection.channels[number])


def consume(peer: Peer, tag: str, **args: object) -> None:
    peer.send(1, "basic.consume", queue="q", consumer_tag=tag, **args)
    peer.turn()
    peer.take_bytes()


def is_there(handle: QueueHandle | ConnectionHandle | ChannelHandle) -> bool:
    """Asked anew each time, which a type checker does not expect of an attribute."""
    return handle.exists if isinstance(handle, QueueHandle) else handle.is_open


# --- queues ---


def test_a_queue_as_it_is_now(world: World, host: WireHost, peer: Peer) -> None:
    queue = QueueHandle(host, "q", "/")
    assert not is_there(queue)
    peer.call(1, "queue.declare", queue="q")
    assert is_there(queue)
    assert (queue.ready, queue.unacked, queue.consumers) == (0, 0, [])
    for body in (b"1", b"2"):
        peer.publish(1, "", "q", body)
    assert queue.ready == 2
    peer.send(1, "basic.get", queue="q")
    peer.turn()
    assert (queue.ready, queue.unacked) == (1, 1)
    assert [message.body for message in queue.messages()] == [b"2"]
    assert [message.body for message in queue.unacked_messages()] == [b"1"]
    assert queue.purge() == 1
    assert (queue.ready, queue.unacked) == (0, 1)
    peer.take_bytes()
    peer.call(1, "queue.delete", queue="q")
    assert not is_there(queue)


def test_limits_of_what_is_listed(world: World, host: WireHost) -> None:
    world.queue()
    world.send("q", *[b"%d" % number for number in range(105)])
    queue = QueueHandle(host, "q", "/")
    assert len(queue.messages()) == 100
    assert [message.body for message in queue.messages(limit=2)] == [b"0", b"1"]
    for _ in range(105):
        world.take(world.find())
    peer = world.server.peer(1)
    world.send("q", b"a", b"b", b"c")
    for _ in range(3):
        peer.send(1, "basic.get", queue="q")
    peer.turn()
    assert [message.body for message in queue.unacked_messages(limit=2)] == [b"a", b"b"]


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({}, (False, False, False)),
        ({"durable": True}, (True, False, False)),
        ({"exclusive": True}, (False, True, False)),
        ({"auto_delete": True}, (False, False, True)),
    ],
)
def test_what_a_queue_was_declared_with(
    host: WireHost, peer: Peer, flags: dict[str, bool], expected: tuple[bool, bool, bool]
) -> None:
    arguments = {"x-message-ttl": Typed("l", 60_000), "x-queue-type": "classic"}
    peer.call(1, "queue.declare", queue="q", arguments=arguments, **flags)
    queue = QueueHandle(host, "q", "/")
    assert (queue.durable, queue.exclusive, queue.auto_delete) == expected
    assert queue.arguments == {"x-message-ttl": 60_000, "x-queue-type": "classic"}


def test_a_queue_that_is_not_there_names_those_that_are(world: World, host: WireHost) -> None:
    queue = QueueHandle(host, "q", "/")
    with pytest.raises(NoSuchQueue) as none:
        queue.messages()
    assert str(none.value) == "no queue 'q' in vhost '/'; there is none at all"
    for name in ("b", "a"):
        world.queue(name)
    with pytest.raises(NoSuchQueue) as some:
        _ = queue.ready
    assert str(some.value) == "no queue 'q' in vhost '/'; there are 'a', 'b'"
    for number in range(30):
        world.queue(f"c{number:02}")
    with pytest.raises(NoSuchQueue, match=r"'a', 'b', 'c00', .*, 'c17' and 12 more$"):
        queue.purge()
    with pytest.raises(NoSuchQueue):
        queue.cancel_consumers()


def test_a_queue_of_a_virtual_host_that_is_not_there(host: WireHost) -> None:
    queue = QueueHandle(host, "q", "elsewhere")
    assert not queue.exists
    with pytest.raises(NoSuchQueue, match=r"^no queue 'q', for there is no vhost 'elsewhere'; there are '/'$"):
        _ = queue.unacked


def test_a_queue_that_is_in_another_virtual_host(world: World, host: WireHost) -> None:
    world.queue()
    host.node.add_vhost("other")
    with pytest.raises(NoSuchQueue, match=r"^no queue 'q' in vhost 'other', but one in vhost '/'$"):
        QueueHandle(host, "q", "other").messages()


def test_queues_of_the_same_name_in_different_virtual_hosts(world: World, host: WireHost) -> None:
    world.queue()
    host.node.add_vhost("other")
    host.node.vhosts["other"].declare_queue(
        "q", world.owner, durable=False, exclusive=False, auto_delete=False, arguments={}
    )
    world.send("q", b"1")
    here, there = QueueHandle(host, "q", "/"), QueueHandle(host, "q", "other")
    assert (here.ready, there.ready) == (1, 0)
    assert len({here, there, QueueHandle(host, "q", "/")}) == 2
    assert repr(there) == "<queue 'q' in vhost 'other'>"


def test_consumers_of_a_queue(world: World, host: WireHost, peer: Peer) -> None:
    world.queue()
    world.send("q", b"1", b"2", b"3")
    peer.call(1, "basic.qos", prefetch_count=2)
    consume(peer, "c1", arguments={"x-priority": Typed("I", 5)})
    consume(peer, "c2", no_ack=True)
    first, second = QueueHandle(host, "q", "/").consumers
    assert (first.tag, first.queue, first.no_ack, first.exclusive) == ("c1", "q", False, False)
    assert (first.priority, first.prefetch_count, first.arguments) == (5, 2, {"x-priority": 5})
    assert (second.tag, second.no_ack, second.priority, second.arguments) == ("c2", True, 0, {})
    assert (first.unacked, second.unacked) == (2, 0)
    peer.send(1, "basic.ack", delivery_tag=1)
    peer.turn()
    assert first.unacked == 1
    assert first.channel == channel_of(host, peer)
    assert first.channel.connection == connections(host)[0]
    assert repr(first) == "<consumer 'c1' of queue 'q' on <channel 1 of peer 1>>"


def test_a_consumer_that_is_alone(world: World, host: WireHost, peer: Peer) -> None:
    world.queue()
    consume(peer, "c", exclusive=True)
    assert QueueHandle(host, "q", "/").consumers[0].exclusive


# --- connections ---


def test_a_connection(world: World, host: WireHost, peer: Peer) -> None:
    world.queue()
    (connection,) = connections(host)
    assert (connection.name, connection.user, connection.vhost) == ("peer 1", "guest", "/")
    assert connection.client_properties["product"] == "wire"
    assert connection.client_properties["capabilities"]["basic.nack"] is True
    publishers = [connection.is_publisher]
    peer.publish(1, "", "q")
    assert [*publishers, connection.is_publisher] == [False, True]
    assert [channel.number for channel in connection.channels] == [1, 2]
    assert repr(connection) == "<connection peer 1>"


def test_channels_are_those_of_the_connection(world: World, host: WireHost, peer: Peer) -> None:
    world.server.peer(3)
    first, second = connections(host)
    assert [channel.number for channel in first.channels] == [1, 2]
    assert [channel.number for channel in second.channels] == [3]


def test_a_connection_that_ended(host: WireHost, peer: Peer) -> None:
    (connection,) = connections(host)
    (channel, _) = connection.channels
    assert is_there(connection)
    assert is_there(channel)
    peer.hang_up()
    assert not is_there(connection)
    assert not is_there(channel)
    assert connection.channels == []
    assert connection.name == "peer 1"


def test_a_channel_that_ended(host: WireHost, peer: Peer) -> None:
    channel = channel_of(host, peer)
    peer.call(1, "channel.close", reply_code=200)
    assert not is_there(channel)
    peer.call(1, "channel.open")
    assert not is_there(channel), "another one of the same number is"
    assert is_there(channel_of(host, peer))
    assert channel_of(host, peer) != channel


def test_what_is_not_open_when_the_broker_has_ended(host: WireHost, peer: Peer) -> None:
    (connection,) = connections(host)
    channel = channel_of(host, peer)
    host.is_running = False
    assert not is_there(connection)
    assert not is_there(channel)
    assert (connection.name, channel.number) == ("peer 1", 1)
    with pytest.raises(NotRunning):
        _ = connection.channels


# --- channels ---


def test_a_channel_as_it_is_now(world: World, host: WireHost, peer: Peer) -> None:
    world.queue()
    world.send("q", b"1", b"2", b"3")
    channel = channel_of(host, peer)
    assert (channel.prefetch_count, channel.global_prefetch_count, channel.unacked) == (0, 0, 0)
    assert channel.consumers == []
    peer.call(1, "basic.qos", prefetch_count=2)
    assert (channel.prefetch_count, channel.global_prefetch_count) == (2, 0)
    peer.call(1, "basic.qos", prefetch_count=7, global_=True)
    assert (channel.prefetch_count, channel.global_prefetch_count) == (2, 7)
    consume(peer, "c")
    assert channel.unacked == 2
    assert [consumer.tag for consumer in channel.consumers] == ["c"]
    peer.hang_up()
    assert channel.unacked == 0
    assert channel.consumers == []


def test_modes_of_channels(host: WireHost, peer: Peer) -> None:
    first, second = channel_of(host, peer, 1), channel_of(host, peer, 2)
    assert (first.is_confirming, first.is_transactional) == (False, False)
    peer.call(1, "confirm.select")
    peer.call(2, "tx.select")
    assert (first.is_confirming, first.is_transactional) == (True, False)
    assert (second.is_confirming, second.is_transactional) == (False, True)


# --- trouble ---


def test_a_connection_is_closed(host: WireHost, peer: Peer) -> None:
    connections(host)[0].close("go away")
    (said,) = peer.output()
    assert (said.name, said.args["reply_code"], said.args["reply_text"]) == (
        "connection.close",
        320,
        "CONNECTION_FORCED - go away",
    )


def test_a_channel_is_closed(host: WireHost, peer: Peer) -> None:
    channel_of(host, peer).close()
    channel_of(host, peer, 2).close(404, "NOT_FOUND - no such luck")
    said = [(said.channel, said.name, said.args["reply_code"], said.args["reply_text"]) for said in peer.output()]
    assert said == [
        (1, "channel.close", 406, "PRECONDITION_FAILED - closed by the test"),
        (2, "channel.close", 404, "NOT_FOUND - no such luck"),
    ]


def test_consumers_are_cancelled(world: World, host: WireHost, peer: Peer) -> None:
    world.queue()
    for tag in ("a", "b", "c"):
        consume(peer, tag)
    queue = QueueHandle(host, "q", "/")
    queue.consumers[1].cancel()
    assert [consumer.tag for consumer in queue.consumers] == ["a", "c"]
    assert [(said.name, said.args["consumer_tag"]) for said in peer.output()] == [("basic.cancel", "b")]
    queue.cancel_consumers()
    assert queue.consumers == []
    assert [said.args["consumer_tag"] for said in peer.output()] == ["a", "c"]


# --- which is which ---


def test_handles_of_the_same_are_equal(world: World, host: WireHost, peer: Peer) -> None:
    other = world.server.peer(1)
    assert connections(host) == connections(host)
    assert len({*connections(host), *connections(host)}) == 2
    assert channel_of(host, peer) == channel_of(host, peer) != channel_of(host, other)
    assert channel_of(host, peer) != peer


def test_errors_are_what_tests_expect() -> None:
    assert issubclass(NoSuchQueue, LookupError)
    assert issubclass(NotRunning, RuntimeError)
    assert issubclass(WaitTimeout, TimeoutError)
