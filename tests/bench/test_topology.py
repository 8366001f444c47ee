"""Queues and bindings by the thousand: the layout of the report, and one small run for real."""

from argparse import Namespace
from pathlib import Path

import pytest

from amqpd.broker import journal
from tests.bench import loadgen, machine, programs, topology
from tests.bench.peers import Amqpd
from tests.bench.programs import Workshop
from tests.bench.topology import Run


@pytest.mark.skipif(not str(journal.__file__).endswith(".py"), reason="no source here")
@pytest.mark.slow
def test_a_small_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(topology, "SETTLE_S", 0.05)
    workshop = Workshop(tmp_path, loadgen.build(tmp_path), [Amqpd("amqpd", machine.REPOSITORY, compiled=False)])
    runs = list(topology.measure(Namespace(queues=60, bindings=40, peer_messages=50), workshop))
    assert [(run.what, run.count, run.message) for run in runs] == [
        ("transient queues", 60, ""),
        ("bindings of a transient queue to a topic exchange", 40, ""),
        ("durable queues", 60, ""),
        ("bindings of a durable queue to a topic exchange", 40, ""),
    ]
    assert all(run.each_us and run.cpu_us for run in runs)


def test_the_report_judges_queues() -> None:
    runs = [
        Run("amqpd", "transient queues", 10_000, "", 80.0, 50.0, 2.5),
        Run("amqpd", "durable queues", 10_000, "", 200.0, 60.0, 1.5),
        Run("rabbitmq", "transient queues", 10_000, "", 800.0, 700.0, 20.0),
        Run("amqpd", "bindings", 5, "connection lost"),
    ]
    text = topology.render(programs.Facts({}, "command"), runs, Namespace())
    assert "| amqpd | 10,000 transient queues | 80.0 | 50.0 | 2.50 | 2 KB: **not reached**, 100 us: reached |" in text
    assert "| amqpd | 10,000 durable queues | 200 | 60.0 | 1.50 | 2 KB: reached |" in text
    assert "| rabbitmq | 10,000 transient queues | 800 | 700 | 20.0 |  |" in text
    assert "* amqpd, 5 bindings: connection lost" in text
