"""kombu over py-amqp: the scenarios, with its connections, producers, consumers and queues."""
# mypy: disable-error-code="attr-defined, no-untyped-call"

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import kombu
from amqp.exceptions import MessageNacked  # type: ignore[import-untyped]
from kombu import Connection, Consumer, Exchange, Producer, Queue, binding

from interop.clients import stagehand
from interop.clients.stagehand import CHINESE, GERMAN, HEARTBEAT_S, RABBIT, TABLE, ask, fails, play, url

Errors = Connection("amqp://").channel_errors + Connection("amqp://").connection_errors
REASON = "connection blocked, see broker logs"  # py-amqp drops what the broker says
DIRECT = Exchange("amq.direct", "direct")


@contextmanager
def open_channel(address: str = "", **options: Any) -> Iterator[Any]:
    """A channel; producers on it wait for confirms."""
    with Connection(address or url(), transport_options={"confirm_publish": True}, **options) as connection:
        yield connection.channel()


def publish(channel: Any, key: str, body: Any, exchange: Any = "", **properties: Any) -> None:
    Producer(channel).publish(body, routing_key=key, exchange=exchange, retry=False, **properties)


def declare(channel: Any, name: str, exchange: Any = None, key: str = "", **options: Any) -> Any:
    queue = Queue(name, exchange, key, **({"durable": False, "exclusive": True} | options))(channel)
    queue.declare()
    return queue


def take_all(queue: Any) -> list[str]:
    """What is ready, by basic.get."""
    return [message.payload for message in iter(lambda: queue.get(no_ack=True), None)]


def wait_for(channel: Any, condition: Callable[[], object]) -> None:
    connection = channel.connection.client
    stagehand.wait_for(condition, lambda: connection.drain_events(timeout=0.2), connection.heartbeat_check)


def connect() -> None:
    connection = Connection(url())
    connection.connect()
    assert {"product", "version", "capabilities"} <= set(connection.connection.server_properties)
    connection.release()
    assert not connection.connected


def auth_failure() -> None:
    with fails(Errors, "(403)", "ACCESS_REFUSED - Login was refused"):
        Connection(url(password="wrong")).connect()


def no_vhost() -> None:
    with fails(Errors, "(530)", "NOT_ALLOWED - vhost nowhere not found"):
        Connection(url(vhost="nowhere")).connect()


def publish_confirm() -> None:
    with open_channel() as channel:
        queue = declare(channel, "q", durable=True, exclusive=False)
        for number in range(100):
            publish(channel, "q", number, delivery_mode=2)
        assert queue.queue_declare(passive=True).message_count == 100
        declare(channel, "full", queue_arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        publish(channel, "full", "fits")
        with fails(MessageNacked):
            publish(channel, "full", "does not")


def mandatory_return() -> None:
    with open_channel() as channel:
        returned: list[Any] = []
        producer = Producer(channel, DIRECT, on_return=lambda *what: returned.append(what), auto_declare=False)
        producer.publish("back", routing_key="nobody", mandatory=True, type="t")
        ((error, exchange, key, message),) = returned
        assert (error.reply_code, error.reply_text, exchange, key) == (312, "NO_ROUTE", "amq.direct", "nobody")
        assert (message.body, message.type) == ("back", "t")


def get() -> None:
    with open_channel() as channel:
        queue = declare(channel, "q")
        assert queue.get() is None
        for body in ("1", "2", "3"):
            publish(channel, "q", body)
        message = queue.get()
        facts = message.delivery_info
        assert (message.payload, facts["message_count"], facts["redelivered"]) == ("1", 2, False)
        message.ack()
        assert take_all(queue) == ["2", "3"]


def work_queue() -> None:
    with open_channel() as channel:
        queue = declare(channel, "tasks", durable=True, exclusive=False)
        for number in range(20):
            publish(channel, "tasks", number)
        done: dict[int, list[int]] = {}

        def work(body: int, message: Any) -> None:
            done.setdefault(message.channel.channel_id, []).append(body)
            message.ack()

        for _ in range(2):
            worker = channel.connection.client.channel()
            Consumer(worker, queue, callbacks=[work], prefetch_count=1).consume()
        wait_for(channel, lambda: sum(map(len, done.values())) >= 20)
        first, second = done.values()
        assert sorted(first + second) == list(range(20))


def fanout() -> None:
    with open_channel() as channel:
        logs = Exchange("logs", "fanout")
        queues = [declare(channel, f"q{number}", logs) for number in range(3)]
        publish(channel, "whatever", "news", logs)
        assert [take_all(queue) for queue in queues] == [["news"]] * 3


def topic() -> None:
    with open_channel() as channel:
        events = Exchange("events", "topic")
        queues = {key: declare(channel, f"of {key}", events, key) for key in ("*.error", "app.#", "#", "app.*.x")}
        for key in ("app", "app.error", "db.error", "app.db.x", "app.db.error"):
            publish(channel, key, key, events)
        assert take_all(queues["*.error"]) == ["app.error", "db.error"]
        assert take_all(queues["app.#"]) == ["app", "app.error", "app.db.x", "app.db.error"]
        assert len(take_all(queues["#"])) == 5
        assert take_all(queues["app.*.x"]) == ["app.db.x"]


def headers() -> None:
    with open_channel() as channel:
        exchange = Exchange("by headers", "headers")
        wanted = {"format": "pdf", "pages": 3}
        queues = {
            match: declare(channel, match, exchange, binding_arguments={"x-match": match, **wanted})
            for match in ("all", "any")
        }
        for body, sent in (("both", wanted), ("one", {"format": "pdf"}), ("none", {"format": "txt", "pages": 4})):
            publish(channel, "", body, exchange, headers=sent)
        assert take_all(queues["all"]) == ["both"]
        assert take_all(queues["any"]) == ["both", "one"]


def rpc() -> None:
    with open_channel() as channel:
        square = declare(channel, "square")
        results: dict[str, int] = {}

        def serve(body: int, message: Any) -> None:
            asked = message.properties
            publish(channel, asked["reply_to"], body**2, correlation_id=asked["correlation_id"])
            message.ack()

        def note(body: int, message: Any) -> None:
            results[message.properties["correlation_id"]] = body

        Consumer(channel, square, callbacks=[serve]).consume()
        replies = Queue("amq.rabbitmq.reply-to", no_ack=True)
        Consumer(channel, replies, callbacks=[note], no_ack=True, auto_declare=False).consume()
        for number in range(10):
            call = {"reply_to": "amq.rabbitmq.reply-to", "correlation_id": f"call {number}"}
            publish(channel, "square", number, **call)
        wait_for(channel, lambda: len(results) == 10)
        assert results == {f"call {number}": number**2 for number in range(10)}


def ordering() -> None:
    with open_channel() as channel:
        queue = declare(channel, "q")
        for number in range(1000):
            publish(channel, "q", number)
        seen: list[int] = []
        Consumer(channel, queue, no_ack=True, callbacks=[lambda body, _: seen.append(body)]).consume()
        wait_for(channel, lambda: len(seen) >= 1000)
        assert seen == list(range(1000))


def large_message() -> None:
    body = bytes(range(256)) * 40_960
    with open_channel() as channel:
        queue = declare(channel, "q")
        publish(channel, "q", body)
        assert queue.get(no_ack=True).payload == body


def many_channels() -> None:
    with open_channel() as channel:
        queue = declare(channel, "q")
        channels = [channel.connection.client.channel() for _ in range(999)]
        assert len({each.channel_id for each in channels}) == 999
        for each in channels:
            queue(each).queue_declare(passive=True)


def table_types() -> None:
    with open_channel() as channel:
        queue = declare(channel, "q")
        publish(channel, "q", "", headers=TABLE)
        got = queue.get(no_ack=True).headers
        assert got == TABLE | {"time": TABLE["time"].replace(tzinfo=None)}, got  # py-amqp reads them naive
        assert got["true"] is True


def exclusive() -> None:
    with open_channel() as other:
        with open_channel() as owner, open_channel() as third:
            declare(owner, "mine")
            with fails(Errors, "(405)", "cannot obtain exclusive access to locked queue 'mine'"):
                declare(third, "mine")
        with fails(Errors, "(404)", "no queue 'mine'"):
            Queue("mine")(other).queue_declare(passive=True)


def auto_delete() -> None:
    with open_channel() as channel:
        queue = declare(channel, "q", auto_delete=True, exclusive=False)
        with Consumer(channel, queue, callbacks=[print]):
            queue.queue_declare(passive=True)
        with fails(Errors, "(404)", "no queue 'q'"):
            queue.queue_declare(passive=True)


def priorities() -> None:
    with open_channel() as channel:
        queue = declare(channel, "q", max_priority=10)
        for priority in (1, 10, 5, 3, 8, 0):
            publish(channel, "q", str(priority), priority=priority)
        assert take_all(queue) == ["10", "8", "5", "3", "1", "0"]


def retry_loop() -> None:
    with open_channel() as channel:
        to_retry = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "retry"}
        work = declare(channel, "work", queue_arguments=to_retry)
        to_work = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "work"}
        declare(channel, "retry", queue_arguments=to_work, message_ttl=0.05)
        publish(channel, "work", "job")
        deaths: list[Any] = []

        def fail(_body: str, message: Any) -> None:
            deaths.append(message.headers.get("x-death", []))
            message.reject()

        Consumer(channel, work, callbacks=[fail]).consume()
        wait_for(channel, lambda: len(deaths) > 3)
        assert [[each["count"] for each in death] for death in deaths[:4]] == [[], [1, 1], [2, 2], [3, 3]]
        assert {each["queue"]: each["reason"] for each in deaths[3]} == {"work": "rejected", "retry": "expired"}


def recover() -> None:
    with open_channel() as channel:
        queue = declare(channel, "q")
        publish(channel, "q", "again")
        give_back: list[Callable[[Any], object]] = [
            lambda _message: Consumer(channel, queue).recover(requeue=True),
            lambda message: message.requeue(),
            lambda message: message.reject(requeue=True),
            lambda message: message.reject(),
        ]
        for is_again, back in enumerate(give_back):
            message = queue.get()
            assert (message.payload, message.delivery_info["redelivered"]) == ("again", bool(is_again))
            back(message)
        assert take_all(queue) == []


def unbind_purge_delete() -> None:
    with open_channel() as channel:
        queue = declare(channel, "q", None)
        binding(DIRECT, "key").bind(queue)
        for _ in range(3):
            publish(channel, "key", "x", "amq.direct")
        assert queue.purge() == 3
        queue.unbind_from(DIRECT, "key")
        publish(channel, "key", "x", "amq.direct")
        for _ in range(2):
            publish(channel, "q", "x")
        assert queue.delete() == 2
        assert queue.delete() == 0


def consumer_cancel() -> None:
    with open_channel() as channel:
        queue = declare(channel, "q", exclusive=False)
        Consumer(channel, queue, callbacks=[print], tag_prefix="mine").consume()
        ask("delete_queue", "q")
        with fails(Errors, "mine"):  # ConsumerCancelled
            wait_for(channel, lambda: False)


def blocked() -> None:
    told: list[str] = []
    events = {"on_blocked": told.append, "on_unblocked": lambda: told.append("over")}
    with Connection(url(), transport_options=events) as connection:
        channel = connection.channel()
        queue = declare(channel, "q")
        ask("block")
        publish(channel, "q", "waits")
        wait_for(channel, lambda: told)
        assert told == [REASON]
        ask("unblock")
        wait_for(channel, lambda: len(told) > 1)
        assert told == [REASON, "over"]
        assert take_all(queue) == ["waits"]


def reconnect() -> None:
    """kombu's own recovery: a producer with a retry policy, and ensure() around what consumes."""
    policy = {"max_retries": 30, "interval_start": 0.1, "interval_step": 0.1, "interval_max": 0.5}
    with Connection(url(), transport_options={"confirm_publish": True}) as connection:
        queue = Queue("q", durable=True)
        producer = connection.Producer()
        for number in range(20):
            producer.publish(number, routing_key="q", delivery_mode=2, declare=[queue], retry=True, retry_policy=policy)
            if number == 9:
                ask("kill")
        take = connection.ensure(producer, lambda: take_all(queue(connection.default_channel)), **policy)
        taken = take()
        assert taken == list(range(20)), taken


def heartbeat_loss() -> None:
    with open_channel(heartbeat=HEARTBEAT_S) as channel:
        connection = channel.connection.client
        ask("freeze", 6)
        with fails((*Errors, socket.error), "Too many heartbeats missed"):
            wait_for(channel, lambda: False)
        connection.ensure_connection(max_retries=5)
        assert connection.connected


def non_ascii() -> None:
    with open_channel() as channel:
        exchange = Exchange(GERMAN, "topic", durable=False)
        queue = declare(channel, CHINESE, exchange, f"{RABBIT}.*")
        publish(channel, f"{RABBIT}.x", CHINESE, exchange, headers={GERMAN: CHINESE}, correlation_id=RABBIT)
        message = queue.get(no_ack=True)
        facts = message.delivery_info
        assert (facts["exchange"], facts["routing_key"]) == (GERMAN, f"{RABBIT}.x")
        assert (message.payload, message.headers[GERMAN]) == (CHINESE, CHINESE)
        assert message.properties["correlation_id"] == RABBIT
        with fails(Errors, f"no queue '{RABBIT}'"):
            Queue(RABBIT)(channel).queue_declare(passive=True)


def error_codes() -> None:
    with open_channel() as channel:
        fresh = channel.connection.client.channel
        declare(channel, "q", durable=True, exclusive=False)
        with fails(Errors, "(404)", "NOT_FOUND - no queue 'none' in vhost"):
            Queue("none")(fresh()).get()
        with fails(Errors, "(404)", "NOT_FOUND - no exchange 'none' in vhost"):
            Queue("q")(fresh()).bind_to("none")
        with fails(Errors, "(406)", "inequivalent arg 'durable' for queue 'q' in vhost"):
            declare(fresh(), "q", exclusive=False)
        with fails(Errors, "(403)", "queue name 'amq.mine' contains reserved prefix 'amq.*'"):
            declare(fresh(), "amq.mine")
        with fails(Errors, "(503)", "COMMAND_INVALID - unknown exchange type 'no-such-type'"):
            Exchange("e", "no-such-type")(fresh()).declare()
    with open_channel() as channel, fails(Errors, "(540)", "NOT_IMPLEMENTED - prefetch_size!=0 (1)"):
        Consumer(channel, Queue("q"), auto_declare=False).qos(prefetch_size=1)


if __name__ == "__main__":
    play(globals(), kombu.__version__)
