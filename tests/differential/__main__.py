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
from tempfile import TemporaryDirectory
from typing import Final

from tests.differential.client import Client
from tests.differential.features import feature_names
from tests.differential.search import Pair, Tally, search
from tests.support import brokers

BLOCK: Final = 100  # sequences between two lines of progress
Address = tuple[str, int]


def main() -> int:
    arguments = _arguments()
    seed = arguments.seed if arguments.seed is not None else random.SystemRandom().randrange(1 << 32)
    _say(f"seed {seed}")
    with _addresses(arguments) as addresses:
        return Run(arguments, seed, addresses).run()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.differential", description=__doc__)
    parser.add_argument("--sequences", type=int, default=1000, metavar="N")
    parser.add_argument("--seed", type=int, help="the one that a run has printed; another one each time otherwise")
    parser.add_argument("--features", default=",".join(feature_names()), help="of these; default: %(default)s")
    parser.add_argument("--jobs", type=int, default=2, metavar="N")
    parser.add_argument("--amqpd", metavar="HOST:PORT", help="one that runs; default: this checkout, in memory")
    parser.add_argument("--rabbitmq", metavar="HOST:PORT", help="one that runs; default: a node of its own")
    parser.add_argument("--differences", type=int, default=1, metavar="N", help="stop after so many; default: 1")
    parser.add_argument("--unsteady", action="store_true", help="print what did not show again")
    arguments = parser.parse_args()
    arguments.features = tuple(arguments.features.split(","))
    unknown = set(arguments.features) - set(feature_names())
    if unknown:
        parser.error(f"no such feature: {', '.join(sorted(unknown))}")
    return arguments


@contextlib.contextmanager
def _addresses(arguments: argparse.Namespace) -> Iterator[tuple[Address, Address]]:
    """Where the two brokers listen, while the block runs."""
    with contextlib.ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="differential-")))
        ours = brokers.already_running(arguments.amqpd) if arguments.amqpd else brokers.amqpd()
        theirs = brokers.already_running(arguments.rabbitmq) if arguments.rabbitmq else brokers.rabbitmq(scratch)
        amqpd, rabbitmq = stack.enter_context(ours), stack.enter_context(theirs)
        yield (amqpd.host, amqpd.port), (rabbitmq.host, rabbitmq.port)


class Run:
    """All sequences, in blocks that the jobs share."""

    def __init__(self, arguments: argparse.Namespace, seed: int, addresses: tuple[Address, Address]) -> None:
        self._arguments = arguments
        self._seed = seed
        self._addresses = addresses
        self._tally = Tally()
        self._started = time.monotonic()

    def run(self) -> int:
        wanted = self._arguments.sequences
        blocks = [Block(self._seed + at, min(BLOCK, wanted - at), self._differences) for at in range(0, wanted, BLOCK)]
        context = multiprocessing.get_context("fork")
        with context.Pool(self._arguments.jobs, _begin_job, (self._addresses, self._arguments.features)) as pool:
            for tally in pool.imap_unordered(_run_block, blocks):
                self._take(tally)
                if len(self._tally.found) >= self._differences:
                    break
        return 1 if self._tally.found else 0

    @property
    def _differences(self) -> int:
        """After how many the run ends."""
        return int(self._arguments.differences)

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


@dataclass(frozen=True, slots=True)
class Block:
    """What a job does at a time."""

    seed: int
    sequences: int
    differences: int


_job: dict[str, Pair] = {}
_features: list[str] = []


def _begin_job(addresses: tuple[Address, Address], features: tuple[str, ...]) -> None:
    """In a process of its own: connections to both brokers, kept for all its blocks."""
    number = multiprocessing.current_process()._identity[0]
    amqpd, rabbitmq = (Client(*address, f"{side}{number}x") for side, address in zip("ar", addresses, strict=True))
    _job["pair"] = Pair(amqpd, rabbitmq)
    _features[:] = features


def _run_block(block: Block) -> Tally:
    return search(_job["pair"], block.seed, block.sequences, _features, differences=block.differences)


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    sys.exit(main())
