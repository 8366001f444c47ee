"""Brokers for tests: ours in a child process, a RabbitMQ node as the reference, or one that runs somewhere already.

``AMQPD_TEST_TARGET`` chooses: unset is amqpd, ``rabbitmq`` a private node, ``host:port`` whatever listens there.
Processes, ports and scratch directories are the business of ``interop/brokers.py``.
"""

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from typer.testing import CliRunner

from amqpd.cli.ctl.registry import app as ctl
from interop.brokers import LOOPBACK, Amqpd, BrokerFailed, ProcessBroker, RabbitMQ
from tests.support.raw_peer import RawPeer

LOG_LINES_MAX: Final = 10_000


@dataclass(slots=True)
class Broker:
    """Where it listens, and what it said if we started it."""

    host: str
    port: int
    kind: str  # "amqpd" or "rabbitmq"
    read_log: Callable[[], str] = lambda: ""
    kill: Callable[[], None] = lambda: None  # SIGKILL, for tests of crashes
    control: Callable[..., str] | None = None  # rabbitmqctl's words -> what it prints, or BrokerFailed

    @property
    def stderr(self) -> list[str]:
        """The lines that it has written so far, with their ends."""
        return self.read_log().splitlines(keepends=True)

    def connect(self) -> RawPeer:
        return RawPeer(self.host, self.port)


def running_broker(directory: Path) -> contextlib.AbstractContextManager[Broker]:
    """The broker that the environment asks for; a RabbitMQ node leaves its log in ``directory``."""
    target = os.environ.get("AMQPD_TEST_TARGET", "")
    if target in ("", "amqpd"):
        return amqpd()
    if target == "rabbitmq":
        return rabbitmq(directory)
    return already_running(target)


@contextlib.contextmanager
def already_running(address: str) -> Iterator[Broker]:
    """Whatever listens at ``host:port``, known by the product it names."""
    host, _, port = address.rpartition(":")
    with RawPeer(host, int(port)) as peer:
        product = peer.start()["server_properties"].get("product")
    yield Broker(host, int(port), "rabbitmq" if product == "RabbitMQ" else "amqpd")


@contextlib.contextmanager
def amqpd(data_dir: Path | None = None, *options: str) -> Iterator[Broker]:
    """``amqpd serve`` on a free port, in memory unless a directory is given; ready when it says so on stdout."""
    where = ["--memory"] if data_dir is None else ["--data-dir", str(data_dir)]
    with _Amqpd(*where, "--host", LOOPBACK, *options) as child:
        yield _broker(child, child.kill, child.control)


@contextlib.contextmanager
def rabbitmq(directory: Path) -> Iterator[Broker]:
    """A RabbitMQ node that shares nothing with any other; its log is in ``directory`` afterwards."""
    child = _RabbitMQ()
    try:
        with child:
            yield _broker(child, child.kill, child.control)
    finally:
        (directory / "rabbitmq.log").write_text(child.log_tail(LOG_LINES_MAX), encoding="utf-8")


def _broker(child: ProcessBroker, kill: Callable[[], None], control: Callable[..., str] | None = None) -> Broker:
    return Broker(child.host, child.port, child.name, lambda: child.log_tail(LOG_LINES_MAX), kill, control)


class _Killable(ProcessBroker):
    """A child that may be ended without a word."""

    def kill(self) -> None:
        assert self._process is not None, f"{self.name} is not running"
        self._process.kill()


class _Amqpd(_Killable, Amqpd):
    """amqpd, killable, with a control socket in its scratch directory."""

    def _launch(self) -> None:
        self._options += ("--control-socket", str(self.control_socket))
        super()._launch()

    def control(self, *words: str) -> str:
        """What `amqpd ctl` prints, run in this process; raises BrokerFailed with what it complains of."""
        run = CliRunner().invoke(ctl, [*words, "--quiet", "--socket", str(self.control_socket)])
        if run.exit_code:
            raise BrokerFailed(f"amqpd ctl {' '.join(words)}: {run.output}")
        return run.output


class _RabbitMQ(_Killable, RabbitMQ):
    """RabbitMQ, killable."""
