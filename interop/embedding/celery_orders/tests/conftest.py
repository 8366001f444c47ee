from collections.abc import Iterator
from typing import Any

import pytest
from celery import Celery
from celery.contrib.testing.worker import TestWorkController
from kombu import pools

from amqpd.testing import Broker
from interop.embedding.bank import Bank
from interop.embedding.celery_orders import tasks

STOP_TIMEOUT_S = 10.0


@pytest.fixture
def celery_config(amqpd_url: str) -> dict[str, Any]:
    """Celery's own is one for the session. This one is for the test, and so is its virtual host."""
    return {
        "broker_url": amqpd_url,
        "result_backend": "rpc://",
        "worker_cancel_long_running_tasks_on_connection_loss": True,  # as it will be in Celery 6
    }


@pytest.fixture(scope="session")
def celery_includes() -> list[str]:
    return [tasks.__name__, "celery.contrib.testing.tasks"]


@pytest.fixture
def celery_app(celery_app: Celery) -> Iterator[Celery]:
    """Celery leaves its connections to the garbage collector; here they are closed."""
    yield celery_app
    consumer = getattr(celery_app.backend, "result_consumer", None)
    if consumer is not None:
        consumer.stop()
    pools.reset()  # type: ignore[no-untyped-call]  # Celery ships few types


@pytest.fixture
def celery_worker(amqpd: Broker, celery_app: Celery, celery_worker: TestWorkController) -> Iterator[TestWorkController]:
    """Told to end by a message. Left to itself it looks up from its work only when the next task is due."""
    yield celery_worker
    amqpd.wait_for_consumer(f"{celery_worker.hostname}.celery.pidbox")
    celery_app.control.shutdown()
    celery_worker.blueprint.join(STOP_TIMEOUT_S)


@pytest.fixture
def bank(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bank]:
    bank = Bank()
    monkeypatch.setattr(tasks, "OFFICES", tasks.Offices(bank.charge, retry_after_s=0.01))
    yield bank
    bank.open()
