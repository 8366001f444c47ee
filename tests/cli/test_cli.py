"""The command line: what is understood, what is said, and with which exit code."""

import dataclasses
import sys
from importlib import metadata
from pathlib import Path

import pytest

import amqpd
from amqpd import app, process
from amqpd.cli import commands, main, serve, version
from amqpd.settings import RULES, Settings, default_text, flag_name, variable_name
from tests.cli.conftest import exit_code, flags_by_typer, in_child, modules_loaded

FLAGS = [name for name, rule in RULES.items() if rule.flag]


def output(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert exit_code(*words) == 0
    return capsys.readouterr().out


# Help


@pytest.mark.parametrize("words", [["--help"], ["-h"]])
def test_help_lists_the_commands(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    text = output(capsys, *words)
    assert "amqpd serve --memory" in text
    assert [name for name in ("serve", "version") if f"  {name}  " not in text] == []


def test_no_command_shows_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code() == 2
    assert "Usage: amqpd" in "".join(capsys.readouterr())


@pytest.mark.parametrize("words", [["serve", "--help"], ["serve", "-h"], ["serve", "--port", "1", "-h"]])
def test_help_of_serve_names_everything(capsys: pytest.CaptureFixture[str], words: list[str]) -> None:
    text = output(capsys, *words)
    together = " ".join(text.split())
    assert "Usage: amqpd serve" in text
    assert [name for name in FLAGS if f"  {flag_name(name)} " not in text] == []
    assert [name for name in RULES if variable_name(name) not in text] == []
    assert [name for name in RULES if f"default {default_text(name)}" not in together] == []
    assert [word for word in ("--config FILE", "AMQPD_CONFIG", "./amqpd-data", "5672") if word not in text] == []


def test_every_example_in_the_help_of_serve_is_understood(started: list[Settings], tmp_path: Path) -> None:
    file = tmp_path / "amqpd.toml"
    file.write_text("heartbeat_s = 30\n")
    examples = [line.split() for line in commands.SERVE_HELP.splitlines() if line.startswith("  amqpd ")]
    assert len(examples) >= 4
    for words in examples:
        assert exit_code(*(str(file) if word == "/etc/amqpd.toml" else word for word in words[1:])) == 0
    assert len(started) == len(examples)


def test_help_does_not_load_the_broker() -> None:
    assert "amqpd.app" not in modules_loaded("serve", "--help", code=0)


# serve


def test_plain_serve_is_all_default(started: list[Settings]) -> None:
    assert exit_code("serve") == 0
    assert started == [Settings()]


def test_serve_takes_every_option(started: list[Settings]) -> None:
    words = (
        "--host ::1 --port 0 --data-dir d --durability write --log-level error --log-format json --max-connections 5"
    )
    assert exit_code("serve", *words.split(), "--backend", "trio") == 0
    assert started == [
        Settings(
            host="::1",
            port=0,
            data_dir=Path("d"),
            durability="write",
            log_level="error",
            log_format="json",
            max_connections=5,
            backend="trio",
        )
    ]


def test_serve_reads_file_and_variables(
    started: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "amqpd.toml"
    file.write_text("port = 1\nheartbeat_s = 1\nmemory = true\n")
    monkeypatch.setenv("AMQPD_HEARTBEAT_S", "2")
    assert exit_code("serve", "--config", str(file), "--no-memory") == 0
    assert started == [Settings(port=1, heartbeat_s=2, durability="fsync")]


@pytest.mark.parametrize("words", [["--memory"], ["--durability", "memory"], ["--durability=memory", "--memory"]])
@pytest.mark.parametrize("way", ["plain", "typer"])
def test_ways_to_say_memory(started: list[Settings], words: list[str], way: str) -> None:
    assert exit_code("serve", *words, *(["--"] if way == "typer" else [])) == 0
    assert started == [Settings(durability="memory")]


@pytest.mark.parametrize("way", ["plain", "typer"])
def test_flags_that_contradict_each_other(
    capsys: pytest.CaptureFixture[str], started: list[Settings], way: str
) -> None:
    assert exit_code("serve", "--memory", "--durability", "write", *(["--"] if way == "typer" else [])) == 2
    assert capsys.readouterr().err == (
        "amqpd: --durability: 'write' contradicts --memory: true; leave one of them out\n"
    )
    assert started == []


# Words after `serve`, and whether they are plain enough to do without typer.
COMMAND_LINES = [
    ([], True),
    (["--memory"], True),
    (["--no-memory"], True),
    (["--memory", "--no-memory"], True),
    (["--no-memory", "--memory"], True),
    (["--durability", "write"], True),
    (["--durability=write", "--memory"], True),
    (["--memory", "--durability", ""], True),
    (["--durability"], False),
    (["--durability", "--memory"], False),
    (["--port", "0"], True),
    (["--port=0"], True),
    (["--port=-1"], True),
    (["--port="], True),
    (["--port", ""], True),
    (["--port", "1", "--port=2"], True),
    (["--host=a=b"], True),
    (["--config", "x.toml", "--host", "::1", "--data-dir=d"], True),
    (["--port", "-1"], False),
    (["--port", "--memory"], False),
    (["--host", "-"], False),
    (["--port"], False),
    (["--memory=1"], False),
    (["--memory", "x"], False),
    (["--", "x"], False),
    (["--"], False),
    (["x"], False),
    (["-p", "1"], False),
    (["--por", "1"], False),
    (["--heartbeat-s", "1"], False),
    (["-h"], False),
    (["--port", "1", "--help"], False),
]


@pytest.mark.parametrize(("words", "is_plain"), COMMAND_LINES)
def test_plain_words_mean_what_typer_makes_of_them(
    monkeypatch: pytest.MonkeyPatch, words: list[str], is_plain: bool
) -> None:
    plain = main.read_plain(words)
    assert (plain is not None) == is_plain
    if is_plain:
        flags = flags_by_typer(monkeypatch, serve, "serve", *words)
        assert {name: value for name, value in flags.items() if value is not None} == plain


def test_plain_words_cover_every_option() -> None:
    for name in FLAGS:
        words = ["--memory"] if name == "memory" else [flag_name(name), "x"]
        assert main.read_plain(words) == {name: True if name == "memory" else "x"}
    assert main.read_plain(["--config", "x"]) == {"config": "x"}


# No other text is wrong for a setting that is a path.
WRONG = {"data_dir": "", "definitions": "~nobody-at-all/x", "control_socket": "~nobody-at-all/x"}


@pytest.mark.parametrize("name", [name for name in FLAGS if name != "memory"])
@pytest.mark.parametrize("way", ["plain", "typer"])
def test_wrong_value_is_one_line(
    capsys: pytest.CaptureFixture[str], started: list[Settings], name: str, way: str
) -> None:
    words = [flag_name(name), WRONG.get(name, "?")]
    code = exit_code("serve", *words, *(["--"] if way == "typer" else []))
    out, err = capsys.readouterr()
    assert (code, out, started) == (2, "", [])
    assert err.startswith(f"amqpd: {flag_name(name)}: ")
    assert err.endswith(f"must be {RULES[name].allowed}\n")
    assert err.count("\n") == 1


def test_missing_configuration_file_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert exit_code("serve", "--config", str(tmp_path / "none.toml")) == 2
    assert capsys.readouterr().err.startswith(f"amqpd: {tmp_path / 'none.toml'}: configuration file cannot be read")


def test_unknown_option_names_the_nearest(capsys: pytest.CaptureFixture[str], started: list[Settings]) -> None:
    assert exit_code("serve", "--prot", "1") == 2
    assert "--port" in capsys.readouterr().err
    assert started == []


def test_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("serv") == 2
    assert "'serve'" in capsys.readouterr().err


def test_exit_code_is_that_of_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "run", lambda settings: 3)
    assert exit_code("serve") == 3
    assert exit_code("serve", "--") == 3


def test_broker_that_cannot_start_is_one_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(settings: Settings) -> int:
        raise app.StartError(f"port {settings.port} is taken")

    monkeypatch.setattr(process, "run", run)
    assert exit_code("serve") == 1
    assert capsys.readouterr() == ("", "amqpd: port 5672 is taken\n")


@pytest.mark.parametrize("words", [["serve"], ["serve", "--"]])
def test_bug_shows_its_traceback(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    def run(settings: Settings) -> int:
        raise LookupError(settings.port)

    monkeypatch.setattr(process, "run", run)
    assert exit_code(*words) == 70
    err = capsys.readouterr().err
    assert err.startswith("Traceback (most recent call last):\n")
    assert err.endswith("LookupError: 5672\n")


@pytest.mark.parametrize("words", [["serve"], ["serve", "--"]])
def test_interrupt_is_quiet(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str]
) -> None:
    def run(settings: Settings) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr(process, "run", run)
    assert exit_code(*words) == 130
    assert capsys.readouterr() == ("", "")


def test_serve_starts_without_what_it_does_not_need() -> None:
    loaded = modules_loaded("serve", "--port", "nowhere", code=2)
    assert "amqpd.app" in loaded
    assert loaded & {"typer", "rich", "pydantic", "tomllib", "difflib"} == set()


# version


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    first, *others = output(capsys, "version").splitlines()
    built = "compiled" if version.is_compiled() else "pure Python"
    assert first == f"amqpd {amqpd.__version__} ({built})"
    assert others[0].startswith(f"Python {sys.version.split()[0]} (")
    assert others[1:] == [f"{name} {metadata.version(name)}" for name in ("lmdb", "pamqp", "anyio")]


def test_version_is_the_same_by_every_way(capsys: pytest.CaptureFixture[str]) -> None:
    lines = output(capsys, "version").splitlines()
    with pytest.raises(SystemExit):
        commands.run(["version"])
    assert capsys.readouterr().out.splitlines() == lines
    assert output(capsys, "--version").splitlines() == lines[:1]
    done = in_child("-m", "amqpd", "version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == lines


def test_missing_dependency_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(version, "_DEPENDENCIES", ("no-such-distribution",))
    assert version.lines()[-1] == "no-such-distribution not installed"


def test_options_are_the_settings_that_say_so() -> None:
    documented = [field.name for field in dataclasses.fields(Settings) if RULES[field.name].flag]
    assert documented == [name for name in FLAGS if name != "memory"]
    assert set(FLAGS) == {
        "host",
        "port",
        "data_dir",
        "durability",
        "memory",
        "log_level",
        "log_format",
        "max_connections",
        "backend",
        "definitions",
        "control_socket",
    }
