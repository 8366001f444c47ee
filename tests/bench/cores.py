"""``python -m tests.bench.cores``: what a second core brings, and which thread of a broker takes what.

One broker runs each scenario, then two at once, and so on, each a process with a data directory and a load generator
of its own: what virtual hosts in processes of their own would bring. Messages a second are a sum, bounded by the cores
that brokers and generators share; processor time a message is not. The loop's is what bounds one broker, whatever its
other threads do, and of that, what the kernel took is the most that threads for its sockets could take over.
"""

import argparse
import contextlib
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench import loadgen, programs
from tests.bench.broker import Broker
from tests.bench.programs import Workshop, say
from tests.bench.report import number, table
from tests.bench.scenarios import SCENARIOS

WARM_S: Final = 0.3
DEFAULT: Final = "A,B,D,F-64K"


@dataclass(frozen=True, slots=True)
class Busy:
    """Processor time; how much of it the kernel took is only sampled, tick by tick."""

    total_s: float
    user_ticks: int
    kernel_ticks: int


@dataclass(frozen=True, slots=True)
class Run:
    """``brokers`` at once for a while; times are microseconds a message. ``message`` says what failed."""

    peer: str
    scenario: str
    brokers: int
    message: str = ""
    rate: float = 0.0  # messages a second, of all
    loop_us: float = 0.0  # the brokers' main threads
    loop_kernel: float = 0.0  # the share of that in the kernel
    rest_us: float = 0.0  # their other threads
    generator_us: float = 0.0


def measure(arguments: argparse.Namespace, workshop: Workshop) -> Iterator[Run]:
    names = arguments.scenarios.split(",")
    for _ in range(arguments.runs):
        for name in names:
            for peer in workshop.peers:
                for count in range(1, arguments.brokers + 1):
                    with contextlib.ExitStack() as stack:
                        brokers = []
                        for _ in range(count):
                            brokers.append(Broker(peer, workshop.directory, workshop.amqpload))
                            stack.callback(brokers[-1].stop)
                        run = _load(workshop.amqpload, brokers, peer.name, name, arguments.seconds)
                    say(f"{peer.name}: {name}, {count} at once: {run.message or f'{run.rate:,.0f} messages a second'}")
                    yield run


def _load(amqpload: Path, brokers: list[Broker], peer: str, name: str, seconds: float) -> Run:
    options = list(SCENARIOS[name].options)
    for broker in brokers:
        loadgen.run(amqpload, broker.port, options, WARM_S)
    before = [threads(broker.pid) for broker in brokers]
    loads = [_start(amqpload, broker, options, seconds) for broker in brokers]
    outcomes = [_end(load) for load in loads]
    after = [threads(broker.pid) for broker in brokers]
    figures = [outcome.figures for outcome in outcomes]
    if any(outcome.message for outcome in outcomes):
        return Run(peer, name, len(brokers), "; ".join(outcome.message for outcome in outcomes))
    count = sum(figure["consumed"] for figure in figures)
    loops = [_since(was, now, broker.pid.__eq__) for was, now, broker in zip(before, after, brokers, strict=True)]
    rest = [_since(was, now, broker.pid.__ne__) for was, now, broker in zip(before, after, brokers, strict=True)]
    kernel = sum(busy.kernel_ticks for busy in loops)
    ticks = kernel + sum(busy.user_ticks for busy in loops)
    return Run(
        peer,
        name,
        len(brokers),
        rate=sum(figure["consumed"] / figure["seconds"] for figure in figures),
        loop_us=sum(busy.total_s for busy in loops) / count * 1e6,
        loop_kernel=kernel / max(ticks, 1),
        rest_us=sum(busy.total_s for busy in rest) / count * 1e6,
        generator_us=sum(figure["generator_cpu_us_per_msg"] * figure["consumed"] for figure in figures) / count,
    )


def _start(amqpload: Path, broker: Broker, options: list[str], seconds: float) -> subprocess.Popen[str]:
    command = [str(amqpload), "--port", str(broker.port), "--json", "--seconds", f"{seconds:g}", *options]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _end(load: subprocess.Popen[str]) -> loadgen.Outcome:
    with load:
        stdout, stderr = load.communicate()
    return loadgen.parse(load.returncode, stdout, stderr)


def threads(pid: int) -> dict[int, Busy]:
    """What each thread of a process has used so far."""
    found = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(OSError):  # it has just ended
            total_ns = int((task / "schedstat").read_text().split()[0])
            user, kernel = (int(ticks) for ticks in (task / "stat").read_text().rpartition(") ")[2].split()[11:13])
            found[int(task.name)] = Busy(total_ns / 1e9, user, kernel)
    return found


def _since(was: dict[int, Busy], now: dict[int, Busy], counts: Callable[[int], bool]) -> Busy:
    steps = [(was.get(number, Busy(0.0, 0, 0)), busy) for number, busy in now.items() if counts(number)]
    return Busy(
        sum(after.total_s - before.total_s for before, after in steps),
        sum(after.user_ticks - before.user_ticks for before, after in steps),
        sum(after.kernel_ticks - before.kernel_ticks for before, after in steps),
    )


def render(facts: programs.Facts, runs: list[Run], _arguments: argparse.Namespace) -> str:
    head = (
        "scenario|brokers|messages a second, in all|of one|loop, us a message|of that in the kernel"
        "|other threads, us|generator, us"
    )
    peers = {run.peer for run in runs}
    rows = []
    for peer, name, count in dict.fromkeys((run.peer, run.scenario, run.brokers) for run in runs):
        here = _of(runs, peer, name, count)
        if here:
            rows.append([f"**{name}**" + (f" {peer}" if len(peers) > 1 else ""), str(count), *_cells(here, runs)])
    text = table(head, "l r r r r r r r", rows)
    failures = [f"* {run.scenario}, {run.brokers} brokers: {run.message}" for run in runs if run.message]
    if failures:
        text += "\n\nFailed:\n\n" + "\n".join(failures)
    return f"{text}\n\n{programs.describe(facts)}\n"


def _of(runs: list[Run], peer: str, name: str, count: int) -> list[Run]:
    return [run for run in runs if (run.peer, run.scenario, run.brokers, run.message) == (peer, name, count, "")]


def _cells(here: list[Run], runs: list[Run]) -> list[str]:
    """Medians; the ratio is taken within a round, when the machine was alike."""
    single = _of(runs, here[0].peer, here[0].scenario, 1)
    ratios = [many.rate / one.rate for many, one in zip(here, single, strict=False)]
    return [
        f"{statistics.median(run.rate for run in here):,.0f}",
        f"{statistics.median(ratios):.2f} x" if ratios else "",
        number(statistics.median(run.loop_us for run in here)),
        f"{statistics.median(run.loop_kernel for run in here):.0%}",
        number(statistics.median(run.rest_us for run in here)),
        number(statistics.median(run.generator_us for run in here)),
    ]


def load_run(value: dict[str, Any]) -> Run:
    """A run again, of its JSON."""
    return Run(**value)


def main() -> int:
    parser = programs.options("cores", "Brokers side by side, and which of their threads takes what.")
    parser.add_argument("--scenarios", default=DEFAULT, help=f"names, divided by commas ({DEFAULT})")
    parser.add_argument("--brokers", type=int, default=2, help="at once, at most (2)")
    parser.add_argument("--seconds", type=float, default=2.0, help="of each run (2)")
    parser.add_argument("--runs", type=int, default=5, help="of each (5)")
    arguments = programs.check(parser, parser.parse_args())
    unknown = [name for name in arguments.scenarios.split(",") if name not in SCENARIOS]
    if unknown:
        parser.error(f"unknown scenarios: {', '.join(unknown)}")
    return programs.Program("bench-cores", measure, render, load_run).main(arguments)


if __name__ == "__main__":
    sys.exit(main())
