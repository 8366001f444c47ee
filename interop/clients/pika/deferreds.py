"""The scenarios with TwistedProtocolConnection: Deferreds, awaited, and queues that deliveries come through."""
# mypy: disable-error-code="import-not-found, import-untyped, misc, attr-defined"

from __future__ import annotations

import datetime
from collections.abc import Callable
from typing import Any

import pika
from pika.exceptions import AMQPConnectionError, ChannelClosedByBroker, ConsumerCancelled, NackError, UnroutableError
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost

from interop.clients.pika.reactor import Factory, logged, open_channel, open_connection, opened, run, until
from interop.clients.stagehand import CHINESE, GERMAN, HEARTBEAT_S, HOST, PORT, RABBIT, TABLE, Lacks, ask, fails, url

__all__ = ["run"]  # and the scenarios


async def publish(channel: Any, key: str, body: bytes, exchange: str = "", **properties: Any) -> None:
    await channel.basic_publish(exchange, key, body, pika.BasicProperties(**properties))


async def declare(channel: Any, exchange: str = "", *keys: str) -> str:
    """A queue that the broker names, bound with each of the keys."""
    queue: str = (await channel.queue_declare("", exclusive=True)).method.queue
    for key in keys:
        await channel.queue_bind(queue, exchange, key)
    return queue


async def take_all(channel: Any, queue: str) -> list[str]:
    """What is ready, by basic.get."""
    bodies: list[str] = []
    while message := await channel.basic_get(queue, auto_ack=True):
        bodies.append(message.body.decode())
    return bodies


async def count(channel: Any, queue: str) -> int:
    declared = await channel.queue_declare(queue, passive=True)
    return int(declared.method.message_count)


async def connect() -> None:
    connection = await opened()
    channel = await connection.channel()
    assert {"product", "version", "capabilities"} <= set(channel.connection.server_properties)
    assert channel.connection.publisher_confirms
    assert not connection.is_closed
    assert isinstance(await connection.close(), ConnectionDone)
    assert connection.is_closed


async def auth_failure() -> None:
    with logged("403", "ACCESS_REFUSED - Login was refused"), fails(AMQPConnectionError):
        await opened(url(password="wrong"))


async def no_vhost() -> None:
    with logged("530", "NOT_ALLOWED - vhost nowhere not found"), fails(AMQPConnectionError):
        await opened(url(vhost="nowhere"))


async def publish_confirm() -> None:
    async with open_channel() as channel:
        await channel.queue_declare("q", durable=True)
        persistent = pika.BasicProperties(delivery_mode=2)
        confirms = [channel.basic_publish("", "q", str(number).encode(), persistent) for number in range(100)]
        assert {type(await confirm) for confirm in confirms} == {pika.spec.Basic.Ack}
        assert await count(channel, "q") == 100
        await channel.queue_declare("full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        await publish(channel, "full", b"fits")
        with fails(NackError):
            await publish(channel, "full", b"does not")


async def mandatory_return() -> None:
    async with open_connection() as connection:
        channel = await connection.channel()
        returned: list[Any] = []
        channel.add_on_return_callback(returned.append)
        lost = ("amq.direct", "nobody", b"back", pika.BasicProperties(type="t"))
        await channel.basic_publish(*lost, mandatory=True)
        await until(lambda: bool(returned))
        if pika.__version__ != "1.0.0":  # whose own error it is that returns do not go together with confirms
            await channel.confirm_delivery()
            try:
                await channel.basic_publish(*lost, mandatory=True)
            except UnroutableError as error:
                returned += error.messages
            assert len(returned) == 3
        for message in returned:
            assert (message.method.reply_code, message.method.reply_text) == (312, "NO_ROUTE")
            assert (message.method.exchange, message.method.routing_key) == ("amq.direct", "nobody")
            assert (message.body, message.properties.type) == (b"back", "t")


async def get() -> None:
    async with open_channel() as channel:
        await channel.queue_declare("q")
        assert await channel.basic_get("q") is None
        for body in (b"1", b"2", b"3"):
            await publish(channel, "q", body)
        message = await channel.basic_get("q")
        assert (message.body, message.method.message_count, message.method.redelivered) == (b"1", 2, False)
        message.channel.basic_ack(message.method.delivery_tag)
        assert await take_all(channel, "q") == ["2", "3"]


async def work_queue() -> None:
    async with open_connection() as connection:
        channel = await connection.channel()
        await channel.confirm_delivery()
        await channel.queue_declare("tasks", durable=True)
        for number in range(20):
            await publish(channel, "tasks", str(number).encode(), delivery_mode=2)
        done: dict[str, list[int]] = {"first": [], "second": []}

        def work(message: Any, deliveries: Any) -> None:
            done[message.method.consumer_tag].append(int(message.body))
            message.channel.basic_ack(message.method.delivery_tag)
            wait_for_next(deliveries)

        def wait_for_next(deliveries: Any) -> None:
            deliveries.get().addCallbacks(work, lambda failure: print(failure.value), [deliveries])

        for tag in done:
            worker = await connection.channel()
            await worker.basic_qos(prefetch_count=1)
            deliveries, _ = await worker.basic_consume("tasks", consumer_tag=tag)
            wait_for_next(deliveries)
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
        calls, _ = await server.basic_consume("square")
        replies, _ = await channel.basic_consume("amq.rabbitmq.reply-to", auto_ack=True)
        for number in range(10):
            properties = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id=f"call {number}")
            await channel.basic_publish("", "square", str(number).encode(), properties)
            call = await calls.get()
            properties = pika.BasicProperties(correlation_id=call.properties.correlation_id)
            result = str(int(call.body) ** 2).encode()
            await server.basic_publish("", call.properties.reply_to, result, properties)
            server.basic_ack(call.method.delivery_tag)
            reply = await replies.get()
            assert (int(reply.body), reply.properties.correlation_id) == (number**2, f"call {number}")


async def ordering() -> None:
    async with open_connection() as connection:
        channel = await connection.channel()
        await channel.queue_declare("q")
        for number in range(1000):
            await channel.basic_publish("", "q", str(number).encode())
        deliveries, tag = await channel.basic_consume("q")
        messages = [await deliveries.get() for _ in range(1000)]
        channel.basic_ack(messages[-1].method.delivery_tag, multiple=True)
        await channel.basic_cancel(tag)
        assert [int(message.body) for message in messages] == list(range(1000))
        assert await count(channel, "q") == 0


async def large_message() -> None:
    body = bytes(range(256)) * 40_960
    async with open_channel() as channel:
        await channel.queue_declare("q")
        await publish(channel, "q", body)
        assert (await channel.basic_get("q", auto_ack=True)).body == body


async def many_channels() -> None:
    async with open_connection() as connection:
        channels = [await connection.channel() for _ in range(1000)]
        assert len({each.channel_number for each in channels}) == 1000
        await channels[0].queue_declare("q")
        for each in channels:
            await each.queue_declare("q", passive=True)


async def table_types() -> None:
    sent = {name: value for name, value in TABLE.items() if name != "float"}  # pika writes no floating point numbers
    async with open_channel() as channel:
        await channel.queue_declare("q")
        await publish(channel, "q", b"", headers=sent)
        got = (await channel.basic_get("q", auto_ack=True)).properties.headers
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
        _, tag = await channel.basic_consume("q")
        await channel.queue_declare("q", passive=True)
        await channel.basic_cancel(tag)
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
        deliveries, _ = await channel.basic_consume("work")
        await publish(channel, "work", b"job")
        for attempt in range(4):
            message = await deliveries.get()
            assert message.body == b"job"
            deaths = (message.properties.headers or {}).get("x-death", [])
            assert [each["count"] for each in deaths] == ([attempt] * 2 if attempt else [])
            channel.basic_reject(message.method.delivery_tag, requeue=False)
        assert {each["queue"]: each["reason"] for each in deaths} == {"work": "rejected", "retry": "expired"}


async def tx() -> None:
    async with open_connection() as connection:
        channel, other = await connection.channel(), await connection.channel()
        await channel.queue_declare("q")
        await channel.tx_select()
        await channel.basic_publish("", "q", b"kept")
        assert await take_all(other, "q") == []
        await channel.tx_commit()
        await channel.basic_publish("", "q", b"dropped")
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
            message = await channel.basic_get("q")
            assert (message.body, message.method.redelivered) == (b"again", bool(is_again))
            done = back(message.method.delivery_tag)
            if isinstance(done, Deferred):  # the broker answers recover, and only that
                await done
        assert await take_all(channel, "q") == []


async def unbind_purge_delete() -> None:
    async with open_channel() as channel:
        await channel.queue_declare("q")
        await channel.queue_bind("q", "amq.direct", "key")
        for _ in range(3):
            await publish(channel, "key", b"x", "amq.direct")
        assert (await channel.queue_purge("q")).method.message_count == 3
        await channel.queue_unbind("q", "amq.direct", "key")
        await publish(channel, "key", b"x", "amq.direct")
        for _ in range(2):
            await publish(channel, "q", b"x")
        assert (await channel.queue_delete("q")).method.message_count == 2
        assert (await channel.queue_delete("q")).method.message_count == 0


async def consumer_cancel() -> None:
    async with open_channel() as channel:
        await channel.queue_declare("q")
        deliveries, _ = await channel.basic_consume("q")
        ask("delete_queue", "q")
        with fails(ConsumerCancelled):
            await deliveries.get()
        assert channel.is_open


async def blocked() -> None:
    async with open_connection() as connection:
        told: list[str] = []
        channel = await connection.channel()
        below = channel.connection  # pika's own, which alone has these callbacks
        below.add_on_connection_blocked_callback(lambda _, frame: told.append(frame.method.reason))
        below.add_on_connection_unblocked_callback(lambda *_: told.append("over"))
        await channel.queue_declare("q")
        ask("block")
        await channel.basic_publish("", "q", b"waits")
        await until(lambda: bool(told))
        assert told == ["low on memory"]
        ask("unblock")
        await until(lambda: len(told) > 1)
        assert told == ["low on memory", "over"]
        assert await take_all(channel, "q") == ["waits"]


async def reconnect() -> None:
    finished: Deferred[None] = Deferred()
    seen: list[int] = []
    published = connections = 0

    async def go_on(connection: Any) -> None:
        nonlocal published, connections
        connections += 1
        channel = await connection.channel()
        await channel.confirm_delivery()
        await channel.queue_declare("q", durable=True)
        while published < 20:
            await publish(channel, "q", str(published).encode(), delivery_mode=2)
            published += 1
            if published == 10:
                ask("kill")
        deliveries, _ = await channel.basic_consume("q")
        while len(seen) < 20:
            message = await deliveries.get()
            seen.append(int(message.body))
            channel.basic_ack(message.method.delivery_tag)
        factory.stopTrying()
        await connection.close()
        finished.callback(None)

    factory = Factory(go_on)
    reactor.connectTCP(HOST, PORT, factory)
    await finished
    assert seen == list(range(20)), seen
    assert connections == 2


async def heartbeat_loss() -> None:
    connection = await opened(heartbeat=HEARTBEAT_S)
    ask("freeze", 13)  # pika looks every 6 s, and the first time it has seen the handshake
    with logged("Connection is idle"):
        assert isinstance(await connection.closed, (ConnectionDone, ConnectionLost))
    await (await opened()).close()


async def non_ascii() -> None:
    async with open_channel() as channel:
        await channel.exchange_declare(GERMAN, "topic")
        await channel.queue_declare(CHINESE)
        await channel.queue_bind(CHINESE, GERMAN, f"{RABBIT}.*")
        sent: Any = {"headers": {GERMAN: CHINESE}, "correlation_id": RABBIT}
        await publish(channel, f"{RABBIT}.{GERMAN}", CHINESE.encode(), GERMAN, **sent)
        deliveries, tag = await channel.basic_consume(CHINESE, auto_ack=True, consumer_tag=RABBIT)
        message = await deliveries.get()
        assert (tag, message.method.consumer_tag, message.body.decode()) == (RABBIT, RABBIT, CHINESE)
        assert (message.method.exchange, message.method.routing_key) == (GERMAN, f"{RABBIT}.{GERMAN}")
        assert (message.properties.headers, message.properties.correlation_id) == ({GERMAN: CHINESE}, RABBIT)
        with fails(ChannelClosedByBroker, "404", f"no queue '{RABBIT}'"):
            await channel.queue_declare(RABBIT, passive=True)


async def update_secret() -> None:
    async with open_connection() as connection:
        channel = await connection.channel()
        below = channel.connection  # pika's own, which alone has it
        if not hasattr(below, "update_secret"):
            raise Lacks("pika has update_secret since 1.2")
        updated: Any = Deferred()
        below.update_secret("guest", "a new token", updated.callback)
        await updated
        assert (await channel.queue_declare("")).method.queue


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
        channel = await connection.channel()
        channel.basic_ack(7)
        reason = await channel.on_closed
        assert (reason.reply_code, reason.reply_text) == (406, "PRECONDITION_FAILED - unknown delivery tag 7")
        channel, closed = await connection.channel(), connection.closed
        with logged("503", "COMMAND_INVALID - unknown exchange type", "no-such-type"), fails(ConnectionDone):
            await channel.exchange_declare("e", "no-such-type")
        assert isinstance(await closed, ConnectionDone)
    async with open_connection() as connection:
        channel = await connection.channel()
        with logged("540", "NOT_IMPLEMENTED - prefetch_size!=0 (1)"), fails(ConnectionDone):
            await channel.basic_qos(prefetch_size=1)
