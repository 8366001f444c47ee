"""Times that were measured, counted by size: each is known to 1.6 %, whatever their number."""
# HOT. One bucket a measurement, no object.
# Bench: docs/perf.md.
# Limits: BUCKETS counters, for anything from a nanosecond to three centuries.   Twin: `sorted` in
# tests/perf/test_histogram.py.

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

FINE: Final = 64  # buckets for each doubling
BUCKETS: Final = 59 * FINE


class Histogram:
    """In nanoseconds."""

    def __init__(self) -> None:
        self.buckets: list[int] = [0] * BUCKETS
        self.count: i64 = 0
        self.smallest: i64 = 0
        self.largest: i64 = 0

    def record(self, ns: i64, times: i64 = 1) -> None:
        """Below 0, which clocks of two machines can make, is 0."""
        if ns < 0:
            ns = 0
        if self.count == 0 or ns < self.smallest:
            self.smallest = ns
        if ns > self.largest:
            self.largest = ns
        self.count += times
        shift: i64 = 0
        if ns >= 2 * FINE:
            shift = int(ns).bit_length() - 7
        self.buckets[shift * FINE + (ns >> shift)] += int(times)

    def take(self, other: Histogram) -> None:
        """Add all that ``other`` has, and empty it."""
        if other.count == 0:
            return
        if self.count == 0 or other.smallest < self.smallest:
            self.smallest = other.smallest
        if other.largest > self.largest:
            self.largest = other.largest
        self.count += other.count
        for index, times in enumerate(other.buckets):
            if times:
                self.buckets[index] += times
        other.buckets = [0] * BUCKETS
        other.count = 0
        other.smallest = 0
        other.largest = 0

    def quantile(self, share: float) -> int:
        """What ``share`` of them were not above, in nanoseconds; 0 without any."""
        if share <= 0.0:
            return int(self.smallest)
        if share >= 1.0:
            return int(self.largest)
        wanted = share * int(self.count)
        seen = 0
        for index, times in enumerate(self.buckets):
            seen += times
            if times and seen >= wanted:
                return max(int(self.smallest), min(int(self.largest), _middle(index)))
        return int(self.largest)


def _middle(index: int) -> int:
    if index < 2 * FINE:
        return index
    shift = index // FINE - 1
    return ((index - shift * FINE) << shift) + (1 << shift) // 2
