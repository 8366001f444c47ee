"""The recipes of docs/testserver.md start a broker from another language, and leave none behind."""

import contextlib
import json
import os
import re
import select
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from interop.brokers import ROOT, shakes_hands
from tests.docs.pages import DOCS, blocks

PAGE = DOCS / "testserver.md"
RECIPES = ROOT / "interop" / "testserver"
LANGUAGES = {"java": "java", "go": "go", "js": "node", "sh": "shell"}  # of blocks -> directories
WAIT_S = 20.0
BUILD_TIMEOUT_S = 300  # Go compiles its library the first time

JARS = Path("/usr/share/java")
JUNIT = (
    "apiguardian-api junit-jupiter-api junit-jupiter-engine junit-platform-commons junit-platform-console"
    " junit-platform-engine junit-platform-launcher junit-platform-reporting opentest4j opentest4j-reporting-events"
    " opentest4j-reporting-schema picocli"
)
CLASSPATH = [JARS / f"{name}.jar" for name in f"amqp-client slf4j-api slf4j-nop {JUNIT}".split()]
GO_LIBRARY = Path("/usr/share/gocode")
NODE_LIBRARIES = "/usr/lib/node_modules:/usr/local/lib/node_modules:/usr/share/nodejs"


class Machine:
    """A directory with a copy of one recipe, and an ``amqpd`` on PATH that notes which processes it was."""

    def __init__(self, directory: Path, recipe: str) -> None:
        self.directory = directory / "recipe"
        self.scratch = directory
        self.numbers = directory / "numbers"
        shutil.copytree(RECIPES / recipe, self.directory)
        commands = directory / "bin"
        commands.mkdir()
        amqpd = commands / "amqpd"
        amqpd.write_text(f'#!/bin/sh\necho $$ >> {self.numbers}\nexec {sys.executable} -m amqpd "$@"\n')
        amqpd.chmod(0o700)
        self.environment = {**os.environ, "PATH": f"{commands}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def run(self, *command: str, **environment: str) -> str:
        """What a command prints that has to succeed."""
        done = self.try_to(*command, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def try_to(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.directory,
            env=self.environment | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=BUILD_TIMEOUT_S,
            check=False,
        )

    def assert_one_broker_ended(self) -> None:
        (number,) = self.numbers.read_text().split()
        with contextlib.suppress(ProcessLookupError):  # gone already
            broker = os.pidfd_open(int(number))
            try:
                assert select.select([broker], [], [], WAIT_S)[0], "the broker is left behind"
            finally:
                os.close(broker)


def need(*commands: str, files: list[Path] | None = None, packages: str) -> None:
    missing = [name for name in commands if not shutil.which(name)] + [
        path.name for path in files or [] if not path.exists()
    ]
    if missing:
        pytest.skip(f"there is no {missing[0]}; Debian: apt-get install {packages}")


def test_page_shows_the_recipes_as_they_are() -> None:
    shown = {(LANGUAGES[block.language], block.text) for block in blocks(PAGE) if block.language in LANGUAGES}
    there = {(path.parent.name, path.read_text("utf-8")) for path in RECIPES.rglob("*.*")}
    assert shown == there


@pytest.mark.slow
@pytest.mark.timeout(BUILD_TIMEOUT_S)
def test_java(tmp_path: Path) -> None:
    need("javac", files=CLASSPATH, packages="openjdk-17-jdk-headless junit5 librabbitmq-client-java")
    machine = Machine(tmp_path, "java")
    classpath = ":".join([".", *map(str, CLASSPATH)])
    machine.run("javac", "-cp", classpath, "Amqpd.java", "OrdersTest.java")
    words = ["-cp", classpath, "org.junit.platform.console.ConsoleLauncher", "--select-class", "OrdersTest"]
    assert "1 tests successful" in machine.run("java", *words)
    machine.assert_one_broker_ended()


@pytest.mark.slow
@pytest.mark.timeout(BUILD_TIMEOUT_S)
def test_go(tmp_path: Path) -> None:
    client = GO_LIBRARY / "src/github.com/rabbitmq/amqp091-go"
    need("go", files=[client], packages="golang-go golang-github-rabbitmq-amqp091-go-dev")
    machine = Machine(tmp_path, "go")
    place = tmp_path / "src" / "orders"
    place.parent.mkdir()
    place.symlink_to(machine.directory)
    environment = {"GO111MODULE": "off", "CGO_ENABLED": "0", "GOPATH": f"{tmp_path}:{GO_LIBRARY}"}
    assert "--- PASS: TestAnOrderArrives" in machine.run("go", "test", "-count=1", "-v", "orders", **environment)
    machine.assert_one_broker_ended()


@pytest.mark.slow
def test_node(tmp_path: Path) -> None:
    need("node", packages="nodejs npm && npm install -g amqplib")
    machine = Machine(tmp_path, "node")
    libraries = os.environ.get("NODE_PATH", NODE_LIBRARIES)
    if machine.try_to("node", "-e", "require('amqplib')", NODE_PATH=libraries).returncode:
        pytest.skip("there is no amqplib; npm install -g amqplib")
    assert "# pass 1\n" in machine.run("node", "--test", "--test-reporter=tap", NODE_PATH=libraries)
    machine.assert_one_broker_ended()


def test_shell(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "shell")
    done = machine.try_to("sh", "with-broker.sh", "sh", "-c", 'echo "$AMQP_URL"; exit 3', TMPDIR=str(tmp_path))
    assert done.returncode == 3
    assert re.fullmatch(r"amqp://guest:guest@127\.0\.0\.1:\d+/%2F\n", done.stdout)
    machine.assert_one_broker_ended()
    assert {path.name for path in tmp_path.iterdir()} == {"bin", "numbers", "recipe"}


def test_shell_says_why_there_is_no_broker(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "shell")
    done = machine.try_to("sh", "with-broker.sh", "echo", "never", TMPDIR=str(tmp_path), AMQPD_HEARTBEAT_S="often")
    assert (done.returncode, done.stdout) == (1, "")
    assert "amqpd: AMQPD_HEARTBEAT_S: 'often' is not allowed" in done.stderr


def test_virtual_host_for_each_test(tmp_path: Path) -> None:
    (shown,) = [block.text for block in blocks(PAGE) if "add_vhost" in block.text]
    commands = [line.removeprefix("$ ") for line in shown.splitlines()]
    machine = Machine(tmp_path, "shell")
    before = ["amqpd testserver --control-socket broker.sock --exit-with-parent --ready-file ready > log &"]
    before += ["until [ -e ready ]; do sleep 0.05; done"]
    machine.run("sh", "-e", "-c", "\n".join(before + commands))
    assert len(commands) == 4


def ci_commands(word: str) -> str:
    """What the page has a CI system run from the start of the broker to its address."""
    (block,) = [block for block in blocks(PAGE) if block.language == "yaml" and word in block.text]
    lines = [line.strip().removeprefix("- ") for line in block.text.splitlines()]
    return "\n".join(line for line in lines if re.match("amqpd|timeout|echo|export", line)) + "\n"


def test_github_actions(tmp_path: Path) -> None:
    """The shell of the step is gone, and the broker is there for the next one."""
    machine = Machine(tmp_path, "shell")
    variables = tmp_path / "variables"
    outer = {"RUNNER_TEMP": str(tmp_path), "GITHUB_ENV": str(variables)}
    step = ["bash", "-e", "-c", ci_commands("GITHUB_ENV")]
    null = subprocess.DEVNULL  # a pipe would be waited for as long as the broker runs
    subprocess.run(step, check=True, timeout=WAIT_S, env=machine.environment | outer, stdin=null, stdout=null)
    ready = json.loads((tmp_path / "amqpd").read_text())
    try:
        assert variables.read_text() == f"AMQP_URL={ready['url']}\n"
        assert shakes_hands(ready["host"], ready["port"])
    finally:
        os.kill(ready["pid"], signal.SIGTERM)
    machine.assert_one_broker_ended()


def test_gitlab(tmp_path: Path) -> None:
    """The shell of the job goes on, and takes the broker along."""
    machine = Machine(tmp_path, "shell")
    job = ci_commands("before_script") + 'echo "$AMQP_URL"\n'
    url = urlsplit(machine.run("bash", "-e", "-c", job).strip())
    assert url.port
    machine.assert_one_broker_ended()
    assert not shakes_hands("127.0.0.1", url.port)
