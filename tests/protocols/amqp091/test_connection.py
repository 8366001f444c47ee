"""A connection between its bytes and its channels: waiting for the store, for the peer, alarms, errors, the end."""

import logging

import pytest

from amqpd import limits
from amqpd.protocols.amqp091.commands import COMMANDS
from amqpd.protocols.amqp091.connection import Connection
from amqpd.protocols.amqp091.constants import BASIC_PUBLISH, TX_SELECT
from tests.protocols.amqp091.dialogue import PERSISTENT, closes, names, one, peer_at, slow_server
from tests.support import wire
from tests.support.raw_peer import content_header, frame
from tests.support.wire import DelayedStore, Peer, Server, method


def declare(channel: int, queue: str, *, durable: bool = False, nowait: bool = False) -> bytes:
    return method(channel, "queue.declare", queue=queue, durable=durable, nowait=nowait)


def complete(server: Server, store: DelayedStore) -> None:
    """What waits is on disk."""
    assert store.complete()
    server.turn()


# -- a durable -ok waits for the store --

WAITERS = {
    "queue.declare-ok": declare(1, "new", durable=True),
    "queue.purge-ok": method(1, "queue.purge", queue="d"),
    "queue.delete-ok": method(1, "queue.delete", queue="d"),
    "queue.bind-ok": method(1, "queue.bind", queue="d", exchange="amq.direct", routing_key="new"),
    "queue.unbind-ok": method(1, "queue.unbind", queue="d", exchange="amq.direct", routing_key="old"),
    "exchange.declare-ok": method(1, "exchange.declare", exchange="new", type="fanout", durable=True),
    "exchange.delete-ok": method(1, "exchange.delete", exchange="e"),
    "exchange.bind-ok": method(1, "exchange.bind", source="e", destination="amq.fanout"),
    "exchange.unbind-ok": method(1, "exchange.unbind", source="e", destination="amq.topic"),
    "tx.commit-ok": method(3, "tx.commit"),
}


def durable_server() -> tuple[Server, DelayedStore, Peer]:
    """Durable things on disk, a publish held by a transaction on channel 3, a store that is slow from now on."""
    server, store = slow_server()
    peer = server.peer(1, 2, 3)
    peer.call(1, "queue.declare", queue="d", durable=True)
    peer.call(1, "exchange.declare", exchange="e", type="direct", durable=True)
    peer.call(1, "queue.bind", queue="d", exchange="amq.direct", routing_key="old")
    peer.call(1, "exchange.bind", source="e", destination="amq.topic")
    peer.publish(1, "", "d", b"x", PERSISTENT)
    peer.call(3, "tx.select")
    peer.publish(3, "", "d", b"y", PERSISTENT)
    peer.turn()
    store.is_delaying = True
    return server, store, peer


@pytest.mark.parametrize("answer", WAITERS)
def test_the_answer_waits_for_the_store(answer: str) -> None:
    server, store, peer = durable_server()
    peer.feed(WAITERS[answer])
    assert names(peer) == []
    assert not peer.connection.is_reading
    complete(server, store)
    assert names(peer) == [answer]
    assert peer.connection.is_reading


@pytest.mark.parametrize(
    "data",
    [
        declare(1, "fleeting"),
        method(1, "exchange.declare", exchange="fleeting", type="fanout"),
        method(1, "queue.bind", queue="d", exchange="amq.direct", routing_key="old"),
        method(1, "queue.delete", queue="missing"),
        method(1, "exchange.delete", exchange="missing"),
        declare(1, "d", durable=True),
        method(1, "exchange.declare", exchange="e", type="direct", durable=True),
        method(3, "tx.rollback"),
    ],
)
def test_what_changes_nothing_durable_is_answered_at_once(data: bytes) -> None:
    _, _, peer = durable_server()
    peer.feed(data)
    assert len(names(peer)) == 1


def test_nobody_waits_without_an_answer() -> None:
    _, store, peer = durable_server()
    peer.feed(declare(1, "new", durable=True, nowait=True) + declare(2, "fleeting"))
    assert names(peer) == ["queue.declare-ok"]
    assert store.waiting


def test_a_declaration_of_what_another_just_declared_waits_too() -> None:
    server, store, peer = durable_server()
    other = server.peer(1)
    peer.feed(declare(1, "new", durable=True))
    other.feed(declare(1, "new", durable=True))
    assert (names(peer), names(other)) == ([], [])
    complete(server, store)
    assert (names(peer), names(other)) == (["queue.declare-ok"], ["queue.declare-ok"])


def test_later_frames_wait_in_order() -> None:
    server, store, peer = durable_server()
    peer.feed(
        b"".join(
            [
                declare(1, "first", durable=True),
                declare(2, "second"),
                wire.publish(2, "", "second", b"x"),
                method(2, "basic.get", queue="second"),
                declare(1, "third", durable=True),
                method(2, "basic.get", queue="second"),
            ]
        )
    )
    assert names(peer) == []
    complete(server, store)
    assert names(peer) == ["queue.declare-ok", "queue.declare-ok", "basic.get-ok"]
    complete(server, store)
    assert names(peer) == ["queue.declare-ok", "basic.get-empty"]


def test_chunks_that_come_meanwhile_wait_too() -> None:
    """Whoever ignores is_reading is heard later all the same, in any pieces."""
    server, store, peer = durable_server()
    connection = peer.connection
    connection.receive(declare(1, "first", durable=True))
    for octet in declare(2, "second") + declare(2, "third"):
        connection.receive(bytes([octet]))
    assert names(peer) == []
    complete(server, store)
    peer.turn()
    peer.server.turn()
    said = peer.output()
    assert [each.args["queue"] for each in said] == ["first", "second", "third"]


def test_a_frame_cut_by_the_wait() -> None:
    server, store, peer = durable_server()
    late = declare(2, "late")
    peer.feed(declare(1, "first", durable=True) + late[:9])
    assert names(peer) == []
    complete(server, store)
    assert names(peer) == ["queue.declare-ok"]
    peer.feed(late[9:])
    assert names(peer) == ["queue.declare-ok"]


def test_other_connections_go_on() -> None:
    server, store, peer = durable_server()
    peer.feed(declare(1, "first", durable=True))
    other = server.peer(1)
    other.call(1, "queue.declare", queue="quick")
    other.publish(1, "", "quick", b"x")
    other.send(1, "basic.get", queue="quick")
    assert names(other) == ["basic.get-ok"]
    assert names(peer) == []
    complete(server, store)
    assert names(peer) == ["queue.declare-ok"]


def test_deliveries_go_on_meanwhile() -> None:
    server, store, peer = durable_server()
    peer.feed(declare(2, "quick") + method(2, "basic.consume", queue="quick", consumer_tag="c"))
    names(peer)
    peer.feed(declare(1, "first", durable=True))
    server.peer(1).publish(1, "", "quick", b"x")
    assert names(peer) == ["basic.deliver"]
    complete(server, store)
    assert names(peer) == ["queue.declare-ok"]


def test_a_batch_before_is_not_enough() -> None:
    """The reply waits for the batch that holds the change, not for any batch."""
    server, store, peer = durable_server()
    other = server.peer(1)
    other.publish(1, "", "d", b"first batch", PERSISTENT)
    other.turn()
    peer.feed(declare(1, "second.batch", durable=True))
    assert names(peer) == []
    complete(server, store)
    assert names(peer) == []
    complete(server, store)
    assert names(peer) == ["queue.declare-ok"]


@pytest.mark.parametrize("end", ["hang up", "force close"])
def test_the_end_while_it_waits(end: str) -> None:
    server, store, peer = durable_server()
    peer.feed(declare(1, "first", durable=True) + declare(1, "never"))
    peer.turn()
    if end == "hang up":
        peer.hang_up()
    else:
        peer.connection.force_close("shutdown")
        assert names(peer) == ["connection.close"]
    complete(server, store)
    while store.complete():
        server.turn()
    assert names(peer) == []
    assert "first" in server.broker.vhosts["/"].queues
    assert "never" not in server.broker.vhosts["/"].queues
    if end == "force close":
        peer.send(0, "connection.close-ok")
        server.turn()
    assert peer.is_gone


# -- basic.get waits for the mark --


def got_later(server: Server, store: DelayedStore, peer: Peer) -> list[str]:
    """What is said once the store has caught up."""
    said: list[str] = []
    for _ in range(5):
        server.turn()
        said += names(peer)
        if not store.complete():
            break
    return said + names(peer)


def test_get_waits_until_a_crash_would_bring_it_back_as_redelivered() -> None:
    server, store, peer = durable_server()
    peer.feed(method(1, "basic.get", queue="d") + declare(2, "later"))
    assert names(peer) == []
    assert not peer.connection.is_reading
    complete(server, store)
    assert names(peer) == ["basic.get-ok", "queue.declare-ok"]
    peer.send(1, "basic.get", queue="d")
    assert names(peer) == ["basic.get-empty"], "the mark is ahead now: nobody waits"


def test_get_that_waited_finds_what_is_there_then() -> None:
    """Another connection purges meanwhile."""
    server, store, peer = durable_server()
    peer.send(1, "basic.get", queue="d")
    other = server.peer(1)
    other.send(1, "queue.purge", queue="d")
    assert got_later(server, store, peer) == ["basic.get-empty"]


def test_get_that_waited_for_a_queue_that_is_deleted() -> None:
    server, store, peer = durable_server()
    peer.send(1, "basic.get", queue="d")
    peer.turn()
    server.peer(1).send(1, "queue.delete", queue="d", nowait=True)
    server.turn()
    store.is_delaying = False
    store.complete()
    said = one(peer)
    assert closes(said) == ("channel.close", 404, "NOT_FOUND - no queue 'd' in vhost '/'", 60, 70)
    peer.send(2, "queue.declare", queue="goes.on")
    assert names(peer) == ["queue.declare-ok"]


def test_get_of_what_needs_no_disk_does_not_wait() -> None:
    _, _, peer = durable_server()
    peer.feed(declare(1, "quick") + wire.publish(1, "", "quick", b"x", PERSISTENT))
    peer.feed(method(1, "basic.get", queue="quick"))
    assert names(peer) == ["queue.declare-ok", "basic.get-ok"]


# -- a peer that does not read --

LARGE = 120_000


def flood(peer: Peer) -> int:
    """Publishes that are all returned, in one chunk: more than may be owed. How many."""
    count = limits.OUTBOX_STOP_BYTES // LARGE + 5
    peer.feed(wire.publish(1, "", "nowhere", bytes(LARGE), mandatory=True) * count)
    return count


def is_congested(peer: Peer) -> bool:
    connection = peer.connection
    assert connection.is_reading != connection.is_congested
    return connection.is_congested


def test_digesting_stops_while_too_much_is_owed() -> None:
    server = Server()
    peer = server.peer(1)
    count = flood(peer)
    connection = peer.connection
    assert is_congested(peer)
    assert limits.OUTBOX_STOP_BYTES < connection.outbox.size < limits.OUTBOX_STOP_BYTES + 2 * LARGE
    connection.receive(declare(1, "q"))
    server.turn()
    assert not is_congested(peer)
    said = names(peer)
    assert said == ["basic.return"] * count + ["queue.declare-ok"]


def test_other_connections_go_on_while_one_is_congested() -> None:
    server = Server()
    peer = server.peer(1)
    other = server.peer(1)
    flood(peer)
    other.feed(declare(1, "q"))
    server.turn()
    assert [said.name for said in other.output()] == ["queue.declare-ok"]


def test_the_end_while_it_is_congested() -> None:
    server = Server()
    peer = server.peer(1)
    flood(peer)
    peer.hang_up()
    server.turn()
    wire.check_left(server)


# -- alarms --


def blocked(peer: Peer) -> list[tuple[str, str]]:
    peer.turn()
    return [(said.name, said.args.get("reason", "")) for said in peer.output()]


def test_only_publishers_are_told() -> None:
    peer = Server().peer(1)
    peer.connection.set_alarm("low on disk")
    assert blocked(peer) == []
    peer.publish(1, "", "nowhere", b"x")
    assert blocked(peer) == [("connection.blocked", "low on disk")]
    peer.publish(1, "", "nowhere", b"x")
    assert blocked(peer) == []
    peer.connection.set_alarm("")
    assert blocked(peer) == [("connection.unblocked", "")]


def is_publisher(peer: Peer) -> bool:
    return peer.connection.is_publisher


@pytest.mark.parametrize("plain", [False, True])
def test_both_roads_make_a_publisher(plain: bool) -> None:
    peer = Server().peer(1)
    peer.feed(declare(1, "q"))
    assert names(peer) == ["queue.declare-ok"]
    assert not is_publisher(peer)
    data = wire.publish(1, "", "q", b"xy")
    if plain:
        data = data[:-10] + frame(3, 1, b"x") + frame(3, 1, b"y")
    peer.feed(data)
    assert is_publisher(peer)
    peer.connection.set_alarm("low on disk")
    assert blocked(peer) == [("connection.blocked", "low on disk")]


def test_an_alarm_of_another_reason_says_nothing_new() -> None:
    peer = Server().peer(1)
    peer.publish(1, "", "nowhere", b"x")
    for reason, told in (
        ("low on disk", [("connection.blocked", "low on disk")]),
        ("low on memory", []),
        ("", [("connection.unblocked", "")]),
        ("", []),
        ("low on disk", [("connection.blocked", "low on disk")]),
    ):
        peer.connection.set_alarm(reason)
        assert blocked(peer) == told


def test_a_short_alarm_that_nobody_was_told_of() -> None:
    peer = Server().peer(1)
    peer.connection.set_alarm("low on disk")
    peer.connection.set_alarm("")
    peer.publish(1, "", "nowhere", b"x")
    assert blocked(peer) == []


@pytest.mark.parametrize("capabilities", [{}, {"connection.blocked": False}])
def test_only_who_understands_is_told(capabilities: dict[str, bool]) -> None:
    peer = Server().peer(1, capabilities=capabilities)
    peer.publish(1, "", "nowhere", b"x")
    peer.connection.set_alarm("low on disk")
    peer.connection.set_alarm("")
    assert blocked(peer) == []


def test_an_alarm_before_the_login() -> None:
    peer = Server().connect()
    peer.connection.set_alarm("low on disk")
    peer.log_in(1)
    peer.publish(1, "", "nowhere", b"x")
    assert blocked(peer) == [("connection.blocked", "low on disk")]


# -- consumers that are cancelled by others --


@pytest.mark.parametrize("able", [True, False])
def test_cancel_is_told_to_who_understands(able: bool) -> None:
    server = Server()
    peer = server.peer(1, capabilities={"consumer_cancel_notify": able})
    peer.call(1, "queue.declare", queue="q")
    peer.call(1, "basic.consume", queue="q", consumer_tag="c")
    server.peer(1).call(1, "queue.delete", queue="q")
    said = peer.output()
    told = [(each.name, each.args["consumer_tag"], each.args["nowait"]) for each in said]
    assert told == ([("basic.cancel", "c", True)] if able else [])
    assert not peer.connection.channels[1].consumers


def test_cancel_is_not_told_on_a_channel_that_closes() -> None:
    server = Server()
    peer = server.peer(1)
    peer.call(1, "queue.declare", queue="q", auto_delete=True)
    peer.call(1, "basic.consume", queue="q", consumer_tag="a")
    peer.call(1, "basic.consume", queue="q", consumer_tag="b")
    peer.send(1, "basic.ack", delivery_tag=99)
    assert names(peer) == ["channel.close"]
    assert "q" not in server.broker.vhosts["/"].queues


# -- what is remembered of publishes --


def test_routes_are_bounded() -> None:
    """A connection has its own share, and what others leave of the common one."""
    peer = Server().peer(1)
    routes, stage = peer.connection.routes, peer.connection.stage
    stage.spare_routes = 2
    for number in range(limits.PUBLISH_ROUTES_MAX + 2):
        peer.publish(1, "", str(number), b"")
    assert (len(routes), stage.spare_routes) == (limits.PUBLISH_ROUTES_MAX + 2, 0)
    peer.publish(1, "", "0", b"")
    assert len(routes) == limits.PUBLISH_ROUTES_MAX + 2
    peer.publish(1, "", "one more", b"")
    assert (len(routes), stage.spare_routes) == (1, 2)


def test_who_leaves_gives_back_his_routes() -> None:
    peer = Server().peer(1)
    stage = peer.connection.stage
    for number in range(limits.PUBLISH_ROUTES_MAX + 3):
        peer.publish(1, "", str(number), b"")
    assert stage.spare_routes == limits.PUBLISH_ROUTES_SHARED_MAX - 3
    peer.hang_up()
    assert stage.spare_routes == limits.PUBLISH_ROUTES_SHARED_MAX


CHANGES = {
    "a queue": declare(1, "k"),
    "a queue gone": method(1, "queue.delete", queue="q"),
    "a binding": method(1, "queue.bind", queue="q", exchange="e", routing_key="k"),
    "a binding gone": method(1, "queue.unbind", queue="q", exchange="e", routing_key="old"),
    "an exchange": method(1, "exchange.declare", exchange="new", type="fanout"),
    "an exchange gone": method(1, "exchange.delete", exchange="e"),
    "an exchange bound": method(1, "exchange.bind", source="e", destination="amq.fanout", routing_key="k"),
}


@pytest.mark.parametrize("by_another", [False, True])
@pytest.mark.parametrize("change", CHANGES)
def test_routes_are_dropped_when_the_topology_changes(change: str, by_another: bool) -> None:
    server = Server()
    peer = server.peer(1)
    peer.call(1, "queue.declare", queue="q")
    peer.call(1, "exchange.declare", exchange="e", type="direct")
    peer.call(1, "queue.bind", queue="q", exchange="e", routing_key="old")
    peer.publish(1, "e", "k", b"x")
    routes = peer.connection.routes
    assert len(routes) == 1
    changer = server.peer(1) if by_another else peer
    changer.feed(CHANGES[change])
    assert len(names(changer)) == 1
    peer.feed(wire.publish(1, "amq.topic", "", b"x"))
    assert [route.exchange.name for route in routes.values()] == ["amq.topic"]


def test_routes_of_a_closed_channel_are_dropped() -> None:
    peer = Server().peer(1)
    peer.publish(1, "", "k", b"x")
    peer.call(1, "channel.close")
    assert not peer.connection.routes


def test_publishes_that_are_refused_are_not_remembered() -> None:
    peer = Server().peer(1, 2)
    peer.publish(1, "missing", "k", b"x")
    peer.publish(2, "amq.rabbitmq.trace", "k", b"x")
    assert names(peer) == ["channel.close", "channel.close"]
    assert not peer.connection.routes


# -- errors --


def break_down(*_: object) -> None:
    raise RuntimeError("a fault of our own")


def test_a_fault_of_our_own_is_541(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """The edge: whatever breaks, the server goes on, and the log has the traceback."""
    monkeypatch.setitem(COMMANDS, TX_SELECT, break_down)
    server = Server()
    peer, other = server.peer(1), server.peer(1)
    with caplog.at_level(logging.ERROR, "amqpd"):
        peer.send(1, "tx.select")
        said = one(peer)
    assert closes(said) == ("connection.close", 541, "INTERNAL_ERROR", 90, 10)
    assert [record.exc_info is not None for record in caplog.records if record.levelno == logging.ERROR] == [True]
    other.feed(declare(1, "q"))
    assert names(other) == ["queue.declare-ok"]


def test_a_soft_error_closes_its_channel_and_keeps_the_number() -> None:
    peer = Server().peer(1, 2)
    peer.send(1, "queue.purge", queue="missing")
    text = "NOT_FOUND - no queue 'missing' in vhost '/'"
    assert closes(one(peer)) == ("channel.close", 404, text, 50, 30)
    peer.feed(declare(1, "ignored") + declare(2, "q"))
    assert names(peer) == ["queue.declare-ok"]
    peer.feed(method(1, "channel.close-ok") + method(1, "channel.open"))
    assert names(peer) == ["channel.open-ok"]


def test_contents_of_a_closing_channel_are_ignored() -> None:
    """On both roads, whatever is wrong with them, and also one that is cut by the close."""
    server = Server()
    peer = server.peer(1, 2)
    peer.call(1, "queue.declare", queue="q")
    peer.feed(
        b"".join(
            [
                method(1, "queue.purge", queue="missing"),
                wire.publish(1, "", "q", b"whole"),
                wire.publish(1, "", "q", bytes(300_000)),
                wire.publish(1, "missing", "q", b"x", mandatory=True),
                method(1, "basic.deliver"),
                frame(2, 1, content_header(3)),
                frame(3, 1, b"abc"),
                method(1, "basic.publish", routing_key="q"),
                frame(2, 1, content_header(2**63 - 1)),
                frame(3, 1, b"endless"),
                declare(2, "still.served"),
            ]
        )
    )
    assert names(peer) == ["channel.close", "queue.declare-ok"]
    assert not peer.connection.channels[1].body, "nothing is collected"
    assert server.broker.vhosts["/"].queues["q"].ready_count == 0


def test_stray_contents_of_a_closing_channel_are_a_fault() -> None:
    peer = Server().peer(1)
    peer.feed(method(1, "queue.purge", queue="missing") + frame(3, 1, b"x"))
    peer.turn()
    assert [closes(said)[1] for said in peer.output()] == [404, 505]


def test_a_method_that_no_client_sends() -> None:
    peer = Server().peer(1)
    peer.send(1, "queue.bind-ok")
    text = "COMMAND_INVALID - unimplemented method"
    assert closes(one(peer)) == ("connection.close", 503, text, 50, 21)


@pytest.mark.parametrize("kind", [2, 3])
def test_a_content_on_a_channel_that_is_not_open(kind: int) -> None:
    peer = Server().peer(1)
    peer.feed(frame(kind, 7, content_header(0)))
    text = "UNEXPECTED_FRAME - expected method frame, got non method frame instead"
    assert closes(one(peer)) == ("connection.close", 505, text, 0, 0)


def test_after_a_frame_error_nothing_is_listened_to() -> None:
    peer = Server().peer(1)
    peer.feed(b"\x01\x00\x01\x00\x00\x00\x01x\x00")
    assert closes(one(peer))[1] == 501
    assert peer.connection.is_finished
    peer.connection.receive(declare(1, "q"))
    assert peer.connection.held_size == 0


@pytest.mark.parametrize("end", [method(0, "connection.close"), b"\x09\x00\x00\x00\x00\x00\x00\xce"])
def test_nothing_behind_an_end_is_digested(end: bytes) -> None:
    peer = Server().peer(1)
    peer.feed(end + declare(1, "q") + wire.publish(1, "", "nowhere", b"x", mandatory=True) * 3)
    assert names(peer) in (["connection.close-ok"], ["connection.close"])
    assert peer.connection.held_size == 0
    assert peer.is_gone


def test_after_another_hard_error_only_close_ok_counts() -> None:
    peer = Server().peer(1)
    peer.feed(method(1, "channel.open") + declare(1, "q"))
    assert closes(one(peer))[1] == 504
    assert not peer.connection.is_finished
    assert "q" not in peer.server.broker.vhosts["/"].queues
    peer.feed(method(0, "connection.close-ok"))
    peer.turn()
    assert peer.is_gone


# -- the end --


def test_why_it_left() -> None:
    peer = Server().peer(1)
    peer.hang_up()
    assert peer.connection.why == "the client closed the socket without connection.close"
    peer = Server().peer(1)
    peer.connection.why = "the socket failed"
    peer.hang_up()
    assert peer.connection.why == "the socket failed"
    peer = Server().peer(1)
    peer.send(0, "connection.close", reply_code=200, reply_text="bye")
    peer.hang_up()
    assert peer.connection.why == "closed by the client: 200 bye"


@pytest.mark.parametrize("end", ["hang up", "close", "error", "force close"])
def test_everything_is_given_back(end: str) -> None:
    """Consumers first, so that what was unacked goes to others; then exclusive queues."""
    server = Server()
    peer, other = server.peer(1, 2), server.peer(1)
    peer.call(1, "queue.declare", queue="mine", exclusive=True)
    peer.call(1, "queue.declare", queue="q")
    peer.call(1, "queue.declare", queue="brief", auto_delete=True)
    peer.call(2, "basic.consume", queue="brief")
    peer.call(2, "basic.consume", queue="q", consumer_tag="c")
    peer.call(1, "tx.select")
    for number in range(3):
        peer.publish(2, "", "q", b"%d" % number)
    assert names(peer) == ["basic.deliver"] * 3
    other.call(1, "basic.consume", queue="q", consumer_tag="o")
    match end:
        case "hang up":
            peer.hang_up()
        case "close":
            peer.send(0, "connection.close")
        case "error":
            peer.send(1, "channel.open")
        case _:
            peer.connection.force_close("shutdown")
    server.turn()
    said = other.output()
    assert [(each.body, each.args["redelivered"]) for each in said] == [(b"%d" % n, True) for n in range(3)]
    assert list(server.broker.vhosts["/"].queues) == ["q"]
    assert not peer.connection.channels
    assert not peer.connection.routes


def test_channel_numbers_and_count() -> None:
    peer = peer_at("opening")
    connection: Connection = peer.connection
    connection.channel_max = 2
    peer.send(0, "connection.open", virtual_host="/")
    peer.feed(method(1, "channel.open") + method(2, "channel.open"))
    assert names(peer) == ["connection.open-ok", "channel.open-ok", "channel.open-ok"]
    peer.call(2, "channel.close")
    peer.send(3, "channel.open")
    said = one(peer)
    assert closes(said)[1:3] == (
        530,
        "NOT_ALLOWED - number of channels opened (1) has reached the negotiated channel_max (2)",
    )
    assert closes(said)[3:] == (0, 0)


def test_a_content_may_wait_for_its_rest() -> None:
    """The connection says how much it lacks, and digests nothing before it is there."""
    peer = Server().peer(1)
    data = wire.publish(1, "", "nowhere", b"body", mandatory=True)
    for octet in data[:-1]:
        peer.feed(bytes([octet]))
    assert peer.connection.held_size == len(data) - 1
    assert peer.connection.needed == 1
    assert names(peer) == []
    peer.feed(data[-1:])
    assert names(peer) == ["basic.return"]
    assert peer.connection.held_size == 0


def test_a_publish_that_is_not_whole_takes_either_road() -> None:
    peer = Server().peer(1)
    head, rest = method(1, "basic.publish", routing_key="q"), frame(2, 1, content_header(0))
    peer.feed(head)
    assert peer.connection.channels[1].content_method == 0
    peer.feed(frame(8, 0, b""))
    assert peer.connection.channels[1].content_method == BASIC_PUBLISH
    peer.feed(rest)
    assert peer.connection.channels[1].content_method == 0
