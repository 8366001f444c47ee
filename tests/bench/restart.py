"""``python -m tests.bench.restart``: how a broker stops and starts while millions of messages wait in a queue.

The queue is filled once. Then the broker is stopped, or killed, and started again, with its files in the page cache and
after they were dropped from it. Only the data is dropped: programs and libraries stay cached. In the end everything is
consumed, so that a start which was fast because it lost something does not pass.
"""

import argparse
import ctypes
import mmap
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench import programs
from tests.bench.broker import PeerError
from tests.bench.feed import Feed
from tests.bench.lives import Lives
from tests.bench.peers import COMPILED
from tests.bench.programs import Workshop, messages_for, say
from tests.bench.report import number, table
from tests.bench.results import median
from tests.bench.vitals import Watch

SIZE: Final = 100
WINDOW: Final = 4000
SETTLE_S: Final = 0.5  # after a start, before its memory is read
STOP_GOAL_S: Final = 1.0
# Messages up to -> seconds to a handshake and the right count.
START_GOALS_S: Final = {1_000_000: 1.0, 10_000_000: 2.0}
READ_BYTES: Final = 1 << 20
PAGE_BYTES: Final = mmap.PAGESIZE


@dataclass(frozen=True, slots=True)
class Run:
    """One stop and the start after it; ``message`` says what failed, if anything did."""

    peer: str
    messages: int
    how: str  # it ended: "stopped", "killed"
    cache: str  # "warm", "cold"
    message: str
    stop_s: float | None = None
    stop_status: int | None = None
    handshake_ms: float | None = None
    counted_ms: float | None = None
    message_count: int | None = None
    anon_mb: float | None = None
    file_mb: float | None = None
    cached: float | None = None  # the share of the data that was in the page cache just before the start


def measure(arguments: argparse.Namespace, workshop: Workshop) -> Iterator[Run]:
    for peer in workshop.peers:
        for count in dict.fromkeys(messages_for(peer, arguments, count) for count in arguments.messages):
            say(f"{peer.name}: {count:,} messages")
            with Lives(peer, workshop.directory, workshop.amqpload) as lives:
                try:
                    yield from _restarts(lives, workshop.amqpload, count, arguments.repeats)
                except PeerError as error:
                    say(f"  FAILED: {error}")
                    yield Run(peer.name, count, "", "", str(error))


def _restarts(lives: Lives, amqpload: Path, count: int, repeat_count: int) -> Iterator[Run]:
    lives.start()
    kind = ["--size", str(SIZE), "--durable"]
    filling = ["--persistent", "--messages", str(count), "--consumers", "0", "--confirm", str(WINDOW), "--keep"]
    _feed(lives, amqpload, "fill", [*kind, *filling])
    for _ in range(repeat_count):
        for how in ("stopped", "killed"):
            for cache in ("warm", "cold"):
                run = _restart(lives, count, how, cache)
                say(f"  {how}, {cache}: {_in_short(run)}")
                yield run
    _feed(lives, amqpload, "drain", [*kind, "--resume", str(count), "--ack", "100", "--prefetch", str(WINDOW)])


def _feed(lives: Lives, amqpload: Path, what: str, options: list[str]) -> None:
    """What amqpload finds lost, or twice, or out of order, fails the lot."""
    since = time.monotonic()
    with Feed(amqpload, lives.port, ["--drain", "60", "--progress", "100000", *options]) as feed:
        for progress in feed.progress():
            if progress is None:
                lives.check()
        message = feed.outcome().message
    if message:
        raise PeerError(f"{what}: {message}")
    say(f"  {what}: {time.monotonic() - since:.1f} s")


def _restart(lives: Lives, count: int, how: str, cache: str) -> Run:
    stop = None
    if how == "stopped":
        stop = lives.stop()
    else:
        lives.kill()
    if cache == "cold":
        drop_from_cache(lives.directory)
    else:
        _read_into_cache(lives.directory)  # an earlier cold start left most of it out
    cached = cached_share(lives.directory)
    ready = lives.start(count)
    time.sleep(SETTLE_S)
    lives.check()
    vitals = Watch(lives.pid, lives.directory).read()
    message = "" if ready.message_count == count else f"{ready.message_count:,} messages are reported"
    if stop and stop.status != 0:
        message = f"the stop ended with status {stop.status}; {message}".removesuffix("; ")
    return Run(
        lives.peer.name,
        count,
        how,
        cache,
        message,
        stop.seconds if stop else None,
        stop.status if stop else None,
        ready.handshake_ms,
        ready.counted_ms,
        ready.message_count,
        vitals.anon_mb,
        vitals.file_mb,
        cached,
    )


def drop_from_cache(directory: Path) -> None:
    """Of these files alone: nobody else on the machine feels it, and it takes no root."""
    for path in _files(directory):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)  # only clean pages are dropped
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(descriptor)


def _read_into_cache(directory: Path) -> None:
    for path in _files(directory):
        with path.open("rb", buffering=0) as file:
            while file.read(READ_BYTES):
                pass


def cached_share(directory: Path) -> float:
    """How much of these files is in the page cache, by mincore(2)."""
    cached, total = 0, 0
    for path in _files(directory):
        with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as mapped:
            count = -(-len(mapped) // PAGE_BYTES)
            resident = (ctypes.c_ubyte * count)()
            address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
            if ctypes.CDLL(None).mincore(ctypes.c_void_p(address), ctypes.c_size_t(len(mapped)), resident) == 0:
                cached += sum(page & 1 for page in resident)
            total += count
    return cached / total if total else 0.0


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file() and path.stat().st_size]


def render(facts: programs.Facts, runs: list[Run], _arguments: argparse.Namespace) -> str:
    cases = list(dict.fromkeys((run.peer, run.messages, run.how, run.cache) for run in runs if run.how))
    rows = [
        _row([run for run in runs if (run.peer, run.messages, run.how, run.cache) == case and not run.message], case)
        for case in cases
    ]
    head = (
        "peer|messages waiting|it was|page cache|clean stop, s|first handshake, s|right message count, s|"
        "goal, s|reached?|anonymous memory, MB|of files, MB|data still cached"
    )
    text = table(head, "l r l l r r r r l r r r", rows)
    failures = [f"* {run.peer}, {run.messages:,}, {run.how} {run.cache}: {run.message}" for run in runs if run.message]
    if failures:
        text += "\n\nFailed:\n\n" + "\n".join(failures)
    return f"{text}\n\n{programs.describe(facts)}\n"


def _row(good: list[Run], case: tuple[str, int, str, str]) -> list[str]:
    peer, messages, how, cache = case
    goal = next((goal for count, goal in START_GOALS_S.items() if messages <= count), None)
    ours = peer == COMPILED and goal is not None
    stops = [run.stop_s for run in good if run.stop_s is not None]
    counted = [run.counted_ms / 1e3 for run in good if run.counted_ms is not None]
    late = [seconds for seconds in counted if goal is not None and seconds >= goal]
    late += [seconds for seconds in stops if seconds >= STOP_GOAL_S]
    return [
        peer,
        f"{messages:,}",
        how,
        cache,
        _spread(stops),
        _spread([run.handshake_ms / 1e3 for run in good if run.handshake_ms is not None]),
        _spread(counted),
        f"{goal:g}" if ours else "",
        (("**not reached**" if late or not counted else "reached") if ours else ""),
        number(median([run.anon_mb for run in good])),
        number(median([run.file_mb for run in good])),
        "" if not good else f"{max(run.cached or 0.0 for run in good):.0%}",
    ]


def _spread(values: list[float]) -> str:
    """The median, and the slowest where there are several."""
    if not values:
        return ""
    middle = number(median([*values]))
    return middle if len(values) == 1 else f"{middle} (at most {number(max(values))})"


def _in_short(run: Run) -> str:
    stop = f"stop {run.stop_s:.2f} s, " if run.stop_s is not None else ""
    return (
        f"{stop}handshake {number(run.handshake_ms)} ms, counted {number(run.counted_ms)} ms, "
        f"{number(run.anon_mb)} MB and {number(run.file_mb)} MB of files{', FAILED: ' * bool(run.message)}{run.message}"
    )


def load_run(value: dict[str, Any]) -> Run:
    """A run again, of its JSON."""
    return Run(**value)


def main() -> int:
    parser = programs.options("restart", "How a broker stops and starts with millions of messages waiting.")
    counts = [*START_GOALS_S]
    parser.add_argument("--messages", type=int, nargs="+", default=counts, help="how many (1000000 10000000)")
    parser.add_argument("--repeats", type=int, default=3, help="of each kind of restart (3)")
    arguments = programs.check(parser, parser.parse_args())
    return programs.Program("bench-restart", measure, render, load_run).main(arguments)


if __name__ == "__main__":
    sys.exit(main())
