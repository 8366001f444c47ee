"""What a consumer makes of deliveries: counts, times, faults, acks."""

import pytest

from amqpd.perf.consumer import WAITING_MAX, Consumer, Tally
from amqpd.perf.ledger import Ledger
from tests.perf import spoken
from tests.perf.spoken import NOW, RUN, body, deliver, said

MS = 1_000_000
LATER = NOW + 3 * MS


def consumer(*, ack_every: int = 1, limit: int = 0, autoack: bool = False, producers: int = 2) -> Consumer:
    ledgers = [Ledger() for _ in range(producers)]
    return Consumer(Tally(RUN), "q", ledgers, ack_every=ack_every, limit=limit, autoack=autoack)


def acks(one: Consumer) -> list[tuple[int, bool]]:
    return [(method["delivery_tag"], method["multiple"]) for method in spoken.methods(one.take_output())]


def test_messages_are_counted_timed_and_acked() -> None:
    one = consumer()
    one.receive(deliver(1, body(0)) + deliver(2, body(1, size=500)), LATER)
    assert (one.consumed, one.tally.consumed, one.tally.consumed_at) == (2, 2, LATER)
    assert (one.tally.latency.smallest, one.tally.latency.largest) == (3 * MS, 3 * MS)
    assert acks(one) == [(1, False), (2, False)]
    assert one.take_output() == b""
    assert one.ledgers[0].seen == 2


@pytest.mark.parametrize("step", [1, 7, 64])
def test_bytes_come_in_any_pieces(step: int) -> None:
    one = consumer()
    data = deliver(1, body(0, size=300), piece=50) + said("basic.cancel", consumer_tag="perf") + deliver(2, body(1))
    for at in range(0, len(data), step):
        one.receive(data[at : at + step], LATER)
    assert (one.consumed, one.ledgers[0].seen, one.rest) == (2, 2, b"")
    assert [method.name for frame in one.others for method in spoken.methods(frame)] == ["basic.cancel"]


def test_one_ack_for_many() -> None:
    one = consumer(ack_every=3)
    one.receive(b"".join(deliver(tag, body(tag)) for tag in range(1, 8)), LATER)
    assert acks(one) == [(3, True), (6, True)]


def test_no_ack() -> None:
    one = consumer(autoack=True)
    one.receive(deliver(1, body(0)), LATER)
    assert (one.consumed, one.take_output()) == (1, b"")


def test_enough_is_enough() -> None:
    one = consumer(ack_every=10, limit=3)
    one.receive(b"".join(deliver(tag, body(tag)) for tag in range(1, 8)), LATER)
    assert one.is_done
    assert (one.consumed, one.tally.consumed) == (3, 3)
    assert acks(one) == [(3, True)]


def test_what_comes_twice() -> None:
    one = consumer()
    one.receive(deliver(1, body(5)) + deliver(2, body(5)), LATER)
    assert (one.tally.duplicates, one.tally.reordered) == (1, 0)
    assert one.tally.faults == ["came twice: queue 'q', message 5 of producer 0"]


def test_what_comes_late() -> None:
    one = consumer()
    one.receive(b"".join(deliver(number, body(number)) for number in (1, 3, 2, 4)), LATER)
    assert (one.tally.duplicates, one.tally.reordered) == (0, 1)
    assert one.tally.faults == ["came late: queue 'q', message 2 of producer 0"]


def test_numbers_go_on_beyond_four_bytes() -> None:
    one = consumer()
    one.last[0] = (1 << 32) - 3
    numbers = [(1 << 32) - 2, (1 << 32) - 1, 0, 1, 1 << 31]
    one.receive(b"".join(deliver(1, body(number)) for number in numbers), LATER)
    assert (one.last[0], one.tally.duplicates, one.tally.reordered) == ((1 << 32) + (1 << 31), 0, 0)
    one.receive(deliver(1, body(5)), LATER)
    assert (one.last[0], one.tally.reordered) == ((1 << 32) + (1 << 31), 1)


def test_producers_have_numbers_of_their_own() -> None:
    one = consumer()
    one.receive(b"".join(deliver(1, body(number, producer=who)) for number in (0, 1) for who in (0, 1)), LATER)
    assert (one.tally.duplicates, one.tally.reordered) == (0, 0)
    assert [ledger.seen for ledger in one.ledgers] == [2, 2]


def test_what_is_delivered_again_is_no_fault() -> None:
    one = consumer()
    one.receive(deliver(1, body(1)) + deliver(2, body(0), redelivered=True) + deliver(3, body(1), redelivered=True), 0)
    assert (one.tally.redelivered, one.tally.duplicates, one.tally.reordered) == (0, 0, 0)
    one = consumer()
    one.receive(
        deliver(1, body(1)) + deliver(2, body(0), redelivered=True) + deliver(3, body(1), redelivered=True), NOW
    )
    assert (one.tally.redelivered, one.tally.duplicates, one.tally.reordered) == (2, 0, 0)
    assert one.ledgers[0].seen == 2


@pytest.mark.parametrize("text", [b"", b"short", b"something that somebody else published", body(0, producer=2)])
def test_messages_of_somebody_else(text: bytes) -> None:
    one = consumer()
    one.receive(deliver(1, text), LATER)
    assert (one.consumed, one.tally.foreign, one.ledgers[0].seen) == (1, 1, 0)


def test_messages_of_another_run_have_a_time() -> None:
    one = consumer()
    one.receive(deliver(1, body(0, run=RUN + 1)), LATER)
    assert (one.tally.foreign, one.tally.latency.largest) == (1, 3 * MS)


def test_a_consumer_that_takes_its_time() -> None:
    one = consumer()
    one.pace = 10 * MS
    one.receive(b"".join(deliver(tag, body(tag)) for tag in (1, 2, 3)), NOW)
    assert (one.consumed, one.take_output(), one.tally.latency.count) == (0, b"", 0)
    one.work(NOW + 10 * MS)
    assert (one.consumed, acks(one)) == (1, [(1, False)])
    one.work(NOW + 30 * MS)
    assert (one.consumed, acks(one)) == (3, [(2, False), (3, False)])
    assert one.tally.latency.count == 3
    # The third had waited until the second was done.
    assert one.tally.latency.largest == 20 * MS
    one.receive(deliver(4, body(4, at=NOW + 99 * MS)), NOW + 100 * MS)
    one.work(NOW + 110 * MS)
    assert (one.consumed, one.tally.latency.smallest) == (4, 0)


def test_a_consumer_can_have_enough() -> None:
    one = consumer()
    one.pace = MS
    one.receive(b"".join(deliver(tag, body(tag)) for tag in range(1, WAITING_MAX + 1)), NOW)
    assert not one.is_full
    one.receive(deliver(WAITING_MAX + 1, body(0)), NOW)
    assert one.is_full
