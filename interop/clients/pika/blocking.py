"""The scenarios with pika's BlockingConnection, as its users write them."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import (
    AMQPConnectionError,
    AMQPHeartbeatTimeout,
    ChannelClosedByBroker,
    ConnectionClosedByBroker,
    NackError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    UnroutableError,
)

from interop.clients import stagehand
from interop.clients.stagehand import CHINESE, GERMAN, HEARTBEAT_S, RABBIT, TABLE, WAIT_S, Lacks, ask, fails, url

PERSISTENT = pika.BasicProperties(delivery_mode=2)


def open_connection(address: str = "", **options: Any) -> pika.BlockingConnection:
    parameters = pika.URLParameters(address or url())
    for name, value in options.items():
        setattr(parameters, name, value)
    return pika.BlockingConnection(parameters)


@contextmanager
def open_channel() -> Iterator[BlockingChannel]:
    """A channel in confirm mode: publishing returns when the broker has the message, or raises."""
    with open_connection() as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        yield channel


def declare(channel: BlockingChannel, exchange: str = "", keys: tuple[str, ...] = ()) -> str:
    """A queue that the broker names, bound with each of the keys."""
    queue: str = channel.queue_declare("", exclusive=True).method.queue
    for key in keys:
        channel.queue_bind(queue, exchange, key)
    return queue


def take_all(channel: BlockingChannel, queue: str) -> list[str]:
    """What is ready, by basic.get."""
    bodies: list[str] = []
    while True:
        method, _, body = channel.basic_get(queue, auto_ack=True)
        if method is None:
            return bodies
        bodies.append(body.decode())


def wait_for(connection: pika.BlockingConnection, condition: Callable[[], object]) -> None:
    stagehand.wait_for(condition, lambda: connection.process_data_events(time_limit=0.1))


def connect() -> None:
    connection = open_connection()
    assert connection.is_open
    assert connection.basic_nack_supported
    assert connection.publisher_confirms_supported
    assert connection.consumer_cancel_notify_supported
    assert connection.exchange_exchange_bindings_supported
    connection.close()
    assert connection.is_closed


def auth_failure() -> None:
    with fails((ProbableAuthenticationError, ConnectionClosedByBroker), "403", "ACCESS_REFUSED"):
        open_connection(url(password="wrong"))


def no_vhost() -> None:
    with fails((ProbableAccessDeniedError, ConnectionClosedByBroker), "530", "NOT_ALLOWED - vhost nowhere not found"):
        open_connection(url(vhost="nowhere"))


def publish_confirm() -> None:
    with open_channel() as channel:
        channel.queue_declare("q", durable=True)
        for number in range(100):
            channel.basic_publish("", "q", str(number).encode(), PERSISTENT)
        assert channel.queue_declare("q", passive=True).method.message_count == 100
        channel.queue_declare("full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        channel.basic_publish("", "full", b"fits")
        with fails(NackError):
            channel.basic_publish("", "full", b"does not")


def mandatory_return() -> None:
    with open_channel() as channel:
        try:
            channel.basic_publish("amq.direct", "nobody", b"back", pika.BasicProperties(type="t"), mandatory=True)
        except UnroutableError as error:
            (message,) = error.messages
        assert (message.method.reply_code, message.method.reply_text) == (312, "NO_ROUTE")
        assert (message.method.exchange, message.method.routing_key) == ("amq.direct", "nobody")
        assert (message.body, message.properties.type) == (b"back", "t")


def get() -> None:
    with open_channel() as channel:
        channel.queue_declare("q")
        assert channel.basic_get("q") == (None, None, None)
        for body in (b"1", b"2", b"3"):
            channel.basic_publish("", "q", body)
        method, _, body = channel.basic_get("q")
        assert (body, method.message_count, method.redelivered) == (b"1", 2, False)
        channel.basic_ack(method.delivery_tag)
        assert take_all(channel, "q") == ["2", "3"]


def work_queue() -> None:
    with open_channel() as channel:
        channel.queue_declare("tasks", durable=True)
        for number in range(20):
            channel.basic_publish("", "tasks", str(number).encode(), PERSISTENT)
        done: dict[str, list[int]] = {"first": [], "second": []}

        def work(of: BlockingChannel, deliver: Any, _properties: Any, body: bytes) -> None:
            done[deliver.consumer_tag].append(int(body))
            of.basic_ack(deliver.delivery_tag)

        for tag in done:
            worker = channel.connection.channel()
            worker.basic_qos(prefetch_count=1)
            worker.basic_consume("tasks", work, consumer_tag=tag)
        wait_for(channel.connection, lambda: sum(map(len, done.values())) >= 20)
        assert sorted(done["first"] + done["second"]) == list(range(20))
        assert all(done.values()), f"one of them did it all: {done}"


def fanout() -> None:
    with open_channel() as channel:
        channel.exchange_declare("logs", "fanout")
        queues = [declare(channel, "logs", ("",)) for _ in range(3)]
        channel.basic_publish("logs", "whatever", b"news")
        assert [take_all(channel, queue) for queue in queues] == [["news"]] * 3


def topic() -> None:
    with open_channel() as channel:
        channel.exchange_declare("events", "topic")
        queues = {pattern: declare(channel, "events", (pattern,)) for pattern in ("*.error", "app.#", "#", "app.*.x")}
        for key in ("app", "app.error", "db.error", "app.db.x", "app.db.error"):
            channel.basic_publish("events", key, key.encode())
        assert take_all(channel, queues["*.error"]) == ["app.error", "db.error"]
        assert take_all(channel, queues["app.#"]) == ["app", "app.error", "app.db.x", "app.db.error"]
        assert len(take_all(channel, queues["#"])) == 5
        assert take_all(channel, queues["app.*.x"]) == ["app.db.x"]


def headers() -> None:
    with open_channel() as channel:
        channel.exchange_declare("by headers", "headers")
        wanted = {"format": "pdf", "pages": 3}
        queues = {match: declare(channel) for match in ("all", "any")}
        for match, queue in queues.items():
            channel.queue_bind(queue, "by headers", "", {"x-match": match, **wanted})
        for body, sent in (("both", wanted), ("one", {"format": "pdf"}), ("none", {"format": "txt", "pages": 4})):
            channel.basic_publish("by headers", "", body.encode(), pika.BasicProperties(headers=sent))
        assert take_all(channel, queues["all"]) == ["both"]
        assert take_all(channel, queues["any"]) == ["both", "one"]


def rpc() -> None:
    with open_channel() as channel:
        channel.queue_declare("square")
        results: dict[str, int] = {}

        def serve(of: BlockingChannel, deliver: Any, properties: pika.BasicProperties, body: bytes) -> None:
            of.basic_publish(
                "",
                properties.reply_to,
                str(int(body) ** 2).encode(),
                pika.BasicProperties(correlation_id=properties.correlation_id),
            )
            of.basic_ack(deliver.delivery_tag)

        def note(_channel: BlockingChannel, _deliver: Any, properties: pika.BasicProperties, body: bytes) -> None:
            results[properties.correlation_id] = int(body)

        channel.connection.channel().basic_consume("square", serve)
        channel.basic_consume("amq.rabbitmq.reply-to", note, auto_ack=True)
        for number in range(10):
            call = pika.BasicProperties(reply_to="amq.rabbitmq.reply-to", correlation_id=f"call {number}")
            channel.basic_publish("", "square", str(number).encode(), call)
            wait_for(channel.connection, lambda: len(results) > number)  # noqa: B023
        assert results == {f"call {number}": number**2 for number in range(10)}


def ordering() -> None:
    with open_channel() as channel:
        channel.queue_declare("q")
        publisher = channel.connection.channel()
        for number in range(1000):
            publisher.basic_publish("", "q", str(number).encode())
        seen: list[int] = []
        for method, _, body in channel.consume("q", inactivity_timeout=WAIT_S):
            assert method, f"nothing more after {len(seen)}"
            seen.append(int(body))
            if len(seen) == 1000:
                channel.basic_ack(method.delivery_tag, multiple=True)
                break
        channel.cancel()
        assert seen == list(range(1000))
        assert channel.queue_declare("q", passive=True).method.message_count == 0


def large_message() -> None:
    body = bytes(range(256)) * 40_960
    with open_channel() as channel:
        channel.queue_declare("q")
        channel.basic_publish("", "q", body)
        assert channel.basic_get("q", auto_ack=True)[2] == body


def many_channels() -> None:
    with open_channel() as channel:
        channel.queue_declare("q")
        channels = [channel.connection.channel() for _ in range(999)]
        assert len({each.channel_number for each in channels}) == 999
        for each in channels:
            each.queue_declare("q", passive=True)


def table_types() -> None:
    sent = {name: value for name, value in TABLE.items() if name != "float"}  # pika writes no floating point numbers
    with open_channel() as channel:
        channel.queue_declare("q")
        channel.basic_publish("", "q", b"", pika.BasicProperties(headers=sent))
        got = channel.basic_get("q", auto_ack=True)[1].headers
        got["time"] = got["time"].replace(tzinfo=datetime.UTC)  # pika gave naive times before 1.2
        assert got == sent, got
        assert got["true"] is True


def exclusive() -> None:
    with open_connection() as owner, open_connection() as other:
        owner.channel().queue_declare("mine", exclusive=True)
        with fails(
            ChannelClosedByBroker, "405", "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'mine'"
        ):
            other.channel().queue_declare("mine", exclusive=True)
        owner.close()
        with fails(ChannelClosedByBroker, "404", "NOT_FOUND - no queue 'mine'"):
            other.channel().queue_declare("mine", passive=True)


def auto_delete() -> None:
    with open_channel() as channel:
        channel.queue_declare("q", auto_delete=True)
        tag = channel.basic_consume("q", lambda *_: None)
        channel.queue_declare("q", passive=True)
        channel.basic_cancel(tag)
        with fails(ChannelClosedByBroker, "404", "NOT_FOUND - no queue 'q'"):
            channel.queue_declare("q", passive=True)


def priorities() -> None:
    with open_channel() as channel:
        channel.queue_declare("q", arguments={"x-max-priority": 10})
        for priority in (1, 10, 5, 3, 8, 0):
            channel.basic_publish("", "q", str(priority).encode(), pika.BasicProperties(priority=priority))
        assert take_all(channel, "q") == ["10", "8", "5", "3", "1", "0"]


def retry_loop() -> None:
    with open_channel() as channel:
        to_retry = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "retry"}
        to_work = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "work", "x-message-ttl": 50}
        channel.queue_declare("work", arguments=to_retry)
        channel.queue_declare("retry", arguments=to_work)
        channel.basic_publish("", "work", b"job")
        for attempt, (method, properties, body) in enumerate(channel.consume("work", inactivity_timeout=WAIT_S)):
            deaths = {each["queue"]: each for each in (properties.headers or {}).get("x-death", ())}
            assert body == b"job"
            assert [each["count"] for each in deaths.values()] == ([attempt] * 2 if attempt else [])
            if attempt == 3:
                channel.basic_ack(method.delivery_tag)
                break
            channel.basic_reject(method.delivery_tag, requeue=False)
        channel.cancel()
        assert deaths["work"]["reason"] == "rejected"
        assert deaths["retry"]["reason"] == "expired"
        assert deaths["work"]["routing-keys"] == ["work"]
        assert properties.headers["x-first-death-queue"] == "work"


def tx() -> None:
    with open_connection() as connection:
        channel, other = connection.channel(), connection.channel()
        channel.queue_declare("q")
        channel.tx_select()
        channel.basic_publish("", "q", b"kept")
        assert take_all(other, "q") == []
        channel.tx_commit()
        channel.basic_publish("", "q", b"dropped")
        channel.tx_rollback()
        channel.tx_commit()
        assert take_all(other, "q") == ["kept"]


def recover() -> None:
    with open_channel() as channel:
        channel.queue_declare("q")
        channel.basic_publish("", "q", b"again")
        give_back: list[Callable[[int], object]] = [
            lambda _tag: channel.basic_recover(requeue=True),
            lambda tag: channel.basic_nack(tag, requeue=True),
            lambda tag: channel.basic_reject(tag, requeue=True),
            lambda tag: channel.basic_reject(tag, requeue=False),
        ]
        for is_again, back in enumerate(give_back):
            method, _, body = channel.basic_get("q")
            assert (body, method.redelivered) == (b"again", bool(is_again))
            back(method.delivery_tag)
        assert take_all(channel, "q") == []


def unbind_purge_delete() -> None:
    with open_channel() as channel:
        channel.queue_declare("q")
        channel.queue_bind("q", "amq.direct", "key")
        for _ in range(3):
            channel.basic_publish("amq.direct", "key", b"x", mandatory=True)
        assert channel.queue_purge("q").method.message_count == 3
        channel.queue_unbind("q", "amq.direct", "key")
        with fails(UnroutableError):
            channel.basic_publish("amq.direct", "key", b"x", mandatory=True)
        for _ in range(2):
            channel.basic_publish("", "q", b"x")
        assert channel.queue_delete("q").method.message_count == 2
        assert channel.queue_delete("q").method.message_count == 0


def consumer_cancel() -> None:
    with open_channel() as channel:
        channel.queue_declare("q")
        cancelled = []
        channel.add_on_cancel_callback(lambda frame: cancelled.append(frame.method.consumer_tag))
        tag = channel.basic_consume("q", lambda *_: None)
        ask("delete_queue", "q")
        wait_for(channel.connection, lambda: bool(cancelled))
        assert cancelled == [tag]
        assert channel.is_open


def blocked() -> None:
    with open_connection() as connection:
        told = []
        connection.add_on_connection_blocked_callback(lambda _, frame: told.append(frame.method.reason))
        connection.add_on_connection_unblocked_callback(lambda *_: told.append("over"))
        channel = connection.channel()
        channel.queue_declare("q")
        ask("block")
        channel.basic_publish("", "q", b"waits")
        wait_for(connection, lambda: bool(told))
        assert told == ["low on memory"]
        ask("unblock")
        wait_for(connection, lambda: len(told) > 1)
        assert told == ["low on memory", "over"]
        assert take_all(channel, "q") == ["waits"]


def reconnect() -> None:
    """The loop of pika's documentation: whatever ends a connection, there is a next one."""
    seen: list[int] = []
    published = 0
    connections = 0
    while len(seen) < 20:
        try:
            with open_connection() as connection:
                connections += 1
                channel = connection.channel()
                channel.confirm_delivery()
                channel.queue_declare("q", durable=True)
                while published < 20:
                    channel.basic_publish("", "q", str(published).encode(), PERSISTENT)
                    published += 1
                    if published == 10:
                        ask("kill")
                for method, _, body in channel.consume("q", inactivity_timeout=WAIT_S):
                    seen.append(int(body))
                    channel.basic_ack(method.delivery_tag)
                    if len(seen) == 20:
                        break
        except AMQPConnectionError as error:
            print("lost:", repr(error))
    assert seen == list(range(20)), seen
    assert connections == 2


def heartbeat_loss() -> None:
    connection = open_connection(heartbeat=HEARTBEAT_S)
    ask("freeze", 13)  # pika looks every 6 s, and the first time it has seen the handshake
    with fails(AMQPHeartbeatTimeout, "No activity or too many missed heartbeats"):
        connection.process_data_events(time_limit=WAIT_S * 2)
    assert connection.is_closed
    open_connection().close()


def non_ascii() -> None:
    with open_channel() as channel:
        channel.exchange_declare(GERMAN, "topic")
        channel.queue_declare(CHINESE)
        channel.queue_bind(CHINESE, GERMAN, f"{RABBIT}.*")
        sent = pika.BasicProperties(headers={GERMAN: CHINESE}, correlation_id=RABBIT)
        channel.basic_publish(GERMAN, f"{RABBIT}.{GERMAN}", CHINESE.encode(), sent)
        got: list[Any] = []
        channel.basic_consume(CHINESE, lambda *delivery: got.extend(delivery), auto_ack=True, consumer_tag=RABBIT)
        wait_for(channel.connection, lambda: bool(got))
        _, deliver, properties, body = got
        assert (deliver.consumer_tag, body.decode()) == (RABBIT, CHINESE)
        assert (deliver.exchange, deliver.routing_key) == (GERMAN, f"{RABBIT}.{GERMAN}")
        assert (properties.headers, properties.correlation_id) == ({GERMAN: CHINESE}, RABBIT)
        with fails(ChannelClosedByBroker, "404", f"no queue '{RABBIT}'"):
            channel.queue_declare(RABBIT, passive=True)


def update_secret() -> None:
    with open_connection() as connection:
        if not hasattr(connection, "update_secret"):
            raise Lacks("pika has update_secret since 1.2")
        connection.update_secret("guest", "a new token")
        assert connection.channel().queue_declare("").method.queue


def error_codes() -> None:
    with open_connection() as connection:
        connection.channel().queue_declare("q", durable=True)
        with fails(ChannelClosedByBroker, "404", "NOT_FOUND - no queue 'none' in vhost"):
            connection.channel().basic_get("none")
        with fails(ChannelClosedByBroker, "404", "NOT_FOUND - no exchange 'none' in vhost"):
            connection.channel().queue_bind("q", "none", "")
        with fails(
            ChannelClosedByBroker, "406", "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost"
        ):
            connection.channel().queue_declare("q", durable=False)
        with fails(
            ChannelClosedByBroker, "403", "ACCESS_REFUSED - queue name 'amq.mine' contains reserved prefix 'amq.*'"
        ):
            connection.channel().queue_declare("amq.mine")
        with fails(ChannelClosedByBroker, "406", "PRECONDITION_FAILED - unknown delivery tag 7"):
            channel = connection.channel()
            channel.basic_ack(7)
            channel.queue_declare("q", passive=True)
    with fails(ConnectionClosedByBroker, "503", "COMMAND_INVALID - unknown exchange type 'no-such-type'"):
        open_connection().channel().exchange_declare("e", "no-such-type")
    with fails(ConnectionClosedByBroker, "540", "NOT_IMPLEMENTED - prefetch_size!=0 (1)"):
        open_connection().channel().basic_qos(prefetch_size=1)
