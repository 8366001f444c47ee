"""The scenarios with Taskiq on aio-pika: tasks are coroutines, workers are receivers here. Queues are quorum queues."""

# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call, untyped-decorator"

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import Any

from aio_pika import ExchangeType
from aiormq.exceptions import ChannelPreconditionFailed, InvalidFrameError, ProbableAuthenticationError
from taskiq.api import run_receiver_task
from taskiq_aio_pika import AioPikaBroker, Exchange, Queue, QueueType

from interop.clients.stagehand import TABLE, WAIT_S, ask, fails, play, url


def make_broker(*queues: Queue, address: str = "", **options: Any) -> AioPikaBroker:
    return AioPikaBroker(address or url(), task_queues=list(queues), **options)


def make_task(broker: AioPikaBroker, act: Callable[..., Any]) -> Any:
    """Its messages say ``kiq``."""

    async def task(thing: Any) -> None:
        result = act(thing)
        if asyncio.iscoroutine(result):
            await result

    return broker.register_task(task, task_name="task")


@asynccontextmanager
async def started(broker: AioPikaBroker) -> AsyncIterator[None]:
    await broker.startup()
    try:
        yield
    finally:
        await broker.shutdown()


@asynccontextmanager
async def working(*brokers: AioPikaBroker) -> AsyncIterator[None]:
    """A receiver for each, as the process of a worker has one."""
    for broker in brokers:
        broker.is_worker_process = True
        await broker.startup()
    async with asyncio.TaskGroup() as group:
        receivers = [
            group.create_task(run_receiver_task(broker, max_async_tasks=1, max_prefetch=1)) for broker in brokers
        ]
        try:
            yield
        finally:
            for receiver in receivers:
                receiver.cancel()
    for broker in brokers:
        await broker.shutdown()


async def wait_until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S * 2):
        while not condition():  # noqa: ASYNC110 - what has happened tells nobody
            await asyncio.sleep(0.02)


async def count(broker: AioPikaBroker, queue: str = "taskiq") -> int:
    """How many messages wait in it."""
    async with await broker.write_conn.channel() as channel:
        return int((await channel.declare_queue(queue, passive=True)).declaration_result.message_count)


async def connect() -> None:
    broker = make_broker()
    async with started(broker):
        assert not broker.write_conn.is_closed
    assert broker.write_conn.is_closed


async def auth_failure() -> None:
    with fails(ProbableAuthenticationError, "ACCESS_REFUSED - Login was refused"):
        await make_broker(address=url(password="wrong")).startup()


async def no_vhost() -> None:
    with fails(InvalidFrameError, "Connection.OpenOk", "Connection.Close"):  # all that aiormq says
        await make_broker(address=url(vhost="nowhere")).startup()


async def publish_confirm() -> None:
    broker = make_broker()
    task = make_task(broker, print)
    async with started(broker):
        for number in range(100):
            await task.kiq(number)
        assert await count(broker) == 100


async def work_queue() -> None:
    done: dict[str, list[int]] = {"one": [], "two": []}
    brokers = [make_broker(qos=1) for _ in done]

    def slowly(seen: list[int]) -> Callable[[int], Any]:
        async def work(number: int) -> None:
            await asyncio.sleep(0.02)
            seen.append(number)

        return work

    tasks = [make_task(broker, slowly(seen)) for broker, seen in zip(brokers, done.values(), strict=True)]
    async with working(*brokers):
        for number in range(20):
            await tasks[0].kiq(number)
        await wait_until(lambda: len(done["one"]) + len(done["two"]) == 20)
    assert sorted(done["one"] + done["two"]) == list(range(20))
    assert done["one"]
    assert done["two"]


async def fanout() -> None:
    exchange = Exchange(name="news", type=ExchangeType.FANOUT)
    broker = make_broker(Queue(name="one"), Queue(name="two"), Queue(name="three"), exchange=exchange)
    heard: list[str] = []
    task = make_task(broker, heard.append)
    async with working(broker):
        await task.kiq("hear")
        await wait_until(lambda: len(heard) == 3)


async def topic() -> None:
    broker = make_broker(Queue(name="feed", routing_key="feed.#"), Queue(name="web", routing_key="*.web"))
    task = make_task(broker, print)
    async with started(broker):
        for key in ("feed", "feed.web", "feed.a.web", "other"):
            await task.kicker().with_labels(queue_name=key).kiq(key)
        assert (await count(broker, "feed"), await count(broker, "web")) == (3, 1)


async def ordering() -> None:
    broker = make_broker()
    done: list[int] = []
    task = make_task(broker, done.append)
    async with started(broker):
        for number in range(1000):
            await task.kiq(number)
    async with working(broker):
        await wait_until(lambda: len(done) == 1000)
    assert done == list(range(1000))


async def large_message() -> None:
    broker = make_broker()
    heard: list[str] = []
    task = make_task(broker, heard.append)
    body = "0123456789abcdef" * 640 * 1024
    async with working(broker):
        await task.kiq(body)
        await wait_until(lambda: heard == [body])


async def table_types() -> None:
    """Labels become headers, each a text."""
    labels = {name: value for name, value in TABLE.items() if isinstance(value, str)}
    broker = make_broker()
    task = make_task(broker, print)
    async with started(broker):
        await task.kicker().with_labels(**labels).kiq("x")
        async with await broker.write_conn.channel() as channel:
            message = await (await channel.get_queue("taskiq")).get(no_ack=True)
        assert {name: message.headers[name] for name in labels} == labels


async def priorities() -> None:
    broker = make_broker(Queue(name="q", type=QueueType.CLASSIC, max_priority=10), qos=1)
    done: list[int] = []
    task = make_task(broker, done.append)
    async with started(broker):
        for priority in (3, 9, 0, 5, 9):
            await task.kicker().with_labels(priority=priority).kiq(priority)
    async with working(broker):
        await wait_until(lambda: len(done) == 5)
    assert done == [9, 9, 5, 3, 0]


async def retry_loop() -> None:
    """What is for later waits in a queue without consumers, and comes by way of its dead letter exchange."""
    broker = make_broker(delay_queue=Queue(name="later"))
    done: list[str] = []
    task = make_task(broker, done.append)
    async with working(broker):
        since = time.monotonic()
        await task.kicker().with_labels(delay=0.5).kiq("late")
        await task.kiq("soon")
        await wait_until(lambda: len(done) == 2)
        assert time.monotonic() - since >= 0.5
    assert done == ["soon", "late"]


async def reconnect() -> None:
    broker = make_broker()
    done: set[int] = set()
    task = make_task(broker, done.add)
    async with working(broker):
        for number in range(20):
            if number == 10:
                await asyncio.to_thread(ask, "kill")
            await kick_anyway(task, number)
        await wait_until(lambda: len(done) == 20)


async def kick_anyway(task: Any, number: int) -> None:
    """aio-pika comes back by itself, trying every five seconds; what was to be sent just then is tried again."""
    async with asyncio.timeout(WAIT_S * 4):
        while True:
            try:
                await task.kiq(number)
            except Exception as error:
                print("not sent:", repr(error))
                await asyncio.sleep(0.2)
            else:
                return


async def error_codes() -> None:
    async with started(make_broker(Queue(name="q"))):
        inequivalent = "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q' in vhost"
        with fails(ChannelPreconditionFailed, inequivalent):
            await make_broker(Queue(name="q", type=QueueType.CLASSIC)).startup()


if __name__ == "__main__":
    play(globals(), version("taskiq-aio-pika"))
