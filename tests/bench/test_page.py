"""The whole page by one command: what it runs, in which order, and that one failure does not end it."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench import page
from tests.bench.machine import REPOSITORY


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The commands that were run instead of measuring; the second fails."""
    commands: list[list[str]] = []

    def run(command: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        commands.append(command[1:])
        return subprocess.CompletedProcess(command, 1 if len(commands) == 2 else 0)

    monkeypatch.setattr(subprocess, "run", run)
    return commands


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["page", "--amqpd", "/built", *arguments])
    return page.main()


def test_all_parts_write_to_one_page(monkeypatch: pytest.MonkeyPatch, ran: list[list[str]]) -> None:
    assert call(monkeypatch) == 1
    assert [command[1] for command in ran] == [part.module for part in page.PARTS.values()]
    assert all(command[-4:] == ["--out", "docs/performance.md", "--amqpd", "/built"] for command in ran)
    assert ran[0][2:-4][-2:] == ["--peers", "amqpd,amqpd-pure,rabbitmq"]
    assert ran[1][2:-4] == ["--peer", "rabbitmq"]


def test_some_parts_without_rabbitmq(monkeypatch: pytest.MonkeyPatch, ran: list[list[str]], tmp_path: Path) -> None:
    other = tmp_path / "page.md"
    assert call(monkeypatch, "--only", "embedding,holes", "--without-rabbitmq", "--out", str(other)) == 1
    assert [command[1] for command in ran] == ["tests.bench.embedding", "tests.bench.holes"]
    assert ran[0][2:] == ["--peer", "amqpd-pure", "--out", str(other), "--amqpd", "/built"]


def test_unknown_part_is_refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in ("depth,deep", ","):
        with pytest.raises(SystemExit):
            call(monkeypatch, "--only", wrong)
    assert "unknown: deep; choose from scenarios, fair" in capsys.readouterr().err


@pytest.mark.parametrize("name", page.PARTS)
def test_part_is_a_program_that_knows_its_options(name: str) -> None:
    """As far as argparse goes: it complains of a value, not of an option."""
    command = page.PARTS[name].command(Path("page.md"), Path("built"), rabbitmq=True)
    done = subprocess.run(
        [sys.executable, *command, "--out", "/nowhere/page.md"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr.endswith("there is no directory /nowhere\n"), done.stderr
