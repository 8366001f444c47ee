"""What a producer publishes, when it may, and what becomes of confirms."""

import pytest

from amqpd.perf.producer import BATCH_BYTES, Producer, WrongConfirm
from amqpd.perf.publish import Target, encode
from tests.perf import spoken
from tests.perf.spoken import NOW, RUN, Stamp, said

TARGET = Target("", "q", mandatory=False, persistent=False)
MS = 1_000_000
SECOND = 1000 * MS


def producer(*sizes: int, window: int = 0, limit: int = 0) -> Producer:
    publishes = [encode(TARGET, size, 131_072) for size in sizes or (16,)]
    made = Producer(3, RUN, window=window, limit=limit, publishes=publishes)
    made.credited_at = NOW
    return made


def test_stamps_say_when_and_who_and_which() -> None:
    one = producer()
    seen = spoken.publishes(one.encode(2, NOW) + one.encode(1, NOW + 5))
    assert [each.stamp for each in seen] == [
        Stamp(NOW, RUN, 3, 0),
        Stamp(NOW, RUN, 3, 1),
        Stamp(NOW + 5, RUN, 3, 2),
    ]
    assert (one.published, one.published_at) == (3, NOW + 5)


def test_sizes_come_in_turn() -> None:
    seen = spoken.publishes(producer(100, 200, 16).encode(5, NOW))
    assert [len(each.body) for each in seen] == [100, 200, 16, 100, 200]


def test_a_batch_has_an_end() -> None:
    one = producer(30_000)
    assert len(spoken.publishes(one.encode(100, NOW))) == 3
    assert one.published == 3
    assert len(producer(10 * BATCH_BYTES).encode(100, NOW)) < 11 * BATCH_BYTES


def test_as_fast_as_can_be() -> None:
    assert producer().allowed(NOW, 0.0) > 1_000_000


def test_a_rate() -> None:
    one = producer()
    counts = []
    for number in range(5):
        counts.append(one.allowed(NOW + number * 10 * MS, 250.0))  # 2.5 each time
        one.encode(counts[-1], NOW)
    assert counts == [1, 2, 3, 2, 3]


def test_what_was_held_up_for_long_is_not_made_up_for() -> None:
    one = producer()
    assert one.allowed(NOW + 60 * SECOND, 100.0) == 101


def test_a_limit() -> None:
    one = producer(limit=5)
    one.encode(3, NOW)
    assert one.allowed(NOW, 0.0) == 2
    assert not one.is_done
    one.encode(2, NOW)
    assert one.allowed(NOW, 0.0) == 0
    assert one.is_done


def test_nothing_while_the_broker_blocks() -> None:
    one = producer()
    one.is_blocked = True
    assert one.allowed(NOW, 0.0) == 0


def test_confirms_open_the_window() -> None:
    one = producer(window=10)
    assert one.allowed(NOW, 0.0) == 10
    one.encode(10, NOW)
    assert (one.allowed(NOW, 0.0), one.unconfirmed) == (0, 10)
    one.receive(said("basic.ack", delivery_tag=2), NOW + 5 * MS)
    assert (one.confirmed, one.allowed(NOW, 0.0)) == (1, 0)  # the first is still out
    one.receive(said("basic.ack", delivery_tag=4, multiple=True), NOW + 7 * MS)
    assert (one.confirmed, one.allowed(NOW, 0.0), one.unconfirmed) == (4, 4, 6)
    one.receive(said("basic.nack", delivery_tag=10, multiple=True), NOW + 7 * MS)
    assert (one.confirmed, one.nacked, one.unconfirmed) == (4, 6, 0)
    assert (one.latency.count, one.latency.smallest, one.latency.largest) == (10, 5 * MS, 7 * MS)


def test_all_at_once() -> None:
    one = producer(window=10)
    one.encode(7, NOW)
    one.receive(said("basic.ack", delivery_tag=0, multiple=True), NOW)
    assert (one.confirmed, one.unconfirmed) == (7, 0)


@pytest.mark.parametrize("tags", [[6], [2, 2], [1, 1]])
def test_confirms_of_nothing_are_a_fault(tags: list[int]) -> None:
    one = producer(window=10)
    one.encode(5, NOW)
    confirms = b"".join(said("basic.ack", delivery_tag=tag) for tag in tags)
    with pytest.raises(WrongConfirm):
        one.receive(confirms, NOW)


def test_bytes_come_in_any_pieces() -> None:
    one = producer(window=10)
    one.encode(3, NOW)
    returned = said("basic.return", reply_code=312, reply_text="NO_ROUTE", exchange="", routing_key="q")
    content = spoken.deliver(1, b"y" * 20, piece=7)[len(said("basic.deliver", consumer_tag="perf", routing_key="q")) :]
    data = returned + content + said("basic.ack", delivery_tag=1) + said("channel.flow", active=True)
    data += said("basic.ack", delivery_tag=3, multiple=True) + b"\x08\0\0\0\0\0\0\xce"
    for at in range(len(data)):
        one.receive(data[at : at + 1], NOW)
    assert (one.returned, one.confirmed) == (1, 3)
    assert [method.name for frame in one.others for method in spoken.methods(frame)] == ["channel.flow"]
    assert one.rest == b""
