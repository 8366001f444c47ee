"""A few cycles of the fault ``kill``; ``python -m tests.durability.kill`` runs as many as one wants."""

from pathlib import Path

import pytest

from tests.durability.campaign import Campaign
from tests.durability.faults.kill import Kill
from tests.durability.lab import Laboratory
from tests.durability.ledger import ACKED, CONFIRMED, PERSISTENT, SEEN, Ledger, Producer, Reader
from tests.durability.peer import Delivery


@pytest.mark.slow
@pytest.mark.parametrize(("window_bytes", "backend"), [(8_388_608, "asyncio"), (65_536, "trio")])
def test_kill_breaks_no_promise(tmp_path: Path, window_bytes: int, backend: str) -> None:
    """The smaller window makes queues page."""
    environ = {"AMQPD_QUEUE_WINDOW_BYTES": str(window_bytes)}
    campaign = Campaign(tmp_path, window_bytes, "--backend", backend, environ=environ, load_s=0.6)
    Laboratory(campaign, [Kill()]).run(3)
    ledger = campaign.ledger
    assert ledger.is_clean, ledger.table()
    assert ledger.counts["confirmed"] > 500
    assert ledger.counts["acked and known to be on disk"] > 100
    assert ledger.counts["read in audits"] > 100


# The ledger itself: a judge that never convicts is none.


def make_ledger() -> tuple[Ledger, Producer, Reader]:
    producer = Producer(1, "all", "", ("q", "r"))
    for _ in range(10):
        producer.next_message()
    return Ledger([producer], ("q", "r")), producer, Reader("q")


def delivery(producer: Producer, number: int, *, redelivered: bool = False) -> Delivery:
    return Delivery(number, redelivered, *producer.content(number))


def test_ledger_sees_what_was_lost() -> None:
    ledger, producer, _ = make_ledger()
    producer.confirm(1, 3)
    for queue, number in (("q", 1), ("r", 1), ("r", 2), ("q", 3), ("r", 3)):
        ledger.deliver(Reader(queue), delivery(producer, number))
        if number != 3:
            ledger.mark(queue, 1, number, ACKED)
    ledger.mark("q", 1, 3, SEEN)
    ledger.audit(("q", "r"))
    assert producer.sent[2] == CONFIRMED
    lost = [words for words in ledger.examples if words.startswith("confirmed and lost")]
    assert lost == [
        "confirmed and lost: queue q, message (1, 2)",
        "confirmed and lost: queue r, message (1, 3)",  # it was delivered, but not acked: it was still owed
    ]
    assert ledger.violations["confirmed and lost"] == 2
    assert sum(ledger.violations.values()) == 2


def test_ledger_sees_what_comes_again() -> None:
    ledger, producer, reader = make_ledger()
    ledger.deliver(reader, delivery(producer, 1))
    ledger.audit(("q", "r"))
    ledger.deliver(Reader("q"), delivery(producer, 1, redelivered=True))
    assert ledger.violations["acked and redelivered"] == 1
    assert sum(ledger.violations.values()) == 1


def test_ledger_sees_duplicates_and_disorder() -> None:
    ledger, producer, reader = make_ledger()
    ledger.deliver(reader, delivery(producer, 2))
    ledger.deliver(reader, delivery(producer, 1))
    assert ledger.violations["out of order"] == 1
    ledger.deliver(Reader("q"), delivery(producer, 2))
    assert ledger.violations["duplicate without the flag"] == 1
    ledger.deliver(Reader("q"), delivery(producer, 2, redelivered=True))
    assert sum(ledger.violations.values()) == 2
    alone = Reader("q", is_alone=True)
    ledger.deliver(alone, delivery(producer, 2, redelivered=True))
    ledger.deliver(alone, delivery(producer, 1, redelivered=True))
    assert ledger.violations["out of order"] == 2


def test_ledger_sees_phantoms() -> None:
    ledger, producer, reader = make_ledger()
    never_sent = Producer(1, "all", "", ("q",))
    ledger.deliver(reader, delivery(never_sent, 11))
    ledger.deliver(reader, Delivery(1, False, PERSISTENT, b"who knows"))
    ledger.deliver(reader, Delivery(1, False, PERSISTENT, producer.content(3)[1] + b"!"))
    assert ledger.violations["phantom"] == 3


def test_ledger_sees_flags_that_lie() -> None:
    ledger, producer, reader = make_ledger()
    ledger.deliver(reader, delivery(producer, 1, redelivered=True))
    assert ledger.violations["flagged, never delivered"] == 1
    ledger.on_clean_restart()
    ledger.deliver(reader, delivery(producer, 2, redelivered=True))
    assert ledger.violations["flagged, never delivered"] == 2
    ledger.on_restart()
    ledger.deliver(reader, delivery(producer, 3, redelivered=True))
    assert ledger.violations["flagged, never delivered"] == 2


def test_ledger_sees_half_transactions() -> None:
    ledger, producer, reader = make_ledger()
    producer.transactions.append((1, 2))
    ledger.on_restart()
    ledger.deliver(reader, delivery(producer, 1))
    ledger.audit(("q", "r"))
    assert ledger.violations["half a transaction"] == 1


def test_ledger_sees_transients_that_last() -> None:
    producer = Producer(1, "all", "", ("q",), persistent=False)
    producer.next_message()
    ledger = Ledger([producer], ("q",))
    ledger.on_restart()
    ledger.deliver(Reader("q"), delivery(producer, 1, redelivered=True))
    assert ledger.violations["transient came back"] == 1
