"""Brokers for tests: ours in a child process, a RabbitMQ node as the reference, or one that runs somewhere already.

``AMQPD_TEST_TARGET`` chooses: unset is amqpd, ``rabbitmq`` a private node, ``host:port`` whatever listens there.
"""

import contextlib
import os
import queue
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Final

from tests.support.raw_peer import PeerError, RawPeer

READY_TIMEOUT_S: Final = 10.0
RABBITMQ_READY_TIMEOUT_S: Final = 60.0
STOP_TIMEOUT_S: Final = 5.0
ROOT: Final = Path(__file__).resolve().parents[2]
RABBITMQ_SCRIPTS: Final = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server")


@dataclass(slots=True)
class Broker:
    """Where it listens, and what it said on stderr if we started it."""

    host: str
    port: int
    kind: str  # "amqpd" or "rabbitmq"
    stderr: list[str] = field(default_factory=list)
    kill: Callable[[], None] = lambda: None  # SIGKILL, for tests of crashes

    def connect(self) -> RawPeer:
        return RawPeer(self.host, self.port)


def running_broker(directory: Path) -> contextlib.AbstractContextManager[Broker]:
    """The broker that the environment asks for; ``directory`` is for what it leaves behind."""
    target = os.environ.get("AMQPD_TEST_TARGET", "")
    if target in ("", "amqpd"):
        return amqpd()
    if target == "rabbitmq":
        return rabbitmq(directory)
    return already_running(target)


@contextlib.contextmanager
def already_running(address: str) -> Iterator[Broker]:
    host, _, port = address.rpartition(":")
    with RawPeer(host, int(port)) as peer:
        product = peer.start()["server_properties"].get("product")
    yield Broker(host, int(port), "rabbitmq" if product == "RabbitMQ" else "amqpd")


@contextlib.contextmanager
def amqpd(data_dir: Path | None = None, *options: str) -> Iterator[Broker]:
    """``amqpd serve`` on a free port, in memory unless a directory is given; ready when it says so on stdout."""
    where = ["--memory"] if data_dir is None else ["--data-dir", str(data_dir)]
    command = [sys.executable, "-m", "amqpd", "serve", *where, "--host", "127.0.0.1", "--port", "0", *options]
    with _child(command, {"PYTHONUNBUFFERED": "1"}) as (process, stdout, stderr):
        pattern = re.compile(r"amqp://127\.0\.0\.1:(\d+)")
        port = int(_wait_for_line(process, stdout, stderr, pattern, READY_TIMEOUT_S).group(1))
        yield Broker("127.0.0.1", port, "amqpd", stderr, process.kill)


@contextlib.contextmanager
def rabbitmq(directory: Path) -> Iterator[Broker]:
    """A RabbitMQ node with its own name, ports, epmd and data."""
    script = next(filter(None, map(shutil.which, RABBITMQ_SCRIPTS)), None)
    if script is None:
        raise RuntimeError("AMQPD_TEST_TARGET=rabbitmq, but rabbitmq-server is not installed")
    port, dist_port, epmd_port = _free_ports(3)
    environment = {
        "HOME": str(directory),
        "RABBITMQ_NODENAME": f"conformance{secrets.token_hex(4)}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(dist_port),
        "ERL_EPMD_PORT": str(epmd_port),
        "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
        "RABBITMQ_LOG_BASE": str(directory / "log"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "enabled_plugins"),
    }
    with _child([script], environment) as (process, _, stderr):
        _wait_for_port(process, stderr, port)
        yield Broker("127.0.0.1", port, "rabbitmq", stderr, process.kill)


@contextlib.contextmanager
def _child(
    command: list[str], environment: dict[str, str]
) -> Iterator[tuple[subprocess.Popen[str], "queue.Queue[str]", list[str]]]:
    """A process in a session of its own, so that all it started can be ended with it; its output is always read."""
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    stdout: queue.Queue[str] = queue.Queue()
    stderr: list[str] = []
    assert process.stdout is not None
    assert process.stderr is not None
    readers = [_reader(process.stdout, stdout.put), _reader(process.stderr, stderr.append)]
    try:
        yield process, stdout, stderr
    finally:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_TIMEOUT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(STOP_TIMEOUT_S)
        for reader in readers:
            reader.join(STOP_TIMEOUT_S)
        process.stdout.close()
        process.stderr.close()


def _reader(stream: IO[str], take: Callable[[str], None]) -> threading.Thread:
    def read() -> None:
        with contextlib.suppress(ValueError):  # closed under our hands: a grandchild outlives the process
            for line in stream:
                take(line)

    thread = threading.Thread(target=read, daemon=True)
    thread.start()
    return thread


def _wait_for_line(
    process: subprocess.Popen[str],
    stdout: "queue.Queue[str]",
    stderr: list[str],
    pattern: re.Pattern[str],
    timeout_s: float,
) -> re.Match[str]:
    until = time.monotonic() + timeout_s
    seen: list[str] = []
    while time.monotonic() < until:
        with contextlib.suppress(queue.Empty):
            seen.append(stdout.get(timeout=0.05))
            if found := pattern.search(seen[-1]):
                return found
            continue
        if process.poll() is not None:
            break
    raise RuntimeError(f"no ready line, exit status {process.poll()}: {''.join(seen)}\n{''.join(stderr)}")


def _wait_for_port(process: subprocess.Popen[str], stderr: list[str], port: int) -> None:
    until = time.monotonic() + RABBITMQ_READY_TIMEOUT_S
    while time.monotonic() < until and process.poll() is None:
        with contextlib.suppress(OSError, PeerError), RawPeer("127.0.0.1", port) as peer:
            peer.login()
            peer.close()
            return
        time.sleep(0.1)
    raise RuntimeError(f"RabbitMQ did not start, exit status {process.poll()}: {''.join(stderr)}")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
