"""Queues: declaring, exclusivity, purging, deleting, binding."""

import re
from typing import Any

import pytest

from tests.conformance.conftest import Connect, Name
from tests.support.raw_peer import RawPeer, Typed

NONE_DECLARED = "NOT_FOUND - no previously declared queue"
DEFAULT_REFUSED = "ACCESS_REFUSED - operation not permitted on the default exchange"


def missing(queue: str) -> str:
    return f"NOT_FOUND - no queue '{queue}' in vhost '/'"


def missing_exchange(exchange: str) -> str:
    return f"NOT_FOUND - no exchange '{exchange}' in vhost '/'"


def locked(queue: str) -> str:
    return (
        f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in vhost '/'."
        " It could be originally declared on another connection or the exclusive property value does not match"
        " that of the original declaration."
    )


def inequivalent(arg: str, queue: str, received: str, current: str) -> str:
    return (
        f"PRECONDITION_FAILED - inequivalent arg '{arg}' for queue '{queue}' in vhost '/':"
        f" received {received} but current is {current}"
    )


def declare(peer: RawPeer, queue: str = "", **args: Any) -> str:
    name: str = peer.call(1, "queue.declare", queue=queue, **args)["queue"]
    return name


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize("auto_delete", [False, True])
@pytest.mark.parametrize("exclusive", [False, True])
def test_declare_redeclare_and_look(
    peer: RawPeer, name: Name, durable: bool, auto_delete: bool, exclusive: bool
) -> None:
    queue = name("q")
    flags = {"durable": durable, "auto_delete": auto_delete, "exclusive": exclusive}
    for _ in range(2):
        peer.send(1, "queue.declare", queue=queue, **flags)
        peer.expect(1, "queue.declare-ok", queue=queue, message_count=0, consumer_count=0)
    passive = {key: not value for key, value in flags.items()} | {"arguments": {"x-max-length": 1}}
    peer.send(1, "queue.declare", queue=queue, passive=True, **passive)
    peer.expect(1, "queue.declare-ok", queue=queue, message_count=0, consumer_count=0)


def test_declare_counts_messages_and_consumers(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"))
    peer.publish_all(1, queue, [b"a", b"b", b"c"])
    peer.call(1, "basic.qos", prefetch_count=1)
    for _ in range(2):
        peer.send(1, "basic.consume", queue=queue)
        peer.expect(1, "basic.consume-ok")
        peer.expect_deliver(1)
    peer.send(1, "queue.declare", queue=queue, passive=True)
    peer.expect(1, "queue.declare-ok", queue=queue, message_count=1, consumer_count=2)


def test_server_named(peer: RawPeer) -> None:
    names = {declare(peer, exclusive=True) for _ in range(3)}
    assert len(names) == 3
    for each in names:
        assert re.fullmatch(r"amq\.gen-[A-Za-z0-9_-]{22}", each)


def test_a_server_named_queue_may_be_looked_at_and_redeclared(peer: RawPeer) -> None:
    queue = declare(peer, exclusive=True)
    assert declare(peer, queue, passive=True) == queue
    text = f"ACCESS_REFUSED - queue name '{queue}' contains reserved prefix 'amq.*'"
    peer.send(1, "queue.declare", queue=queue, exclusive=True)
    got = peer.next_method(1)
    assert (got.name, got.args.get("queue", text)) in (("queue.declare-ok", queue), ("channel.close", text))
    if got.name == "channel.close":
        peer.send(1, "channel.close-ok")


def test_the_empty_name_is_the_last_declared_queue_of_the_channel(peer: RawPeer) -> None:
    first, second = declare(peer, exclusive=True), declare(peer, exclusive=True)
    peer.call(1, "queue.bind", exchange="amq.direct", routing_key="not the name")
    peer.publish(1, "", first, b"first")
    peer.publish(1, "", second, b"second")
    peer.get(1, "", b"second")
    declare(peer, first, passive=True)
    peer.get(1, "", b"first")


def test_an_empty_binding_key_for_the_empty_name_is_the_queues_name(peer: RawPeer) -> None:
    queue = declare(peer, exclusive=True)
    peer.call(1, "queue.bind", exchange="amq.direct")
    peer.publish(1, "amq.direct", queue, b"m")
    peer.get(1, queue, b"m")
    peer.call(1, "queue.unbind", exchange="amq.direct")
    peer.publish(1, "amq.direct", queue, b"m", mandatory=True)
    peer.expect_content(1, "basic.return", b"m")


def test_an_empty_binding_key_for_a_named_queue_stays_empty(peer: RawPeer) -> None:
    queue = declare(peer, exclusive=True)
    peer.call(1, "queue.bind", queue=queue, exchange="amq.direct")
    peer.publish(1, "amq.direct", queue, b"m", mandatory=True)
    peer.expect_content(1, "basic.return", b"m")
    peer.publish(1, "amq.direct", "", b"m")
    peer.get(1, queue, b"m")


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("queue.bind", {"exchange": "amq.direct", "routing_key": "k"}),
        ("queue.unbind", {"exchange": "amq.direct", "routing_key": "k"}),
        ("queue.purge", {}),
        ("queue.delete", {}),
        ("basic.get", {}),
        ("basic.consume", {}),
    ],
)
def test_the_empty_name_without_a_declared_queue(peer: RawPeer, method: str, args: dict[str, Any]) -> None:
    peer.refused(1, 404, NONE_DECLARED, method, **args)


def test_the_last_declared_queue_is_a_matter_of_the_channel(peer: RawPeer) -> None:
    declare(peer, exclusive=True)
    peer.open_channel(2)
    peer.refused(2, 404, NONE_DECLARED, "queue.purge")


def test_the_last_declared_queue_is_remembered_by_name(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"))
    peer.call(1, "queue.delete")
    peer.refused(1, 404, missing(queue), "queue.purge")


def test_passive_takes_the_empty_name_literally(peer: RawPeer) -> None:
    declare(peer, exclusive=True)
    peer.refused(1, 404, missing(""), "queue.declare", passive=True)


@pytest.mark.parametrize("queue", ["nope", "amq.nope"])
def test_passive_declare_of_a_missing_queue(peer: RawPeer, queue: str) -> None:
    peer.refused(1, 404, missing(queue), "queue.declare", queue=queue, passive=True)


def test_reserved_prefix(peer: RawPeer) -> None:
    text = "ACCESS_REFUSED - queue name 'amq.new' contains reserved prefix 'amq.*'"
    peer.refused(1, 403, text, "queue.declare", queue="amq.new")


def test_line_breaks_are_stripped_from_names(peer: RawPeer, name: Name) -> None:
    queue = name("q")
    assert declare(peer, f"{queue[:1]}\r\n{queue[1:]}\n", exclusive=True) == queue


def test_names_may_be_long_and_of_any_bytes(peer: RawPeer, name: Name) -> None:
    queue = (name("q") + "ä☃ \t'\"" + "x" * 255).encode()[:255].decode(errors="ignore")
    assert declare(peer, queue, exclusive=True) == queue
    peer.publish(1, "", queue, b"m")
    peer.get(1, queue, b"m", routing_key=queue)


@pytest.mark.parametrize(
    ("arg", "args", "received", "current"),
    [
        ("durable", {"durable": True}, "'true'", "'false'"),
        ("auto_delete", {"auto_delete": True}, "'true'", "'false'"),
        ("durable", {"durable": True, "auto_delete": True}, "'true'", "'false'"),
    ],
)
def test_inequivalent_flags(
    peer: RawPeer, name: Name, arg: str, args: dict[str, Any], received: str, current: str
) -> None:
    queue = declare(peer, name("q"))
    peer.refused(1, 406, inequivalent(arg, queue, received, current), "queue.declare", queue=queue, **args)


ARGUMENTS: dict[str, Any] = {"x-max-length": 10, "x-message-ttl": Typed("l", 60000), "x-dead-letter-exchange": "dx"}


@pytest.mark.parametrize(
    ("arg", "now", "received", "current"),
    [
        ("x-max-length", ARGUMENTS | {"x-max-length": 11}, "'11'", "'10'"),
        ("x-dead-letter-exchange", ARGUMENTS | {"x-dead-letter-exchange": "no"}, "'no'", "'dx'"),
        ("x-expires", ARGUMENTS | {"x-expires": 60000}, "the value '60000' of type 'signedint'", "none"),
        (
            "x-message-ttl",
            {"x-max-length": 10, "x-dead-letter-exchange": "dx"},
            "none",
            "the value '60000' of type 'long'",
        ),
        (
            "x-dead-letter-exchange",
            {"x-max-length": 10, "x-message-ttl": 60000},
            "none",
            "the value 'dx' of type 'longstr'",
        ),
    ],
)
def test_inequivalent_arguments(
    peer: RawPeer, name: Name, arg: str, now: dict[str, Any], received: str, current: str
) -> None:
    queue = declare(peer, name("q"), arguments=ARGUMENTS)
    text = inequivalent(arg, queue, received, current)
    peer.refused(1, 406, text, "queue.declare", queue=queue, arguments=now)


@pytest.mark.parametrize(
    ("arg", "value", "shown"),
    [
        ("x-message-ttl", 1000, "'1000' of type 'signedint'"),
        ("x-max-length", Typed("b", 10), "'10' of type 'byte'"),
        ("x-expires", Typed("l", 60000), "'60000' of type 'long'"),
        ("x-dead-letter-exchange", "a", "'a' of type 'longstr'"),
        ("x-max-priority", 5, "'5' of type 'signedint'"),
        ("x-overflow", "drop-head", "'drop-head' of type 'longstr'"),
        ("x-single-active-consumer", True, "'true' of type 'bool'"),
        ("x-queue-mode", "lazy", "'lazy' of type 'longstr'"),
        ("x-queue-type", "quorum", "'quorum' of type 'longstr'"),
    ],
)
def test_an_argument_that_was_not_there(peer: RawPeer, name: Name, arg: str, value: Any, shown: str) -> None:
    queue = declare(peer, name("q"))
    text = inequivalent(arg, queue, f"the value {shown}", "none")
    peer.refused(1, 406, text, "queue.declare", queue=queue, arguments={arg: value})


def test_integer_widths_are_equivalent(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"), arguments=ARGUMENTS)
    widths = {"x-max-length": Typed("b", 10), "x-message-ttl": Typed("i", 60000), "x-dead-letter-exchange": "dx"}
    declare(peer, queue, arguments=widths)


def test_the_classic_type_is_the_default(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"))
    declare(peer, queue, arguments={"x-queue-type": "classic"})
    other = declare(peer, name("q"), arguments={"x-queue-type": "classic"})
    declare(peer, other)


@pytest.mark.amqpd_only("RabbitMQ compares only the arguments it knows; we refuse what may be a typing error")
def test_an_unknown_argument_that_differs(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"), arguments={"x-foo": "bar"})
    declare(peer, queue, arguments={"x-foo": "bar"})
    text = inequivalent("x-foo", queue, "'baz'", "'bar'")
    peer.refused(1, 406, text, "queue.declare", queue=queue, arguments={"x-foo": "baz"})


@pytest.mark.parametrize("arguments", [{"x-foo": 1}, {"foo": [1]}, {"x-match": "zzz"}, {"a": None}])
def test_unknown_arguments_are_accepted(peer: RawPeer, name: Name, arguments: dict[str, Any]) -> None:
    declare(peer, name("q"), arguments=arguments)


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("queue.declare", {"exclusive": True}),
        ("queue.declare", {}),
        ("queue.declare", {"passive": True}),
        ("queue.declare", {"durable": True, "exclusive": True}),
        ("basic.get", {}),
        ("basic.consume", {}),
        ("queue.purge", {}),
        ("queue.delete", {}),
        ("queue.delete", {"if_unused": True}),
        ("queue.bind", {"exchange": "amq.direct", "routing_key": "k"}),
    ],
)
def test_an_exclusive_queue_is_locked_for_others(
    peer: RawPeer, connect: Connect, name: Name, method: str, args: dict[str, Any]
) -> None:
    queue = declare(peer, name("q"), exclusive=True)
    connect().refused(1, 405, locked(queue), method, queue=queue, **args)


def test_unbinding_an_exclusive_queue_of_another(peer: RawPeer, connect: Connect, name: Name) -> None:
    queue = declare(peer, name("q"), exclusive=True)
    other = connect()
    key = {"queue": queue, "exchange": "amq.direct", "routing_key": queue}
    other.call(1, "queue.unbind", **key)
    peer.call(1, "queue.bind", **key)
    other.refused(1, 405, locked(queue), "queue.unbind", **key)


def test_what_a_binding_asks_for_counts_before_whose_queue_it_is(peer: RawPeer, connect: Connect, name: Name) -> None:
    queue, nobody = declare(peer, name("q"), exclusive=True), name("q")
    text = "PRECONDITION_FAILED - Invalid x-match field type signedint (value 1); expected longstr"
    key = {"exchange": "amq.headers", "arguments": {"x-match": 1}}
    other = connect()
    other.refused(1, 406, text, "queue.bind", queue=queue, **key)
    other.refused(1, 404, missing(nobody), "queue.bind", queue=nobody, **key)


def test_publishing_to_an_exclusive_queue_of_another(peer: RawPeer, connect: Connect, name: Name) -> None:
    queue = declare(peer, name("q"), exclusive=True)
    other = connect()
    other.call(1, "confirm.select")
    other.publish(1, "", queue, b"m", mandatory=True)
    other.expect(1, "basic.ack", delivery_tag=1)
    peer.get(1, queue, b"m")


def test_exclusive_is_shared_by_the_channels_of_its_connection(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"), exclusive=True)
    peer.open_channel(2)
    peer.call(2, "queue.declare", queue=queue, exclusive=True)
    peer.call(2, "queue.purge", queue=queue)


def test_redeclaring_with_another_exclusive_flag(peer: RawPeer, name: Name) -> None:
    plain, exclusive = declare(peer, name("q")), declare(peer, name("q"), exclusive=True)
    peer.refused(1, 405, locked(plain), "queue.declare", queue=plain, exclusive=True)
    peer.refused(1, 405, locked(exclusive), "queue.declare", queue=exclusive)


@pytest.mark.parametrize("durable", [False, True])
def test_exclusive_goes_with_its_connection(connect: Connect, name: Name, durable: bool) -> None:
    owner, other = connect(), connect()
    queue = declare(owner, name("q"), exclusive=True, durable=durable)
    owner.close_channel(1)
    other.refused(1, 405, locked(queue), "queue.declare", queue=queue, passive=True)
    owner.close()
    other.refused(1, 404, missing(queue), "queue.declare", queue=queue, passive=True)


def test_auto_delete_goes_with_the_last_consumer(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"), auto_delete=True)
    peer.publish(1, "", queue, b"m")
    peer.get(1, queue, b"m", no_ack=True)
    for tag in ("a", "b"):
        peer.call(1, "basic.consume", queue=queue, consumer_tag=tag)
    peer.call(1, "basic.cancel", consumer_tag="a")
    declare(peer, queue, passive=True)
    peer.call(1, "basic.cancel", consumer_tag="b")
    peer.refused(1, 404, missing(queue), "queue.declare", queue=queue, passive=True)


def test_auto_delete_goes_when_the_consuming_channel_closes(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"), auto_delete=True)
    peer.open_channel(2)
    peer.call(2, "basic.consume", queue=queue)
    peer.close_channel(2)
    peer.refused(1, 404, missing(queue), "queue.declare", queue=queue, passive=True)


def test_purge_counts_ready_messages_only(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"))
    peer.publish_all(1, queue, [b"a", b"b", b"c"])
    unacked = peer.get(1, queue, b"a")
    peer.send(1, "queue.purge", queue=queue)
    peer.expect(1, "queue.purge-ok", message_count=2)
    peer.send(1, "basic.reject", delivery_tag=unacked.tag, requeue=True)
    peer.get(1, queue, b"a", redelivered=True, message_count=0)


def test_delete_counts_ready_messages(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"))
    peer.publish_all(1, queue, [b"a", b"b", b"c"])
    peer.get(1, queue, b"a")
    peer.send(1, "queue.delete", queue=queue)
    peer.expect(1, "queue.delete-ok", message_count=2)
    peer.refused(1, 404, missing(queue), "queue.declare", queue=queue, passive=True)


@pytest.mark.parametrize("flags", [{}, {"if_unused": True}, {"if_empty": True}])
def test_deleting_a_missing_queue_succeeds(peer: RawPeer, flags: dict[str, bool]) -> None:
    peer.send(1, "queue.delete", queue="nope", **flags)
    peer.expect(1, "queue.delete-ok", message_count=0)


@pytest.mark.parametrize("method", ["queue.purge", "basic.get", "basic.consume"])
def test_using_a_missing_queue(peer: RawPeer, method: str) -> None:
    peer.refused(1, 404, missing("nope"), method, queue="nope")


def test_delete_if_unused_and_if_empty(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"))
    in_use = f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' in use"
    not_empty = f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' not empty"
    peer.open_channel(2)
    peer.call(2, "basic.qos", prefetch_count=1)
    peer.call(2, "basic.consume", queue=queue, consumer_tag="t")
    peer.refused(1, 406, in_use, "queue.delete", queue=queue, if_unused=True)
    peer.publish_all(2, queue, [b"a", b"b"])
    peer.expect_deliver(2, b"a")
    peer.refused(1, 406, not_empty, "queue.delete", queue=queue, if_unused=True, if_empty=True)
    peer.refused(1, 406, not_empty, "queue.delete", queue=queue, if_empty=True)
    peer.call(2, "basic.cancel", consumer_tag="t")
    peer.refused(1, 406, not_empty, "queue.delete", queue=queue, if_unused=True, if_empty=True)
    peer.call(2, "queue.purge", queue=queue)
    peer.send(1, "queue.delete", queue=queue, if_unused=True, if_empty=True)
    peer.expect(1, "queue.delete-ok", message_count=0)


def test_binding_what_is_missing(peer: RawPeer) -> None:
    queue = declare(peer, exclusive=True)
    peer.refused(1, 404, missing("nope"), "queue.bind", queue="nope", exchange="amq.direct")
    peer.refused(1, 404, missing_exchange("nope"), "queue.bind", queue=queue, exchange="nope")
    peer.refused(1, 404, missing_exchange("no"), "queue.bind", queue="nope", exchange="no")


@pytest.mark.parametrize(("queue", "exchange"), [("nope", "amq.direct"), ("", "nope"), ("nope", "nope")])
def test_unbinding_what_is_missing_succeeds(peer: RawPeer, queue: str, exchange: str) -> None:
    declare(peer, exclusive=True)
    peer.call(1, "queue.unbind", queue=queue, exchange=exchange, routing_key="k")


def test_unbinding_a_binding_that_is_not_there_succeeds(peer: RawPeer) -> None:
    queue = declare(peer, exclusive=True)
    peer.call(1, "queue.unbind", queue=queue, exchange="amq.direct", routing_key="k")


@pytest.mark.parametrize("method", ["queue.bind", "queue.unbind"])
@pytest.mark.parametrize("own_name", [False, True])
def test_default_exchange_bindings_are_refused(peer: RawPeer, method: str, own_name: bool) -> None:
    queue = declare(peer, exclusive=True)
    peer.refused(1, 403, DEFAULT_REFUSED, method, queue=queue, exchange="", routing_key=queue if own_name else "k")


def test_binding_twice_is_binding_once(peer: RawPeer) -> None:
    queue = declare(peer, exclusive=True)
    for _ in range(2):
        peer.call(1, "queue.bind", queue=queue, exchange="amq.direct", routing_key=queue)
    peer.publish(1, "amq.direct", queue, b"m")
    peer.get(1, queue, b"m", message_count=0)
    peer.call(1, "queue.unbind", queue=queue, exchange="amq.direct", routing_key=queue)
    peer.publish(1, "amq.direct", queue, b"m", mandatory=True)
    peer.expect_content(1, "basic.return", b"m")


def test_deleting_a_queue_removes_its_bindings(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"))
    peer.call(1, "queue.bind", queue=queue, exchange="amq.direct", routing_key=queue)
    peer.call(1, "queue.delete", queue=queue)
    declare(peer, queue)
    peer.publish(1, "amq.direct", queue, b"m", mandatory=True)
    peer.expect_content(1, "basic.return", b"m")


def test_nowait(peer: RawPeer, name: Name) -> None:
    queue = name("q")
    peer.send(1, "queue.declare", queue=queue, nowait=True)
    peer.send(1, "queue.bind", queue=queue, exchange="amq.direct", routing_key=queue, nowait=True)
    peer.publish(1, "amq.direct", queue, b"a")
    peer.get(1, queue, b"a")
    peer.publish(1, "amq.direct", queue, b"b")
    peer.send(1, "queue.purge", queue=queue, nowait=True)
    peer.get_empty(1, queue)
    peer.send(1, "queue.delete", queue=queue, nowait=True)
    peer.refused(1, 404, missing(queue), "queue.declare", queue=queue, passive=True, nowait=True)


def test_nowait_with_the_empty_name_still_names_the_last_queue(peer: RawPeer) -> None:
    peer.send(1, "queue.declare", exclusive=True, nowait=True)
    peer.send(1, "basic.get", queue="")
    peer.expect(1, "basic.get-empty")
