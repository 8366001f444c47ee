"""Publisher confirms and transactions."""

import pytest

from tests.conformance.conftest import Connect, Name
from tests.support.raw_peer import RawPeer, properties

PERSISTENT = properties(delivery_mode=2)


@pytest.fixture
def queue(peer: RawPeer, name: Name) -> str:
    new: str = peer.call(1, "queue.declare", queue=name("q"), durable=True)["queue"]
    return new


def confirmed(peer: RawPeer, last: int) -> list[int]:
    """Take acks until every sequence number up to ``last`` is confirmed exactly once."""
    waiting = set(range(1, last + 1))
    order: list[int] = []
    while waiting:
        got = peer.expect(1, "basic.ack")
        tag = got["delivery_tag"]
        these = {each for each in waiting if each <= tag} if got["multiple"] else {tag}
        assert these
        assert these <= waiting
        waiting -= these
        order += sorted(these)
    return order


@pytest.mark.parametrize("props", [properties(), PERSISTENT])
def test_confirms_count_from_1(peer: RawPeer, queue: str, props: bytes) -> None:
    peer.publish(1, "", queue, b"before")
    peer.call(1, "confirm.select")
    peer.publish(1, "", queue, b"a", props)
    peer.expect(1, "basic.ack", delivery_tag=1, multiple=False)
    peer.publish(1, "", queue, b"b", props)
    peer.expect(1, "basic.ack", delivery_tag=2, multiple=False)


def test_confirm_select_again_does_not_restart(peer: RawPeer, queue: str) -> None:
    for tag in (1, 2):
        peer.call(1, "confirm.select")
        peer.publish(1, "", queue, b"a")
        peer.expect(1, "basic.ack", delivery_tag=tag)


def test_confirm_select_nowait(peer: RawPeer, queue: str) -> None:
    peer.send(1, "confirm.select", nowait=True)
    peer.publish(1, "", queue, b"a")
    peer.expect(1, "basic.ack", delivery_tag=1)


def test_many_confirms_cover_all_once(peer: RawPeer, queue: str) -> None:
    peer.call(1, "confirm.select")
    for number in range(300):
        peer.publish(1, "", queue, b"%d" % number, PERSISTENT if number % 3 else properties())
    confirmed(peer, 300)
    assert len(peer.take_all(1, queue)) == 300


def test_the_unroutable_is_confirmed(peer: RawPeer) -> None:
    peer.call(1, "confirm.select")
    peer.publish(1, "", "nope", b"a", PERSISTENT)
    peer.expect(1, "basic.ack", delivery_tag=1, multiple=False)


def test_a_return_comes_before_its_confirm(peer: RawPeer) -> None:
    peer.call(1, "confirm.select")
    peer.publish(1, "", "nope", b"a", mandatory=True)
    peer.expect_content(1, "basic.return", b"a", reply_code=312, reply_text="NO_ROUTE")
    peer.expect(1, "basic.ack", delivery_tag=1, multiple=False)


def test_confirms_are_a_matter_of_the_channel(peer: RawPeer, queue: str) -> None:
    peer.open_channel(2)
    peer.call(1, "confirm.select")
    peer.publish(2, "", queue, b"a")
    peer.publish(1, "", queue, b"b")
    peer.expect(1, "basic.ack", delivery_tag=1)
    peer.call(2, "basic.qos")
    assert not peer.unread[2]


def test_what_is_acked_on_delivery_is_confirmed(peer: RawPeer, queue: str) -> None:
    peer.open_channel(2)
    peer.call(2, "basic.consume", queue=queue, no_ack=True)
    peer.call(1, "confirm.select")
    peer.publish(1, "", queue, b"a", PERSISTENT)
    peer.expect_deliver(2, b"a")
    peer.expect(1, "basic.ack", delivery_tag=1)


def test_a_confirmed_message_is_there(peer: RawPeer, connect: Connect, queue: str) -> None:
    other = connect()
    other.call(1, "confirm.select")
    other.publish(1, "", queue, b"a", PERSISTENT)
    other.expect(1, "basic.ack", delivery_tag=1)
    peer.get(1, queue, b"a")


def test_switching_modes(peer: RawPeer) -> None:
    peer.call(1, "confirm.select")
    peer.refused(1, 406, "PRECONDITION_FAILED - cannot switch from confirm to tx mode", "tx.select")
    peer.call(1, "tx.select")
    peer.refused(1, 406, "PRECONDITION_FAILED - cannot switch from tx to confirm mode", "confirm.select")


@pytest.mark.parametrize("method", ["tx.commit", "tx.rollback"])
@pytest.mark.parametrize("confirming", [False, True])
def test_misuse(peer: RawPeer, method: str, confirming: bool) -> None:
    if confirming:
        peer.call(1, "confirm.select")
    peer.refused(1, 406, "PRECONDITION_FAILED - channel is not transactional", method)


def test_select_twice_and_empty_commits(peer: RawPeer) -> None:
    for method in ("tx.select", "tx.select", "tx.commit", "tx.rollback", "tx.commit"):
        peer.call(1, method)


def test_commit_publishes(peer: RawPeer, queue: str) -> None:
    peer.open_channel(2)
    peer.call(1, "tx.select")
    peer.publish_all(1, queue, [b"a", b"b"])
    peer.get_empty(2, queue)
    peer.call(1, "tx.commit")
    peer.get(2, queue, b"a", message_count=1)
    peer.get(2, queue, b"b", message_count=0)


def test_rollback_forgets_publishes(peer: RawPeer, queue: str) -> None:
    peer.call(1, "tx.select")
    peer.publish(1, "", queue, b"a")
    peer.call(1, "tx.rollback")
    peer.publish(1, "", queue, b"b")
    peer.call(1, "tx.commit")
    peer.get(1, queue, b"b", message_count=0)


def test_closing_the_channel_forgets_publishes(peer: RawPeer, queue: str) -> None:
    peer.call(1, "tx.select")
    peer.publish(1, "", queue, b"a")
    peer.close_channel(1)
    peer.open_channel(1)
    peer.get_empty(1, queue)


def test_a_missing_exchange_is_found_at_the_publish(peer: RawPeer, queue: str) -> None:
    peer.call(1, "tx.select")
    peer.publish(1, "", queue, b"a")
    peer.publish(1, "nope", "x", b"a")
    peer.expect_channel_close(1, 404, "NOT_FOUND - no exchange 'nope' in vhost '/'", "basic.publish")
    peer.open_channel(1)
    peer.get_empty(1, queue)


def test_returns_come_before_commit_ok(peer: RawPeer) -> None:
    peer.call(1, "tx.select")
    peer.publish(1, "", "nope", b"a", mandatory=True)
    peer.expect_nothing(20)
    peer.send(1, "tx.commit")
    peer.expect_content(1, "basic.return", b"a", reply_code=312)
    peer.expect(1, "tx.commit-ok")


def test_rollback_forgets_returns(peer: RawPeer) -> None:
    peer.call(1, "tx.select")
    peer.publish(1, "", "nope", b"a", mandatory=True)
    peer.call(1, "tx.rollback")
    peer.call(1, "tx.commit")


def test_acks_count_at_the_commit(peer: RawPeer, connect: Connect, queue: str) -> None:
    other = connect()
    peer.store(queue, [b"a", b"b"])
    other.call(1, "tx.select")
    for body in (b"a", b"b"):
        other.get(1, queue, body)
    other.send(1, "basic.ack", delivery_tag=1)
    other.call(1, "tx.commit")
    other.send(1, "basic.ack", delivery_tag=2)
    other.close()
    peer.get(1, queue, b"b", redelivered=True, message_count=0)


def test_nacks_count_at_the_commit(peer: RawPeer, queue: str) -> None:
    peer.publish_all(1, queue, [b"a", b"b"])
    peer.call(1, "tx.select")
    for body in (b"a", b"b"):
        peer.get(1, queue, body)
    peer.send(1, "basic.nack", delivery_tag=1, requeue=True)
    peer.send(1, "basic.reject", delivery_tag=2)
    peer.get_empty(1, queue)
    peer.call(1, "tx.commit")
    peer.get(1, queue, b"a", redelivered=True, message_count=0)


def test_rollback_undoes_acks_without_redelivery(peer: RawPeer, queue: str) -> None:
    peer.publish(1, "", queue, b"a")
    peer.call(1, "tx.select")
    peer.call(1, "basic.consume", queue=queue)
    peer.expect_deliver(1, b"a", delivery_tag=1)
    peer.send(1, "basic.ack", delivery_tag=1)
    peer.call(1, "tx.rollback")
    peer.expect_nothing(20)
    peer.send(1, "basic.ack", delivery_tag=1)
    peer.call(1, "tx.commit")
    peer.get_empty(1, queue)
    peer.refused(1, 406, "PRECONDITION_FAILED - unknown delivery tag 1", "basic.ack", delivery_tag=1)
    peer.get_empty(1, queue)


def test_a_second_ack_in_a_transaction(peer: RawPeer, queue: str) -> None:
    peer.publish(1, "", queue, b"a")
    peer.call(1, "tx.select")
    peer.get(1, queue, b"a")
    peer.send(1, "basic.ack", delivery_tag=1)
    peer.refused(1, 406, "PRECONDITION_FAILED - unknown delivery tag 1", "basic.ack", delivery_tag=1)


def test_an_unacked_commit_keeps_the_prefetch(peer: RawPeer, queue: str) -> None:
    peer.publish_all(1, queue, [b"a", b"b"])
    peer.call(1, "tx.select")
    peer.call(1, "basic.qos", prefetch_count=1)
    peer.call(1, "basic.consume", queue=queue)
    peer.expect_deliver(1, b"a")
    peer.send(1, "basic.ack", delivery_tag=1)
    peer.expect_nothing(20)
    peer.send(1, "tx.commit")
    peer.expect(1, "tx.commit-ok")
    peer.expect_deliver(1, b"b")
