"""The two brokers of a run, with what operators and further exchange types need."""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from interop.brokers import LOOPBACK, Amqpd, RabbitMQ, find_free_ports
from tests.differential.operators import ControlSocket, ManagementApi, Operator

PLUGINS: Final = (
    "rabbitmq_management",
    "rabbitmq_consistent_hash_exchange",
    "rabbitmq_random_exchange",
    "rabbitmq_recent_history_exchange",
)


@dataclass(frozen=True, slots=True)
class Node:
    """Where a broker listens for clients, and for its operators: a port, or the path of a socket."""

    host: str
    port: int
    operators: int | Path | None

    def operator(self) -> Operator:
        match self.operators:
            case int():
                return ManagementApi(self.host, self.operators)
            case Path():
                return ControlSocket(self.operators)
            case _:
                return Operator()


@contextlib.contextmanager
def amqpd() -> Iterator[Node]:
    """This checkout, in memory."""
    with tempfile.TemporaryDirectory(prefix="differential-") as scratch:
        path = Path(scratch, "control.sock")
        with Amqpd("--memory", "--host", LOOPBACK, "--control-socket", str(path)) as broker:
            yield Node(broker.host, broker.port, path)


@contextlib.contextmanager
def rabbitmq() -> Iterator[Node]:
    """A node with plug-ins that shares nothing with any other."""
    with _PluggedRabbitMQ() as broker:
        yield Node(broker.host, broker.port, broker.api_port)


class _PluggedRabbitMQ(RabbitMQ):
    """With the management API, which gathers no statistics: they would cost more than the messages."""

    def __init__(self) -> None:
        super().__init__()
        (self.api_port,) = find_free_ports(1)

    def _spawn(self, command: list[str], environment: dict[str, str]) -> None:
        (self.directory / "plugins").write_text(f"[{','.join(PLUGINS)}].\n")
        with (self.directory / "rabbitmq.conf").open("a") as conf:
            conf.write(f"management.tcp.ip = {self.host}\nmanagement.tcp.port = {self.api_port}\n")
            conf.write("management_agent.disable_metrics_collector = true\n")
        super()._spawn(command, environment)
