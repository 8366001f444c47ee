"""Runs every tutorial with every adapter against every broker and compares what they print.

    python -m interop.pika.run                                      # amqpd and RabbitMQ
    python -m interop.pika.run --broker amqpd --adapter select --tutorial rpc
    python -m interop.pika.run --broker amqp://guest:guest@127.0.0.1:5672/%2F
    python -m interop.pika.run --write-expected                     # record what RabbitMQ makes the programs print

All three adapters must print the same lines, on all brokers. They are held against the recorded lines in `expected/`
and, when RabbitMQ takes part, against what it makes them print now. A broker that is not installed is reported as
not run. Exit code 1 on any failure or difference, or when nothing could be run.
"""

from __future__ import annotations

import argparse
import difflib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from interop.brokers import BROKERS, ROOT, BrokerFailed, RabbitMQ, find_broker
from interop.pika.program import ADAPTERS
from interop.pika.tutorials import NAMES

EXPECTED_DIRECTORY = Path(__file__).resolve().parent / "expected"
RUN_TIMEOUT_S = 40.0  # programs end by themselves well before
DETAIL_LINES_MAX = 60


@dataclass(frozen=True)
class Outcome:
    """What became of one program on one broker."""

    broker: str
    tutorial: str
    adapter: str
    seconds: float
    lines: tuple[str, ...]
    complaint: str = ""  # why it failed; empty when it ran to its end


@dataclass(frozen=True)
class Reference:
    """Lines that a tutorial has to print, and who says so."""

    source: str
    lines: tuple[str, ...]


def main() -> int:
    """Run what the command line asks for and report; the exit code."""
    arguments = _parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # leaves the `with` block: brokers end with us
    outcomes: list[Outcome] = []
    troubles: dict[str, str] = {}  # by broker: why it was not run
    for name in arguments.broker:
        try:
            outcomes += _run_on(name, arguments.tutorial, arguments.adapter)
        except BrokerFailed as error:
            troubles[name] = str(error)
    if arguments.write_expected and not write_expected(outcomes, arguments.tutorial):
        troubles["recording"] = "the programs failed or disagreed; nothing was written"
    differences = find_differences(outcomes)
    _print_report(arguments, outcomes, differences, troubles)
    has_failed = any(outcome.complaint for outcome in outcomes) or bool(differences or troubles)
    return 1 if has_failed or not outcomes else 0


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m interop.pika.run", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--broker", action="append", metavar="NAME|URL", help="amqpd, rabbitmq or a URL; repeatable")
    parser.add_argument("--adapter", action="append", choices=ADAPTERS, help="repeatable (default: all)")
    parser.add_argument("--tutorial", action="append", choices=NAMES, help="repeatable (default: all)")
    parser.add_argument("--write-expected", action="store_true", help="record RabbitMQ's output in expected/")
    arguments = parser.parse_args()
    arguments.adapter = arguments.adapter or list(ADAPTERS)
    arguments.tutorial = arguments.tutorial or list(NAMES)
    arguments.broker = [RabbitMQ.name] if arguments.write_expected else arguments.broker or list(BROKERS)
    return arguments


def _run_on(name: str, tutorials: list[str], adapters: list[str]) -> list[Outcome]:
    """All programs on one broker; none when it is not installed."""
    broker = find_broker(name)
    if not broker.is_installed():
        return []
    print(f"starting {broker.name} ...", file=sys.stderr)
    with broker:
        print(f"{broker.name} at {broker.host}:{broker.port}", file=sys.stderr)
        outcomes = [
            run_tutorial(tutorial, adapter, broker.url, broker.name) for tutorial in tutorials for adapter in adapters
        ]
        if any(outcome.complaint for outcome in outcomes):
            print(f"last words of {broker.name}:\n{broker.log_tail()}", file=sys.stderr)
    return outcomes


def run_tutorial(tutorial: str, adapter: str, url: str, broker: str = "") -> Outcome:
    """Run one program in a process of its own."""
    command = [sys.executable, "-m", f"interop.pika.tutorials.{tutorial}", "--adapter", adapter, "--url", url]
    environment = {**os.environ, "PYTHONWARNINGS": "error::ResourceWarning"}
    started_at = time.monotonic()
    try:
        process = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False
        )
        lines, complaint = tuple(process.stdout.splitlines()), ""
        if process.returncode != 0 or process.stderr:
            complaint = f"exit code {process.returncode}\n{process.stderr}"
    except subprocess.TimeoutExpired:
        lines, complaint = (), f"still running after {RUN_TIMEOUT_S:.0f} s"
    return Outcome(broker, tutorial, adapter, time.monotonic() - started_at, lines, complaint)


def read_expected(tutorial: str) -> tuple[str, ...] | None:
    """The recorded lines of a tutorial, if there are any."""
    path = EXPECTED_DIRECTORY / f"{tutorial}.txt"
    return tuple(path.read_text(encoding="utf-8").splitlines()) if path.exists() else None


def write_expected(outcomes: list[Outcome], tutorials: list[str]) -> bool:
    """Record what all adapters agree on; False, and nothing recorded, when one failed or they disagree."""
    recorded: dict[str, tuple[str, ...]] = {}
    for tutorial in tutorials:
        printed = [outcome.lines for outcome in outcomes if outcome.tutorial == tutorial and not outcome.complaint]
        ran_count = sum(outcome.tutorial == tutorial for outcome in outcomes)
        if not printed or len(printed) != ran_count or any(lines != printed[0] for lines in printed):
            return False
        recorded[tutorial] = printed[0]
    EXPECTED_DIRECTORY.mkdir(exist_ok=True)
    for tutorial, lines in recorded.items():
        (EXPECTED_DIRECTORY / f"{tutorial}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return True


def find_differences(outcomes: list[Outcome]) -> dict[Outcome, str]:
    """A diff for each program that ran to its end and printed something else than it should."""
    differences: dict[Outcome, str] = {}
    for outcome in outcomes:
        if outcome.complaint:
            continue
        for reference in _find_references(outcomes, outcome.tutorial):
            if outcome.lines != reference.lines:
                differences[outcome] = diff(reference, outcome)
                break
    return differences


def diff(reference: Reference, outcome: Outcome) -> str:
    """The lines that differ, with a little around them."""
    printed_by = f"{outcome.broker} with {outcome.adapter}"
    lines = difflib.unified_diff(reference.lines, outcome.lines, reference.source, printed_by, lineterm="")
    return "\n".join(lines)


def _find_references(outcomes: list[Outcome], tutorial: str) -> list[Reference]:
    """Whom to believe: the record and RabbitMQ's run of today; with neither of them, the first run that ended."""
    references = []
    expected = read_expected(tutorial)
    if expected is not None:
        references.append(Reference(f"expected/{tutorial}.txt", expected))
    ended = [outcome for outcome in outcomes if outcome.tutorial == tutorial and not outcome.complaint]
    spoken = [outcome for outcome in ended if outcome.broker == RabbitMQ.name] or ([] if references else ended)
    if spoken:
        references.append(Reference(f"{spoken[0].broker} with {spoken[0].adapter}", spoken[0].lines))
    return references


def _print_report(
    arguments: argparse.Namespace,
    outcomes: list[Outcome],
    differences: dict[Outcome, str],
    troubles: dict[str, str],
) -> None:
    """The table, then the details of whatever is not ok in it."""
    print("".join(f"{title:20}" for title in ("tutorial", "adapter", *arguments.broker)).rstrip())
    by_cell = {(outcome.tutorial, outcome.adapter, outcome.broker): outcome for outcome in outcomes}
    for tutorial in arguments.tutorial:
        for adapter in arguments.adapter:
            cells = [tutorial, adapter]
            for name in arguments.broker:
                outcome = by_cell.get((tutorial, adapter, find_broker(name).name))
                if outcome is None:
                    cells.append("failed (no broker)" if name in troubles else "not run")
                else:
                    verdict = "failed" if outcome.complaint else "differs" if outcome in differences else "ok"
                    cells.append(f"{verdict} {outcome.seconds:.2f} s")
            print("".join(f"{cell:20}" for cell in cells).rstrip())
    details = [(f"{name}", text) for name, text in troubles.items()]
    details += [(_name(outcome), outcome.complaint) for outcome in outcomes if outcome.complaint]
    details += [(_name(outcome), text) for outcome, text in differences.items()]
    for title, text in details:
        print(f"\n--- {title}")
        print("\n".join(text.splitlines()[-DETAIL_LINES_MAX:]))


def _name(outcome: Outcome) -> str:
    return f"{outcome.tutorial}, {outcome.adapter}, {outcome.broker}"


if __name__ == "__main__":
    sys.exit(main())
