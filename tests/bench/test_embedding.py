"""A broker inside of a test: the layout of the report, and one small run for real."""

import json
import subprocess
import sys
from argparse import Namespace

import pytest

from tests.bench import embedding, programs
from tests.bench.embedding import Run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "figures"), [("first", {"first"}), ("many", {"start", "stop", "vhost", "copy", "reset", "kb"})]
)
def test_the_probe_measures(what: str, figures: set[str]) -> None:
    done = subprocess.run([sys.executable, str(embedding.PROBE), what], capture_output=True, text=True, check=True)
    measured = json.loads(done.stdout)
    assert set(measured) == figures
    assert all(value > 0 for name, value in measured.items() if name != "kb")


def test_the_report_has_a_row_for_each_figure_and_judges_ours() -> None:
    runs = [
        Run("amqpd", "first", 120.0),
        Run("amqpd", "start", 31.0),
        Run("rabbitmq", "start", 5000.0),
        Run("rabbitmq", "stop", 2000.0),
    ]
    text = embedding.render(programs.Facts({}, "command"), runs, Namespace())
    assert text.startswith("| what | amqpd | rabbitmq | goal |\n")
    assert "| 120 |  | 150: reached |" in text
    assert "| start, until clients can connect, ms | 31.0 | 5,000 | 30: **not reached** |" in text
    text = embedding.render(programs.Facts({}, "command"), [Run("amqpd", "start", None, "no port")], Namespace())
    assert "* amqpd: no port" in text
