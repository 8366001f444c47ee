"""aio-pika: the scenarios with connect and with connect_robust. Called with one of them and a scenario."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aio_pika
from aio_pika import DeliveryMode, ExchangeType, Message
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import (
    AMQPError,
    ChannelClosed,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ConnectionClosed,
    DeliveryError,
    InvalidFrameError,
    ProbableAuthenticationError,
    QueueEmpty,
)
from aiormq.exceptions import ChannelAccessRefused, ChannelLockedResource

from interop.clients.stagehand import CHINESE, GERMAN, HEARTBEAT_S, RABBIT, TABLE, WAIT_S, ask, fails, play, url

IS_ROBUST = sys.argv[1] == "connect_robust"


async def open_connection(address: str = "") -> Any:
    if IS_ROBUST:
        return await aio_pika.connect_robust(address or url(), reconnect_interval=0.2)
    return await aio_pika.connect(address or url())


@asynccontextmanager
async def open_channel() -> AsyncIterator[AbstractChannel]:
    """A channel as aio-pika makes it: publishing waits for the confirm."""
    connection = await open_connection()
    async with connection, connection.channel() as channel:
        yield channel


async def publish(channel: AbstractChannel, queue: str, body: bytes, **properties: Any) -> None:
    await channel.default_exchange.publish(Message(body, **properties), queue)


async def take_all(queue: AbstractQueue) -> list[str]:
    """What is ready, by basic.get."""
    bodies = []
    while message := await queue.get(no_ack=True, fail=False):
        bodies.append(message.body.decode())
    return bodies


async def count(channel: AbstractChannel, queue: str) -> int | None:
    """As the broker says; a robust channel's own passive declare answers from memory."""
    underlay = await channel.get_underlay_channel()
    return (await underlay.queue_declare(queue, passive=True)).message_count


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def connect() -> None:
    connection = await open_connection()
    properties = connection.transport.connection.server_properties
    print(properties)
    assert {"product", "version", "capabilities"} <= set(properties)
    await connection.close()
    assert connection.is_closed


async def auth_failure() -> None:
    with fails(ProbableAuthenticationError, "ACCESS_REFUSED - Login was refused"):
        await open_connection(url(password="wrong"))


async def no_vhost() -> None:
    with fails(InvalidFrameError, "got <Connection.Close"):  # what the broker says of it, aio-pika drops
        await open_connection(url(vhost="nowhere"))


async def publish_confirm() -> None:
    async with open_channel() as channel:
        await channel.declare_queue("q", durable=True)
        persistent = DeliveryMode.PERSISTENT
        await asyncio.gather(*(publish(channel, "q", b"%d" % each, delivery_mode=persistent) for each in range(100)))
        assert await count(channel, "q") == 100
        await channel.declare_queue("full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        await publish(channel, "full", b"fits")
        with fails(DeliveryError, "Basic.Nack"):
            await publish(channel, "full", b"does not")


async def mandatory_return() -> None:
    connection = await open_connection()
    async with connection, connection.channel(on_return_raises=True) as channel:
        exchange = await channel.get_exchange("amq.direct")
        try:
            await exchange.publish(Message(b"back", type="t"), "nobody")
        except DeliveryError as error:
            message: Any = error.message
            frame: Any = error.frame
        assert (frame.reply_code, frame.reply_text) == (312, "NO_ROUTE")
        assert (frame.exchange, frame.routing_key) == ("amq.direct", "nobody")
        assert (message.body, message.header.properties.message_type) == (b"back", "t")


async def get() -> None:
    async with open_channel() as channel:
        queue = await channel.declare_queue("q")
        with fails(QueueEmpty):
            await queue.get()
        for body in (b"1", b"2", b"3"):
            await publish(channel, "q", body)
        message = await queue.get()
        assert (message.body, message.message_count, message.redelivered) == (b"1", 2, False)
        await message.ack()
        assert await take_all(queue) == ["2", "3"]


async def work_queue() -> None:
    async with open_channel() as channel, open_channel() as first, open_channel() as second:
        await channel.declare_queue("tasks", durable=True)
        for number in range(20):
            await publish(channel, "tasks", str(number).encode(), delivery_mode=DeliveryMode.PERSISTENT)
        done: dict[str, list[int]] = {"first": [], "second": []}

        async def work(message: AbstractIncomingMessage) -> None:
            async with message.process():
                assert message.consumer_tag
                done[message.consumer_tag].append(int(message.body))

        for worker, tag in ((first, "first"), (second, "second")):
            await worker.set_qos(prefetch_count=1)
            await (await worker.get_queue("tasks")).consume(work, consumer_tag=tag)
        await until(lambda: sum(map(len, done.values())) >= 20)
        assert sorted(done["first"] + done["second"]) == list(range(20))
        assert all(done.values()), f"one of them did it all: {done}"


async def fanout() -> None:
    async with open_channel() as channel:
        logs = await channel.declare_exchange("logs", ExchangeType.FANOUT)
        queues = [await channel.declare_queue(exclusive=True) for _ in range(3)]
        for queue in queues:
            await queue.bind(logs)
        await logs.publish(Message(b"news"), "whatever")
        assert [await take_all(queue) for queue in queues] == [["news"]] * 3


async def topic() -> None:
    async with open_channel() as channel:
        events = await channel.declare_exchange("events", ExchangeType.TOPIC)
        queues = {}
        for pattern in ("*.error", "app.#", "#", "app.*.x"):
            queues[pattern] = await channel.declare_queue(exclusive=True)
            await queues[pattern].bind(events, pattern)
        for key in ("app", "app.error", "db.error", "app.db.x", "app.db.error"):
            await events.publish(Message(key.encode()), key)
        assert await take_all(queues["*.error"]) == ["app.error", "db.error"]
        assert await take_all(queues["app.#"]) == ["app", "app.error", "app.db.x", "app.db.error"]
        assert len(await take_all(queues["#"])) == 5
        assert await take_all(queues["app.*.x"]) == ["app.db.x"]


async def headers() -> None:
    async with open_channel() as channel:
        exchange = await channel.declare_exchange("by headers", ExchangeType.HEADERS)
        wanted: dict[str, Any] = {"format": "pdf", "pages": 3}
        queues = {match: await channel.declare_queue(exclusive=True) for match in ("all", "any")}
        for match, queue in queues.items():
            await queue.bind(exchange, arguments={"x-match": match, **wanted})
        sent: dict[str, Any] = {"both": wanted, "one": {"format": "pdf"}, "none": {"format": "txt", "pages": 4}}
        for body, fields in sent.items():
            await exchange.publish(Message(body.encode(), headers=fields), "")
        assert await take_all(queues["all"]) == ["both"]
        assert await take_all(queues["any"]) == ["both", "one"]


async def rpc() -> None:
    async with open_channel() as channel, open_channel() as server:
        results: dict[str | None, int] = {}

        async def serve(message: AbstractIncomingMessage) -> None:
            async with message.process():
                answer = Message(str(int(message.body) ** 2).encode(), correlation_id=message.correlation_id)
                assert message.reply_to
                await server.default_exchange.publish(answer, message.reply_to)

        async def note(message: AbstractIncomingMessage) -> None:
            results[message.correlation_id] = int(message.body)

        await (await server.declare_queue("square")).consume(serve)
        replies = await channel.get_queue("amq.rabbitmq.reply-to", ensure=False)
        await replies.consume(note, no_ack=True)
        for number in range(10):
            call = {"reply_to": "amq.rabbitmq.reply-to", "correlation_id": f"call {number}"}
            await publish(channel, "square", str(number).encode(), **call)
        await until(lambda: len(results) == 10)
        assert results == {f"call {number}": number**2 for number in range(10)}


async def ordering() -> None:
    async with open_channel() as channel:
        queue = await channel.declare_queue("q")
        for number in range(1000):
            await publish(channel, "q", str(number).encode())
        seen: list[int] = []
        async with queue.iterator(timeout=WAIT_S) as messages:
            async for message in messages:
                await message.ack()
                seen.append(int(message.body))
                if len(seen) == 1000:
                    break
        assert seen == list(range(1000))
        assert await count(channel, "q") == 0


async def large_message() -> None:
    body = bytes(range(256)) * 40_960
    async with open_channel() as channel:
        queue = await channel.declare_queue("q")
        await publish(channel, "q", body)
        assert (await queue.get(no_ack=True)).body == body


async def many_channels() -> None:
    async with open_channel() as channel, await open_connection() as connection:
        await channel.declare_queue("q")
        channels = [await connection.channel() for _ in range(1000)]
        assert len({each.number for each in channels}) == 1000
        assert sum([await count(each, "q") == 0 for each in channels]) == 1000


async def table_types() -> None:
    async with open_channel() as channel:
        queue = await channel.declare_queue("q")
        sent = TABLE | {"bytes": bytearray(TABLE["bytes"])}
        await publish(channel, "q", b"", headers=sent)
        message = await queue.get(no_ack=True)
        assert message.headers == sent, message.headers
        assert message.headers["true"] is True


async def exclusive() -> None:
    async with open_channel() as other:
        async with open_channel() as owner:
            await owner.declare_queue("mine", exclusive=True)
            async with await open_connection() as third:
                with fails(ChannelLockedResource, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue"):
                    await (await third.channel()).declare_queue("mine", exclusive=True)
        with fails(ChannelNotFoundEntity, "NOT_FOUND - no queue 'mine'"):
            await other.declare_queue("mine", passive=True)


async def auto_delete() -> None:
    async with open_channel() as channel:
        queue = await channel.declare_queue("q", auto_delete=True)
        tag = await queue.consume(ignore)
        assert await count(channel, "q") == 0
        await queue.cancel(tag)
        with fails(ChannelNotFoundEntity, "NOT_FOUND - no queue 'q'"):
            await count(channel, "q")


async def ignore(_message: AbstractIncomingMessage) -> None:
    pass


async def priorities() -> None:
    async with open_channel() as channel:
        queue = await channel.declare_queue("q", arguments={"x-max-priority": 10})
        for priority in (1, 10, 5, 3, 8, 0):
            await publish(channel, "q", str(priority).encode(), priority=priority)
        assert await take_all(queue) == ["10", "8", "5", "3", "1", "0"]


async def retry_loop() -> None:
    async with open_channel() as channel:
        to_retry: dict[str, Any] = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "retry"}
        to_work = to_retry | {"x-dead-letter-routing-key": "work", "x-message-ttl": 50}
        work = await channel.declare_queue("work", arguments=to_retry)
        await channel.declare_queue("retry", arguments=to_work)
        await publish(channel, "work", b"job")
        attempt = 0
        async with work.iterator(timeout=WAIT_S) as messages:
            async for message in messages:
                deaths: Any = message.headers.get("x-death", [])
                assert [each["count"] for each in deaths] == ([attempt] * 2 if attempt else [])
                if attempt == 3:
                    await message.ack()
                    break
                attempt += 1
                await message.reject(requeue=False)
        reasons = {each["queue"]: (each["reason"], each["routing-keys"]) for each in deaths}
        assert reasons == {"work": ("rejected", ["work"]), "retry": ("expired", ["retry"])}
        assert message.headers["x-first-death-queue"] == "work"


async def tx() -> None:
    connection = await open_connection()
    async with connection, connection.channel(publisher_confirms=False) as channel, open_channel() as other:
        queue = await other.declare_queue("q")
        async with channel.transaction():
            await publish(channel, "q", b"kept")
            assert await take_all(queue) == []
        assert await take_all(queue) == ["kept"]
        with fails(ZeroDivisionError):
            async with channel.transaction():
                await publish(channel, "q", b"dropped")
                _ = 1 / 0
        async with channel.transaction():
            pass
        assert await take_all(queue) == []


async def recover() -> None:
    async with open_channel() as channel:
        queue = await channel.declare_queue("q")
        await publish(channel, "q", b"again")
        underlay = await channel.get_underlay_channel()
        give_back: list[Callable[[AbstractIncomingMessage], Awaitable[Any]]] = [
            lambda _message: underlay.basic_recover(requeue=True),
            lambda message: message.nack(requeue=True),
            lambda message: message.reject(requeue=True),
            lambda message: message.reject(requeue=False),
        ]
        for is_again, back in enumerate(give_back):
            message = await queue.get()
            assert (message.body, message.redelivered) == (b"again", bool(is_again))
            await back(message)
        assert await take_all(queue) == []


async def unbind_purge_delete() -> None:
    connection = await open_connection()
    async with connection, connection.channel(on_return_raises=True) as channel:
        direct = await channel.get_exchange("amq.direct")
        queue = await channel.declare_queue("q")
        await queue.bind(direct, "key")
        for _ in range(3):
            await direct.publish(Message(b"x"), "key")
        assert (await queue.purge()).message_count == 3
        await queue.unbind(direct, "key")
        with fails(DeliveryError, "NO_ROUTE"):
            await direct.publish(Message(b"x"), "key")
        for _ in range(2):
            await publish(channel, "q", b"x")
        assert (await queue.delete(if_empty=False)).message_count == 2
        assert (await channel.queue_delete("q")).message_count == 0


async def consumer_cancel() -> None:
    async with open_channel() as channel:
        queue = await channel.declare_queue("q")
        underlay = await channel.get_underlay_channel()
        cancelled = []
        underlay.on_consumer_cancel_callbacks.add(lambda frame: cancelled.append(frame.consumer_tag))
        tag = await queue.consume(ignore)
        ask("delete_queue", "q")
        await until(lambda: bool(cancelled))
        assert cancelled == [tag]
        assert not channel.is_closed


async def blocked() -> None:
    """The transport is not ready() while it lasts."""
    connection = await open_connection()
    async with connection, connection.channel() as channel:
        queue = await channel.declare_queue("q")
        ask("block")
        waiting = asyncio.create_task(publish(channel, "q", b"waits"))
        assert not await is_ready(connection)
        ask("unblock")
        async with asyncio.timeout(WAIT_S):
            await connection.transport.ready()
            await waiting
        assert await take_all(queue) == ["waits"]


async def is_ready(connection: Any) -> bool:
    await asyncio.sleep(0.5)  # for connection.blocked to come
    try:
        async with asyncio.timeout(0.1):
            await connection.transport.ready()
    except TimeoutError:
        return False
    return True


async def reconnect() -> None:
    """connect_robust restores channel, queue and consumer by itself; with connect, the caller begins anew."""
    seen: set[int] = set()

    async def note(message: AbstractIncomingMessage) -> None:
        async with message.process(ignore_processed=True):
            seen.add(int(message.body))

    async def begin() -> AbstractChannel:
        channel: AbstractChannel = await (await open_connection()).channel()
        await (await channel.declare_queue("q", durable=True)).consume(note)
        return channel

    channel = await begin()
    await (await channel.declare_queue("kept", durable=True)).purge()
    for number in range(10):
        await publish(channel, "q", str(number).encode(), delivery_mode=DeliveryMode.PERSISTENT)
        await publish(channel, "kept", str(number).encode(), delivery_mode=DeliveryMode.PERSISTENT)
    await asyncio.to_thread(ask, "kill")
    async with asyncio.timeout(WAIT_S):
        for number in range(10, 20):
            while True:
                try:
                    await publish(channel, "q", str(number).encode(), delivery_mode=DeliveryMode.PERSISTENT)
                    break
                except (AMQPError, OSError, RuntimeError) as error:
                    print("lost:", repr(error))
                    await asyncio.sleep(0.1)
                    channel = channel if IS_ROBUST else await begin()
    await until(lambda: len(seen) == 20)
    kept = await take_all(await channel.get_queue("kept"))
    assert kept == [str(number) for number in range(10)], kept


async def heartbeat_loss() -> None:
    connection = await open_connection(url(query=f"?heartbeat={HEARTBEAT_S}"))
    first = connection.transport.connection
    ask("freeze", 8)  # it gives up after three heartbeats and as many seconds
    await until(lambda: first.is_closed)
    if IS_ROBUST:
        await until(lambda: connection.transport and connection.transport.connection.is_opened)
        await (await connection.channel()).declare_queue("q")
    await connection.close()


async def non_ascii() -> None:
    """All but the names of exchanges and queues, which pamqp wants in ASCII."""
    async with open_channel() as channel:
        exchange = await channel.declare_exchange("exchange", ExchangeType.TOPIC)
        queue = await channel.declare_queue("queue")
        await queue.bind(exchange, f"{RABBIT}.*")
        sent = Message(CHINESE.encode(), headers={GERMAN: CHINESE}, correlation_id=RABBIT)
        await exchange.publish(sent, f"{RABBIT}.{GERMAN}")
        async with queue.iterator(consumer_tag=RABBIT, timeout=WAIT_S) as messages:
            message = await anext(messages)
            await message.ack()
        assert (message.consumer_tag, message.body.decode()) == (RABBIT, CHINESE)
        assert message.routing_key == f"{RABBIT}.{GERMAN}"
        assert (message.headers, message.correlation_id) == ({GERMAN: CHINESE}, RABBIT)
        with fails(ValueError, "Invalid value for queue"):
            await channel.declare_queue(CHINESE)


async def update_secret() -> None:
    async with await open_connection() as connection:
        await connection.update_secret("guest", reason="a new token")
        assert (await (await connection.channel()).declare_queue(exclusive=True)).name


async def error_codes() -> None:
    async with await open_connection() as connection:
        await (await connection.channel()).declare_queue("q", durable=True)
        with fails(ChannelNotFoundEntity, "NOT_FOUND - no queue 'none' in vhost"):
            await (await connection.channel()).get_queue("none")
        with fails(ChannelNotFoundEntity, "NOT_FOUND - no exchange 'none' in vhost"):
            await (await connection.channel()).get_exchange("none")
        with fails(ChannelPreconditionFailed, "inequivalent arg 'durable' for queue 'q' in vhost"):
            await (await connection.channel()).declare_queue("q", durable=False)
        with fails(ChannelAccessRefused, "queue name 'amq.mine' contains reserved prefix 'amq.*'"):
            await (await connection.channel()).declare_queue("amq.mine")
        with fails(ChannelClosed, "NOT_FOUND - no exchange 'none' in vhost"):
            channel = await connection.channel()
            await (await channel.get_exchange("none", ensure=False)).publish(Message(b""), "")
    connection = await aio_pika.connect(url())
    with fails(ConnectionClosed, "COMMAND_INVALID - unknown exchange type 'no-such-type'"):
        await (await connection.channel()).declare_exchange("e", "no-such-type")


if __name__ == "__main__":
    play(globals(), aio_pika.__version__)
