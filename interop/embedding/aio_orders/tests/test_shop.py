"""All parts of the shop together, when nothing goes wrong; and payments that fail."""

import pytest
from aio_pika.abc import AbstractRobustConnection

from amqpd.testing import AsyncBroker
from interop.embedding.aio_orders.api import OrderApi
from interop.embedding.aio_orders.audit import AuditLog
from interop.embedding.aio_orders.payments import PaymentWorker
from interop.embedding.aio_orders.shop import connect
from interop.embedding.aio_orders.stock import StockClient, StockServer
from interop.embedding.bank import AsyncBank
from interop.embedding.order import Order
from interop.embedding.topology import AUDIT, CREATED, DEAD, ORDERS, PAID, PAYMENTS, RETRY, RETRY_AFTER_MS, STOCK, tries

ORDER = Order("1001", "teapot")


async def test_an_order_is_paid_and_written_down(
    broker: AsyncBroker, connection: AbstractRobustConnection, bank: AsyncBank
) -> None:
    await PaymentWorker.start(connection, bank.charge)
    audit = await AuditLog.start(connection)
    api = await OrderApi.open(connection)
    await api.place(ORDER)
    await broker.wait_for_published(exchange=ORDERS, routing_key=PAID)
    await broker.wait_for(queue=AUDIT, ready=0, unacked=0)
    assert bank.charged == {"1001": ORDER}
    assert audit.lines == [(CREATED, ORDER.to_json()), (PAID, ORDER.to_json())]


async def test_an_order_is_there_as_soon_as_it_is_placed(
    broker: AsyncBroker, connection: AbstractRobustConnection
) -> None:
    await (await OrderApi.open(connection)).place(ORDER)
    (message,) = broker.queue(PAYMENTS).messages()
    assert message.json() == {"number": "1001", "item": "teapot", "quantity": 1}
    assert (message.routing_key, message.properties.message_id) == (CREATED, "1001")
    assert message.properties.delivery_mode == 2


async def test_a_worker_takes_no_more_than_its_prefetch(
    broker: AsyncBroker, connection: AbstractRobustConnection
) -> None:
    bank = AsyncBank(is_open=False)
    api = await OrderApi.open(connection)
    for number in range(5):
        await api.place(Order(str(number), "cup"))
    await PaymentWorker.start(connection, bank.charge, prefetch_count=2)
    await broker.wait_for(queue=PAYMENTS, ready=3, unacked=2)
    bank.open()
    await broker.wait_for(queue=PAYMENTS, ready=0, unacked=0)
    assert sorted(bank.charged) == ["0", "1", "2", "3", "4"]


async def test_stock_is_asked_for_over_the_broker(broker: AsyncBroker, connection: AbstractRobustConnection) -> None:
    await StockServer.start(connection, {"teapot": 7})
    stock = await StockClient.open(connection)
    assert await stock.count("teapot") == 7
    assert await stock.count("samovar") == 0
    await broker.restart()
    await broker.wait_for_consumer(STOCK)
    assert await stock.count("teapot") == 7


async def test_who_asks_for_stock_is_told_when_nobody_answers(
    broker: AsyncBroker, connection: AbstractRobustConnection
) -> None:
    stock = await StockClient.open(connection)
    with pytest.raises(TimeoutError):
        await stock.count("teapot", timeout_s=0.01)
    await broker.wait_for_published(routing_key=STOCK)


async def test_what_fails_three_times_is_laid_aside() -> None:
    bank = AsyncBank(refusals=3)
    async with AsyncBroker(clock="manual") as broker, await connect(broker.url) as connection:
        await PaymentWorker.start(connection, bank.charge)
        await (await OrderApi.open(connection)).place(ORDER)
        for _ in range(2):
            await broker.wait_for(queue=RETRY, ready=1)
            broker.advance(RETRY_AFTER_MS / 1000)
        await broker.wait_for(queue=DEAD, ready=1)
        (message,) = broker.queue(DEAD).messages()
    assert Order.from_json(message.body) == ORDER
    assert message.headers["error"] == "the bank says no"
    assert tries(message.headers) == 2, "and the third is the one that it was given up after"
    assert len(bank.asked) == 3
