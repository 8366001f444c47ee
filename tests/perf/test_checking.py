"""What is lost, by what was published, seen and left."""

import pytest

from amqpd.perf.checking import Ledgers, expected, judge
from amqpd.perf.consumer import Tally
from amqpd.perf.ledger import Ledger
from amqpd.perf.link import Link
from amqpd.perf.plan import Plan
from amqpd.perf.producer import Producer
from amqpd.perf.topology import Queue, Topology


class NoLink(Link):
    """Nothing is asked of a broker here."""

    def __init__(self) -> None:
        pass


def world(plan: Plan, *published: int) -> tuple[Topology, list[Producer], Ledgers]:
    """Producers that have published so many; nothing has come yet."""
    topology = Topology(plan, NoLink())
    topology.queues = [Queue(name, name, is_ours=True) for name in plan.queues]
    producers = [Producer(number, 1, window=0, limit=0, publishes=[]) for number in range(len(published))]
    for producer, count in zip(producers, published, strict=True):
        producer.published = count
    return topology, producers, [[Ledger() for _ in producers] for _ in plan.queues]


def see(ledger: Ledger, *numbers: int) -> None:
    for number in numbers:
        ledger.note(number)


PLAN = Plan(queues=("a", "b"), producers=2)


def test_what_queues_should_have_got() -> None:
    topology, producers, _ = world(PLAN, 10, 20)
    producers[0].returned, producers[1].nacked = 1, 2
    assert expected(topology, producers) == [9, 18]
    topology, producers, _ = world(Plan(queues=("a", "b"), producers=2, exchange_type="fanout"), 10, 20)
    assert expected(topology, producers) == [30, 30]


def test_all_is_well() -> None:
    topology, producers, ledgers = world(PLAN, 3, 3)
    see(ledgers[0][0], 0, 1, 2)
    see(ledgers[1][1], 0)
    verdict = judge(topology, producers, ledgers, Tally(1), [0, 2], "")
    assert (verdict.lost, verdict.faults, verdict.doubt) == (0, [], "")


def test_what_is_lost_is_named() -> None:
    topology, producers, ledgers = world(PLAN, 3, 3)
    see(ledgers[0][0], 0, 2)
    see(ledgers[1][1], 0)
    verdict = judge(topology, producers, ledgers, Tally(1), [0, 1], "")
    assert verdict.lost == 2
    assert verdict.faults == [
        "lost: queue 'a', 1 messages, first message 1 of producer 0",
        "lost: queue 'b', 1 messages",
    ]


def test_what_was_refused_and_came_all_the_same_is_not_lost() -> None:
    topology, producers, ledgers = world(PLAN, 1, 0)
    producers[0].nacked = 1
    see(ledgers[0][0], 0)
    assert judge(topology, producers, ledgers, Tally(1), [0, 0], "").lost == 0


@pytest.mark.parametrize(("left", "doubt"), [(None, ""), ([0, 0], "others were there")])
def test_who_cannot_know_says_so(left: list[int] | None, doubt: str) -> None:
    topology, producers, ledgers = world(PLAN, 3, 3)
    verdict = judge(topology, producers, ledgers, Tally(1), left, doubt)
    assert verdict.lost == 0
    assert verdict.doubt == doubt or "left" in verdict.doubt


def test_what_consumers_saw_is_told() -> None:
    topology, producers, ledgers = world(PLAN, 0, 0)
    tally = Tally(1)
    tally.duplicates, tally.reordered, tally.redelivered, tally.foreign = 1, 2, 3, 4
    tally.complain("came late", "a", 0, 7)
    verdict = judge(topology, producers, ledgers, tally, [0, 0], "")
    assert (verdict.duplicates, verdict.reordered, verdict.redelivered, verdict.foreign) == (1, 2, 3, 4)
    assert verdict.faults == ["came late: queue 'a', message 7 of producer 0"]
