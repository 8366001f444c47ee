"""Trouble as real clients meet it: what pika and aio-pika say of it, and that code which reconnects comes back."""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import aio_pika
import aiormq
import pika
import pytest
from aio_pika.abc import AbstractChannel, AbstractIncomingMessage
from aio_pika.exceptions import DeliveryError, PublishError
from pika.adapters.blocking_connection import BlockingChannel
from pika.adapters.utils.connection_workflow import AMQPConnectorStackTimeout
from pika.exceptions import (
    AMQPHeartbeatTimeout,
    ChannelClosedByBroker,
    ConnectionBlockedTimeout,
    ConnectionClosedByBroker,
    NackError,
    ProbableAuthenticationError,
    StreamLostError,
    UnroutableError,
)
from pika.heartbeat import HeartbeatChecker

from amqpd.testing import AsyncBroker, Broker

AGAIN_S = 0.01  # before a client tries once more
PERSISTENT = pika.BasicProperties(delivery_mode=2)


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


@pytest.fixture
def channel(broker: Broker) -> Iterator[BlockingChannel]:
    """A channel that confirms, and a queue q."""
    with pika.BlockingConnection(broker.pika_parameters()) as connection:
        channel = connection.channel()
        channel.queue_declare("q", durable=True)
        channel.confirm_delivery()
        yield channel


# -- reconnecting: pika --


class Worker(threading.Thread):
    """A consumer that starts anew whenever its connection is lost, as pika's examples for SelectConnection do."""

    def __init__(self, parameters: pika.ConnectionParameters) -> None:
        super().__init__(daemon=True)
        self.parameters = parameters
        self.bodies: list[bytes] = []
        self.losses: list[Exception] = []
        self._is_stopping = threading.Event()

    def run(self) -> None:
        while not self._is_stopping.wait(AGAIN_S):
            self.connection = pika.SelectConnection(
                self.parameters, self._on_open, on_open_error_callback=self._on_lost, on_close_callback=self._on_lost
            )
            self.connection.ioloop.start()
            self.connection.ioloop.close()

    def _on_open(self, connection: Any) -> None:
        connection.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel: Any) -> None:
        channel.basic_consume("q", self._on_message)

    def _on_message(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        self.bodies.append(body)
        channel.basic_ack(method.delivery_tag)

    def _on_lost(self, connection: Any, reason: Exception) -> None:
        self.losses.append(reason)
        connection.ioloop.stop()

    def stop(self) -> None:
        self._is_stopping.set()
        self.connection.ioloop.add_callback_threadsafe(self.connection.close)
        self.join(5.0)
        assert not self.is_alive()


@pytest.fixture
def worker(broker: Broker) -> Iterator[Worker]:
    declare(broker)
    worker = Worker(broker.pika_parameters())
    worker.start()
    broker.wait_for_consumer("q")
    yield worker
    worker.stop()


def kill_and_start(broker: Broker) -> None:
    broker.kill()
    broker.start()


LOSSES: dict[str, tuple[Callable[[Broker], None], type[Exception]]] = {
    "closed": (lambda broker: broker.faults.close_connections(), ConnectionClosedByBroker),
    "aborted": (lambda broker: broker.faults.abort_connections(), StreamLostError),
    "reset": (lambda broker: broker.faults.abort_connections(reset=True), StreamLostError),
    "restarted": (lambda broker: broker.restart(), ConnectionClosedByBroker),
    "sessions lost": (lambda broker: broker.restart(keep_transient=True), ConnectionClosedByBroker),
    "killed": (kill_and_start, StreamLostError),
}
LOSS = pytest.mark.parametrize("loss", list(LOSSES))


def declare(broker: Broker) -> None:
    with pika.BlockingConnection(broker.pika_parameters()) as connection:
        connection.channel().queue_declare("q", durable=True)


def publish(broker: Broker, body: bytes) -> None:
    with pika.BlockingConnection(broker.pika_parameters()) as connection:
        connection.channel().basic_publish("", "q", body, PERSISTENT)


@LOSS
def test_pika_comes_back(broker: Broker, worker: Worker, loss: str) -> None:
    lose, reason = LOSSES[loss]
    publish(broker, b"before")
    broker.wait_for(lambda: worker.bodies == [b"before"])
    broker.wait_idle()
    lose(broker)
    broker.wait_for_consumer("q")
    publish(broker, b"after")
    broker.wait_for(queue="q", ready=0, unacked=0)
    broker.wait_for(lambda: worker.bodies == [b"before", b"after"])
    assert isinstance(worker.losses[0], reason)


# -- what pika says --


def test_a_nack_is_raised(broker: Broker, channel: BlockingChannel) -> None:
    with broker.faults.nack_next() as nacks:
        with pytest.raises(NackError):
            channel.basic_publish("", "q", b"a")
        assert nacks.left == 0
        channel.basic_publish("", "q", b"b")
    assert [message.body for message in broker.queue("q").messages()] == [b"b"]


def test_a_return_is_raised(broker: Broker, channel: BlockingChannel) -> None:
    with broker.faults.return_next(), pytest.raises(UnroutableError) as raised:
        channel.basic_publish("", "q", b"a", mandatory=True)
    [returned] = raised.value.messages
    assert (returned.method.reply_code, returned.body) == (312, b"a")


def test_a_return_is_told_where_nothing_is_confirmed(broker: Broker) -> None:
    told: list[bytes] = []
    with pika.BlockingConnection(broker.pika_parameters()) as connection:
        channel = connection.channel()
        channel.queue_declare("q")
        channel.add_on_return_callback(lambda channel, method, properties, body: told.append(body))
        broker.faults.return_next()
        channel.basic_publish("", "q", b"a", mandatory=True)
        channel.basic_qos()
        connection.process_data_events()
    assert told == [b"a"]


def test_a_cancelled_consumer_is_told(broker: Broker, channel: BlockingChannel) -> None:
    told: list[str] = []
    channel.add_on_cancel_callback(lambda method: told.append(method.method.consumer_tag))
    channel.basic_consume("q", print, consumer_tag="c")
    broker.queue("q").consumers[0].cancel()
    channel.start_consuming()  # until there is no consumer left
    assert told == ["c"]


def test_a_closed_channel_says_why(broker: Broker, channel: BlockingChannel) -> None:
    broker.channels[0].close(404, "NOT_FOUND - no such luck")
    with pytest.raises(ChannelClosedByBroker) as raised:
        channel.basic_qos()
    assert (raised.value.reply_code, raised.value.reply_text) == (404, "NOT_FOUND - no such luck")
    channel.connection.channel()


def test_blocked_and_unblocked_are_told(broker: Broker, channel: BlockingChannel) -> None:
    told: list[object] = []
    connection = channel.connection
    connection.add_on_connection_blocked_callback(lambda connection, frame: told.append(frame.method.reason))
    connection.add_on_connection_unblocked_callback(lambda connection, frame: told.append("over"))
    channel.basic_publish("", "q", b"a")
    with broker.faults.block_publishers("low on disk"):
        connection.process_data_events(5.0)
    connection.process_data_events(5.0)
    assert told == ["low on disk", "over"]
    channel.basic_publish("", "q", b"b")


def test_who_is_blocked_for_too_long_gives_up(broker: Broker) -> None:
    connection = pika.BlockingConnection(broker.pika_parameters(blocked_connection_timeout=0.1))
    channel = connection.channel()
    channel.queue_declare("q")
    channel.confirm_delivery()
    channel.basic_publish("", "q", b"a")
    with broker.faults.block_publishers(), pytest.raises(ConnectionBlockedTimeout):
        channel.basic_publish("", "q", b"b")


def test_logins_are_refused(broker: Broker) -> None:
    with broker.faults.refuse_logins(), pytest.raises(ProbableAuthenticationError):
        pika.BlockingConnection(broker.pika_parameters())
    pika.BlockingConnection(broker.pika_parameters()).close()


def test_a_broker_that_does_not_answer(broker: Broker) -> None:
    parameters = broker.pika_parameters(stack_timeout=0.1, retry_delay=0)
    with broker.faults.freeze_connections(), pytest.raises(AMQPConnectorStackTimeout):
        pika.BlockingConnection(parameters)


def test_heartbeats_are_missed_while_a_connection_is_frozen(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    start = HeartbeatChecker._start_check_timer

    def start_soon(checker: HeartbeatChecker) -> None:
        checker._check_interval = 0.7  # pika waits 5 s longer than was agreed
        start(checker)

    monkeypatch.setattr(HeartbeatChecker, "_start_check_timer", start_soon)
    connection = pika.BlockingConnection(broker.pika_parameters(heartbeat=1))
    broker.connections[0].freeze()
    with pytest.raises(AMQPHeartbeatTimeout):
        connection.process_data_events(5.0)


def test_what_was_acked_in_vain_comes_again(broker: Broker, channel: BlockingChannel) -> None:
    channel.basic_publish("", "q", b"a")
    with pika.BlockingConnection(broker.pika_parameters()) as connection:
        consuming = connection.channel()
        with broker.faults.drop_acks():
            method, _, _ = consuming.basic_get("q")
            consuming.basic_ack(method.delivery_tag)
            consuming.basic_qos()
    method, _, body = channel.basic_get("q")
    assert (method.redelivered, body) == (True, b"a")


# -- reconnecting: aio-pika --


async def lose_later(broker: AsyncBroker, loss: str) -> None:
    """As LOSSES, in the loop of the client."""
    match loss:
        case "restarted":
            await broker.restart()
        case "sessions lost":
            await broker.restart(keep_transient=True)
        case "killed":
            await broker.kill()
            await broker.start()
        case "closed":
            broker.faults.close_connections()
        case _:
            broker.faults.abort_connections(reset=loss == "reset")


@LOSS
def test_aio_pika_comes_back(loss: str) -> None:
    async def scenario() -> list[bytes]:
        bodies: list[bytes] = []

        async def on_message(message: AbstractIncomingMessage) -> None:
            async with message.process():
                bodies.append(message.body)

        async with AsyncBroker() as broker:
            connection = await aio_pika.connect_robust(broker.url, reconnect_interval=AGAIN_S)
            async with connection:
                channel = await connection.channel()
                queue = await channel.declare_queue("q", durable=True)
                await queue.consume(on_message)
                await send(channel, b"before")
                await broker.wait_for(queue="q", ready=0, unacked=0)
                await lose_later(broker, loss)
                await broker.wait_for_consumer("q")
                await send(channel, b"after")
                await broker.wait_for(queue="q", ready=0, unacked=0)
        return bodies

    assert asyncio.run(scenario()) == [b"before", b"after"]


def test_aio_pika_consumes_again_when_it_is_cancelled() -> None:
    async def scenario() -> None:
        async with AsyncBroker() as broker:
            connection = await aio_pika.connect_robust(broker.url, reconnect_interval=AGAIN_S)
            async with connection:
                queue = await (await connection.channel()).declare_queue("q")
                await queue.consume(print)
                broker.queue("q").cancel_consumers()
                await broker.wait_for_consumer("q")

    asyncio.run(scenario())


async def send(channel: AbstractChannel, body: bytes) -> None:
    await channel.default_exchange.publish(aio_pika.Message(body), "q")


def run(scenario: Callable[[AsyncBroker, AbstractChannel], Awaitable[None]]) -> None:
    """With a queue q."""

    async def main() -> None:
        async with AsyncBroker() as broker:
            async with await aio_pika.connect(broker.url) as connection:
                channel = await connection.channel(on_return_raises=True)
                await channel.declare_queue("q")
                await scenario(broker, channel)

    asyncio.run(main())


def test_aio_pika_raises_what_is_nacked() -> None:
    async def scenario(broker: AsyncBroker, channel: AbstractChannel) -> None:
        with broker.faults.nack_next(), pytest.raises(DeliveryError):
            await send(channel, b"a")
        await send(channel, b"b")

    run(scenario)


def test_aio_pika_raises_what_is_returned() -> None:
    async def scenario(broker: AsyncBroker, channel: AbstractChannel) -> None:
        with broker.faults.return_next(), pytest.raises(PublishError):
            await send(channel, b"a")
        await send(channel, b"b")

    run(scenario)


def test_aio_pika_comes_back_when_heartbeats_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(aiormq.Connection, "HEARTBEAT_GRACE_MULTIPLIER", 0.4)  # of 2 s

    async def scenario() -> None:
        async with AsyncBroker() as broker:
            async with await aio_pika.connect_robust(broker.url + "?heartbeat=1", reconnect_interval=AGAIN_S):
                frozen = broker.connections[0]
                frozen.freeze()
                await broker.wait_for(lambda: any(each != frozen for each in broker.connections))

    asyncio.run(scenario())
