"""The figures of a load: of each interval, and of the whole. Values only: how they look is for table.py, and JSON."""

from dataclasses import asdict, dataclass, field
from typing import Any

from amqpd.perf.histogram import Histogram


@dataclass(frozen=True, slots=True)
class Quantiles:
    """How long something took, in microseconds."""

    min: float
    median: float
    p75: float
    p95: float
    p99: float
    max: float


def quantiles(histogram: Histogram) -> Quantiles | None:
    """None when nothing was measured."""
    if histogram.count == 0:
        return None
    shares = (0, 0.5, 0.75, 0.95, 0.99, 1)
    return Quantiles(*(histogram.quantile(share) / 1000 for share in shares))


@dataclass(frozen=True, slots=True)
class Counts:
    """Of all producers and consumers, since the start."""

    published: int = 0
    confirmed: int = 0
    nacked: int = 0
    returned: int = 0
    consumed: int = 0


@dataclass(frozen=True, slots=True)
class Sample:
    """One interval that ended ``at_s`` after the start; counts are messages a second."""

    at_s: float
    published: float
    confirmed: float
    nacked: float
    returned: float
    consumed: float
    latency_us: Quantiles | None
    confirm_latency_us: Quantiles | None


def sample(at_s: float, took_s: float, counts: tuple[Counts, Counts], times: tuple[Histogram, Histogram]) -> Sample:
    """What happened between two counts, in ``took_s``; ``times``: of deliveries and of confirms."""
    before, after = asdict(counts[0]), asdict(counts[1])
    rates = {name: (after[name] - before[name]) / took_s for name in before}
    return Sample(at_s=at_s, latency_us=quantiles(times[0]), confirm_latency_us=quantiles(times[1]), **rates)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether all messages came: ``doubt`` says why ``lost`` cannot be known."""

    lost: int = 0
    duplicates: int = 0
    reordered: int = 0
    redelivered: int = 0
    foreign: int = 0  # published by somebody else
    doubt: str = ""
    faults: list[str] = field(default_factory=list)  # the first of each, in words

    @property
    def is_good(self) -> bool:
        """Nothing is known to be wrong."""
        return self.lost == self.duplicates == self.reordered == 0


@dataclass(frozen=True, slots=True)
class Result:
    """A whole run. Rates are over the time in which anything was published, or consumed."""

    run_id: str
    seconds: float
    counts: Counts
    unconfirmed: int
    left_in_queues: int | None  # None: nobody asked
    publish_rate: float
    consume_rate: float
    latency_us: Quantiles | None
    confirm_latency_us: Quantiles | None
    blocked_s: float
    cpu_s: float  # of this tool
    verdict: Verdict
    error: str  # empty, or why it ended before its time

    @property
    def cpu_us_per_message(self) -> float | None:
        """Of this tool: for each message that it published or consumed."""
        count = self.counts.published + self.counts.consumed
        return self.cpu_s / count * 1e6 if count else None

    def as_json(self, options: dict[str, Any], samples: list[Sample]) -> dict[str, Any]:
        """Everything, ready for ``json.dumps``."""
        result = {name: value for name, value in asdict(self).items() if name != "run_id"}
        return {
            "id": self.run_id,
            "options": options,
            "samples": [asdict(each) for each in samples],
            "result": {**result, "cpu_us_per_message": self.cpu_us_per_message},
        }
