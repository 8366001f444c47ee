"""``python -m tests.bench.holes``: what a consumer costs that leaves every so-manieth message unacked.

Each old segment then keeps one live message. Measured is what the data directory takes while that consumer holds on,
and after it has gone and what it held is back in the queue; each time until nothing changes for a while, so that
compaction has had its time. In the end what is left is consumed, and must be just these messages.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from tests.bench import programs
from tests.bench.broker import PeerError
from tests.bench.feed import Feed
from tests.bench.lives import Lives
from tests.bench.pinger import Pinger, Stalls, summarise
from tests.bench.programs import Workshop, loop_thread, messages_for, say
from tests.bench.report import number, table
from tests.bench.vitals import Vitals, Watch

WINDOW: Final = 4000
STEP_S: Final = 0.25  # between two looks
CALM_S: Final = 5.0  # without change: it is over
CALM_MAX_S: Final = 120.0
HOLD_S: Final = 600.0  # more than a run may take: it is let go by signal


@dataclass(frozen=True, slots=True)
class Run:
    """The data directory at one moment; ``message`` says what failed, if anything did."""

    peer: str
    messages: int
    size: int
    every: int
    when: str
    message: str
    waiting: int = 0
    disk_mb: float = 0.0
    in_use_mb: float | None = None
    took_s: float | None = None  # until the last change
    stalls: Stalls = Stalls()  # noqa: RUF009 -- frozen


class Holes:
    """The course of it against one broker."""

    def __init__(self, lives: Lives, workshop: Workshop, arguments: argparse.Namespace) -> None:
        self._lives = lives
        self._amqpload = workshop.amqpload
        self._count = messages_for(lives.peer, arguments, arguments.messages)
        self._size: int = arguments.size
        self._every: int = arguments.every
        self._watch = Watch(lives.pid, lives.directory)
        self._lines = workshop.directory / "pings"

    def run(self) -> Iterator[Run]:
        count, left = str(self._count), self._count // self._every
        yield self._run("before", 0, self._watch.read())
        self._feed("fill", ["--persistent", "--messages", count, "--consumers", "0", "--confirm", str(WINDOW)])
        yield self._run("filled", self._count, self._watch.read())
        holed = ["--resume", count, "--hole", str(self._every)]
        with Feed(self._amqpload, self._lives.port, [*self._common(), *holed, "--hold", f"{HOLD_S:g}"]) as feed:
            for progress in feed.progress():
                if progress and progress.count == self._count:
                    yield self._run("all consumed, holes unacked", left, self._watch.read())
                    yield self._calm("... and then", left)
                    feed.release()
            _raise(feed.outcome().message, "consume")
        yield self._calm("requeued, no consumer", left)
        self._feed("take the rest", [*holed, "--only-holes", "--ack", "100", "--prefetch", str(WINDOW)])
        yield self._calm("empty", 0)

    def _common(self) -> list[str]:
        return ["--size", str(self._size), "--durable", "--keep", "--drain", "60", "--progress", str(self._count)]

    def _feed(self, what: str, options: list[str]) -> None:
        with Feed(self._amqpload, self._lives.port, [*self._common(), *options]) as feed:
            for progress in feed.progress():
                if progress is None:
                    self._lives.check()
            _raise(feed.outcome().message, what)

    def _calm(self, when: str, waiting: int) -> Run:
        """Wait until nothing changes any more, and see meanwhile whether others are kept waiting."""
        start = changed_at = time.monotonic()
        start_ns = time.monotonic_ns()
        before = self._watch.read()
        thread = loop_thread(self._lives.peer, self._lives.pid)
        with Pinger(self._amqpload, self._lives.port, thread, self._lines) as pinger:
            while (now_s := time.monotonic()) - changed_at < CALM_S and now_s - start < CALM_MAX_S:
                time.sleep(STEP_S)
                self._lives.check()
                now = self._watch.read()
                if (now.disk_mb, now.in_use_mb) != (before.disk_mb, before.in_use_mb):
                    changed_at, before = time.monotonic(), now
        stalls = summarise(pinger.pings(), start_ns, time.monotonic_ns())
        return self._run(when, waiting, before, changed_at - start, stalls)

    def _run(
        self, when: str, waiting: int, now: Vitals, took_s: float | None = None, stalls: Stalls | None = None
    ) -> Run:
        took = f" after {took_s:.1f} s" if took_s is not None else ""
        say(f"  {when}: {waiting:,} waiting, {number(now.in_use_mb)} MB in use of {now.disk_mb:.1f} MB{took}")
        where = self._lives.peer.name, self._count, self._size, self._every, when, ""
        return Run(*where, waiting, now.disk_mb, now.in_use_mb, took_s, stalls or Stalls())


def measure(arguments: argparse.Namespace, workshop: Workshop) -> Iterator[Run]:
    for peer in workshop.peers:
        say(f"{peer.name}: each {arguments.every:,}th message is not acked")
        with Lives(peer, workshop.directory, workshop.amqpload) as lives:
            try:
                lives.start()
                yield from Holes(lives, workshop, arguments).run()
            except PeerError as error:
                say(f"  FAILED: {error}")
                yield Run(peer.name, arguments.messages, arguments.size, arguments.every, "", str(error))


def render(facts: programs.Facts, runs: list[Run], _arguments: argparse.Namespace) -> str:
    rows = [
        [
            run.peer,
            run.when,
            f"{run.waiting:,}",
            number(run.waiting * run.size / 1e6),
            number(run.in_use_mb),
            number(run.disk_mb),
            number(run.took_s),
            f"{number(run.stalls.stall_p99_ms)} / {number(run.stalls.stall_max_ms)}" if run.stalls.ping_count else "",
        ]
        for run in runs
        if not run.message
    ]
    head = "peer|when|waiting|bodies, MB|pages in use, MB|on disk, MB|last change after, s|stall p99 / max, ms"
    text = table(head, "l l r r r r r r", rows)
    loads = dict.fromkeys(
        f"{run.messages:,} persistent messages of {run.size} bytes, each {run.every:,}th not acked" for run in runs
    )
    failures = [f"* {run.peer}: {run.message}" for run in runs if run.message]
    if failures:
        text += "\n\nFailed:\n\n" + "\n".join(failures)
    return f"{'; '.join(loads)}.\n\n{text}\n\n{programs.describe(facts)}\n"


def load_run(value: dict[str, Any]) -> Run:
    """A run again, of its JSON."""
    return Run(**value | {"stalls": Stalls(**value["stalls"])})


def _raise(message: str, what: str) -> None:
    if message:
        raise PeerError(f"{what}: {message}")


def main() -> int:
    parser = programs.options("holes", "What a consumer costs that leaves every so-manieth message unacked.")
    parser.add_argument("--messages", type=int, default=1_000_000, help="how many (1,000,000)")
    parser.add_argument("--size", type=int, default=100, help="of their bodies, in bytes (100)")
    parser.add_argument("--every", type=int, default=1000, help="leave each so-manieth (1000)")
    arguments = programs.check(parser, parser.parse_args())
    return programs.Program("bench-holes", measure, render, load_run).main(arguments)


if __name__ == "__main__":
    sys.exit(main())
