"""A broker in the running loop, asyncio's or trio's, and clients beside it."""

import socket
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import aio_pika
import anyio
import anyio.to_thread
import pika
import pytest

from amqpd.broker.ports import META, StoreFailed
from amqpd.testing import AsyncBroker, NotRunning, StartError, WaitTimeout

pytestmark = pytest.mark.parametrize("backend", ["asyncio", "trio"])


def run(backend: str, test: Callable[[], Awaitable[None]]) -> None:
    anyio.run(test, backend=backend)


def publish(broker: AsyncBroker, queue: str, body: bytes, *, durable: bool = False) -> None:
    with pika.BlockingConnection(broker.pika_parameters()) as connection:
        channel = connection.channel()
        channel.queue_declare(queue, durable=durable)
        channel.confirm_delivery()
        channel.basic_publish("", queue, body, pika.BasicProperties(delivery_mode=2))


async def publish_meanwhile(broker: AsyncBroker) -> None:
    await anyio.to_thread.run_sync(publish, broker, "q", b"1")


def test_it_serves_beside_other_tasks(backend: str) -> None:
    async def test() -> None:
        async with AsyncBroker(record=True) as broker:
            async with anyio.create_task_group() as group:
                group.start_soon(publish_meanwhile, broker)
                await broker.wait_for(queue="q", ready=1)
            await broker.wait_for_published()
            await broker.wait_for(lambda: not broker.connections)
            await broker.wait_idle()
            assert [message.body for message in broker.queue("q").messages()] == [b"1"]
            port = broker.port
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port)).close()
        with pytest.raises(NotRunning):
            broker.queues()

    run(backend, test)


def test_connections_and_consumers_are_waited_for(backend: str) -> None:
    async def test() -> None:
        async with AsyncBroker() as broker:
            connection = await anyio.to_thread.run_sync(pika.BlockingConnection, broker.pika_parameters())
            await broker.wait_for_connection()
            channel = await anyio.to_thread.run_sync(connection.channel)
            await anyio.to_thread.run_sync(channel.queue_declare, "q")
            await anyio.to_thread.run_sync(channel.basic_consume, "q", lambda *_: None)
            await broker.wait_for_consumer("q")
            with pytest.raises(WaitTimeout, match="queue 'q' in vhost '/' with 1 ready"):
                await broker.wait_for(queue="q", ready=1, timeout=0.05)
            with pytest.raises(WaitTimeout, match="a condition"):
                await broker.wait_for(lambda: False, timeout=0.02)
            with pytest.raises(TypeError):
                await broker.wait_for()
            await anyio.to_thread.run_sync(connection.close)

    run(backend, test)


def test_it_is_restarted_and_killed_on_its_port(backend: str, tmp_path: Path) -> None:
    async def test() -> None:
        async with AsyncBroker(data_dir=tmp_path) as broker:
            await anyio.to_thread.run_sync(lambda: publish(broker, "q", b"kept", durable=True))
            await broker.restart()
            assert broker.queue("q").ready == 1
            await broker.restart(keep_transient=True)
            assert broker.queue("q").ready == 1
            await broker.kill()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((broker.host, broker.port)).close()
            await broker.start()
            assert [message.body for message in broker.queue("q").messages()] == [b"kept"]
            with pytest.raises(StartError):
                await AsyncBroker(broker.port).start()
            with pytest.raises(RuntimeError, match="running already"):
                await broker.start()

    run(backend, test)


def test_a_store_that_fails_ends_the_broker_and_is_told_once(backend: str, tmp_path: Path) -> None:
    def fail() -> int:
        raise StoreFailed("the disk is gone")

    async def test() -> None:
        broker = await AsyncBroker(data_dir=tmp_path).start()
        journal = broker.node.journal

        def write() -> None:
            journal.store.completed = fail  # type: ignore[method-assign]
            journal.put(META, b"key", b"value")

        with pytest.raises(StoreFailed, match="the disk is gone"):
            broker.call(write)
        with pytest.raises(StoreFailed, match="the disk is gone"):
            await broker.stop()
        with pytest.raises(NotRunning, match="its store failed: the disk is gone"):
            broker.queues()
        await broker.stop()

    run(backend, test)


def test_time_is_advanced_between_two_awaits(backend: str) -> None:
    async def test() -> None:
        async with AsyncBroker(clock="manual") as broker:
            await anyio.to_thread.run_sync(publish, broker, "q", b"1")
            broker.advance(3600)
            assert broker.queue("q").ready == 1

    run(backend, test)


def test_it_belongs_to_its_loops_thread(backend: str) -> None:
    async def test() -> None:
        async with AsyncBroker() as broker:
            with pytest.raises(RuntimeError, match="belongs to the thread of its event loop"):
                await anyio.to_thread.run_sync(broker.queues)

    run(backend, test)


def test_it_may_be_stopped_in_another_task_than_it_was_started_in(backend: str) -> None:
    async def test() -> None:
        threads = threading.active_count()
        broker = AsyncBroker()
        async with anyio.create_task_group() as group:
            group.start_soon(broker.start)
        async with anyio.create_task_group() as group:
            group.start_soon(broker.stop)
        await broker.stop()
        assert threading.active_count() <= threads  # workers of earlier tests may end meanwhile

    run(backend, test)


def test_aio_pika_lives_in_the_same_loop(backend: str) -> None:
    if backend == "trio":
        pytest.skip("aio-pika is asyncio's")

    async def test() -> None:
        async with AsyncBroker() as broker, await aio_pika.connect(broker.url) as connection:
            channel = await connection.channel()
            queue = await channel.declare_queue("q")
            await channel.default_exchange.publish(aio_pika.Message(b"1"), "q")
            message = await queue.get()
            assert broker.queue("q").unacked == 1
            await message.ack()
            await broker.wait_idle()

    run(backend, test)
