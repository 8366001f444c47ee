"""How long messages live: of a queue (``x-message-ttl``), of a message (``expiration``)."""

import pytest

from tests.conformance.conftest import Connect, Name
from tests.conformance.graves import Death, Grave, assert_died, queue_with
from tests.support.raw_peer import RawPeer, properties

NEVER = 3_600_000
SOON = 400  # room for a slow machine: what is to be got before must not be late


@pytest.fixture
def grave(peer: RawPeer, name: Name) -> Grave:
    return Grave(peer, name("grave"))


def expiring(ms: int) -> bytes:
    return properties(expiration=str(ms))


def ready(peer: RawPeer, queue: str) -> int:
    count: int = peer.call(1, "queue.declare", queue=queue, passive=True)["message_count"]
    return count


def test_messages_of_the_queue_expire_in_order(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = queue_with(peer, name, grave.arguments | {"x-message-ttl": 20})
    peer.publish_all(1, queue, [b"a", b"b", b"c"])
    for content in grave.expect_all(b"a", b"b", b"c"):
        assert_died(content, Death(queue, "expired"))
    peer.get_empty(1, queue)


def test_expiration_of_a_message(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = queue_with(peer, name, grave.arguments)
    peer.publish(1, "", queue, b"a", expiring(20))
    assert_died(grave.expect(b"a"), Death(queue, "expired", expiration="20"))
    peer.get_empty(1, queue)


def test_what_expired_without_a_dead_letter_exchange_is_gone(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = queue_with(peer, name, {})
    clock = queue_with(peer, name, grave.arguments)
    peer.publish(1, "", queue, b"a", expiring(20))
    peer.publish(1, "", queue, b"b")
    peer.publish(1, "", clock, b"later", expiring(40))
    grave.expect(b"later")
    assert ready(peer, queue) == 1
    peer.get(1, queue, b"b", message_count=0)


@pytest.mark.parametrize(("of_queue", "of_message"), [(20, NEVER), (NEVER, 20), (20, 20)])
def test_the_shorter_life_counts(peer: RawPeer, name: Name, grave: Grave, of_queue: int, of_message: int) -> None:
    queue = queue_with(peer, name, grave.arguments | {"x-message-ttl": of_queue})
    peer.publish(1, "", queue, b"a", expiring(of_message))
    assert_died(grave.expect(b"a"), Death(queue, "expired", expiration=str(of_message)))


def test_a_message_alive_has_its_expiration_as_it_came(peer: RawPeer, name: Name) -> None:
    queue = queue_with(peer, name, {"x-message-ttl": NEVER})
    peer.publish(1, "", queue, b"a", properties(expiration="+0001000000"))
    assert peer.get(1, queue, b"a").properties == properties(expiration="+0001000000")


@pytest.mark.parametrize("whose", ["queue", "message"])
def test_0_without_a_consumer(peer: RawPeer, name: Name, grave: Grave, whose: str) -> None:
    queue = queue_with(peer, name, grave.arguments | ({"x-message-ttl": 0} if whose == "queue" else {}))
    peer.publish(1, "", queue, b"a", expiring(0) if whose == "message" else properties())
    grave.expect(b"a")
    peer.get_empty(1, queue)


@pytest.mark.parametrize("whose", ["queue", "message"])
@pytest.mark.parametrize("no_ack", [True, False])
def test_0_with_a_ready_consumer_is_delivered(peer: RawPeer, name: Name, whose: str, no_ack: bool) -> None:
    queue = queue_with(peer, name, {"x-message-ttl": 0} if whose == "queue" else {})
    peer.call(1, "basic.consume", queue=queue, no_ack=no_ack)
    for body in (b"a", b"b"):
        peer.publish(1, "", queue, body, expiring(0) if whose == "message" else properties())
        peer.expect_deliver(1, body)


def test_0_with_a_consumer_that_has_no_credit(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = queue_with(peer, name, grave.arguments | {"x-message-ttl": 0})
    peer.call(1, "basic.qos", prefetch_count=1)
    peer.call(1, "basic.consume", queue=queue)
    peer.publish_all(1, queue, [b"a", b"b"])
    peer.expect_deliver(1, b"a")
    grave.expect(b"b")


def test_0_is_confirmed_and_not_returned(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = queue_with(peer, name, grave.arguments | {"x-message-ttl": 0})
    peer.call(1, "confirm.select")
    peer.publish(1, "", queue, b"a", mandatory=True)
    peer.expect(1, "basic.ack", delivery_tag=1)
    grave.expect(b"a")


def test_what_is_unacked_does_not_expire(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = queue_with(peer, name, grave.arguments | {"x-message-ttl": SOON})
    peer.publish(1, "", queue, b"a")
    held = peer.get(1, queue, b"a")
    peer.publish(1, "", queue, b"b")
    grave.expect(b"b")
    peer.send(1, "basic.ack", delivery_tag=held.tag)
    peer.get_empty(1, queue)


@pytest.mark.parametrize("whose", ["queue", "message"])
def test_a_requeue_does_not_give_more_time(peer: RawPeer, name: Name, grave: Grave, whose: str) -> None:
    queue = queue_with(peer, name, grave.arguments | ({"x-message-ttl": SOON} if whose == "queue" else {}))
    life = expiring(SOON) if whose == "message" else properties()
    peer.publish(1, "", queue, b"held", life)
    held = peer.get(1, queue, b"held")
    peer.publish(1, "", queue, b"later", life)
    grave.expect(b"later")
    peer.send(1, "basic.nack", delivery_tag=held.tag, requeue=True)
    grave.expect(b"held")
    peer.get_empty(1, queue)


def test_a_requeue_of_what_expired_meanwhile_is_not_delivered(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = queue_with(peer, name, grave.arguments | {"x-message-ttl": SOON})
    peer.call(1, "basic.qos", prefetch_count=1)
    peer.call(1, "basic.consume", queue=queue)
    peer.publish_all(1, queue, [b"held", b"later"])
    held = peer.expect_deliver(1, b"held")
    grave.expect(b"later")
    peer.send(1, "basic.nack", delivery_tag=held.tag, requeue=True)
    grave.expect(b"held")
    peer.publish(1, "", queue, b"fresh")
    peer.expect_deliver(1, b"fresh")


def test_what_comes_back_from_a_closed_channel_expires_in_time(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = queue_with(peer, name, grave.arguments | {"x-message-ttl": SOON})
    peer.open_channel(3)
    peer.publish_all(3, queue, [b"a", b"b"])
    peer.get(3, queue, b"a")
    peer.close_channel(3)
    grave.expect_all(b"a", b"b")


def test_only_the_head_expires(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = queue_with(peer, name, grave.arguments)
    peer.publish(1, "", queue, b"long", expiring(NEVER))
    peer.publish(1, "", queue, b"short", expiring(1))
    peer.publish(1, "", queue, b"none")
    other = queue_with(peer, name, grave.arguments)
    peer.publish(1, "", other, b"later", expiring(30))
    grave.expect(b"later")
    assert ready(peer, queue) == 3
    peer.get(1, queue, b"long")
    grave.expect(b"short")
    peer.get(1, queue, b"none")


def test_what_expired_behind_the_head_counts_until_then(peer: RawPeer, name: Name, grave: Grave) -> None:
    """Purged and deleted, it is no dead letter."""
    queue = queue_with(peer, name, grave.arguments)
    for method in ("queue.purge", "queue.delete"):
        peer.publish(1, "", queue, b"long", expiring(NEVER))
        peer.publish(1, "", queue, b"short", expiring(0))
        assert peer.call(1, method, queue=queue)["message_count"] == 2
    peer.publish(1, "", grave.queue, b"last")
    grave.expect(b"last")


def test_the_head_expires_while_a_consumer_is_busy(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = queue_with(peer, name, grave.arguments)
    peer.call(1, "basic.qos", prefetch_count=1)
    peer.call(1, "basic.consume", queue=queue)
    peer.publish(1, "", queue, b"1")
    peer.publish(1, "", queue, b"2", expiring(20))
    peer.publish(1, "", queue, b"3")
    held = peer.expect_deliver(1, b"1")
    grave.expect(b"2")
    peer.send(1, "basic.ack", delivery_tag=held.tag)
    peer.expect_deliver(1, b"3")


def test_a_get_behind_the_head_skips_the_expired(peer: RawPeer, name: Name) -> None:
    queue = queue_with(peer, name, {})
    peer.publish(1, "", queue, b"long", expiring(NEVER))
    for _ in range(3):
        peer.publish(1, "", queue, b"short", expiring(0))
    peer.publish(1, "", queue, b"none")
    peer.get(1, queue, b"long", no_ack=True, message_count=1)
    peer.get(1, queue, b"none", message_count=0)


def test_a_consumer_gets_nothing_expired(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = queue_with(peer, name, grave.arguments)
    peer.publish(1, "", queue, b"1", expiring(NEVER))
    for body in (b"2", b"3"):
        peer.publish(1, "", queue, body, expiring(0))
    peer.publish(1, "", queue, b"4")
    peer.call(1, "basic.consume", queue=queue, no_ack=True)
    peer.expect_delivers(1, [b"1", b"4"])
    grave.expect_all(b"2", b"3")


def test_a_shorter_life_in_front_does_not_wait_for_a_longer_one(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = queue_with(peer, name, grave.arguments)
    for body, ms in ((b"a", 10), (b"b", 20), (b"c", 30), (b"d", NEVER)):
        peer.publish(1, "", queue, body, expiring(ms))
    grave.expect_all(b"a", b"b", b"c")
    peer.get(1, queue, b"d", message_count=0)


def test_ttl_of_a_queue_with_consumers_of_others(peer: RawPeer, connect: Connect, name: Name, grave: Grave) -> None:
    """A consumer that comes when all is expired gets nothing."""
    queue = queue_with(peer, name, grave.arguments | {"x-message-ttl": 20})
    peer.publish_all(1, queue, [b"a", b"b"])
    grave.expect_all(b"a", b"b")
    other = connect()
    other.call(1, "basic.consume", queue=queue)
    other.expect_nothing()


def test_expirations_committed_in_a_transaction(peer: RawPeer, name: Name, grave: Grave) -> None:
    """Life begins when the message comes to the queue."""
    queue = queue_with(peer, name, grave.arguments)
    peer.call(1, "tx.select")
    peer.publish(1, "", queue, b"a", expiring(20))
    peer.call(1, "tx.commit")
    grave.expect(b"a")


def test_a_malformed_expiration_leaves_nothing(peer: RawPeer, name: Name) -> None:
    queue = queue_with(peer, name, {})
    peer.publish(1, "", queue, b"a", properties(expiration="soon"))
    text = "PRECONDITION_FAILED - invalid expiration 'soon': no_integer"
    peer.expect_channel_close(1, 406, text, "basic.publish")
    peer.open_channel(1)
    peer.get_empty(1, queue)


def test_a_malformed_expiration_in_a_transaction(peer: RawPeer, name: Name) -> None:
    queue = queue_with(peer, name, {})
    peer.call(1, "tx.select")
    peer.publish(1, "", queue, b"a")
    peer.publish(1, "", queue, b"b", properties(expiration="soon"))
    text = "PRECONDITION_FAILED - invalid expiration 'soon': no_integer"
    peer.expect_channel_close(1, 406, text, "basic.publish")
    peer.open_channel(1)
    peer.get_empty(1, queue)


@pytest.mark.parametrize("exchange", ["", "nope"])
def test_the_exchange_is_looked_for_before_the_expiration(peer: RawPeer, exchange: str) -> None:
    peer.publish(1, exchange, "nope", b"a", properties(expiration="soon"))
    if exchange:
        peer.expect_channel_close(1, 404, "NOT_FOUND - no exchange 'nope' in vhost '/'", "basic.publish")
    else:
        text = "PRECONDITION_FAILED - invalid expiration 'soon': no_integer"
        peer.expect_channel_close(1, 406, text, "basic.publish")
