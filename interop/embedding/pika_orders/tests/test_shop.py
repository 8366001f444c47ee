"""All parts of the shop together, when nothing goes wrong."""

import pika
import pytest

from amqpd.testing import Broker
from interop.embedding.bank import Bank
from interop.embedding.order import Order
from interop.embedding.pika_orders.api import OrderApi
from interop.embedding.pika_orders.audit import AuditLog
from interop.embedding.pika_orders.consumer import in_thread
from interop.embedding.pika_orders.payments import PaymentWorker
from interop.embedding.pika_orders.stock import StockClient, StockServer
from interop.embedding.topology import AUDIT, CREATED, ORDERS, PAID, PAYMENTS, STOCK

ORDER = Order("1001", "teapot")


def test_an_order_is_paid_and_written_down(
    amqpd: Broker, api: OrderApi, parameters: pika.ConnectionParameters, bank: Bank
) -> None:
    with in_thread(PaymentWorker(parameters, bank.charge)), in_thread(AuditLog(parameters)) as audit:
        api.place(ORDER)
        amqpd.wait_for_published(exchange=ORDERS, routing_key=PAID)
        amqpd.wait_for(queue=AUDIT, ready=0, unacked=0)
    assert bank.charged == {"1001": ORDER}
    assert audit.lines == [(CREATED, ORDER.to_json()), (PAID, ORDER.to_json())]


def test_an_order_is_there_as_soon_as_it_is_placed(amqpd: Broker, api: OrderApi) -> None:
    api.place(ORDER)
    (message,) = amqpd.queue(PAYMENTS).messages()
    assert message.json() == {"number": "1001", "item": "teapot", "quantity": 1}
    assert (message.routing_key, message.properties.message_id) == (CREATED, "1001")
    assert message.properties.delivery_mode == 2


def test_a_worker_takes_no_more_than_its_prefetch(
    amqpd: Broker, api: OrderApi, parameters: pika.ConnectionParameters
) -> None:
    bank = Bank(is_open=False)
    for number in range(5):
        api.place(Order(str(number), "cup"))
    with in_thread(PaymentWorker(parameters, bank.charge, prefetch_count=2)):
        amqpd.wait_for(queue=PAYMENTS, ready=3, unacked=2)
        bank.open()
        amqpd.wait_for(queue=PAYMENTS, ready=0, unacked=0)
    assert list(bank.charged) == ["0", "1", "2", "3", "4"]


def test_two_workers_share_the_orders(amqpd: Broker, api: OrderApi, parameters: pika.ConnectionParameters) -> None:
    bank = Bank(is_open=False)
    with in_thread(PaymentWorker(parameters, bank.charge)), in_thread(PaymentWorker(parameters, bank.charge)):
        amqpd.wait_for_consumer(PAYMENTS, 2)
        for number in range(2):
            api.place(Order(str(number), "cup"))
        amqpd.wait_for(queue=PAYMENTS, ready=0, unacked=2)
        assert [consumer.unacked for consumer in amqpd.queue(PAYMENTS).consumers] == [1, 1]
        bank.open()
        amqpd.wait_idle()
    assert sorted(bank.charged) == ["0", "1"]


def test_stock_is_asked_for_over_the_broker(amqpd: Broker, parameters: pika.ConnectionParameters) -> None:
    with in_thread(StockServer(parameters, {"teapot": 7})):
        amqpd.wait_for_consumer(STOCK)
        with StockClient(parameters) as stock:
            assert stock.count("teapot") == 7
            assert stock.count("samovar") == 0


def test_who_asks_for_stock_is_told_when_nobody_answers(amqpd: Broker, parameters: pika.ConnectionParameters) -> None:
    with StockClient(parameters) as stock, pytest.raises(TimeoutError, match="nobody knows how many teapot"):
        stock.count("teapot", timeout=0.01)
    assert [message.body for message in amqpd.published(routing_key=STOCK)] == [b"teapot"]
