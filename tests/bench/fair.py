"""``python -m tests.bench.fair``: how long a request and its reply take beside a load that wants all of the broker.

One process asks and answers: a request to one queue, its reply from another, one after the other, at most one each
2 ms. Beside it another floods the same broker. What the caller sees holds the time in which the pair itself waited for
a processor; until the kernel had both deliveries does not, and is what the goal judges. Less the time in which the
broker's own thread stood ready and had no processor (known of amqpd only) it is the broker's doing alone.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.bench import loadgen, programs
from tests.bench.broker import PeerError
from tests.bench.lives import Lives
from tests.bench.loadgen import Figures, Outcome
from tests.bench.peers import COMPILED
from tests.bench.programs import Workshop, loop_thread, say
from tests.bench.report import number, table
from tests.bench.scenarios import SCENARIOS

EVERY_MS: Final = 2.0
LEAD_S: Final = 0.5  # by which the load begins earlier
FLOOD: Final = "A-flood"
GOAL_MS: Final = 2.0  # p99, beside the flood
# Load -> what it is, and amqpload's options.
LOADS: Final[dict[str, tuple[str, tuple[str, ...] | None]]] = {
    "": ("nothing", None),
    FLOOD: (f"a flood: {SCENARIOS['A'].what}, without restraint", SCENARIOS[FLOOD].options),
    "B": ("B, " + SCENARIOS["B"].what, SCENARIOS["B"].options),
    "D": ("D, " + SCENARIOS["D"].what, SCENARIOS["D"].options),
    "F-64K": ("F-64K, " + SCENARIOS["F-64K"].what, SCENARIOS["F-64K"].options),
}


@dataclass(frozen=True, slots=True)
class Run:
    """The pair beside one load; ``message`` says what failed, if anything did."""

    peer: str
    load: str
    message: str = ""
    figures: Figures = field(default_factory=dict)  # amqpload's of the pair
    load_rate: float | None = None  # messages a second that the load got through meanwhile

    def milliseconds(self, name: str, percentile: str) -> float | None:
        """Of ``call``, ``answered`` or ``broker``."""
        value = self.figures.get(f"{name}_us", {}).get(percentile)
        return value / 1e3 if value is not None else None


def measure(arguments: argparse.Namespace, workshop: Workshop) -> Iterator[Run]:
    for peer in workshop.peers:
        with Lives(peer, workshop.directory, workshop.amqpload) as lives:
            try:
                lives.start()
            except PeerError as error:
                yield Run(peer.name, "", str(error))
                continue
            for load in LOADS:
                run = _beside(lives, load, workshop.amqpload, arguments.seconds)
                say(f"{peer.name}, beside {LOADS[load][0]}: {run.message or _in_short(run)}")
                yield run


def _beside(lives: Lives, load: str, amqpload: Path, seconds: float) -> Run:
    thread = loop_thread(lives.peer, lives.pid)
    options = ["--rpc", f"{EVERY_MS:g}", *(["--pid", str(thread)] if thread else [])]
    beside = LOADS[load][1]
    if beside is None:
        return _run(lives, load, loadgen.run(amqpload, lives.port, options, seconds), None)
    until_s = seconds + 2 * LEAD_S
    command = [str(amqpload), "--port", str(lives.port), "--json", "--seconds", f"{until_s:g}", *beside]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as flood:
        try:
            time.sleep(LEAD_S)
            outcome = loadgen.run(amqpload, lives.port, options, seconds)
            stdout, stderr = flood.communicate(timeout=until_s + loadgen.GRACE_S)
        except subprocess.TimeoutExpired:
            return Run(lives.peer.name, load, "the load did not end")
        finally:
            flood.kill()
    return _run(lives, load, outcome, loadgen.parse(flood.returncode, stdout, stderr))


def _run(lives: Lives, load: str, pair: Outcome, flood: Outcome | None) -> Run:
    message = "; ".join(outcome.message for outcome in (pair, flood) if outcome and outcome.message)
    rate = flood.figures.get("consume_rate") if flood else None
    return Run(lives.peer.name, load, message, pair.figures, rate)


def _in_short(run: Run) -> str:
    p50, p99 = run.milliseconds("answered", "p50"), run.milliseconds("answered", "p99")
    return f"answered within {number(p50)} ms (p50), {number(p99)} ms (p99)"


def render(facts: programs.Facts, runs: list[Run], _arguments: argparse.Namespace) -> str:
    rows = [
        [
            LOADS[run.load][0],
            run.peer,
            *(_three(run, name) for name in ("call", "answered", "broker")),
            number(run.figures.get("calls")),
            number(run.load_rate),
            _judged(run),
        ]
        for load in LOADS
        for run in runs
        if run.load == load and not run.message
    ]
    head = (
        "beside|peer|request and reply, p50 / p99 / max, ms|until the kernel had both, ms|the broker's doing, ms|"
        "calls|the load, messages a second|goal, p99"
    )
    text = table(head, "l l r r r r r l", rows)
    failures = [f"* {run.peer}, beside {LOADS[run.load][0]}: {run.message}" for run in runs if run.message]
    if failures:
        text += "\n\nFailed:\n\n" + "\n".join(failures)
    return f"{text}\n\n{programs.describe(facts)}\n"


def _three(run: Run, name: str) -> str:
    if name == "broker" and run.peer != COMPILED:  # its threads are not known
        return ""
    return " / ".join(number(run.milliseconds(name, percentile)) for percentile in ("p50", "p99", "max"))


def _judged(run: Run) -> str:
    if run.peer != COMPILED or run.load != FLOOD:
        return ""
    p99 = run.milliseconds("answered", "p99")
    return f"{GOAL_MS:g} ms: {'reached' if p99 is not None and p99 < GOAL_MS else '**not reached**'}"


def load_run(value: dict[str, Any]) -> Run:
    """A run again, of its JSON."""
    return Run(**value)


def main() -> int:
    parser = programs.options("fair", "How long a request and its reply take beside a load.")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long beside each load (5)")
    arguments = programs.check(parser, parser.parse_args())
    return programs.Program("bench-fair", measure, render, load_run).main(arguments)


if __name__ == "__main__":
    sys.exit(main())
