"""What a user may do: every method that asks, what it asks for, and in which order. Texts over sockets, and beside
RabbitMQ: tests/conformance/test_permissions.py."""

from typing import Any

import pytest

from amqpd.broker.passwords import hash_like_rabbitmq
from amqpd.broker.permissions import Permission, TopicPermission
from amqpd.broker.users import User
from amqpd.broker.vhost_limits import USER_LIMITS, VHOST_LIMITS
from tests.protocols.amqp091.dialogue import closes, names, one, opening, start_ok, tune_ok
from tests.support.raw_peer import HEADER, properties
from tests.support.wire import Peer, Server, method

ADA = User("ada", hash_like_rabbitmq(b"secret", b"salt"))
LOGIN = HEADER + start_ok(response=b"\x00ada\x00secret") + tune_ok()


def server_for(configure: str = ".*", write: str = ".*", read: str = ".*") -> Server:
    """There is ada, with these permissions, a queue "q", and exchanges "e" and "t", a topic one."""
    server = Server()
    server.broker.users.set(ADA)
    server.broker.permissions.set(Permission("ada", "/", configure, write, read))
    guest = server.peer(1)
    guest.call(1, "queue.declare", queue="q")
    guest.call(1, "exchange.declare", exchange="e", type="fanout")
    guest.call(1, "exchange.declare", exchange="t", type="topic")
    return server


def ada_of(server: Server) -> Peer:
    peer = server.connect()
    peer.feed(LOGIN + opening() + method(1, "channel.open"))
    assert names(peer) == ["connection.start", "connection.tune", "connection.open-ok", "channel.open-ok"]
    return peer


def ada_with(configure: str = ".*", write: str = ".*", read: str = ".*") -> Peer:
    return ada_of(server_for(configure, write, read))


def refusal(peer: Peer, name: str, **args: Any) -> tuple[int, str]:
    """Code and text of what closes the channel."""
    peer.send(1, name, **args)
    said = one(peer)
    assert said.name == "channel.close", said
    return said.args["reply_code"], said.args["reply_text"]


def text(verb: str, what: str) -> tuple[int, str]:
    return 403, f"ACCESS_REFUSED - {verb} access to {what} in vhost '/' refused for user 'ada'"


DLX = {"x-dead-letter-exchange": "e"}
ALTERNATE = {"alternate-exchange": "e"}
# Method, its arguments, and what it is refused: the verb that is missing.
ASKED: list[tuple[str, dict[str, Any], str, str]] = [
    ("queue.declare", {"queue": "q"}, "configure", "queue 'q'"),
    ("queue.declare", {"queue": "new"}, "configure", "queue 'new'"),
    ("queue.declare", {"queue": "new", "arguments": DLX}, "read", "queue 'new'"),
    ("queue.declare", {"queue": "new", "arguments": DLX}, "write", "exchange 'e'"),
    ("queue.delete", {"queue": "q"}, "configure", "queue 'q'"),
    ("queue.delete", {"queue": "missing"}, "configure", "queue 'missing'"),
    ("queue.purge", {"queue": "q"}, "read", "queue 'q'"),
    ("queue.purge", {"queue": "missing"}, "read", "queue 'missing'"),
    ("queue.bind", {"queue": "q", "exchange": "e"}, "write", "queue 'q'"),
    ("queue.bind", {"queue": "q", "exchange": "e"}, "read", "exchange 'e'"),
    ("queue.unbind", {"queue": "q", "exchange": "e"}, "write", "queue 'q'"),
    ("queue.unbind", {"queue": "missing", "exchange": "missing"}, "read", "exchange 'missing'"),
    ("exchange.declare", {"exchange": "e", "type": "fanout"}, "configure", "exchange 'e'"),
    ("exchange.declare", {"exchange": "new", "type": "fanout", "arguments": ALTERNATE}, "read", "exchange 'new'"),
    ("exchange.declare", {"exchange": "new", "type": "fanout", "arguments": ALTERNATE}, "write", "exchange 'e'"),
    ("exchange.delete", {"exchange": "e"}, "configure", "exchange 'e'"),
    ("exchange.delete", {"exchange": "missing"}, "configure", "exchange 'missing'"),
    ("exchange.bind", {"source": "e", "destination": "t"}, "write", "exchange 't'"),
    ("exchange.bind", {"source": "e", "destination": "t"}, "read", "exchange 'e'"),
    ("exchange.bind", {"source": "missing", "destination": "t"}, "read", "exchange 'missing'"),
    ("exchange.unbind", {"source": "e", "destination": "t"}, "write", "exchange 't'"),
    ("exchange.unbind", {"source": "e", "destination": "t"}, "read", "exchange 'e'"),
    ("basic.get", {"queue": "q"}, "read", "queue 'q'"),
    ("basic.get", {"queue": "missing"}, "read", "queue 'missing'"),
    ("basic.consume", {"queue": "q"}, "read", "queue 'q'"),
    ("basic.consume", {"queue": "missing"}, "read", "queue 'missing'"),
]


@pytest.mark.parametrize(("name", "args", "verb", "what"), ASKED)
def test_refused_without_the_permission(name: str, args: dict[str, Any], verb: str, what: str) -> None:
    assert refusal(ada_with(**{verb: ""}), name, **args) == text(verb, what)


@pytest.mark.parametrize(("name", "args", "verb", "what"), ASKED)
def test_not_refused_with_it(name: str, args: dict[str, Any], verb: str, what: str) -> None:
    peer = ada_with()
    peer.send(1, name, **args)
    said = one(peer)
    assert said.name != "channel.close" or said.args["reply_code"] == 404


# What asks for nothing: passive declarations, and what is on a channel already.
@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("queue.declare", {"queue": "q", "passive": True}),
        ("exchange.declare", {"exchange": "e", "passive": True}),
        ("basic.qos", {"prefetch_count": 1}),
        ("basic.cancel", {"consumer_tag": "c"}),
        ("confirm.select", {}),
        ("tx.select", {}),
    ],
)
def test_not_asked(name: str, args: dict[str, Any]) -> None:
    peer = ada_with("", "", "")
    peer.call(1, name, **args)


@pytest.mark.parametrize("nowait", [False, True])
def test_what_is_there_already_needs_no_way_to_an_exchange(nowait: bool) -> None:
    server = server_for("", "", "")
    server.peer(1).call(1, "queue.declare", queue="dying", arguments=DLX)
    server.broker.permissions.set(Permission("ada", "/", ".*", "", ""))
    peer = ada_of(server)
    peer.send(1, "queue.declare", queue="dying", arguments=DLX, nowait=nowait)
    assert names(peer) == ([] if nowait else ["queue.declare-ok"])


def test_queue_that_the_server_names() -> None:
    assert ada_with(r"^amq\.gen-.{22}$").call(1, "queue.declare")["queue"].startswith("amq.gen-")
    code, words = refusal(ada_with("^mine"), "queue.declare")
    assert code == 403
    assert words.startswith("ACCESS_REFUSED - configure access to queue 'amq.gen-")


def test_last_queue_of_the_channel_is_asked_about_by_its_name() -> None:
    peer = ada_with(write="", read="")
    peer.call(1, "queue.declare", queue="mine")
    assert refusal(peer, "queue.bind", queue="", exchange="e") == text("write", "queue 'mine'")


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("exchange.declare", {"exchange": "", "type": "direct"}),
        ("exchange.delete", {"exchange": ""}),
        ("queue.bind", {"queue": "q", "exchange": ""}),
        ("exchange.bind", {"source": "", "destination": "e"}),
    ],
)
def test_default_exchange_is_nobodys_to_change(name: str, args: dict[str, Any]) -> None:
    refused = (403, "ACCESS_REFUSED - operation not permitted on the default exchange")
    assert refusal(ada_with(), name, **args) == refused


# -- publishing --


def published(peer: Peer, exchange: str = "", key: str = "q") -> tuple[int, str] | None:
    """Code and text of the refusal, None when there was none."""
    peer.publish(1, exchange, key)
    peer.turn()
    said = peer.output()
    if not said:
        return None
    assert closes(said[0])[0] == "channel.close"
    return closes(said[0])[1:3]


@pytest.mark.parametrize(("exchange", "name"), [("", "amq.default"), ("e", "e"), ("missing", "missing")])
def test_publish_needs_write(exchange: str, name: str) -> None:
    assert published(ada_with(write=""), exchange) == text("write", f"exchange '{name}'")


def test_publish_in_pieces_needs_write() -> None:
    peer = ada_with(write="")
    peer.send(1, "basic.publish", exchange="e")
    peer.feed(b"\x02\x00\x01\x00\x00\x00\x0e\x00\x3c\x00\x00" + bytes(8) + b"\x00\x00\xce")
    assert closes(one(peer))[1:3] == text("write", "exchange 'e'")


def test_publish_allowed() -> None:
    peer = ada_with(write=r"^amq\.default$")
    assert published(peer) is None
    assert peer.server.broker.vhosts["/"].queues["q"].ready_count == 1


def test_permission_that_changes_reaches_who_publishes() -> None:
    peer = ada_with()
    assert published(peer) is None
    assert published(peer) is None
    peer.server.broker.permissions.set(Permission("ada", "/", ".*", "^e$", ".*"))
    assert published(peer) == text("write", "exchange 'amq.default'")
    peer.feed(method(1, "channel.close-ok") + method(2, "channel.open"))
    assert names(peer) == ["channel.open-ok"]
    peer.server.broker.permissions.set(Permission("ada", "/", ".*", ".*", ".*"))
    peer.publish(2, "", "q")
    assert names(peer) == []
    assert peer.server.broker.vhosts["/"].queues["q"].ready_count == 3


def test_permission_that_is_taken_lets_consumers_be() -> None:
    peer = ada_with()
    peer.call(1, "basic.consume", queue="q", consumer_tag="c", no_ack=True)
    peer.server.broker.permissions.clear("ada", "/")
    guest = peer.server.peer(1)
    guest.publish(1, "", "q", b"m")
    assert names(peer) == ["basic.deliver"]
    assert refusal(peer, "basic.get", queue="q") == text("read", "queue 'q'")


def topic_text(verb: str, key: str) -> tuple[int, str]:
    words = f"{verb} access to topic '{key}' in exchange 't' in vhost '/' refused for user 'ada'"
    return 403, f"ACCESS_REFUSED - {words}"


def test_topics() -> None:
    peer = ada_with()
    peer.server.broker.permissions.set_topic(TopicPermission("ada", "/", "t", r"^{username}\.", "^r"))
    assert published(peer, "t", "ada.x") is None
    assert published(peer, "e", "x") is None
    assert published(peer, "t", "x") == topic_text("write", "x")


@pytest.mark.parametrize("header", ["CC", "BCC"])
def test_topics_of_copies(header: str) -> None:
    peer = ada_with()
    peer.server.broker.permissions.set_topic(TopicPermission("ada", "/", "t", "^w", "^r"))
    peer.publish(1, "t", "w", b"m", properties(headers={header: ["w2"]}))
    assert names(peer) == []
    peer.publish(1, "t", "w", b"m", properties(headers={header: ["w2", "x"]}))
    assert closes(one(peer))[1:3] == topic_text("write", "x")


def test_topics_of_bindings() -> None:
    server = server_for()
    server.broker.permissions.set_topic(TopicPermission("ada", "/", "t", "^w", "^r"))
    ada_of(server).call(1, "queue.bind", queue="q", exchange="t", routing_key="r.#")
    assert refusal(ada_of(server), "queue.bind", queue="q", exchange="t", routing_key="#") == topic_text("read", "#")
    assert refusal(ada_of(server), "queue.unbind", queue="q", exchange="t", routing_key="#") == topic_text("read", "#")
    asked = {"source": "t", "destination": "e", "routing_key": "w"}
    assert refusal(ada_of(server), "exchange.bind", **asked) == topic_text("read", "w")


def test_topic_permission_that_changes_reaches_who_publishes() -> None:
    peer = ada_with()
    assert published(peer, "t", "x") is None
    peer.server.broker.permissions.set_topic(TopicPermission("ada", "/", "t", "^w", ""))
    assert published(peer, "t", "x") == topic_text("write", "x")


# -- virtual hosts and limits --


def opened(server: Server, vhost: str = "/") -> tuple[int, str] | None:
    """Code and text of the refusal, None when it is open."""
    peer = server.connect()
    peer.feed(LOGIN)
    peer.turn()
    peer.take_bytes()
    peer.feed(opening(vhost))
    said = one(peer)
    if said.name == "connection.open-ok":
        return None
    assert closes(said)[0] == "connection.close"
    return closes(said)[1:3]


def test_virtual_host_without_permission() -> None:
    server = server_for()
    server.broker.add_vhost("other")
    assert opened(server, "other") == (530, "NOT_ALLOWED - access to vhost 'other' refused for user 'ada'")
    server.broker.permissions.set(Permission("ada", "other", "", "", ""))
    assert opened(server, "other") is None


@pytest.mark.parametrize("room", [0, 1, 3])
def test_connections_of_a_virtual_host(room: int) -> None:
    server = server_for()  # guest's connection is there
    server.broker.limits.set(VHOST_LIMITS, "/", {"max-connections": room})
    for _ in range(room - 1):
        assert opened(server) is None
    full = f"NOT_ALLOWED - access to vhost '/' refused for user 'ada': connection limit ({room}) is reached"
    assert opened(server) == (530, full)
    if room > 1:
        next(peer for peer in server.peers.values() if peer.connection.user_name == "ada").hang_up()
        assert opened(server) is None


def test_connections_of_a_user() -> None:
    server = server_for()
    server.broker.limits.set(USER_LIMITS, "ada", {"max-connections": 1})
    server.broker.add_vhost("other")
    server.broker.permissions.set(Permission("ada", "other", "", "", ""))
    assert opened(server) is None
    full = "NOT_ALLOWED - connection refused for user 'ada': user connection limit (1) is reached"
    assert opened(server, "other") == (530, full)
    server.peer(1)  # guest's are not counted


def test_channels_of_a_user() -> None:
    server = server_for()
    server.broker.limits.set(USER_LIMITS, "ada", {"max-channels": 2})
    first = ada_of(server)
    second = ada_of(server)
    second.send(2, "channel.open")
    words = "number of channels opened for user 'ada' has reached the maximum allowed user limit of (2)"
    assert closes(one(second)) == ("connection.close", 530, f"NOT_ALLOWED - {words}", 0, 0)
    first.call(2, "channel.open")
    server.peer(1, 2, 3)


@pytest.mark.parametrize("exclusive", [False, True])
def test_queues_of_a_virtual_host(exclusive: bool) -> None:
    server = server_for()  # with "q"
    server.broker.limits.set(VHOST_LIMITS, "/", {"max-queues": 2})
    peer = ada_of(server)
    peer.call(1, "queue.declare", queue="second")
    peer.call(1, "queue.declare", queue="second")
    words = "PRECONDITION_FAILED - cannot declare queue 'third': queue limit in vhost '/' (2) is reached"
    assert refusal(peer, "queue.declare", queue="third", exclusive=exclusive) == (406, words)


def test_limit_below_zero_is_none() -> None:
    server = server_for()
    server.broker.limits.set(VHOST_LIMITS, "/", {"max-queues": -1, "max-connections": -1})
    server.broker.limits.set(USER_LIMITS, "ada", {"max-channels": -1, "max-connections": -1})
    ada_of(server).call(1, "queue.declare", queue="new")
