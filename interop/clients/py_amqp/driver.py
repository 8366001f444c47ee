"""py-amqp, on which kombu and Celery stand: the scenarios."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import amqp  # type: ignore[import-untyped]
from amqp.exceptions import (  # type: ignore[import-untyped]
    AccessRefused,
    ConsumerCancelled,
    MessageNacked,
    NotAllowed,
    NotFound,
    PreconditionFailed,
    RecoverableConnectionError,
    ResourceLocked,
)

from interop.clients import stagehand
from interop.clients.stagehand import (
    CHINESE,
    GERMAN,
    HEARTBEAT_S,
    HOST,
    PORT,
    RABBIT,
    TABLE,
    VHOST,
    ask,
    fails,
    play,
)

REASON = "connection blocked, see broker logs"  # py-amqp drops what the broker says


def make_connection(**options: Any) -> Any:
    return amqp.Connection(f"{HOST}:{PORT}", **{"virtual_host": VHOST, "confirm_publish": True} | options)


@contextmanager
def open_channel(**options: Any) -> Iterator[Any]:
    """A channel that waits for the confirm of each message."""
    with make_connection(**options) as connection:
        yield connection.channel()


def publish(channel: Any, key: str, body: bytes | str, exchange: str = "", **properties: Any) -> None:
    channel.basic_publish(amqp.Message(body, **properties), exchange=exchange, routing_key=key)


def declare(channel: Any, exchange: str, key: str = "", arguments: Any = None) -> str:
    """A queue that the broker names, bound."""
    queue: str = channel.queue_declare(exclusive=True).queue
    channel.queue_bind(queue, exchange, key, arguments=arguments)
    return queue


def take_all(channel: Any, queue: str) -> list[str]:
    """What is ready, by basic.get."""
    return [message.body for message in iter(lambda: channel.basic_get(queue, no_ack=True), None)]


def wait_for(connection: Any, condition: Callable[[], object]) -> None:
    stagehand.wait_for(condition, lambda: connection.drain_events(timeout=0.2), connection.heartbeat_tick)


def connect() -> None:
    connection = make_connection()
    connection.connect()
    assert {"product", "version", "capabilities"} <= set(connection.server_properties)
    assert connection.connected
    connection.close()
    assert not connection.connected


def auth_failure() -> None:
    with fails(AccessRefused, "(403)", "ACCESS_REFUSED - Login was refused"):
        make_connection(password="wrong").connect()


def no_vhost() -> None:
    with fails(NotAllowed, "(530)", "NOT_ALLOWED - vhost nowhere not found"):
        make_connection(virtual_host="nowhere").connect()


def publish_confirm() -> None:
    with open_channel() as channel:
        channel.queue_declare("q", durable=True, auto_delete=False)
        for number in range(100):
            publish(channel, "q", str(number), delivery_mode=2)
        assert channel.queue_declare("q", passive=True).message_count == 100
        channel.queue_declare("full", arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
        publish(channel, "full", "fits")
        with fails(MessageNacked):
            publish(channel, "full", "does not")


def mandatory_return() -> None:
    with open_channel() as channel:
        returned: list[Any] = []
        channel.events["basic_return"].add(lambda *what: returned.append(what))
        channel.basic_publish(amqp.Message("back", type="t"), "amq.direct", "nobody", mandatory=True)
        ((error, exchange, key, message),) = returned
        assert (error.reply_code, error.reply_text, exchange, key) == (312, "NO_ROUTE", "amq.direct", "nobody")
        assert (message.body, message.type) == ("back", "t")


def get() -> None:
    with open_channel() as channel:
        channel.queue_declare("q")
        assert channel.basic_get("q") is None
        for body in ("1", "2", "3"):
            publish(channel, "q", body)
        message = channel.basic_get("q")
        facts = message.delivery_info
        assert (message.body, facts["message_count"], facts["redelivered"]) == ("1", 2, False)
        message.channel.basic_ack(message.delivery_tag)
        assert take_all(channel, "q") == ["2", "3"]


def work_queue() -> None:
    with open_channel() as channel:
        channel.queue_declare("tasks", durable=True, auto_delete=False)
        for number in range(20):
            publish(channel, "tasks", str(number), delivery_mode=2)
        done: dict[str, list[int]] = {"first": [], "second": []}

        def work(message: Any) -> None:
            done[message.delivery_info["consumer_tag"]].append(int(message.body))
            message.channel.basic_ack(message.delivery_tag)

        for tag in done:
            worker = channel.connection.channel()
            worker.basic_qos(0, 1, False)
            worker.basic_consume("tasks", tag, callback=work)
        wait_for(channel.connection, lambda: sum(map(len, done.values())) >= 20)
        assert sorted(done["first"] + done["second"]) == list(range(20))
        assert all(done.values()), f"one of them did it all: {done}"


def fanout() -> None:
    with open_channel() as channel:
        channel.exchange_declare("logs", "fanout")
        queues = [declare(channel, "logs") for _ in range(3)]
        publish(channel, "whatever", "news", "logs")
        assert [take_all(channel, queue) for queue in queues] == [["news"]] * 3


def topic() -> None:
    with open_channel() as channel:
        channel.exchange_declare("events", "topic")
        queues = {pattern: declare(channel, "events", pattern) for pattern in ("*.error", "app.#", "#", "app.*.x")}
        for key in ("app", "app.error", "db.error", "app.db.x", "app.db.error"):
            publish(channel, key, key, "events")
        assert take_all(channel, queues["*.error"]) == ["app.error", "db.error"]
        assert take_all(channel, queues["app.#"]) == ["app", "app.error", "app.db.x", "app.db.error"]
        assert len(take_all(channel, queues["#"])) == 5
        assert take_all(channel, queues["app.*.x"]) == ["app.db.x"]


def headers() -> None:
    with open_channel() as channel:
        channel.exchange_declare("by headers", "headers")
        wanted = {"format": "pdf", "pages": 3}
        queues = {match: declare(channel, "by headers", "", {"x-match": match, **wanted}) for match in ("all", "any")}
        for body, sent in (("both", wanted), ("one", {"format": "pdf"}), ("none", {"format": "txt", "pages": 4})):
            publish(channel, "", body, "by headers", application_headers=sent)
        assert take_all(channel, queues["all"]) == ["both"]
        assert take_all(channel, queues["any"]) == ["both", "one"]


def rpc() -> None:
    with open_channel() as channel:
        channel.queue_declare("square")
        server = channel.connection.channel()
        results: dict[str, int] = {}

        def serve(message: Any) -> None:
            publish(server, message.reply_to, str(int(message.body) ** 2), correlation_id=message.correlation_id)
            server.basic_ack(message.delivery_tag)

        def note(message: Any) -> None:
            results[message.correlation_id] = int(message.body)

        server.basic_consume("square", callback=serve)
        channel.basic_consume("amq.rabbitmq.reply-to", no_ack=True, callback=note)
        for number in range(10):
            call = {"reply_to": "amq.rabbitmq.reply-to", "correlation_id": f"call {number}"}
            publish(channel, "square", str(number), **call)
        wait_for(channel.connection, lambda: len(results) == 10)
        assert results == {f"call {number}": number**2 for number in range(10)}


def ordering() -> None:
    with open_channel() as channel:
        channel.queue_declare("q")
        for number in range(1000):
            publish(channel, "q", str(number))
        seen: list[int] = []
        channel.basic_consume("q", no_ack=True, callback=lambda message: seen.append(int(message.body)))
        wait_for(channel.connection, lambda: len(seen) >= 1000)
        assert seen == list(range(1000))


def large_message() -> None:
    body = bytes(range(256)) * 40_960
    with open_channel() as channel:
        channel.queue_declare("q")
        publish(channel, "q", body)
        assert channel.basic_get("q", no_ack=True).body == body


def many_channels() -> None:
    with open_channel() as channel:
        channel.queue_declare("q", auto_delete=False)
        channels = [channel.connection.channel() for _ in range(999)]
        assert len({each.channel_id for each in channels}) == 999
        for each in channels:
            each.queue_declare("q", passive=True)


def table_types() -> None:
    with open_channel() as channel:
        channel.queue_declare("q")
        naive = {"time": TABLE["time"].replace(tzinfo=None)}  # as py-amqp reads them
        publish(channel, "q", "", application_headers=TABLE)
        got = channel.basic_get("q", no_ack=True).headers
        assert got == TABLE | naive, got
        assert got["true"] is True


def exclusive() -> None:
    with open_channel() as other:
        with open_channel() as owner, make_connection() as third:
            owner.queue_declare("mine", exclusive=True)
            with fails(ResourceLocked, "(405)", "cannot obtain exclusive access to locked queue 'mine'"):
                third.channel().queue_declare("mine", exclusive=True)
        with fails(NotFound, "(404)", "no queue 'mine'"):
            other.queue_declare("mine", passive=True)


def auto_delete() -> None:
    with open_channel() as channel:
        channel.queue_declare("q", auto_delete=True)
        tag = channel.basic_consume("q", callback=print)
        channel.queue_declare("q", passive=True)
        channel.basic_cancel(tag)
        with fails(NotFound, "(404)", "no queue 'q'"):
            channel.queue_declare("q", passive=True)


def priorities() -> None:
    with open_channel() as channel:
        channel.queue_declare("q", arguments={"x-max-priority": 10})
        for priority in (1, 10, 5, 3, 8, 0):
            publish(channel, "q", str(priority), priority=priority)
        assert take_all(channel, "q") == ["10", "8", "5", "3", "1", "0"]


def retry_loop() -> None:
    with open_channel() as channel:
        to_retry = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "retry"}
        to_work = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "work", "x-message-ttl": 50}
        channel.queue_declare("work", arguments=to_retry)
        channel.queue_declare("retry", arguments=to_work)
        publish(channel, "work", "job")
        deaths: list[Any] = []

        def work(message: Any) -> None:
            deaths.append((message.headers or {}).get("x-death", []))
            channel.basic_reject(message.delivery_tag, requeue=False)

        channel.basic_consume("work", callback=work)
        wait_for(channel.connection, lambda: len(deaths) > 3)
        assert [[each["count"] for each in death] for death in deaths[:4]] == [[], [1, 1], [2, 2], [3, 3]]
        assert {each["queue"]: each["reason"] for each in deaths[3]} == {"work": "rejected", "retry": "expired"}


def tx() -> None:
    with open_channel(confirm_publish=False) as channel:
        other = channel.connection.channel()
        channel.queue_declare("q")
        channel.tx_select()
        publish(channel, "q", "kept")
        assert take_all(other, "q") == []
        channel.tx_commit()
        publish(channel, "q", "dropped")
        channel.tx_rollback()
        channel.tx_commit()
        assert take_all(other, "q") == ["kept"]


def recover() -> None:
    with open_channel() as channel:
        channel.queue_declare("q")
        publish(channel, "q", "again")
        give_back: list[Callable[[int], object]] = [
            lambda _tag: channel.basic_recover(requeue=True),
            lambda tag: channel.basic_reject(tag, requeue=True),
            lambda tag: channel.basic_reject(tag, requeue=False),
        ]
        for is_again, back in enumerate(give_back):
            message = channel.basic_get("q")
            assert (message.body, message.delivery_info["redelivered"]) == ("again", bool(is_again))
            back(message.delivery_tag)
        assert take_all(channel, "q") == []


def unbind_purge_delete() -> None:
    with open_channel() as channel:
        channel.queue_declare("q")
        channel.queue_bind("q", "amq.direct", "key")
        for _ in range(3):
            publish(channel, "key", "x", "amq.direct")
        assert channel.queue_purge("q") == 3
        channel.queue_unbind("q", "amq.direct", "key")
        publish(channel, "key", "x", "amq.direct")
        for _ in range(2):
            publish(channel, "q", "x")
        assert channel.queue_delete("q") == 2
        assert channel.queue_delete("q") == 0


def consumer_cancel() -> None:
    with open_channel() as channel:
        channel.queue_declare("q")
        cancelled: list[str] = []
        tag = channel.basic_consume("q", callback=print, on_cancel=cancelled.append)
        other = channel.basic_consume("q", callback=print)
        ask("delete_queue", "q")
        with fails(ConsumerCancelled, other):  # who has no on_cancel gets an error
            wait_for(channel.connection, lambda: False)
        wait_for(channel.connection, lambda: bool(cancelled))
        assert cancelled == [tag]


def blocked() -> None:
    told: list[str] = []
    events = {"on_blocked": told.append, "on_unblocked": lambda: told.append("over")}
    with open_channel(confirm_publish=False, **events) as channel:
        channel.queue_declare("q")
        ask("block")
        publish(channel, "q", "waits")
        wait_for(channel.connection, lambda: told)
        assert told == [REASON]
        ask("unblock")
        wait_for(channel.connection, lambda: len(told) > 1)
        assert told == [REASON, "over"]
        assert take_all(channel, "q") == ["waits"]


def reconnect() -> None:
    """py-amqp leaves it to its user, as kombu does: what is recoverable is tried on a new connection."""
    seen: list[int] = []
    published = connections = 0
    while len(seen) < 20:
        try:
            with open_channel() as channel:
                connections += 1
                channel.queue_declare("q", durable=True, auto_delete=False)
                while published < 20:
                    publish(channel, "q", str(published), delivery_mode=2)
                    published += 1
                    if published == 10:
                        ask("kill")
                seen = [int(body) for body in take_all(channel, "q")]
        except (RecoverableConnectionError, OSError) as error:
            print("lost:", repr(error))
    assert seen == list(range(20)), seen
    assert connections == 2


def heartbeat_loss() -> None:
    connection = make_connection(heartbeat=HEARTBEAT_S)
    connection.connect()
    ask("freeze", 6)
    with fails((RecoverableConnectionError, OSError), "Too many heartbeats missed"):
        wait_for(connection, lambda: False)
    with make_connection() as again:
        assert again.connected


def non_ascii() -> None:
    with open_channel() as channel:
        channel.exchange_declare(GERMAN, "topic")
        channel.queue_declare(CHINESE)
        channel.queue_bind(CHINESE, GERMAN, f"{RABBIT}.*")
        publish(channel, f"{RABBIT}.x", CHINESE, GERMAN, application_headers={GERMAN: CHINESE}, correlation_id=RABBIT)
        got: list[Any] = []
        channel.basic_consume(CHINESE, RABBIT, no_ack=True, callback=got.append)
        wait_for(channel.connection, lambda: got)
        facts = got[0].delivery_info
        assert (facts["consumer_tag"], facts["exchange"], facts["routing_key"]) == (RABBIT, GERMAN, f"{RABBIT}.x")
        assert (got[0].body, got[0].headers, got[0].correlation_id) == (CHINESE, {GERMAN: CHINESE}, RABBIT)
        with fails(NotFound, f"no queue '{RABBIT}'"):
            channel.queue_declare(RABBIT, passive=True)


def error_codes() -> None:
    with make_connection() as connection:
        connection.channel().queue_declare("q", durable=True, auto_delete=False)
        with fails(NotFound, "(404)", "NOT_FOUND - no queue 'none' in vhost"):
            connection.channel().basic_get("none")
        with fails(NotFound, "(404)", "NOT_FOUND - no exchange 'none' in vhost"):
            connection.channel().queue_bind("q", "none")
        with fails(PreconditionFailed, "(406)", "inequivalent arg 'durable' for queue 'q' in vhost"):
            connection.channel().queue_declare("q", durable=False, auto_delete=False)
        with fails(AccessRefused, "(403)", "queue name 'amq.mine' contains reserved prefix 'amq.*'"):
            connection.channel().queue_declare("amq.mine")
    connection = make_connection()
    connection.connect()
    with fails(amqp.exceptions.InvalidCommand, "(503)", "COMMAND_INVALID - unknown exchange type 'no-such-type'"):
        connection.channel().exchange_declare("e", "no-such-type")
    connection = make_connection()
    connection.connect()
    with fails(amqp.exceptions.AMQPNotImplementedError, "(540)", "NOT_IMPLEMENTED - prefetch_size!=0 (1)"):
        connection.channel().basic_qos(1, 0, False)


if __name__ == "__main__":
    play(globals(), amqp.__version__)
