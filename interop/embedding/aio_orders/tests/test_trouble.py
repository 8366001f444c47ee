"""A broker that is restarted, killed, blocked; connections, channels and consumers that are lost."""

import pytest
from aio_pika.abc import AbstractRobustConnection

from amqpd.testing import AsyncBroker
from interop.embedding.aio_orders.api import ATTEMPTS, OrderApi
from interop.embedding.aio_orders.payments import PaymentWorker
from interop.embedding.aio_orders.shop import connect
from interop.embedding.bank import AsyncBank
from interop.embedding.order import NotPlaced, Order
from interop.embedding.topology import ORDERS, PAID, PAYMENTS

ORDER = Order("1001", "teapot")


@pytest.fixture
async def api(connection: AbstractRobustConnection) -> OrderApi:
    return await OrderApi.open(connection)


async def test_a_nack_is_tried_again(broker: AsyncBroker, api: OrderApi) -> None:
    with broker.faults.nack_next(ATTEMPTS - 1):
        await api.place(ORDER)
    assert broker.queue(PAYMENTS).ready == 1


async def test_nacks_without_end_are_reported(broker: AsyncBroker, api: OrderApi) -> None:
    with broker.faults.nack_next(ATTEMPTS) as nacks:
        with pytest.raises(NotPlaced, match="did not take it"):
            await api.place(ORDER)
    assert nacks.left == 0
    assert broker.queue(PAYMENTS).ready == 0


async def test_an_unroutable_order_is_reported(broker: AsyncBroker, api: OrderApi) -> None:
    with broker.faults.return_next():
        with pytest.raises(NotPlaced, match="nobody takes orders"):
            await api.place(ORDER)
    await api.place(ORDER)
    assert broker.queue(PAYMENTS).ready == 1


@pytest.mark.parametrize("trouble", ["closed", "aborted", "restarted", "killed"])
async def test_an_order_waits_for_the_broker_to_come_back(broker: AsyncBroker, api: OrderApi, trouble: str) -> None:
    match trouble:
        case "closed":
            broker.faults.close_connections()
        case "aborted":
            broker.faults.abort_connections()
        case "restarted":
            await broker.restart()
        case _:
            await broker.kill()
            await broker.start()
    await api.place(ORDER)
    assert broker.queue(PAYMENTS).ready == 1


async def test_a_customer_waits_only_so_long(broker: AsyncBroker, connection: AbstractRobustConnection) -> None:
    api = await OrderApi.open(connection, patience_s=0.1)
    await broker.kill()
    with pytest.raises(NotPlaced, match="does not answer"):
        await api.place(ORDER)
    await broker.start()


async def test_a_blocked_publisher_gives_up_or_goes_on_when_it_may(
    broker: AsyncBroker, connection: AbstractRobustConnection, api: OrderApi
) -> None:
    hurried = await OrderApi.open(connection, patience_s=0.05)
    await api.place(ORDER)
    with broker.faults.block_publishers():
        with pytest.raises(NotPlaced, match="does not answer"):
            await hurried.place(ORDER)
        assert broker.queue(PAYMENTS).ready == 1
    await api.place(ORDER)
    assert broker.queue(PAYMENTS).ready == 3


async def test_an_order_lost_in_the_middle_of_work_comes_again_once(
    broker: AsyncBroker, connection: AbstractRobustConnection, api: OrderApi
) -> None:
    bank = AsyncBank(is_open=False)
    await PaymentWorker.start(connection, bank.charge)
    await api.place(ORDER)
    await broker.wait_for(lambda: bank.asked == [ORDER])
    await broker.kill()
    await broker.start()
    await broker.wait_for(queue=PAYMENTS, unacked=1)
    assert broker.queue(PAYMENTS).unacked_messages()[0].redelivered
    bank.open()
    await broker.wait_for(queue=PAYMENTS, ready=0, unacked=0)
    assert bank.asked == [ORDER, ORDER]
    assert len(broker.published(exchange=ORDERS, routing_key=PAID)) == 1


@pytest.mark.parametrize("trouble", ["cancelled", "channel closed", "connection closed", "restarted", "killed"])
async def test_a_worker_comes_back(
    broker: AsyncBroker, connection: AbstractRobustConnection, api: OrderApi, bank: AsyncBank, trouble: str
) -> None:
    await PaymentWorker.start(connection, bank.charge)
    (consumer,) = broker.queue(PAYMENTS).consumers
    match trouble:
        case "cancelled":
            consumer.cancel()
        case "channel closed":
            consumer.channel.close()
        case "connection closed":
            consumer.channel.connection.close("go away")
        case "restarted":
            await broker.restart()
        case _:
            await broker.kill()
            await broker.start()
    await broker.wait_for_consumer(PAYMENTS)
    assert broker.queue(PAYMENTS).consumers != [consumer]
    await api.place(ORDER)
    await broker.wait_for_published(exchange=ORDERS, routing_key=PAID)
    assert bank.asked == [ORDER]


async def test_orders_survive_a_restart_of_the_broker(broker: AsyncBroker, api: OrderApi, bank: AsyncBank) -> None:
    for number in range(3):
        await api.place(Order(str(number), "cup"))
    await broker.restart()
    assert broker.queue(PAYMENTS).ready == 3
    async with await connect(broker.url) as connection:
        await PaymentWorker.start(connection, bank.charge)
        await broker.wait_for(queue=PAYMENTS, ready=0, unacked=0)
    assert list(bank.charged) == ["0", "1", "2"]
