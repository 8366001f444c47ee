"""A worker that loses its connection, its channel, its consumer, or the broker."""

import pika
import pytest

from amqpd.testing import Broker
from interop.embedding.bank import Bank
from interop.embedding.order import Order
from interop.embedding.pika_orders.api import OrderApi
from interop.embedding.pika_orders.audit import AuditLog
from interop.embedding.pika_orders.consumer import in_thread
from interop.embedding.pika_orders.payments import PaymentWorker
from interop.embedding.topology import AUDIT, ORDERS, PAID, PAYMENTS

ORDER = Order("1001", "teapot")


def test_an_order_lost_in_the_middle_of_work_comes_again_once(
    amqpd: Broker, api: OrderApi, parameters: pika.ConnectionParameters
) -> None:
    bank = Bank(is_open=False)
    with in_thread(PaymentWorker(parameters, bank.charge)):
        api.place(ORDER)
        amqpd.wait_for(lambda: bank.asked == [ORDER])
        (consumer,) = amqpd.queue(PAYMENTS).consumers
        consumer.channel.connection.abort()
        amqpd.wait_for(queue=PAYMENTS, ready=1, unacked=0, consumers=0)
        assert amqpd.queue(PAYMENTS).messages()[0].redelivered
        bank.open()
        amqpd.wait_for_published(exchange=ORDERS, routing_key=PAID)
        amqpd.wait_idle()
    assert bank.asked == [ORDER, ORDER]
    assert len(amqpd.published(exchange=ORDERS, routing_key=PAID)) == 1


def test_a_lost_ack_means_the_same_order_again(
    amqpd: Broker, api: OrderApi, parameters: pika.ConnectionParameters, bank: Bank
) -> None:
    with in_thread(PaymentWorker(parameters, bank.charge)):
        amqpd.wait_for_consumer(PAYMENTS)
        (consumer,) = amqpd.queue(PAYMENTS).consumers
        connection = consumer.channel.connection
        amqpd.faults.drop_acks(connection)
        api.place(ORDER)
        amqpd.wait_for_published(exchange=ORDERS, routing_key=PAID)
        connection.abort()
        amqpd.wait_for_published(2, exchange=ORDERS, routing_key=PAID)
        amqpd.wait_for(queue=PAYMENTS, ready=0, unacked=0)
    assert bank.asked == [ORDER, ORDER]
    assert list(bank.charged) == ["1001"]


@pytest.mark.parametrize("trouble", ["cancelled", "channel closed", "connection closed", "restarted", "killed"])
def test_a_worker_comes_back(
    amqpd: Broker, api: OrderApi, parameters: pika.ConnectionParameters, bank: Bank, trouble: str
) -> None:
    with in_thread(PaymentWorker(parameters, bank.charge)):
        amqpd.wait_for_consumer(PAYMENTS)
        (consumer,) = amqpd.queue(PAYMENTS).consumers
        match trouble:
            case "cancelled":
                consumer.cancel()
            case "channel closed":
                consumer.channel.close()
            case "connection closed":
                consumer.channel.connection.close("go away")
            case "restarted":
                amqpd.restart()
            case "killed":
                amqpd.kill()
                amqpd.start()
        amqpd.wait_for_consumer(PAYMENTS)
        assert amqpd.queue(PAYMENTS).consumers != [consumer]
        api.place(ORDER)
        amqpd.wait_for_published(exchange=ORDERS, routing_key=PAID)
    assert bank.asked == [ORDER]


def test_orders_survive_a_restart_of_the_broker(
    amqpd: Broker, api: OrderApi, parameters: pika.ConnectionParameters, bank: Bank
) -> None:
    for number in range(3):
        api.place(Order(str(number), "cup"))
    amqpd.restart()
    assert amqpd.queue(PAYMENTS).ready == 3
    with in_thread(PaymentWorker(parameters, bank.charge)):
        amqpd.wait_for(queue=PAYMENTS, ready=0, unacked=0)
    assert list(bank.charged) == ["0", "1", "2"]


def test_the_audit_log_misses_nothing_while_it_is_away(
    amqpd: Broker, api: OrderApi, parameters: pika.ConnectionParameters
) -> None:
    with in_thread(AuditLog(parameters)) as audit:
        amqpd.wait_for_consumer(AUDIT)
        with amqpd.faults.refuse_logins():
            amqpd.queue(AUDIT).consumers[0].channel.connection.abort()
            amqpd.wait_for(queue=AUDIT, consumers=0)
            api.place(ORDER)
            assert amqpd.queue(AUDIT).ready == 1
        amqpd.wait_for(queue=AUDIT, ready=0, unacked=0)
    assert audit.lines == [("order.created", ORDER.to_json())]
