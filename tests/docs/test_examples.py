"""Examples run, and print what the page shows; commands are ones that exist. Tests: test_embedding.py."""

import ast
import importlib.util
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from amqpd import process
from amqpd.cli import main, trace
from amqpd.settings import Settings
from interop.brokers import Amqpd, Broker
from tests.docs.pages import PAGES, ROOT, Block, blocks, name_of

DEFAULT_ADDRESS = "amqp://guest:guest@127.0.0.1:5672/"
RUN_TIMEOUT_S = 30
SHORTLY = ["--time", "0.3", "--interval", "0.1"]  # the last that is said of an option counts
PYTHON_BLOCKS = [
    block for page in PAGES for block in blocks(page) if block.language == "python" and block.file_name is None
]
COMMAND_LINES = [
    (block, line.removeprefix("$ "))
    for page in PAGES
    for block in blocks(page)
    if block.language == "console"
    for line in block.text.splitlines()
]


@pytest.fixture(scope="module")
def amqpd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with Amqpd("--data-dir", str(tmp_path_factory.mktemp("data"))) as broker:
        yield broker


def run(arguments: list[str], broker: Broker) -> str:
    """What a Python of ours prints, connected to the broker instead of to the default address."""
    here = f"amqp://guest:guest@{broker.host}:{broker.port}/"
    command = [sys.executable, "-W", "error", *(word.replace(DEFAULT_ADDRESS, here) for word in arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_TIMEOUT_S, check=False)
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\n{broker.log_tail()}"
    return done.stdout


@pytest.mark.parametrize("page", sorted({block.page for block in PYTHON_BLOCKS}), ids=name_of)
def test_python_blocks_print_what_is_shown(page: Path, amqpd: Broker) -> None:
    """In the order of the page, each in a process of its own; the block after each is its output."""
    for block, after in pairwise(blocks(page)):
        if block in PYTHON_BLOCKS:
            assert DEFAULT_ADDRESS in block.text, f"{block.name} connects to another address"
            assert after.language == "text", f"{block.name} is not followed by its output"
            assert run(["-c", block.text], amqpd) == after.text, block.name


@pytest.mark.parametrize(
    ("block", "line"), COMMAND_LINES, ids=[f"{block.name} {line}" for block, line in COMMAND_LINES]
)
def test_commands_exist(
    block: Block, line: str, amqpd: Broker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[Settings] = []

    def note(settings: Settings, **others: object) -> int:
        started.append(settings)
        return 0

    monkeypatch.setattr(process, "run", note)
    monkeypatch.setattr(trace, "trace", lambda broker, port, body_bytes: 0)
    for command in line.split(" && "):
        words = [word for word in shlex.split(command) if not word.startswith("AMQPD_TEST_")]
        match words:
            case ["amqpd", "serve", *_]:
                assert main.run(words[1:]) == 0
                assert started
            case ["amqpd", "trace", *_]:
                with pytest.raises(SystemExit, match=r"^0$"):  # as typer ends
                    main.run(words[1:])
            case ["amqpd", "perf", *_]:  # for real, but not for so long
                monkeypatch.chdir(tmp_path)
                with pytest.raises(SystemExit, match=r"^0$"):
                    main.run([*words[1:], *SHORTLY, "--uri", amqpd.url])
            case ["amqpd", *rest]:
                assert main.run(rest) == 0
            case ["python", "-c", program]:
                ast.parse(program)
                assert run(["-c", program], amqpd)
            case ["python", "-m", module, *rest]:
                assert importlib.util.find_spec(module), f"{block.name}: no module {module}"
                assert all((ROOT / word).exists() for word in rest if word.startswith("tests/"))
            case ["pip", "install", *rest]:
                assert [word for word in rest if word not in (".", "-e", ".[dev]", "pika")] == []
            case ["kill", "-9", *rest]:
                assert rest == ["$(cat", "amqpd-data/lock)"]
            case _:
                pytest.fail(f"{block.name}: nobody knows whether `{command}` works")
