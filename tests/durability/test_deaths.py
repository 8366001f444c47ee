"""Messages that die, SIGKILL in between: each is in its queue or in the grave, never in neither; twice only if told.

Each message of these tests is persistent, confirmed, and named by its body.
"""

import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.durability.home import Home, confirm_up_to
from tests.support.raw_peer import TIMEOUT_S, RawPeer, decode_properties, properties

GRAVE = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "grave"}


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    made.end()


@pytest.fixture
def peer(home: Home) -> RawPeer:
    """Confirming, with a grave declared."""
    first = home.start()
    first.call(1, "confirm.select")
    declare(first, "grave", {})
    return first


def declare(peer: RawPeer, queue: str, arguments: dict[str, Any]) -> None:
    peer.call(1, "queue.declare", queue=queue, durable=True, arguments=arguments)


def publish(peer: RawPeer, count: int, queue: str = "q", **props: Any) -> list[bytes]:
    """So many messages, not confirmed yet; their bodies."""
    bodies = [b"%d" % number for number in range(count)]
    for body in bodies:
        peer.publish(1, "", queue, body, properties(delivery_mode=2, **props))
    return bodies


def take_all(peer: RawPeer, queue: str) -> dict[bytes, bool]:
    """What is ready by body, and whether it comes as redelivered; nothing may be there twice."""
    count = peer.call(1, "queue.declare", queue=queue, passive=True)["message_count"]
    found = [peer.get(1, queue, no_ack=True) for _ in range(count)]
    peer.get_empty(1, queue)
    assert max(Counter(content.body for content in found).values(), default=1) == 1
    return {content.body: bool(content.method["redelivered"]) for content in found}


def bury_all(peer: RawPeer, bodies: list[bytes]) -> None:
    """Each arrives in the grave, in whatever order, and nothing else does."""
    peer.call(1, "basic.consume", queue="grave", consumer_tag="grave", no_ack=True)
    assert sorted(peer.expect_deliver(1).body for _ in bodies) == sorted(bodies)
    peer.call(1, "basic.cancel", consumer_tag="grave")
    peer.get_empty(1, "grave")


def assert_nothing_lost(peer: RawPeer, bodies: list[bytes]) -> tuple[dict[bytes, bool], dict[bytes, bool]]:
    """Who is alive and who is dead."""
    alive, dead = take_all(peer, "q"), take_all(peer, "grave")
    assert set(bodies) <= alive.keys() | dead.keys()
    assert [body for body in alive.keys() & dead.keys() if not alive[body]] == [], "twice, and not told"
    return alive, dead


@pytest.mark.parametrize("multiple", [False, True])
def test_rejected_just_now(home: Home, peer: RawPeer, multiple: bool) -> None:
    declare(peer, "q", GRAVE)
    bodies = publish(peer, 300)
    confirm_up_to(peer, 300)
    tags = [peer.get(1, "q").tag for _ in bodies]
    for tag in tags[-1:] if multiple else tags:
        peer.send(1, "basic.nack", delivery_tag=tag, multiple=multiple)
    peer.call(1, "basic.qos")  # an answer: the last of them has arrived
    assert_nothing_lost(home.kill_and_start(), bodies)


def test_rejected_before_a_confirm(home: Home, peer: RawPeer) -> None:
    """A confirm covers what the channel did before."""
    declare(peer, "q", GRAVE)
    bodies = publish(peer, 50)
    confirm_up_to(peer, 50)
    for _ in bodies:
        peer.send(1, "basic.reject", delivery_tag=peer.get(1, "q").tag)
    peer.publish(1, "", "q", b"fence", properties(delivery_mode=2))
    confirm_up_to(peer, 51)
    peer = home.kill_and_start()
    assert list(take_all(peer, "q")) == [b"fence"]
    dead = [peer.get(1, "grave", no_ack=True) for _ in bodies]
    assert [content.body for content in dead] == bodies
    (death,) = decode_properties(dead[0].properties)["headers"]["x-death"]
    assert (death["queue"], death["reason"], death["count"]) == ("q", "rejected", 1)


def test_rejected_in_a_transaction(home: Home, peer: RawPeer) -> None:
    declare(peer, "q", GRAVE)
    bodies = publish(peer, 20)
    confirm_up_to(peer, 20)
    peer.close_channel(1)
    peer.open_channel(1)
    peer.call(1, "tx.select")
    tags = [peer.get(1, "q").tag for _ in bodies]
    peer.send(1, "basic.nack", delivery_tag=tags[9], multiple=True)
    peer.call(1, "tx.commit")
    peer.send(1, "basic.nack", delivery_tag=tags[-1], multiple=True)
    peer.call(1, "basic.qos")
    peer = home.kill_and_start()
    assert list(take_all(peer, "grave")) == bodies[:10]
    assert list(take_all(peer, "q")) == bodies[10:]


@pytest.mark.parametrize("whose", ["queue", "message"])
def test_expired_while_the_broker_was_away(home: Home, peer: RawPeer, whose: str) -> None:
    """Nobody is given them, and their lives do not begin anew."""
    declare(peer, "q", GRAVE | ({"x-message-ttl": 100} if whose == "queue" else {}))
    declare(peer, "kept", GRAVE | {"x-message-ttl": 3_600_000})
    bodies = publish(peer, 20, **({"expiration": "100"} if whose == "message" else {}))
    kept = publish(peer, 5, "kept")
    confirm_up_to(peer, 25)
    peer = home.kill_and_start()
    peer.get_empty(1, "q")
    bury_all(peer, bodies)
    assert list(take_all(peer, "kept")) == kept


def test_waiting_for_the_disk_lengthens_no_life(peer: RawPeer) -> None:
    """A message with a consumer is delivered once that is on disk, though it expires meanwhile; but not once more."""
    declare(peer, "q", GRAVE | {"x-message-ttl": 0})
    peer.open_channel(2)
    peer.call(2, "basic.consume", queue="q")
    publish(peer, 1)
    confirm_up_to(peer, 1)
    peer.expect_deliver(2, b"0", redelivered=False)
    peer.send(2, "basic.nack", delivery_tag=1, requeue=True)
    bury_all(peer, [b"0"])


def test_killed_among_expirations(home: Home, peer: RawPeer) -> None:
    declare(peer, "q", GRAVE)
    bodies = [b"%d" % number for number in range(300)]
    for number, body in enumerate(bodies):
        peer.publish(1, "", "q", body, properties(delivery_mode=2, expiration=str(number)))
    confirm_up_to(peer, 300)
    wait_for_the_first(peer, "grave")
    peer = home.kill_and_start()
    bury_all(peer, bodies)
    peer.get_empty(1, "q")


def test_killed_while_the_grave_is_read(home: Home, peer: RawPeer) -> None:
    """Who has read a dead letter is told when it comes again, whether it has died again or not."""
    declare(peer, "q", GRAVE)
    bodies = [b"%d" % number for number in range(300)]
    for number, body in enumerate(bodies):
        peer.publish(1, "", "q", body, properties(delivery_mode=2, expiration=str(number)))
    confirm_up_to(peer, 300)
    peer.call(1, "basic.consume", queue="grave")
    read = {peer.expect_deliver(1, redelivered=False).body for _ in range(100)}
    peer = home.kill_and_start()
    peer.call(1, "basic.consume", queue="grave", no_ack=True)
    again = [peer.expect_deliver(1) for _ in bodies]
    assert sorted(content.body for content in again) == sorted(bodies)
    assert [content.body for content in again if content.body in read and not content.method["redelivered"]] == []


def test_killed_on_the_way_through_a_chain(home: Home, peer: RawPeer) -> None:
    """Two queues to die in before the grave, and a limit in one of them."""
    declare(peer, "last", GRAVE | {"x-message-ttl": 150, "x-max-length": 50})
    declare(peer, "q", {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "last", "x-message-ttl": 50})
    bodies = publish(peer, 200)
    confirm_up_to(peer, 200)
    wait_for_the_first(peer, "grave")
    peer = home.kill_and_start()
    bury_all(peer, bodies)
    for queue in ("q", "last"):
        peer.get_empty(1, queue)


def test_pushed_out_just_now(home: Home, peer: RawPeer) -> None:
    declare(peer, "q", GRAVE | {"x-max-length": 10})
    bodies = publish(peer, 400)
    confirm_up_to(peer, 200)
    peer = home.kill_and_start()
    alive, dead = assert_nothing_lost(peer, bodies[:200])
    assert len(alive) <= 10
    assert not alive.keys() & dead.keys()


def test_pushed_out_and_confirmed(home: Home, peer: RawPeer) -> None:
    declare(peer, "q", GRAVE | {"x-max-length": 10})
    bodies = publish(peer, 100)
    confirm_up_to(peer, 100)
    peer = home.kill_and_start()
    assert list(take_all(peer, "q")) == bodies[90:]
    assert list(take_all(peer, "grave")) == bodies[:90]


@pytest.mark.parametrize("limit", [{"x-max-length": 5}, {"x-max-length-bytes": 5}])
def test_a_full_queue_is_full_again(home: Home, peer: RawPeer, limit: dict[str, int]) -> None:
    """What was confirmed is there, what was refused is not; and it still refuses."""
    declare(peer, "q", limit | {"x-overflow": "reject-publish"})
    bodies = publish(peer, 9)
    assert refused(peer, 9) == {6, 7, 8, 9}
    peer = home.kill_and_start()
    peer.call(1, "confirm.select")
    peer.publish(1, "", "q", b"x", properties(delivery_mode=2))
    assert refused(peer, 1) == {1}
    assert list(take_all(peer, "q")) == bodies[:5]


def refused(peer: RawPeer, last: int) -> set[int]:
    """The nacked ones of the publishes up to ``last``."""
    told: dict[int, str] = {}
    while len(told) < last:
        got = peer.next_method(1)
        first = 1 if got["multiple"] else got["delivery_tag"]
        told |= {tag: got.name for tag in range(first, got["delivery_tag"] + 1) if tag not in told}
    return {tag for tag, name in told.items() if name == "basic.nack"}


def test_an_expired_queue_stays_away(home: Home, peer: RawPeer) -> None:
    """And one that was not yet expired expires later."""
    declare(peer, "q", {"x-expires": 50})
    declare(peer, "later", {"x-expires": 1000})
    publish(peer, 5)
    publish(peer, 5, "later")
    confirm_up_to(peer, 10)
    wait_until_gone(peer, "q")
    peer = home.kill_and_start()
    peer.call(1, "confirm.select")
    wait_until_gone(peer, "later")
    peer.refused(1, 404, "NOT_FOUND - no queue 'q' in vhost '/'", "queue.declare", queue="q", passive=True)


def wait_for_the_first(peer: RawPeer, queue: str) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while peer.call(1, "queue.declare", queue=queue, passive=True)["message_count"] == 0:
        assert time.monotonic() < deadline
        time.sleep(0.005)


def wait_until_gone(peer: RawPeer, queue: str) -> None:
    """Without using it: until what is published to it is returned."""
    deadline = time.monotonic() + TIMEOUT_S
    while is_there(peer, queue):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_there(peer: RawPeer, queue: str) -> bool:
    peer.publish(1, "", queue, b"", properties(expiration="0"), mandatory=True)
    if peer.next_method(1).name == "basic.ack":
        return True
    peer.next_frame(1)
    peer.expect(1, "basic.ack")
    return False
