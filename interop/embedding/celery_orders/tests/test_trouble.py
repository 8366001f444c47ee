"""Workers that are lost, and a broker that goes away."""

from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import pytest

from amqpd.testing import Broker
from interop.embedding.bank import Bank
from interop.embedding.celery_orders import tasks
from interop.embedding.order import Order

ORDER = Order("1001", "teapot")
RESULT_TIMEOUT_S = 30.0

pytestmark = pytest.mark.usefixtures("celery_worker")


@pytest.fixture(scope="session")
def celery_worker_pool() -> str:
    """The worker sees what happens to its connection while a task runs."""
    return "threads"


def test_a_payment_lost_in_the_middle_of_work_is_done_again(amqpd: Broker, bank: Bank) -> None:
    amqpd.wait_idle()  # the worker has settled what Celery's fixture tried it with
    bank.close()
    result = tasks.pay.delay(asdict(ORDER))
    amqpd.wait_for(lambda: bank.asked == [ORDER])
    queue = amqpd.queue("celery")
    queue.consumers[0].channel.connection.abort()
    amqpd.wait_for(lambda: [message.redelivered for message in queue.unacked_messages()] == [True])
    bank.open()
    assert result.get(timeout=RESULT_TIMEOUT_S) == asdict(ORDER)
    amqpd.wait_for(queue="celery", ready=0, unacked=0)
    assert bank.asked == [ORDER, ORDER]
    assert bank.charged == {"1001": ORDER}


def test_a_task_for_later_survives_the_connection(amqpd: Broker) -> None:
    amqpd.wait_idle()
    tasks.ship_at("a parcel", datetime.now(UTC) + timedelta(days=1))
    amqpd.wait_for(queue="celery", unacked=1)
    amqpd.queue("celery").consumers[0].channel.connection.abort()
    amqpd.wait_for(queue="celery", unacked=1)
    (message,) = amqpd.queue("celery").unacked_messages()
    assert message.redelivered


@pytest.mark.celery(result_backend="cache+memory://")  # rpc:// loses results on their way when the broker goes away
@pytest.mark.usefixtures("bank")
def test_a_worker_comes_back_after_a_restart(amqpd: Broker) -> None:
    amqpd.restart()
    amqpd.wait_for_consumer("celery", timeout=RESULT_TIMEOUT_S)  # Celery waits 2 s when its first try fails
    assert tasks.place(ORDER).get(timeout=RESULT_TIMEOUT_S) == "sent: 1 teapot"
