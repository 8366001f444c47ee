"""What the tests of commands share: a plain environment, and ways to run the command line and to see what it did."""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from amqpd import process
from amqpd.cli import commands, main
from amqpd.settings import RULES, Settings, variable_name

ROOT = Path(__file__).resolve().parents[2]
CHILD_TIMEOUT_S = 30.0


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")  # help is wrapped to the terminal
    for name in RULES:
        monkeypatch.delenv(variable_name(name), raising=False)
    monkeypatch.delenv("AMQPD_CONFIG", raising=False)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings of the brokers that would have been run."""
    settings: list[Settings] = []

    def run(given: Settings, **_: object) -> int:
        settings.append(given)
        return 0

    monkeypatch.setattr(process, "run", run)
    return settings


def exit_code(*words: str) -> int:
    """Run the command line in this process."""
    try:
        return main.run(words)
    except SystemExit as stop:
        return int(stop.code or 0)


def in_child(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a Python with these words, and wait for its end."""
    command = [sys.executable, *words]
    return subprocess.run(command, cwd=ROOT, check=False, text=True, capture_output=True, timeout=CHILD_TIMEOUT_S)


def modules_loaded(*words: str, code: int) -> set[str]:
    """What the command line loads in a process of its own, which must end with that exit code."""
    done = in_child("-X", "importtime", "-m", "amqpd", *words)
    assert done.returncode == code, done.stderr
    return {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}


def flags_by_typer(monkeypatch: pytest.MonkeyPatch, command: ModuleType, *words: str) -> dict[str, object]:
    """What typer makes of the words, as ``command`` is given it."""
    given: list[dict[str, object]] = []

    def record(flags: dict[str, object]) -> int:
        given.append(flags)
        return 0

    monkeypatch.setattr(command, "serve", record)
    with pytest.raises(SystemExit, match=r"^0$"):
        commands.run(list(words))
    [flags] = given
    return flags


def read_terminal(controller: int) -> bytes:
    """All that was written to a terminal whose other end is closed."""
    text = b""
    with contextlib.suppress(OSError):  # EIO: how Linux says so
        while chunk := os.read(controller, 65536):
            text += chunk
    return text
