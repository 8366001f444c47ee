"""What a broker in a thread and one in the running loop have in common: time by hand, resets, the port."""

import json
from pathlib import Path
from typing import Any

import pika
import pytest

from amqpd.management.definitions.plan import InvalidDefinitions
from amqpd.testing import Broker, NotRunning

TOPOLOGY = {
    "exchanges": [{"name": "orders", "type": "topic"}],
    "queues": [{"name": "paid", "durable": True}],
    "bindings": [{"source": "orders", "destination": "paid", "destination_type": "queue", "routing_key": "*.paid"}],
}


def test_time_stands_still_until_it_is_advanced() -> None:
    with Broker(clock="manual") as broker, pika.BlockingConnection(broker.pika_parameters()) as connection:
        channel = connection.channel()
        channel.queue_declare("late")
        channel.queue_declare(
            "q", arguments={"x-message-ttl": 60_000, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "late"}
        )
        channel.queue_declare("idle", arguments={"x-expires": 3_600_000})
        channel.basic_publish("", "q", b"a minute")
        channel.basic_publish("", "q", b"ten seconds", pika.BasicProperties(expiration="10000"))
        broker.wait_for(queue="q", ready=2)
        broker.advance(59.9)
        assert broker.queue("q").ready == 2
        broker.advance(0.2)
        assert [message.body for message in broker.queue("late").messages()] == [b"a minute", b"ten seconds"]
        assert broker.queue("idle").exists
        broker.advance(3600)
        assert not broker.queue("idle").exists
        assert connection.is_open
        connection.process_data_events()


@pytest.mark.parametrize("steps", [[30], [29, 1], [0.1] * 300, [10, 20]])
def test_what_lives_so_long_is_gone_when_so_much_time_has_passed(steps: list[float]) -> None:
    with Broker(clock="manual") as broker, pika.BlockingConnection(broker.pika_parameters()) as connection:
        channel = connection.channel()
        channel.queue_declare("q", arguments={"x-message-ttl": 30_000})
        channel.queue_declare("own")
        channel.queue_declare("unused", arguments={"x-expires": 30_000})
        channel.basic_publish("", "q", b"")
        channel.basic_publish("", "own", b"", pika.BasicProperties(expiration="30000"))
        broker.wait_for(queue="own", ready=1)
        for step in steps[:-1]:
            broker.advance(step)
        assert broker.queue("q").ready == broker.queue("own").ready == 1
        broker.advance(steps[-1])
        assert broker.queue("q").ready == broker.queue("own").ready == 0
        assert not broker.queue("unused").exists


def test_what_is_due_happens_in_order() -> None:
    with Broker(clock="manual", record=True) as broker:
        with pika.BlockingConnection(broker.pika_parameters()) as connection:
            channel = connection.channel()
            channel.exchange_declare("delayed", "x-delayed-message", arguments={"x-delayed-type": "direct"})
            channel.queue_declare("q")
            channel.queue_bind("q", "delayed", "q")
            for delay in (300, 100, 200):
                headers = {"x-delay": delay * 1000}
                channel.basic_publish("delayed", "q", str(delay).encode(), pika.BasicProperties(headers=headers))
            broker.wait_for_published(3)
            broker.advance(1000)
            assert [message.body for message in broker.queue("q").messages()] == [b"100", b"200", b"300"]


def test_heartbeats_and_consumer_timeouts_pass_with_the_clock() -> None:
    with Broker(clock="manual", heartbeat_s=10, consumer_timeout_s=5) as broker:
        connection = pika.BlockingConnection(broker.pika_parameters())
        channel = connection.channel()
        channel.queue_declare("q")
        channel.basic_publish("", "q", b"held")
        cancelled: list[object] = []
        channel.add_on_cancel_callback(cancelled.append)
        channel.basic_consume("q", lambda *_: None)
        broker.wait_for(queue="q", unacked=1)
        broker.advance(7.5)  # who is late is found out a quarter of the time later
        broker.wait_for(queue="q", ready=1, unacked=0, consumers=0)
        while not cancelled:
            connection.process_data_events(1)
        assert len(broker.connections) == 1
        broker.advance(60)
        assert broker.connections == []
        with pytest.raises(pika.exceptions.AMQPError):
            channel.queue_declare("q", passive=True)


def test_a_real_clock_cannot_be_advanced() -> None:
    with Broker() as broker, pytest.raises(RuntimeError, match='clock="manual"'):
        broker.advance(1)
    with pytest.raises(NotRunning, match="not started"):
        Broker(clock="manual").advance(1)


@pytest.mark.parametrize("form", ["mapping", "text", "path"])
def test_it_begins_with_a_topology_and_goes_back_to_it(tmp_path: Path, form: str) -> None:
    path = tmp_path / "definitions.json"
    path.write_text(json.dumps(TOPOLOGY))
    forms: dict[str, Any] = {"mapping": TOPOLOGY, "text": json.dumps(TOPOLOGY), "path": path}
    with Broker(definitions=forms[form]) as broker:
        with pika.BlockingConnection(broker.pika_parameters()) as connection:
            channel = connection.channel()
            channel.queue_declare("more")
            channel.basic_publish("orders", "order.paid", b"1")
            broker.wait_for(queue="paid", ready=1)
            snapshot = broker.snapshot()
            broker.reset(keep_connections=True)
            assert [(queue.name, queue.ready) for queue in broker.queues()] == [("paid", 0)]
            broker.reset(snapshot, keep_connections=True)
            assert [(queue.name, queue.ready) for queue in broker.queues()] == [("more", 0), ("paid", 0)]
            channel.queue_delete("paid")
            broker.faults.refuse_logins()
            broker.reset()
            with pytest.raises(pika.exceptions.ConnectionClosedByBroker):
                channel.queue_declare("more")
        assert [queue.name for queue in broker.queues()] == ["paid"]
        pika.BlockingConnection(broker.pika_parameters()).close()


def test_definitions_that_cannot_be_taken_are_named() -> None:
    with pytest.raises(InvalidDefinitions, match="source"):
        Broker(definitions={"bindings": [{"destination": "q"}]}).start()


def test_a_virtual_host_of_its_own() -> None:
    with Broker(vhost="orders/eu", definitions={"queues": [{"name": "q"}]}) as broker:
        assert broker.url.endswith("/orders%2Feu")
        with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
            connection.channel().queue_declare("q", passive=True)
        assert [queue.name for queue in broker.queues()] == ["q"]
        assert broker.queues("/") == broker.queues("nowhere") == []
