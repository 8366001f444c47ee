"""What one more costs: the layout of the report, and one small run of each kind for real."""

from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest

from amqpd.broker import journal
from tests.bench import loadgen, machine, programs, scale, scale_plot, scale_report
from tests.bench.peers import Amqpd
from tests.bench.programs import Workshop
from tests.bench.scale_report import BINDINGS, COSTS, IDLE, Run

needs_source = pytest.mark.skipif(not str(journal.__file__).endswith(".py"), reason="no source here")

RUNS = [
    Run("amqpd", IDLE, 100, "", {"kb": 5.0, "opened_us": 400.0, "minute_us": 900.0}),
    Run("amqpd", IDLE, 10_000, "", {"kb": 5.5, "opened_us": 800.0, "minute_us": 0.0}),
    Run("rabbitmq", IDLE, 100, "", {"kb": 80.0, "opened_us": 1600.0, "minute_us": 5000.0}),
    Run("amqpd", BINDINGS, 1_000, "connection lost"),
]


@needs_source
@pytest.mark.slow
def test_a_small_run_of_each_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "KINDS", tuple(replace(kind, counts=(3, 10)) for kind in scale.KINDS))
    monkeypatch.setattr(scale, "SETTLE_S", 0.05)
    monkeypatch.setattr(scale, "FIRST_SETTLE_S", 0.05)
    monkeypatch.setattr(scale, "HEARTBEAT_S", 1)
    monkeypatch.setattr(scale, "CHANNEL_MESSAGES", 500)
    monkeypatch.setattr(scale, "BATCH", 50)
    workshop = Workshop(tmp_path, loadgen.build(tmp_path), [Amqpd("amqpd", machine.REPOSITORY, compiled=False)])
    runs = list(scale.measure(Namespace(seconds=0.05, idle_seconds=0.6, most=9), workshop))
    assert {(run.kind, run.count, run.message) for run in runs} == {(kind.name, 3, "") for kind in scale.KINDS}
    measured = {(run.kind, figure) for run in runs for figure in run.figures}
    assert measured == {(cost.kind, cost.figure) for cost in COSTS}
    assert all(value > 0 for run in runs for figure, value in run.figures.items() if figure != "kb")


@needs_source
def test_more_connections_than_open_files_are_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scale, "_raise_file_limit", lambda: 1_000)
    monkeypatch.setattr(scale, "KINDS", [replace(scale.KINDS[0], counts=(900,))])
    workshop = Workshop(tmp_path, tmp_path, [Amqpd("amqpd", machine.REPOSITORY, compiled=False)])
    (run,) = scale.measure(Namespace(seconds=1.0, idle_seconds=1.0, most=1_000), workshop)
    assert run.message == "needs 1,100 open files, and `ulimit -Hn` is 1,000"


def test_the_report_says_what_grows() -> None:
    text = scale_report.render(programs.Facts({}, "command"), RUNS, "plot.png")
    assert text.startswith("![What one more costs, by how many there are](plot.png)\n")
    assert "| **idle connections**, 100, 10,000: memory of each, KB | amqpd | 5.00 | 5.50 |  | 1.10 x | flat |" in text
    assert "|  | rabbitmq | 80.0 |  |  |  |  |" in text
    assert ", us | amqpd | 900 |  |  |  |  |" in text  # nothing is no cost: it was lost in what else happened
    assert ": CPU to open each, us | amqpd | 400 | 800 |  | 2.00 x | **grows** |" in text
    assert "* amqpd, 1,000 bindings of a topic exchange: connection lost" in text


def test_the_picture_is_drawn(tmp_path: Path) -> None:
    scale_plot.draw(RUNS, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
