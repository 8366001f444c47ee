"""Alternate exchanges (RabbitMQ's): where a message goes that its exchange has no binding for."""

from typing import Any

import pytest

from tests.conformance.conftest import Name
from tests.support.raw_peer import RawPeer, properties

TYPES = ["direct", "fanout", "topic", "headers"]


def declare(peer: RawPeer, exchange: str, alternate: str | None = None, kind: str = "direct", **args: Any) -> str:
    arguments = {} if alternate is None else {"alternate-exchange": alternate}
    peer.call(1, "exchange.declare", exchange=exchange, type=kind, arguments=arguments, **args)
    return exchange


def queue_bound(peer: RawPeer, exchange: str, key: str = "k", **arguments: Any) -> str:
    queue: str = peer.call(1, "queue.declare", exclusive=True)["queue"]
    peer.call(1, "queue.bind", queue=queue, exchange=exchange, routing_key=key, arguments=arguments)
    return queue


def got(peer: RawPeer, *queues: str) -> list[int]:
    """How many messages each queue has."""
    return [len(peer.take_all(1, queue)) for queue in queues]


def expect_unroutable(peer: RawPeer, exchange: str, key: str = "k") -> None:
    peer.publish(1, exchange, key, b"m", mandatory=True)
    peer.expect_content(1, "basic.return", b"m", reply_code=312, exchange=exchange, routing_key=key)


@pytest.mark.parametrize("kind", TYPES)
def test_each_type_may_have_one(peer: RawPeer, name: Name, kind: str) -> None:
    alternate = declare(peer, name("ae"), kind="fanout")
    exchange = declare(peer, name("x"), alternate, kind)
    rest = queue_bound(peer, alternate)
    peer.publish(1, exchange, "k", b"m")
    peer.get(1, rest, b"m", exchange=exchange, routing_key="k", redelivered=False)


@pytest.mark.parametrize("kind", TYPES)
def test_each_type_may_be_one(peer: RawPeer, name: Name, kind: str) -> None:
    """It routes as it always does, by the key and headers that were published."""
    alternate = declare(peer, name("ae"), kind=kind)
    exchange = declare(peer, name("x"), alternate)
    queue, other = queue_bound(peer, alternate, "k", a=1), queue_bound(peer, alternate, "other", a=2)
    peer.publish(1, exchange, "k", b"m", properties(headers={"a": 1}))
    assert got(peer, queue, other) == [1, 1 if kind == "fanout" else 0]


def test_what_is_routed_does_not_go_there(peer: RawPeer, name: Name) -> None:
    alternate = declare(peer, name("ae"), kind="fanout")
    exchange = declare(peer, name("x"), alternate)
    queue, rest = queue_bound(peer, exchange), queue_bound(peer, alternate)
    peer.publish(1, exchange, "k", b"m")
    assert got(peer, queue, rest) == [1, 0]
    peer.call(1, "queue.unbind", queue=queue, exchange=exchange, routing_key="k")
    peer.publish(1, exchange, "k", b"m")
    assert got(peer, queue, rest) == [0, 1]


def test_a_chain(peer: RawPeer, name: Name) -> None:
    last = declare(peer, name("last"))
    exchange = last
    for number in range(20):
        exchange = declare(peer, name(f"x{number}"), exchange)
    queue = queue_bound(peer, last)
    peer.publish(1, exchange, "k", b"m", mandatory=True)
    peer.get(1, queue, b"m", exchange=exchange)
    expect_unroutable(peer, exchange, "lost")


def test_a_chain_ends_at_the_first_that_routes(peer: RawPeer, name: Name) -> None:
    third = declare(peer, name("third"), kind="fanout")
    second = declare(peer, name("second"), third)
    first = declare(peer, name("first"), second)
    queues = queue_bound(peer, second), queue_bound(peer, third)
    peer.publish(1, first, "k", b"m")
    assert got(peer, *queues) == [1, 0]
    peer.publish(1, first, "other", b"m")
    assert got(peer, *queues) == [0, 1]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_a_cycle_ends(peer: RawPeer, name: Name, length: int) -> None:
    names = [name(f"x{number}") for number in range(length)]
    for number, each in enumerate(names):
        declare(peer, each, names[(number + 1) % length])
    queue = queue_bound(peer, names[-1])
    for each in names:
        peer.publish(1, each, "k", b"m", mandatory=True)
        assert got(peer, queue) == [1]
        expect_unroutable(peer, each, "lost")


def test_a_cycle_through_a_binding_ends(peer: RawPeer, name: Name) -> None:
    first, second = name("first"), name("second")
    declare(peer, first, second)
    declare(peer, second)
    peer.call(1, "exchange.bind", source=second, destination=first, routing_key="k")
    expect_unroutable(peer, first)
    queue = queue_bound(peer, second)
    peer.publish(1, first, "k", b"m")
    assert got(peer, queue) == [1]


def test_a_binding_to_an_exchange_is_a_binding(peer: RawPeer, name: Name) -> None:
    """Though no queue is found behind it; the alternate exchange of that one has its turn."""
    alternate, bound = declare(peer, name("ae"), kind="fanout"), name("bound")
    exchange = declare(peer, name("x"), alternate)
    declare(peer, bound)
    peer.call(1, "exchange.bind", source=exchange, destination=bound, routing_key="k")
    rest = queue_bound(peer, alternate)
    expect_unroutable(peer, exchange)
    assert got(peer, rest) == [0]
    peer.call(1, "exchange.delete", exchange=bound)
    peer.publish(1, exchange, "k", b"m")
    assert got(peer, rest) == [1]


def test_each_exchange_on_the_way_has_its_own(peer: RawPeer, name: Name) -> None:
    alternate = declare(peer, name("ae"), kind="fanout")
    bound = declare(peer, name("bound"), alternate)
    exchange = declare(peer, name("x"), kind="fanout")
    peer.call(1, "exchange.bind", source=exchange, destination=bound)
    queue, rest = queue_bound(peer, exchange), queue_bound(peer, alternate)
    peer.publish(1, exchange, "k", b"m")
    assert got(peer, queue, rest) == [1, 1]


def test_a_queue_gets_one_copy(peer: RawPeer, name: Name) -> None:
    alternate = declare(peer, name("ae"), kind="fanout")
    exchange = declare(peer, name("x"), kind="fanout")
    for each in (declare(peer, name("one"), alternate), declare(peer, name("two"), alternate)):
        peer.call(1, "exchange.bind", source=exchange, destination=each)
    queue = queue_bound(peer, alternate)
    peer.call(1, "queue.bind", queue=queue, exchange=exchange)
    peer.publish(1, exchange, "k", b"m")
    assert got(peer, queue) == [1]


def test_one_that_is_missing_is_passed_over_until_it_is_there(peer: RawPeer, name: Name) -> None:
    later = name("later")
    exchange = declare(peer, name("x"), later)
    expect_unroutable(peer, exchange)
    declare(peer, later, kind="fanout")
    queue = queue_bound(peer, later)
    peer.publish(1, exchange, "k", b"m")
    assert got(peer, queue) == [1]
    peer.call(1, "exchange.delete", exchange=later)
    expect_unroutable(peer, exchange)


def test_one_may_be_deleted_while_it_is_an_alternate(peer: RawPeer, name: Name) -> None:
    alternate = declare(peer, name("ae"))
    exchange = declare(peer, name("x"), alternate)
    peer.call(1, "exchange.delete", exchange=alternate, if_unused=True)
    expect_unroutable(peer, exchange)


def test_an_internal_one_takes_what_is_left(peer: RawPeer, name: Name) -> None:
    alternate = declare(peer, name("ae"), kind="fanout", internal=True)
    exchange = declare(peer, name("x"), alternate)
    queue = queue_bound(peer, alternate)
    peer.publish(1, exchange, "k", b"m", mandatory=True)
    assert got(peer, queue) == [1]


def test_the_default_exchange_as_one_routes_nothing(peer: RawPeer, name: Name) -> None:
    """It has no bindings, and only who publishes to it reaches queues by their names."""
    exchange = declare(peer, name("x"), "")
    queue = peer.call(1, "queue.declare", exclusive=True)["queue"]
    expect_unroutable(peer, exchange, queue)
    assert got(peer, queue) == [0]


@pytest.mark.parametrize("alternate", ["amq.fanout", "amq.direct"])
def test_a_predeclared_exchange_may_be_one(peer: RawPeer, name: Name, alternate: str) -> None:
    exchange = declare(peer, name("x"), alternate)
    key = name("key")
    queue = queue_bound(peer, alternate, key)
    peer.publish(1, exchange, key, b"m")
    assert got(peer, queue) == [1]


def test_an_auto_delete_exchange_stays_though_it_is_nothing_but_an_alternate(peer: RawPeer, name: Name) -> None:
    alternate = declare(peer, name("ae"), kind="fanout", auto_delete=True)
    exchange = declare(peer, name("x"), alternate)
    peer.call(1, "exchange.delete", exchange=exchange)
    declare(peer, alternate, kind="fanout", auto_delete=True, passive=True)
    exchange = declare(peer, name("x"), alternate, auto_delete=True)
    queue = queue_bound(peer, alternate)
    peer.publish(1, exchange, "k", b"m")
    assert got(peer, queue) == [1]
    peer.call(1, "queue.delete", queue=queue)
    expect_unroutable(peer, exchange)


def test_with_confirms_and_in_a_transaction(peer: RawPeer, name: Name) -> None:
    alternate = declare(peer, name("ae"), kind="fanout")
    exchange = declare(peer, name("x"), alternate)
    queue = queue_bound(peer, alternate)
    peer.call(1, "confirm.select")
    peer.publish(1, exchange, "k", b"a", mandatory=True)
    peer.expect(1, "basic.ack", delivery_tag=1)
    peer.open_channel(2)
    peer.call(2, "tx.select")
    peer.publish(2, exchange, "k", b"b", mandatory=True)
    peer.call(2, "tx.commit")
    assert peer.take_all(1, queue) == [b"a", b"b"]


def test_a_dead_letter_goes_there_too(peer: RawPeer, name: Name) -> None:
    alternate = declare(peer, name("ae"), kind="fanout")
    exchange = declare(peer, name("dlx"), alternate)
    arguments = {"x-dead-letter-exchange": exchange}
    queue = peer.call(1, "queue.declare", exclusive=True, arguments=arguments)["queue"]
    rest = queue_bound(peer, alternate)
    peer.call(1, "basic.consume", queue=rest, no_ack=True)
    peer.publish(1, "", queue, b"m")
    peer.send(1, "basic.reject", delivery_tag=peer.get(1, queue).tag)
    peer.expect_deliver(1, b"m", exchange=exchange, routing_key=queue)
