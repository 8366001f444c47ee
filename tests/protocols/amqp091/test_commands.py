"""Methods of a channel: answers, no-wait, the last queue. Rules and texts over sockets: tests/conformance."""

from typing import Any

import pytest

from amqpd.protocols.amqp091 import codec, commands
from tests.protocols.amqp091.dialogue import closes, names, one
from tests.support.raw_peer import METHODS
from tests.support.wire import Peer, Server

# Method -> arguments with which it succeeds on a channel where "q" and "e" exist.
SUCCEED: dict[str, dict[str, Any]] = {
    "channel.flow": {"active": True},
    "access.request": {"realm": "/"},
    "exchange.declare": {"exchange": "new", "type": "topic"},
    "exchange.delete": {"exchange": "e"},
    "exchange.bind": {"source": "e", "destination": "amq.fanout"},
    "exchange.unbind": {"source": "e", "destination": "amq.fanout"},
    "queue.declare": {"queue": "new"},
    "queue.bind": {"queue": "q", "exchange": "e"},
    "queue.unbind": {"queue": "q", "exchange": "e"},
    "queue.purge": {"queue": "q"},
    "queue.delete": {"queue": "q"},
    "basic.qos": {"prefetch_count": 1},
    "basic.consume": {"queue": "q"},
    "basic.cancel": {"consumer_tag": "c"},
    "basic.recover": {"requeue": True},
    "confirm.select": {},
    "tx.select": {},
}
REPLY = "amq.rabbitmq.reply-to"
SILENT: dict[str, dict[str, Any]] = {
    "basic.recover-async": {"requeue": True},
    "basic.ack": {"multiple": True},
    "basic.nack": {"multiple": True},
}


def with_things() -> Peer:
    peer = Server().peer(1)
    peer.call(1, "queue.declare", queue="q")
    peer.call(1, "exchange.declare", exchange="e", type="direct")
    return peer


@pytest.mark.parametrize("name", SUCCEED)
def test_answered_by_its_ok(name: str) -> None:
    peer = with_things()
    peer.send(1, name, **SUCCEED[name])
    assert names(peer) == [f"{name}-ok"]


@pytest.mark.parametrize("name", [name for name in SUCCEED if "nowait" in METHODS[name][2]])
def test_no_wait_has_no_answer(name: str) -> None:
    peer = with_things()
    peer.send(1, name, **SUCCEED[name], nowait=True)
    assert names(peer) == []
    assert not peer.connection.channels[1].is_closing


@pytest.mark.parametrize("name", SILENT)
def test_never_answered(name: str) -> None:
    peer = with_things()
    peer.send(1, name, **SILENT[name])
    assert names(peer) == []


def test_no_wait_does_not_silence_errors() -> None:
    peer = with_things()
    peer.send(1, "queue.purge", queue="missing", nowait=True)
    assert names(peer) == ["channel.close"]


def test_every_method_of_a_client_has_a_command() -> None:
    """Those of channel 0, of the life of a channel and of contents aside."""
    answered = {*SUCCEED, *SILENT, "basic.get", "basic.reject", "tx.commit", "tx.rollback"}
    assert {codec.SCHEMAS[number].name for number in commands.COMMANDS} == answered


LAST = {
    "queue.bind": {"exchange": "e"},
    "queue.unbind": {"exchange": "e"},
    "queue.purge": {},
    "queue.delete": {},
    "basic.consume": {},
    "basic.get": {},
}


@pytest.mark.parametrize("name", LAST)
def test_an_empty_name_is_the_last_queue(name: str) -> None:
    peer = with_things()
    peer.send(1, name, **LAST[name])
    assert names(peer) in ([f"{name}-ok"], ["basic.get-empty"])
    peer = Server().peer(1, 2)
    peer.call(1, "exchange.declare", exchange="e", type="direct")
    peer.call(2, "queue.declare", queue="of.another.channel")
    peer.send(1, name, **LAST[name])
    assert closes(one(peer))[1:3] == (404, "NOT_FOUND - no previously declared queue")


@pytest.mark.parametrize(("how", "last"), [({}, "r"), ({"passive": True}, "q"), ({"nowait": True}, "r")])
def test_what_the_last_queue_is(how: dict[str, bool], last: str) -> None:
    peer = with_things()
    peer.send(1, "queue.declare", queue="q" if "passive" in how else "r", **how)
    peer.turn()
    peer.take_bytes()
    assert peer.connection.channels[1].last_queue == last


def test_a_name_the_server_chose_is_the_last_one() -> None:
    peer = with_things()
    chosen = peer.call(1, "queue.declare")["queue"]
    assert chosen.startswith("amq.gen-")
    assert peer.connection.channels[1].last_queue == chosen


@pytest.mark.parametrize(("queue", "key", "bound"), [("", "", "q"), ("q", "", ""), ("", "k", "k"), ("q", "k", "k")])
def test_an_empty_key_with_an_empty_name_is_the_queues_name(queue: str, key: str, bound: str) -> None:
    peer = with_things()
    peer.call(1, "queue.bind", queue=queue, exchange="e", routing_key=key)
    bindings = peer.server.broker.vhosts["/"].bindings
    assert [binding.key for binding in bindings] == [bound]
    peer.call(1, "queue.unbind", queue=queue, exchange="e", routing_key=key)
    assert len(bindings) == 0


def test_line_ends_are_taken_out_of_what_is_made() -> None:
    peer = with_things()
    assert peer.call(1, "queue.declare", queue="a\r\nb")["queue"] == "ab"
    peer.call(1, "exchange.declare", exchange="\nx\r", type="direct")
    assert "x" in peer.server.broker.vhosts["/"].exchanges


def test_counts_of_a_declare_ok() -> None:
    peer = with_things()
    for _ in range(3):
        peer.publish(1, "", "q", b"x")
    peer.call(1, "basic.qos", prefetch_count=1)
    peer.feed(b"")
    peer.send(1, "basic.consume", queue="q", consumer_tag="c")
    assert names(peer) == ["basic.consume-ok", "basic.deliver"]
    declared = peer.call(1, "queue.declare", queue="q", passive=True)
    assert (declared["message_count"], declared["consumer_count"]) == (2, 1)
    assert peer.call(1, "queue.purge", queue="q")["message_count"] == 2
    peer.publish(1, "", "q", b"x")
    peer.call(1, "basic.cancel", consumer_tag="c")
    assert peer.call(1, "queue.delete", queue="q")["message_count"] == 1


@pytest.mark.parametrize(
    ("name", "args", "code", "text"),
    [
        ("channel.flow", {}, 540, "NOT_IMPLEMENTED - active=false"),
        ("basic.qos", {"prefetch_size": 5}, 540, "NOT_IMPLEMENTED - prefetch_size!=0 (5)"),
        ("basic.recover", {}, 540, "NOT_IMPLEMENTED - requeue=false"),
        ("basic.recover-async", {}, 540, "NOT_IMPLEMENTED - requeue=false"),
        ("tx.commit", {}, 406, "PRECONDITION_FAILED - channel is not transactional"),
        ("tx.rollback", {}, 406, "PRECONDITION_FAILED - channel is not transactional"),
        ("exchange.declare", {}, 403, "ACCESS_REFUSED - operation not permitted on the default exchange"),
        ("exchange.delete", {}, 403, "ACCESS_REFUSED - operation not permitted on the default exchange"),
        ("exchange.bind", {"source": "e"}, 403, "ACCESS_REFUSED - operation not permitted on the default exchange"),
        ("exchange.unbind", {"source": "e"}, 403, "ACCESS_REFUSED - operation not permitted on the default exchange"),
        ("exchange.bind", {"source": "x", "destination": "e"}, 404, "NOT_FOUND - no exchange 'x' in vhost '/'"),
        ("exchange.bind", {"source": "e", "destination": "x"}, 404, "NOT_FOUND - no exchange 'x' in vhost '/'"),
        ("queue.bind", {"queue": "x", "exchange": "e"}, 404, "NOT_FOUND - no queue 'x' in vhost '/'"),
        ("queue.declare", {"queue": f"{REPLY}.x"}, 404, f"NOT_FOUND - no queue '{REPLY}.x' in vhost '/'"),
        ("basic.consume", {"queue": REPLY}, 406, "PRECONDITION_FAILED - reply consumer cannot acknowledge"),
    ],
)
def test_refused(name: str, args: dict[str, Any], code: int, text: str) -> None:
    peer = with_things()
    peer.send(1, name, **args)
    class_id, method_id, _ = METHODS[name]
    kind = "connection.close" if code >= 500 else "channel.close"
    assert closes(one(peer)) == (kind, code, text, class_id, method_id)


def test_the_pseudo_queue_of_answers() -> None:
    """Always there, with one consumer, and so is the name of whoever waits, as long as it does."""
    peer = with_things()
    assert peer.call(1, "queue.declare", queue=REPLY)["consumer_count"] == 1
    peer.call(1, "basic.consume", queue=REPLY, consumer_tag="r", no_ack=True)
    (name,) = peer.connection.vhost.askers
    answer = peer.call(1, "queue.declare", queue=name, passive=True)
    assert (answer["queue"], answer["message_count"], answer["consumer_count"]) == (name, 0, 1)
    peer.call(1, "basic.cancel", consumer_tag="r")
    assert peer.connection.vhost.askers == {}
    peer.call(1, "basic.consume", queue=REPLY, consumer_tag="r", no_ack=True)
    peer.send(1, "basic.consume", queue=REPLY, consumer_tag="s", no_ack=True)
    assert closes(one(peer))[2] == "PRECONDITION_FAILED - reply consumer already set"
    assert peer.connection.vhost.askers == {}, "it ends with its channel"


@pytest.mark.parametrize(
    ("declared", "name", "args", "code"),
    [
        ({}, "basic.consume", {}, 540),
        ({"x-single-active-consumer": True}, "basic.get", {}, 405),
    ],
)
def test_what_a_quorum_queue_does_not_do(declared: dict[str, Any], name: str, args: dict[str, Any], code: int) -> None:
    peer = with_things()
    peer.call(1, "queue.declare", queue="quorum", durable=True, arguments={"x-queue-type": "quorum", **declared})
    peer.call(1, "basic.qos", prefetch_count=1, global_=True)
    peer.send(1, name, queue="quorum", **args)
    assert closes(one(peer))[1] == code


def test_modes_exclude_each_other() -> None:
    for first, second, text in (
        ("tx.select", "confirm.select", "cannot switch from tx to confirm mode"),
        ("confirm.select", "tx.select", "cannot switch from confirm to tx mode"),
    ):
        peer = with_things()
        peer.call(1, first)
        peer.call(1, first)
        peer.send(1, second)
        assert closes(one(peer))[1:3] == (406, f"PRECONDITION_FAILED - {text}")


def test_consumer_tags() -> None:
    peer = with_things()
    chosen = peer.call(1, "basic.consume", queue="q")["consumer_tag"]
    assert chosen.startswith("amq.ctag-")
    assert peer.call(1, "basic.consume", queue="q", consumer_tag="mine")["consumer_tag"] == "mine"
    peer.send(1, "basic.consume", queue="q", consumer_tag="mine")
    assert closes(one(peer))[1:3] == (530, "NOT_ALLOWED - attempt to reuse consumer tag 'mine'")


def test_an_exclusive_consumer_that_is_refused_leaves_nothing() -> None:
    peer = with_things()
    peer.call(1, "basic.consume", queue="q", consumer_tag="a", exclusive=True)
    peer.send(1, "basic.consume", queue="q", consumer_tag="b")
    assert closes(one(peer))[1] == 403
    assert peer.server.broker.vhosts["/"].queues["q"].consumers.all == []


def test_limits_of_the_channel_and_of_consumers_to_come() -> None:
    peer = with_things()
    channel = peer.connection.channels[1]
    peer.call(1, "basic.qos", prefetch_count=5)
    peer.call(1, "basic.qos", prefetch_count=7, global_=True)
    assert (channel.prefetch, channel.channel_prefetch) == (5, 7)
    peer.call(1, "basic.qos", prefetch_count=6)
    assert (channel.prefetch, channel.channel_prefetch) == (6, 0)
