"""The search: Hypothesis draws sequences until one is answered differently, and makes that one small."""

import contextlib
from collections import Counter
from collections.abc import Sequence as Listing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Flaky

from tests.differential.client import Client, Transcript
from tests.differential.comparison import Difference, find_difference, side_by_side
from tests.differential.generator import sequences
from tests.differential.operations import Sequence

AGAIN: Final = 3  # times that a difference must show again, each time with more patience, to count
ROUNDS_AGAIN: Final = 4
PAUSE_AGAIN_S: Final = 0.01


@dataclass(slots=True)
class Tally:
    """What a search did."""

    sequences: int = 0
    operations: int = 0
    features: Counter[str] = field(default_factory=Counter)
    accepted: Counter[str] = field(default_factory=Counter)
    unsteady: list[str] = field(default_factory=list)  # differences that did not show again, as transcripts
    found: str = ""  # the shrunk sequence with both transcripts

    def add(self, other: "Tally") -> None:
        self.sequences += other.sequences
        self.operations += other.operations
        self.features += other.features
        self.accepted += other.accepted
        self.unsteady += other.unsteady


class Different(AssertionError):
    """The brokers do not say the same, and nothing explains it."""


class Pair:
    """Both brokers, each with its client, asked at the same time."""

    def __init__(self, amqpd: Client, rabbitmq: Client) -> None:
        self._clients = (amqpd, rabbitmq)
        self._threads = ThreadPoolExecutor(2)

    def close(self) -> None:
        self._threads.shutdown()
        for client in self._clients:
            client.close()

    def run(self, sequence: Sequence, *, rounds: int = 2, pause_s: float = 0.0) -> tuple[Transcript, Transcript]:
        runs = [self._threads.submit(each.run, sequence, rounds=rounds, pause_s=pause_s) for each in self._clients]
        amqpd, rabbitmq = [run.result() for run in runs]
        return amqpd, rabbitmq

    def try_out(self, sequence: Sequence, tally: Tally) -> None:
        """Raises Different if the brokers differ, differ each time again, and nothing explains it."""
        transcripts = self.run(sequence)
        difference = find_difference(*transcripts)
        tally.sequences += 1
        tally.operations += len(sequence)
        if difference is None:
            return
        if difference.accepted:
            tally.accepted[difference.accepted.name] += 1
            return
        for count in range(AGAIN):
            again = self.run(sequence, rounds=ROUNDS_AGAIN, pause_s=PAUSE_AGAIN_S * count)
            if not _is_unexplained(find_difference(*again)):
                tally.unsteady.append(side_by_side(*transcripts))
                return
        raise Different(side_by_side(*again))


def _is_unexplained(difference: Difference | None) -> bool:
    return difference is not None and difference.accepted is None


def search(pair: Pair, seed_: int, count: int, features: Listing[str], *, shrinks: bool = True) -> Tally:
    """So many sequences, or until one is answered differently; that one is then made small."""
    tally = Tally()
    shrinking = Tally()
    phases = (Phase.generate, Phase.shrink) if shrinks else (Phase.generate,)

    @seed(seed_)
    @settings(
        max_examples=count,
        phases=phases,
        database=None,
        deadline=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    @given(sequences(tuple(features)))
    def everything_is_answered_alike(sequence: Sequence) -> None:
        try:
            pair.try_out(sequence, shrinking if tally.found else tally)
        except Different as different:
            tally.found = str(different)
            raise

    with contextlib.suppress(Different, Flaky):
        everything_is_answered_alike()
    return tally
