"""The scenarios with FastStream: subscribers are functions, declared with their queues and exchanges."""

# mypy: disable-error-code="import-not-found, import-untyped, no-untyped-call, untyped-decorator"

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

from aio_pika.exceptions import ChannelNotFoundEntity
from aiormq.exceptions import (
    ChannelLockedResource,
    ChannelPreconditionFailed,
    InvalidFrameError,
    ProbableAuthenticationError,
)
from faststream import AckPolicy
from faststream.rabbit import Channel, ExchangeType, RabbitBroker, RabbitExchange, RabbitMessage, RabbitQueue

from interop.clients.stagehand import TABLE, WAIT_S, ask, fails, play, url

ONE_AT_A_TIME = Channel(prefetch_count=1)


def make_broker(address: str = "", **options: Any) -> RabbitBroker:
    return RabbitBroker(address or url(), logger=None, **options)


def hear(broker: RabbitBroker, queue: RabbitQueue | str, exchange: RabbitExchange | None = None) -> list[Any]:
    """What a subscriber of the queue is told."""
    heard: list[Any] = []

    async def take(body: Any) -> None:
        heard.append(body)

    broker.subscriber(queue, exchange)(take)
    return heard


async def wait_until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(WAIT_S * 2):
        while not condition():  # noqa: ASYNC110 - what has happened tells nobody
            await asyncio.sleep(0.02)


async def connect() -> None:
    async with make_broker() as broker:
        assert await broker.ping(WAIT_S)


async def auth_failure() -> None:
    with fails(ProbableAuthenticationError, "ACCESS_REFUSED - Login was refused"):
        await make_broker(url(password="wrong")).connect()


async def no_vhost() -> None:
    with fails(InvalidFrameError, "Connection.OpenOk", "Connection.Close"):  # all that aiormq says
        await make_broker(url(vhost="nowhere")).connect()


async def publish_confirm() -> None:
    async with make_broker() as broker:
        queue = await broker.declare_queue(RabbitQueue("q"))
        for number in range(100):
            await broker.publish(number, "q")
        assert (await queue.declare()).message_count == 100  # at once


async def work_queue() -> None:
    """A channel for each subscriber."""
    done: dict[str, list[int]] = {"one": [], "two": []}

    def slowly(seen: list[int]) -> Callable[[int], Any]:
        async def work(number: int) -> None:
            await asyncio.sleep(0.02)
            seen.append(number)

        return work

    async with make_broker() as broker:
        for seen in done.values():
            broker.subscriber("q", channel=Channel(prefetch_count=1))(slowly(seen))
        await broker.start()
        for number in range(20):
            await broker.publish(number, "q")
        await wait_until(lambda: len(done["one"]) + len(done["two"]) == 20)
    assert sorted(done["one"] + done["two"]) == list(range(20))
    assert done["one"]
    assert done["two"]


async def fanout() -> None:
    async with make_broker() as broker:
        news = RabbitExchange("news", type=ExchangeType.FANOUT)
        heard = [hear(broker, queue, news) for queue in ("one", "two", "three")]
        await broker.start()
        await broker.publish("hear", exchange=news)
        await wait_until(lambda: heard == [["hear"]] * 3)


async def topic() -> None:
    async with make_broker() as broker:
        media = RabbitExchange("media", type=ExchangeType.TOPIC)
        feed = hear(broker, RabbitQueue("feed", routing_key="feed.#"), media)
        web = hear(broker, RabbitQueue("web", routing_key="*.web"), media)
        await broker.start()
        for key in ("feed", "feed.web", "feed.a.web", "other"):
            await broker.publish(key, routing_key=key, exchange=media)
        await wait_until(lambda: len(feed) == 3 and web)
    assert (feed, web) == (["feed", "feed.web", "feed.a.web"], ["feed.web"])


async def headers() -> None:
    async with make_broker() as broker:
        paint = RabbitExchange("paint", type=ExchangeType.HEADERS)
        wanted = {"colour": "red", "size": 7}
        every = hear(broker, RabbitQueue("all", bind_arguments={"x-match": "all"} | wanted), paint)
        some = hear(broker, RabbitQueue("any", bind_arguments={"x-match": "any"} | wanted), paint)
        await broker.start()
        for name, sent in {"both": wanted, "one": {"colour": "red"}, "none": {"size": 8}}.items():
            await broker.publish(name, exchange=paint, headers=sent)
        await wait_until(lambda: every and len(some) == 2)
    assert (every, some) == (["both"], ["both", "one"])


async def rpc() -> None:
    async with make_broker() as broker:

        async def double(number: int) -> int:
            return 2 * number

        broker.subscriber("double")(double)
        await broker.start()
        for number in range(10):
            answer = await broker.request(number, "double", timeout=WAIT_S)
            assert await answer.decode() == 2 * number


async def ordering() -> None:
    async with make_broker() as broker:
        heard = hear(broker, "q")
        await broker.start()
        for number in range(1000):
            await broker.publish(number, "q")
        await wait_until(lambda: len(heard) == 1000)
    assert heard == list(range(1000))


async def large_message() -> None:
    async with make_broker() as broker:
        heard = hear(broker, "q")
        await broker.start()
        body = "0123456789abcdef" * 640 * 1024
        await broker.publish(body, "q")
        await wait_until(lambda: heard == [body])


async def table_types() -> None:
    sent = {name: value for name, value in TABLE.items() if name != "bytes"}  # pamqp has no type for them
    async with make_broker() as broker:
        heard: list[Any] = []

        async def take(message: RabbitMessage) -> None:
            heard.append(message.raw_message.headers)

        broker.subscriber("q")(take)
        await broker.start()
        await broker.publish("x", "q", headers=sent)
        await wait_until(lambda: heard)
        assert {name: heard[0][name] for name in sent} == sent


async def exclusive() -> None:
    async with make_broker() as one, make_broker() as other:
        await one.declare_queue(RabbitQueue("mine", exclusive=True))
        with fails(ChannelLockedResource, "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine'"):
            await other.declare_queue(RabbitQueue("mine", exclusive=True))
    async with make_broker() as other:
        with fails(ChannelNotFoundEntity, "NOT_FOUND - no queue 'mine'"):
            await other.declare_queue(RabbitQueue("mine", declare=False))


async def auto_delete() -> None:
    async with make_broker() as broker:
        hear(broker, RabbitQueue("brief", auto_delete=True))
        await broker.start()
    async with make_broker() as broker:
        with fails(ChannelNotFoundEntity, "NOT_FOUND - no queue 'brief'"):
            await broker.declare_queue(RabbitQueue("brief", declare=False))


async def priorities() -> None:
    queue = RabbitQueue("q", durable=True, arguments={"x-max-priority": 10})
    async with make_broker(default_channel=ONE_AT_A_TIME) as broker:
        await broker.declare_queue(queue)
        for priority in (3, 9, 0, 5, 9):
            await broker.publish(priority, queue, priority=priority)
        heard = hear(broker, queue)
        await broker.start()
        await wait_until(lambda: len(heard) == 5)
    assert heard == [9, 9, 5, 3, 0]


async def retry_loop() -> None:
    """Rejected, it waits in a queue without consumers, and comes back when its time is over."""
    later = RabbitQueue(
        "later", arguments={"x-message-ttl": 200, "x-dead-letter-exchange": "", "x-dead-letter-routing-key": "q"}
    )
    queue = RabbitQueue("q", arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "later"})
    counts: list[int] = []
    async with make_broker() as broker:

        async def refuse_twice(message: RabbitMessage) -> None:
            deaths = {death["queue"]: death["count"] for death in message.headers.get("x-death", [])}
            counts.append(deaths.get("later", 0))
            await (message.ack() if len(counts) == 3 else message.reject())

        broker.subscriber(queue, ack_policy=AckPolicy.MANUAL)(refuse_twice)
        await broker.declare_queue(later)
        await broker.start()
        since = time.monotonic()
        await broker.publish("again", "q")
        await wait_until(lambda: len(counts) == 3)
        assert time.monotonic() - since >= 0.4
    assert counts == [0, 1, 2]


async def recover() -> None:
    """FastStream's acknowledgement policies: what fails is given back, or is not."""
    async with make_broker() as broker:
        seen: list[tuple[str, bool]] = []

        async def fail(body: str, message: RabbitMessage) -> None:
            seen.append((body, bool(message.raw_message.redelivered)))
            if not message.raw_message.redelivered:
                raise LookupError(body)

        broker.subscriber("again", ack_policy=AckPolicy.NACK_ON_ERROR)(fail)
        broker.subscriber("once", ack_policy=AckPolicy.REJECT_ON_ERROR)(fail)
        await broker.start()
        await broker.publish("once", "once")
        await wait_until(lambda: seen)
        await broker.publish("again", "again")
        await wait_until(lambda: len(seen) == 3)
    assert seen == [("once", False), ("again", False), ("again", True)]


async def reconnect() -> None:
    queue = RabbitQueue("q", durable=True)
    async with make_broker() as broker:
        heard = hear(broker, queue)
        await broker.start()
        for number in range(20):
            if number == 10:
                await asyncio.to_thread(ask, "kill")
            await publish_anyway(broker, number)
        await wait_until(lambda: len(set(heard)) == 20)


async def publish_anyway(broker: RabbitBroker, number: int) -> None:
    """aio-pika comes back by itself; what it was about to publish then is tried again."""
    async with asyncio.timeout(WAIT_S * 2):
        while True:
            try:
                await broker.publish(number, "q", persist=True)
            except (ConnectionError, RuntimeError) as error:
                print("not published:", repr(error))
                await asyncio.sleep(0.2)
            else:
                return


async def error_codes() -> None:
    async with make_broker() as broker:
        with fails(ChannelNotFoundEntity, "NOT_FOUND - no queue 'none' in vhost"):
            await broker.declare_queue(RabbitQueue("none", declare=False))
    async with make_broker() as one, make_broker() as other:
        await one.declare_queue(RabbitQueue("q", durable=True))
        with fails(ChannelPreconditionFailed, "inequivalent arg 'durable' for queue 'q' in vhost"):
            await other.declare_queue(RabbitQueue("q", durable=False))


if __name__ == "__main__":
    play(globals(), version("faststream"))
