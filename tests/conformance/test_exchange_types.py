"""Exchange types that RabbitMQ has as plug-ins: hashes, chance, history, delay, deduplication."""

import time
from typing import Any

import pytest

from tests.conformance.conftest import Name
from tests.support.raw_peer import RawPeer, Typed, properties

CONSISTENT, MODULUS, RANDOM, HISTORY = "x-consistent-hash", "x-modulus-hash", "x-random", "x-recent-history"
DELAYED, DEDUPLICATION = "x-delayed-message", "x-message-deduplication"
NOT_THERE = "a plug-in that does not come with RabbitMQ"
only_here = pytest.mark.amqpd_only(NOT_THERE)


def declare(peer: RawPeer, exchange: str, kind: str, **arguments: Any) -> str:
    peer.call(1, "exchange.declare", exchange=exchange, type=kind, arguments=arguments)
    return exchange


def bound(peer: RawPeer, exchange: str, key: str = "1", queue: str = "") -> str:
    queue = queue or peer.call(1, "queue.declare", exclusive=True)["queue"]
    peer.call(1, "queue.bind", queue=queue, exchange=exchange, routing_key=key)
    return queue


def publish(peer: RawPeer, exchange: str, key: str, body: bytes = b"m", **props: Any) -> None:
    peer.publish(1, exchange, key, body, properties(**props))


def refused_to_declare(peer: RawPeer, kind: str, text: str, **arguments: Any) -> None:
    text = f"PRECONDITION_FAILED - {text}"
    peer.refused(1, 406, text, "exchange.declare", exchange="never", type=kind, arguments=arguments)


def shares(peer: RawPeer, queues: list[str]) -> list[list[bytes]]:
    """What each queue has, taken."""
    return [peer.take_all(1, queue) for queue in queues]


# -- consistent hash --


def test_consistent_hash_shares_by_weight_and_repeats_itself(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"), CONSISTENT)
    queues = [bound(peer, exchange, weight) for weight in ("10", "10", "20")]
    for key in range(400):
        publish(peer, exchange, f"key-{key}", b"%d" % key)
    first = shares(peer, queues)
    assert sum(map(len, first)) == 400
    assert all(abs(len(got) - expected) < 45 for got, expected in zip(first, (100, 100, 200), strict=True))
    for key in range(400):
        publish(peer, exchange, f"key-{key}", b"%d" % key)
    assert shares(peer, queues) == first


def test_consistent_hash_moves_only_the_share_of_the_queue_that_goes(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"), CONSISTENT)
    queues = [bound(peer, exchange, "10") for _ in range(4)]
    for key in range(200):
        publish(peer, exchange, f"key-{key}", b"%d" % key)
    before = shares(peer, queues)
    peer.call(1, "queue.unbind", queue=queues[3], exchange=exchange, routing_key="10")
    for key in range(200):
        publish(peer, exchange, f"key-{key}", b"%d" % key)
    after = shares(peer, queues)
    assert after[3] == []
    assert all(set(old) <= set(new) for old, new in zip(before[:3], after[:3], strict=True))
    assert sum(map(len, after)) == 200


def test_consistent_hash_of_a_header(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"), CONSISTENT, **{"hash-header": "h"})
    queues = [bound(peer, exchange, "10") for _ in range(3)]
    for key in range(30):
        publish(peer, exchange, f"key-{key}", headers={"h": "same"})
    assert sorted(map(len, shares(peer, queues))) == [0, 0, 30]
    for number in range(60):
        publish(peer, exchange, "key", headers={"h": f"value-{number}"})
    assert min(map(len, shares(peer, queues))) > 0
    for key in range(10):
        publish(peer, exchange, f"key-{key}", headers={"other": f"{key}"})
        publish(peer, exchange, f"key-{key}")
    assert sorted(map(len, shares(peer, queues))) == [0, 0, 20], "without the header, all go the same way"


@pytest.mark.parametrize("hashed", ["message_id", "correlation_id", "timestamp"])
def test_consistent_hash_of_a_property(peer: RawPeer, name: Name, hashed: str) -> None:
    exchange = declare(peer, name("x"), CONSISTENT, **{"hash-property": hashed})
    queues = [bound(peer, exchange, "10") for _ in range(3)]
    same, *others = range(1000, 1061) if hashed == "timestamp" else map("id-{}".format, range(61))
    for key in range(30):
        publish(peer, exchange, f"key-{key}", b"m", **{hashed: same})
    assert sorted(map(len, shares(peer, queues))) == [0, 0, 30]
    for other in others:
        publish(peer, exchange, "key", b"m", **{hashed: other})
    assert min(map(len, shares(peer, queues))) > 0


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"hash-header": "h", "hash-property": "message_id"}, "hash-header and hash-property are mutually exclusive"),
        ({"hash-property": "reply_to"}, "Unsupported property: reply_to"),
        ({"hash-property": ""}, "Unsupported property: "),
    ],
)
def test_consistent_hash_of_what_cannot_be(peer: RawPeer, arguments: dict[str, str], text: str) -> None:
    refused_to_declare(peer, CONSISTENT, text, **arguments)


@pytest.mark.amqpd_only("RabbitMQ closes the connection with 541")
def test_consistent_hash_of_arguments_of_another_type(peer: RawPeer) -> None:
    refused_to_declare(peer, CONSISTENT, "Invalid argument 5, 'hash-header' must be a string", **{"hash-header": 5})
    refused_to_declare(peer, CONSISTENT, "Unsupported property: 5", **{"hash-property": 5})


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("abc", 'The binding key must be an integer: <<"abc">>'),
        ("", "The binding key must be an integer: <<>>"),
        (" 5", 'The binding key must be an integer: <<" 5">>'),
        ("1_0", 'The binding key must be an integer: <<"1_0">>'),
        ("é", 'The binding key must be an integer: <<"é">>'),
        ("0", "The binding key must be greater than 0"),
        ("-1", "The binding key must be greater than 0"),
    ],
)
def test_consistent_hash_weights_that_are_none(peer: RawPeer, name: Name, key: str, text: str) -> None:
    exchange = declare(peer, name("x"), CONSISTENT)
    queue = peer.call(1, "queue.declare", queue=name("q"))["queue"]
    text = f"PRECONDITION_FAILED - {text}"
    peer.refused(1, 406, text, "queue.bind", queue=queue, exchange=exchange, routing_key=key)


@pytest.mark.parametrize("key", ["+5", "007"])
def test_consistent_hash_weights_however_written(peer: RawPeer, name: Name, key: str) -> None:
    exchange = declare(peer, name("x"), CONSISTENT)
    queue = bound(peer, exchange, key)
    publish(peer, exchange, "k")
    assert shares(peer, [queue]) == [[b"m"]]


@pytest.mark.amqpd_only("RabbitMQ 3.10 takes as much memory as the weight is large")
def test_consistent_hash_of_a_huge_weight(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"), CONSISTENT)
    queues = [bound(peer, exchange, key) for key in ("1", "1000000000", "9" * 200)]
    for key in range(20):
        publish(peer, exchange, f"key-{key}")
    assert list(map(len, shares(peer, queues))) == [0, 0, 20]


# -- modulus hash and random --


def test_modulus_hash_sends_a_key_to_one_queue(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"), MODULUS)
    queues = [bound(peer, exchange, "ignored") for _ in range(3)]
    for key in [*range(60), *range(60)]:
        publish(peer, exchange, f"key-{key}", b"%d" % key)
    got = shares(peer, queues)
    assert sum(map(len, got)) == 120
    assert all(len(bodies) == 2 * len(set(bodies)) > 0 for bodies in got)


@pytest.mark.parametrize(
    "kind", [RANDOM, pytest.param("x-local-random", marks=pytest.mark.amqpd_only("came with RabbitMQ 4"))]
)
def test_random_sends_each_message_to_one_queue(peer: RawPeer, name: Name, kind: str) -> None:
    exchange = declare(peer, name("x"), kind)
    queues = [bound(peer, exchange, "ignored") for _ in range(3)]
    for number in range(90):
        publish(peer, exchange, "key", b"%d" % number)
    got = shares(peer, queues)
    assert sum(map(len, got)) == 90
    assert min(map(len, got)) > 0


@pytest.mark.parametrize("kind", [CONSISTENT, MODULUS, RANDOM])
def test_one_queue_gets_a_message_of_several_keys(peer: RawPeer, name: Name, kind: str) -> None:
    exchange = declare(peer, name("x"), kind)
    queues = [bound(peer, exchange) for _ in range(5)]
    publish(peer, exchange, "key", headers={"CC": [f"copy-{number}" for number in range(20)]})
    assert sum(map(len, shares(peer, queues))) == 1


@pytest.mark.parametrize("kind", [CONSISTENT, MODULUS, RANDOM, HISTORY])
def test_without_bindings_the_alternate_gets_it(peer: RawPeer, name: Name, kind: str) -> None:
    alternate = declare(peer, name("ae"), kind)
    exchange = declare(peer, name("x"), kind, **{"alternate-exchange": alternate})
    publish(peer, exchange, "k", b"lost")
    peer.publish(1, exchange, "k", b"returned", mandatory=True)
    peer.expect_content(1, "basic.return", b"returned", reply_code=312, exchange=exchange)
    if kind == HISTORY:
        assert shares(peer, [bound(peer, alternate)]) == [[b"lost", b"returned"]]
        return
    queue = bound(peer, alternate)
    publish(peer, exchange, "k", b"found")
    assert shares(peer, [queue]) == [[b"found"]]


@pytest.mark.parametrize("kind", [CONSISTENT, MODULUS, RANDOM])
def test_bound_to_an_exchange_it_goes_on_there(peer: RawPeer, name: Name, kind: str) -> None:
    exchange, other = declare(peer, name("x"), kind), declare(peer, name("y"), "direct")
    peer.call(1, "exchange.bind", destination=other, source=exchange, routing_key="1")
    queue = bound(peer, other, "k")
    publish(peer, exchange, "k", b"found")
    publish(peer, exchange, "other", b"lost")
    assert shares(peer, [queue]) == [[b"found"]]


# -- recent history --


def test_recent_history_goes_to_late_queues(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"), HISTORY)
    early = bound(peer, exchange, "any")
    for number in range(25):
        publish(peer, exchange, f"key-{number}", b"%d" % number, headers={"n": number})
    bodies = [b"%d" % number for number in range(25)]
    assert shares(peer, [early, bound(peer, exchange, "other")]) == [bodies, bodies[5:]]
    late = bound(peer, exchange)
    got = peer.get(1, late, b"5", no_ack=True, exchange=exchange, routing_key="key-5", redelivered=False)
    assert got.properties == properties(headers={"n": 5})


def test_recent_history_of_a_length(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"), HISTORY, **{"x-recent-history-length": Typed("l", 2)})
    for number in range(5):
        publish(peer, exchange, "k", b"%d" % number)
    assert shares(peer, [bound(peer, exchange)]) == [[b"3", b"4"]]


def test_recent_history_leaves_out_what_asks_for_it(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"), HISTORY)
    for body, flag in ((b"1", True), (b"2", False), (b"3", "true")):
        publish(peer, exchange, "k", body, headers={"x-recent-history-no-store": flag})
    assert shares(peer, [bound(peer, exchange)]) == [[b"2", b"3"]]


def test_recent_history_goes_through_exchanges_bound_late(peer: RawPeer, name: Name) -> None:
    exchange, other = declare(peer, name("x"), HISTORY), declare(peer, name("y"), "direct")
    queue = bound(peer, other, "k")
    publish(peer, exchange, "k", b"found")
    peer.call(1, "exchange.bind", destination=other, source=exchange)
    assert shares(peer, [queue]) == [[b"found"]]


def test_recent_history_of_a_binding_that_is_there(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"), HISTORY)
    queue = bound(peer, exchange)
    publish(peer, exchange, "k")
    bound(peer, exchange, queue=queue)
    assert shares(peer, [queue]) == [[b"m"]]


@pytest.mark.parametrize(
    ("length", "shown"),
    [(0, "0"), (-1, "-1"), ("5", '<<"5">>'), (True, "true"), (2.5, "2.5"), (Typed("u", 5), "5"), (Typed("B", 5), "5")],
)
def test_recent_history_of_no_length(peer: RawPeer, length: Any, shown: str) -> None:
    text = f"Invalid argument {shown}, 'x-recent-history-length' must be a positive integer"
    refused_to_declare(peer, HISTORY, text, **{"x-recent-history-length": length})


# -- delay --


def delayed(peer: RawPeer, exchange: str, inner: str = "direct", **arguments: Any) -> str:
    return declare(peer, exchange, DELAYED, **{"x-delayed-type": inner}, **arguments)


@only_here
def test_delayed_messages_come_in_the_order_of_their_times(peer: RawPeer, name: Name) -> None:
    exchange = delayed(peer, name("x"))
    queue = bound(peer, exchange, "k")
    peer.call(1, "basic.consume", queue=queue, consumer_tag="c", no_ack=True)
    started = time.monotonic()
    publish(peer, exchange, "k", b"later", headers={"x-delay": 90, "h": "kept"})
    publish(peer, exchange, "k", b"late", headers={"x-delay": "30"})
    publish(peer, exchange, "k", b"now")
    peer.expect_deliver(1, b"now")
    assert peer.expect_deliver(1, b"late", exchange=exchange).properties == properties(headers={"x-delay": -30})
    assert time.monotonic() - started >= 0.03
    later = peer.expect_deliver(1, b"later", exchange=exchange)
    assert later.properties == properties(headers={"x-delay": -90, "h": "kept"})
    assert time.monotonic() - started >= 0.09


@only_here
def test_a_delayed_message_is_confirmed_and_not_returned(peer: RawPeer, name: Name) -> None:
    exchange = delayed(peer, name("x"))
    peer.call(1, "confirm.select")
    peer.publish(1, exchange, "k", b"m", properties(headers={"x-delay": 1}, delivery_mode=2), mandatory=True)
    peer.expect(1, "basic.ack", delivery_tag=1)
    peer.publish(1, exchange, "k", b"m", properties(headers={"x-delay": -1}), mandatory=True)
    peer.expect_content(1, "basic.return", b"m", reply_code=312, exchange=exchange)
    peer.expect(1, "basic.ack", delivery_tag=2)


@only_here
def test_a_delayed_message_of_a_transaction_waits_from_its_commit_on(peer: RawPeer, name: Name) -> None:
    exchange = delayed(peer, name("x"))
    queue = bound(peer, exchange, "k")
    peer.call(1, "tx.select")
    publish(peer, exchange, "k", b"undone", headers={"x-delay": 1})
    peer.call(1, "tx.rollback")
    publish(peer, exchange, "k", b"done", headers={"x-delay": 20})
    peer.call(1, "tx.commit")
    peer.call(1, "basic.consume", queue=queue, no_ack=True)
    peer.expect_deliver(1, b"done")
    peer.expect_nothing()


@only_here
def test_deleting_the_exchange_deletes_what_waits(peer: RawPeer, name: Name) -> None:
    exchange = delayed(peer, name("x"), "fanout")
    publish(peer, exchange, "k", headers={"x-delay": 20})
    peer.call(1, "exchange.delete", exchange=exchange)
    delayed(peer, exchange, "fanout")
    queue = bound(peer, exchange)
    peer.call(1, "basic.consume", queue=queue, no_ack=True)
    publish(peer, exchange, "k", b"new", headers={"x-delay": 40})
    peer.expect_deliver(1, b"new")


@only_here
@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "'x-delayed-type' must be an existing exchange type"),
        ({"x-delayed-type": "nope"}, "'x-delayed-type' must be an existing exchange type"),
        ({"x-delayed-type": DELAYED}, "'x-delayed-message' can't be used for 'x-delayed-type'"),
    ],
)
def test_a_delayed_type_that_is_none(peer: RawPeer, arguments: dict[str, str], text: str) -> None:
    refused_to_declare(peer, DELAYED, f"Invalid argument, {text}", **arguments)


# -- deduplication --


@only_here
def test_a_duplicate_is_confirmed_and_dropped(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"), "direct", **{DEDUPLICATION: True})
    queue = bound(peer, exchange, "k")
    peer.call(1, "confirm.select")
    for tag in (1, 2):
        peer.publish(1, exchange, "k", b"%d" % tag, properties(message_id="id", delivery_mode=2), mandatory=True)
        peer.expect(1, "basic.ack", delivery_tag=tag)
    peer.publish(1, exchange, "k", b"3", properties(message_id="other"))
    peer.expect(1, "basic.ack", delivery_tag=3)
    assert shares(peer, [queue]) == [[b"1", b"3"]]


@only_here
def test_a_message_that_was_returned_is_no_duplicate_when_it_comes_again(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"), "direct", **{DEDUPLICATION: True})
    peer.publish(1, exchange, "k", b"m", properties(message_id="id"), mandatory=True)
    peer.expect_content(1, "basic.return", b"m")
    queue = bound(peer, exchange, "k")
    publish(peer, exchange, "k", b"again", message_id="id")
    publish(peer, exchange, "k", b"once more", message_id="id")
    assert shares(peer, [queue]) == [[b"again"]]


@only_here
def test_what_a_rollback_undid_is_no_duplicate_when_it_comes_again(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"), "direct", **{DEDUPLICATION: True})
    queue = bound(peer, exchange, "k")
    peer.call(1, "tx.select")
    publish(peer, exchange, "k", b"undone", message_id="id")
    peer.call(1, "tx.rollback")
    publish(peer, exchange, "k", b"done", message_id="id")
    publish(peer, exchange, "k", b"twice in one transaction", message_id="id")
    peer.call(1, "tx.commit")
    assert shares(peer, [queue]) == [[b"done"]]


@only_here
def test_the_deduplication_exchange(peer: RawPeer, name: Name) -> None:
    exchange = declare(peer, name("x"), DEDUPLICATION, **{"x-cache-size": 10, "x-cache-ttl": 50})
    queue = bound(peer, exchange, "any")
    header = {"x-deduplication-header": "id"}
    publish(peer, exchange, "k", b"1", headers=header)
    publish(peer, exchange, "other", b"2", headers=header)
    peer.call(1, "basic.consume", queue=queue, no_ack=True)
    peer.expect_deliver(1, b"1")
    publish(peer, exchange, "k", b"probe", headers={"x-deduplication-header": "probe"})
    peer.expect_deliver(1, b"probe")
    give_up_at = time.monotonic() + 5
    while time.monotonic() < give_up_at:  # until its time is over
        publish(peer, exchange, "k", b"again", headers=header)
        publish(peer, exchange, "k", b"mark")
        if peer.expect_deliver(1).body == b"again":
            break
    else:
        pytest.fail("the id is never forgotten")
    peer.expect_deliver(1, b"mark")


@only_here
def test_the_deduplication_exchange_needs_a_size(peer: RawPeer) -> None:
    refused_to_declare(peer, DEDUPLICATION, "Invalid argument, 'x-cache-size' must be an integer between 1 and 1048576")
