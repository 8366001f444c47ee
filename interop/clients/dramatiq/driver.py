"""The scenarios with Dramatiq: actors, and a worker that is a few threads."""

# mypy: disable-error-code="import-not-found, import-untyped"

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import dramatiq
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.errors import ConnectionClosed
from pika.exceptions import ProbableAccessDeniedError, ProbableAuthenticationError

from interop.clients.stagehand import WAIT_S, ask, fails, play, url


def make_broker(address: str = "", **options: Any) -> RabbitmqBroker:
    """Its publishers wait for confirms."""
    return RabbitmqBroker(url=address or url(), confirm_delivery=True, **options)


def make_actor(broker: RabbitmqBroker, act: Callable[..., None], **options: Any) -> dramatiq.Actor:
    """A retry comes soon."""
    timing = {"min_backoff": 100, "max_backoff": 200}
    return dramatiq.actor(act, broker=broker, actor_name="act", queue_name="q", **timing | options)


@contextmanager
def working(broker: RabbitmqBroker, threads: int = 1) -> Iterator[None]:
    worker = dramatiq.Worker(broker, worker_threads=threads, worker_timeout=100)
    worker.start()
    try:
        yield
    finally:
        worker.stop()


def wait_until(condition: Callable[[], object]) -> None:
    gives_up_at = time.monotonic() + WAIT_S * 2
    while not condition():
        assert time.monotonic() < gives_up_at, "waited in vain"
        time.sleep(0.02)


def connect() -> None:
    broker = make_broker()
    assert broker.connection.is_open
    assert broker.channel.is_open
    broker.close()


def auth_failure() -> None:
    with fails(ProbableAuthenticationError, "403", "ACCESS_REFUSED - Login was refused"):
        _ = make_broker(url(password="wrong")).connection


def no_vhost() -> None:
    with fails(ProbableAccessDeniedError, "530", "NOT_ALLOWED - vhost nowhere not found"):
        _ = make_broker(url(vhost="nowhere")).connection


def publish_confirm() -> None:
    broker = make_broker()
    actor = make_actor(broker, print)
    for number in range(100):
        actor.send(number)
    assert broker.get_queue_message_counts("q") == (100, 0, 0)


def mandatory_return() -> None:
    """A message that comes back has Dramatiq declare its queue again."""
    broker = make_broker()
    actor = make_actor(broker, print)
    actor.send("lost with its queue")
    ask("delete_queue", "q")
    actor.send("there")
    assert broker.get_queue_message_counts("q") == (1, 0, 0)


def work_queue() -> None:
    broker = make_broker()
    done: list[tuple[int, str]] = []

    def act(number: int) -> None:
        time.sleep(0.01)
        done.append((number, threading.current_thread().name))

    actor = make_actor(broker, act)
    for number in range(20):
        actor.send(number)
    with working(broker, threads=2):
        broker.join("q", timeout=int(WAIT_S * 1000))
        wait_until(lambda: len(done) == 20)
    assert sorted(number for number, _ in done) == list(range(20))
    assert len({name for _, name in done}) == 2
    assert broker.get_queue_message_counts("q") == (0, 0, 0)


def ordering() -> None:
    broker = make_broker()
    done: list[int] = []
    actor = make_actor(broker, done.append)
    for number in range(1000):
        actor.send(number)
    with working(broker):
        wait_until(lambda: len(done) == 1000)
    assert done == list(range(1000))


def large_message() -> None:
    broker = make_broker()
    done: list[str] = []
    body = "0123456789abcdef" * 640 * 1024
    make_actor(broker, done.append).send(body)
    with working(broker):
        wait_until(lambda: done == [body])


def priorities() -> None:
    broker = make_broker(max_priority=10)
    done: list[int] = []
    actor = make_actor(broker, done.append)
    for priority in (3, 9, 0, 5, 9):
        actor.send_with_options(args=(priority,), broker_priority=priority)
    consumer = broker.consume("q", prefetch=1)  # a worker's would sort them itself, by other priorities
    for _ in range(5):
        message = next(consumer)
        done.append(message.args[0])
        consumer.ack(message)
    consumer.close()
    assert done == [9, 9, 5, 3, 0]


def retry_loop() -> None:
    """By way of the delay queue; the dead letter queue keeps what was never done."""
    broker = make_broker()
    tries: list[str] = []

    def act(kind: str) -> None:
        tries.append(kind)
        if kind == "never" or tries.count(kind) < 3:
            raise LookupError(kind)

    actor = make_actor(broker, act, max_retries=2)
    with working(broker):
        actor.send("third time")
        actor.send("never")
        wait_until(lambda: len(tries) == 6)
        wait_until(lambda: broker.get_queue_message_counts("q") == (0, 0, 1))
        since = time.monotonic()
        actor.send_with_options(args=("third time",), delay=1000)
        wait_until(lambda: len(tries) == 7)
        assert time.monotonic() - since >= 0.9


def unbind_purge_delete() -> None:
    broker = make_broker()
    actor = make_actor(broker, print)
    actor.send(1)
    actor.send_with_options(args=(2,), delay=60_000)
    assert broker.get_queue_message_counts("q") == (1, 1, 0)
    broker.flush_all()
    assert broker.get_queue_message_counts("q") == (0, 0, 0)


def consumer_cancel() -> None:
    """The worker consumes again, from a queue that was declared again."""
    broker = make_broker()
    done: list[int] = []
    actor = make_actor(broker, done.append)
    with working(broker):
        actor.send(1)
        wait_until(lambda: done == [1])
        ask("delete_queue", "q")
        actor.send(2)
        wait_until(lambda: done == [1, 2])


def reconnect() -> None:
    broker = make_broker()
    done: set[int] = set()
    actor = make_actor(broker, done.add)
    with working(broker):
        for number in range(10):
            actor.send(number)
        ask("kill")
        for number in range(10, 20):
            actor.send(number)
        wait_until(lambda: len(done) == 20)


def error_codes() -> None:
    make_actor(make_broker(), print).send(1)
    inequivalent = "PRECONDITION_FAILED - inequivalent arg 'x-max-priority' for queue 'q' in vhost"
    with fails(ConnectionClosed, "406", inequivalent):
        make_actor(make_broker(max_priority=5), print).send(2)


if __name__ == "__main__":
    play(globals(), dramatiq.__version__)
