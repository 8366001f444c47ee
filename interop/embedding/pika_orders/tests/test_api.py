"""Orders on their way to a broker that has troubles of its own."""

import threading

import pika
import pytest

from amqpd.testing import Broker
from interop.embedding.order import NotPlaced, Order
from interop.embedding.pika_orders.api import ATTEMPTS, OrderApi
from interop.embedding.topology import AUDIT, PAYMENTS

ORDER = Order("1001", "teapot")


def test_a_nack_is_tried_again(amqpd: Broker, api: OrderApi) -> None:
    with amqpd.faults.nack_next(ATTEMPTS - 1):
        api.place(ORDER)
    assert amqpd.queue(PAYMENTS).ready == 1


def test_nacks_without_end_are_reported(amqpd: Broker, api: OrderApi) -> None:
    with amqpd.faults.nack_next(ATTEMPTS) as nacks, pytest.raises(NotPlaced, match="did not take it"):
        api.place(ORDER)
    assert nacks.left == 0
    assert amqpd.queue(PAYMENTS).ready == 0


def test_an_order_that_nobody_takes_is_reported(
    amqpd: Broker, api: OrderApi, parameters: pika.ConnectionParameters
) -> None:
    with pika.BlockingConnection(parameters) as connection:
        channel = connection.channel()
        channel.queue_delete(PAYMENTS)
        channel.queue_delete(AUDIT)
    with pytest.raises(NotPlaced, match="nobody takes orders"):
        api.place(ORDER)
    assert [message.queues for message in amqpd.published()] == [()]


def test_a_returned_order_is_reported_and_the_next_is_placed(amqpd: Broker, api: OrderApi) -> None:
    amqpd.faults.return_next()
    with pytest.raises(NotPlaced, match="nobody takes orders"):
        api.place(ORDER)
    api.place(ORDER)
    assert amqpd.queue(PAYMENTS).ready == 1


@pytest.mark.parametrize("trouble", ["closed", "aborted", "reset", "restarted"])
def test_a_lost_connection_is_made_anew(amqpd: Broker, api: OrderApi, trouble: str) -> None:
    match trouble:
        case "closed":
            amqpd.faults.close_connections()
        case "aborted":
            amqpd.faults.abort_connections()
        case "reset":
            amqpd.faults.abort_connections(reset=True)
        case _:
            amqpd.restart()
    api.place(ORDER)
    assert amqpd.queue(PAYMENTS).ready == 1


def test_a_dead_broker_is_reported_until_it_is_back(amqpd: Broker, api: OrderApi) -> None:
    api.place(ORDER)
    amqpd.kill()
    with pytest.raises(NotPlaced, match="the broker is away"):
        api.place(ORDER)
    amqpd.start()
    api.place(ORDER)
    assert amqpd.queue(PAYMENTS).ready == 2


def test_a_refused_login_is_reported(amqpd: Broker, api: OrderApi) -> None:
    amqpd.faults.abort_connections()
    with amqpd.faults.refuse_logins(), pytest.raises(NotPlaced, match="the broker is away"):
        api.place(ORDER)
    api.place(ORDER)


def test_a_blocked_publisher_gives_up_after_its_timeout(amqpd: Broker, parameters: pika.ConnectionParameters) -> None:
    parameters.blocked_connection_timeout = 0.05
    with OrderApi(parameters) as api:
        api.place(ORDER)  # the broker blocks those who have published
        with amqpd.faults.block_publishers("the disk is full"):
            with pytest.raises(NotPlaced, match="takes nothing at the moment"):
                api.place(ORDER)
        api.place(ORDER)


def test_a_blocked_publisher_goes_on_when_it_may(amqpd: Broker, api: OrderApi) -> None:
    api.place(ORDER)
    placing = threading.Thread(target=api.place, args=[ORDER])
    with amqpd.faults.block_publishers():
        placing.start()
        assert amqpd.queue(PAYMENTS).ready == 1
    placing.join()
    assert amqpd.queue(PAYMENTS).ready == 2
