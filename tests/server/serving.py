"""``amqpd serve`` in a child process, under a test's control: signals, limits, exit code, memory and CPU time."""

import contextlib
import os
import re
import resource
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tests.support.raw_peer import RawPeer

ROOT: Final = Path(__file__).resolve().parents[2]
READY_TIMEOUT_S: Final = 15.0
EXIT_TIMEOUT_S: Final = 10.0
POLL_S: Final = 0.01
URL: Final = re.compile(r"amqp://(\[[^\]]+\]|[^:/]+):(\d+)/")


class NotReady(AssertionError):
    """No ready line came; the message holds the exit code and what was said on stderr."""


class Served:
    """One run of ``amqpd serve``. ``directory`` takes its stderr; ``memory`` or a ``data_dir`` is among the options."""

    def __init__(
        self,
        directory: Path,
        *options: str,
        environ: dict[str, str] | None = None,
        before_exec: Callable[[], None] | None = None,
        port: int = 0,
    ) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self.log_path = directory / "stderr.txt"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("AMQPD_")}
        with self.log_path.open("ab") as stderr:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "amqpd", "serve", "--port", str(port), *options],
                cwd=ROOT,
                env={**inherited, "PYTHONUNBUFFERED": "1", **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
                preexec_fn=before_exec,
            )
        self.ready_line = ""
        self.addresses: list[tuple[str, int]] = []
        self.peers: list[RawPeer] = []  # those of connect and login; dropped with the broker

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def port(self) -> int:
        return self.addresses[0][1]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.kill()

    def wait_ready(self, timeout_s: float = READY_TIMEOUT_S) -> Self:
        """Until the ready line is there. Raises NotReady."""
        until = time.monotonic() + timeout_s
        stdout = self.process.stdout
        assert stdout is not None
        said = b""
        while not said.endswith(b"\n"):
            left = until - time.monotonic()
            readable = select.select([stdout], [], [], max(left, 0.0))[0]
            chunk = os.read(stdout.fileno(), 4096) if readable else b""
            if not chunk:
                code = self.process.wait(EXIT_TIMEOUT_S) if readable else None
                raise NotReady(f"no ready line within {timeout_s} s, exit code {code}, said {said!r}\n{self.log()}")
            said += chunk
        self.ready_line = said.decode()
        self.addresses = [(host.strip("[]"), int(port)) for host, port in URL.findall(self.ready_line)]
        return self

    def connect(self, index: int = 0) -> RawPeer:
        """A peer that said nothing yet."""
        self.peers.append(RawPeer(*self.addresses[index]))
        return self.peers[-1]

    def login(self, channel: int = 1) -> RawPeer:
        """A peer that is logged in and has a channel open."""
        peer = self.connect()
        peer.login()
        peer.open_channel(channel)
        return peer

    def log(self) -> str:
        return self.log_path.read_text(encoding="utf-8", errors="replace")

    def wait_log(self, pattern: str, timeout_s: float = 5.0) -> re.Match[str]:
        """The first place of the log that matches, as soon as there is one."""
        until = time.monotonic() + timeout_s
        while True:
            found = re.search(pattern, self.log(), re.MULTILINE)
            if found:
                return found
            if time.monotonic() > until:
                raise AssertionError(f"the log says nothing like {pattern!r}:\n{self.log()}")
            time.sleep(POLL_S)

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def wait_exit(self, timeout_s: float = EXIT_TIMEOUT_S) -> int:
        return self.process.wait(timeout_s)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait_exit()

    def kill(self) -> None:
        """SIGKILL, to all it started; nothing happens when it has gone already."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(EXIT_TIMEOUT_S)
        if self.process.stdout is not None:
            self.process.stdout.close()
        for peer in self.peers:
            peer.abort()

    def limit(self, which: int, soft: int) -> None:
        """Change a resource limit of the running broker; the hard limit stays, so that it can be raised again."""
        _, hard = resource.prlimit(self.pid, which)
        resource.prlimit(self.pid, which, (soft, hard))

    def fill_disk(self) -> None:
        """Nothing fits behind the first 8 KiB of any file: those of the store are larger, the log is smaller."""
        self.limit(resource.RLIMIT_FSIZE, 8192)

    def empty_disk(self) -> None:
        self.limit(resource.RLIMIT_FSIZE, resource.RLIM_INFINITY)

    def rss_bytes(self) -> int:
        """Resident memory that is its own: the map of the store's file counts as the kernel's cache."""
        for line in Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no RssAnon in /proc")

    def cpu_s(self) -> float:
        """User and system time so far."""
        words = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def served(directory: Path, *options: str, environ: dict[str, str] | None = None) -> Iterator[Served]:
    """A broker that is ready, in memory unless the options name a data directory; killed at the end."""
    where = () if "--data-dir" in options else ("--memory",)
    with Served(directory, *where, *options, environ=environ) as broker:
        yield broker.wait_ready()


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 5.0) -> None:
    """Ask until it is so. Raises AssertionError."""
    until = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < until, f"not within {timeout_s} s: {what}"
        time.sleep(POLL_S)
