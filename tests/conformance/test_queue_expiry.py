"""Queues that are deleted when nobody has used them for a while (``x-expires``)."""

import time
from collections.abc import Callable

from tests.conformance.conftest import Name
from tests.conformance.graves import Grave, queue_with
from tests.support.raw_peer import TIMEOUT_S, RawPeer, properties

EXPIRES_MS = 500  # room for a slow machine: what is to be there must not be late
EXPIRES = {"x-expires": EXPIRES_MS}


def is_there(peer: RawPeer, queue: str) -> bool:
    """Without using it: a mandatory publish of something that expires at once."""
    peer.publish(1, "", queue, b"there?", properties(expiration="0"), mandatory=True)
    peer.send(1, "basic.qos")
    got = peer.next_method(1)
    if got.name == "basic.qos-ok":
        return True
    peer.next_frame(1)
    peer.next_frame(1)
    peer.expect(1, "basic.qos-ok")
    return False


def wait_until_gone(peer: RawPeer, queue: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while is_there(peer, queue):
        assert time.monotonic() < deadline, f"{queue} is still there"
        time.sleep(0.01)


def use_beyond_a_life(use: Callable[[], None]) -> None:
    end = time.monotonic() + 1.3 * EXPIRES_MS / 1000
    while time.monotonic() < end:
        use()
        time.sleep(0.02)


def test_a_queue_nobody_uses_is_deleted(peer: RawPeer, name: Name) -> None:
    queue = queue_with(peer, name, {"x-expires": 30})
    wait_until_gone(peer, queue)
    peer.refused(1, 404, f"NOT_FOUND - no queue '{queue}' in vhost '/'", "queue.declare", queue=queue, passive=True)


def test_what_counts_as_use(peer: RawPeer, name: Name) -> None:
    got, declared, looked_at, consumed = (queue_with(peer, name, EXPIRES) for _ in range(4))

    def use_all() -> None:
        peer.get_empty(1, got)
        peer.call(1, "queue.declare", queue=declared, arguments=EXPIRES)
        peer.call(1, "queue.declare", queue=looked_at, passive=True)
        peer.call(1, "basic.consume", queue=consumed, consumer_tag="t")
        peer.call(1, "basic.cancel", consumer_tag="t")

    use_beyond_a_life(use_all)
    assert [is_there(peer, queue) for queue in (got, declared, looked_at, consumed)] == [True] * 4
    for queue in (got, declared, looked_at, consumed):
        wait_until_gone(peer, queue)


def test_what_does_not_count_as_use(peer: RawPeer, name: Name) -> None:
    published, settled = (queue_with(peer, name, EXPIRES) for _ in range(2))
    peer.publish_all(1, settled, [b"m"] * 100)
    tags = [peer.get(1, settled).tag for _ in range(100)]

    def use_all() -> None:
        peer.publish(1, "", published, b"m")
        peer.send(1, "basic.ack", delivery_tag=tags.pop())
        peer.send(1, "basic.nack", delivery_tag=tags.pop(), requeue=True)

    use_beyond_a_life(use_all)
    for queue in (published, settled):
        wait_until_gone(peer, queue)


def test_methods_that_do_not_count_as_use(peer: RawPeer, name: Name) -> None:
    methods: dict[str, dict[str, str]] = {
        "queue.purge": {},
        "queue.bind": {"exchange": "amq.fanout"},
        "queue.unbind": {"exchange": "amq.fanout"},
    }
    waiting = {queue_with(peer, name, EXPIRES): method for method in methods}
    deadline = time.monotonic() + TIMEOUT_S
    while waiting:
        assert time.monotonic() < deadline, f"still there: {waiting}"
        waiting = {queue: method for queue, method in waiting.items() if is_there(peer, queue)}
        for queue, method in waiting.items():
            peer.send(1, method, queue=queue, **methods[method])
            if peer.next_method(1).name == "channel.close":  # it has just gone
                peer.send(1, "channel.close-ok")
                peer.open_channel(1)
        time.sleep(0.01)


def test_a_consumer_holds_it(peer: RawPeer, name: Name) -> None:
    queue, clock = queue_with(peer, name, EXPIRES), queue_with(peer, name, {"x-expires": EXPIRES_MS + 100})
    peer.open_channel(2)
    peer.call(2, "basic.consume", queue=queue, consumer_tag="t")
    wait_until_gone(peer, clock)
    assert is_there(peer, queue)
    peer.expect_deliver(2, b"there?")
    peer.call(2, "basic.cancel", consumer_tag="t")
    wait_until_gone(peer, queue)


def test_a_consumer_that_is_dropped_holds_it_no_longer(peer: RawPeer, name: Name) -> None:
    queue = queue_with(peer, name, EXPIRES)
    peer.open_channel(2)
    peer.call(2, "basic.consume", queue=queue)
    peer.close_channel(2)
    wait_until_gone(peer, queue)


def test_what_is_unacked_does_not_hold_it(peer: RawPeer, name: Name) -> None:
    """It can be settled afterwards, as with any queue that is deleted."""
    queue = queue_with(peer, name, EXPIRES)
    peer.publish_all(1, queue, [b"a", b"b", b"c"])
    tags = [peer.get(1, queue).tag for _ in range(3)]
    wait_until_gone(peer, queue)
    peer.send(1, "basic.ack", delivery_tag=tags[0])
    peer.send(1, "basic.reject", delivery_tag=tags[1], requeue=True)
    peer.send(1, "basic.reject", delivery_tag=tags[2])
    peer.call(1, "basic.qos")


def test_its_messages_are_no_dead_letters(peer: RawPeer, name: Name) -> None:
    grave = Grave(peer, name("grave"))
    queue = queue_with(peer, name, grave.arguments | EXPIRES)
    peer.publish_all(1, queue, [b"a", b"b"])
    held = peer.get(1, queue, b"a")
    wait_until_gone(peer, queue)
    peer.send(1, "basic.reject", delivery_tag=held.tag)
    peer.publish(1, "", grave.queue, b"last")
    while (body := grave.expect().body) == b"there?":
        pass
    assert body == b"last"


def test_its_bindings_go_with_it(peer: RawPeer, name: Name) -> None:
    exchange = name("x")
    peer.call(1, "exchange.declare", exchange=exchange, type="fanout", auto_delete=True)
    queue = queue_with(peer, name, EXPIRES)
    peer.call(1, "queue.bind", queue=queue, exchange=exchange)
    wait_until_gone(peer, queue)
    text = f"NOT_FOUND - no exchange '{exchange}' in vhost '/'"
    peer.refused(1, 404, text, "exchange.declare", exchange=exchange, type="fanout", passive=True)


def test_the_name_can_be_used_again(peer: RawPeer, name: Name) -> None:
    queue = queue_with(peer, name, {"x-expires": 30})
    peer.publish(1, "", queue, b"old")
    wait_until_gone(peer, queue)
    peer.call(1, "queue.declare", queue=queue)
    peer.publish(1, "", queue, b"new")
    peer.get(1, queue, b"new")
