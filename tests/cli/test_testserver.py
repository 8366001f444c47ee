"""`amqpd testserver`: what it says, what it takes from where, and how it ends."""

import contextlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

import amqpd
from amqpd.cli import commands, main, testserver
from amqpd.settings import Settings
from tests.cli.conftest import ROOT, exit_code, flags_by_typer, modules_loaded
from tests.support.raw_peer import RawPeer

WAIT_S = 20.0
IN_A_HURRY_S = 2.5  # less than clients get to say farewell when a broker is not in a hurry

PLAIN = Settings(port=0, durability="memory", log_level="error")


@dataclass(slots=True)
class Started:
    """A broker in a child process that has said it is ready."""

    process: subprocess.Popen[bytes]
    line: str

    @property
    def ready(self) -> Mapping[str, Any]:
        ready: Mapping[str, Any] = json.loads(self.line)
        return ready

    def connect(self) -> RawPeer:
        return RawPeer(self.ready["host"], self.ready["port"])

    def end(self, timeout_s: float = WAIT_S) -> tuple[int, bytes, bytes]:
        """Its exit code, and what it said beside its line."""
        out, err = self.process.communicate(timeout=timeout_s)
        return self.process.returncode, out, err


@contextlib.contextmanager
def running(*words: str, stdin: int = subprocess.DEVNULL) -> Iterator[Started]:
    command = [sys.executable, "-m", "amqpd", "testserver", *words]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=ROOT, stdin=stdin, stdout=pipe, stderr=pipe) as child:
        assert child.stdout is not None
        try:
            yield Started(child, child.stdout.readline().decode())
        finally:
            child.kill()


# The line


def test_line_says_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "ready.json"
    with running("--ready-file", str(path)) as broker:
        assert path.read_text() == broker.line
        ready = broker.ready
        assert ready == {
            "url": f"amqp://guest:guest@127.0.0.1:{ready['port']}/%2F",
            "host": "127.0.0.1",
            "port": ready["port"],
            "pid": broker.process.pid,
            "version": amqpd.__version__,
        }
        with broker.connect() as peer:
            peer.login()
        broker.process.terminate()
        assert broker.end() == (0, b"", b"")
    assert list(tmp_path.iterdir()) == []


def test_url_is_what_a_shell_cuts_out() -> None:
    line = testserver.ready_line("127.0.0.1", 5672)
    assert line.split('"')[3] == json.loads(line)["url"]
    assert line.index("\n") == len(line) - 1


@pytest.mark.parametrize(
    ("listens", "host", "in_url"),
    [("0.0.0.0", "127.0.0.1", "127.0.0.1"), ("::", "::1", "[::1]"), ("::1", "::1", "[::1]")],
)
def test_address_is_one_that_can_be_called(listens: str, host: str, in_url: str) -> None:
    ready = json.loads(testserver.ready_line(listens, 5672))
    assert (ready["host"], ready["url"]) == (host, f"amqp://guest:guest@{in_url}:5672/%2F")


def test_nobody_reads_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as stdout:
        monkeypatch.setattr(sys, "stdout", stdout)
        testserver._print("{}\n")
    monkeypatch.setattr(sys, "stdout", None)  # as Python has it when it was closed
    testserver._print("{}\n")


# The end


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_it_whatever_clients_do(number: signal.Signals) -> None:
    with running() as broker, broker.connect() as silent:
        silent.login()
        broker.process.send_signal(number)
        assert broker.end(IN_A_HURRY_S) == (0, b"", b"")
        silent.expect(0, "connection.close", reply_code=320)


def test_clients_are_told_why() -> None:
    with running("--exit-with-parent", stdin=subprocess.PIPE) as broker, broker.connect() as peer:
        peer.login()
        assert broker.process.stdin is not None
        broker.process.stdin.close()
        broker.process.stdin = None
        peer.expect(0, "connection.close", reply_code=320)
        peer.send(0, "connection.close-ok")
        assert broker.end() == (0, b"", b"")


def test_test_runner_that_is_killed(tmp_path: Path) -> None:
    """It takes the broker along, which takes its file along. It left standard input alone, as Go does."""
    path = tmp_path / "ready.json"
    command = [sys.executable, "-m", "amqpd", "testserver", "--exit-with-parent", "--ready-file", str(path)]
    program = "import subprocess, sys, signal; subprocess.Popen(sys.argv[1:]); signal.pause()"
    null, pipe = subprocess.DEVNULL, subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", program, *command], cwd=ROOT, stdin=null, stdout=pipe) as runner:
        assert runner.stdout is not None
        ready = json.loads(runner.stdout.readline())
        broker = os.pidfd_open(ready["pid"])
        try:
            with RawPeer(ready["host"], ready["port"]) as silent:
                silent.login()
                runner.kill()
                assert select.select([broker], [], [], WAIT_S)[0]
        finally:
            runner.kill()
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(broker, signal.SIGKILL)
            os.close(broker)
    assert list(tmp_path.iterdir()) == []


def test_without_the_flag_it_does_not_care() -> None:
    with running(stdin=subprocess.PIPE) as broker, broker.connect() as peer:
        assert broker.process.stdin is not None
        broker.process.stdin.close()
        broker.process.stdin = None
        peer.login()
        broker.process.terminate()
        assert broker.end()[0] == 0


# Settings


def test_plain_testserver_is_in_memory_on_a_free_port(started: list[Settings]) -> None:
    assert exit_code("testserver") == 0
    assert started == [PLAIN]


def test_takes_every_option(started: list[Settings], tmp_path: Path) -> None:
    words = "--host ::1 --port 1 --data-dir d --definitions f.json --control-socket s --log-level info"
    assert exit_code("testserver", *words.split(), "--ready-file", str(tmp_path / "ready"), "--exit-with-parent") == 0
    assert started == [
        Settings(
            host="::1",
            port=1,
            data_dir=Path("d"),
            durability="write",
            definitions="f.json",
            control_socket="s",
            log_level="info",
        )
    ]


def test_variables_of_a_real_broker_are_not_for_us(started: list[Settings], monkeypatch: pytest.MonkeyPatch) -> None:
    """A test must never touch its data."""
    for name, value in {
        "HOST": "0.0.0.0",
        "PORT": "5672",
        "DATA_DIR": "/var/lib/amqpd",
        "DURABILITY": "fsync",
        "DEFINITIONS": "/etc/amqpd.json",
        "CONTROL_SOCKET": "/run/amqpd.sock",
        "LOG_LEVEL": "debug",
    }.items():
        monkeypatch.setenv(f"AMQPD_{name}", value)
    assert exit_code("testserver") == 0
    monkeypatch.delenv("AMQPD_DURABILITY")
    monkeypatch.setenv("AMQPD_MEMORY", "false")
    assert exit_code("testserver") == 0
    assert started == [PLAIN, PLAIN]


def test_all_other_variables_are(started: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "amqpd.toml"
    file.write_text("consumer_timeout_s = 2.5\nport = 5672\n")
    monkeypatch.setenv("AMQPD_CONFIG", str(file))
    monkeypatch.setenv("AMQPD_HEARTBEAT_S", "5")
    assert exit_code("testserver") == 0
    assert started == [Settings(port=0, durability="memory", log_level="error", heartbeat_s=5, consumer_timeout_s=2.5)]


def test_begins_with_definitions(tmp_path: Path) -> None:
    file = tmp_path / "definitions.json"
    queue = {"name": "orders", "vhost": "/", "durable": True, "auto_delete": False, "arguments": {}}
    file.write_text(json.dumps({"queues": [queue]}))
    with running("--definitions", str(file)) as broker, broker.connect() as peer:
        peer.login()
        peer.open_channel(1)
        peer.call(1, "queue.declare", queue="orders", passive=True)


# What goes wrong


@pytest.mark.parametrize("way", ["plain", "typer"])
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--port", "many"], "amqpd: --port: 'many' is not allowed: must be a whole number from 0 to 65535\n"),
        (["--definitions", "none.json"], "amqpd: the definitions none.json cannot be taken, none of them: it cannot"),
        (["--data-dir", __file__], "amqpd: "),
        (["--ready-file", "none/ready"], "amqpd: --ready-file none/ready: No such file or directory\n"),
    ],
)
def test_cannot_start_is_one_line(
    capsys: pytest.CaptureFixture[str], words: list[str], complaint: str, way: str
) -> None:
    assert exit_code("testserver", *words, *(["--"] if way == "typer" else [])) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(complaint)
    assert err.count("\n") == 1


def test_port_that_is_taken(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert exit_code("testserver", "--port", port, "--ready-file", str(tmp_path / "ready")) == 2
    assert "cannot listen on 127.0.0.1:" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_wrong_variable_is_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQPD_HEARTBEAT_S", "often")
    assert exit_code("testserver") == 2
    assert capsys.readouterr().err.startswith("amqpd: AMQPD_HEARTBEAT_S: 'often' is not allowed")


# Words


@pytest.mark.parametrize(
    ("words", "is_plain"),
    [
        ([], True),
        (["--exit-with-parent"], True),
        (["--port", "0", "--ready-file=f", "--exit-with-parent"], True),
        (["--exit-with-parent=1"], False),
        (["--ready-file"], False),
        (["--memory"], False),
        (["--help"], False),
    ],
)
def test_plain_words_mean_what_typer_makes_of_them(
    monkeypatch: pytest.MonkeyPatch, words: list[str], is_plain: bool
) -> None:
    plain = main.read_plain(words, testserver.OPTIONS, testserver.SWITCHES)
    assert (plain is not None) == is_plain
    if is_plain:
        flags = flags_by_typer(monkeypatch, testserver, "testserver", *words)
        assert {name: value for name, value in flags.items() if value} == plain


def test_plain_words_are_those_of_typer() -> None:
    group = typer.main.get_command(commands.app)
    command = group.commands["testserver"]  # type: ignore[attr-defined]  # typer's group is one of click's
    words = {word: option.name for option in command.params for word in option.opts}
    assert words == {**testserver.OPTIONS, **{word: flag for word, (flag, _) in testserver.SWITCHES.items()}}


def test_every_example_in_the_help_is_understood(
    capsys: pytest.CaptureFixture[str], started: list[Settings], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code("testserver", "--help") == 0
    text = capsys.readouterr().out
    assert [word for word in (*testserver.OPTIONS, *testserver.SWITCHES) if f"  {word} " not in text] == []
    examples = [line.split() for line in text.splitlines() if line.startswith("    amqpd testserver")]
    assert len(examples) >= 4
    for words in examples:
        assert exit_code(*words[1:]) == 0
    assert len(started) == len(examples)


def test_help_shows_the_line_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("testserver", "--help") == 0
    text = capsys.readouterr().out
    shown = json.loads(text[text.index("{") : text.index("}") + 1])
    assert list(shown) == list(json.loads(testserver.ready_line("127.0.0.1", 5672)))


def test_starts_without_what_it_does_not_need() -> None:
    loaded = modules_loaded("testserver", "--port", "nowhere", code=2)
    assert "amqpd.process" in loaded
    assert loaded & {"typer", "rich", "pydantic", "tomllib", "difflib"} == set()
