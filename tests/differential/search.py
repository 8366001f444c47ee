"""The search: Hypothesis draws sequences until one is answered differently; that one is made small."""

from collections import Counter
from collections.abc import Sequence as Listing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Final

from hypothesis import HealthCheck, Phase, given, seed, settings

from tests.differential.client import Client
from tests.differential.comparison import find_difference, side_by_side
from tests.differential.generator import sequences
from tests.differential.operations import Sequence
from tests.differential.shrinking import shrink
from tests.differential.transcript import Transcript

AGAIN: Final = 3  # times that a difference must show again, each time with more patience, to count
ROUNDS_AGAIN: Final = 4
PAUSE_AGAIN_S: Final = 0.01


@dataclass(slots=True)
class Tally:
    """What a search did."""

    sequences: int = 0
    operations: int = 0
    features: Counter[str] = field(default_factory=Counter)  # in how many sequences
    accepted: Counter[str] = field(default_factory=Counter)
    unsteady: list[str] = field(default_factory=list)  # differences that did not show again, as transcripts
    found: list[str] = field(default_factory=list)  # shrunk sequences with both transcripts

    def add(self, other: "Tally") -> None:
        self.sequences += other.sequences
        self.operations += other.operations
        self.features += other.features
        self.accepted += other.accepted
        self.unsteady += other.unsteady
        self.found += other.found


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

    def try_out(self, sequence: Sequence, tally: Tally) -> bool:
        """Whether the brokers say the same, or what they say differs for a reason, or does not differ each time."""
        transcripts = self.run(sequence)
        difference = find_difference(*transcripts)
        tally.sequences += 1
        tally.operations += len(sequence)
        if difference is None:
            return True
        if difference.accepted:
            tally.accepted[difference.accepted.name] += 1
            return True
        if self.differs_again(sequence):
            return False
        tally.unsteady.append(side_by_side(*transcripts))
        return True

    def differs_again(self, sequence: Sequence) -> bool:
        """Whether it differs each time."""
        return all(self.differs(sequence, pause_s=PAUSE_AGAIN_S * count) for count in range(AGAIN))

    def differs(self, sequence: Sequence, *, pause_s: float = 0.0) -> bool:
        """Whether it is answered differently without a reason, when asked patiently."""
        difference = find_difference(*self.run(sequence, rounds=ROUNDS_AGAIN, pause_s=pause_s))
        return difference is not None and difference.accepted is None

    def make_small(self, sequence: Sequence) -> Sequence:
        """A sequence that differs; what comes after the difference is left out at once."""
        difference = find_difference(*self.run(sequence, rounds=ROUNDS_AGAIN))
        upto = sequence[: difference.index + 1] if difference is not None else sequence
        return shrink(upto if self.differs(upto) else sequence, self.differs)

    def describe(self, sequence: Sequence) -> str:
        """The sequence, and all that is said of it."""
        return side_by_side(*self.run(sequence, rounds=ROUNDS_AGAIN))


def search(pair: Pair, seed_: int, count: int, features: Listing[str]) -> Tally:
    """So many sequences, or until one is answered differently."""
    tally = Tally()

    @seed(seed_)
    @settings(
        max_examples=count,
        phases=(Phase.generate,),
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(sequences(tuple(features)))
    def everything_is_answered_alike(drawn: tuple[tuple[str, ...], Sequence]) -> None:
        names, sequence = drawn
        tally.features.update(names)
        if tally.found or pair.try_out(sequence, tally):
            return
        small = pair.make_small(sequence)
        steady = small if pair.differs_again(small) else sequence  # a small one may differ by chance
        tally.found.append(pair.describe(steady))

    everything_is_answered_alike()
    return tally
