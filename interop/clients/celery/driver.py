"""The scenarios with Celery: workers in processes of their own, tasks sent from here; tasks.py has the settings."""

# mypy: disable-error-code="attr-defined, import-untyped, no-untyped-call"

from __future__ import annotations

import contextlib
import datetime
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import celery
from amqp.exceptions import AccessRefused, NotAllowed, NotFound, PreconditionFailed, ResourceLocked
from celery.exceptions import TaskRevokedError
from kombu import Queue
from kombu.exceptions import OperationalError

from interop.clients.stagehand import CHINESE, GERMAN, RABBIT, TABLE, VHOST, WAIT_S, ask, fails, play, url

SCRATCH = tempfile.TemporaryDirectory()
NOTES = Path(SCRATCH.name, "notes")
os.environ |= {"NOTES": str(NOTES), "RESULTS": SCRATCH.name}

from interop.clients.celery.tasks import (  # noqa: E402 - it reads what was set above
    add,
    app,
    arrived,
    echo,
    flaky,
    greet,
    key,
    note,
    refuse_once,
    total,
    work,
)

CELERY = [sys.executable, "-P", "-W", "ignore", "-m", "celery", "-q", "-A", "interop.clients.celery.tasks"]


class Worker:
    """`celery worker`, from the start of the ``with`` block to its end."""

    def __init__(self, name: str = "one", queues: str = "", pool: str = "solo") -> None:
        self.node = f"{name}@here"
        self._log = Path(SCRATCH.name, f"{name}.log")
        words = ["worker", "--pool", pool, "--concurrency", "2", "-n", self.node, "--loglevel", "info"]
        words += ["-Q", queues] if queues else []
        words += [] if name == "three" else ["--without-mingle"]  # a second of looking around
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                CELERY + words, cwd=SCRATCH.name, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def __enter__(self) -> Self:
        try:
            self.says(" ready.")
        except BaseException:
            self.__exit__(*sys.exc_info())
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        if error:
            print(f"{self.node}:", *self._log.read_text().splitlines()[-20:], sep="\n", file=sys.stderr)

    def says(self, words: str) -> None:
        """Wait for these words in its log."""
        wait_until(lambda: words in self._log.read_text(), lambda: f"it does not say {words!r}")

    def shut_down(self) -> None:
        """Warm, as Celery calls it."""
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(WAIT_S) == 0


def wait_until(condition: Callable[[], object], complaint: Callable[[], str] = lambda: "waited in vain") -> None:
    gives_up_at = time.monotonic() + WAIT_S * 2
    while not condition():
        assert time.monotonic() < gives_up_at, complaint()
        time.sleep(0.02)


def noted() -> list[str]:
    return NOTES.read_text(encoding="utf-8").splitlines() if NOTES.exists() else []


def get(result: Any) -> Any:
    return result.get(timeout=WAIT_S * 2)


def look(queue: str) -> Any:
    """What the broker says of it; raises NotFound if it is not there, ResourceLocked if it is somebody else's."""
    with app.connection_for_read() as connection:
        return Queue(queue, channel=connection.channel()).queue_declare(passive=True)


def is_consumed(queue: str) -> bool:
    """Whether there is a consumer; not if there is no queue, or no broker that answers."""
    try:
        return int(look(queue).consumer_count) > 0
    except (NotFound, OperationalError, OSError):
        return False


def count(queue: str) -> int:
    """How many messages wait in it."""
    return int(look(queue).message_count)


def celery_amqp(*words: str) -> str:
    """The broker's command line that Celery has."""
    done = subprocess.run([*CELERY, "amqp", *words], capture_output=True, text=True, check=True, timeout=WAIT_S)
    return done.stdout


def connect() -> None:
    with app.connection_for_write() as connection:
        connection.connect()
        assert connection.connection.server_properties["product"]
        assert connection.connection.server_properties["capabilities"]["publisher_confirms"] is True
    assert not connection.connected


def auth_failure() -> None:
    with fails(AccessRefused, "(0, 0): (403) ACCESS_REFUSED - Login was refused using authentication mechanism"):
        app.connection_for_write(url(password="wrong")).connect()


def no_vhost() -> None:
    with fails(NotAllowed, "Connection.open: (530) NOT_ALLOWED - vhost nowhere not found"):
        app.connection_for_write(url(vhost="nowhere")).connect()


def publish_confirm() -> None:
    for number in range(100):
        echo.delay(number)
    assert count("celery") == 100  # at once
    assert app.control.purge() == 100


def get_() -> None:
    echo.delay("first")
    echo.delay("second")
    assert "first" in celery_amqp("basic.get", "celery", "1")  # without ack
    assert count("celery") == 1
    assert app.control.purge() == 1
    assert "No messages in queue" in celery_amqp("basic.get", "celery", "1")


def work_queue() -> None:
    """A group's tasks go to both workers, each once; a chord waits for all of its own."""
    with Worker("one"), Worker("two"):
        done = get(celery.group(work.s(number) for number in range(20))())
        assert sorted(number for number, _ in done) == list(range(20))
        assert {node for _, node in done} == {"one@here", "two@here"}
        assert get(celery.chord(add.s(number, number) for number in range(10))(total.s())) == 90


def fanout() -> None:
    """A broadcast queue, and remote control, which is a broadcast too."""
    nodes = {"one@here", "two@here", "three@here"}
    with Worker("one"), Worker("two"), Worker("three"):
        note.apply_async(["hear"], queue="news")
        wait_until(lambda: len(noted()) == 3)
        assert set(noted()) == {f"{node} hear" for node in nodes}
        inspect = app.control.inspect(timeout=WAIT_S, limit=3)
        assert inspect.ping() == {node: {"ok": "pong"} for node in nodes}
        stats = inspect.stats()
        assert {stats[node]["broker"]["virtual_host"] for node in nodes} == {VHOST}
        assert inspect.active_queues()["two@here"][0]["name"] == "celery"


def topic() -> None:
    """Queues bound with patterns, and Celery's events, which are messages of a topic exchange."""
    with app.connection_for_read() as connection, Worker(queues="feed,web"):
        seen: list[Any] = []
        receiver = app.events.Receiver(connection, {"*": seen.append}, routing_key="task.#")
        with receiver.consumer_context() as (events, _, _):
            for name in ("feed", "feed.a.b", "web.c"):
                assert get(key.apply_async(exchange="media", routing_key=name)) == name
            while sum(event["type"] == "task-succeeded" for event in seen) < 3:
                events.drain_events(timeout=WAIT_S)
        assert {event["type"].partition("-")[0] for event in seen} == {"task"}
        first = [event["type"] for event in seen if event["uuid"] == seen[0]["uuid"]]
        assert sorted(first) == ["task-received", "task-sent", "task-started", "task-succeeded"]


def headers() -> None:
    with app.connection_for_write() as connection:
        for queue in app.amqp.queues.values():
            queue(connection.channel()).declare()
    for sent in ({"colour": "red", "size": 7}, {"colour": "red"}, {"size": 8}):
        echo.apply_async(["x"], headers=sent, exchange="paint", routing_key="any")
    assert (count("all"), count("any")) == (1, 2)


def rpc() -> None:
    """The result backend of that name, and a chain, in which each result is the next one's argument."""
    with Worker():
        assert [get(add.delay(number, number)) for number in range(10)] == list(range(0, 20, 2))
        assert get(celery.chain(add.s(1, 2), add.s(3), add.s(4))()) == 10
        with fails(TypeError, "unsupported operand"):
            get(add.delay(1, "two"))


def ordering() -> None:
    for number in range(1000):
        note.delay(number)
    with Worker():
        wait_until(lambda: len(noted()) == 1000, lambda: f"{len(noted())} were done")
    assert noted() == [f"one@here {number}" for number in range(1000)]


def large_message() -> None:
    body = "0123456789abcdef" * 640 * 1024
    with Worker():
        assert get(echo.delay(body)) == body


def table_types() -> None:
    as_read = {"bytes": "\0bytes", "time": TABLE["time"].replace(tzinfo=None)}  # by py-amqp: text if it can be, naive
    sent = TABLE | {"bytes": b"\0bytes"}
    with Worker():
        assert get(arrived.apply_async([list(sent)], headers=sent)) == sent | as_read


def exclusive() -> None:
    """The queue that a worker is controlled by is its own."""
    queue = "one@here.celery.pidbox"
    with Worker() as worker:
        with fails(
            ResourceLocked, "(405) RESOURCE_LOCKED", f"cannot obtain exclusive access to locked queue '{queue}'"
        ):
            count(queue)
        worker.shut_down()
        with fails(NotFound, "(404) NOT_FOUND"):
            count(queue)


def auto_delete() -> None:
    """The queue that results come back by."""
    queue = app.thread_oid
    with Worker():
        assert get(add.delay(1, 2)) == 3
        assert count(queue) == 0
        app.backend.result_consumer.stop()
        with fails(NotFound, "(404) NOT_FOUND", queue):
            count(queue)


def priorities() -> None:
    for priority in (3, 9, 0, 5, 9):
        note.apply_async([priority], priority=priority)
    with Worker():
        wait_until(lambda: len(noted()) == 5)
    assert noted() == [f"one@here {priority}" for priority in (9, 9, 5, 3, 0)]


def retry_loop() -> None:
    """With quorum queues Celery has the broker wait: 28 exchanges and queues with times to live, one for each bit."""
    with Worker(pool="prefork"):
        since = time.monotonic()
        assert get(flaky.delay(2)) == 3
        assert 2 <= time.monotonic() - since
        since = time.monotonic()
        assert get(echo.apply_async(["late"], countdown=3)) == "late"
        assert 2 <= time.monotonic() - since  # whole seconds, rounded down
        assert count("celery_delayed_0") == count("celery_delayed_1") == 0


def recover() -> None:
    """Given back to the broker; kept by the worker until its time has come; sent again by the worker; revoked."""
    with Worker(pool="prefork"):
        assert get(refuse_once.delay()) is True
        assert get(flaky.delay(1)) == 2
        at = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
        assert get(echo.apply_async(["in time"], eta=at)) == "in time"
        assert datetime.datetime.now(datetime.UTC) >= at
        never = echo.apply_async(["never"], countdown=2)
        never.revoke()
        with fails(TaskRevokedError, "revoked"):
            get(never)


def unbind_purge_delete() -> None:
    for number in range(3):
        echo.delay(number)
    assert "3" in celery_amqp("queue.purge", "celery")
    for number in range(2):
        echo.delay(number)
    assert "2" in celery_amqp("queue.delete", "celery")
    with fails(NotFound, "(404) NOT_FOUND - no queue 'celery' in vhost"):
        count("celery")


def consumer_cancel() -> None:
    """Told to stop consuming by remote control, to start again, and by the broker."""
    with Worker() as worker:
        control = {"reply": True, "timeout": WAIT_S, "limit": 1}
        assert app.control.cancel_consumer("celery", **control) == [
            {"one@here": {"ok": "no longer consuming from celery"}}
        ]
        wait_until(lambda: not is_consumed("celery"))
        late = echo.delay("late")
        wait_until(lambda: count("celery") == 1)
        assert app.control.add_consumer("celery", **control) == [{"one@here": {"ok": "add consumer celery"}}]
        assert get(late) == "late"
        ask("delete_queue", "celery")
        worker.says("Connection to broker lost")  # all that Celery has to say when a consumer is cancelled
        wait_until(lambda: is_consumed("celery"))  # the worker has declared it again
        assert get(echo.delay("again")) == "again"


def blocked() -> None:
    """Who sends a task with confirms waits until the alarm is over."""
    with Worker():
        assert get(echo.delay("before")) == "before"
        ask("block")
        sender = threading.Thread(target=note.delay, args=["during"], daemon=True)
        sender.start()
        sender.join(1)
        assert sender.is_alive()
        assert noted() == []
        ask("unblock")
        sender.join(WAIT_S)
        wait_until(lambda: noted() == ["one@here during"])


def reconnect() -> None:
    with Worker() as worker:
        for number in range(10):
            note.delay(number)
        ask("kill")
        for number in range(10, 20):
            note.delay(number)
        worker.says("Connection to broker lost")
        wait_until(lambda: len(set(noted())) == 20, lambda: str(noted()))


def heartbeat_loss() -> None:
    with Worker(pool="prefork") as worker:
        assert get(echo.delay("before")) == "before"  # it says that it is ready before it looks after heartbeats
        ask("freeze", 10)
        worker.says("Connection to broker lost")
        wait_until(lambda: is_consumed("celery"))
        assert get(echo.delay("again")) == "again"


def non_ascii() -> None:
    with Worker(queues=GERMAN):
        sent = greet.apply_async([RABBIT], exchange=CHINESE, routing_key=f"{RABBIT}.{GERMAN}")
        assert get(sent) == f"{GERMAN}, {RABBIT}"


def error_codes() -> None:
    with app.connection_for_write() as connection:
        Queue("celery", durable=False, channel=connection.channel()).queue_declare()
    inequivalent = "inequivalent arg 'durable' for queue 'celery' in vhost"
    with fails(PreconditionFailed, f"Queue.declare: (406) PRECONDITION_FAILED - {inequivalent}"):
        echo.delay("x")
    with fails(NotFound, "Queue.declare: (404) NOT_FOUND - no queue 'none' in vhost"):
        count("none")


if __name__ == "__main__":
    with contextlib.closing(app), SCRATCH:
        play({**globals(), "get": get_}, celery.__version__)
