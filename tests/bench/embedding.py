"""``python -m tests.bench.embedding``: what a broker inside of a test costs, beside a RabbitMQ that is started for one.

amqpd: ``amqpd.testing.Broker`` in a fresh interpreter, from before the import to the first answer on a socket; then
two hundred lives in one process, and a run of pytest with two hundred tests that have a broker each. RabbitMQ: from
starting its process to the first complete handshake, and SIGTERM to its end.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench import programs
from tests.bench.broker import Peer, PeerError, clean_environment
from tests.bench.lives import Lives
from tests.bench.peers import RABBITMQ, Amqpd
from tests.bench.programs import Workshop, say
from tests.bench.report import number, table

PROBE: Final = Path(__file__).parent / "embedded_lives.py"
TIMEOUT_S: Final = 300.0
FIRSTS: Final = 7
TESTS: Final = 200
SUITE: Final = f"""
import pika
import pytest

from amqpd.testing import Broker

@pytest.mark.parametrize("number", range({TESTS}))
def test_round_trip(number):
    with Broker() as broker, pika.BlockingConnection(broker.pika_parameters()) as connection:
        channel = connection.channel()
        channel.queue_declare("q")
        channel.basic_publish("", "q", b"hello")
        assert channel.basic_get("q", auto_ack=True)[2] == b"hello"
"""

WORDS: Final = {
    "first": "the first broker of a process, from before the import to its first answer",
    "start": "start, until clients can connect",
    "stop": "stop, with a client connected",
    "vhost": "a fresh virtual host, made and dropped",
    "copy": "the same with 10 queues in it, which the broker began with",
    "reset": "reset: 10 queues, one of them with messages",
    "suite": f"{TESTS} tests with a broker and a round trip of pika each",
    "kb": "memory of a broker",
}
UNITS: Final = {"suite": "s", "kb": "KB"}  # others: ms
GOALS: Final = {"first": 150.0, "start": 30.0, "stop": 20.0, "vhost": 1.0, "reset": 1.0, "suite": 15.0}


@dataclass(frozen=True, slots=True)
class Run:
    """One figure, by its name in ``WORDS``; ``message`` says what failed, if anything did."""

    peer: str
    what: str
    value: float | None = None
    message: str = ""


def measure(arguments: argparse.Namespace, workshop: Workshop) -> Iterator[Run]:
    for peer in workshop.peers:
        try:
            figures = _embedded(peer, workshop) if isinstance(peer, Amqpd) else _separate(peer, workshop)
        except (PeerError, OSError, ValueError, subprocess.SubprocessError) as error:
            yield Run(peer.name, "start", None, str(error))
            continue
        for what, value in figures.items():
            run = Run(peer.name, what, value)
            say(f"{peer.name}: {WORDS[what]}: {number(value)} {UNITS.get(what, 'ms')}")
            yield run


def _embedded(peer: Peer, workshop: Workshop) -> dict[str, float]:
    environment = clean_environment() | peer.launch(workshop.directory, 0).environment
    firsts = [_probe("first", environment, workshop)["first"] for _ in range(FIRSTS)]
    return {
        "first": statistics.median(firsts),
        **_probe("many", environment, workshop),
        "suite": _suite(environment, workshop),
    }


def _probe(what: str, environment: dict[str, str], workshop: Workshop) -> dict[str, float]:
    done = _run([sys.executable, "-P", str(PROBE), what], environment, workshop)
    figures: dict[str, float] = json.loads(done)
    return figures


def _suite(environment: dict[str, str], workshop: Workshop) -> float:
    (workshop.directory / "test_suite.py").write_text(SUITE)
    since = time.monotonic()
    _run([sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_suite.py"], environment, workshop)
    return time.monotonic() - since


def _run(command: list[str], environment: dict[str, str], workshop: Workshop) -> str:
    done = subprocess.run(
        command, cwd=workshop.directory, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S
    )
    if done.returncode:
        raise PeerError(f"{command[-1]} failed: {(done.stdout + done.stderr).strip()[-500:]}")
    return done.stdout


def _separate(peer: Peer, workshop: Workshop) -> dict[str, float]:
    starts, stops = [], []
    for _ in range(3):
        with Lives(peer, workshop.directory, workshop.amqpload) as lives:
            starts.append(lives.start().handshake_ms)
            stops.append(lives.stop().seconds * 1e3)
    return {"start": statistics.median(starts), "stop": statistics.median(stops)}


def render(facts: programs.Facts, runs: list[Run], _arguments: argparse.Namespace) -> str:
    names = list(dict.fromkeys(run.peer for run in runs))
    values = {(run.peer, run.what): run.value for run in runs}
    rows = [
        [
            f"{words}, {UNITS.get(what, 'ms')}",
            *(number(values.get((name, what))) for name in names),
            *_goal(what, values),
        ]
        for what, words in WORDS.items()
    ]
    text = table("|".join(["what", *names, "goal"]), " ".join(["l", *("r" for _ in names), "l"]), rows)
    failures = [f"* {run.peer}: {run.message}" for run in runs if run.message]
    if failures:
        text += "\n\nFailed:\n\n" + "\n".join(failures)
    return f"{text}\n\n{programs.describe(facts)}\n"


def _goal(what: str, values: dict[tuple[str, str], float | None]) -> list[str]:
    """What the goal is, and whether every amqpd reaches it."""
    if what not in GOALS:
        return [""]
    of_ours = [value for (peer, name), value in values.items() if name == what and peer != RABBITMQ]
    reached = all(value is not None and value <= GOALS[what] for value in of_ours)
    return [f"{GOALS[what]:g}: {'reached' if reached else '**not reached**'}"]


def load_run(value: dict[str, Any]) -> Run:
    """A run again, of its JSON."""
    return Run(**value)


def main() -> int:
    parser = programs.options("embedding", "What a broker inside of a test costs.")
    arguments = programs.check(parser, parser.parse_args())
    return programs.Program("bench-embedding", measure, render, load_run).main(arguments)


if __name__ == "__main__":
    sys.exit(main())
