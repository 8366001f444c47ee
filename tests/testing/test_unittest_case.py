"""The mixin in classes of ``unittest``, which are run here as ``python -m unittest`` runs them."""

import asyncio
import unittest
import warnings
from typing import Any, ClassVar

import pika
import pytest

from amqpd.testing import AmqpdLeakWarning, Broker, BrokerMixin, NotRunning


def outcome(*cases: type[unittest.TestCase]) -> unittest.TestResult:
    result = unittest.TestResult()
    loader = unittest.TestLoader()
    unittest.TestSuite([loader.loadTestsFromTestCase(case) for case in cases]).run(result)
    return result


def passed(*cases: type[unittest.TestCase]) -> int:
    """How many tests passed; all have to."""
    result = outcome(*cases)
    assert (result.errors, result.failures) == ([], [])
    return result.testsRun


def connect(url: str) -> pika.BlockingConnection:
    return pika.BlockingConnection(pika.URLParameters(url))


def test_class_has_a_broker_and_each_test_a_virtual_host() -> None:
    seen: list[tuple[Broker, str]] = []

    class OrderTest(BrokerMixin, unittest.TestCase):
        def test_order(self) -> None:
            with connect(self.amqpd_url) as connection:
                channel = connection.channel()
                channel.queue_declare("orders")
                channel.basic_publish("", "orders", b"1")
            self.amqpd.wait_for(queue="orders", ready=1)
            assert [message.body for message in self.amqpd.published()] == [b"1"]
            assert self.amqpd_vhost.startswith(self._testMethodName)
            seen.append((self.amqpd, self.amqpd_vhost))

        test_again = test_order

    assert passed(OrderTest) == 2
    (broker, one), (same, other) = seen
    assert broker is same
    assert one != other
    with pytest.raises(NotRunning):
        broker.queues()


def test_each_class_has_its_own() -> None:
    class First(BrokerMixin, unittest.TestCase):
        amqpd_arguments: ClassVar[dict[str, Any]] = {"clock": "manual", "record": False}
        seen: ClassVar[list[Broker]] = []

        def test_time(self) -> None:
            self.amqpd.advance(60)
            with pytest.raises(RuntimeError, match="record"):
                self.amqpd.published()
            self.seen.append(self.amqpd)

    class Second(First):
        """As the first."""

    assert passed(First, Second) == 2
    first, second = First.seen
    assert first is not second


def test_coroutines_may_be_tests() -> None:
    class OrderTest(BrokerMixin, unittest.IsolatedAsyncioTestCase):
        amqpd_leaks = "error"

        async def asyncSetUp(self) -> None:
            self.connection = await asyncio.to_thread(connect, self.amqpd_url)

        async def test_order(self) -> None:
            await asyncio.to_thread(self.amqpd.wait_for_connection)
            assert [each.vhost for each in self.amqpd.connections] == [self.amqpd_vhost]

        async def asyncTearDown(self) -> None:
            await asyncio.to_thread(self.connection.close)

    assert passed(OrderTest) == 1


def leaking(leaks: str) -> tuple[type[unittest.TestCase], list[pika.BlockingConnection]]:
    """A class whose test forgets a connection, and where the connection is then."""
    left: list[pika.BlockingConnection] = []

    class OrderTest(BrokerMixin, unittest.TestCase):
        def test_forgets(self) -> None:
            left.append(connect(self.amqpd_url))

    OrderTest.amqpd_leaks = leaks  # type: ignore[assignment]
    return OrderTest, left


def close(left: list[pika.BlockingConnection]) -> None:
    """The client's ends."""
    for connection in left:
        with pytest.raises(pika.exceptions.ConnectionClosedByBroker):
            connection.process_data_events(5)


def test_connections_left_open_are_told_of() -> None:
    case, left = leaking("warn")
    with pytest.warns(AmqpdLeakWarning, match="^test_forgets has left a connection open"):
        assert passed(case) == 1
    close(left)


def test_connections_left_open_can_fail_the_test() -> None:
    case, left = leaking("error")
    result = outcome(case)
    assert [str(test) for test, _ in result.failures] == [str(case("test_forgets"))]
    assert "test_forgets has left a connection open" in result.failures[0][1]
    close(left)


def test_connections_left_open_can_be_ignored() -> None:
    case, left = leaking("ignore")
    with warnings.catch_warnings(action="error"):
        assert passed(case) == 1
    close(left)
