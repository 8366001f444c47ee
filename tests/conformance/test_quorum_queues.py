"""Queues of other types: ``x-queue-type``, and what a peer sees of a quorum queue."""

from typing import Any

import pytest

from tests.conformance.conftest import Connect, Name
from tests.conformance.graves import Death, Grave, assert_died, get_soon
from tests.support.raw_peer import Content, RawPeer, Typed, decode_properties, properties

QUORUM = {"x-queue-type": "quorum"}
LIMIT = {"x-delivery-limit": 20}  # the default of RabbitMQ 4; without one 3.10 requeues to the end of the queue


@pytest.fixture
def grave(peer: RawPeer, name: Name) -> Grave:
    return Grave(peer, name("grave"))


def quorum_with(peer: RawPeer, name: Name, arguments: dict[str, Any]) -> str:
    new: str = peer.call(1, "queue.declare", queue=name("q"), durable=True, arguments=QUORUM | arguments)["queue"]
    return new


@pytest.fixture
def queue(peer: RawPeer, name: Name) -> str:
    return quorum_with(peer, name, LIMIT)


def invalid(arg: str, queue: str, why: str) -> str:
    return f"PRECONDITION_FAILED - invalid arg '{arg}' for queue '{queue}' in vhost '/'{why}"


def delivery_count(content: Content) -> int | None:
    headers: dict[str, int] = decode_properties(content.properties).get("headers", {})
    return headers.get("x-delivery-count")


# -- declaring --


@pytest.mark.parametrize(
    ("flags", "prop"),
    [
        ({"durable": True, "exclusive": True}, "exclusive-owner"),
        ({"exclusive": True}, "exclusive-owner"),
        ({}, "non-durable"),
        ({"durable": True, "auto_delete": True}, "auto-delete"),
        ({"auto_delete": True}, "auto-delete"),
    ],
)
def test_what_a_quorum_queue_cannot_be(peer: RawPeer, name: Name, flags: dict[str, bool], prop: str) -> None:
    queue = name("q")
    text = f"PRECONDITION_FAILED - invalid property '{prop}' for queue '{queue}' in vhost '/'"
    peer.refused(1, 406, text, "queue.declare", queue=queue, arguments=QUORUM, **flags)


@pytest.mark.parametrize("arguments", [{}, {"x-expires": 0}])
def test_it_needs_a_name(peer: RawPeer, arguments: dict[str, int]) -> None:
    text = "PRECONDITION_FAILED - Cannot declare a server-named queue for type rabbit_quorum_queue"
    peer.refused(1, 406, text, "queue.declare", durable=True, arguments=QUORUM | arguments)


@pytest.mark.parametrize(
    ("arg", "value", "why"),
    [
        ("x-message-ttl", -1, ": {value_negative,-1}"),
        ("x-message-ttl", "a", ': "expected integer, got longstr"'),
        ("x-expires", 0, ": {value_zero,0}"),
        ("x-max-length", -1, ": {value_negative,-1}"),
        ("x-max-length-bytes", -1, ": {value_negative,-1}"),
        ("x-overflow", "nope", ": invalid_overflow"),
        ("x-dead-letter-routing-key", "k", ": routing_key_but_no_dlx_defined"),
        ("x-dead-letter-strategy", "nope", ": invalid_dlx_strategy"),
        ("x-dead-letter-strategy", 1, ": {unacceptable_type,signedint}"),
        ("x-single-active-consumer", 1, ": {unacceptable_type,signedint}"),
        ("x-quorum-initial-group-size", 0, ": {value_zero,0}"),
        ("x-quorum-initial-group-size", "a", ': "expected integer, got longstr"'),
        ("x-queue-leader-locator", "nope", ": invalid_queue_locator_arg"),
        ("x-max-priority", 5, " of queue type rabbit_quorum_queue"),
        ("x-queue-mode", "lazy", " of queue type rabbit_quorum_queue"),
        ("x-max-age", "1D", " of queue type rabbit_quorum_queue"),
    ],
)
def test_invalid_arguments(peer: RawPeer, name: Name, arg: str, value: object, why: str) -> None:
    queue = name("q")
    arguments = QUORUM | {arg: value}
    peer.refused(1, 406, invalid(arg, queue, why), "queue.declare", queue=queue, durable=True, arguments=arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-delivery-limit": 0},
        {"x-delivery-limit": 5, "x-dead-letter-exchange": ""},
        {"x-quorum-initial-group-size": 3, "x-queue-leader-locator": "balanced"},
        {"x-queue-leader-locator": "client-local"},
        {"x-dead-letter-exchange": "", "x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"},
        {"x-dead-letter-strategy": "at-most-once"},
        {"x-message-ttl": 60_000, "x-expires": 60_000, "x-max-length": 5, "x-max-length-bytes": 5},
        {"x-single-active-consumer": True},
    ],
)
def test_valid_arguments(peer: RawPeer, name: Name, arguments: dict[str, Any]) -> None:
    queue = quorum_with(peer, name, arguments)
    peer.call(1, "queue.declare", queue=queue, durable=True, arguments=QUORUM | arguments)
    peer.call(1, "queue.declare", queue=queue, passive=True)


@pytest.mark.parametrize(
    ("first", "second", "difference"),
    [
        ("quorum", None, "received none but current is the value 'quorum' of type 'longstr'"),
        ("quorum", "classic", "received 'classic' but current is 'quorum'"),
        ("classic", "quorum", "received 'quorum' but current is 'classic'"),
        (None, "quorum", "received the value 'quorum' of type 'longstr' but current is none"),
    ],
)
def test_another_type(peer: RawPeer, name: Name, first: str | None, second: str | None, difference: str) -> None:
    queue = name("q")
    arguments = [{} if each is None else {"x-queue-type": each} for each in (first, second)]
    peer.call(1, "queue.declare", queue=queue, durable=True, arguments=arguments[0])
    text = f"PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue '{queue}' in vhost '/': {difference}"
    peer.refused(1, 406, text, "queue.declare", queue=queue, durable=True, arguments=arguments[1])


@pytest.mark.parametrize(("first", "second"), [({}, {"x-queue-type": "classic"}), ({"x-queue-type": "classic"}, {})])
def test_classic_is_what_is_not_said(peer: RawPeer, name: Name, first: dict[str, str], second: dict[str, str]) -> None:
    queue = name("q")
    for arguments in (first, second):
        peer.call(1, "queue.declare", queue=queue, exclusive=True, auto_delete=True, arguments=arguments)


def test_another_delivery_limit(peer: RawPeer, queue: str) -> None:
    text = f"PRECONDITION_FAILED - inequivalent arg 'x-delivery-limit' for queue '{queue}' in vhost '/':"
    text += " received '3' but current is '20'"
    arguments = QUORUM | {"x-delivery-limit": 3}
    peer.refused(1, 406, text, "queue.declare", queue=queue, durable=True, arguments=arguments)


@pytest.mark.amqpd_only("RabbitMQ has streams")
def test_streams_are_not_there_yet(peer: RawPeer, name: Name) -> None:
    queue = name("q")
    peer.send(1, "queue.declare", queue=queue, durable=True, arguments={"x-queue-type": "stream"})
    got = peer.expect(0, "connection.close", reply_code=540, class_id=50, method_id=10)
    assert got["reply_text"].startswith("NOT_IMPLEMENTED - ")
    assert "stream" in got["reply_text"]
    peer.send(0, "connection.close-ok")


# -- what is not there --


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ({"if_unused": True}, "if-unused"),
        ({"if_empty": True}, "if-empty"),
        ({"if_unused": True, "if_empty": True}, "if-unused"),
    ],
)
def test_deleting_under_conditions(peer: RawPeer, queue: str, flags: dict[str, bool], told: str) -> None:
    text = f"NOT_IMPLEMENTED - cannot delete queue '{queue}' in vhost '/'."
    text += f" queue.delete operations with {told} flag set are not supported by quorum queues"
    peer.fatal(1, 540, text, "queue.delete", queue=queue, **flags)


def test_a_prefetch_of_the_channel(peer: RawPeer, queue: str) -> None:
    peer.call(1, "basic.qos", prefetch_count=5, global_=True)
    text = f"NOT_IMPLEMENTED - queue '{queue}' in vhost '/' does not support global qos"
    peer.fatal(1, 540, text, "basic.consume", queue=queue)


def test_a_prefetch_of_the_channel_does_not_matter_elsewhere(peer: RawPeer, queue: str) -> None:
    """After the consume, for a get, and when it is none."""
    peer.call(1, "basic.qos", prefetch_count=0, global_=True)
    peer.call(1, "basic.consume", queue=queue, no_ack=True)
    peer.call(1, "basic.qos", prefetch_count=5, global_=True)
    peer.publish(1, "", queue, b"a")
    peer.expect_deliver(1, b"a")
    peer.get_empty(1, queue)


def test_get_with_a_single_active_consumer(peer: RawPeer, name: Name) -> None:
    queue = quorum_with(peer, name, {"x-single-active-consumer": True})
    text = f"RESOURCE_LOCKED - cannot obtain access to locked queue '{queue}' in vhost '/'."
    text += " basic.get operations are not supported by quorum queues with single active consumer"
    peer.refused(1, 405, text, "basic.get", queue=queue)


def test_exclusive_consumers_are_not_exclusive(peer: RawPeer, queue: str) -> None:
    for tag, exclusive in (("a", True), ("b", False), ("c", True)):
        peer.call(1, "basic.consume", queue=queue, consumer_tag=tag, exclusive=exclusive)


# -- using it --


def test_publish_confirm_consume_purge_delete(peer: RawPeer, queue: str) -> None:
    peer.call(1, "confirm.select")
    for tag, body in enumerate((b"a", b"b", b"c"), 1):
        peer.publish(1, "", queue, body)
        peer.expect(1, "basic.ack", delivery_tag=tag)
    held = get_soon(peer, queue, redelivered=False)
    assert (held.body, held.properties) == (b"a", properties())
    peer.send(1, "basic.ack", delivery_tag=held.tag)
    assert peer.call(1, "queue.purge", queue=queue)["message_count"] == 2
    assert peer.call(1, "queue.delete", queue=queue)["message_count"] == 0


def test_transactions(peer: RawPeer, queue: str) -> None:
    peer.call(1, "tx.select")
    peer.publish(1, "", queue, b"a", properties(delivery_mode=1))
    peer.call(1, "tx.commit")
    assert get_soon(peer, queue).properties == properties(delivery_mode=1)


@pytest.mark.parametrize("method", ["basic.nack", "basic.reject"])
def test_each_return_counts(peer: RawPeer, queue: str, method: str) -> None:
    peer.publish(1, "", queue, b"a", properties(headers={"z": 1, "a": 2}))
    content = get_soon(peer, queue, redelivered=False)
    assert content.properties == properties(headers={"z": 1, "a": 2})
    for count in (1, 2, 3):
        peer.send(1, method, delivery_tag=content.tag, requeue=True)
        content = get_soon(peer, queue, redelivered=True)
        headers = {"a": 2, "x-delivery-count": Typed("l", count), "z": 1}
        assert content.properties == properties(headers=headers)


def test_a_get_tells_the_count_too(peer: RawPeer, queue: str) -> None:
    peer.publish(1, "", queue, b"a")
    peer.send(1, "basic.nack", delivery_tag=get_soon(peer, queue).tag, requeue=True)
    content = get_soon(peer, queue)
    peer.send(1, "basic.nack", delivery_tag=content.tag, requeue=True)
    peer.call(1, "basic.recover", requeue=True)
    assert delivery_count(get_soon(peer, queue)) == 2


def test_all_ways_back_count(peer: RawPeer, connect: Connect, queue: str) -> None:
    other = connect()
    peer.publish(1, "", queue, b"a")
    get_soon(other, queue, redelivered=False)
    other.call(1, "basic.recover", requeue=True)
    assert delivery_count(get_soon(other, queue)) == 1
    other.close_channel(1)
    other.open_channel(1)
    assert delivery_count(get_soon(other, queue)) == 2
    other.abort()
    assert delivery_count(get_soon(peer, queue)) == 3


def test_a_delivery_count_of_the_client_is_replaced(peer: RawPeer, queue: str) -> None:
    peer.publish(1, "", queue, b"a", properties(headers={"x-delivery-count": "many"}))
    peer.send(1, "basic.nack", delivery_tag=get_soon(peer, queue).tag, requeue=True)
    assert get_soon(peer, queue).properties == properties(headers={"x-delivery-count": Typed("l", 1)})


@pytest.mark.parametrize("limit", [0, 1, 2])
def test_the_delivery_limit(peer: RawPeer, name: Name, grave: Grave, limit: int) -> None:
    queue = quorum_with(peer, name, grave.arguments | {"x-delivery-limit": limit})
    peer.publish(1, "", queue, b"a", properties(expiration="60000", headers={"own": 1}))
    peer.call(1, "basic.consume", queue=queue)
    for tag in range(1, limit + 2):
        peer.expect_deliver(1, b"a", delivery_tag=tag, redelivered=tag > 1)
        peer.send(1, "basic.nack", delivery_tag=tag, requeue=True)
    assert_died(grave.expect(b"a"), Death(queue, "delivery_limit", expiration="60000"), headers={"own": 1})


def test_the_limit_without_a_dead_letter_exchange_drops(peer: RawPeer, name: Name) -> None:
    queue = quorum_with(peer, name, {"x-delivery-limit": 0})
    peer.publish_all(1, queue, [b"a", b"b"])
    peer.call(1, "basic.qos", prefetch_count=1)
    peer.call(1, "basic.consume", queue=queue)
    peer.expect_deliver(1, b"a")
    peer.send(1, "basic.nack", delivery_tag=1, requeue=True)
    peer.expect_deliver(1, b"b", redelivered=False)


@pytest.mark.amqpd_only("a delivery limit without asking came with RabbitMQ 4")
def test_20_redeliveries_unless_said_otherwise(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = quorum_with(peer, name, grave.arguments)
    peer.publish(1, "", queue, b"a")
    peer.call(1, "basic.consume", queue=queue)
    for count in range(21):
        content = peer.expect_deliver(1, b"a")
        assert delivery_count(content) == (count or None)
        peer.send(1, "basic.nack", delivery_tag=content.tag, requeue=True)
    assert_died(grave.expect(b"a"), Death(queue, "delivery_limit"))


@pytest.mark.amqpd_only("a negative delivery limit is none since RabbitMQ 4")
def test_a_negative_limit_is_none(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = quorum_with(peer, name, grave.arguments | {"x-delivery-limit": -1})
    peer.publish(1, "", queue, b"a")
    peer.call(1, "basic.consume", queue=queue)
    for tag in range(1, 30):
        peer.expect_deliver(1, b"a", delivery_tag=tag)
        peer.send(1, "basic.nack", delivery_tag=tag, requeue=True)
    peer.expect_deliver(1, b"a")


def take_all_held(peer: RawPeer, queue: str, count: int) -> list[Content]:
    """So many, unacked, and nobody consumes afterwards."""
    peer.call(1, "basic.qos", prefetch_count=count)
    peer.call(1, "basic.consume", queue=queue, consumer_tag="held")
    held = [peer.expect_deliver(1) for _ in range(count)]
    peer.call(1, "basic.cancel", consumer_tag="held")
    return held


@pytest.mark.parametrize(("how", "order"), [("one by one", b"20134"), ("multiple", b"01234"), ("recover", b"01234")])
def test_what_is_returned_comes_first_in_the_order_of_return(peer: RawPeer, queue: str, how: str, order: bytes) -> None:
    peer.publish_all(1, queue, [b"0", b"1", b"2", b"3", b"4"])
    held = take_all_held(peer, queue, 3)
    if how == "one by one":
        for position in (2, 0, 1):
            peer.send(1, "basic.nack", delivery_tag=held[position].tag, requeue=True)
    elif how == "multiple":
        peer.send(1, "basic.nack", delivery_tag=held[-1].tag, multiple=True, requeue=True)
    else:
        peer.call(1, "basic.recover", requeue=True)
    assert b"".join(content.body for content in take_all_held(peer, queue, 5)) == order


# -- dead letters --


def test_rejected(peer: RawPeer, name: Name, grave: Grave) -> None:
    """Its delivery count is not told."""
    queue = quorum_with(peer, name, grave.arguments | LIMIT)
    peer.publish(1, "", queue, b"a")
    peer.send(1, "basic.nack", delivery_tag=get_soon(peer, queue).tag, requeue=True)
    peer.send(1, "basic.reject", delivery_tag=get_soon(peer, queue).tag)
    assert_died(grave.expect(b"a"), Death(queue, "rejected"))


@pytest.mark.parametrize("whose", ["queue", "message"])
def test_expired(peer: RawPeer, name: Name, grave: Grave, whose: str) -> None:
    queue = quorum_with(peer, name, grave.arguments | ({"x-message-ttl": 20} if whose == "queue" else {}))
    peer.publish(1, "", queue, b"a", properties(expiration="20") if whose == "message" else properties())
    assert_died(grave.expect(b"a"), Death(queue, "expired", expiration="20" if whose == "message" else None))


@pytest.mark.parametrize("limit", [{"x-max-length": 2}, {"x-max-length-bytes": 2}])
def test_too_many(peer: RawPeer, name: Name, grave: Grave, limit: dict[str, int]) -> None:
    queue = quorum_with(peer, name, grave.arguments | limit)
    peer.publish_all(1, queue, [b"a", b"b", b"c", b"d"])
    for content in grave.expect_all(b"a", b"b"):
        assert_died(content, Death(queue, "maxlen"))
    assert [content.body for content in take_all_held(peer, queue, 2)] == [b"c", b"d"]


def test_dead_letters_may_come_to_one(peer: RawPeer, name: Name) -> None:
    target = quorum_with(peer, name, LIMIT)
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": target}
    source = quorum_with(peer, name, arguments)
    peer.publish(1, "", source, b"a")
    peer.send(1, "basic.reject", delivery_tag=get_soon(peer, source).tag)
    content = get_soon(peer, target, redelivered=False)
    assert_died(content, Death(source, "rejected"))
