"""Consumers, deliveries, prefetch, and getting."""

import re

import pytest

from tests.conformance.conftest import Connect, Name
from tests.support.raw_peer import ALL_CAPABILITIES, RawPeer


@pytest.fixture
def queue(peer: RawPeer, name: Name) -> str:
    """A queue any connection may use."""
    new: str = peer.call(1, "queue.declare", queue=name("q"))["queue"]
    return new


def consume(peer: RawPeer, queue: str, tag: str, channel: int = 1, *, no_ack: bool = False) -> None:
    peer.send(channel, "basic.consume", queue=queue, consumer_tag=tag, no_ack=no_ack)
    peer.expect(channel, "basic.consume-ok", consumer_tag=tag)


def ack(peer: RawPeer, tag: int, channel: int = 1) -> None:
    peer.send(channel, "basic.ack", delivery_tag=tag)


def test_deliver(peer: RawPeer, queue: str) -> None:
    consume(peer, queue, "t")
    peer.publish(1, "", queue, b"m")
    peer.expect_deliver(1, b"m", consumer_tag="t", delivery_tag=1, redelivered=False, exchange="", routing_key=queue)


def test_server_named_tags(peer: RawPeer, queue: str) -> None:
    tags = {peer.call(1, "basic.consume", queue=queue)["consumer_tag"] for _ in range(3)}
    assert len(tags) == 3
    for tag in tags:
        assert re.fullmatch(r"amq\.ctag-[A-Za-z0-9_-]{22}", tag)


@pytest.mark.parametrize("second", ["same", "nope"])
def test_a_tag_used_twice(peer: RawPeer, queue: str, second: str) -> None:
    consume(peer, queue, "t")
    again = queue if second == "same" else second
    peer.fatal(
        1, 530, "NOT_ALLOWED - attempt to reuse consumer tag 't'", "basic.consume", queue=again, consumer_tag="t"
    )


def test_tags_belong_to_their_channel(peer: RawPeer, queue: str) -> None:
    peer.open_channel(2)
    consume(peer, queue, "t", 1)
    consume(peer, queue, "t", 2)
    peer.call(2, "basic.cancel", consumer_tag="t")
    consume(peer, queue, "t", 2)


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (True, True)])
def test_exclusive_consumers(peer: RawPeer, connect: Connect, queue: str, first: bool, second: bool) -> None:
    other = connect()
    peer.call(1, "basic.consume", queue=queue, consumer_tag="t", exclusive=first)
    text = f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use"
    other.refused(1, 403, text, "basic.consume", queue=queue, exclusive=second)
    other.get_empty(1, queue)
    peer.call(1, "basic.cancel", consumer_tag="t")
    other.call(1, "basic.consume", queue=queue, exclusive=second)


def test_exclusive_holds_within_a_channel_too(peer: RawPeer, queue: str) -> None:
    peer.call(1, "basic.consume", queue=queue, exclusive=True)
    text = f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use"
    peer.refused(1, 403, text, "basic.consume", queue=queue)


def test_no_local_is_ignored(peer: RawPeer, queue: str) -> None:
    peer.call(1, "basic.consume", queue=queue, no_local=True)
    peer.publish(1, "", queue, b"m")
    peer.expect_deliver(1, b"m")


def test_consume_nowait(peer: RawPeer, queue: str) -> None:
    peer.send(1, "basic.consume", queue=queue, consumer_tag="t", nowait=True)
    peer.publish(1, "", queue, b"m")
    peer.expect_deliver(1, b"m", consumer_tag="t")
    peer.send(1, "basic.cancel", consumer_tag="t", nowait=True)
    peer.publish(1, "", queue, b"n")
    peer.get(1, queue, b"n")


@pytest.mark.parametrize("arguments", [{"x-foo": 1}, {"x-priority": 3}])
def test_consume_arguments(peer: RawPeer, queue: str, arguments: dict[str, int]) -> None:
    peer.call(1, "basic.consume", queue=queue, arguments=arguments)


def test_cancel(peer: RawPeer, queue: str) -> None:
    consume(peer, queue, "t")
    peer.publish(1, "", queue, b"a")
    peer.expect_deliver(1, b"a")
    peer.send(1, "basic.cancel", consumer_tag="t")
    peer.expect(1, "basic.cancel-ok", consumer_tag="t")
    peer.publish(1, "", queue, b"b")
    peer.get(1, queue, b"b", message_count=0)  # "a" stays unacked
    ack(peer, 1)
    consume(peer, queue, "t")
    peer.expect_nothing()


def test_cancelling_an_unknown_tag(peer: RawPeer) -> None:
    peer.send(1, "basic.cancel", consumer_tag="nope")
    peer.expect(1, "basic.cancel-ok", consumer_tag="nope")


@pytest.mark.parametrize("able", [True, False])
def test_cancel_notify_when_the_queue_is_deleted(peer: RawPeer, connect: Connect, queue: str, able: bool) -> None:
    other = connect(capabilities=ALL_CAPABILITIES | {"consumer_cancel_notify": able})
    consume(other, queue, "t")
    peer.call(1, "queue.delete", queue=queue)
    if able:
        other.expect(1, "basic.cancel", consumer_tag="t", nowait=True)
    else:
        other.expect_nothing()
    other.call(1, "queue.declare", queue=queue)  # the tag is free again
    consume(other, queue, "t")


def test_cancel_notify_comes_to_who_deletes_too(peer: RawPeer, queue: str) -> None:
    consume(peer, queue, "t")
    peer.send(1, "queue.delete", queue=queue)
    got = {peer.next_method(1).name for _ in range(2)}
    assert got == {"queue.delete-ok", "basic.cancel"}


def test_messages_of_a_deleted_queue_can_be_acked(peer: RawPeer, queue: str) -> None:
    peer.publish(1, "", queue, b"m")
    unacked = peer.get(1, queue, b"m")
    peer.call(1, "queue.delete", queue=queue)
    ack(peer, unacked.tag)
    peer.call(1, "basic.qos")


def test_round_robin(peer: RawPeer, queue: str) -> None:
    for tag in ("a", "b", "c"):
        consume(peer, queue, tag, no_ack=True)
    peer.publish_all(1, queue, [b"m"] * 6)
    tags = [peer.expect_deliver(1).method["consumer_tag"] for _ in range(6)]
    assert tags == ["a", "b", "c"] * 2


def test_round_robin_among_connections(peer: RawPeer, connect: Connect, queue: str) -> None:
    others = [connect(), connect()]
    for other in others:
        consume(other, queue, "t", no_ack=True)
    peer.publish_all(1, queue, [b"1", b"2", b"3", b"4"])
    others[0].expect_delivers(1, [b"1", b"3"])
    others[1].expect_delivers(1, [b"2", b"4"])


def test_a_closed_channels_consumers_are_gone(peer: RawPeer, queue: str) -> None:
    peer.open_channel(2)
    consume(peer, queue, "t", 2)
    peer.close_channel(2)
    peer.send(1, "queue.declare", queue=queue, passive=True)
    peer.expect(1, "queue.declare-ok", consumer_count=0)
    peer.publish(1, "", queue, b"m")
    peer.get(1, queue, b"m", redelivered=False)


def test_a_consumer_of_a_last_declared_queue(peer: RawPeer, queue: str) -> None:
    peer.call(1, "basic.consume")
    peer.publish(1, "", queue, b"m")
    peer.expect_deliver(1, b"m")


def test_round_robin_skips_the_blocked(peer: RawPeer, queue: str) -> None:
    peer.call(1, "basic.qos", prefetch_count=1)
    consume(peer, queue, "a")
    peer.call(1, "basic.qos", prefetch_count=0)
    consume(peer, queue, "b")
    peer.publish_all(1, queue, [b"1", b"2", b"3", b"4"])
    tags = [peer.expect_deliver(1).method["consumer_tag"] for _ in range(4)]
    assert sorted(tags) == ["a", "b", "b", "b"]


def test_prefetch_size(peer: RawPeer) -> None:
    peer.fatal(1, 540, "NOT_IMPLEMENTED - prefetch_size!=0 (10)", "basic.qos", prefetch_size=10)


def test_prefetch_per_consumer(peer: RawPeer, queue: str) -> None:
    peer.publish_all(1, queue, [b"1", b"2", b"3", b"4", b"5"])
    peer.call(1, "basic.qos", prefetch_count=2)
    consume(peer, queue, "a")
    peer.expect_delivers(1, [b"1", b"2"])
    peer.call(1, "basic.qos", prefetch_count=1)  # for later consumers only
    consume(peer, queue, "b")
    peer.expect_deliver(1, b"3", consumer_tag="b")
    peer.expect_nothing()
    ack(peer, 1)
    peer.expect_deliver(1, b"4", consumer_tag="a")
    peer.expect_nothing()


def test_prefetch_zero_is_no_limit(peer: RawPeer, queue: str) -> None:
    peer.publish_all(1, queue, [b"1", b"2", b"3"])
    peer.call(1, "basic.qos", prefetch_count=0)
    consume(peer, queue, "t")
    peer.expect_delivers(1, [b"1", b"2", b"3"])


def test_prefetch_of_the_channel(peer: RawPeer, queue: str) -> None:
    peer.publish_all(1, queue, [b"1", b"2", b"3", b"4"])
    peer.call(1, "basic.qos", prefetch_count=2, global_=True)
    consume(peer, queue, "a")
    peer.expect_delivers(1, [b"1", b"2"])
    consume(peer, queue, "b")
    peer.expect_nothing()
    ack(peer, 1)
    peer.expect_deliver(1, b"3")
    peer.expect_nothing()
    peer.call(1, "basic.qos", prefetch_count=0, global_=True)
    peer.expect_deliver(1, b"4")


def test_both_prefetch_limits_hold_at_once(peer: RawPeer, queue: str) -> None:
    peer.store(queue, [b"%d" % number for number in range(9)])
    peer.call(1, "basic.qos", prefetch_count=2)
    peer.call(1, "basic.qos", prefetch_count=3, global_=True)
    consume(peer, queue, "a")
    peer.expect_delivers(1, [b"0", b"1"], consumer_tag="a")
    consume(peer, queue, "b")
    peer.expect_deliver(1, b"2", consumer_tag="b")
    peer.expect_nothing()


def test_a_later_limit_for_consumers_lifts_that_of_the_channel(peer: RawPeer, queue: str) -> None:
    peer.store(queue, [b"%d" % number for number in range(9)])
    peer.call(1, "basic.qos", prefetch_count=3, global_=True)
    peer.call(1, "basic.qos", prefetch_count=2)
    for tag, bodies in (("a", [b"0", b"1"]), ("b", [b"2", b"3"])):
        consume(peer, queue, tag)
        peer.expect_delivers(1, bodies, consumer_tag=tag)
    peer.expect_nothing()


def test_lowering_the_channels_prefetch_below_what_is_outstanding(peer: RawPeer, queue: str) -> None:
    peer.publish_all(1, queue, [b"1", b"2", b"3", b"4"])
    peer.call(1, "basic.qos", prefetch_count=3, global_=True)
    consume(peer, queue, "t")
    peer.expect_delivers(1, [b"1", b"2", b"3"])
    peer.call(1, "basic.qos", prefetch_count=1, global_=True)
    ack(peer, 1)
    ack(peer, 2)
    peer.expect_nothing()
    ack(peer, 3)
    peer.expect_deliver(1, b"4")


def test_no_ack_knows_no_prefetch(peer: RawPeer, queue: str) -> None:
    peer.publish_all(1, queue, [b"1", b"2", b"3"])
    peer.call(1, "basic.qos", prefetch_count=1)
    peer.call(1, "basic.qos", prefetch_count=1, global_=True)
    consume(peer, queue, "t", no_ack=True)
    peer.expect_delivers(1, [b"1", b"2", b"3"])


def test_get_does_not_count_against_prefetch(peer: RawPeer, queue: str) -> None:
    peer.publish_all(1, queue, [b"1", b"2", b"3"])
    peer.call(1, "basic.qos", prefetch_count=1)
    peer.get(1, queue, b"1")
    consume(peer, queue, "t")
    peer.expect_deliver(1, b"2")
    peer.get(1, queue, b"3")
    peer.expect_nothing()


def test_get(peer: RawPeer, queue: str) -> None:
    peer.get_empty(1, queue)
    peer.publish_all(1, queue, [b"a", b"b", b"c"])
    for tag, (body, left) in enumerate([(b"a", 2), (b"b", 1), (b"c", 0)], 1):
        peer.get(
            1, queue, body, delivery_tag=tag, redelivered=False, exchange="", routing_key=queue, message_count=left
        )
    peer.get_empty(1, queue)


def test_tags_are_shared_by_gets_and_consumers(peer: RawPeer, queue: str) -> None:
    peer.publish_all(1, queue, [b"a", b"b", b"c"])
    peer.get(1, queue, b"a", delivery_tag=1)
    peer.get(1, queue, b"b", no_ack=True, delivery_tag=2)
    consume(peer, queue, "t")
    peer.expect_deliver(1, b"c", delivery_tag=3)
