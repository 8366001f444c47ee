"""How much a queue holds: ``x-max-length``, ``x-max-length-bytes``, and what ``x-overflow`` says of the rest."""

from typing import Any

import pytest

from tests.conformance.conftest import Name
from tests.conformance.graves import Death, Grave, assert_died, queue_with
from tests.support.raw_peer import RawPeer, properties

REJECT = {"x-overflow": "reject-publish"}
PERSISTENT = properties(delivery_mode=2)


@pytest.fixture
def grave(peer: RawPeer, name: Name) -> Grave:
    return Grave(peer, name("grave"))


def confirmed(peer: RawPeer, *bodies: bytes, to: str, exchange: str = "", props: bytes = properties()) -> str:
    """Publish in confirm mode and tell the answers."""
    peer.open_channel(3)
    peer.call(3, "confirm.select")
    for body in bodies:
        peer.publish(3, exchange, to, body, props, mandatory=True)
    told = answers(peer, 3, len(bodies))
    peer.close_channel(3)
    return told


def answers(peer: RawPeer, channel: int, count: int) -> str:
    """What the channel is told of its first publishes: ``+`` for an ack, ``-`` for a nack."""
    signs: dict[int, str] = {}
    while len(signs) < count:
        got = peer.next_method(channel)
        sign = {"basic.ack": "+", "basic.nack": "-"}[got.name]
        first = 1 if got["multiple"] else got["delivery_tag"]
        signs |= {tag: sign for tag in range(first, got["delivery_tag"] + 1) if tag not in signs}
    return "".join(signs[tag] for tag in sorted(signs))


# -- drop-head --


@pytest.mark.parametrize("overflow", [{}, {"x-overflow": "drop-head"}])
def test_the_oldest_are_dropped(peer: RawPeer, name: Name, grave: Grave, overflow: dict[str, str]) -> None:
    queue = queue_with(peer, name, grave.arguments | overflow | {"x-max-length": 2})
    assert confirmed(peer, b"a", b"b", b"c", b"d", to=queue) == "++++"
    for content in grave.expect_all(b"a", b"b"):
        assert_died(content, Death(queue, "maxlen"))
    assert peer.take_all(1, queue) == [b"c", b"d"]


def test_bytes_of_bodies_count(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = queue_with(peer, name, grave.arguments | {"x-max-length-bytes": 10})
    peer.publish_all(1, queue, [b"aaa", b"bbb", b"cccc", b"", b"12345678"])
    grave.expect_all(b"aaa", b"bbb", b"cccc")
    assert peer.take_all(1, queue) == [b"", b"12345678"]


def test_headers_do_not_count(peer: RawPeer, name: Name) -> None:
    queue = queue_with(peer, name, {"x-max-length-bytes": 10})
    for body in (b"12345", b"67890"):
        peer.publish(1, "", queue, body, properties(headers={"k": "v" * 100}))
    assert peer.take_all(1, queue) == [b"12345", b"67890"]


def test_a_body_above_the_limit_pushes_out_all_and_itself(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = queue_with(peer, name, grave.arguments | {"x-max-length-bytes": 3})
    assert confirmed(peer, b"a", b"b", b"1234", to=queue) == "+++"
    grave.expect_all(b"a", b"b", b"1234")
    peer.get_empty(1, queue)


@pytest.mark.parametrize(
    ("arguments", "left"),
    [
        ({"x-max-length": 2, "x-max-length-bytes": 100}, [b"cc", b"dd"]),
        ({"x-max-length": 100, "x-max-length-bytes": 3}, [b"dd"]),
    ],
)
def test_both_limits_hold(peer: RawPeer, name: Name, arguments: dict[str, int], left: list[bytes]) -> None:
    queue = queue_with(peer, name, arguments)
    peer.publish_all(1, queue, [b"aa", b"bb", b"cc", b"dd"])
    assert peer.take_all(1, queue) == left


@pytest.mark.parametrize("limit", ["x-max-length", "x-max-length-bytes"])
def test_0_holds_nothing(peer: RawPeer, name: Name, grave: Grave, limit: str) -> None:
    queue = queue_with(peer, name, grave.arguments | {limit: 0})
    peer.publish(1, "", queue, b"a")
    grave.expect(b"a")
    peer.get_empty(1, queue)


def test_0_bytes_hold_what_is_empty(peer: RawPeer, name: Name) -> None:
    queue = queue_with(peer, name, {"x-max-length-bytes": 0})
    peer.publish_all(1, queue, [b"", b""])
    assert peer.take_all(1, queue) == [b"", b""]


def test_0_with_a_ready_consumer_delivers(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = queue_with(peer, name, grave.arguments | {"x-max-length": 0})
    peer.call(1, "basic.qos", prefetch_count=1)
    peer.call(1, "basic.consume", queue=queue)
    peer.publish_all(1, queue, [b"a", b"b"])
    peer.expect_deliver(1, b"a")
    grave.expect(b"b")


def test_only_ready_messages_count(peer: RawPeer, name: Name) -> None:
    queue = queue_with(peer, name, {"x-max-length": 2})
    peer.publish_all(1, queue, [b"a", b"b"])
    for body in (b"a", b"b"):
        peer.get(1, queue, body)
    peer.publish_all(1, queue, [b"c", b"d"])
    assert peer.take_all(1, queue) == [b"c", b"d"]


def test_what_comes_back_pushes_out_the_oldest(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = queue_with(peer, name, grave.arguments | {"x-max-length": 2})
    peer.publish_all(1, queue, [b"a", b"b"])
    for body in (b"a", b"b"):
        peer.get(1, queue, body)
    peer.publish(1, "", queue, b"c")
    peer.call(1, "basic.recover", requeue=True)
    assert_died(grave.expect(b"a"), Death(queue, "maxlen"))
    peer.get(1, queue, b"b", redelivered=True)
    peer.get(1, queue, b"c", redelivered=False, message_count=0)


def test_without_a_dead_letter_exchange_they_are_gone(peer: RawPeer, name: Name) -> None:
    queue = queue_with(peer, name, {"x-max-length": 3})
    peer.publish_all(1, queue, [b"%d" % number for number in range(100)])
    assert peer.take_all(1, queue) == [b"97", b"98", b"99"]


@pytest.mark.parametrize("props", [properties(), PERSISTENT])
def test_of_a_durable_queue(peer: RawPeer, name: Name, grave: Grave, props: bytes) -> None:
    queue = name("durable")
    peer.call(1, "queue.declare", queue=queue, durable=True, arguments=grave.arguments | {"x-max-length": 2})
    assert confirmed(peer, b"a", b"b", b"c", b"d", to=queue, props=props) == "++++"
    grave.expect_all(b"a", b"b")
    assert peer.take_all(1, queue) == [b"c", b"d"]


def test_a_commit_drops(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = queue_with(peer, name, grave.arguments | {"x-max-length": 1})
    peer.call(1, "tx.select")
    peer.publish_all(1, queue, [b"a", b"b", b"c"])
    peer.call(1, "tx.commit")
    grave.expect_all(b"a", b"b")
    peer.get(1, queue, b"c")


# -- reject-publish --


@pytest.mark.parametrize("props", [properties(), PERSISTENT])
@pytest.mark.parametrize("durable", [False, True])
def test_publishes_are_refused(peer: RawPeer, name: Name, grave: Grave, durable: bool, props: bytes) -> None:
    """What is refused is no dead letter, and not returned either."""
    queue = name("q")
    arguments = grave.arguments | REJECT | {"x-max-length": 2}
    peer.call(1, "queue.declare", queue=queue, durable=durable, arguments=arguments)
    assert confirmed(peer, b"a", b"b", b"c", b"d", to=queue, props=props) == "++--"
    assert peer.take_all(1, queue) == [b"a", b"b"]
    assert confirmed(peer, b"e", to=queue, props=props) == "+"
    peer.publish(1, "", grave.queue, b"last")
    grave.expect(b"last")


def test_transient_and_persistent_in_turns(peer: RawPeer, name: Name) -> None:
    queue = name("q")
    peer.call(1, "queue.declare", queue=queue, durable=True, arguments=REJECT | {"x-max-length": 2})
    peer.call(1, "confirm.select")
    for number in range(6):
        peer.publish(1, "", queue, b"%d" % number, PERSISTENT if number % 2 else properties())
    assert answers(peer, 1, 6) == "++----"


@pytest.mark.parametrize(
    ("bodies", "told"),
    [
        ([b"1234567890", b"1"], "+-"),
        ([b"12345678901", b"1"], "-+"),
        ([b"123456789", b"12", b"1"], "+-+"),
        ([b"1234567890", b"", b"1"], "++-"),
    ],
)
def test_bytes_are_refused(peer: RawPeer, name: Name, bodies: list[bytes], told: str) -> None:
    queue = queue_with(peer, name, REJECT | {"x-max-length-bytes": 10})
    assert confirmed(peer, *bodies, to=queue) == told
    taken = [body for body, sign in zip(bodies, told, strict=True) if sign == "+"]
    assert peer.take_all(1, queue) == taken


def test_without_confirms_nobody_is_told(peer: RawPeer, name: Name) -> None:
    queue = queue_with(peer, name, REJECT | {"x-max-length": 1})
    peer.publish_all(1, queue, [b"a", b"b"])
    assert peer.take_all(1, queue) == [b"a"]


def test_0_refuses_all_even_with_a_ready_consumer(peer: RawPeer, name: Name) -> None:
    queue = queue_with(peer, name, REJECT | {"x-max-length": 0})
    peer.call(1, "basic.consume", queue=queue)
    assert confirmed(peer, b"a", to=queue) == "-"


def test_only_ready_messages_refuse(peer: RawPeer, name: Name) -> None:
    queue = queue_with(peer, name, REJECT | {"x-max-length": 1})
    peer.publish(1, "", queue, b"a")
    peer.get(1, queue, b"a")
    assert confirmed(peer, b"b", b"c", to=queue) == "+-"


def test_what_comes_back_may_be_too_much(peer: RawPeer, name: Name) -> None:
    queue = queue_with(peer, name, REJECT | {"x-max-length": 1})
    peer.publish(1, "", queue, b"a")
    held = peer.get(1, queue, b"a")
    assert confirmed(peer, b"b", to=queue) == "+"
    peer.send(1, "basic.nack", delivery_tag=held.tag, requeue=True)
    peer.call(1, "basic.recover", requeue=True)
    assert confirmed(peer, b"c", to=queue) == "-"
    assert peer.take_all(1, queue) == [b"a", b"b"]


def test_what_expires_makes_room(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = queue_with(peer, name, grave.arguments | REJECT | {"x-max-length": 1})
    peer.publish(1, "", queue, b"a", properties(expiration="10"))
    grave.expect(b"a")
    assert confirmed(peer, b"b", to=queue) == "+"


@pytest.mark.parametrize("full_first", [True, False])
def test_one_queue_of_two_refuses(peer: RawPeer, name: Name, full_first: bool) -> None:
    """The other has the message, and yet it is not confirmed."""
    exchange = name("x")
    peer.call(1, "exchange.declare", exchange=exchange, type="fanout")
    both: list[dict[str, Any]] = [REJECT | {"x-max-length": 0}, {}]
    queues = [queue_with(peer, name, arguments) for arguments in (both if full_first else both[::-1])]
    for queue in queues:
        peer.call(1, "queue.bind", queue=queue, exchange=exchange)
    assert confirmed(peer, b"a", b"b", to="", exchange=exchange) == "--"
    assert [peer.take_all(1, queue) for queue in queues][full_first] == [b"a", b"b"]


def test_what_is_refused_is_not_unroutable(peer: RawPeer, name: Name, grave: Grave) -> None:
    """No alternate exchange takes it."""
    exchange, alternate = name("x"), name("alternate")
    peer.call(1, "exchange.declare", exchange=alternate, type="fanout")
    peer.call(1, "queue.bind", queue=grave.queue, exchange=alternate)
    arguments = {"alternate-exchange": alternate}
    peer.call(1, "exchange.declare", exchange=exchange, type="fanout", arguments=arguments)
    peer.call(1, "queue.bind", queue=queue_with(peer, name, REJECT | {"x-max-length": 0}), exchange=exchange)
    assert confirmed(peer, b"a", to="", exchange=exchange) == "-"
    peer.publish(1, "", grave.queue, b"last")
    grave.expect(b"last")


def test_a_commit_is_refused(peer: RawPeer, name: Name) -> None:
    """Only the rest of it is kept."""
    full, other = queue_with(peer, name, REJECT | {"x-max-length": 1}), queue_with(peer, name, {})
    peer.call(1, "tx.select")
    for queue in (full, other):
        peer.publish_all(1, queue, [b"a", b"b"])
    peer.refused(1, 406, "PRECONDITION_FAILED - partial tx completion", "tx.commit")
    assert peer.take_all(1, full) == [b"a"]
    assert peer.take_all(1, other) == [b"a", b"b"]


# -- reject-publish-dlx --


@pytest.mark.parametrize("confirms", [True, False])
def test_what_is_refused_may_be_a_dead_letter(peer: RawPeer, name: Name, grave: Grave, confirms: bool) -> None:
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish-dlx"}
    queue = queue_with(peer, name, grave.arguments | arguments)
    if confirms:
        assert confirmed(peer, b"a", b"b", b"c", to=queue) == "+--"
    else:
        peer.publish_all(1, queue, [b"a", b"b", b"c"])
    for content in grave.expect_all(b"b", b"c"):
        assert_died(content, Death(queue, "maxlen"))
    assert peer.take_all(1, queue) == [b"a"]


def test_refused_dead_letters_of_a_commit(peer: RawPeer, name: Name, grave: Grave) -> None:
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish-dlx"}
    queue = queue_with(peer, name, grave.arguments | arguments)
    peer.call(1, "tx.select")
    peer.publish_all(1, queue, [b"a", b"b", b"c"])
    peer.refused(1, 406, "PRECONDITION_FAILED - partial tx completion", "tx.commit")
    grave.expect_all(b"b", b"c")
    assert peer.take_all(1, queue) == [b"a"]


def test_what_is_refused_does_not_come_back_to_its_own_grave(peer: RawPeer, name: Name) -> None:
    arguments = {"x-max-length": 0, "x-overflow": "reject-publish-dlx", "x-dead-letter-exchange": ""}
    queue = queue_with(peer, name, arguments)
    assert confirmed(peer, b"a", to=queue) == "-"
    peer.get_empty(1, queue)


def test_an_expiration_is_told_of_what_was_refused(peer: RawPeer, name: Name, grave: Grave) -> None:
    arguments = {"x-max-length": 0, "x-overflow": "reject-publish-dlx"}
    queue = queue_with(peer, name, grave.arguments | arguments)
    peer.publish(1, "", queue, b"a", properties(expiration="60000"))
    assert_died(grave.expect(b"a"), Death(queue, "maxlen", expiration="60000"))
