"""Histograms are as good as a sorted list, within what a bucket is wide."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.perf.histogram import Histogram

WIDTH = 1 / 64


def filled(times: list[int]) -> Histogram:
    histogram = Histogram()
    for time in times:
        histogram.record(time)
    return histogram


@given(st.lists(st.integers(0, 2**62), min_size=1), st.sampled_from([0.0, 0.1, 0.5, 0.75, 0.95, 0.99, 1.0]))
def test_quantiles_are_those_of_a_sorted_list(times: list[int], share: float) -> None:
    true = sorted(times)[max(math.ceil(share * len(times)), 1) - 1]
    assert filled(times).quantile(share) == pytest.approx(true, rel=WIDTH, abs=0)


def test_small_times_are_exact() -> None:
    assert [filled([time]).quantile(0.5) for time in range(128)] == list(range(128))


def test_the_ends_are_exact() -> None:
    histogram = filled([1_000_001, 5_000_000, 1_000_999_999])
    assert (histogram.quantile(0), histogram.quantile(1)) == (1_000_001, 1_000_999_999)


def test_clocks_that_disagree_make_no_negative_time() -> None:
    assert filled([-5]).quantile(1) == 0


def test_an_empty_one_says_nothing() -> None:
    assert Histogram().quantile(0.5) == 0


def test_one_takes_what_another_has() -> None:
    total, part = filled([10, 30]), filled([5, 20])
    total.take(part)
    total.take(part)
    total.take(Histogram())
    assert [total.quantile(share) for share in (0, 0.5, 1)] == [5, 10, 30]
    assert (total.count, part.count, part.quantile(1)) == (4, 0, 0)
    part.record(7)
    assert (part.smallest, part.largest) == (7, 7)
