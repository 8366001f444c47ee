"""Small sequences, SIGKILL at once behind each, and what the next start finds: what each -ok and confirm promises."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.durability.home import Home, confirm_up_to
from tests.support.raw_peer import RawPeer, properties

PERSISTENT = properties(delivery_mode=2)


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    made.end()


def declare(peer: RawPeer, queue: str = "q") -> None:
    peer.call(1, "queue.declare", queue=queue, durable=True)


def test_confirmed_publish(home: Home) -> None:
    peer = home.start()
    declare(peer)
    peer.call(1, "confirm.select")
    peer.publish(1, "", "q", b"a", PERSISTENT)
    peer.publish(1, "", "q", b"b" * 300_000, properties(delivery_mode=2, headers={"k": 1}, message_id="m"))
    peer.publish(1, "", "q", b"not kept")
    confirm_up_to(peer, 3)
    peer = home.kill_and_start()
    assert peer.call(1, "queue.declare", queue="q", passive=True)["message_count"] == 2
    peer.get(1, "q", b"a")
    second = peer.get(1, "q", b"b" * 300_000)
    assert second.properties == properties(delivery_mode=2, headers={"k": 1}, message_id="m")
    peer.get_empty(1, "q")


def test_topology_with_arguments(home: Home) -> None:
    peer = home.start()
    peer.call(1, "exchange.declare", exchange="h", type="headers", durable=True)
    peer.call(1, "exchange.declare", exchange="t", type="topic", durable=True, internal=True)
    peer.call(1, "exchange.bind", source="h", destination="t", routing_key="k", arguments={"x-match": "any", "a": 1})
    declare(peer)
    peer.call(1, "queue.bind", queue="q", exchange="t", routing_key="#")
    peer.call(1, "queue.declare", queue="here only")
    peer.call(1, "queue.declare", queue="mine", durable=True, exclusive=True)
    peer = home.kill_and_start()
    peer.publish(1, "h", "any", b"bound", properties(headers={"a": 1}))
    peer.publish(1, "h", "any", b"not bound", properties(headers={"a": 2}))
    peer.get(1, "q", b"bound")
    peer.get_empty(1, "q")
    peer.call(1, "exchange.declare", exchange="h", type="headers", durable=True)
    peer.call(1, "exchange.declare", exchange="t", type="topic", durable=True, internal=True)
    for gone in ("here only", "mine"):
        text = f"NOT_FOUND - no queue '{gone}' in vhost '/'"
        peer.refused(1, 404, text, "queue.declare", queue=gone, passive=True)


def test_deletions(home: Home) -> None:
    peer = home.start()
    peer.call(1, "exchange.declare", exchange="x", type="fanout", durable=True)
    for queue in ("kept", "gone", "unbound"):
        declare(peer, queue)
        peer.call(1, "queue.bind", queue=queue, exchange="x")
    peer.call(1, "confirm.select")
    peer.publish(1, "x", "", b"a", PERSISTENT)
    confirm_up_to(peer, 1)
    peer.call(1, "queue.unbind", queue="unbound", exchange="x")
    peer.call(1, "queue.delete", queue="gone")
    declare(peer, "gone")  # the name again: none of the old messages may turn up in it
    peer.call(1, "queue.purge", queue="unbound")
    peer = home.kill_and_start()
    peer.get(1, "kept", b"a")
    peer.get_empty(1, "gone")
    peer.get_empty(1, "unbound")
    peer.publish(1, "x", "", b"b")
    peer.get(1, "kept", b"b")
    peer.get_empty(1, "gone")
    peer.get_empty(1, "unbound")


def test_commit(home: Home) -> None:
    peer = home.start()
    declare(peer)
    declare(peer, "r")
    peer.call(1, "tx.select")
    peer.publish(1, "", "q", b"rolled back", PERSISTENT)
    peer.call(1, "tx.rollback")
    for body in (b"a", b"b", b"c"):
        peer.publish(1, "", "q", body, PERSISTENT)
        peer.publish(1, "", "r", body, PERSISTENT)
    peer.call(1, "tx.commit")
    first = peer.get(1, "q", b"a")
    peer.get(1, "q", b"b")
    peer.send(1, "basic.ack", delivery_tag=first.tag)
    peer.call(1, "tx.commit")
    peer.publish(1, "", "q", b"not committed", PERSISTENT)
    peer.call(1, "basic.qos")  # an answer: the publish has arrived
    peer = home.kill_and_start()
    peer.get(1, "q", b"b", redelivered=True)
    peer.get(1, "q", b"c")
    peer.get_empty(1, "q")
    assert peer.take_all(1, "r") == [b"a", b"b", b"c"]


def test_ack_before_a_confirmed_publish(home: Home) -> None:
    peer = home.start()
    declare(peer)
    peer.call(1, "confirm.select")
    for body in (b"a", b"b", b"c", b"d"):
        peer.publish(1, "", "q", body, PERSISTENT)
    confirm_up_to(peer, 4)
    tags = [peer.get(1, "q").tag for _ in range(4)]
    peer.send(1, "basic.ack", delivery_tag=tags[0])
    peer.send(1, "basic.reject", delivery_tag=tags[1], requeue=False)
    peer.send(1, "basic.nack", delivery_tag=tags[2], requeue=True)
    peer.publish(1, "", "q", b"fence", PERSISTENT)
    confirm_up_to(peer, 5)
    peer = home.kill_and_start()
    peer.get(1, "q", b"c", redelivered=True)
    peer.get(1, "q", b"d", redelivered=True)
    peer.get(1, "q", b"fence")
    peer.get_empty(1, "q")


def test_what_was_delivered_comes_back_redelivered(home: Home) -> None:
    """However short before the end it was delivered, and even when nothing else was ever written."""
    peer = home.start()
    declare(peer)
    peer.call(1, "confirm.select")
    peer.publish(1, "", "q", b"a", PERSISTENT)
    confirm_up_to(peer, 1)
    peer.call(1, "basic.consume", queue="q", consumer_tag="c")
    peer.expect_deliver(1, b"a", redelivered=False)
    peer = home.kill_and_start()
    peer.get(1, "q", b"a", redelivered=True)


def test_a_clean_stop_says_exactly_what_was_delivered(home: Home) -> None:
    peer = home.start()
    declare(peer)
    peer.call(1, "confirm.select")
    for number in range(10):
        peer.publish(1, "", "q", b"%d" % number, PERSISTENT)
    confirm_up_to(peer, 10)
    peer.call(1, "basic.qos", prefetch_count=3)
    peer.call(1, "basic.consume", queue="q", consumer_tag="c")
    peer.expect_delivers(1, [b"0", b"1", b"2"], redelivered=False)
    peer.send(1, "basic.ack", delivery_tag=1)
    peer.expect_deliver(1, b"3")
    peer = home.stop_and_start(peer)
    for number in range(1, 10):
        peer.get(1, "q", b"%d" % number, redelivered=number <= 3)
    peer.get_empty(1, "q")


def test_acks_of_many_starts(home: Home) -> None:
    """Holes in segments stay where they are, start after start."""
    peer = home.start()
    declare(peer)
    peer.call(1, "confirm.select")
    for number in range(40):
        peer.publish(1, "", "q", b"%d" % number, PERSISTENT)
    confirm_up_to(peer, 40)
    left = list(range(40))
    for step in (7, 5, 3, 2):
        tags = [peer.get(1, "q", b"%d" % number).tag for number in left]
        for tag in tags[::step]:
            peer.send(1, "basic.ack", delivery_tag=tag)
        del left[::step]
        peer.call(1, "confirm.select")
        peer.publish(1, "", "q", b"fence", PERSISTENT)
        peer.expect(1, "basic.ack")
        peer = home.kill_and_start()
        fences = [body for body in _peek(peer) if body == b"fence"]
        assert _peek(peer) == [b"%d" % number for number in left] + fences
        _drop_fences(peer)
    assert len(left) == 40 - 6 - 7 - 9 - 9


def _peek(peer: RawPeer) -> list[bytes]:
    """All bodies; everything is put back."""
    bodies = []
    count = peer.call(1, "queue.declare", queue="q", passive=True)["message_count"]
    for _ in range(count):
        bodies.append(peer.get(1, "q").body)
    peer.get_empty(1, "q")
    peer.call(1, "basic.recover", requeue=True)
    return bodies


def _drop_fences(peer: RawPeer) -> None:
    count = peer.call(1, "queue.declare", queue="q", passive=True)["message_count"]
    for _ in range(count):
        got = peer.get(1, "q")
        if got.body == b"fence":
            peer.send(1, "basic.ack", delivery_tag=got.tag)
    peer.call(1, "basic.recover", requeue=True)


def test_nothing_is_answered_that_is_not_on_disk(home: Home) -> None:
    """While nothing can be written there are no confirms and no -ok, and none of it is there after the kill."""
    peer = home.start()
    declare(peer)
    peer.call(1, "confirm.select")
    assert home.broker is not None
    home.broker.fill_disk()
    peer.publish(1, "", "q", b"x" * 100_000, PERSISTENT)
    peer.expect(0, "connection.blocked")
    peer.expect_nothing(200)
    peer = home.kill_and_start()
    peer.get_empty(1, "q")
