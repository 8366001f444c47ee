"""A broker process from its start to its stop, and what a kind of broker must provide for that.

Readiness is asked of every peer alike, by amqpload's handshake, so that start times compare.
"""

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.bench import loadgen

START_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 60.0
# Below the ephemeral ports: a client that keeps trying an ephemeral port nobody listens on yet may meet itself.
PORTS: Final = range(20_000, 32_000)


class PeerError(Exception):
    """A peer cannot be made ready or does not start; the text says why."""


@dataclass(frozen=True, slots=True)
class Launch:
    command: list[str]
    environment: dict[str, str]
    helpers: list[list[str]] = field(default_factory=list)  # processes it needs beside it, started before


class Peer(ABC):
    """A kind of broker; ``confirm`` says what its confirm of a persistent message promises."""

    name: str
    confirm: str
    version: str  # known once it was prepared or, where only the broker tells, has started

    @abstractmethod
    def launch(self, directory: Path, port: int) -> Launch: ...

    def started(self, output: str) -> None:
        """What it printed while it started."""


class Broker:
    """A started peer; ``ready_ms`` runs from just before its process was started to the first complete handshake."""

    def __init__(self, peer: Peer, parent: Path, amqpload: Path) -> None:
        self._directory = Path(tempfile.mkdtemp(prefix=f"{peer.name.replace('@', '-')}-", dir=parent))
        self._output = self._directory / "output"
        data = self._directory / "data"
        data.mkdir()
        self.port = free_port()
        launch = peer.launch(data, self.port)
        self._helpers = [self._spawn(helper, launch.environment) for helper in launch.helpers]
        since_ns = time.time_ns()
        self._process = self._spawn(launch.command, launch.environment)
        self.pid = self._process.pid
        try:
            self.ready_ms = self._await(amqpload, since_ns)
        except BaseException:
            self.stop()
            raise
        peer.started(self.output())

    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def exit_status(self) -> int | None:
        return self._process.poll()

    def stop(self) -> "Stop":
        """SIGTERM, as an operator would; whatever is left after that is killed."""
        since = time.monotonic()
        with contextlib.suppress(ProcessLookupError):
            self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT_S)
        stop = Stop(time.monotonic() - since, self._process.poll())
        for process in (self._process, *self._helpers):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        shutil.rmtree(self._directory, ignore_errors=True)
        return stop

    def idle(self, seconds: float) -> None:
        """Let it be for that long; raises if it does not live through that."""
        try:
            status = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return
        raise PeerError(f"exited with status {status} while idle: {tail(self.output())}")

    def _spawn(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with self._output.open("ab") as output:
            return subprocess.Popen(
                command,
                cwd=self._directory,
                env=clean_environment() | environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # so that all it started can be ended with it
            )

    def _await(self, amqpload: Path, since_ns: int) -> float:
        command = [str(amqpload), "--port", str(self.port), "--await", "0", "--since", str(since_ns), "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as waiting:
            until = time.monotonic() + START_TIMEOUT_S
            while True:
                try:
                    stdout, stderr = waiting.communicate(timeout=0.1)
                except subprocess.TimeoutExpired:
                    status = self.exit_status()
                    if status is None and time.monotonic() < until:
                        continue
                    waiting.kill()
                    why = "no handshake in time" if status is None else f"exit status {status}"
                    raise PeerError(f"did not start, {why}: {tail(self.output())}") from None
                outcome = loadgen.parse(waiting.returncode, stdout, stderr)
                if outcome.message:
                    raise PeerError(f"did not start: {outcome.message}")
                return float(outcome.figures["ready_ms"])


@dataclass(frozen=True, slots=True)
class Stop:
    seconds: float
    status: int | None  # None: it had to be killed


def free_port() -> int:
    for port in random.sample(PORTS, len(PORTS)):
        with socket.socket() as trial, contextlib.suppress(OSError):
            trial.bind(("127.0.0.1", port))
            return port
    raise PeerError(f"no free port from {PORTS.start} to {PORTS.stop}")


def tail(output: str) -> str:
    return " / ".join(line.strip() for line in output.strip().splitlines()[-3:]) or "it printed nothing"


def clean_environment() -> dict[str, str]:
    """Ours, without what would configure a broker."""
    foreign = ("AMQPD_", "RABBITMQ_", "ERL_", "PYTHON")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
