"""The scenarios with pika's callback API, which SelectConnection, AsyncioConnection and TornadoConnection share."""

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pika
from pika.exceptions import (
    AMQPConnectionError,
    AMQPHeartbeatTimeout,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    ConnectionClosedByClient,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
)
from pika.spec import Basic

from interop.clients.pika.loops import Answer, Channel, open_channel, open_connection, opened, run, until
from interop.clients.stagehand import CHINESE, GERMAN, HEARTBEAT_S, RABBIT, TABLE, Lacks, ask, fails, url

__all__ = ["run"]  # and the scenarios


async def publish(channel: Channel, key: str, body: bytes, exchange: str = "", **properties: Any) -> None:
    """Return when the broker has it; whether it was routed is told elsewhere."""
    sent = pika.BasicProperties(**properties)
    confirm = await channel.confirmed_publish(exchange, key, body, sent, mandatory=True)
    assert isinstance(confirm, Basic.Ack), confirm


async def declare(channel: Channel, exchange: str = "", *keys: str) -> str:
    """A queue that the broker names, bound with each of the keys."""
    queue: str = (await channel.queue_declare("", exclusive=True)).method.queue
    for key in keys:
        await channel.queue_bind(queue, exchange, key)
    return queue


async def take_all(channel: Channel, queue: str) -> list[str]:
    """What is ready, by basic.get."""
    bodies: list[str] = []
    while message := await channel.basic_get(queue, auto_ack=True):
        bodies.append(message[2].decode())
    return bodies


async def count(channel: Channel, queue: str) -> int:
    declared = await channel.queue_declare(queue, passive=True)
    return int(declared.method.message_count)


async def connect() -> None:
    connection = await opened()
    assert connection.pika.is_open
    assert {"product", "version", "capabilities"} <= set(connection.pika.server_properties)
    assert connection.pika.basic_nack
    assert connection.pika.publisher_confirms
    assert connection.pika.consumer_cancel_notify
    assert connection.pika.exchange_exchange_bindings
    await connection.close()
    assert isinstance(await connection.closed, ConnectionClosedByClient)
    assert connection.pika.is_closed


async def auth_failure() -> None:
    with fails((ProbableAuthenticationError, ConnectionClosedByBroker), "403", "ACCESS_REFUSED"):
        await opened(url(password="wrong"))


async def no_vhost() -> None:
    with fails((ProbableAccessDeniedError, ConnectionClosedByBroker), "530", "NOT_ALLOWED - vhost nowhere not found"):
        await opened(url(vhost="nowhere"))


async def publish_confirm() -> None:
    async with open_channel() as channel:
        await channel.queue_declare("q", durable=True)
        persistent = pika.BasicProperties(delivery_mode=2)
        confirms = [
            channel.confirmed_publish("", "q", str(number).encode(), persistent, mandatory=False)
            for number in range(100)
        ]
        assert {type(await confirm) for confirm in confirms} == {Basic.Ack}
        assert await count(channel, "q") == 100
        await channel.queue_declare("full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        await publish(channel, "full", b"fits")
        nack = await channel.confirmed_publish("", "full", b"does not", mandatory=False)
        assert isinstance(nack, Basic.Nack)


async def mandatory_return() -> None:
    async with open_channel() as channel:
        returned: list[Any] = []
        channel.pika.add_on_return_callback(lambda *what: returned.append(what))
        await publish(channel, "nobody", b"back", "amq.direct", type="t")
        ((of, method, properties, body),) = returned  # the return comes before the confirm
        assert of is channel.pika
        assert (method.reply_code, method.reply_text) == (312, "NO_ROUTE")
        assert (method.exchange, method.routing_key) == ("amq.direct", "nobody")
        assert (body, properties.type) == (b"back", "t")


async def get() -> None:
    async with open_channel() as channel:
        await channel.queue_declare("q")
        assert await channel.basic_get("q") is None
        for body in (b"1", b"2", b"3"):
            await publish(channel, "q", body)
        method, _, body = await channel.basic_get("q")
        assert (body, method.message_count, method.redelivered) == (b"1", 2, False)
        channel.basic_ack(method.delivery_tag)
        assert await take_all(channel, "q") == ["2", "3"]


async def work_queue() -> None:
    async with open_connection() as connection:
        channel = await connection.channel()
        await channel.confirm_delivery()
        await channel.queue_declare("tasks", durable=True)
        for number in range(20):
            await publish(channel, "tasks", str(number).encode(), delivery_mode=2)
        done: dict[str, list[int]] = {"first": [], "second": []}

        def work(of: Any, deliver: Any, _properties: Any, body: bytes) -> None:
            done[deliver.consumer_tag].append(int(body))
            of.basic_ack(deliver.delivery_tag)

        for tag in done:
            worker = await connection.channel()
            await worker.basic_qos(prefetch_count=1)
            await worker.basic_consume("tasks", work, consumer_tag=tag)
        await until(lambda: sum(map(len, done.values())) >= 20)
        assert sorted(done["first"] + done["second"]) == list(range(20))
        assert all(done.values()), f"one of them did it all: {done}"


async def fanout() -> None:
    async with open_channel() as channel:
        await channel.exchange_declare("logs", "fanout")
        queues = [await declare(channel, "logs", "") for _ in range(3)]
        await publish(channel, "whatever", b"news", "logs")
        assert [await take_all(channel, queue) for queue in queues] == [["news"]] * 3


async def topic() -> None:
    async with open_channel() as channel:
        await channel.exchange_declare("events", "topic")
        queues = {key: await declare(channel, "events", key) for key in ("*.error", "app.#", "#", "app.*.x")}
        for key in ("app", "app.error", "db.error", "app.db.x", "app.db.error"):
            await publish(channel, key, key.encode(), "events")
        assert await take_all(channel, queues["*.error"]) == ["app.error", "db.error"]
        assert await take_all(channel, queues["app.#"]) == ["app", "app.error", "app.db.x", "app.db.error"]
        assert len(await take_all(channel, queues["#"])) == 5
        assert await take_all(channel, queues["app.*.x"]) == ["app.db.x"]


async def headers() -> None:
    async with open_channel() as channel:
        await channel.exchange_declare("by headers", "headers")
        wanted = {"format": "pdf", "pages": 3}
        queues = {match: await declare(channel) for match in ("all", "any")}
        for match, queue in queues.items():
            await channel.queue_bind(queue, "by headers", "", {"x-match": match, **wanted})
        for body, sent in (("both", wanted), ("one", {"format": "pdf"}), ("none", {"format": "txt", "pages": 4})):
            await publish(channel, "", body.encode(), "by headers", headers=sent)
        assert await take_all(channel, queues["all"]) == ["both"]
        assert await take_all(channel, queues["any"]) == ["both", "one"]


async def rpc() -> None:
    async with open_connection() as connection:
        channel, server = await connection.channel(), await connection.channel()
        await server.queue_declare("square")
        results: dict[str, int] = {}

        def serve(of: Any, deliver: Any, call: Any, body: bytes) -> None:
            properties = pika.BasicProperties(correlation_id=call.correlation_id)
            of.basic_publish("", call.reply_to, str(int(body) ** 2).encode(), properties)
            of.basic_ack(deliver.delivery_tag)

        def note(_channel: Any, _deliver: Any, properties: Any, body: bytes) -> None:
            results[properties.correlation_id] = int(body)

        await server.basic_consume("square", serve)
        await channel.basic_consume("amq.rabbitmq.reply-to", note, auto_ack=True)
        for number in range(10):
            call = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id=f"call {number}")
            channel.basic_publish("", "square", str(number).encode(), call)
        await until(lambda: len(results) == 10)
        assert results == {f"call {number}": number**2 for number in range(10)}


async def ordering() -> None:
    async with open_connection() as connection:
        channel = await connection.channel()
        await channel.queue_declare("q")
        for number in range(1000):
            channel.basic_publish("", "q", str(number).encode())
        seen: list[int] = []
        tags: list[int] = []

        def note(_channel: Any, deliver: Any, _properties: Any, body: bytes) -> None:
            seen.append(int(body))
            tags.append(deliver.delivery_tag)

        consumed = await channel.basic_consume("q", note)
        await until(lambda: len(seen) >= 1000)
        channel.basic_ack(tags[-1], multiple=True)
        await channel.basic_cancel(consumed.method.consumer_tag)
        assert seen == list(range(1000))
        assert await count(channel, "q") == 0


async def large_message() -> None:
    body = bytes(range(256)) * 40_960
    async with open_channel() as channel:
        await channel.queue_declare("q")
        await publish(channel, "q", body)
        assert (await channel.basic_get("q", auto_ack=True))[2] == body


async def many_channels() -> None:
    async with open_connection() as connection:
        channels = [await connection.channel() for _ in range(1000)]
        assert len({each.pika.channel_number for each in channels}) == 1000
        await channels[0].queue_declare("q")
        for each in channels:
            await each.queue_declare("q", passive=True)


async def table_types() -> None:
    sent = {name: value for name, value in TABLE.items() if name != "float"}  # pika writes no floating point numbers
    async with open_channel() as channel:
        await channel.queue_declare("q")
        await publish(channel, "q", b"", headers=sent)
        got = (await channel.basic_get("q", auto_ack=True))[1].headers
        got["time"] = got["time"].replace(tzinfo=datetime.UTC)  # pika gave naive times before 1.2
        assert got == sent, got
        assert got["true"] is True


async def exclusive() -> None:
    async with open_connection() as other:
        async with open_connection() as owner:
            await (await owner.channel()).queue_declare("mine", exclusive=True)
            with fails(ChannelClosedByBroker, "405", "cannot obtain exclusive access to locked queue 'mine'"):
                await (await other.channel()).queue_declare("mine", exclusive=True)
        with fails(ChannelClosedByBroker, "404", "NOT_FOUND - no queue 'mine'"):
            await (await other.channel()).queue_declare("mine", passive=True)


async def auto_delete() -> None:
    async with open_channel() as channel:
        await channel.queue_declare("q", auto_delete=True)
        consumed = await channel.basic_consume("q", print)
        await channel.queue_declare("q", passive=True)
        await channel.basic_cancel(consumed.method.consumer_tag)
        with fails(ChannelClosedByBroker, "404", "NOT_FOUND - no queue 'q'"):
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
        to_work = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "work", "x-message-ttl": 50}
        await channel.queue_declare("work", arguments=to_retry)
        await channel.queue_declare("retry", arguments=to_work)
        deaths: list[Any] = []

        def fail(of: Any, deliver: Any, properties: Any, body: bytes) -> None:
            assert body == b"job"
            deaths.append((properties.headers or {}).get("x-death", []))
            of.basic_reject(deliver.delivery_tag, requeue=False)

        await channel.basic_consume("work", fail)
        await publish(channel, "work", b"job")
        await until(lambda: len(deaths) > 3)
        assert [[each["count"] for each in death] for death in deaths[:4]] == [[], [1, 1], [2, 2], [3, 3]]
        assert {each["queue"]: each["reason"] for each in deaths[3]} == {"work": "rejected", "retry": "expired"}


async def tx() -> None:
    async with open_connection() as connection:
        channel, other = await connection.channel(), await connection.channel()
        await channel.queue_declare("q")
        await channel.tx_select()
        channel.basic_publish("", "q", b"kept")
        assert await take_all(other, "q") == []
        await channel.tx_commit()
        channel.basic_publish("", "q", b"dropped")
        await channel.tx_rollback()
        await channel.tx_commit()
        assert await take_all(other, "q") == ["kept"]


async def recover() -> None:
    async with open_channel() as channel:
        await channel.queue_declare("q")
        await publish(channel, "q", b"again")
        give_back: list[Callable[[int], object]] = [
            lambda _tag: channel.basic_recover(requeue=True),
            lambda tag: channel.basic_nack(tag, requeue=True),
            lambda tag: channel.basic_reject(tag, requeue=True),
            lambda tag: channel.basic_reject(tag, requeue=False),
        ]
        for is_again, back in enumerate(give_back):
            method, _, body = await channel.basic_get("q")
            assert (body, method.redelivered) == (b"again", bool(is_again))
            done = back(method.delivery_tag)
            if isinstance(done, Answer):  # the broker answers recover, and only that
                await done
        assert await take_all(channel, "q") == []


async def unbind_purge_delete() -> None:
    async with open_channel() as channel:
        returned: list[int] = []
        channel.pika.add_on_return_callback(lambda _channel, method, *_: returned.append(method.reply_code))
        await channel.queue_declare("q")
        await channel.queue_bind("q", "amq.direct", "key")
        for _ in range(3):
            await publish(channel, "key", b"x", "amq.direct")
        assert (await channel.queue_purge("q")).method.message_count == 3
        assert returned == []
        await channel.queue_unbind("q", "amq.direct", "key")
        await publish(channel, "key", b"x", "amq.direct")
        assert returned == [312]
        for _ in range(2):
            await publish(channel, "q", b"x")
        assert (await channel.queue_delete("q")).method.message_count == 2
        assert (await channel.queue_delete("q")).method.message_count == 0


async def consumer_cancel() -> None:
    async with open_channel() as channel:
        await channel.queue_declare("q")
        cancelled: list[str] = []
        channel.pika.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
        consumed = await channel.basic_consume("q", print)
        ask("delete_queue", "q")
        await until(lambda: bool(cancelled))
        assert cancelled == [consumed.method.consumer_tag]
        assert channel.pika.is_open


async def blocked() -> None:
    async with open_connection() as connection:
        told: list[str] = []
        connection.pika.add_on_connection_blocked_callback(lambda _, frame: told.append(frame.method.reason))
        connection.pika.add_on_connection_unblocked_callback(lambda *_: told.append("over"))
        channel = await connection.channel()
        await channel.queue_declare("q")
        ask("block")
        channel.basic_publish("", "q", b"waits")
        await until(lambda: bool(told))
        assert told == ["low on memory"]
        ask("unblock")
        await until(lambda: len(told) > 1)
        assert told == ["low on memory", "over"]
        assert await take_all(channel, "q") == ["waits"]


async def reconnect() -> None:
    """As the examples in pika's documentation: whatever ends a connection, there is a next one."""
    seen: list[int] = []
    published = connections = 0

    def note(of: Any, deliver: Any, _properties: Any, body: bytes) -> None:
        seen.append(int(body))
        of.basic_ack(deliver.delivery_tag)

    while len(seen) < 20:
        try:
            async with open_channel() as channel:
                connections += 1
                await channel.queue_declare("q", durable=True)
                while published < 20:
                    await publish(channel, "q", str(published).encode(), delivery_mode=2)
                    published += 1
                    if published == 10:
                        ask("kill")
                await channel.basic_consume("q", note)
                await until(lambda: len(seen) == 20)
        except AMQPConnectionError as error:
            print("lost:", repr(error))
    assert seen == list(range(20)), seen
    assert connections == 2


async def heartbeat_loss() -> None:
    connection = await opened(heartbeat=HEARTBEAT_S)
    ask("freeze", 13)  # pika looks every 6 s, and the first time it has seen the handshake
    reason = await connection.closed
    assert isinstance(reason, AMQPHeartbeatTimeout), reason
    assert "No activity or too many missed heartbeats" in str(reason)
    await (await opened()).close()


async def non_ascii() -> None:
    async with open_channel() as channel:
        await channel.exchange_declare(GERMAN, "topic")
        await channel.queue_declare(CHINESE)
        await channel.queue_bind(CHINESE, GERMAN, f"{RABBIT}.*")
        sent: Any = {"headers": {GERMAN: CHINESE}, "correlation_id": RABBIT}
        await publish(channel, f"{RABBIT}.{GERMAN}", CHINESE.encode(), GERMAN, **sent)
        got: list[Any] = []
        await channel.basic_consume(CHINESE, lambda *delivery: got.extend(delivery), auto_ack=True, consumer_tag=RABBIT)
        await until(lambda: bool(got))
        _, deliver, properties, body = got
        assert (deliver.consumer_tag, body.decode()) == (RABBIT, CHINESE)
        assert (deliver.exchange, deliver.routing_key) == (GERMAN, f"{RABBIT}.{GERMAN}")
        assert (properties.headers, properties.correlation_id) == ({GERMAN: CHINESE}, RABBIT)
        with fails(ChannelClosedByBroker, "404", f"no queue '{RABBIT}'"):
            await channel.queue_declare(RABBIT, passive=True)


async def update_secret() -> None:
    async with open_connection() as connection:
        if not hasattr(connection.pika, "update_secret"):
            raise Lacks("pika has update_secret since 1.2")
        updated = Answer()
        connection.pika.update_secret("guest", "a new token", updated.set_result)
        await updated
        assert (await (await connection.channel()).queue_declare("")).method.queue


async def error_codes() -> None:
    async with open_connection() as connection:
        await (await connection.channel()).queue_declare("q", durable=True)
        with fails(ChannelClosedByBroker, "404", "NOT_FOUND - no queue 'none' in vhost"):
            await (await connection.channel()).basic_get("none")
        with fails(ChannelClosedByBroker, "404", "NOT_FOUND - no exchange 'none' in vhost"):
            await (await connection.channel()).queue_bind("q", "none", "")
        with fails(ChannelClosedByBroker, "406", "inequivalent arg 'durable' for queue 'q' in vhost"):
            await (await connection.channel()).queue_declare("q", durable=False)
        with fails(ChannelClosedByBroker, "403", "queue name 'amq.mine' contains reserved prefix 'amq.*'"):
            await (await connection.channel()).queue_declare("amq.mine")
        with fails(ChannelClosedByBroker, "406", "PRECONDITION_FAILED - unknown delivery tag 7"):
            channel = await connection.channel()
            channel.basic_ack(7)
            await channel.queue_declare("q", passive=True)
        with fails(ConnectionClosedByBroker, "503", "COMMAND_INVALID - unknown exchange type 'no-such-type'"):
            await (await connection.channel()).exchange_declare("e", "no-such-type")
        assert isinstance(await connection.closed, ConnectionClosedByBroker)
    async with open_connection() as connection:
        with fails(ConnectionClosedByBroker, "540", "NOT_IMPLEMENTED - prefetch_size!=0 (1)"):
            await (await connection.channel()).basic_qos(prefetch_size=1)
