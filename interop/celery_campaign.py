"""Kills a Celery worker again and again: every task that was sent is done at least once.

    python -m interop.celery_campaign --tasks 10000 --kills 5 --write
    python -m interop.celery_campaign --broker rabbitmq --tasks 1000 --kills 2

Starts a broker of its own with its queues on disk, sends tasks with publisher confirms, and has a prefork worker do
them that acks late. On the way the worker and its pool are killed with SIGKILL, and started again. Each task notes its
number at the end of one file. With --write, docs/interop.md has what came of it. Exit code 1 if a number is missing,
or anything is left in the queue.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from celery import Celery, Task

from interop import matrix
from interop.brokers import BROKERS, ROOT, Amqpd, ProcessBroker

QUEUE = "campaign"
TASK_S = 0.01  # long enough to be killed in the middle
POLL_S = 0.02
REPORT_S = 5.0
STANDSTILL_S = 60.0  # without any task done, the campaign is lost
WARM_SHUTDOWN_S = 30.0
ON_DISK = ("--data-dir", "{directory}/data", "--control-socket", "{directory}/control.sock")

app = Celery("campaign", broker=os.environ.get("CAMPAIGN_URL"))
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    task_default_queue=QUEUE,
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
    worker_cancel_long_running_tasks_on_connection_loss=True,  # as it will be in Celery 6
)


@app.task(bind=True, name="note")  # type: ignore[untyped-decorator]  # this module is __main__ for who sends
def note(self: Task, number: int) -> None:
    """Note that this number was done, and whether the broker said that somebody had it before."""
    time.sleep(TASK_S)
    line = f"{number} {self.request.delivery_info['redelivered']:d}\n".encode()
    file = os.open(os.environ["CAMPAIGN_NOTES"], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(file, line)
    finally:
        os.close(file)


class Notes:
    """What the tasks have noted so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.runs: Counter[int] = Counter()  # of each number
        self.redelivered = 0
        self._read = 0
        path.touch()

    def has_more_than(self, count: int) -> bool:
        """Read on; whether more numbers than that are done."""
        with self.path.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            number, again = map(int, line.split())
            self.runs[number] += 1
            self.redelivered += again
        return len(self.runs) > count


class Worker:
    """A prefork worker, in a process group with its pool."""

    def __init__(self, concurrency: int) -> None:
        words = ["worker", "--loglevel", "error", "--concurrency", str(concurrency), "--queues", QUEUE]
        self._command = [sys.executable, "-W", "ignore", "-m", "celery", "-q", "-A", "interop.celery_campaign", *words]
        self._process = self._start()

    def kill(self) -> None:
        """All of it, at once, and start another."""
        self.end()
        self._process = self._start()

    def shut_down(self) -> None:
        """The way an operator does it."""
        self._process.terminate()
        self._process.wait(WARM_SHUTDOWN_S)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(self._command, cwd=ROOT, stdin=subprocess.DEVNULL, start_new_session=True)


class Lost(Exception):
    """What did not happen."""


def main() -> int:
    """Run the campaign that the command line asks for; the exit code."""
    arguments = _parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # leaves the `with` blocks: nothing is left behind
    broker = Amqpd(*ON_DISK) if arguments.broker == Amqpd.name else BROKERS[arguments.broker]()
    with tempfile.TemporaryDirectory() as directory, broker:
        notes = Notes(Path(directory, "notes"))
        os.environ |= {"CAMPAIGN_URL": broker.url, "CAMPAIGN_NOTES": str(notes.path)}
        app.conf.broker_url = broker.url
        since = time.monotonic()
        why = ""
        try:
            _fight(broker, notes, arguments)
        except Lost as error:
            why = str(error)
            print(f"LOST: {why}\n{broker.log_tail()}", flush=True)
        seconds = time.monotonic() - since
    missing = set(range(arguments.tasks)) - set(notes.runs)
    often = sum(runs > 1 for runs in notes.runs.values())
    outcome = (
        f"{broker.name}: {arguments.tasks:,} tasks, worker killed {arguments.kills} times: {len(notes.runs):,} done,"
        f" {len(missing)} missing; {notes.redelivered} redelivered, {often} done more than once, {seconds:.0f} s"
    )
    print(outcome)
    if arguments.write:
        words = " ".join(word for word in sys.argv[1:] if word != "--write")
        matrix.write_campaign(f"python -m interop.celery_campaign {words}".rstrip(), outcome, ROOT / "docs")
    return 1 if missing or why else 0


def _fight(broker: ProcessBroker, notes: Notes, arguments: argparse.Namespace) -> None:
    """Send everything while a worker works and dies."""
    with ThreadPoolExecutor(1) as sender, _worker(arguments.concurrency) as worker:
        sent = sender.submit(_send, arguments.tasks)
        for kill in range(1, arguments.kills + 1):
            _wait_for_tasks(notes, arguments.tasks * kill // (arguments.kills + 1))
            worker.kill()
            print(f"killed the worker, {len(notes.runs):,} tasks done", flush=True)
        _wait_for_tasks(notes, arguments.tasks)
        sent.result()
        _wait_until(lambda: _left(broker) == 0, "the queue does not get empty")
        worker.shut_down()
        if _left(broker):
            raise Lost(f"{_left(broker)} messages are left in the queue")


def _send(count: int) -> None:
    for number in range(count):
        note.delay(number)


@contextlib.contextmanager
def _worker(concurrency: int) -> Iterator[Worker]:
    worker = Worker(concurrency)
    try:
        yield worker
    finally:
        worker.end()


def _wait_for_tasks(notes: Notes, count: int) -> None:
    seen = -1
    reports_at = 0.0
    while seen < count:
        _wait_until(partial(notes.has_more_than, seen), f"no task was done after {seen:,}")
        seen = len(notes.runs)
        if time.monotonic() > reports_at:
            print(f"{seen:,} tasks done", flush=True)
            reports_at = time.monotonic() + REPORT_S


def _wait_until(condition: Callable[[], bool], complaint: str) -> None:
    gives_up_at = time.monotonic() + STANDSTILL_S
    while not condition():
        if time.monotonic() > gives_up_at:
            raise Lost(f"{complaint} within {STANDSTILL_S:.0f} s")
        time.sleep(POLL_S)


def _left(broker: ProcessBroker) -> int:
    """Messages of the queue, those that the worker holds among them."""
    lines = (line.split() for line in broker.control("list_queues", "name", "messages").splitlines())
    return next(int(line[1]) for line in lines if line[0] == QUEUE)


def _parse_arguments() -> argparse.Namespace:
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m interop.celery_campaign",
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--broker", choices=list(BROKERS), default=Amqpd.name)
    parser.add_argument("--tasks", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=5)
    parser.add_argument("--concurrency", type=int, default=4, help="processes of the pool")
    parser.add_argument("--write", action="store_true", help="put what came of it into docs/interop.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
