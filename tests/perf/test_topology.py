"""Queues that are there for a load, and not longer."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from amqpd.perf import address
from amqpd.perf.link import Link, Refused
from amqpd.perf.plan import Plan
from amqpd.perf.topology import Topology, hint
from amqpd.protocols.amqp091.constants import EXCHANGE_DECLARE, QUEUE_DECLARE
from amqpd.testing import Broker

Make = Callable[..., Topology]


@pytest.fixture
def control(broker: Broker) -> Iterator[Link]:
    link = Link(address.parse(broker.url), "control")
    yield link
    link.close(5.0)


@pytest.fixture
def declared(control: Link) -> Make:
    def make(**options: Any) -> Topology:
        topology = Topology(Plan(**options), control)
        topology.declare()
        return topology

    return make


def test_a_queue_of_its_own_for_each_consumer(broker: Broker, declared: Make) -> None:
    topology = declared(consumers=2)
    assert [queue.name.startswith("amq.gen") for queue in topology.queues] == [True, True]
    assert len({queue.routing_key for queue in topology.queues}) == 1
    assert topology.target(0).exchange == "amq.direct"
    assert [topology.queue_of(number) for number in (0, 1)] == [0, 1]
    assert all(topology.reaches(0, queue) for queue in topology.queues)
    assert all(queue.auto_delete and not queue.durable for queue in broker.queues())
    assert topology.remove() == [0, 0]


def test_many_queues_in_turn(declared: Make) -> None:
    topology = declared(queues=("a", "b"), producers=3, consumers=3)
    assert [topology.target(number).routing_key for number in range(3)] == ["a", "b", "a"]
    assert [topology.queue_of(number) for number in range(3)] == [0, 1, 0]
    assert [topology.reaches(2, queue) for queue in topology.queues] == [True, False]
    assert topology.doubt() == ""
    topology.remove()


def test_all_get_it(declared: Make) -> None:
    topology = declared(queues=("a", "b"), exchange_type="fanout")
    assert [topology.reaches(0, queue) for queue in topology.queues] == [True, True]
    topology.remove()


def test_an_exchange_and_a_key(broker: Broker, declared: Make, control: Link) -> None:
    topology = declared(exchange="ex", exchange_type="topic", routing_key="k.1", queues=("q",), persistent=True)
    control.call(EXCHANGE_DECLARE, "exchange.declare-ok", exchange="ex", exchange_type="topic", passive=True)
    target = topology.target(0)
    assert (target.exchange, target.routing_key, target.persistent) == ("ex", "k.1", True)
    assert broker.queue("q").durable
    topology.remove()


def test_no_queue_at_all(declared: Make) -> None:
    topology = declared(consumers=0, exchange="amq.topic", predeclared=True, routing_key="k")
    assert (topology.queues, topology.target(0).routing_key) == ([], "k")
    assert topology.doubt()


def test_nothing_is_declared_that_is_there(broker: Broker, declared: Make) -> None:
    topology = declared(queues=("kept",), predeclared=True)
    assert not broker.queue("kept").exists
    assert "--predeclared" in topology.doubt()
    assert not topology.is_to_be_removed
    assert topology.is_kept


def test_what_others_have_there_is_left_alone(broker: Broker, declared: Make, control: Link) -> None:
    control.call(QUEUE_DECLARE, "queue.declare-ok", queue="kept", auto_delete=True)
    with Publishing(broker) as publish:
        publish("kept")
    topology = declared(queues=("kept",))
    assert "before" in topology.doubt()
    assert not topology.is_to_be_removed
    assert topology.count() == [1]


@pytest.mark.parametrize(
    ("options", "is_removed", "is_kept"),
    [({}, True, False), ({"auto_delete": False}, False, True), ({"consumers": 0}, False, True)],
)
def test_what_becomes_of_queues(declared: Make, options: dict[str, Any], is_removed: bool, is_kept: bool) -> None:
    topology = declared(queues=("kept",), **options)
    assert (topology.is_to_be_removed, topology.is_kept) == (is_removed, is_kept)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"queue_arguments": (("x-max-length", 5),)}, "x-max-length"),
        ({"exchange": "hash", "exchange_type": "x-consistent-hash", "routing_key": "1"}, "x-consistent-hash"),
    ],
)
def test_doubts(declared: Make, options: dict[str, Any], words: str) -> None:
    topology = declared(queues=("kept",), **options)
    assert words in topology.doubt()


def test_what_is_there_but_different(declared: Make, control: Link) -> None:
    control.call(QUEUE_DECLARE, "queue.declare-ok", queue="kept", auto_delete=True, durable=True)
    with pytest.raises(Refused) as told:
        declared(queues=("kept",))
    assert told.value.code == 406
    assert "--predeclared" in hint(told.value)
    assert hint(Refused(404, "NOT_FOUND")) == ""


class Publishing:
    """A peer that publishes to queues."""

    def __init__(self, broker: Broker) -> None:
        self._broker = broker

    def __enter__(self) -> Callable[[str], None]:
        import pika

        self._connection = pika.BlockingConnection(self._broker.pika_parameters())
        channel = self._connection.channel()
        channel.confirm_delivery()
        return lambda queue: channel.basic_publish("", queue, b"")

    def __exit__(self, *_: object) -> None:
        self._connection.close()
