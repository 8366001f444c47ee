"""A virtual host for each test, in a broker that all of them share."""

import threading
import warnings
from collections.abc import Iterator

import pika
import pytest

from amqpd.testing import Broker, NotRunning
from amqpd.testing.isolation import AmqpdLeakWarning, LeakedConnections, fresh_vhost

DEFINITIONS = {
    "users": [
        {"name": "guest", "password": "guest", "tags": "administrator"},
        {"name": "ada", "password": "x", "tags": ""},
    ],
    "permissions": [
        {"user": "guest", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
        {"user": "ada", "vhost": "/", "configure": "", "write": "orders", "read": ""},
    ],
    "policies": [
        {"vhost": "/", "name": "short", "pattern": ".*", "apply-to": "queues", "definition": {"max-length": 1}}
    ],
    "exchanges": [{"name": "events", "type": "topic"}],
    "queues": [{"name": "orders"}],
    "bindings": [{"source": "events", "destination": "orders", "routing_key": "order.*"}],
}


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


def connect(broker: Broker, name: str = "app") -> pika.BlockingConnection:
    return pika.BlockingConnection(broker.pika_parameters(client_properties={"connection_name": name}))


def is_closed(connection: pika.BlockingConnection) -> bool:
    """Whether the broker has closed it; it answers."""
    with pytest.raises(pika.exceptions.ConnectionClosedByBroker, match="deleted"):
        connection.process_data_events(time_limit=5)
    return bool(connection.is_closed)


def vhosts(broker: Broker) -> list[str]:
    return broker.call(lambda: list(broker.node.vhosts))


def test_is_what_the_broker_means_meanwhile(broker: Broker) -> None:
    with fresh_vhost(broker, "test_order") as name:
        assert broker.vhost == name
        assert broker.url.endswith(f"/{name}")
        with connect(broker) as connection:
            connection.channel().queue_declare("q")
        assert broker.queue("q").exists
        assert not broker.queue("q", vhost="/").exists
    assert broker.vhost == "/"


def test_is_gone_afterwards_even_if_the_test_fails(broker: Broker) -> None:
    def fail() -> None:
        with fresh_vhost(broker, "test_order"):
            assert len(vhosts(broker)) == 2
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert vhosts(broker) == ["/"]
    assert broker.vhost == "/"


def test_name_can_be_read_and_put_into_a_url(broker: Broker) -> None:
    with fresh_vhost(broker, "test_big[a/b-é %]") as name, fresh_vhost(broker, "x" * 1000) as long_name:
        assert name.startswith("test_big-a-b-")
        assert name.isascii()
        assert len(long_name) < 255
        connect(broker).close()


def test_two_tests_of_one_name_do_not_meet(broker: Broker) -> None:
    with fresh_vhost(broker, "test_order") as first, fresh_vhost(broker, "test_order") as second:
        assert first != second


def test_begins_as_the_broker_did() -> None:
    with Broker(definitions=DEFINITIONS) as broker:
        broker.queue("orders").purge()
        with fresh_vhost(broker, "test_order"):
            assert [queue.name for queue in broker.queues()] == ["orders"]
            with connect(broker) as connection:
                channel = connection.channel()
                for body in (b"1", b"2"):
                    channel.basic_publish("events", "order.new", body)
                broker.wait_for(queue="orders", ready=1)
            ada = pika.PlainCredentials("ada", "x")
            with pika.BlockingConnection(broker.pika_parameters(credentials=ada)) as connection:
                channel = connection.channel()
                with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="ACCESS_REFUSED"):
                    channel.queue_declare("mine")
        assert broker.queue("orders").ready == 0


def test_reset_goes_back_to_its_beginning() -> None:
    with Broker(definitions=DEFINITIONS) as broker:
        with fresh_vhost(broker, "test_order"):
            with connect(broker) as connection:
                connection.channel().queue_declare("q")
            broker.reset()
            assert [queue.name for queue in broker.queues()] == ["orders"]
            connect(broker).close()
        broker.reset()
        assert vhosts(broker) == ["/"]


def test_connections_left_open_are_told_of_and_closed(broker: Broker) -> None:
    with pytest.warns(AmqpdLeakWarning, match=r"^test_order has left a connection open: 'app' Pika .* \(127.0.0.1:"):
        with fresh_vhost(broker, "test_order"):
            connection = connect(broker)
    assert is_closed(connection)


def test_connections_left_open_can_be_an_error(broker: Broker) -> None:
    with pytest.raises(LeakedConnections, match=r"2 connections open: 'a' .*, 'b' "):
        with fresh_vhost(broker, "test_order", "error"):
            left = [connect(broker, "a"), connect(broker, "b")]
    assert all(is_closed(connection) for connection in left)
    assert vhosts(broker) == ["/"]


def test_connections_left_open_can_be_ignored(broker: Broker) -> None:
    with warnings.catch_warnings(action="error"), fresh_vhost(broker, "test_order", "ignore"):
        connection = connect(broker)
    assert is_closed(connection)
    assert vhosts(broker) == ["/"]


def test_who_is_just_closing_has_left_nothing(broker: Broker) -> None:
    with fresh_vhost(broker, "test_order", "error"):
        connection = connect(broker)
        closing = threading.Timer(0.05, connection.close)
        closing.start()
    closing.join()


def test_connections_elsewhere_are_no_business_of_the_test(broker: Broker) -> None:
    with connect(broker), fresh_vhost(broker, "test_order", "error"):
        pass


def test_faults_end_with_the_test(broker: Broker) -> None:
    with fresh_vhost(broker, "test_order"):
        broker.faults.refuse_logins()
    connect(broker).close()


@pytest.mark.parametrize("end", [Broker.stop, Broker.kill])
def test_a_broker_left_dead_is_started(broker: Broker, end: object) -> None:
    assert callable(end)
    port = broker.port
    with fresh_vhost(broker, "test_order"):
        end(broker)
        with pytest.raises(NotRunning):
            broker.queues()
    assert vhosts(broker) == ["/"]
    end(broker)
    with fresh_vhost(broker, "test_order"):
        assert broker.port == port
        connect(broker).close()
