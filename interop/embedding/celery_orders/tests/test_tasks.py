"""What the shop does, step by step, by a worker in a thread."""

from datetime import UTC, datetime, timedelta

import pytest

from amqpd.testing import Broker
from interop.embedding.bank import Bank
from interop.embedding.celery_orders.tasks import collect, place, ship_at
from interop.embedding.order import Order, PaymentFailed

ORDER = Order("1001", "teapot")
RESULT_TIMEOUT_S = 30.0

pytestmark = pytest.mark.usefixtures("celery_worker")


def test_an_order_goes_through_the_shop(amqpd: Broker, bank: Bank) -> None:
    assert place(ORDER).get(timeout=RESULT_TIMEOUT_S) == "sent: 1 teapot"
    assert bank.charged == {"1001": ORDER}
    steps = [message.headers["task"].rpartition(".")[2] for message in amqpd.published(routing_key="celery")]
    assert steps == ["ping", "pay", "pick", "ship"]


def test_a_payment_that_fails_is_tried_again(amqpd: Broker, bank: Bank) -> None:
    bank.refusals = 2
    assert place(ORDER).get(timeout=RESULT_TIMEOUT_S) == "sent: 1 teapot"
    assert bank.asked == [ORDER] * 3
    payments = [message for message in amqpd.published(routing_key="celery") if "pay" in message.headers["task"]]
    assert [message.headers["retries"] for message in payments] == [0, 1, 2]


def test_a_payment_that_fails_three_times_is_given_up(amqpd: Broker, bank: Bank) -> None:
    bank.refusals = 3
    with pytest.raises(PaymentFailed, match="the bank says no"):
        place(ORDER).get(timeout=RESULT_TIMEOUT_S)
    assert len(bank.asked) == 3
    amqpd.wait_for(queue="celery", ready=0, unacked=0)


@pytest.mark.celery(result_backend="cache+memory://")
def test_many_things_are_picked_at_once_and_packed_together() -> None:
    assert collect(["teapot", "cup", "saucer"]).get(timeout=RESULT_TIMEOUT_S) == (
        "a parcel with 1 cup and 1 saucer and 1 teapot"
    )


def test_a_parcel_is_not_sent_before_its_time() -> None:
    when = datetime.now(UTC) + timedelta(seconds=0.1)
    assert ship_at("a parcel", when).get(timeout=RESULT_TIMEOUT_S) == "sent: a parcel"
    assert datetime.now(UTC) >= when
