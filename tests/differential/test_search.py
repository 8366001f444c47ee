"""The harness itself: it finds what is planted, makes it small, and is not disturbed by what may be different."""

import re
from collections.abc import Iterator

import pytest

from tests.differential.client import Client
from tests.differential.comparison import find_difference
from tests.differential.operations import Operation, expires_soon
from tests.differential.search import Pair, search
from tests.differential.transcript import Step
from tests.differential.wording import properties
from tests.support import brokers, raw_peer
from tests.support.brokers import Broker
from tests.support.raw_peer import Typed

pytestmark = pytest.mark.timeout(120)


class Forger(Client):
    """Hears something else than the broker said."""

    said, heard = "", ""

    def run(self, *args: object, **options: object) -> list[Step]:
        transcript = super().run(*args, **options)  # type: ignore[arg-type]
        for step in transcript:
            for place, lines in step.heard.items():
                step.heard[place] = [line.replace(self.said, self.heard) for line in lines]
        return transcript


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with brokers.running_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture
def pair(broker: Broker) -> Iterator[tuple[Pair, Forger]]:
    forger = Forger(broker.host, broker.port, "b")
    clients = Pair(Client(broker.host, broker.port, "a"), forger)
    yield clients, forger
    clients.close()


def test_a_broker_does_not_differ_from_itself(pair: tuple[Pair, Forger]) -> None:
    tally = search(pair[0], 1, 20, ("core", "tx"))
    assert tally.found == []
    assert tally.sequences > 10
    assert tally.unsteady == []


def test_a_planted_difference_is_found_and_made_small(pair: tuple[Pair, Forger]) -> None:
    clients, forger = pair
    forger.said, forger.heard = "get-ok(delivery_tag=1", "get-ok(delivery_tag=7"
    tally = search(clients, 1, 100, ("core",))
    (found,) = tally.found
    operations = [line for line in found.splitlines() if not line.startswith(" ")]
    assert re.search(r"  - amqpd +\d.\d basic.get-ok\(delivery_tag=1", found)
    assert re.search(r"  \+ rabbitmq +\d.\d basic.get-ok\(delivery_tag=7", found)
    assert len(operations) <= 4, found  # declared, published, got; in the first world it needs an exchange, too


def test_what_does_not_show_again_is_counted_apart(pair: tuple[Pair, Forger]) -> None:
    clients, forger = pair
    honest = Client.run
    runs: list[int] = []

    def once(client: Client, *args: object, **options: object) -> list[Step]:
        transcript = honest(client, *args, **options)  # type: ignore[arg-type]
        if transcript and not runs:
            runs.append(1)
            transcript[-1].hears("0.1", "once")
        return transcript

    forger.run = once.__get__(forger)  # type: ignore[method-assign]
    tally = search(clients, 1, 5, ("core",))
    assert tally.found == []
    assert len(tally.unsteady) == 1
    assert "once" in tally.unsteady[0]


def transcript(operation: Operation, *lines: str) -> list[Step]:
    step = Step(operation)
    for line in lines:
        step.hears("0.1", line)
    return [step]


def test_an_accepted_difference_is_named() -> None:
    operation = Operation("queue.declare", 0, 1, {"queue": "~q0", "arguments": {"x-unknown": 1}})
    text = "channel.close(406, PRECONDITION_FAILED - inequivalent arg 'x-unknown' for queue ..."
    difference = find_difference(transcript(operation, text), transcript(operation, "queue.declare-ok()"))
    assert difference is not None
    assert difference.accepted is not None
    assert difference.accepted.name == "unknown-argument"


def test_a_difference_that_is_only_like_an_accepted_one_is_not() -> None:
    operation = Operation("queue.declare", 0, 1, {"queue": "~q0", "arguments": {"x-unknown": 1}})
    text = "channel.close(406, PRECONDITION_FAILED - inequivalent arg 'durable' for queue ..."
    difference = find_difference(transcript(operation, text), transcript(operation, "queue.declare-ok()"))
    assert difference is not None
    assert difference.accepted is None


def find_name(before: list[Operation], operation: Operation, amqpd: list[str], rabbitmq: list[str]) -> str:
    """Of what explains the difference in the operation, "" if nothing does."""
    ours, theirs = ([Step(each) for each in before] + transcript(operation, *lines) for lines in (amqpd, rabbitmq))
    difference = find_difference(ours, theirs)
    assert difference is not None
    return difference.accepted.name if difference.accepted is not None else ""


def test_what_must_have_come_before() -> None:
    declare = Operation("exchange.declare", 0, 5, {"exchange": "~e0", "type": "x-recent-history"})
    begin, publish = Operation("tx.select", 0, 4), Operation("publish", 0, 4, {"exchange": "~e0"})
    bind = Operation("queue.bind", 0, 5, {"queue": "~q0", "exchange": "~e0"})
    said = ["queue.bind-ok()"], ["queue.bind-ok()", "state ~q0 ready=1 consumers=0"]
    assert find_name([declare, begin, publish], bind, *said) == "history-of-what-is-not-committed"
    assert find_name([declare, publish], bind, *said) == ""
    assert find_name([begin, publish], bind, *said) == ""


def test_deaths_at_once_keep_the_order_of_those_that_look_the_same() -> None:
    def deliver(tag: int, body: str, *, dead: bool = False) -> str:
        headers = "x-death: [F{count: l:1, reason: S:'maxlen'}]" if dead else ""
        return f"basic.deliver(consumer_tag='d', delivery_tag={tag}) {{headers={{{headers}}}}} b'{body}'"

    publish = Operation("publish", 0, 4)
    mixed = [deliver(1, "1"), deliver(2, "1", dead=True), deliver(3, "2"), deliver(4, "2", dead=True)]
    apart = [deliver(1, "1"), deliver(2, "2"), deliver(3, "1", dead=True), deliver(4, "2", dead=True)]
    turned = [deliver(1, "2"), deliver(2, "1"), deliver(3, "1", dead=True), deliver(4, "2", dead=True)]
    assert find_name([], publish, mixed, apart) == "deaths-at-once"
    assert find_name([], publish, mixed, turned) == ""
    assert find_name([], publish, [deliver(1, "1"), deliver(2, "2")], [deliver(1, "2"), deliver(2, "1")]) == ""


def test_a_death_overtakes_the_message_itself_and_no_other() -> None:
    declare = Operation("queue.declare", 0, 5, {"queue": "~q0", "arguments": {"x-queue-type": "quorum"}})
    bury = Operation("queue.declare", 0, 5, {"queue": "~q1", "arguments": {"x-dead-letter-exchange": "~e1"}})
    get = Operation("basic.get", 0, 1)
    alive = ["basic.get-ok(delivery_tag=1) {headers={x-delivery-count: l:0}} b'6.0'"]
    dead = ["basic.get-ok(delivery_tag=1) {headers={x-death: [F{count: l:1}], x-delivery-count: l:0}} b'6.0'"]
    another = [dead[0].replace("6.0", "7.0")]
    assert find_name([declare, bury], get, alive, dead) == "death-overtakes"
    assert find_name([declare, bury], get, alive, another) == ""
    assert find_name([bury], get, alive, dead) == ""


@pytest.mark.parametrize("soon", [1, "1", Typed("l", 1)])
def test_what_expires_soon_is_waited_for_whatever_its_type(soon: object) -> None:
    assert expires_soon({"queue": "~q0", "arguments": {"x-message-ttl": soon}})
    assert not expires_soon({"queue": "~q0", "arguments": {"x-max-length": soon, "x-message-ttl": 600_000}})


def test_confirms_are_compared_by_number_however_they_are_folded() -> None:
    folded, single = transcript(Operation("publish", 0, 4)), transcript(Operation("publish", 0, 4))
    folded[0].hears_confirms("0.4", [1, 2], "ack")
    single[0].hears_confirms("0.4", [2], "ack")
    single[0].hears_confirms("0.4", [1], "ack")
    assert find_difference(folded, single) is None


def test_properties_are_told_with_the_types_of_the_wire() -> None:
    raw = raw_peer.properties(
        headers={"i": Typed("I", 1), "l": Typed("l", 1), "t": True, "a": ["s", Typed("V", None)], "F": {"x": b"\x00"}},
        delivery_mode=2,
        reply_to="r",
        timestamp=7,
    )
    assert properties(raw) == [
        "headers={i: I:1, l: l:1, t: t:1, a: [S:'s', V], F: F{x: x:'\\x00'}}",
        "delivery_mode=2",
        "reply_to='r'",
        "timestamp=7",
    ]
