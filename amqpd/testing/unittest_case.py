"""A broker for the tests of a class of ``unittest``, with a virtual host for each of them."""

import unittest
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from amqpd.testing.broker import Broker
from amqpd.testing.isolation import Leaks, fresh_vhost

if TYPE_CHECKING:
    _TestCase = unittest.TestCase
else:
    _TestCase = object  # the test's class brings its own, TestCase or IsolatedAsyncioTestCase


class BrokerMixin(_TestCase):
    """To be named before ``unittest.TestCase`` or ``unittest.IsolatedAsyncioTestCase``:

        class OrderTest(BrokerMixin, unittest.TestCase):
            def test_order(self):
                place_order(self.amqpd_url)
                self.amqpd.wait_for(queue="orders", ready=1)

    The class has one broker. Each test has a virtual host of its own, which is gone after it, as ``fresh_vhost`` says.
    Who overrides ``setUpClass`` or ``setUp`` calls that of ``super()`` first.
    """

    amqpd_arguments: ClassVar[Mapping[str, Any]] = {}  # of amqpd.testing.Broker, where others are wanted
    amqpd_leaks: ClassVar[Leaks] = "warn"  # or "error", or "ignore": what connections are that a test leaves open

    amqpd: ClassVar[Broker]
    amqpd_vhost: str  # where self.amqpd looks for a name during the test
    amqpd_url: str  # of this virtual host, for any client

    @classmethod
    def setUpClass(cls) -> None:
        """Start the broker, which remembers what is published."""
        super().setUpClass()
        cls.amqpd = cls.enterClassContext(Broker(**{"record": True, **cls.amqpd_arguments}))

    def setUp(self) -> None:
        """Make the virtual host."""
        super().setUp()
        self.amqpd_vhost = self.enterContext(fresh_vhost(self.amqpd, self._testMethodName, self.amqpd_leaks))
        self.amqpd_url = self.amqpd.url
