"""Ack, nack, reject, recover, requeue: what becomes of a delivery."""

import pytest

from tests.conformance.conftest import Connect, Name
from tests.support.raw_peer import Content, RawPeer


@pytest.fixture
def queue(peer: RawPeer, name: Name) -> str:
    new: str = peer.call(1, "queue.declare", queue=name("q"))["queue"]
    return new


def got_all(peer: RawPeer, queue: str, bodies: list[bytes]) -> list[Content]:
    """Publish these and get them again, unacked."""
    peer.publish_all(1, queue, bodies)
    return [peer.get(1, queue, body) for body in bodies]


def requeue_all(peer: RawPeer) -> None:
    """Everything unacked goes back; answered, so that it has happened."""
    peer.call(1, "basic.recover", requeue=True)


def unknown(tag: int) -> str:
    return f"PRECONDITION_FAILED - unknown delivery tag {tag}"


@pytest.mark.parametrize("method", ["basic.ack", "basic.nack", "basic.reject"])
@pytest.mark.parametrize("tag", [0, 1, 2**64 - 1])
def test_a_tag_never_given(peer: RawPeer, method: str, tag: int) -> None:
    peer.refused(1, 406, unknown(tag), method, delivery_tag=tag)


@pytest.mark.parametrize("method", ["basic.ack", "basic.nack"])
def test_multiple_with_a_tag_never_given(peer: RawPeer, queue: str, method: str) -> None:
    peer.refused(1, 406, unknown(1), method, delivery_tag=1, multiple=True)
    got_all(peer, queue, [b"a", b"b"])
    peer.refused(1, 406, unknown(3), method, delivery_tag=3, multiple=True)


@pytest.mark.parametrize("method", ["basic.ack", "basic.nack"])
def test_multiple_tag_0_is_all_and_always_fine(peer: RawPeer, queue: str, method: str) -> None:
    peer.send(1, method, delivery_tag=0, multiple=True)
    got_all(peer, queue, [b"a", b"b"])
    peer.send(1, method, delivery_tag=0, multiple=True)
    requeue_all(peer)
    peer.get_empty(1, queue)


def test_a_second_ack(peer: RawPeer, queue: str) -> None:
    got_all(peer, queue, [b"a", b"b"])
    peer.send(1, "basic.ack", delivery_tag=1)
    peer.refused(1, 406, unknown(1), "basic.ack", delivery_tag=1)


def test_multiple_up_to_an_acked_tag(peer: RawPeer, queue: str) -> None:
    got_all(peer, queue, [b"a", b"b", b"c"])
    peer.send(1, "basic.ack", delivery_tag=2)
    peer.refused(1, 406, unknown(2), "basic.ack", delivery_tag=2, multiple=True)
    for body in (b"a", b"c"):
        peer.get(1, queue, body, redelivered=True)


def test_multiple_acks_all_before(peer: RawPeer, queue: str) -> None:
    got_all(peer, queue, [b"a", b"b", b"c"])
    peer.send(1, "basic.ack", delivery_tag=2, multiple=True)
    requeue_all(peer)
    peer.get(1, queue, b"c", redelivered=True, message_count=0)


def test_acks_in_any_order(peer: RawPeer, queue: str) -> None:
    got_all(peer, queue, [b"a", b"b", b"c"])
    for tag in (3, 1, 2):
        peer.send(1, "basic.ack", delivery_tag=tag)
    requeue_all(peer)
    peer.get_empty(1, queue)


def test_tags_belong_to_their_channel(peer: RawPeer, queue: str) -> None:
    peer.open_channel(2)
    got_all(peer, queue, [b"a"])
    peer.refused(2, 406, unknown(1), "basic.ack", delivery_tag=1)
    peer.send(1, "basic.ack", delivery_tag=1)
    peer.call(1, "basic.qos")


def test_no_ack_deliveries_cannot_be_acked(peer: RawPeer, queue: str) -> None:
    peer.publish_all(1, queue, [b"a", b"b"])
    peer.get(1, queue, b"a", no_ack=True, delivery_tag=1)
    peer.refused(1, 406, unknown(1), "basic.ack", delivery_tag=1)
    peer.call(1, "basic.consume", queue=queue, no_ack=True)
    peer.expect_deliver(1, b"b", delivery_tag=1)
    peer.refused(1, 406, unknown(1), "basic.ack", delivery_tag=1)


@pytest.mark.parametrize("method", ["basic.nack", "basic.reject"])
@pytest.mark.parametrize("requeue", [True, False])
def test_nack_and_reject(peer: RawPeer, queue: str, method: str, requeue: bool) -> None:
    got_all(peer, queue, [b"a"])
    peer.send(1, method, delivery_tag=1, requeue=requeue)
    if requeue:
        peer.get(1, queue, b"a", delivery_tag=2, redelivered=True, message_count=0)
    else:
        peer.get_empty(1, queue)


def test_nack_multiple(peer: RawPeer, queue: str) -> None:
    got_all(peer, queue, [b"a", b"b", b"c"])
    peer.send(1, "basic.nack", delivery_tag=2, multiple=True, requeue=True)
    for body in (b"a", b"b"):
        peer.get(1, queue, body, redelivered=True)
    peer.get_empty(1, queue)


@pytest.mark.parametrize("order", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
def test_requeue_goes_to_the_original_position(peer: RawPeer, queue: str, order: tuple[int, ...]) -> None:
    peer.publish_all(1, queue, [b"a", b"b", b"c", b"d"])
    for body in (b"a", b"b", b"c"):
        peer.get(1, queue, body)
    for tag in order:
        peer.send(1, "basic.reject", delivery_tag=tag, requeue=True)
    peer.publish(1, "", queue, b"e")
    for body, redelivered in [(b"a", True), (b"b", True), (b"c", True), (b"d", False), (b"e", False)]:
        peer.get(1, queue, body, redelivered=redelivered)


def test_requeue_between_what_others_hold(peer: RawPeer, queue: str) -> None:
    got_all(peer, queue, [b"a", b"b", b"c", b"d"])
    peer.send(1, "basic.nack", delivery_tag=3, requeue=True)
    peer.get(1, queue, b"c", delivery_tag=5)
    for tag in (2, 5, 4):
        peer.send(1, "basic.nack", delivery_tag=tag, requeue=True)
    for body in (b"b", b"c", b"d"):
        peer.get(1, queue, body, redelivered=True)


def test_a_requeued_message_goes_to_the_consumer_again(peer: RawPeer, queue: str) -> None:
    peer.call(1, "basic.qos", prefetch_count=1)
    peer.call(1, "basic.consume", queue=queue)
    peer.publish_all(1, queue, [b"a", b"b"])
    peer.expect_deliver(1, b"a", delivery_tag=1, redelivered=False)
    peer.send(1, "basic.nack", delivery_tag=1, requeue=True)
    peer.expect_deliver(1, b"a", delivery_tag=2, redelivered=True)
    peer.send(1, "basic.ack", delivery_tag=2)
    peer.expect_deliver(1, b"b", delivery_tag=3, redelivered=False)


def test_recover(peer: RawPeer, queue: str) -> None:
    peer.call(1, "basic.consume", queue=queue, consumer_tag="t")
    peer.publish_all(1, queue, [b"a", b"b"])
    peer.expect_delivers(1, [b"a", b"b"], redelivered=False)
    peer.call(1, "basic.recover", requeue=True)
    peer.expect_delivers(1, [b"a", b"b"], consumer_tag="t", redelivered=True)


def test_recover_async_has_no_answer(peer: RawPeer, queue: str) -> None:
    got_all(peer, queue, [b"a"])
    peer.send(1, "basic.recover-async", requeue=True)
    peer.get(1, queue, b"a", redelivered=True)


@pytest.mark.parametrize("method", ["basic.recover", "basic.recover-async"])
def test_recover_without_requeue(peer: RawPeer, method: str) -> None:
    peer.fatal(1, 540, "NOT_IMPLEMENTED - requeue=false", method, requeue=False)


def test_recover_with_nothing_unacked(peer: RawPeer) -> None:
    peer.call(1, "basic.recover", requeue=True)


@pytest.mark.parametrize("end", ["channel.close", "channel error", "connection.close", "drop"])
def test_the_end_of_a_channel_requeues_in_order(peer: RawPeer, connect: Connect, queue: str, end: str) -> None:
    other = connect()
    bodies = [b"%d" % number for number in range(20)]
    peer.store(queue, bodies)
    other.call(1, "basic.qos", prefetch_count=8)
    other.call(1, "basic.consume", queue=queue)
    other.expect_delivers(1, bodies[:8])
    match end:
        case "channel.close":
            other.close_channel(1)
        case "channel error":
            other.refused(1, 406, unknown(99), "basic.ack", delivery_tag=99)
        case "connection.close":
            other.close()
        case _:
            other.abort()
    peer.expect_nothing(50)  # a dropped connection is noticed soon, not at once
    for position, body in enumerate(bodies):
        peer.get(1, queue, body, redelivered=position < 8)


def test_acked_before_the_end_is_gone(peer: RawPeer, connect: Connect, queue: str) -> None:
    other = connect()
    peer.store(queue, [b"a", b"b", b"c"])
    for body in (b"a", b"b", b"c"):
        other.get(1, queue, body)
    other.send(1, "basic.ack", delivery_tag=2)
    other.close()
    peer.get(1, queue, b"a", redelivered=True, message_count=1)
    peer.get(1, queue, b"c", redelivered=True, message_count=0)


def test_redelivered_is_not_set_on_what_was_never_delivered(peer: RawPeer, connect: Connect, queue: str) -> None:
    other = connect()
    peer.store(queue, [b"a", b"b"])
    other.get(1, queue, b"a")
    other.close()
    peer.get(1, queue, b"a", redelivered=True)
    peer.get(1, queue, b"b", redelivered=False)


def test_unacked_messages_do_not_stop_a_cancelled_consumers_acks(peer: RawPeer, queue: str) -> None:
    peer.call(1, "basic.consume", queue=queue, consumer_tag="t")
    peer.publish(1, "", queue, b"a")
    peer.expect_deliver(1, b"a")
    peer.call(1, "basic.cancel", consumer_tag="t")
    peer.send(1, "basic.nack", delivery_tag=1, requeue=True)
    peer.get(1, queue, b"a", redelivered=True)
