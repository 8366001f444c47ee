"""``python -m tests.differential``: the differential run, with brokers of its own or with those that are named."""

import argparse
import contextlib
import multiprocessing
import random
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.differential import nodes
from tests.differential.client import Client
from tests.differential.features import feature_names
from tests.differential.nodes import Node
from tests.differential.operations import read_sequence
from tests.differential.search import Pair, Tally, search

BLOCK: Final = 100  # sequences between two lines of progress


def main() -> int:
    arguments = _arguments()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 32)
    _say(f"seed {seed}")
    with _both(arguments) as both:
        if arguments.replay:
            _say(Job(both, ()).connect().describe(read_sequence(arguments.replay.read_text())))
            return 0
        return Run(arguments, seed, both).run()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--sequences", type=int, default=1000, metavar="N")
    parser.add_argument("--seed", type=int, help="the one that a run has printed; another one each time otherwise")
    parser.add_argument("--features", default=",".join(feature_names()), help="of these; default: %(default)s")
    parser.add_argument("--jobs", type=int, default=2, metavar="N")
    parser.add_argument(
        "--amqpd", type=_node, metavar="HOST:PORT[,CONTROL SOCKET]", help="default: this checkout, in memory"
    )
    parser.add_argument(
        "--rabbitmq", type=_node, metavar="HOST:PORT[,PORT OF THE API]", help="default: a node of its own"
    )
    parser.add_argument("--differences", type=int, default=1, metavar="N", help="stop after so many; default: 1")
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run the sequence printed there, and nothing else")
    parser.add_argument("--unsteady", action="store_true", help="print what did not show again")
    arguments = parser.parse_args()
    arguments.features = tuple(arguments.features.split(","))
    unknown = set(arguments.features) - set(feature_names())
    if unknown:
        parser.error(f"no such feature: {', '.join(sorted(unknown))}")
    return arguments


@contextlib.contextmanager
def _both(arguments: argparse.Namespace) -> Iterator[tuple[Node, Node]]:
    """The two brokers, while the block runs."""
    with contextlib.ExitStack() as stack:
        amqpd = arguments.amqpd or stack.enter_context(nodes.amqpd())
        rabbitmq = arguments.rabbitmq or stack.enter_context(nodes.rabbitmq())
        yield amqpd, rabbitmq


def _node(text: str) -> Node:
    """``HOST:PORT``, and where operators are heard: the port of the management API, or the path of a control socket."""
    address, _, operators = text.partition(",")
    host, _, port = address.rpartition(":")
    return Node(host, int(port), int(operators) if operators.isdigit() else Path(operators) if operators else None)


class Run:
    """All sequences, in blocks that the jobs share."""

    def __init__(self, arguments: argparse.Namespace, seed: int, both: tuple[Node, Node]) -> None:
        self._arguments = arguments
        self._seed = seed
        self._both = both
        self._tally = Tally()
        self._started = time.monotonic()

    def run(self) -> int:
        wanted = self._arguments.sequences
        blocks = [(self._seed + at, min(BLOCK, wanted - at)) for at in range(0, wanted, BLOCK)]
        context = multiprocessing.get_context("fork")
        with context.Pool(self._arguments.jobs, _begin_job, (self._both, self._arguments.features)) as pool:
            for tally in pool.imap_unordered(_run_block, blocks):
                self._take(tally)
                if len(self._tally.found) >= self._arguments.differences:
                    break
        features = ", ".join(f"{name} {count}" for name, count in sorted(self._tally.features.items()))
        _say(f"sequences with each feature: {features}")
        return 1 if self._tally.found else 0

    def _take(self, tally: Tally) -> None:
        every = self._tally
        every.add(tally)
        for transcript in tally.found:
            _say(f"\nnot the same (seed {self._seed}):\n{transcript}\n")
        if self._arguments.unsteady:
            for transcript in tally.unsteady:
                _say(f"\ndid not show again:\n{transcript}\n")
        accepted = ", ".join(f"{name} {count}" for name, count in sorted(every.accepted.items()))
        _say(
            f"{every.sequences}/{self._arguments.sequences} sequences, {every.operations} operations,"
            f" {time.monotonic() - self._started:.0f} s; not the same {len(every.found)};"
            f" did not show again {len(every.unsteady)}; accepted: {accepted or 'none'}"
        )


@dataclass(slots=True)
class Job:
    """What each process of the pool knows: the brokers, and its own connections to them, kept for all its blocks."""

    both: tuple[Node, Node]
    features: tuple[str, ...]
    pair: Pair | None = None

    def connect(self) -> Pair:
        if self.pair is None:
            amqpd, rabbitmq = (
                Client(node.host, node.port, side, node.operator()) for side, node in zip("ar", self.both, strict=True)
            )
            self.pair = Pair(amqpd, rabbitmq)
        return self.pair


_jobs: list[Job] = []


def _begin_job(both: tuple[Node, Node], features: tuple[str, ...]) -> None:
    _jobs.append(Job(both, features))


def _run_block(block: tuple[int, int]) -> Tally:
    seed, count = block
    (job,) = _jobs
    return search(job.connect(), seed, count, job.features)


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
