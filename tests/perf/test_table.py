"""How a load looks: within 80 columns, and every column below its heading."""

from dataclasses import replace
from typing import Any

import pytest

from amqpd.perf.figures import Counts, Quantiles, Sample, Verdict
from amqpd.perf.plan import Plan, Schedule
from amqpd.perf.table import LINES_A_PAGE, Table, heading, milliseconds, rate, summary
from tests.perf.test_figures import result

TIMES = Quantiles(53, 1234, 12_345, 123_456, 1_234_567, 12_345_678)
SAMPLE = Sample(86_400.0, 123_456.0, 123_457.0, 0.0, 12_345.0, 123_458.0, TIMES, TIMES)
EVERYTHING = Plan(run_id="r", confirm=100, mandatory=True)


@pytest.mark.parametrize(
    ("plan", "lines"),
    [
        (
            EVERYTHING,
            (
                "                          messages/s                         latency, ms confirm",
                " time publish confirm return consume   min   med   p75   p95   p99   max     med",
                "86400  123456  123457  12345  123458 0.053 1.234 12.35 123.5  1235 12346   1.234",
            ),
        ),
        (
            Plan(confirm=100),
            (
                "                   messages/s                         latency, ms confirm, ms",
                " time publish confirm consume   min   med   p75   p95   p99   max   med   p99",
                "86400  123456  123457  123458 0.053 1.234 12.35 123.5  1235 12346 1.234  1235",
            ),
        ),
        (
            Plan(),
            (
                "           messages/s                         latency, ms",
                " time publish consume   min   med   p75   p95   p99   max",
                "86400  123456  123458 0.053 1.234 12.35 123.5  1235 12346",
            ),
        ),
        (
            Plan(consumers=0, queues=("q",), confirm=1),
            (
                "           messages/s confirm, ms",
                " time publish confirm   med   p99",
                "86400  123456  123457 1.234  1235",
            ),
        ),
        (
            Plan(producers=0),
            (
                "        msg/s                         latency, ms",
                " time consume   min   med   p75   p95   p99   max",
                "86400  123458 0.053 1.234 12.35 123.5  1235 12346",
            ),
        ),
    ],
)
def test_the_columns_that_are_of_use(plan: Plan, lines: tuple[str, ...]) -> None:
    shown = tuple(Table(plan).lines(SAMPLE))
    assert shown == lines
    assert max(map(len, shown)) <= 80


def test_an_interval_in_which_nothing_came() -> None:
    quiet = replace(SAMPLE, published=0.0, consumed=0.0, latency_us=None)
    assert list(Table(Plan()).lines(quiet))[-1].split() == ["86400", "0", "0", *"------"]


def test_the_heading_comes_again() -> None:
    table = Table(Plan())
    counts = [len(list(table.lines(SAMPLE))) for _ in range(LINES_A_PAGE + 2)]
    assert counts == [3] + [1] * (LINES_A_PAGE - 1) + [3, 1]


def test_times_have_a_digit_more_where_intervals_are_no_seconds() -> None:
    (_, _, line) = Table(Plan(interval_s=0.5)).lines(replace(SAMPLE, at_s=1.5))
    assert line.startswith("  1.5  123456")


@pytest.mark.parametrize(
    ("per_second", "text"), [(0, "0"), (0.25, "0.2"), (9.94, "9.9"), (9.96, "10"), (123_456.7, "123457")]
)
def test_low_rates_have_a_digit_more(per_second: float, text: str) -> None:
    assert rate(per_second) == text


@pytest.mark.parametrize(
    ("us", "text"),
    [
        (0, "0.000"),
        (53, "0.053"),
        (9999.4, "9.999"),
        (9999.6, "10.00"),
        (99_996, "100.0"),
        (999_960, "1000"),
        (1e8, "1e5"),
    ],
)
def test_milliseconds_have_five_characters(us: float, text: str) -> None:
    assert float(milliseconds(us)) == float(text)
    assert len(milliseconds(us)) <= 6


def test_what_begins() -> None:
    assert heading(Plan(run_id="r")) == "r: 1 producer, 1 consumer at 127.0.0.1:5672"
    assert heading(Plan(run_id="r", producers=2, consumers=0, queues=("q",))) == "r: 2 producers at 127.0.0.1:5672"


def told(plan: Plan = EVERYTHING, **others: Any) -> str:
    lines = list(summary(plan, result(**others)))
    assert max(map(len, lines)) <= 80
    return "\n".join(lines)


def test_a_summary() -> None:
    counts = Counts(published=1000, confirmed=990, nacked=3, returned=2, consumed=900)
    verdict = Verdict(
        lost=4, duplicates=1, reordered=2, redelivered=7, foreign=8, faults=["lost: queue 'q', 4 messages"]
    )
    text = told(
        counts=counts,
        unconfirmed=7,
        left_in_queues=93,
        publish_rate=500.0,
        consume_rate=450.0,
        latency_us=TIMES,
        confirm_latency_us=TIMES,
        blocked_s=1.25,
        verdict=verdict,
    )
    spread = "min 0.053, median 1.234, p75 12.35, p95 123.5, p99 1235, max 12346"
    assert text == "\n".join(
        (
            "",
            "r: 2.0 s",
            "published         1000       500/s  990 confirmed, 3 refused, 7 unconfirmed, 2",
            "            returned",
            "consumed           900       450/s  7 redelivered, 8 of somebody else",
            "left                93  in the queues",
            f"latency, ms {spread}",
            f"confirm, ms {spread}",
            "blocked     the broker held publishers back for 1.2 s",
            "verdict     4 lost, 1 duplicated, 2 out of order",
            "            lost: queue 'q', 4 messages",
            "itself      0% of a core, 0.5 us a message",
        )
    )


def test_without_producers_all_is_of_somebody_else() -> None:
    assert "somebody" not in told(Plan(producers=0), verdict=Verdict(foreign=5))


def test_a_verdict_says_what_is_not_known() -> None:
    assert "verdict     nothing lost, duplicated or out of order" in told()
    doubt = told(verdict=Verdict(doubt="--predeclared: others may be there"))
    assert "none out of order; loss not checked: --predeclared: others may be there" in " ".join(doubt.split())


def test_a_tool_that_is_the_bottleneck_says_so() -> None:
    assert "95% of a core, 9500.0 us a message: the broker may be faster" in told(cpu_s=1.9)
    assert "faster" not in told(cpu_s=1.7)
    assert "faster" not in told(Plan(rate=Schedule(((5.0, 0.0),))), cpu_s=1.9)
