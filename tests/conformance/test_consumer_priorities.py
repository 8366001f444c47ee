"""Consumers with ``x-priority`` (RabbitMQ's): the highest takes all until it is blocked."""

from typing import Any

import pytest

from tests.conformance.conftest import Connect, Name
from tests.support.raw_peer import RawPeer, Typed


@pytest.fixture
def queue(peer: RawPeer, name: Name) -> str:
    new: str = peer.call(1, "queue.declare", queue=name("q"))["queue"]
    return new


def consume(
    peer: RawPeer, queue: str, tag: str, priority: Any = None, *, prefetch: int = 0, no_ack: bool = False
) -> None:
    """A consumer with a prefetch limit of its own."""
    arguments = {} if priority is None else {"x-priority": priority}
    peer.call(1, "basic.qos", prefetch_count=prefetch)
    peer.call(1, "basic.consume", queue=queue, consumer_tag=tag, no_ack=no_ack, arguments=arguments)


def takers(peer: RawPeer, queue: str, count: int) -> str:
    """Publish so many messages; the tags of those who get them, in order."""
    peer.publish_all(1, queue, [b"m"] * count)
    return "".join(peer.expect_deliver(1).method["consumer_tag"] for _ in range(count))


@pytest.mark.parametrize("order", ["ab", "ba"])
@pytest.mark.parametrize(("high", "low"), [(10, None), (1, 0), (None, -1), (2**31 - 1, 10), (-5, -6)])
def test_the_higher_takes_all(peer: RawPeer, queue: str, order: str, high: int | None, low: int | None) -> None:
    for tag in order:
        consume(peer, queue, tag, {"a": high, "b": low}[tag])
    assert takers(peer, queue, 5) == "aaaaa"


def test_without_acks_it_takes_all_too(peer: RawPeer, queue: str) -> None:
    consume(peer, queue, "b", no_ack=True)
    consume(peer, queue, "a", 1, no_ack=True)
    assert takers(peer, queue, 5) == "aaaaa"


def test_what_the_highest_has_no_room_for_goes_to_the_next(peer: RawPeer, queue: str) -> None:
    consume(peer, queue, "c")
    consume(peer, queue, "b", 5, prefetch=2)
    consume(peer, queue, "a", 10, prefetch=1)
    assert takers(peer, queue, 5) == "abbcc"
    peer.send(1, "basic.ack", delivery_tag=1)
    assert takers(peer, queue, 2) == "ac"
    peer.send(1, "basic.ack", delivery_tag=2)
    assert takers(peer, queue, 2) == "bc"


def test_messages_wait_when_none_has_room(peer: RawPeer, queue: str) -> None:
    consume(peer, queue, "a", 10, prefetch=1)
    consume(peer, queue, "b", 5, prefetch=1)
    assert takers(peer, queue, 2) == "ab"
    peer.store(queue, [b"x", b"y"])
    peer.expect_nothing()
    peer.send(1, "basic.ack", delivery_tag=2)
    peer.expect_deliver(1, b"x", consumer_tag="b")
    peer.send(1, "basic.ack", delivery_tag=1)
    peer.expect_deliver(1, b"y", consumer_tag="a")


def test_a_consumer_blocked_by_the_channels_limit_does_not_hold_up_another_channel(peer: RawPeer, queue: str) -> None:
    peer.open_channel(2)
    peer.call(2, "basic.consume", queue=queue, consumer_tag="low", no_ack=True)
    peer.call(1, "basic.qos", prefetch_count=1, global_=True)
    peer.call(1, "basic.consume", queue=queue, consumer_tag="high", arguments={"x-priority": 10})
    assert takers(peer, queue, 1) == "high"
    peer.publish_all(1, queue, [b"x", b"y"])
    peer.expect_delivers(2, [b"x", b"y"], consumer_tag="low")
    peer.expect_nothing()


def test_equals_take_turns(peer: RawPeer, queue: str) -> None:
    for tag, priority in (("a", 5), ("x", 1), ("b", 5), ("y", None), ("c", Typed("b", 5))):
        consume(peer, queue, tag, priority)
    assert takers(peer, queue, 7) == "abcabca"


def test_equals_take_turns_below_a_blocked_one(peer: RawPeer, queue: str) -> None:
    for tag in "ab":
        consume(peer, queue, tag)
    consume(peer, queue, "t", 1, prefetch=1)
    assert takers(peer, queue, 6) == "tababa"


@pytest.mark.parametrize("kind", "bBsuIil")
def test_any_integer_type(peer: RawPeer, queue: str, kind: str) -> None:
    consume(peer, queue, "b", 2)
    consume(peer, queue, "a", Typed(kind, 3))
    assert takers(peer, queue, 2) == "aa"


@pytest.mark.parametrize("extreme", [2**63 - 1, 2**31])
def test_large_priorities(peer: RawPeer, queue: str, extreme: int) -> None:
    consume(peer, queue, "z", Typed("l", -extreme))
    consume(peer, queue, "a", Typed("l", extreme))
    consume(peer, queue, "b", 2**31 - 1)
    assert takers(peer, queue, 2) == "aa"
    peer.call(1, "basic.cancel", consumer_tag="a")
    peer.call(1, "basic.cancel", consumer_tag="b")
    assert takers(peer, queue, 2) == "zz"


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("1", "longstr"),
        (1.0, "double"),
        (Typed("f", 1.0), "float"),
        (True, "bool"),
        (None, "void"),
        ({}, "table"),
        ([1], "array"),
        (b"1", "binary"),
        (Typed("T", 1), "timestamp"),
        (Typed("D", (0, 1)), "decimal"),
    ],
)
def test_other_types_are_refused(peer: RawPeer, queue: str, value: Any, kind: str) -> None:
    text = f"PRECONDITION_FAILED - invalid arg 'x-priority' for queue '{queue}' in vhost '/':"
    text += f' "expected integer, got {kind}"'
    peer.refused(1, 406, text, "basic.consume", queue=queue, arguments={"x-priority": value})
    assert peer.call(1, "queue.declare", queue=queue, passive=True)["consumer_count"] == 0


def test_cancelling_hands_over(peer: RawPeer, queue: str) -> None:
    consume(peer, queue, "b", 1)
    consume(peer, queue, "a", 2)
    assert takers(peer, queue, 2) == "aa"
    peer.call(1, "basic.cancel", consumer_tag="a")
    assert takers(peer, queue, 2) == "bb"
    consume(peer, queue, "a", 2)
    assert takers(peer, queue, 2) == "aa"


def test_the_end_of_a_connection_hands_over_with_what_it_held(peer: RawPeer, connect: Connect, queue: str) -> None:
    other = connect()
    consume(other, queue, "a", 2)
    consume(peer, queue, "b", 1)
    peer.store(queue, [b"x", b"y"])
    other.expect_delivers(1, [b"x", b"y"])
    other.close()
    peer.expect_delivers(1, [b"x", b"y"], redelivered=True)
    assert takers(peer, queue, 1) == "b"


def test_a_higher_one_that_comes_later_takes_over_at_once(peer: RawPeer, queue: str) -> None:
    consume(peer, queue, "a")
    assert takers(peer, queue, 2) == "aa"
    consume(peer, queue, "b", 1)
    assert takers(peer, queue, 2) == "bb"


def test_waiting_messages_go_to_who_comes_first(peer: RawPeer, queue: str) -> None:
    peer.store(queue, [b"x", b"y"])
    consume(peer, queue, "low", -1)
    peer.expect_delivers(1, [b"x", b"y"], consumer_tag="low")
    consume(peer, queue, "high", 1)
    peer.expect_nothing()


def test_requeued_messages_go_to_the_highest_again(peer: RawPeer, queue: str) -> None:
    consume(peer, queue, "b")
    consume(peer, queue, "a", 1)
    peer.publish(1, "", queue, b"m")
    peer.expect_deliver(1, b"m", consumer_tag="a", delivery_tag=1)
    peer.send(1, "basic.nack", delivery_tag=1, requeue=True)
    peer.expect_deliver(1, b"m", consumer_tag="a", delivery_tag=2, redelivered=True)


def test_among_connections(peer: RawPeer, connect: Connect, queue: str) -> None:
    other = connect()
    consume(other, queue, "high", 1, prefetch=1)
    consume(peer, queue, "low")
    peer.publish_all(1, queue, [b"a", b"b"])
    other.expect_deliver(1, b"a")
    peer.expect_deliver(1, b"b")
    other.send(1, "basic.ack", delivery_tag=1)
    other.call(1, "basic.qos")
    peer.publish_all(1, queue, [b"c", b"d"])
    other.expect_deliver(1, b"c")
    peer.expect_deliver(1, b"d")


def test_get_knows_no_priority(peer: RawPeer, queue: str) -> None:
    consume(peer, queue, "a", 10, prefetch=1)
    assert takers(peer, queue, 1) == "a"
    peer.publish(1, "", queue, b"x")
    peer.get(1, queue, b"x")


def test_an_exclusive_consumer_may_have_a_priority(peer: RawPeer, queue: str) -> None:
    peer.call(1, "basic.consume", queue=queue, exclusive=True, arguments={"x-priority": 1})
    text = f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use"
    peer.refused(1, 403, text, "basic.consume", queue=queue, arguments={"x-priority": 9})
