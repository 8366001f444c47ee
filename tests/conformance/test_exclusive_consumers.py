"""Exclusive consumers: how they end, and what they leave to others. That they tolerate no other: test_consume.py."""

import pytest

from tests.conformance.conftest import Connect, Name
from tests.support.raw_peer import RawPeer


@pytest.fixture
def queue(peer: RawPeer, name: Name) -> str:
    new: str = peer.call(1, "queue.declare", queue=name("q"))["queue"]
    return new


def in_use(queue: str) -> str:
    return f"ACCESS_REFUSED - queue '{queue}' in vhost '/' in exclusive use"


@pytest.mark.parametrize("how", ["channel", "connection", "socket"])
def test_the_end_of_its_channel_or_connection_lets_others_in(
    peer: RawPeer, connect: Connect, queue: str, how: str
) -> None:
    first = connect()
    first.open_channel(2)
    first.call(2, "basic.consume", queue=queue, exclusive=True)
    peer.store(queue, [b"m"])
    first.expect_deliver(2, b"m")
    peer.refused(1, 403, in_use(queue), "basic.consume", queue=queue)
    if how == "channel":
        first.close_channel(2)
    elif how == "connection":
        first.close()
    else:
        first.abort()
        while peer.call(1, "queue.declare", queue=queue, passive=True)["consumer_count"]:
            peer.expect_nothing(5)
    peer.call(1, "basic.consume", queue=queue, exclusive=True)
    peer.expect_deliver(1, b"m", redelivered=True)


def test_who_is_refused_does_it_no_harm(peer: RawPeer, connect: Connect, queue: str) -> None:
    other = connect()
    peer.call(1, "basic.consume", queue=queue, exclusive=True, consumer_tag="t")
    for exclusive in (True, False):
        other.refused(1, 403, in_use(queue), "basic.consume", queue=queue, exclusive=exclusive)
    peer.publish(1, "", queue, b"m")
    peer.expect_deliver(1, b"m", consumer_tag="t")
    assert peer.call(1, "queue.declare", queue=queue, passive=True)["consumer_count"] == 1


def test_others_may_do_all_but_consume(peer: RawPeer, connect: Connect, queue: str) -> None:
    other = connect()
    peer.call(1, "basic.qos", prefetch_count=1)
    peer.call(1, "basic.consume", queue=queue, exclusive=True)
    other.store(queue, [b"1", b"2", b"3"])
    peer.expect_deliver(1, b"1")
    other.get(1, queue, b"2", no_ack=True)
    assert other.call(1, "queue.purge", queue=queue)["message_count"] == 1
    other.call(1, "queue.bind", queue=queue, exchange="amq.fanout")
    other.call(1, "queue.delete", queue=queue)
    peer.expect(1, "basic.cancel")


def test_on_a_queue_that_is_exclusive_itself(peer: RawPeer) -> None:
    queue = peer.call(1, "queue.declare", exclusive=True)["queue"]
    peer.call(1, "basic.consume", queue=queue, exclusive=True)
    peer.open_channel(2)
    peer.refused(2, 403, in_use(queue), "basic.consume", queue=queue)


def test_others_that_were_there_first_must_all_be_gone(peer: RawPeer, queue: str) -> None:
    for tag in "ab":
        peer.call(1, "basic.consume", queue=queue, consumer_tag=tag)
    peer.open_channel(2)
    for tag in "ab":
        peer.refused(2, 403, in_use(queue), "basic.consume", queue=queue, exclusive=True)
        peer.call(1, "basic.cancel", consumer_tag=tag)
    peer.call(2, "basic.consume", queue=queue, exclusive=True)


def test_an_auto_delete_queue_goes_with_it(peer: RawPeer, name: Name) -> None:
    queue = name("q")
    peer.call(1, "queue.declare", queue=queue, auto_delete=True)
    peer.call(1, "basic.consume", queue=queue, exclusive=True, consumer_tag="t")
    peer.call(1, "basic.cancel", consumer_tag="t")
    text = f"NOT_FOUND - no queue '{queue}' in vhost '/'"
    peer.refused(1, 404, text, "queue.declare", queue=queue, passive=True)
