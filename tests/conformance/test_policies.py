"""Policies and operator policies (RabbitMQ's): what an operator wants of queues and exchanges by their names."""

import json
import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from interop.brokers import BrokerFailed
from tests.conformance.conftest import Control, Enter
from tests.support.raw_peer import RawPeer, decode_properties

SetPolicy = Callable[..., str]


@pytest.fixture
def peer(enter: Enter) -> RawPeer:
    """Of the broker that an operator governs."""
    peer = enter()
    peer.expect(0, "connection.open-ok")
    peer.open_channel(1)
    return peer


@pytest.fixture
def prefix() -> str:
    """Names that begin so are this test's."""
    return f"p-{secrets.token_hex(4)}"


@pytest.fixture
def set_policy(control: Control, prefix: str) -> Iterator[SetPolicy]:
    """Sets a policy for names with the prefix, by default; all are cleared afterwards. Gives its name."""
    made: list[tuple[str, str]] = []

    def make(
        definition: dict[str, Any], *options: str, operator: bool = False, name: str = "", pattern: str = ""
    ) -> str:
        verb = "operator_policy" if operator else "policy"
        made.append((verb, name or f"{prefix}-{len(made)}"))
        control(f"set_{verb}", made[-1][1], pattern or f"^{prefix}", json.dumps(definition), *options)
        return made[-1][1]

    yield make
    left = {verb: control(f"list_{verb.replace('policy', 'policies')}") for verb in {verb for verb, _ in made}}
    for verb, name in dict.fromkeys(made):
        if name in left[verb]:
            control(f"clear_{verb}", name)


def declare(peer: RawPeer, queue: str, **arguments: Any) -> str:
    arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
    peer.call(1, "queue.declare", queue=queue, exclusive=True, arguments=arguments)
    return queue


def fill(peer: RawPeer, queue: str, count: int) -> list[bytes]:
    """What is left after so many messages."""
    peer.publish_all(1, queue, [b"%d" % number for number in range(count)])
    return peer.take_all(1, queue)


def test_it_holds_for_queues_that_come_and_queues_that_are_there(
    peer: RawPeer, prefix: str, set_policy: SetPolicy, control: Control
) -> None:
    old = declare(peer, f"{prefix}-old")
    assert len(fill(peer, old, 3)) == 3
    name = set_policy({"max-length": 2})
    new = declare(peer, f"{prefix}-new")
    assert fill(peer, old, 3) == fill(peer, new, 3) == [b"1", b"2"]
    set_policy({"max-length": 1}, name=name)
    assert fill(peer, old, 3) == [b"2"]
    control("clear_policy", name)
    assert len(fill(peer, old, 3)) == len(fill(peer, new, 3)) == 3


def test_others_are_left_alone(peer: RawPeer, prefix: str, set_policy: SetPolicy) -> None:
    set_policy({"max-length": 1}, pattern=f"^{prefix}-a.*z$")
    assert len(fill(peer, declare(peer, f"{prefix}-abcz"), 2)) == 1
    for name in (f"{prefix}-b-az", f"{prefix}-abc", f"x{prefix}-az"):
        assert len(fill(peer, declare(peer, name), 2)) == 2


def test_the_highest_priority_counts_alone(peer: RawPeer, prefix: str, set_policy: SetPolicy, control: Control) -> None:
    """Policies are not merged with each other."""
    queue = declare(peer, f"{prefix}-q")
    set_policy({"max-length": 1})
    high = set_policy({"max-length": 3}, "--priority", "5")
    assert len(fill(peer, queue, 5)) == 3
    set_policy({"max-length-bytes": 2}, "--priority", "7")
    assert len(fill(peer, queue, 5)) == 2
    control("clear_policy", f"{prefix}-2")
    control("clear_policy", high)
    assert len(fill(peer, queue, 5)) == 1


@pytest.mark.parametrize(("argument", "policy", "left"), [(2, 4, 2), (4, 2, 2)])
def test_the_smaller_of_argument_and_policy_counts(
    peer: RawPeer, prefix: str, set_policy: SetPolicy, argument: int, policy: int, left: int
) -> None:
    queue = declare(peer, f"{prefix}-q", x_max_length=argument)
    set_policy({"max-length": policy})
    assert len(fill(peer, queue, 6)) == left


@pytest.mark.parametrize(("policy", "operator", "left"), [(2, 4, 2), (4, 2, 2), (None, 3, 3)])
def test_an_operator_policy_may_only_make_it_less(
    peer: RawPeer, prefix: str, set_policy: SetPolicy, policy: int | None, operator: int, left: int
) -> None:
    queue = declare(peer, f"{prefix}-q")
    if policy is not None:
        set_policy({"max-length": policy})
    set_policy({"max-length": operator}, operator=True)
    assert len(fill(peer, queue, 6)) == left


def test_an_argument_goes_before_a_policy_where_there_is_no_less(
    peer: RawPeer, prefix: str, set_policy: SetPolicy
) -> None:
    theirs, mine = declare(peer, f"dead-{prefix}-theirs"), declare(peer, f"dead-{prefix}-mine")
    set_policy({"dead-letter-exchange": "", "dead-letter-routing-key": theirs})
    plain = declare(peer, f"{prefix}-plain")
    with_key = declare(peer, f"{prefix}-key", x_dead_letter_exchange="", x_dead_letter_routing_key=mine)
    for queue, dead in ((plain, theirs), (with_key, mine)):
        peer.publish(1, "", queue, b"m")
        peer.send(1, "basic.reject", delivery_tag=peer.get(1, queue).tag)
        peer.call(1, "basic.consume", queue=dead, consumer_tag="t", no_ack=True)
        assert decode_properties(peer.expect_deliver(1, b"m").properties)["headers"]["x-first-death-queue"] == queue
        peer.call(1, "basic.cancel", consumer_tag="t")


def test_a_full_queue_is_cut_at_once(peer: RawPeer, prefix: str, set_policy: SetPolicy) -> None:
    queue = declare(peer, f"{prefix}-q")
    dead = declare(peer, f"dead-{prefix}")
    peer.store(queue, [b"1", b"2", b"3"])
    peer.call(1, "basic.consume", queue=dead, no_ack=True)
    set_policy({"max-length": 1, "dead-letter-exchange": "", "dead-letter-routing-key": dead})
    peer.expect_delivers(1, [b"1", b"2"])
    assert peer.take_all(1, queue) == [b"3"]


def test_waiting_messages_get_a_time_to_live(peer: RawPeer, prefix: str, set_policy: SetPolicy) -> None:
    queue = declare(peer, f"{prefix}-q")
    dead = declare(peer, f"dead-{prefix}")
    peer.call(1, "basic.consume", queue=dead, no_ack=True)
    set_policy({"message-ttl": 20, "dead-letter-exchange": "", "dead-letter-routing-key": dead})
    peer.publish(1, "", queue, b"m")
    peer.expect_deliver(1, b"m")


def test_overflow(peer: RawPeer, prefix: str, set_policy: SetPolicy) -> None:
    queue = declare(peer, f"{prefix}-q", x_max_length=1)
    peer.call(1, "confirm.select")
    set_policy({"overflow": "reject-publish"})
    for tag, answer in ((1, "basic.ack"), (2, "basic.nack")):
        peer.publish(1, "", queue, b"%d" % tag)
        peer.expect(1, answer, delivery_tag=tag)
    assert peer.take_all(1, queue) == [b"1"]


def test_an_unused_queue_goes(peer: RawPeer, prefix: str, set_policy: SetPolicy) -> None:
    queue = declare(peer, f"{prefix}-q")
    peer.call(1, "basic.consume", queue=queue, consumer_tag="t")
    set_policy({"expires": 20})
    peer.expect_nothing(60)
    peer.call(1, "basic.cancel", consumer_tag="t")
    peer.call(1, "confirm.select")
    answer = ""
    while answer != "basic.return":  # publishing is no use: it does not keep the queue
        peer.publish(1, "", queue, b"m", mandatory=True)
        answer = peer.next_method(1).name


def test_an_exchange_gets_an_alternate(peer: RawPeer, prefix: str, set_policy: SetPolicy, control: Control) -> None:
    exchange, rest = f"{prefix}-x", declare(peer, f"rest-{prefix}")
    peer.call(1, "exchange.declare", exchange=exchange, type="direct", auto_delete=True)
    peer.call(1, "queue.bind", queue=rest, exchange="amq.fanout")
    name = set_policy({"alternate-exchange": "amq.fanout"}, "--apply-to", "exchanges")
    peer.publish(1, exchange, "k", b"m", mandatory=True)
    peer.get(1, rest, b"m", exchange=exchange)
    control("clear_policy", name)
    peer.publish(1, exchange, "k", b"m", mandatory=True)
    peer.expect_content(1, "basic.return", b"m")
    peer.call(1, "exchange.delete", exchange=exchange)


@pytest.mark.parametrize("kind", ["queues", "exchanges", "all"])
def test_it_applies_to_what_it_says(peer: RawPeer, prefix: str, set_policy: SetPolicy, kind: str) -> None:
    either: dict[str, dict[str, Any]] = {
        "queues": {"max-length": 1},
        "exchanges": {"alternate-exchange": "amq.fanout"},
        "all": {"max-length": 1, "alternate-exchange": "amq.fanout"},
    }
    set_policy(either[kind], "--apply-to", kind)
    assert len(fill(peer, declare(peer, f"{prefix}-q"), 2)) == (2 if kind == "exchanges" else 1)


def test_a_policy_is_no_argument(peer: RawPeer, prefix: str, set_policy: SetPolicy) -> None:
    """Declaring the queue again compares arguments only."""
    set_policy({"max-length": 1})
    queue = declare(peer, f"{prefix}-q")
    declare(peer, queue)
    text = f"PRECONDITION_FAILED - inequivalent arg 'x-max-length' for queue '{queue}' in vhost '/': received the value"
    text += " '1' of type 'signedint' but current is none"
    arguments = {"x-max-length": 1}
    peer.refused(1, 406, text, "queue.declare", queue=queue, exclusive=True, arguments=arguments)


@pytest.mark.parametrize(
    "definition",
    [
        {"max-length": -1},
        {"max-length": "1"},
        {"message-ttl": -1},
        {"expires": 0},
        {"overflow": "nope"},
        {"dead-letter-exchange": 5},
        {"alternate-exchange": 1},
        {"no-such-key": 1},
        {},
    ],
)
def test_definitions_that_are_refused(set_policy: SetPolicy, prefix: str, definition: dict[str, Any]) -> None:
    with pytest.raises(BrokerFailed):
        set_policy(definition)


def test_an_operator_policy_knows_fewer_keys(set_policy: SetPolicy) -> None:
    with pytest.raises(BrokerFailed):
        set_policy({"dead-letter-exchange": "x"}, operator=True)
