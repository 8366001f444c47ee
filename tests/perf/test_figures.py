"""From counts and times to figures."""

import json

from amqpd.perf.figures import Counts, Quantiles, Result, Verdict, quantiles, sample
from amqpd.perf.histogram import Histogram


def result(**others: object) -> Result:
    values: dict[str, object] = {
        "run_id": "r",
        "seconds": 2.0,
        "counts": Counts(published=100, consumed=100),
        "unconfirmed": 0,
        "left_in_queues": 0,
        "publish_rate": 50.0,
        "consume_rate": 50.0,
        "latency_us": None,
        "confirm_latency_us": None,
        "blocked_s": 0.0,
        "cpu_s": 0.001,
        "verdict": Verdict(),
        "error": "",
    }
    return Result(**{**values, **others})  # type: ignore[arg-type]  # by name, from a test


def test_quantiles_are_in_microseconds() -> None:
    histogram = Histogram()
    assert quantiles(histogram) is None
    for ns in (10_000, 20_000, 30_000):
        histogram.record(ns)
    seen = quantiles(histogram)
    assert seen is not None
    assert (seen.min, seen.max) == (10, 30)
    assert seen.min < seen.median < seen.p99 <= seen.max


def test_a_sample_is_what_happened_between_two_counts() -> None:
    before, after = Counts(100, 90, 1, 2, 80), Counts(300, 290, 1, 4, 180)
    seen = sample(3.0, 0.5, (before, after), (Histogram(), Histogram()))
    assert (seen.published, seen.confirmed, seen.nacked, seen.returned, seen.consumed) == (400, 400, 0, 4, 200)
    assert (seen.at_s, seen.latency_us, seen.confirm_latency_us) == (3.0, None, None)


def test_what_is_good() -> None:
    assert Verdict(redelivered=1, foreign=1, doubt="who knows").is_good
    assert not any(Verdict(**{fault: 1}).is_good for fault in ("lost", "duplicates", "reordered"))  # type: ignore[arg-type]  # by name


def test_the_cost_of_the_tool_itself() -> None:
    assert result().cpu_us_per_message == 5.0
    assert result(counts=Counts()).cpu_us_per_message is None


def test_json_has_it_all() -> None:
    times = Quantiles(1, 2, 3, 4, 5, 6)
    samples = [sample(1.0, 1.0, (Counts(), Counts(7)), (Histogram(), Histogram()))]
    seen = json.loads(json.dumps(result(latency_us=times).as_json({"rate": 1}, samples)))
    assert list(seen) == ["id", "options", "samples", "result"]
    assert (seen["id"], seen["options"], seen["samples"][0]["published"]) == ("r", {"rate": 1}, 7)
    assert seen["result"]["latency_us"] == {"min": 1, "median": 2, "p75": 3, "p95": 4, "p99": 5, "max": 6}
    assert seen["result"]["counts"]["published"] == 100
    assert seen["result"]["verdict"]["lost"] == 0
    assert seen["result"]["cpu_us_per_message"] == 5.0
