"""Brokers side by side: the layout of the report, and one small run for real."""

import os
import threading
from argparse import Namespace
from pathlib import Path

import pytest

from amqpd.broker import journal
from tests.bench import cores, loadgen, machine, programs
from tests.bench.cores import Run
from tests.bench.peers import Amqpd
from tests.bench.programs import Workshop


@pytest.mark.skipif(not str(journal.__file__).endswith(".py"), reason="no source here")
@pytest.mark.slow
def test_a_small_run(tmp_path: Path) -> None:
    workshop = Workshop(tmp_path, loadgen.build(tmp_path), [Amqpd("amqpd", machine.REPOSITORY, compiled=False)])
    runs = list(cores.measure(Namespace(scenarios="D", brokers=2, runs=1, seconds=0.2), workshop))
    assert [(run.scenario, run.brokers, run.message) for run in runs] == [("D", 1, ""), ("D", 2, "")]
    assert all(run.rate and run.loop_us and run.rest_us and run.generator_us for run in runs)


def test_the_report_has_medians_and_ratios_of_a_round() -> None:
    runs = [
        Run("amqpd", "A", 1, "", 1000.0, 0.5, 0.2, 0.0, 0.1),
        Run("amqpd", "A", 2, "", 1500.0, 0.5, 0.2, 0.0, 0.1),
        Run("amqpd", "A", 1, "", 2000.0, 0.7, 0.4, 0.0, 0.3),
        Run("amqpd", "A", 2, "", 4000.0, 0.5, 0.2, 0.0, 0.1),
        Run("amqpd", "D", 1, "connection lost"),
    ]
    text = cores.render(programs.Facts({}, "command"), runs, Namespace())
    assert "| **A** | 1 | 1,500 | 1.00 x | 0.60 | 30% | 0.00 | 0.20 |" in text
    assert "| **A** | 2 | 2,750 | 1.75 x | 0.50 | 20% | 0.00 | 0.10 |" in text
    assert "* D, 1 brokers: connection lost" in text


def test_threads_are_told_apart() -> None:
    go_on = threading.Event()
    other = threading.Thread(target=go_on.wait)
    other.start()
    try:
        found = cores.threads(os.getpid())
        assert found[threading.main_thread().native_id or 0].total_s > found[other.native_id or 0].total_s > 0.0
    finally:
        go_on.set()
        other.join()
