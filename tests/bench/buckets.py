"""From what was seen while a queue grew or shrank to figures by its depth. Pure arithmetic."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from tests.bench.pinger import Ping, summarise

EDGE: Final = 0.1  # of the messages: what counts as "at depth 0" and "at full depth"


@dataclass(frozen=True, slots=True)
class Sample:
    """What was so when ``count`` messages were confirmed, or consumed."""

    at_ns: int
    count: int
    cpu_s: float
    anon_mb: float
    file_mb: float
    disk_mb: float
    in_use_mb: float | None


@dataclass(frozen=True, slots=True)
class Bucket:
    """Between two samples: figures per message are means, memory and disk are as at its end."""

    depth: int  # messages waiting, in the middle of it
    rate: float  # messages a second
    cpu_us: float  # a message
    anon_mb: float
    file_mb: float
    disk_mb: float
    in_use_mb: float | None
    stall_ms: float  # the longest


def by_depth(samples: list[Sample], pings: list[Ping], drained_from: int | None = None) -> list[Bucket]:
    """A bucket for each two neighbouring samples; ``drained_from`` is the depth at which draining began."""
    buckets = []
    for first, last in pairwise(samples):
        count = last.count - first.count
        if count <= 0 or last.at_ns <= first.at_ns:  # the clock of a turn of amqpload stood still
            continue
        middle = (first.count + last.count) // 2
        buckets.append(
            Bucket(
                middle if drained_from is None else drained_from - middle,
                count / (last.at_ns - first.at_ns) * 1e9,
                (last.cpu_s - first.cpu_s) / count * 1e6,
                last.anon_mb,
                last.file_mb,
                last.disk_mb,
                last.in_use_mb,
                summarise(pings, first.at_ns, last.at_ns).stall_max_ms,
            )
        )
    return buckets


def rate_at(buckets: list[Bucket], *, deep: bool) -> float | None:
    """Messages a second at one end of the depths: harmonic, so that it is messages by time."""
    if not buckets:
        return None
    ordered = sorted(buckets, key=lambda bucket: bucket.depth, reverse=deep)
    edge = ordered[: max(1, round(len(ordered) * EDGE))]
    return len(edge) / sum(1 / bucket.rate for bucket in edge)


def deep_share(buckets: list[Bucket]) -> float | None:
    """The rate at full depth, as a share of the rate at depth 0."""
    deep, shallow = rate_at(buckets, deep=True), rate_at(buckets, deep=False)
    return deep / shallow if deep and shallow else None


def nearest(buckets: list[Bucket], depth: float) -> Bucket | None:
    """The bucket whose middle is nearest to a depth."""
    return min(buckets, key=lambda bucket: abs(bucket.depth - depth), default=None)
