"""Payments that fail, on a clock that the test moves: half a minute between two tries takes no time at all."""

from collections.abc import Iterator

import pika
import pytest

from amqpd.testing import Broker
from interop.embedding.bank import Bank
from interop.embedding.order import Order
from interop.embedding.pika_orders.api import OrderApi
from interop.embedding.pika_orders.consumer import in_thread
from interop.embedding.pika_orders.payments import PaymentWorker
from interop.embedding.topology import CREATED, DEAD, GIVEN_UP, ORDERS, PAID, PAYMENTS, RETRY, RETRY_AFTER_MS, tries

ORDER = Order("1001", "teapot")
RETRY_AFTER_S = RETRY_AFTER_MS / 1000

pytestmark = pytest.mark.amqpd(clock="manual")


@pytest.fixture
def worker(amqpd: Broker, parameters: pika.ConnectionParameters, bank: Bank) -> Iterator[None]:
    with in_thread(PaymentWorker(parameters, bank.charge)):
        amqpd.wait_for_consumer(PAYMENTS)
        yield


@pytest.mark.usefixtures("worker")
def test_a_payment_that_fails_is_tried_again_later(amqpd: Broker, api: OrderApi, bank: Bank) -> None:
    bank.refusals = 1
    api.place(ORDER)
    amqpd.wait_for(queue=RETRY, ready=1)
    amqpd.advance(RETRY_AFTER_S - 1)
    assert amqpd.queue(RETRY).ready == 1
    assert bank.charged == {}
    amqpd.advance(1)
    amqpd.wait_for_published(exchange=ORDERS, routing_key=PAID)
    assert bank.asked == [ORDER, ORDER]
    assert amqpd.queue(RETRY).ready == 0


@pytest.mark.usefixtures("worker")
def test_what_fails_three_times_is_laid_aside(amqpd: Broker, api: OrderApi, bank: Bank) -> None:
    bank.refusals = 3
    api.place(ORDER)
    for _ in range(2):
        amqpd.wait_for(queue=RETRY, ready=1)
        amqpd.advance(RETRY_AFTER_S)
    amqpd.wait_for(queue=DEAD, ready=1)
    (message,) = amqpd.queue(DEAD).messages()
    assert Order.from_json(message.body) == ORDER
    assert message.headers["error"] == "the bank says no"
    assert tries(message.headers) == 2, "and the third is the one that it was given up after"
    assert len(bank.asked) == 3
    assert amqpd.published(exchange=ORDERS, routing_key=GIVEN_UP)


@pytest.mark.usefixtures("worker")
def test_poison_does_not_stop_the_orders_behind_it(
    amqpd: Broker, api: OrderApi, parameters: pika.ConnectionParameters, bank: Bank
) -> None:
    with pika.BlockingConnection(parameters) as connection:
        connection.channel().basic_publish(ORDERS, CREATED, b"not an order at all")
    api.place(ORDER)
    amqpd.wait_for_published(exchange=ORDERS, routing_key=PAID)
    assert bank.asked == [ORDER]
    for _ in range(2):
        amqpd.wait_for(queue=RETRY, ready=1)
        amqpd.advance(RETRY_AFTER_S)
    amqpd.wait_for(queue=DEAD, ready=1)
    assert amqpd.queue(DEAD).messages()[0].body == b"not an order at all"
    amqpd.wait_for(queue=PAYMENTS, ready=0, unacked=0)
