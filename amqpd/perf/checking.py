"""Whether all messages came: what was published, against what was seen and what is left. Pure."""

from amqpd.perf.consumer import Tally
from amqpd.perf.figures import Verdict
from amqpd.perf.ledger import Ledger
from amqpd.perf.producer import Producer
from amqpd.perf.topology import Topology

Ledgers = list[list[Ledger]]  # by queue, then by producer


def expected(topology: Topology, producers: list[Producer]) -> list[int]:
    """How many messages each queue got, as far as the broker took them."""
    taken = [int(producer.published - producer.returned - producer.nacked) for producer in producers]
    return [
        sum(count for number, count in enumerate(taken) if topology.reaches(number, queue)) for queue in topology.queues
    ]


def judge(
    topology: Topology, producers: list[Producer], ledgers: Ledgers, tally: Tally, left: list[int] | None, doubt: str
) -> Verdict:
    """``left``: how many messages are in each queue; None when that is not known. ``doubt``: what else is not."""
    if not doubt and left is None:
        doubt = "nobody could tell how many messages were left"
    lost, faults = 0, list(tally.faults)
    if not doubt and left is not None:
        for number, count in enumerate(expected(topology, producers)):
            missing = count - left[number] - sum(int(ledger.seen) for ledger in ledgers[number])
            if missing > 0:
                lost += missing
                faults += _name_lost(topology, producers, ledgers, number, missing, left[number])
    return Verdict(
        lost=lost,
        duplicates=int(tally.duplicates),
        reordered=int(tally.reordered),
        redelivered=int(tally.redelivered),
        foreign=int(tally.foreign),
        doubt=doubt,
        faults=faults,
    )


def _name_lost(
    topology: Topology, producers: list[Producer], ledgers: Ledgers, number: int, missing: int, left: int
) -> list[str]:
    """A line for the queue; with the first message that is lost, where it cannot be one of those that are left."""
    queue = topology.queues[number]
    words = f"lost: queue {queue.name!r}, {missing} messages"
    if left:
        return [words]
    for producer in producers:
        if topology.reaches(producer.number, queue):
            first = ledgers[number][producer.number].first_missing(int(producer.published))
            if first is not None:
                return [f"{words}, first message {first} of producer {producer.number}"]
    return [words]
