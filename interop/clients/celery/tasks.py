"""The tasks, and how the application is set up for each scenario: both the worker and who sends tasks import this."""

# mypy: disable-error-code="attr-defined, no-untyped-call, untyped-decorator"

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from celery import Celery, Task
from celery.exceptions import Reject
from kombu import Exchange, Queue
from kombu.common import Broadcast

from interop.clients.stagehand import CHINESE, GERMAN, RABBIT

SCENARIO = os.environ.setdefault("SCENARIO", sys.argv[-1])  # the worker has it from the driver

MEDIA = Exchange("media", "topic")
PAINT = Exchange("paint", "headers")
CONFIRMED = {"broker_transport_options": {"confirm_publish": True}}

SETTINGS: dict[str, dict[str, Any]] = {
    "publish_confirm": CONFIRMED,
    "work_queue": {"task_acks_late": True, "result_backend": f"file://{os.environ.get('RESULTS', '')}"},
    "get": CONFIRMED,
    "fanout": {"task_queues": [Queue("celery"), Broadcast("news")]},
    "topic": {
        "task_queues": [Queue("feed", MEDIA, "feed.#"), Queue("web", MEDIA, "web.*")],
        "task_default_exchange": "media",
        "task_send_sent_event": True,
        "worker_send_task_events": True,
    },
    "headers": {
        "task_queues": [
            Queue("all", PAINT, binding_arguments={"x-match": "all", "colour": "red", "size": 7}),
            Queue("any", PAINT, binding_arguments={"x-match": "any", "colour": "red", "size": 7}),
        ],
        "task_default_exchange": "paint",
    }
    | CONFIRMED,
    "ordering": {"worker_prefetch_multiplier": 50},
    "priorities": {"task_queues": [Queue("celery", queue_arguments={"x-max-priority": 10})]},
    # What Celery's page on quorum queues asks for: times to live and dead-letter exchanges then hold what is for later.
    "retry_loop": {"task_default_queue_type": "quorum", "task_default_exchange_type": "topic"} | CONFIRMED,
    "recover": {"task_acks_late": True},
    "unbind_purge_delete": CONFIRMED,
    "blocked": CONFIRMED,
    "reconnect": CONFIRMED,
    "heartbeat_loss": {"broker_heartbeat": 2},
    "non_ascii": {"task_queues": [Queue(GERMAN, Exchange(CHINESE, "topic"), f"{RABBIT}.*")]},
}

app = Celery("interop", broker=os.environ.get("AMQP_URL"), backend="rpc://")
app.conf.update(
    broker_connection_retry_on_startup=True,
    worker_cancel_long_running_tasks_on_connection_loss=True,  # as it will be in Celery 6
    worker_prefetch_multiplier=1,
)
app.conf.update(SETTINGS.get(SCENARIO, {}))


@app.task
def echo(thing: Any) -> Any:
    return thing


@app.task
def add(one: int, other: int) -> int:
    return one + other


@app.task
def total(numbers: list[int]) -> int:
    return sum(numbers)


@app.task(bind=True)
def work(self: Task, number: int) -> tuple[int, str]:
    """Takes a while; the number, and who did it."""
    time.sleep(0.02)
    return number, self.request.hostname


@app.task(bind=True, ignore_result=True)  # a worker without a pool ends if its broker dies while it sends a result
def note(self: Task, text: object) -> None:
    """For who cannot wait for a result: a line in a file."""
    with Path(os.environ["NOTES"]).open("a", encoding="utf-8") as file:
        file.write(f"{self.request.hostname} {text}\n")


@app.task(bind=True)
def key(self: Task) -> str:
    """The routing key that it came with."""
    return str(self.request.delivery_info["routing_key"])


@app.task(bind=True)
def arrived(self: Task, names: list[str]) -> dict[str, Any]:
    """What arrived of these headers."""
    return {name: self.request.headers[name] for name in names}


@app.task(bind=True, autoretry_for=(LookupError,), default_retry_delay=1, max_retries=3)
def flaky(self: Task, failures: int) -> int:
    """Fails so often before it succeeds; how often it was tried."""
    if self.request.retries < failures:
        raise LookupError(self.request.retries)
    return int(self.request.retries) + 1


@app.task(bind=True)
def refuse_once(self: Task) -> bool:
    """Gives it back to the broker the first time; whether it came again as redelivered."""
    if not self.request.delivery_info["redelivered"]:
        raise Reject("not now", requeue=True)
    return True


@app.task(name=f"{GERMAN}.{CHINESE}.{RABBIT}")
def greet(name: str) -> str:
    return f"{GERMAN}, {name}"
