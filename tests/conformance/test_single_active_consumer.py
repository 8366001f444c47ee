"""Queues with one active consumer (RabbitMQ's ``x-single-active-consumer``); the others wait for their turn."""

from typing import Any

import pytest

from tests.conformance.conftest import Connect, Name
from tests.support.raw_peer import RawPeer, Typed


@pytest.fixture
def queue(peer: RawPeer, name: Name) -> str:
    new: str = peer.call(1, "queue.declare", queue=name("q"), arguments={"x-single-active-consumer": True})["queue"]
    return new


def consume(peer: RawPeer, queue: str, tag: str, channel: int = 1, **args: Any) -> None:
    peer.call(channel, "basic.consume", queue=queue, consumer_tag=tag, **args)


def takers(peer: RawPeer, queue: str, count: int) -> str:
    """Publish so many messages; the tags of those who get them, in order."""
    peer.publish_all(1, queue, [b"m"] * count)
    return "".join(peer.expect_deliver(1).method["consumer_tag"] for _ in range(count))


def test_the_first_takes_all(peer: RawPeer, queue: str) -> None:
    for tag in "abc":
        consume(peer, queue, tag)
    assert takers(peer, queue, 4) == "aaaa"
    assert peer.call(1, "queue.declare", queue=queue, passive=True)["consumer_count"] == 3


def test_a_blocked_one_stays_the_active(peer: RawPeer, queue: str) -> None:
    peer.call(1, "basic.qos", prefetch_count=1)
    consume(peer, queue, "a")
    consume(peer, queue, "b")
    assert takers(peer, queue, 1) == "a"
    peer.publish(1, "", queue, b"waits")
    peer.expect_nothing()
    peer.send(1, "basic.ack", delivery_tag=1)
    peer.expect_deliver(1, b"waits", consumer_tag="a")


def test_cancelling_the_active_hands_over_to_the_next(peer: RawPeer, queue: str) -> None:
    for tag in "abc":
        consume(peer, queue, tag)
    for active in "abc":
        assert takers(peer, queue, 2) == active * 2
        peer.call(1, "basic.cancel", consumer_tag=active)
    peer.publish(1, "", queue, b"m")
    peer.get(1, queue, b"m")


def test_cancelling_another_changes_nothing_but_the_row(peer: RawPeer, queue: str) -> None:
    for tag in "abc":
        consume(peer, queue, tag)
    peer.call(1, "basic.cancel", consumer_tag="b")
    assert takers(peer, queue, 2) == "aa"
    peer.call(1, "basic.cancel", consumer_tag="a")
    assert takers(peer, queue, 2) == "cc"


def test_who_comes_back_is_last(peer: RawPeer, queue: str) -> None:
    for tag in "ab":
        consume(peer, queue, tag)
    peer.call(1, "basic.cancel", consumer_tag="a")
    consume(peer, queue, "a")
    assert takers(peer, queue, 2) == "bb"
    peer.call(1, "basic.cancel", consumer_tag="b")
    assert takers(peer, queue, 2) == "aa"


def test_the_old_one_keeps_what_it_holds(peer: RawPeer, queue: str) -> None:
    consume(peer, queue, "a")
    consume(peer, queue, "b")
    peer.store(queue, [b"1", b"2", b"3"])
    peer.expect_delivers(1, [b"1", b"2", b"3"], consumer_tag="a")
    peer.call(1, "basic.cancel", consumer_tag="a")
    peer.expect_nothing()
    peer.send(1, "basic.ack", delivery_tag=1)
    peer.send(1, "basic.nack", delivery_tag=2, requeue=True)
    peer.expect_deliver(1, b"2", consumer_tag="b", redelivered=True)
    assert takers(peer, queue, 1) == "b"


@pytest.mark.amqpd_only("RabbitMQ's next one sleeps until something else happens to the queue")
def test_the_next_starts_at_once(peer: RawPeer, queue: str) -> None:
    peer.call(1, "basic.qos", prefetch_count=2)
    consume(peer, queue, "a")
    peer.open_channel(2)
    consume(peer, queue, "b", 2)
    peer.store(queue, [b"1", b"2", b"3"])
    peer.expect_delivers(1, [b"1", b"2"])
    peer.call(1, "basic.cancel", consumer_tag="a")
    peer.expect_deliver(2, b"3", consumer_tag="b")


def test_the_end_of_the_channel_hands_over_with_what_was_held(peer: RawPeer, queue: str) -> None:
    peer.open_channel(2)
    consume(peer, queue, "a", 2)
    consume(peer, queue, "b")
    peer.store(queue, [b"1", b"2"])
    peer.expect_delivers(2, [b"1", b"2"])
    peer.send(2, "basic.ack", delivery_tag=1)
    peer.close_channel(2)
    peer.expect_deliver(1, b"2", consumer_tag="b", redelivered=True)
    assert takers(peer, queue, 1) == "b"


@pytest.mark.parametrize("how", ["close", "abort"])
def test_the_end_of_the_connection_hands_over(peer: RawPeer, connect: Connect, queue: str, how: str) -> None:
    other = connect()
    consume(other, queue, "a")
    consume(peer, queue, "b")
    peer.store(queue, [b"1", b"2"])
    other.expect_delivers(1, [b"1", b"2"])
    getattr(other, how)()
    peer.expect_delivers(1, [b"1", b"2"], redelivered=True)


def test_an_exclusive_consumer_is_refused(peer: RawPeer, queue: str) -> None:
    text = f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use"
    peer.refused(1, 403, text, "basic.consume", queue=queue, exclusive=True)
    consume(peer, queue, "a")
    peer.refused(1, 403, text, "basic.consume", queue=queue, exclusive=True)


def test_a_higher_priority_displaces_none_but_is_next(peer: RawPeer, queue: str) -> None:
    for tag, priority in (("a", 1), ("b", 0), ("d", -1), ("c", 9), ("e", 0)):
        consume(peer, queue, tag, arguments={"x-priority": priority})
    for active in "acbed":
        assert takers(peer, queue, 2) == active * 2
        peer.call(1, "basic.cancel", consumer_tag=active)


def test_anyone_may_get(peer: RawPeer, connect: Connect, queue: str) -> None:
    peer.store(queue, [b"1", b"2"])
    other = connect()
    peer.call(1, "basic.qos", prefetch_count=1)
    consume(peer, queue, "a")
    peer.expect_deliver(1, b"1")
    other.get(1, queue, b"2")


def test_without_acks(peer: RawPeer, queue: str) -> None:
    consume(peer, queue, "a", no_ack=True)
    consume(peer, queue, "b", no_ack=True)
    assert takers(peer, queue, 3) == "aaa"
    peer.call(1, "basic.cancel", consumer_tag="a")
    assert takers(peer, queue, 3) == "bbb"


def test_false_is_a_queue_like_any_other(peer: RawPeer, name: Name) -> None:
    queue = peer.call(1, "queue.declare", queue=name("q"), arguments={"x-single-active-consumer": False})["queue"]
    consume(peer, queue, "a")
    consume(peer, queue, "b")
    assert takers(peer, queue, 4) == "abab"


@pytest.mark.parametrize(
    ("value", "kind"), [(1, "signedint"), ("true", "longstr"), (None, "void"), (Typed("l", 1), "long"), ([], "array")]
)
def test_other_types_are_refused(peer: RawPeer, name: Name, value: Any, kind: str) -> None:
    queue = name("q")
    text = f"PRECONDITION_FAILED - invalid arg 'x-single-active-consumer' for queue '{queue}' in vhost '/':"
    text += f" {{unacceptable_type,{kind}}}"
    arguments = {"x-single-active-consumer": value}
    peer.refused(1, 406, text, "queue.declare", queue=queue, arguments=arguments)


@pytest.mark.parametrize(("again", "received"), [({}, "none"), ({"x-single-active-consumer": False}, "'false'")])
def test_it_is_compared_when_the_queue_is_declared_again(
    peer: RawPeer, queue: str, again: dict[str, bool], received: str
) -> None:
    text = f"PRECONDITION_FAILED - inequivalent arg 'x-single-active-consumer' for queue '{queue}' in vhost '/':"
    current = "'true'" if again else "the value 'true' of type 'bool'"
    text += f" received {received} but current is {current}"
    peer.refused(1, 406, text, "queue.declare", queue=queue, arguments=again)


def test_an_auto_delete_queue_goes_with_the_last_of_them(peer: RawPeer, name: Name) -> None:
    queue = name("q")
    peer.call(1, "queue.declare", queue=queue, auto_delete=True, arguments={"x-single-active-consumer": True})
    consume(peer, queue, "a")
    consume(peer, queue, "b")
    peer.call(1, "basic.cancel", consumer_tag="a")
    assert takers(peer, queue, 1) == "b"
    peer.call(1, "basic.cancel", consumer_tag="b")
    text = f"NOT_FOUND - no queue '{queue}' in vhost '/'"
    peer.refused(1, 404, text, "queue.declare", queue=queue, passive=True)


def test_all_are_told_when_the_queue_goes(peer: RawPeer, connect: Connect, queue: str) -> None:
    others = [connect(), connect()]
    for other in others:
        consume(other, queue, "t")
    peer.call(1, "queue.delete", queue=queue)
    for other in others:
        other.expect(1, "basic.cancel", consumer_tag="t", nowait=True)
