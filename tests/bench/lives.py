"""A broker with several lives on one data directory: started, filled, stopped or killed, started again."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.bench import loadgen
from tests.bench.broker import Peer, PeerError, Stop, clean_environment, free_port, tail

START_TIMEOUT_S: Final = 300.0
STOP_TIMEOUT_S: Final = 120.0
LOOK_S: Final = 0.05


@dataclass(frozen=True, slots=True)
class Ready:
    """From just before the process was started."""

    handshake_ms: float  # the first complete one
    counted_ms: float  # the first passive declare that reports what is waiting
    message_count: int


class Lives:
    """A peer on a directory of its own; at the end of the ``with`` block nothing of it is left."""

    def __init__(self, peer: Peer, parent: Path, amqpload: Path) -> None:
        self.peer = peer
        self.port = free_port()
        self._amqpload = amqpload
        self._parent = Path(tempfile.mkdtemp(prefix=f"{peer.name.replace('@', '-')}-", dir=parent))
        self.directory = self._parent / "data"
        self.directory.mkdir()
        self._output = self._parent / "output"
        self._launch = peer.launch(self.directory, self.port)
        self._process: subprocess.Popen[bytes] | None = None
        self._helpers: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process in [*self._helpers, *([self._process] if self._process else [])]:
            _kill_group(process)
        shutil.rmtree(self._parent, ignore_errors=True)

    @property
    def running(self) -> bool:
        return self._process is not None

    @property
    def pid(self) -> int:
        assert self._process is not None, "it is not running"
        return self._process.pid

    def start(self, expected_count: int = 0) -> Ready:
        """Returns once so many messages are reported to be waiting in amqpload's durable queue."""
        if not self._helpers:
            self._helpers = [self._spawn(helper) for helper in self._launch.helpers]
        since_ns = time.time_ns()
        self._process = self._spawn(self._launch.command)
        options = ["--await", str(expected_count), "--since", str(since_ns), "--durable", "--json"]
        with subprocess.Popen(
            [str(self._amqpload), "--port", str(self.port), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as waiting:
            try:
                figures = self._await(waiting)
            finally:
                waiting.kill()
        self.peer.started(self.output())
        return Ready(figures["handshake_ms"], figures["ready_ms"], figures["message_count"])

    def stop(self) -> Stop:
        """SIGTERM, as an operator would."""
        assert self._process is not None, "it is not running"
        since = time.monotonic()
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(STOP_TIMEOUT_S)
        stop = Stop(time.monotonic() - since, self._process.poll())
        _kill_group(self._process)
        self._process = None
        return stop

    def kill(self) -> None:
        """SIGKILL for all of its processes."""
        assert self._process is not None, "it is not running"
        _kill_group(self._process)
        self._process = None

    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def check(self) -> None:
        """Raises if it has ended by itself."""
        if self._process is not None and (status := self._process.poll()) is not None:
            raise PeerError(f"{self.peer.name} exited with status {status}: {tail(self.output())}")

    def _await(self, waiting: subprocess.Popen[str]) -> loadgen.Figures:
        until = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                stdout, stderr = waiting.communicate(timeout=LOOK_S)
            except subprocess.TimeoutExpired:
                self.check()
                if time.monotonic() > until:
                    raise PeerError(f"not ready within {START_TIMEOUT_S:.0f} s: {tail(self.output())}") from None
                continue
            outcome = loadgen.parse(waiting.returncode, stdout, stderr)
            if outcome.message:
                raise PeerError(f"did not start: {outcome.message}")
            return outcome.figures

    def _spawn(self, command: list[str]) -> subprocess.Popen[bytes]:
        with self._output.open("ab") as output:
            return subprocess.Popen(
                command,
                cwd=self._parent,
                env=clean_environment() | self._launch.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # so that all it started can be ended with it
            )


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
