import pytest

from amqpd.management.requests import Listing, Refused, Request
from amqpd.management.verbs.connections import CHANNEL_COLUMNS, CONNECTION_COLUMNS, CONSUMER_COLUMNS, VERBS
from tests.management.operators import Operator


def test_connections(operator: Operator) -> None:
    peer = operator.peer(1, 2)
    assert operator.rows("list_connections") == [["guest", "127.0.0.1", 4001, "running"]]
    names = ["name", "pid", "vhost", "host", "port", "channels", "channel_max", "frame_max", "timeout", "protocol"]
    name = peer.connection.name
    assert operator.rows("list_connections", *names) == [
        [name, name, "/", "127.0.0.1", 5672, 2, 2047, 131072, 0, "AMQP 0-9-1"]
    ]
    [[properties]] = operator.rows("list_connections", "client_properties")
    assert properties["product"] == "wire"
    assert properties["capabilities"]["basic.nack"] is True


def test_a_connection_over_ipv6(operator: Operator) -> None:
    operator.peer().connection.name = "[::1]:4711 -> [::1]:5672"
    assert operator.rows("list_connections", "peer_host", "peer_port", "host", "port") == [["::1", 4711, "::1", 5672]]


def test_a_blocked_publisher(operator: Operator) -> None:
    peer = operator.peer(1)
    peer.publish(1, "", "nowhere")
    peer.turn()
    peer.connection.set_alarm("low on disk")
    assert operator.rows("list_connections", "state") == [["blocked"]]


def test_channels(operator: Operator) -> None:
    operator.world.queue()
    peer = operator.peer(1, 7)
    peer.call(1, "basic.qos", prefetch_count=3)
    peer.call(1, "confirm.select")
    peer.call(1, "basic.consume", queue="q")
    peer.call(7, "tx.select")
    peer.publish(7, "", "q")
    peer.turn()
    name = peer.connection.name
    assert operator.rows("list_channels") == [[f"{name} (1)", "guest", 1, 0], [f"{name} (7)", "guest", 0, 0]]
    names = ["number", "confirm", "transactional", "prefetch_count", "messages_uncommitted", "acks_uncommitted"]
    assert operator.rows("list_channels", *names) == [[1, True, False, 3, 0, 0], [7, False, True, 0, 1, 0]]
    operator.world.store.is_delaying = True
    peer.publish(1, "", "q", b"1", b"\x10\x00\x02")
    peer.turn()
    assert operator.rows("list_channels", "messages_unconfirmed", "messages_unacknowledged")[0][0] == 1
    operator.world.complete()
    names = ["messages_unconfirmed", "messages_unacknowledged", "connection", "vhost", "global_prefetch_count"]
    assert operator.rows("list_channels", *names)[0] == [0, 1, name, "/", 0]


def test_what_ends_while_it_is_listed_is_listed_as_it_was(operator: Operator) -> None:
    operator.world.queue()
    peer = operator.peer(1)
    peer.call(1, "basic.consume", queue="q")
    columns = {"connections": CONNECTION_COLUMNS, "channels": CHANNEL_COLUMNS, "consumers": CONSUMER_COLUMNS}
    listings = [
        VERBS[f"list_{noun}"](operator.node, Request({"vhost": "/", "columns": list(names)}))
        for noun, names in columns.items()
    ]
    peer.hang_up()
    for listing in listings:
        assert isinstance(listing, Listing)
        assert len(list(listing.rows)) == 1


def test_consumers(operator: Operator) -> None:
    operator.world.queue("q")
    operator.world.queue("r")
    peer = operator.peer(1)
    peer.call(1, "basic.consume", queue="q", consumer_tag="a", no_ack=True)
    peer.call(1, "basic.consume", queue="r", consumer_tag="b", exclusive=True, arguments={"x-priority": 3})
    channel = f"{peer.connection.name} (1)"
    assert operator.rows("list_consumers", vhost="/") == [
        ["q", channel, "a", False, 0, True, {}],
        ["r", channel, "b", True, 0, True, {"x-priority": 3}],
    ]
    assert operator.rows("list_consumers", "exclusive", "activity_status", vhost="/") == [[False, "up"], [True, "up"]]


def test_of_a_single_active_consumer_the_others_wait(operator: Operator) -> None:
    peer = operator.peer(1)
    peer.call(1, "queue.declare", queue="q", arguments={"x-single-active-consumer": True})
    peer.call(1, "basic.consume", queue="q", consumer_tag="a")
    peer.call(1, "basic.consume", queue="q", consumer_tag="b")
    names = ["consumer_tag", "active", "activity_status"]
    assert operator.rows("list_consumers", *names, vhost="/") == [["a", True, "up"], ["b", False, "waiting"]]


def test_close_one(operator: Operator) -> None:
    gone, other = operator.peer(1), operator.peer(1)
    operator.ask("close_connection", name=gone.connection.name, reason="too many")
    [said] = gone.output()
    assert (said.name, said.args["reply_code"]) == ("connection.close", 320)
    assert said.args["reply_text"] == "CONNECTION_FORCED - too many"
    assert other.output() == []


def test_close_one_that_is_not_there(operator: Operator) -> None:
    with pytest.raises(Refused, match=r"^there is no connection 'no': amqpd ctl list_connections name shows"):
        operator.ask("close_connection", name="no", reason="x")


def test_close_all(operator: Operator) -> None:
    peers = [operator.peer() for _ in range(3)]
    operator.ask("add_vhost", name="empty")
    assert operator.ask("close_all_connections", vhost="empty", reason="x") == {"connections": 0}
    assert operator.ask("close_all_connections", vhost="/", reason="x", limit=1) == {"connections": 1}
    assert [len(peer.output()) for peer in peers] == [1, 0, 0]
    peers[0].hang_up()
    assert operator.ask("close_all_connections", vhost="empty", reason="x", everywhere=True) == {"connections": 2}
    assert [len(peer.output()) for peer in peers] == [0, 1, 1]
