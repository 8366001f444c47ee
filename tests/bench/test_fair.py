"""A request and its reply beside a load: the layout of the report, and one small run for real."""

from argparse import Namespace
from pathlib import Path

import pytest

from amqpd.broker import journal
from tests.bench import fair, loadgen, machine, programs
from tests.bench.fair import FLOOD, LOADS, Run
from tests.bench.peers import Amqpd
from tests.bench.programs import Workshop


def figures(p99_us: float) -> loadgen.Figures:
    one = {"p50": 300.0, "p95": 800.0, "p99": p99_us, "p999": 4000.0, "max": 5000.0}
    return {"calls": 1234, "call_us": one | {"p99": 3000.0}, "answered_us": one, "broker_us": one | {"max": 900.0}}


@pytest.mark.skipif(not str(journal.__file__).endswith(".py"), reason="no source here")
@pytest.mark.slow
def test_a_small_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fair, "LEAD_S", 0.05)
    monkeypatch.setattr(fair, "LOADS", {load: LOADS[load] for load in ("", FLOOD)})
    workshop = Workshop(tmp_path, loadgen.build(tmp_path), [Amqpd("amqpd", machine.REPOSITORY, compiled=False)])
    alone, beside = fair.measure(Namespace(seconds=0.2), workshop)
    assert (alone.load, beside.load, alone.message, beside.message) == ("", FLOOD, "", "")
    assert alone.load_rate is None
    assert beside.load_rate
    for run in (alone, beside):
        assert run.figures["calls"] > 0
        for name in ("call", "answered"):
            (p50, p99) = (run.milliseconds(name, percentile) for percentile in ("p50", "p99"))
            assert p50 and p99 and 0 < p50 <= p99  # noqa: PT018 -- for the type


def test_the_flood_is_judged_by_when_the_answers_were_there() -> None:
    runs = [
        Run("amqpd", FLOOD, "", figures(1900.0), 2_500_000.0),
        Run("rabbitmq", FLOOD, "", figures(9000.0), 150_000.0),
        Run("amqpd", "", "", figures(400.0)),
        Run("amqpd", "D", "3 published messages were not confirmed", figures(400.0)),
    ]
    text = fair.render(programs.Facts({}, "command"), runs, Namespace())
    first, second, third = text.splitlines()[2:5]
    assert first == "| nothing | amqpd | 0.30 / 3.00 / 5.00 | 0.30 / 0.40 / 5.00 | 0.30 / 0.40 / 0.90 | 1,234 |  |  |"
    assert second.endswith("| 0.30 / 1.90 / 5.00 | 0.30 / 1.90 / 0.90 | 1,234 | 2,500,000 | 2 ms: reached |")
    assert third.endswith("| rabbitmq | 0.30 / 3.00 / 5.00 | 0.30 / 9.00 / 5.00 |  | 1,234 | 150,000 |  |")
    assert "* amqpd, beside D, durable and persistent" in text
    missed = fair.render(programs.Facts({}, "command"), [Run("amqpd", FLOOD, "", figures(2100.0))], Namespace())
    assert "2 ms: **not reached**" in missed
