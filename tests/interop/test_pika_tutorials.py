"""The pika tutorials on amqpd print what RabbitMQ made them print, with each adapter; so does RabbitMQ where it is."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from interop.brokers import ROOT, Amqpd, Broker, RabbitMQ, find_free_ports
from interop.pika.program import ADAPTERS
from interop.pika.run import EXPECTED_DIRECTORY, Outcome, find_differences, read_expected, run_tutorial
from interop.pika.tutorials import NAMES

README = ROOT / "README.md"
README_URL = "amqp://guest:guest@127.0.0.1:5672/"
PYTHON_BLOCK = re.compile(r"^```python[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
README_TIMEOUT_S = 30


@pytest.fixture(scope="module")
def amqpd() -> Iterator[Broker]:
    with Amqpd() as broker:
        yield broker


@pytest.fixture(scope="module")
def rabbitmq() -> Iterator[Broker]:
    with RabbitMQ() as broker:
        yield broker


def assert_prints_as_expected(tutorial: str, adapter: str, broker: Broker) -> None:
    outcome = run_tutorial(tutorial, adapter, broker.url, broker.name)
    assert not outcome.complaint, f"{outcome.complaint}\n{broker.log_tail()}"
    assert outcome.lines == read_expected(tutorial)


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("tutorial", NAMES)
def test_tutorial_on_amqpd(tutorial: str, adapter: str, amqpd: Broker) -> None:
    assert_prints_as_expected(tutorial, adapter, amqpd)


@pytest.mark.slow
@pytest.mark.oracle
@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("tutorial", NAMES)
def test_tutorial_on_rabbitmq(tutorial: str, adapter: str, rabbitmq: Broker) -> None:
    assert_prints_as_expected(tutorial, adapter, rabbitmq)


def test_every_tutorial_has_a_program_and_a_record() -> None:
    programs = {path.stem for path in (EXPECTED_DIRECTORY.parent / "tutorials").glob("[!_]*.py")}
    records = {path.stem for path in EXPECTED_DIRECTORY.glob("*.txt")}
    assert programs == records == set(NAMES)


def test_readme_example_runs(amqpd: Broker, tmp_path: Path) -> None:
    if not README.exists():
        pytest.skip("there is no README yet")
    blocks = PYTHON_BLOCK.findall(README.read_text("utf-8"))
    examples = [block for block in blocks if "import pika" in block and "def test_" not in block]
    assert examples, "README.md has no ```python block with `import pika`"
    for example in examples:
        assert f'pika.URLParameters("{README_URL}")' in example, "the example must connect to the default address"
        program = tmp_path / "example.py"
        program.write_text(example.replace(README_URL, f"amqp://guest:guest@{amqpd.host}:{amqpd.port}/"), "utf-8")
        command = [sys.executable, "-W", "error", str(program)]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=README_TIMEOUT_S, check=False)
        assert ended.returncode == 0, f"{ended.stdout}{ended.stderr}\n{amqpd.log_tail()}"


def test_program_without_a_broker_is_a_failure() -> None:
    (port,) = find_free_ports(1)
    outcome = run_tutorial("hello_world", "blocking", f"amqp://guest:guest@127.0.0.1:{port}/%2F")
    assert "exit code 1" in outcome.complaint
    assert find_differences([outcome]) == {}, "a failed program is not compared"


def test_other_lines_than_recorded_are_a_difference() -> None:
    recorded = read_expected("rpc")
    assert recorded is not None
    same = Outcome("amqpd", "rpc", "select", 0.1, recorded)
    other = Outcome("amqpd", "rpc", "asyncio", 0.1, (*recorded[:-1], "server: something else"))
    differences = find_differences([same, other])
    assert list(differences) == [other]
    assert f"-{recorded[-1]}" in differences[other]
    assert "+server: something else" in differences[other]


def test_rabbitmq_of_today_is_a_reference_too() -> None:
    recorded = read_expected("rpc")
    assert recorded is not None
    of_today = Outcome("rabbitmq", "rpc", "blocking", 0.1, (*recorded, "server: news"))
    ours = Outcome("amqpd", "rpc", "blocking", 0.1, recorded)
    assert set(find_differences([of_today, ours])) == {of_today, ours}
