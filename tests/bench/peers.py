"""The brokers measured: how each is made ready, started on an empty directory of its own, and stopped.

amqpd is measured twice from one snapshot of the checkout, so that an edit while the benchmark runs cannot reach only
one of them: as the compiled wheel that users install, and as plain source.
"""

import compileall
import re
import secrets
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Final

from tests.bench.broker import Launch, Peer, PeerError, clean_environment, free_port
from tests.bench.machine import REPOSITORY, git

COMPILED: Final = "amqpd"
PURE: Final = "amqpd-pure"
RABBITMQ: Final = "rabbitmq"
PEERS: Final = (COMPILED, PURE, RABBITMQ)
AGAINST: Final = "amqpd@"  # and the commit that another compiled amqpd was built of

WHEEL: Final = "wheel"
UNPACKED: Final = "unpacked"
BUILD_OUTPUT_LINES: Final = 100
RABBITMQ_SCRIPTS: Final = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server")


class Amqpd(Peer):
    confirm = "after the LMDB transaction that holds the message is committed with fsync"

    def __init__(self, name: str, import_path: Path, *, compiled: bool) -> None:
        self.name = name
        self._environment = {"PYTHONPATH": str(import_path)}
        self.version = self._check(import_path, compiled=compiled)

    def launch(self, directory: Path, port: int) -> Launch:
        where = ["--data-dir", str(directory), "--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
        return Launch([sys.executable, "-m", "amqpd", "serve", *where], self._environment)

    def _check(self, import_path: Path, *, compiled: bool) -> str:
        compileall.compile_dir(import_path, quiet=2)  # as pip does on installing
        version = _output([sys.executable, "-m", "amqpd", "version"], import_path, self._environment).strip()
        if bool(re.search(r"(?<!not )\bcompiled\b", version)) != compiled:
            expected = "compiled" if compiled else "pure"
            raise PeerError(f"{self.name} should be {expected}, but `python -m amqpd version` printed: {version!r}")
        return ", ".join(version.splitlines())


class RabbitMQ(Peer):
    """A node with its own name, cookie, ports, epmd and directories; defaults but for the log level."""

    name = RABBITMQ
    confirm = "after an fsync; classic queues of version 1 fsync in batches, so a window shares one"

    def __init__(self) -> None:
        scripts = [script for script in map(shutil.which, RABBITMQ_SCRIPTS) if script]
        if not scripts or not shutil.which("epmd"):
            raise PeerError("rabbitmq-server and epmd are not installed: leave rabbitmq out of --peers")
        self._script = scripts[0]
        self.version = "unknown"

    def launch(self, directory: Path, port: int) -> Launch:
        configuration = directory / "rabbitmq.conf"
        configuration.write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\nlog.file.level = warning\n")
        enabled_plugins = directory / "enabled_plugins"
        enabled_plugins.write_text("[].\n")
        epmd_port = str(free_port())
        environment = {
            "HOME": str(directory),
            "RABBITMQ_NODENAME": f"bench{secrets.token_hex(4)}@localhost",
            "RABBITMQ_CONF_ENV_FILE": str(directory / "none.conf"),
            "RABBITMQ_CONFIG_FILE": str(configuration),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(enabled_plugins),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "ERL_EPMD_PORT": epmd_port,
            "ERL_EPMD_ADDRESS": "127.0.0.1",
        }
        # An epmd that Erlang starts would outlive the node; this one is a child of ours.
        return Launch([self._script], environment, [["epmd", "-port", epmd_port, "-address", "127.0.0.1"]])

    def started(self, output: str) -> None:
        facts = re.search(r"RabbitMQ (\S+)", output), re.search(r"Erlang:\s+(.+?)(?: \[(jit)\])?\s*\n", output)
        if facts[0] and facts[1]:
            with_jit = " with JIT" if facts[1].group(2) else ""
            self.version = f"RabbitMQ {facts[0].group(1)}, Erlang {facts[1].group(1)}{with_jit}"


def prepare(names: list[str], against: str, workshop: Path, built: Path | None = None) -> list[Peer]:
    """The peers by name, built where that is needed; ``against`` adds the compiled amqpd of another commit, ``built``
    holds the compiled amqpd of this one already.
    """
    checkout = _snapshot("", workshop / "checkout")
    peers: list[Peer] = []
    for name in names:
        if name == COMPILED:
            wheel = built.resolve() if built else _wheel(checkout, workshop / WHEEL)
            peers.append(Amqpd(name, wheel, compiled=True))
        elif name == PURE:
            peers.append(Amqpd(name, checkout, compiled=False))
        elif name == RABBITMQ:
            peers.append(RabbitMQ())
        else:
            raise PeerError(f"unknown peer {name!r}: choose from {', '.join(PEERS)}")
    if against:
        source = _snapshot(against, workshop / "against")
        peers.append(Amqpd(f"{AGAINST}{against}", _wheel(source, workshop / "against-wheel"), compiled=True))
    return peers


def built_in(workshop: Path) -> Path:
    """Where the compiled amqpd is that was built there."""
    return workshop / WHEEL / UNPACKED


def _snapshot(reference: str, target: Path) -> Path:
    """The source of a commit, or without one as it lies in the checkout."""
    target.mkdir()
    if not reference:
        for path in git("ls-files", "--cached", "--others", "--exclude-standard").splitlines():
            source = REPOSITORY / path
            if source.is_file() and not path.startswith(("tests/", "interop/")):
                (target / path).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(source, target / path)
        return target
    archive = target / "source.zip"
    command = ["git", "archive", "--format=zip", f"--output={archive}", reference]
    if subprocess.run(command, cwd=REPOSITORY, check=False).returncode != 0:
        raise PeerError(f"git knows no commit {reference!r}")
    with zipfile.ZipFile(archive) as packed:
        packed.extractall(target)
    return target


def _wheel(snapshot: Path, target: Path) -> Path:
    """The unpacked wheel; built from a copy, as a build leaves its traces beside the source."""
    source = target / "source"
    shutil.copytree(snapshot, source)
    command = [sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "--quiet", "--wheel-dir", str(target)]
    _output(command, source, {"AMQPD_PURE": "0"})  # fail rather than build it interpreted
    (wheel,) = target.glob("*.whl")
    with zipfile.ZipFile(wheel) as packed:
        packed.extractall(target / UNPACKED)
    return target / UNPACKED


def _output(command: list[str], directory: Path, environment: dict[str, str]) -> str:
    done = subprocess.run(
        command, cwd=directory, env=clean_environment() | environment, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        said = "\n".join((done.stdout + done.stderr).splitlines()[-BUILD_OUTPUT_LINES:])
        raise PeerError(f"{' '.join(command)} ended with status {done.returncode}:\n{said}")
    return done.stdout
