"""Loads on a broker, from the first connection to the last."""

import threading
from collections.abc import Callable
from typing import Any

import pika
import pytest

from amqpd.perf import link, load, seats
from amqpd.perf.figures import Result, Sample
from amqpd.perf.link import BrokerError, Refused
from amqpd.perf.load import Load
from amqpd.perf.plan import Plan, Schedule
from amqpd.testing import Broker


def nothing(_: Sample) -> None:
    pass


def run(broker: Broker, on_sample: Callable[[Sample], object] = nothing, **options: Any) -> Result:
    """A load that ends by itself, or is stopped after two intervals."""
    samples = 0

    def count(sample: Sample) -> None:
        nonlocal samples
        samples += 1
        on_sample(sample)

    plan = Plan(uri=broker.url, interval_s=0.1, **options)
    return Load(plan, lambda: samples >= 2, count).run()


def rate(messages_a_second: float) -> Schedule:
    return Schedule(((messages_a_second, 0.0),))


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"autoack": True, "queues": ("q",)},
        {"confirm": 10, "mandatory": True, "queues": ("q",)},
        {"persistent": True, "confirm": 50, "qos": 20, "multi_ack_every": 7, "queues": ("q",)},
        {"consumers": 3, "producers": 2, "queues": ("a", "b")},
        {"exchange_type": "topic", "routing_key": "a.b", "queues": ("a", "b"), "consumers": 2},
        {"exchange_type": "headers", "queues": ("a", "b"), "consumers": 2},
        {"sizes": (16, 100_000, 200_000), "pmessages": 10},
        {"size_schedule": Schedule(((16, 0.01), (50_000, 0.01))), "rate": rate(1000), "pmessages": 50},
        {"consumer_latency_us": Schedule(((100, 0.0),))},
        {"consumer_rate": 5000, "qos": 10},
        {"rate": rate(2000)},
        {"queue_arguments": (("x-max-priority", 3),), "queues": ("q",)},
    ],
    ids=str,
)
def test_all_that_is_published_is_consumed(broker: Broker, options: dict[str, Any]) -> None:
    result = run(broker, **{"pmessages": 100, **options})
    counts, each = result.counts, options.get("pmessages", 100)
    assert counts.published == each * options.get("producers", 1)
    copies = len(options["queues"]) if "exchange_type" in options else 1
    assert counts.consumed == counts.published * copies
    assert counts.confirmed == (counts.published if "confirm" in options else 0)
    assert (counts.returned, counts.nacked, result.unconfirmed) == (0, 0, 0)
    assert (result.left_in_queues, result.error) == (0, "")
    assert result.verdict.is_good
    assert not result.verdict.doubt
    assert result.latency_us is not None
    assert 0 < result.latency_us.min <= result.latency_us.median <= result.latency_us.max < 10_000_000
    assert (result.confirm_latency_us is not None) == ("confirm" in options)


def test_each_consumer_has_a_copy(broker: Broker) -> None:
    result = run(broker, consumers=3, pmessages=50)
    assert (result.counts.published, result.counts.consumed, result.verdict.lost) == (50, 150, 0)


def test_samples_add_up(broker: Broker) -> None:
    samples: list[Sample] = []
    result = run(broker, samples.append, rate=rate(1000), time_s=0.25)
    assert len(samples) == 2
    assert [round(each.at_s, 1) for each in samples] == [0.1, 0.2]
    assert sum(each.published for each in samples) * 0.1 == pytest.approx(result.counts.published, rel=0.3)
    assert all(each.latency_us is not None for each in samples)


def test_time_is_up(broker: Broker) -> None:
    result = run(broker, queues=("q",), rate=rate(1000), time_s=0.15)
    assert 0.15 <= result.seconds
    assert result.counts.published > 0
    assert result.verdict.is_good
    assert not result.verdict.doubt


def test_a_rate_is_kept(broker: Broker) -> None:
    result = run(broker, rate=rate(500), producers=2, queues=("q",))
    assert result.publish_rate == pytest.approx(1000, rel=0.15)


def test_enough_is_consumed(broker: Broker) -> None:
    broker_queue = broker.queue("kept")
    run(broker, consumers=0, pmessages=30, queues=("kept",), auto_delete=False)
    assert broker_queue.ready == 30
    result = run(broker, producers=0, cmessages=10, queues=("kept",), auto_delete=False)
    assert (result.counts.consumed, result.verdict.foreign) == (10, 30)  # all came, twenty too many
    assert result.latency_us is not None
    broker.wait_for("kept", ready=20)


def test_what_is_left_is_not_lost(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "DRAIN_S", 0.05)
    result = run(broker, consumers=0, confirm=10, pmessages=25, queues=("kept",))
    assert (result.left_in_queues, result.verdict.lost, result.verdict.doubt) == (25, 0, "")
    result = run(broker, queues=("kept-2",), auto_delete=False, consumer_rate=10, rate=rate(500))
    assert result.verdict.is_good
    assert not result.verdict.doubt
    assert broker.queue("kept-2").exists


def test_what_is_there_is_used_as_it_is(broker: Broker) -> None:
    with pika.BlockingConnection(broker.pika_parameters()) as connection:
        channel = connection.channel()
        channel.queue_declare("kept", arguments={"x-max-length": 1000})
        channel.basic_publish("", "kept", b"of somebody else")
    result = run(broker, predeclared=True, queues=("kept",), pmessages=20, cmessages=21)
    assert (result.counts.consumed, result.verdict.foreign) == (21, 1)
    assert "--predeclared" in result.verdict.doubt
    assert broker.queue("kept").ready == 0


def test_what_is_lost_is_found(broker: Broker) -> None:
    result = run(broker, lambda _: broker.queue("kept").purge(), rate=rate(500), consumers=0, queues=("kept",))
    assert result.verdict.lost > 0
    assert not result.verdict.is_good
    assert "first message 0 of producer 0" in result.verdict.faults[0] or result.left_in_queues


def test_what_the_broker_refuses_is_not_lost(broker: Broker) -> None:
    broker.faults.nack_next(3)
    broker.faults.return_next(2)
    result = run(broker, queues=("q",), confirm=5, mandatory=True, pmessages=50)
    assert (result.counts.nacked, result.counts.returned) == (3, 2)
    assert (result.counts.confirmed, result.counts.consumed) == (47, 45)
    assert (result.verdict.lost, result.left_in_queues) == (0, 0)


def test_nowhere_to_go(broker: Broker) -> None:
    result = run(broker, consumers=0, exchange="amq.topic", predeclared=True, mandatory=True, pmessages=10)
    assert (result.counts.published, result.counts.returned) == (10, 10)


def test_confirms_that_do_not_come(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "SETTLE_S", 0.05)
    monkeypatch.setattr(load, "DRAIN_S", 0.05)
    monkeypatch.setattr(link, "TIMEOUT_S", 0.5)
    monkeypatch.setattr(seats, "CLOSE_TIMEOUT_S", 0.05)
    result = run(broker, lambda _: broker.faults.freeze_connections(), confirm=10, queues=("kept",))
    assert result.unconfirmed > 0
    assert "does not answer" in result.error
    assert result.verdict.is_good


def test_what_does_not_come_is_not_waited_for(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "IDLE_S", 0.05)
    monkeypatch.setattr(load, "DRAIN_S", 0.05)
    result = run(broker, pmessages=20, cmessages=30, queues=("q",))
    assert (result.counts.consumed, result.verdict.is_good) == (20, True)


def test_publishers_that_are_held_back(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "SETTLE_S", 0.1)
    monkeypatch.setattr(load, "DRAIN_S", 0.05)
    monkeypatch.setattr(seats, "CLOSE_TIMEOUT_S", 0.05)
    result = run(broker, lambda _: broker.faults.block_publishers(), rate=rate(1000), queues=("q",))
    assert result.blocked_s > 0
    assert result.verdict.doubt == "the broker has not taken all that was published"


def test_the_broker_closes_connections(broker: Broker) -> None:
    result = run(broker, lambda _: broker.faults.close_connections("enough"), rate=rate(500))
    assert "320" in result.error
    assert "enough" in result.error
    assert result.verdict.is_good
    assert result.verdict.doubt == result.error
    assert result.counts.published > 0


def test_the_queue_goes_away(broker: Broker) -> None:
    def delete(_: Sample) -> None:
        with pika.BlockingConnection(broker.pika_parameters()) as connection:
            connection.channel().queue_delete("q")

    result = run(broker, delete, rate=rate(500), queues=("q",))
    assert "queue was deleted" in result.error


def test_the_broker_is_killed() -> None:
    with Broker() as broker:
        result = run(broker, lambda _: broker.kill(), rate=rate(500))
    assert result.error.startswith("the broker ")


def test_another_stop(broker: Broker) -> None:
    stop = threading.Event()
    stop.set()
    result = Load(Plan(uri=broker.url, queues=("q",)), stop.is_set, nothing).run()
    assert (result.counts.published, result.error) == (0, "")


def test_a_queue_that_is_there_but_different(broker: Broker) -> None:
    with pika.BlockingConnection(broker.pika_parameters()) as connection:
        connection.channel().queue_declare("kept-2", durable=True)
    with pytest.raises(Refused, match="406 PRECONDITION_FAILED"):
        run(broker, queues=("q-1", "kept-2"))


def test_an_exclusive_queue_of_somebody_else(broker: Broker) -> None:
    with pika.BlockingConnection(broker.pika_parameters()) as connection:
        connection.channel().queue_declare("kept", exclusive=True)
        with pytest.raises(BrokerError, match="405 RESOURCE_LOCKED"):
            run(broker, queues=("kept",), predeclared=True)
