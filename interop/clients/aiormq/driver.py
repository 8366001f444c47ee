"""aiormq, on which aio-pika stands: the scenarios, method by method of the protocol."""

from __future__ import annotations

import asyncio
import importlib.metadata
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import aiormq
from aiormq.exceptions import (
    AMQPError,
    ChannelAccessRefused,
    ChannelLockedResource,
    ChannelNotFoundEntity,
    ChannelPreconditionFailed,
    ConnectionClosed,
    DeliveryError,
    InvalidFrameError,
    ProbableAuthenticationError,
    PublishError,
)

from interop.clients.stagehand import CHINESE, GERMAN, HEARTBEAT_S, RABBIT, TABLE, WAIT_S, ask, fails, play, url

Properties = aiormq.spec.Basic.Properties


@asynccontextmanager
async def open_connection(address: str = "") -> AsyncIterator[Any]:
    connection = await aiormq.connect(address or url())
    yield connection
    await connection.close()


@asynccontextmanager
async def open_channel(*, publisher_confirms: bool = True) -> AsyncIterator[Any]:
    async with open_connection() as connection:
        yield await connection.channel(publisher_confirms=publisher_confirms)


async def publish(channel: Any, key: str, body: bytes, exchange: str = "", **properties: Any) -> None:
    await channel.basic_publish(body, exchange=exchange, routing_key=key, properties=Properties(**properties))


async def declare(channel: Any, exchange: str, key: str = "", arguments: Any = None) -> str:
    """A queue that the broker names, bound."""
    queue: str = (await channel.queue_declare(exclusive=True)).queue
    await channel.queue_bind(queue, exchange, key, arguments=arguments)
    return queue


async def take_all(channel: Any, queue: str) -> list[str]:
    """What is ready, by basic.get."""
    bodies = []
    while (message := await channel.basic_get(queue, no_ack=True)).delivery_tag is not None:
        bodies.append(message.body.decode())
    return bodies


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def connect() -> None:
    async with open_connection() as connection:
        assert {"product", "version", "capabilities"} <= set(connection.server_properties)
        assert connection.publisher_confirms
        assert connection.consumer_cancel_notify
    assert connection.is_closed


async def auth_failure() -> None:
    with fails(ProbableAuthenticationError, "ACCESS_REFUSED - Login was refused"):
        await aiormq.connect(url(password="wrong"))


async def no_vhost() -> None:
    with fails(InvalidFrameError, "got <Connection.Close"):  # what the broker says of it, aiormq drops
        await aiormq.connect(url(vhost="nowhere"))


async def publish_confirm() -> None:
    async with open_channel() as channel:
        await channel.queue_declare("q", durable=True)
        await asyncio.gather(*(publish(channel, "q", b"%d" % number, delivery_mode=2) for number in range(100)))
        assert (await channel.queue_declare("q", passive=True)).message_count == 100
        await channel.queue_declare("full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        await publish(channel, "full", b"fits")
        with fails(DeliveryError, "Basic.Nack"):
            await publish(channel, "full", b"does not")


async def mandatory_return() -> None:
    async with open_channel() as channel:
        with fails(PublishError, "NO_ROUTE", "nobody"):
            await channel.basic_publish(b"back", exchange="amq.direct", routing_key="nobody", mandatory=True)


async def get() -> None:
    async with open_channel() as channel:
        await channel.queue_declare("q")
        assert await take_all(channel, "q") == []
        for body in (b"1", b"2", b"3"):
            await publish(channel, "q", body)
        message = await channel.basic_get("q")
        assert (message.body, message.delivery.message_count, message.delivery.redelivered) == (b"1", 2, False)
        await channel.basic_ack(message.delivery_tag)
        assert await take_all(channel, "q") == ["2", "3"]


async def work_queue() -> None:
    async with open_channel() as channel, open_channel() as first, open_channel() as second:
        await channel.queue_declare("tasks", durable=True)
        for number in range(20):
            await publish(channel, "tasks", str(number).encode(), delivery_mode=2)
        done: dict[str, list[int]] = {"first": [], "second": []}

        async def work(message: Any) -> None:
            done[message.delivery.consumer_tag].append(int(message.body))
            await message.channel.basic_ack(message.delivery_tag)

        for worker, tag in ((first, "first"), (second, "second")):
            await worker.basic_qos(prefetch_count=1)
            await worker.basic_consume("tasks", work, consumer_tag=tag)
        await until(lambda: sum(map(len, done.values())) >= 20)
        assert sorted(done["first"] + done["second"]) == list(range(20))
        assert all(done.values()), f"one of them did it all: {done}"


async def fanout() -> None:
    async with open_channel() as channel:
        await channel.exchange_declare("logs", exchange_type="fanout")
        queues = [await declare(channel, "logs") for _ in range(3)]
        await publish(channel, "whatever", b"news", "logs")
        assert [await take_all(channel, queue) for queue in queues] == [["news"]] * 3


async def topic() -> None:
    async with open_channel() as channel:
        await channel.exchange_declare("events", exchange_type="topic")
        queues = {key: await declare(channel, "events", key) for key in ("*.error", "app.#", "#", "app.*.x")}
        for key in ("app", "app.error", "db.error", "app.db.x", "app.db.error"):
            await publish(channel, key, key.encode(), "events")
        assert await take_all(channel, queues["*.error"]) == ["app.error", "db.error"]
        assert await take_all(channel, queues["app.#"]) == ["app", "app.error", "app.db.x", "app.db.error"]
        assert len(await take_all(channel, queues["#"])) == 5
        assert await take_all(channel, queues["app.*.x"]) == ["app.db.x"]


async def headers() -> None:
    async with open_channel() as channel:
        await channel.exchange_declare("by headers", exchange_type="headers")
        wanted = {"format": "pdf", "pages": 3}
        queues = {
            match: await declare(channel, "by headers", arguments={"x-match": match, **wanted})
            for match in ("all", "any")
        }
        for body, sent in (("both", wanted), ("one", {"format": "pdf"}), ("none", {"format": "txt", "pages": 4})):
            await publish(channel, "", body.encode(), "by headers", headers=sent)
        assert await take_all(channel, queues["all"]) == ["both"]
        assert await take_all(channel, queues["any"]) == ["both", "one"]


async def rpc() -> None:
    async with open_channel() as channel, open_channel() as server:
        results: dict[str, int] = {}

        async def serve(message: Any) -> None:
            asked = message.header.properties
            answer = str(int(message.body) ** 2).encode()
            await publish(server, asked.reply_to, answer, correlation_id=asked.correlation_id)
            await server.basic_ack(message.delivery_tag)

        async def note(message: Any) -> None:
            results[message.header.properties.correlation_id] = int(message.body)

        await server.queue_declare("square")
        await server.basic_consume("square", serve)
        await channel.basic_consume("amq.rabbitmq.reply-to", note, no_ack=True)
        for number in range(10):
            call = {"reply_to": "amq.rabbitmq.reply-to", "correlation_id": f"call {number}"}
            await publish(channel, "square", str(number).encode(), **call)
        await until(lambda: len(results) == 10)
        assert results == {f"call {number}": number**2 for number in range(10)}


async def ordering() -> None:
    async with open_channel() as channel:
        await channel.queue_declare("q")
        for number in range(1000):
            await publish(channel, "q", str(number).encode())
        assert await take_all(channel, "q") == [str(number) for number in range(1000)]


async def large_message() -> None:
    body = bytes(range(256)) * 40_960
    async with open_channel() as channel:
        await channel.queue_declare("q")
        await publish(channel, "q", body)
        assert (await channel.basic_get("q", no_ack=True)).body == body


async def many_channels() -> None:
    async with open_channel() as channel:
        await channel.queue_declare("q")
        channels = [await channel.connection.channel() for _ in range(999)]
        assert len({each.number for each in channels}) == 999
        for each in channels:
            await each.queue_declare("q", passive=True)


async def table_types() -> None:
    async with open_channel() as channel:
        await channel.queue_declare("q")
        sent = TABLE | {"bytes": bytearray(TABLE["bytes"])}
        await publish(channel, "q", b"", headers=sent)
        got = (await channel.basic_get("q", no_ack=True)).header.properties.headers
        assert got == sent, got
        assert got["true"] is True


async def exclusive() -> None:
    async with open_channel() as other:
        async with open_channel() as owner, open_channel() as third:
            await owner.queue_declare("mine", exclusive=True)
            with fails(ChannelLockedResource, "cannot obtain exclusive access to locked queue 'mine'"):
                await third.queue_declare("mine", exclusive=True)
        with fails(ChannelNotFoundEntity, "no queue 'mine'"):
            await other.queue_declare("mine", passive=True)


async def auto_delete() -> None:
    async with open_channel() as channel:
        await channel.queue_declare("q", auto_delete=True)
        consumer = await channel.basic_consume("q", print)
        await channel.queue_declare("q", passive=True)
        await channel.basic_cancel(consumer.consumer_tag)
        with fails(ChannelNotFoundEntity, "no queue 'q'"):
            await channel.queue_declare("q", passive=True)


async def priorities() -> None:
    async with open_channel() as channel:
        await channel.queue_declare("q", arguments={"x-max-priority": 10})
        for priority in (1, 10, 5, 3, 8, 0):
            await publish(channel, "q", str(priority).encode(), priority=priority)
        assert await take_all(channel, "q") == ["10", "8", "5", "3", "1", "0"]


async def retry_loop() -> None:
    async with open_channel() as channel:
        to_retry = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "retry"}
        await channel.queue_declare("work", arguments=to_retry)
        to_work = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "work", "x-message-ttl": 50}
        await channel.queue_declare("retry", arguments=to_work)
        await publish(channel, "work", b"job")
        deaths: list[Any] = []

        async def work(message: Any) -> None:
            deaths.append((message.header.properties.headers or {}).get("x-death", []))
            await channel.basic_reject(message.delivery_tag, requeue=False)

        await channel.basic_consume("work", work)
        await until(lambda: len(deaths) > 3)
        assert [[each["count"] for each in death] for death in deaths[:4]] == [[], [1, 1], [2, 2], [3, 3]]
        assert {each["queue"]: each["reason"] for each in deaths[3]} == {"work": "rejected", "retry": "expired"}


async def tx() -> None:
    async with open_channel(publisher_confirms=False) as channel, open_channel() as other:
        await channel.queue_declare("q")
        await channel.tx_select()
        await publish(channel, "q", b"kept")
        assert await take_all(other, "q") == []
        await channel.tx_commit()
        await publish(channel, "q", b"dropped")
        await channel.tx_rollback()
        await channel.tx_commit()
        assert await take_all(other, "q") == ["kept"]


async def recover() -> None:
    async with open_channel() as channel:
        await channel.queue_declare("q")
        await publish(channel, "q", b"again")
        give_back: list[Callable[[int], Awaitable[Any]]] = [
            lambda _tag: channel.basic_recover(requeue=True),
            lambda tag: channel.basic_nack(tag, requeue=True),
            lambda tag: channel.basic_reject(tag, requeue=True),
            lambda tag: channel.basic_reject(tag, requeue=False),
        ]
        for is_again, back in enumerate(give_back):
            message = await channel.basic_get("q")
            assert (message.body, message.delivery.redelivered) == (b"again", bool(is_again))
            await back(message.delivery_tag)
        assert await take_all(channel, "q") == []


async def unbind_purge_delete() -> None:
    async with open_channel() as channel:
        await channel.queue_declare("q")
        await channel.queue_bind("q", "amq.direct", "key")
        for _ in range(3):
            await publish(channel, "key", b"x", "amq.direct")
        assert (await channel.queue_purge("q")).message_count == 3
        await channel.queue_unbind("q", "amq.direct", "key")
        await publish(channel, "key", b"x", "amq.direct")
        for _ in range(2):
            await publish(channel, "q", b"x")
        assert (await channel.queue_delete("q")).message_count == 2
        assert (await channel.queue_delete("q")).message_count == 0


async def consumer_cancel() -> None:
    async with open_channel() as channel:
        await channel.queue_declare("q")
        cancelled: list[str] = []
        channel.on_consumer_cancel_callbacks.add(lambda frame: cancelled.append(frame.consumer_tag))
        tag = (await channel.basic_consume("q", print)).consumer_tag
        ask("delete_queue", "q")
        await until(lambda: cancelled)
        assert cancelled == [tag]
        assert not channel.is_closed


async def blocked() -> None:
    """The connection is not ready() while it lasts."""
    async with open_channel() as channel:
        await channel.queue_declare("q")
        ask("block")
        waiting = asyncio.create_task(publish(channel, "q", b"waits"))
        await asyncio.sleep(0.5)  # for connection.blocked to come
        with fails(TimeoutError):
            async with asyncio.timeout(0.1):
                await channel.connection.ready()
        ask("unblock")
        async with asyncio.timeout(WAIT_S):
            await channel.connection.ready()
            await waiting
        assert await take_all(channel, "q") == ["waits"]


async def reconnect() -> None:
    """aiormq leaves it to its user, or to aio-pika: another connection, and on with what is not confirmed."""
    seen: list[str] = []
    published = connections = 0
    while len(seen) < 20:
        try:
            async with open_channel() as channel:
                connections += 1
                await channel.queue_declare("q", durable=True)
                while published < 20:
                    await publish(channel, "q", str(published).encode(), delivery_mode=2)
                    published += 1
                    if published == 10:
                        await asyncio.to_thread(ask, "kill")
                seen = await take_all(channel, "q")
        except (AMQPError, OSError, RuntimeError) as error:
            print("lost:", repr(error))
    assert seen == [str(number) for number in range(20)]
    assert connections == 2


async def heartbeat_loss() -> None:
    connection = await aiormq.connect(url(query=f"?heartbeat={HEARTBEAT_S}"))
    ask("freeze", 8)  # it gives up after three heartbeats and as many seconds
    await until(lambda: connection.is_closed)
    async with open_channel() as channel:
        await channel.queue_declare("q")


async def non_ascii() -> None:
    """All but the names of exchanges and queues, which pamqp wants in ASCII."""
    async with open_channel() as channel:
        queue = await declare(channel, "amq.topic", f"{RABBIT}.*")
        sent = {"headers": {GERMAN: CHINESE}, "correlation_id": RABBIT}
        await publish(channel, f"{RABBIT}.x", CHINESE.encode(), "amq.topic", **sent)
        got: list[Any] = []
        await channel.basic_consume(queue, got.append, no_ack=True, consumer_tag=RABBIT)
        await until(lambda: got)
        assert (got[0].delivery.consumer_tag, got[0].routing_key) == (RABBIT, f"{RABBIT}.x")
        assert (got[0].body.decode(), got[0].header.properties.headers) == (CHINESE, {GERMAN: CHINESE})
        with fails(ValueError, "Invalid value for queue"):
            await channel.queue_declare(CHINESE)


async def update_secret() -> None:
    async with open_channel() as channel:
        await channel.connection.update_secret("guest", reason="a new token")
        assert (await channel.queue_declare(exclusive=True)).queue


async def error_codes() -> None:
    async with open_connection() as connection:
        await (await connection.channel()).queue_declare("q", durable=True)
        with fails(ChannelNotFoundEntity, "NOT_FOUND - no queue 'none' in vhost"):
            await (await connection.channel()).queue_declare("none", passive=True)
        with fails(ChannelNotFoundEntity, "NOT_FOUND - no exchange 'none' in vhost"):
            await (await connection.channel()).queue_bind("q", "none")
        with fails(ChannelPreconditionFailed, "inequivalent arg 'durable' for queue 'q' in vhost"):
            await (await connection.channel()).queue_declare("q", durable=False)
        with fails(ChannelAccessRefused, "queue name 'amq.mine' contains reserved prefix 'amq.*'"):
            await (await connection.channel()).queue_declare("amq.mine")
    connection = await aiormq.connect(url())
    with fails(ConnectionClosed, "COMMAND_INVALID - unknown exchange type 'no-such-type'"):
        await (await connection.channel()).exchange_declare("e", exchange_type="no-such-type")


if __name__ == "__main__":
    play(globals(), importlib.metadata.version("aiormq"))
