"""Priority queues (RabbitMQ's ``x-max-priority``): the highest level goes first, and each is a queue of its own."""

from collections.abc import Iterable
from typing import Any

import pytest

from tests.conformance.conftest import Connect, Name
from tests.support.raw_peer import RawPeer, Typed, decode_properties, properties


def declare(peer: RawPeer, queue: str, levels: Any = 10, **arguments: Any) -> str:
    arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
    peer.call(1, "queue.declare", queue=queue, arguments={"x-max-priority": levels} | arguments)
    return queue


def publish(peer: RawPeer, queue: str, *messages: tuple[bytes, int | None], **props: Any) -> None:
    """Publish bodies with their priorities; None is a message without that property."""
    for body, priority in messages:
        with_priority = {} if priority is None else {"priority": priority}
        peer.publish(1, "", queue, body, properties(**props, **with_priority))


def store(peer: RawPeer, queue: str, text: str, **props: Any) -> None:
    """Publish and wait for the confirms: RabbitMQ's queues digest an ack ahead of publishes that wait."""
    peer.open_channel(2)
    peer.call(2, "confirm.select")
    for tag, (body, priority) in enumerate(levels(text), 1):
        peer.publish(2, "", queue, body, properties(priority=priority, **props))
        peer.expect(2, "basic.ack", delivery_tag=tag)
    peer.close_channel(2)


def levels(text: str) -> Iterable[tuple[bytes, int]]:
    """``"a1 b0"``: body a with priority 1, body b with priority 0."""
    return [(word[:1].encode(), int(word[1:])) for word in text.split()]


def count(peer: RawPeer, queue: str) -> int:
    return int(peer.call(1, "queue.declare", queue=queue, passive=True)["message_count"])


def test_the_highest_level_goes_first_and_a_level_is_first_in_first_out(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"))
    publish(peer, queue, *levels("a1 b5 c1 d9 e5 f0 g10 h9"))
    assert b"".join(peer.take_all(1, queue)) == b"gdhbeacf"


def test_a_consumer_gets_them_in_that_order_too(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"))
    publish(peer, queue, *levels("a1 b5 c1 d9 e5"))
    peer.get(1, queue, b"d", no_ack=True, message_count=4)  # all are there
    peer.call(1, "basic.consume", queue=queue)
    peer.expect_delivers(1, [b"b", b"e", b"a", b"c"], redelivered=False)


def test_a_message_without_priority_has_0(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"))
    publish(peer, queue, (b"a", None), (b"b", 0), (b"c", None), (b"d", 1))
    assert b"".join(peer.take_all(1, queue)) == b"dabc"


@pytest.mark.parametrize("highest", [1, 5, 255])
def test_a_priority_above_the_highest_level_counts_as_that_level(peer: RawPeer, name: Name, highest: int) -> None:
    queue = declare(peer, name("q"), highest)
    publish(peer, queue, (b"a", 0), (b"b", 255), (b"c", highest), (b"d", min(highest + 1, 255)), (b"e", highest))
    assert b"".join(peer.take_all(1, queue)) == b"bcdea"


def test_the_priority_comes_back_as_it_was_sent(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"), 2)
    publish(peer, queue, (b"a", 200))
    assert decode_properties(peer.get(1, queue, b"a").properties) == {"priority": 200}


def test_no_level_but_one(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"), 0)
    publish(peer, queue, *levels("a0 b9 c1"))
    assert b"".join(peer.take_all(1, queue)) == b"abc"


def test_a_queue_without_levels_ignores_priorities(peer: RawPeer, name: Name) -> None:
    queue = peer.call(1, "queue.declare", queue=name("q"))["queue"]
    publish(peer, queue, *levels("a0 b9 c1"))
    assert b"".join(peer.take_all(1, queue)) == b"abc"


@pytest.mark.parametrize("kind", "bBsuIil")
def test_any_integer_type_says_how_many_levels(peer: RawPeer, name: Name, kind: str) -> None:
    queue = declare(peer, name("q"), Typed(kind, 10))
    publish(peer, queue, *levels("a0 b9"))
    assert peer.take_all(1, queue) == [b"b", b"a"]
    declare(peer, queue, 10)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (256, "{max_value_exceeded,256}"),
        (-1, "{value_negative,-1}"),
        ("9", '"expected integer, got longstr"'),
        (9.0, '"expected integer, got double"'),
        (True, '"expected integer, got bool"'),
        (None, '"expected integer, got void"'),
        ([1], '"expected integer, got array"'),
        (Typed("T", 9), '"expected integer, got timestamp"'),
        (Typed("D", (0, 9)), '"expected integer, got decimal"'),
    ],
)
def test_levels_that_are_refused(peer: RawPeer, name: Name, value: Any, why: str) -> None:
    queue = name("q")
    text = f"PRECONDITION_FAILED - invalid arg 'x-max-priority' for queue '{queue}' in vhost '/': {why}"
    peer.refused(1, 406, text, "queue.declare", queue=queue, arguments={"x-max-priority": value})


def test_levels_are_compared_when_the_queue_is_declared_again(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"), 10)
    text = f"PRECONDITION_FAILED - inequivalent arg 'x-max-priority' for queue '{queue}' in vhost '/': received "
    other = text + "'9' but current is '10'"
    peer.refused(1, 406, other, "queue.declare", queue=queue, arguments={"x-max-priority": 9})
    peer.refused(1, 406, text + "none but current is the value '10' of type 'signedint'", "queue.declare", queue=queue)


def test_a_higher_priority_overtakes_but_never_what_was_delivered(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"))
    peer.call(1, "basic.qos", prefetch_count=1)
    peer.call(1, "basic.consume", queue=queue)
    store(peer, queue, "a0 b1 c9")
    for tag, body in enumerate([b"a", b"c", b"b"], 1):
        peer.expect_deliver(1, body, delivery_tag=tag)
        peer.send(1, "basic.ack", delivery_tag=tag)
    peer.expect_nothing()


@pytest.mark.parametrize("way", ["basic.reject", "basic.nack", "basic.recover"])
def test_requeued_messages_have_their_level_and_place_again(peer: RawPeer, name: Name, way: str) -> None:
    queue = declare(peer, name("q"))
    publish(peer, queue, *levels("a1 b1 c5 d5 e1 f5"))
    tags = [peer.get(1, queue, body).tag for body in (b"c", b"d", b"f", b"a", b"b")]
    publish(peer, queue, *levels("g5 h1"))
    for tag in tags[::-1] if way == "basic.reject" else ():
        peer.send(1, way, delivery_tag=tag, requeue=True)
    if way == "basic.nack":
        peer.send(1, way, delivery_tag=tags[-1], multiple=True, requeue=True)
    if way == "basic.recover":
        peer.call(1, way, requeue=True)
    redelivered = [(b"c", True), (b"d", True), (b"f", True), (b"g", False), (b"a", True), (b"b", True), (b"e", False)]
    for body, again in redelivered:
        peer.get(1, queue, body, redelivered=again)
    peer.get(1, queue, b"h", redelivered=False)


def test_requeueing_some_leaves_the_places_of_the_others(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"))
    publish(peer, queue, *levels("a5 b5 c5 d1"))
    tags = {body: peer.get(1, queue, body).tag for body in (b"a", b"b", b"c", b"d")}
    peer.send(1, "basic.nack", delivery_tag=tags[b"b"], requeue=True)
    peer.send(1, "basic.nack", delivery_tag=tags[b"d"], requeue=True)
    peer.get(1, queue, b"b", redelivered=True, message_count=1)
    peer.send(1, "basic.nack", delivery_tag=tags[b"a"], requeue=True)
    peer.send(1, "basic.nack", delivery_tag=tags[b"c"], requeue=True)
    assert b"".join(peer.take_all(1, queue)) == b"acd"


def test_the_end_of_a_connection_requeues_to_level_and_place(peer: RawPeer, connect: Connect, name: Name) -> None:
    queue = declare(peer, name("q"))
    store(peer, queue, "a1 b9 c1 d9")
    other = connect()
    for body in (b"b", b"d", b"a"):
        other.get(1, queue, body)
    other.close()
    store(peer, queue, "e9 f1")
    for body, again in ((b"b", True), (b"d", True), (b"e", False), (b"a", True), (b"c", False), (b"f", False)):
        peer.get(1, queue, body, redelivered=again)


def test_counts_are_of_all_levels(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"))
    publish(peer, queue, *levels("a1 b5 c1 d9 e5"))
    peer.get(1, queue, b"d", message_count=4)
    peer.get(1, queue, b"b", message_count=3)
    assert count(peer, queue) == 3
    assert peer.call(1, "queue.purge", queue=queue)["message_count"] == 3
    assert count(peer, queue) == 0
    peer.send(1, "basic.nack", delivery_tag=0, multiple=True, requeue=True)
    assert peer.take_all(1, queue) == [b"d", b"b"]
    publish(peer, queue, *levels("x9 y0"))
    peer.get(1, queue, b"x", message_count=1)
    assert peer.call(1, "queue.delete", queue=queue)["message_count"] == 1


def test_purged_levels_are_empty_and_go_on(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"))
    publish(peer, queue, *levels("a1 b5"))
    peer.get(1, queue, b"b", no_ack=True)
    peer.call(1, "queue.purge", queue=queue)
    publish(peer, queue, *levels("c0 d5 e1"))
    assert b"".join(peer.take_all(1, queue)) == b"dec"


def test_if_empty_looks_at_all_levels(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"))
    publish(peer, queue, *levels("a3"))
    text = f"PRECONDITION_FAILED - queue '{queue}' in vhost '/' not empty"
    peer.get(1, queue, b"a")
    peer.send(1, "basic.nack", delivery_tag=1, requeue=True)
    peer.refused(1, 406, text, "queue.delete", queue=queue, if_empty=True)
    peer.take_all(1, queue)
    peer.call(1, "queue.delete", queue=queue, if_empty=True)


@pytest.mark.parametrize(
    ("published", "left"),
    [
        ("a9 b1 c5", b"cb"),
        ("a5 b5 c5", b"bc"),
        ("a1 b9 c9", b"ca"),
        ("a9 b9 c0", b"bc"),
        ("a0 b1 c9", b"ba"),
        ("a0 b1 c0 d1 e9", b"ac"),
    ],
)
def test_a_full_queue_drops_its_head_which_is_of_the_highest_level(
    peer: RawPeer, name: Name, published: str, left: bytes
) -> None:
    """Which may be the newcomer."""
    queue = declare(peer, name("q"), x_max_length=2)
    publish(peer, queue, *levels(published))
    assert b"".join(peer.take_all(1, queue)) == left


def test_a_full_queue_of_bytes_drops_its_head_too(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"), x_max_length_bytes=10)
    publish(peer, queue, (b"a" * 4, 5), (b"b" * 4, 1), (b"c" * 4, 9), (b"d" * 2, 0))
    assert peer.take_all(1, queue) == [b"aaaa", b"bbbb", b"dd"]
    publish(peer, queue, (b"a" * 4, 5), (b"b" * 4, 5), (b"c" * 8, 0))
    assert peer.take_all(1, queue) == [b"c" * 8]


def test_a_full_queue_may_refuse_instead_whatever_the_level(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"), x_max_length=2, x_overflow="reject-publish")
    peer.call(1, "confirm.select")
    for tag, (body, priority) in enumerate(levels("a1 b1 c9 d0"), 1):
        publish(peer, queue, (body, priority))
        peer.expect(1, "basic.ack" if tag <= 2 else "basic.nack", delivery_tag=tag)
    assert peer.take_all(1, queue) == [b"a", b"b"]


def test_what_a_full_queue_drops_is_dead_lettered(peer: RawPeer, name: Name) -> None:
    dead = peer.call(1, "queue.declare", queue=name("dead"))["queue"]
    queue = declare(peer, name("q"), x_max_length=1, x_dead_letter_exchange="", x_dead_letter_routing_key=dead)
    peer.call(1, "basic.consume", queue=dead, no_ack=True)
    publish(peer, queue, *levels("a9 b1"))
    died = decode_properties(peer.expect_deliver(1, b"a").properties)
    assert died["priority"] == 9
    assert died["headers"]["x-first-death-reason"] == "maxlen"
    publish(peer, queue, *levels("c9"))
    peer.expect_deliver(1, b"c")
    peer.get(1, queue, b"b")


def test_messages_expire_from_the_head_which_is_of_the_highest_level(peer: RawPeer, name: Name) -> None:
    """What has expired waits behind a higher level that has not."""
    dead = peer.call(1, "queue.declare", queue=name("dead"))["queue"]
    queue = declare(peer, name("q"), x_dead_letter_exchange="", x_dead_letter_routing_key=dead)
    peer.call(1, "basic.consume", queue=dead, no_ack=True)
    publish(peer, queue, (b"first", 9), (b"later", 9), expiration="60000")
    publish(peer, queue, (b"waits", 5), expiration="1")
    publish(peer, queue, (b"other", 0))
    peer.expect_nothing()
    peer.get(1, queue, b"first", message_count=3)
    peer.expect_nothing()
    peer.get(1, queue, b"later", message_count=1)  # the new head is looked at before they are counted
    peer.expect_deliver(1, b"waits")
    peer.get(1, queue, b"other", message_count=0)


def test_expired_messages_go_level_by_level(peer: RawPeer, name: Name) -> None:
    dead = peer.call(1, "queue.declare", queue=name("dead"))["queue"]
    queue = declare(peer, name("q"), x_dead_letter_exchange="", x_dead_letter_routing_key=dead)
    publish(peer, queue, *levels("a1 b9 c1 d9 e5"), expiration="300")  # all are there before the first expires
    publish(peer, queue, *levels("f0"))
    peer.call(1, "basic.consume", queue=dead, no_ack=True)
    assert b"".join(peer.expect_deliver(1).body for _ in range(5)) == b"bdeac"
    peer.get(1, queue, b"f", message_count=0)


def test_a_messages_life_in_the_queue(peer: RawPeer, name: Name) -> None:
    dead = peer.call(1, "queue.declare", queue=name("dead"))["queue"]
    queue = declare(peer, name("q"), x_message_ttl=20, x_dead_letter_exchange="", x_dead_letter_routing_key=dead)
    publish(peer, queue, *levels("a1 b9 c1"))
    peer.call(1, "basic.consume", queue=dead, no_ack=True)
    died = {peer.expect_deliver(1).body for _ in range(3)}
    assert died == {b"a", b"b", b"c"}
    assert count(peer, queue) == 0


def test_the_consumer_with_room_gets_the_highest(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"))
    publish(peer, queue, *levels("a1 b9 c5"))
    peer.get(1, queue, b"b", no_ack=True, message_count=2)
    peer.call(1, "basic.qos", prefetch_count=1)
    peer.call(1, "basic.consume", queue=queue, consumer_tag="one")
    peer.expect_deliver(1, b"c", consumer_tag="one")
    peer.call(1, "basic.consume", queue=queue, consumer_tag="two")
    peer.expect_deliver(1, b"a", consumer_tag="two")


def test_priorities_in_a_transaction(peer: RawPeer, name: Name) -> None:
    queue = declare(peer, name("q"))
    peer.call(1, "tx.select")
    publish(peer, queue, *levels("a1 b9 c5"))
    peer.call(1, "tx.commit")
    assert b"".join(peer.take_all(1, queue)) == b"bca"


def test_priorities_through_an_exchange(peer: RawPeer, name: Name) -> None:
    """Each queue has its own idea of how many levels there are."""
    queues = [declare(peer, name("q"), highest) for highest in (1, 10)]
    for queue in queues:
        peer.call(1, "queue.bind", queue=queue, exchange="amq.fanout")
    for body, priority in levels("a2 b3 c0"):
        peer.publish(1, "amq.fanout", "", body, properties(priority=priority))
    assert [b"".join(peer.take_all(1, queue)) for queue in queues] == [b"abc", b"bac"]
