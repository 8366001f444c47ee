"""Exchanges: declaring, deleting, binding to each other, alternates, and how each type routes."""

from typing import Any

import pytest

from tests.conformance.conftest import Name
from tests.support.raw_peer import RawPeer, Typed, properties

DEFAULT_REFUSED = "ACCESS_REFUSED - operation not permitted on the default exchange"


def missing(exchange: str) -> str:
    return f"NOT_FOUND - no exchange '{exchange}' in vhost '/'"


def inequivalent(arg: str, exchange: str, received: str, current: str) -> str:
    return (
        f"PRECONDITION_FAILED - inequivalent arg '{arg}' for exchange '{exchange}' in vhost '/':"
        f" received {received} but current is {current}"
    )


def declare(peer: RawPeer, exchange: str, kind: str = "direct", **args: Any) -> str:
    peer.call(1, "exchange.declare", exchange=exchange, type=kind, **args)
    return exchange


def exists(peer: RawPeer, exchange: str) -> bool:
    peer.send(1, "exchange.declare", exchange=exchange, passive=True)
    got = peer.next_method(1)
    if got.name == "exchange.declare-ok":
        return True
    assert got["reply_text"] == missing(exchange)
    peer.send(1, "channel.close-ok")
    peer.open_channel(1)
    return False


def queue_bound(peer: RawPeer, exchange: str, key: str = "", **arguments: Any) -> str:
    queue: str = peer.call(1, "queue.declare", exclusive=True)["queue"]
    peer.call(1, "queue.bind", queue=queue, exchange=exchange, routing_key=key, arguments=arguments)
    return queue


def taken(peer: RawPeer, queue: str) -> int:
    return len(peer.take_all(1, queue))


def publish(peer: RawPeer, exchange: str, key: str = "", **headers: Any) -> None:
    peer.publish(1, exchange, key, b"m", properties(headers=headers) if headers else properties())


@pytest.mark.parametrize("kind", ["direct", "fanout", "topic", "headers"])
@pytest.mark.parametrize("durable", [False, True])
def test_declare_redeclare_and_look(peer: RawPeer, name: Name, kind: str, durable: bool) -> None:
    exchange = declare(peer, name("x"), kind, durable=durable)
    declare(peer, exchange, kind, durable=durable)
    peer.call(1, "exchange.declare", exchange=exchange, type=kind, passive=True, durable=not durable)
    peer.call(1, "exchange.delete", exchange=exchange)
    assert not exists(peer, exchange)


@pytest.mark.parametrize(
    ("exchange", "kind"),
    [
        ("amq.direct", "direct"),
        ("amq.fanout", "fanout"),
        ("amq.topic", "topic"),
        ("amq.headers", "headers"),
        ("amq.match", "headers"),
    ],
)
def test_predeclared(peer: RawPeer, exchange: str, kind: str) -> None:
    declare(peer, exchange, kind, durable=True)


def test_predeclared_trace_is_internal_topic(peer: RawPeer) -> None:
    declare(peer, "amq.rabbitmq.trace", "topic", durable=True, internal=True)


@pytest.mark.parametrize(
    ("arg", "args", "received", "current"),
    [
        ("type", {"kind": "topic"}, "'topic'", "'direct'"),
        ("durable", {"durable": True}, "'true'", "'false'"),
        ("auto_delete", {"auto_delete": True}, "'true'", "'false'"),
        ("internal", {"internal": True}, "'true'", "'false'"),
        (
            "alternate-exchange",
            {"arguments": {"alternate-exchange": "ae"}},
            "the value 'ae' of type 'longstr'",
            "none",
        ),
    ],
)
def test_inequivalent(peer: RawPeer, name: Name, arg: str, args: dict[str, Any], received: str, current: str) -> None:
    exchange = declare(peer, name("x"))
    again = {"type": args.get("kind", "direct")} | {key: value for key, value in args.items() if key != "kind"}
    text = inequivalent(arg, exchange, received, current)
    peer.refused(1, 406, text, "exchange.declare", exchange=exchange, **again)


@pytest.mark.parametrize(
    ("arguments", "received", "current"),
    [
        ({}, "none", "the value 'amq.fanout' of type 'longstr'"),
        ({"alternate-exchange": "amq.topic"}, "'amq.topic'", "'amq.fanout'"),
        ({"alternate-exchange": 5}, "'5'", "'amq.fanout'"),
    ],
)
def test_inequivalent_alternate(
    peer: RawPeer, name: Name, arguments: dict[str, Any], received: str, current: str
) -> None:
    exchange = declare(peer, name("x"), arguments={"alternate-exchange": "amq.fanout"})
    text = inequivalent("alternate-exchange", exchange, received, current)
    peer.refused(1, 406, text, "exchange.declare", exchange=exchange, type="direct", arguments=arguments)


def test_unknown_arguments_are_accepted_and_not_compared(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"), arguments={"x-foo": 1})
    declare(peer, exchange, arguments={"x-bar": "y"})
    declare(peer, exchange)


@pytest.mark.parametrize(("value", "kind"), [(5, "signedint"), ({}, "table"), (True, "bool"), (Typed("l", 1), "long")])
def test_alternate_of_a_wrong_type(peer: RawPeer, name: Name, value: Any, kind: str) -> None:
    exchange = name("x")
    text = f"PRECONDITION_FAILED - invalid type '{kind}' for arg 'alternate-exchange' in exchange '{exchange}'"
    text += " in vhost '/'"
    arguments = {"alternate-exchange": value}
    peer.refused(1, 406, text, "exchange.declare", exchange=exchange, type="direct", arguments=arguments)


@pytest.mark.parametrize("exchange", ["nope", "amq.nope"])
def test_passive_declare_of_a_missing_one(peer: RawPeer, exchange: str) -> None:
    peer.refused(1, 404, missing(exchange), "exchange.declare", exchange=exchange, type="direct", passive=True)


@pytest.mark.parametrize(("kind", "text"), [("nope", "unknown exchange type 'nope'"), ("", "invalid exchange type ''")])
def test_unknown_type(peer: RawPeer, kind: str, text: str) -> None:
    peer.fatal(1, 503, f"COMMAND_INVALID - {text}", "exchange.declare", exchange="new", type=kind)


def test_unknown_type_does_not_matter_when_passive(peer: RawPeer) -> None:
    peer.call(1, "exchange.declare", exchange="amq.direct", type="nope", passive=True)


def test_reserved_prefix(peer: RawPeer) -> None:
    text = "ACCESS_REFUSED - exchange name 'amq.new' contains reserved prefix 'amq.*'"
    peer.refused(1, 403, text, "exchange.declare", exchange="amq.new", type="direct")


@pytest.mark.parametrize("exchange", ["amq.direct", "amq.nope"])
def test_deleting_a_system_exchange(peer: RawPeer, exchange: str) -> None:
    text = f"ACCESS_REFUSED - deletion of system exchange '{exchange}' in vhost '/' not allowed"
    peer.refused(1, 403, text, "exchange.delete", exchange=exchange)


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("exchange.declare", {"type": "direct", "durable": True}),
        ("exchange.declare", {"type": "direct", "passive": True}),
        ("exchange.delete", {}),
        ("exchange.bind", {"destination": "amq.fanout", "source": ""}),
        ("exchange.bind", {"destination": "", "source": "amq.fanout"}),
        ("exchange.unbind", {"destination": "amq.fanout", "source": ""}),
        ("exchange.unbind", {"destination": "", "source": "amq.fanout"}),
    ],
)
def test_default_exchange_operations(peer: RawPeer, method: str, args: dict[str, Any]) -> None:
    peer.refused(1, 403, DEFAULT_REFUSED, method, **args)


def test_line_breaks_are_stripped_from_names(peer: RawPeer, name: Name) -> None:
    exchange = name("x")
    peer.call(1, "exchange.declare", exchange=f"{exchange[:2]}\r\n{exchange[2:]}\n", type="direct")
    assert exists(peer, exchange)


@pytest.mark.parametrize("if_unused", [False, True])
def test_deleting_a_missing_one_succeeds(peer: RawPeer, if_unused: bool) -> None:
    peer.call(1, "exchange.delete", exchange="nope", if_unused=if_unused)


def test_delete_if_unused(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"))
    queue = queue_bound(peer, exchange, "k")
    text = f"PRECONDITION_FAILED - exchange '{exchange}' in vhost '/' in use"
    peer.refused(1, 406, text, "exchange.delete", exchange=exchange, if_unused=True)
    peer.call(1, "queue.unbind", queue=queue, exchange=exchange, routing_key="k")
    peer.call(1, "exchange.delete", exchange=exchange, if_unused=True)


def test_a_destination_is_not_in_use(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"))
    peer.call(1, "exchange.bind", destination=exchange, source="amq.fanout")
    peer.call(1, "exchange.delete", exchange=exchange, if_unused=True)


def test_auto_delete_goes_with_the_last_binding(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"), auto_delete=True)
    assert exists(peer, exchange)
    first, second = queue_bound(peer, exchange, "a"), queue_bound(peer, exchange, "a")
    peer.call(1, "queue.unbind", queue=first, exchange=exchange, routing_key="a")
    assert exists(peer, exchange)
    peer.call(1, "queue.delete", queue=second)
    assert not exists(peer, exchange)


def test_auto_delete_through_exchange_bindings(peer: RawPeer, name: Name) -> None:
    source = declare(peer, name("source"), auto_delete=True)
    middle = declare(peer, name("middle"), auto_delete=True)
    peer.call(1, "exchange.bind", destination=middle, source=source)
    queue = queue_bound(peer, middle)
    peer.call(1, "queue.delete", queue=queue)
    assert not exists(peer, middle)
    assert not exists(peer, source)


def test_auto_delete_does_not_go_with_bindings_to_it(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"), auto_delete=True)
    peer.call(1, "exchange.bind", destination=exchange, source="amq.fanout")
    peer.call(1, "exchange.unbind", destination=exchange, source="amq.fanout")
    assert exists(peer, exchange)


def test_publishing_to_an_internal_exchange(peer: RawPeer, name: Name) -> None:
    internal = declare(peer, name("x"), "fanout", internal=True)
    source = declare(peer, name("source"), "fanout")
    peer.call(1, "exchange.bind", destination=internal, source=source)
    queue = queue_bound(peer, internal)
    publish(peer, source)
    peer.get(1, queue, b"m", exchange=source)
    peer.publish(1, internal, "k", b"m")
    text = f"ACCESS_REFUSED - cannot publish to internal exchange '{internal}' in vhost '/'"
    peer.expect_channel_close(1, 403, text, "basic.publish")


@pytest.mark.parametrize(
    ("source", "destination", "culprit"),
    [("nope", "amq.fanout", "nope"), ("amq.fanout", "nope", "nope"), ("nope1", "nope2", "nope1")],
)
def test_exchange_bind_and_unbind_of_missing_ones(peer: RawPeer, source: str, destination: str, culprit: str) -> None:
    peer.refused(1, 404, missing(culprit), "exchange.bind", source=source, destination=destination)
    peer.call(1, "exchange.unbind", source=source, destination=destination)


def test_exchange_to_exchange(peer: RawPeer, name: Name) -> None:
    source, target = declare(peer, name("source"), "topic"), declare(peer, name("target"), "direct")
    queue = queue_bound(peer, target, "a.b")
    for _ in range(2):
        peer.call(1, "exchange.bind", destination=target, source=source, routing_key="a.*")
    peer.call(1, "exchange.bind", destination=target, source=source, routing_key="#")
    peer.call(1, "queue.bind", queue=queue, exchange=source, routing_key="a.b")
    publish(peer, source, "a.b")
    peer.get(1, queue, b"m", exchange=source, routing_key="a.b", message_count=0)
    for key in ("a.*", "#", "#"):
        peer.call(1, "exchange.unbind", destination=target, source=source, routing_key=key)
    peer.call(1, "queue.unbind", queue=queue, exchange=source, routing_key="a.b")
    publish(peer, source, "a.b")
    assert taken(peer, queue) == 0


def test_exchange_cycles_end(peer: RawPeer, name: Name) -> None:
    first, second = declare(peer, name("first"), "fanout"), declare(peer, name("second"), "fanout")
    peer.call(1, "exchange.bind", destination=second, source=first)
    peer.call(1, "exchange.bind", destination=first, source=second)
    peer.call(1, "exchange.bind", destination=first, source=first)
    queue = queue_bound(peer, second)
    publish(peer, first)
    assert taken(peer, queue) == 1


def test_deleting_a_destination_unbinds_it(peer: RawPeer, name: Name) -> None:
    source, target = declare(peer, name("source"), "fanout"), declare(peer, name("target"), "fanout")
    peer.call(1, "exchange.bind", destination=target, source=source)
    peer.call(1, "exchange.delete", exchange=target)
    declare(peer, target, "fanout")
    queue = queue_bound(peer, target)
    publish(peer, source)
    assert taken(peer, queue) == 0


def test_deleting_a_source_unbinds_its_queues(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"), "fanout")
    queue = queue_bound(peer, exchange)
    peer.call(1, "exchange.delete", exchange=exchange)
    declare(peer, exchange, "fanout")
    publish(peer, exchange)
    assert taken(peer, queue) == 0


@pytest.mark.parametrize("key", ["", "any", "a.b"])
def test_fanout(peer: RawPeer, name: Name, key: str) -> None:
    exchange = declare(peer, name("x"), "fanout")
    queues = [queue_bound(peer, exchange, "ignored") for _ in range(3)]
    publish(peer, exchange, key)
    assert [taken(peer, queue) for queue in queues] == [1, 1, 1]


def test_direct(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"))
    yes, no = queue_bound(peer, exchange, "a"), queue_bound(peer, exchange, "a.b")
    publish(peer, exchange, "a")
    assert (taken(peer, yes), taken(peer, no)) == (1, 0)


def test_several_bindings_give_one_copy(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"), "topic")
    queue = queue_bound(peer, exchange, "#")
    for key in ("a.*", "*.b", "#"):
        peer.call(1, "queue.bind", queue=queue, exchange=exchange, routing_key=key)
    publish(peer, exchange, "a.b")
    assert taken(peer, queue) == 1


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("#", ["", "a", "a.b", "..", "a.b.c"], []),
        ("*", ["a", "*"], ["a.b", ".", ""]),
        ("a.*", ["a.b", "a."], ["a", "a.b.c", "b.a"]),
        ("a.#", ["a", "a.b", "a.b.c", "a."], ["ab", "b.a", ""]),
        ("#.a", ["a", "b.a", "c.b.a", ".a"], ["a.b", "ba"]),
        ("*.#", ["a", "a.b", "."], [""]),
        ("a.#.b", ["a.b", "a.x.b", "a.x.y.b", "a..b"], ["a", "b", "a.b.x"]),
        ("*.*", ["a.b", "."], ["a", "a.b.c", ""]),
        ("a..b", ["a..b"], ["a.b", "a.x.b"]),
        ("a*.b#", ["a*.b#"], ["ax.by", "a.b"]),
        ("#.#", ["", "a", "a.b.c"], []),
        ("#.*.#", ["a", "a.b.c"], [""]),
    ],
)
def test_topic(peer: RawPeer, name: Name, pattern: str, matching: list[str], others: list[str]) -> None:
    exchange = declare(peer, name("x"), "topic")
    queue = queue_bound(peer, exchange, pattern)
    for key in matching + others:
        peer.publish(1, exchange, key, key.encode(), mandatory=True)
    for key in others:
        peer.expect_content(1, "basic.return", key.encode())
    assert taken(peer, queue) == len(matching)


HEADER_CASES: list[tuple[dict[str, Any], dict[str, Any], bool]] = [
    ({"x-match": "all", "a": 1, "b": "x"}, {"a": 1, "b": "x", "c": 0}, True),
    ({"x-match": "all", "a": 1, "b": "x"}, {"a": 1}, False),
    ({"a": 1, "b": "x"}, {"a": 1}, False),
    ({"x-match": "any", "a": 1, "b": "x"}, {"a": 2, "b": "x"}, True),
    ({"x-match": "any", "a": 1, "b": "x"}, {"a": 2}, False),
    ({"x-match": "all"}, {"z": 1}, True),
    ({}, {"z": 1}, True),
    ({"x-match": "any"}, {"z": 1}, False),
    ({"a": None}, {"a": 7}, True),
    ({"a": None}, {"b": 7}, False),
    ({"a": 1}, {"a": Typed("l", 1)}, True),
    ({"a": 1}, {"a": "1"}, False),
    ({"a": 1}, {"a": True}, False),
    ({"a": 1}, {"a": 1.0}, True),
    ({"x-match": "all", "x-a": 1}, {"z": 1}, True),
    ({"x-match": "any", "x-a": 1}, {"x-a": 1}, False),
    ({"x-match": "all-with-x", "x-a": 1}, {"x-a": 1}, True),
    ({"x-match": "all-with-x", "x-a": 1}, {"x-a": 2}, False),
    ({"x-match": "any-with-x", "x-a": 1, "b": 1}, {"x-a": 1}, True),
]


@pytest.mark.parametrize(("binding", "headers", "routed"), HEADER_CASES)
def test_headers(peer: RawPeer, name: Name, binding: dict[str, Any], headers: dict[str, Any], routed: bool) -> None:
    exchange = declare(peer, name("x"), "headers")
    queue = queue_bound(peer, exchange, "ignored", **binding)
    publish(peer, exchange, "any", **headers)
    assert taken(peer, queue) == int(routed)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("nope", 'Invalid x-match field value <<"nope">>; expected all, any, all-with-x, or any-with-x'),
        (5, "Invalid x-match field type signedint (value 5); expected longstr"),
    ],
)
def test_x_match_is_checked_by_headers_exchanges_only(peer: RawPeer, value: Any, text: str) -> None:
    queue = peer.call(1, "queue.declare", exclusive=True)["queue"]
    for exchange in ("amq.headers", "amq.match"):
        arguments = {"x-match": value}
        peer.refused(1, 406, f"PRECONDITION_FAILED - {text}", "queue.bind", queue=queue, exchange=exchange,
                     arguments=arguments)  # fmt: skip
        peer.call(1, "queue.unbind", queue=queue, exchange=exchange, arguments=arguments)
    peer.call(1, "queue.bind", queue=queue, exchange="amq.direct", arguments={"x-match": value})


def test_bindings_differ_by_arguments(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"), "headers")
    queue = queue_bound(peer, exchange, "k", a=1)
    peer.call(1, "queue.bind", queue=queue, exchange=exchange, routing_key="k", arguments={"a": 2})
    peer.call(1, "queue.unbind", queue=queue, exchange=exchange, routing_key="k", arguments={"a": 1})
    publish(peer, exchange, "k", a=1)
    assert taken(peer, queue) == 0
    publish(peer, exchange, "k", a=2)
    assert taken(peer, queue) == 1


def test_alternate_exchange_takes_what_finds_no_queue(peer: RawPeer, name: Name) -> None:
    alternate = declare(peer, name("ae"), "fanout")
    exchange = declare(peer, name("x"), arguments={"alternate-exchange": alternate})
    queue, rest = queue_bound(peer, exchange, "a"), queue_bound(peer, alternate)
    peer.call(1, "confirm.select")
    for tag, key in enumerate(("a", "b"), 1):
        peer.publish(1, exchange, key, key.encode(), mandatory=True)
        peer.expect(1, "basic.ack", delivery_tag=tag)
    peer.get(1, queue, b"a", message_count=0)
    peer.get(1, rest, b"b", message_count=0, exchange=exchange, routing_key="b")


def test_alternate_exchanges_chain_and_cycles_end(peer: RawPeer, name: Name) -> None:
    first, second = name("first"), name("second")
    declare(peer, first, arguments={"alternate-exchange": second})
    declare(peer, second, arguments={"alternate-exchange": first})
    queue = queue_bound(peer, second, "k")
    publish(peer, first, "k")
    assert taken(peer, queue) == 1
    peer.publish(1, first, "lost", b"m", mandatory=True)
    peer.expect_content(1, "basic.return", b"m", reply_code=312, exchange=first)


def test_a_missing_alternate_exchange_is_no_error(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"), arguments={"alternate-exchange": "nope"})
    peer.publish(1, exchange, "k", b"m", mandatory=True)
    peer.expect_content(1, "basic.return", b"m", reply_code=312)


def test_nowait(peer: RawPeer, name: Name) -> None:
    exchange, other = name("x"), name("y")
    peer.send(1, "exchange.declare", exchange=exchange, type="fanout", nowait=True)
    peer.send(1, "exchange.declare", exchange=other, type="fanout", nowait=True)
    peer.send(1, "exchange.bind", destination=exchange, source=other, nowait=True)
    queue = queue_bound(peer, exchange)
    publish(peer, other)
    assert taken(peer, queue) == 1
    peer.send(1, "exchange.unbind", destination=exchange, source=other, nowait=True)
    peer.send(1, "exchange.delete", exchange=other, nowait=True)
    assert not exists(peer, other)
    assert exists(peer, exchange)


def test_nowait_does_not_hide_an_error(peer: RawPeer) -> None:
    peer.refused(1, 404, missing("nope"), "exchange.declare", exchange="nope", passive=True, nowait=True)
