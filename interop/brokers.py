"""Starts the brokers that interop scenarios talk to: amqpd from this checkout, or a private RabbitMQ node.

Owns processes, ports and scratch directories, and gives back every one of them. Knows no client: readiness is one
AMQP 0-9-1 handshake (protocol header out, connection.start in) over a plain socket.

    with find_broker("amqpd") as broker:
        print(broker.url)               # amqp://guest:guest@127.0.0.1:54321/%2F
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
LOOPBACK = "127.0.0.1"
START_TIMEOUT_S = 60.0  # a cold RabbitMQ node on a busy machine takes half of it
STOP_TIMEOUT_S = 20.0
POLL_S = 0.05
LOG_TAIL_LINES = 40

_PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
_CONNECTION_START = struct.pack(">HH", 10, 10)  # class and method
_METHOD_ID_SLICE = slice(7, 11)  # after type, channel and size of the frame
_READY_LINE = re.compile(r"amqp://(?:[^@/\s]*@)?(?P<host>[^:/\s]+):(?P<port>\d+)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
# The distribution's rabbitmq-server on PATH may be a wrapper that changes user and directory; the script is not.
_RABBITMQ_SCRIPTS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "/opt/rabbitmq/sbin/rabbitmq-server")

# What comes with RabbitMQ and adds exchange types.
_RABBITMQ_PLUGINS = (
    "rabbitmq_consistent_hash_exchange",
    "rabbitmq_random_exchange",
    "rabbitmq_recent_history_exchange",
    "rabbitmq_sharding",
)


class BrokerFailed(Exception):
    """A broker did not start, or died; the message ends with the last lines of its log."""


class Broker(ABC):
    """A broker that runs while the `with` block does."""

    name: str

    def __init__(self) -> None:
        self.host = LOOPBACK
        self.port = 0  # known once started

    @property
    def url(self) -> str:
        """Where clients connect, the virtual host spelt out because clients disagree about a bare slash."""
        return f"amqp://guest:guest@{self.host}:{self.port}/%2F"

    @abstractmethod
    def is_installed(self) -> bool:
        """Whether there is a program to start; brokers that are not installed are reported, never passed."""

    @abstractmethod
    def start(self) -> None:
        """Return once the broker shakes hands; raise BrokerFailed otherwise."""

    @abstractmethod
    def stop(self) -> None:
        """End what start() began. Safe to call twice."""

    @abstractmethod
    def log_tail(self, line_count: int = LOG_TAIL_LINES) -> str:
        """The last lines the broker wrote, for failure reports; still there after stop()."""

    def control(self, *words: str) -> str:
        """What rabbitmqctl, or amqpd ctl, prints for these words; raises BrokerFailed with what it complains of."""
        raise BrokerFailed(f"{self.name} was started by somebody else, and is not ours to control")

    def forget(self, vhosts: Iterable[str]) -> None:
        """These virtual hosts are not needed any more; nothing to do where they cost nothing."""

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class RunningBroker(Broker):
    """A broker somebody else started, named by its URL."""

    def __init__(self, url: str) -> None:
        super().__init__()
        parts = urlsplit(url)
        self.name = parts.netloc.rpartition("@")[2]
        self.host = parts.hostname or LOOPBACK
        self.port = parts.port or 5672
        self._url = url

    @property
    def url(self) -> str:
        return self._url

    def is_installed(self) -> bool:
        return True

    def start(self) -> None:
        if not shakes_hands(self.host, self.port):
            raise BrokerFailed(f"nothing speaks AMQP 0-9-1 at {self.host}:{self.port}")

    def stop(self) -> None:
        """Not ours to stop."""

    def log_tail(self, line_count: int = LOG_TAIL_LINES) -> str:
        return f"the log of {self.name} is kept where it runs"


class ProcessBroker(Broker):
    """A broker in a child process with a scratch directory; subclasses say how to start and when it is ready."""

    def __init__(self) -> None:
        super().__init__()
        self._process: subprocess.Popen[bytes] | None = None
        self._directory: Path | None = None
        self._last_log = ""  # kept after stop(), when the directory is gone

    @property
    def directory(self) -> Path:
        """The scratch directory, there from start() to stop()."""
        assert self._directory is not None, f"{self.name} is not running"
        return self._directory

    def start(self) -> None:
        assert self._process is None, f"{self.name} runs already"
        self._directory = Path(tempfile.mkdtemp(prefix=f"interop-{self.name}-"))
        self.port = 0
        self._launch()
        self._wait_for(self._is_ready, "did not get ready")

    def stop(self) -> None:
        if self._process is not None:
            _end_process_group(self._process)
            self._process = None
        if self._directory is not None:
            self._last_log = self._read_log()
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None

    def restart(self, *, kill: bool = False) -> None:
        """Another life on the same port and the same data; ``kill`` ends this one with SIGKILL."""
        assert self._process is not None, f"{self.name} is not running"
        if kill:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        else:
            _end_process_group(self._process)
        self._launch()
        self._wait_for(self._is_ready, "did not get ready again")

    def freeze(self, seconds: float) -> None:
        """Let it stand still for so long, from now on; returns at once."""
        assert self._process is not None, f"{self.name} is not running"
        group = self._process.pid
        os.killpg(group, signal.SIGSTOP)
        threading.Timer(seconds, _go_on, [group]).start()

    def log_tail(self, line_count: int = LOG_TAIL_LINES) -> str:
        text = self._last_log if self._directory is None else self._read_log()
        return "\n".join(text.splitlines()[-line_count:])

    @abstractmethod
    def _launch(self) -> None:
        """Spawn the process; files belong below the scratch directory."""

    @abstractmethod
    def _is_ready(self) -> bool:
        """Asked again and again while the process starts."""

    def _spawn(self, command: list[str], environment: dict[str, str]) -> None:
        with (self.directory / "stdout").open("wb") as out, (self.directory / "stderr").open("wb") as err:
            self._process = subprocess.Popen(  # in a session of its own: children can be signalled as one group
                command,
                cwd=ROOT,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )

    def _wait_for(self, condition: Callable[[], bool], complaint: str) -> None:
        give_up_at = time.monotonic() + START_TIMEOUT_S
        while not condition():
            assert self._process is not None, "started without a process"
            exit_code = self._process.poll()
            if exit_code is not None:
                raise BrokerFailed(f"{self.name} ended with exit code {exit_code}\n{self.log_tail()}")
            if time.monotonic() > give_up_at:
                raise BrokerFailed(f"{self.name} {complaint} within {START_TIMEOUT_S:.0f} s\n{self.log_tail()}")
            time.sleep(POLL_S)

    def _read_stdout(self) -> str:
        return (self.directory / "stdout").read_text(encoding="utf-8", errors="replace")

    def _read_log(self) -> str:
        paths = [self.directory / "stdout", self.directory / "stderr"]
        text = "".join(path.read_text(encoding="utf-8", errors="replace") for path in paths if path.exists())
        return _COLOUR.sub("", text)


class Amqpd(ProcessBroker):
    """amqpd of this checkout, in memory unless options say otherwise, on a port of its own choice that its ready line
    names. "{directory}" in an option is the scratch directory. There one in memory has its control socket.
    """

    name = "amqpd"

    def __init__(self, *options: str) -> None:
        super().__init__()
        self._options = options or ("--memory",)

    @property
    def control_socket(self) -> Path:
        """Where a broker in memory listens to its operator."""
        return self.directory / "control.sock"

    def control(self, *words: str) -> str:
        command = [sys.executable, "-m", "amqpd", "ctl", *words, "--quiet", "--socket", str(self.control_socket)]
        run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        if run.returncode:
            raise BrokerFailed(f"amqpd ctl {' '.join(words)}: {run.stderr or run.stdout}")
        return run.stdout

    def is_installed(self) -> bool:
        return (ROOT / "amqpd" / "__main__.py").exists() or importlib.util.find_spec("amqpd") is not None

    def _launch(self) -> None:
        command = [sys.executable, "-m", "amqpd", "serve", "--port", str(self.port)]
        command += [option.format(directory=self.directory) for option in self._options]
        if "--memory" in self._options and "--control-socket" not in self._options:
            command += ["--control-socket", str(self.control_socket)]
        self._spawn(command, {**os.environ, "PYTHONUNBUFFERED": "1"})

    def _is_ready(self) -> bool:
        ready = _READY_LINE.search(self._read_stdout())
        if ready is None:
            return False
        self.host, self.port = ready["host"], int(ready["port"])
        return shakes_hands(self.host, self.port)


class RabbitMQ(ProcessBroker):
    """A RabbitMQ node that shares nothing with any other: own home, cookie, data, ports and port mapper."""

    name = "rabbitmq"

    def __init__(self) -> None:
        super().__init__()
        self._epmd_port = 0
        self._distribution_port = 0
        self._environment: dict[str, str] = {}  # of the node; its tools need the same

    def is_installed(self) -> bool:
        return self._find_script() is not None

    def version(self) -> str:
        """Of what is installed, running or not."""
        command = [self._find_tool(), "version"]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    def stop(self) -> None:
        super().stop()
        if self._epmd_port:  # the node left its port mapper behind, as a daemon outside our process group
            _end_epmd(self._epmd_port)
            self._epmd_port = 0

    def _launch(self) -> None:
        script = self._find_script()
        if script is None:
            raise BrokerFailed("rabbitmq-server is not installed")
        if not self.port:
            self.port, self._distribution_port, self._epmd_port = find_free_ports(3)
        (self.directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.1 = {self.host}:{self.port}\nlog.console = true\nlog.file = false\n"
        )
        (self.directory / "plugins").write_text(f"[{','.join(_RABBITMQ_PLUGINS)}].\n")
        self._environment = self._build_environment(self._distribution_port)
        self._spawn([script], self._environment)

    def control(self, *words: str) -> str:
        command = [self._find_tool(), "--quiet", "--node", self._environment["RABBITMQ_NODENAME"], *words]
        run = subprocess.run(command, env=self._environment, cwd=ROOT, capture_output=True, text=True, check=False)
        if run.returncode:
            raise BrokerFailed(f"rabbitmqctl {' '.join(words)}: {run.stderr or run.stdout}")
        return run.stdout

    def forget(self, vhosts: Iterable[str]) -> None:
        """Each that is left makes the next start slower, by a quarter of a second on a busy machine."""
        names = ",".join(f'<<"{name}">>' for name in vhosts)
        self.control("eval", f'[rabbit_vhost:delete(Name, <<"interop">>) || Name <- [{names}]].')

    def _build_environment(self, distribution_port: int) -> dict[str, str]:
        foreign = ("RABBITMQ_", "ERL_", "NOTIFY_SOCKET")  # what the caller set for a node of their own
        environment = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
        return environment | {
            "HOME": str(self.directory),  # holds the Erlang cookie
            "ERL_EPMD_PORT": str(self._epmd_port),
            "ERL_EPMD_ADDRESS": LOOPBACK,
            "RABBITMQ_NODENAME": f"interop-{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(distribution_port),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": str(self.directory / "advanced.config"),
            "RABBITMQ_CONF_ENV_FILE": str(self.directory / "rabbitmq-env.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory / "log"),
            "RABBITMQ_GENERATED_CONFIG_DIR": str(self.directory / "config"),
            "RABBITMQ_SCHEMA_DIR": str(self.directory / "schema"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+sbwt none",  # idle schedulers sleep instead of spinning
        }

    def _is_ready(self) -> bool:
        return shakes_hands(self.host, self.port)

    def _find_tool(self) -> str:
        return str(Path(self._find_script() or "").with_name("rabbitmqctl"))  # beside the script of the server

    @staticmethod
    def _find_script() -> str | None:
        for script in _RABBITMQ_SCRIPTS:
            if os.access(script, os.X_OK):
                return script
        return shutil.which("rabbitmq-server")


BROKERS: dict[str, type[ProcessBroker]] = {kind.name: kind for kind in (Amqpd, RabbitMQ)}


def find_broker(name_or_url: str) -> Broker:
    """The broker called so, not started yet: a name in BROKERS, or the URL of one that runs already."""
    if name_or_url.startswith("amqp://"):
        return RunningBroker(name_or_url)
    if name_or_url not in BROKERS:
        raise ValueError(f"no broker is called {name_or_url!r}; give an amqp:// URL or one of {', '.join(BROKERS)}")
    return BROKERS[name_or_url]()


def shakes_hands(host: str, port: int, timeout_s: float = 5.0) -> bool:
    """Whether a peer that sends the protocol header is answered with connection.start."""
    try:
        with socket.create_connection((host, port), timeout=timeout_s) as peer:
            peer.sendall(_PROTOCOL_HEADER)
            answer = b""
            while len(answer) < _METHOD_ID_SLICE.stop:
                chunk = peer.recv(4096)
                if not chunk:
                    return False
                answer += chunk
    except OSError:
        return False
    return answer[:3] == b"\x01\x00\x00" and answer[_METHOD_ID_SLICE] == _CONNECTION_START


def _go_on(group: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, signal.SIGCONT)


def find_free_ports(count: int) -> list[int]:
    """Ports free a moment ago, all different; somebody may still be quicker, which the start then reports."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((LOOPBACK, 0))
        return [int(each.getsockname()[1]) for each in sockets]


def _end_process_group(process: subprocess.Popen[bytes]) -> None:
    """Ask the leader to stop, which stops its children in order; whatever then remains of the group is killed."""
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_TIMEOUT_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _end_epmd(port: int) -> None:
    """Send KILL_REQ (Erlang distribution protocol); refused while epmd still sees the node, so ask for a while."""
    for _ in range(int(STOP_TIMEOUT_S / POLL_S)):
        try:
            with socket.create_connection((LOOPBACK, port), timeout=1.0) as epmd:
                epmd.sendall(b"\x00\x01k")
                if epmd.recv(2) == b"OK":
                    return
        except ConnectionRefusedError:
            return
        except OSError:  # it hung up, or is busy: the next attempt tells
            pass
        time.sleep(POLL_S)
