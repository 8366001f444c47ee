"""connection.blocked (RabbitMQ's extension): what a publisher hears of a broker whose memory or disk is short.

Each dialogue has a broker of its own, short from the start; one that runs already cannot be made so.
"""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import pytest

from interop.brokers import Amqpd, ProcessBroker, RabbitMQ
from tests.support.brokers import Broker
from tests.support.raw_peer import RawPeer

# Reason -> what makes it so, in the words of each broker's configuration file.
SHORT: Final = {
    "low on memory": ("memory_high_watermark = 1e-5", "vm_memory_high_watermark.relative = 0.00001"),
    "low on disk": ("disk_free_limit_bytes = 1000000000000000", "disk_free_limit.absolute = 1000000GB"),
}
SHORT["low on disk & memory"] = (
    f"{SHORT['low on memory'][0]}\n{SHORT['low on disk'][0]}",
    f"{SHORT['low on memory'][1]}\n{SHORT['low on disk'][1]}",
)


class ShortRabbitMQ(RabbitMQ):
    """RabbitMQ with some lines more in its configuration file."""

    def __init__(self, lines: str) -> None:
        super().__init__()
        self._lines = lines

    def _spawn(self, command: list[str], environment: dict[str, str]) -> None:
        with (self.directory / "rabbitmq.conf").open("a") as file:
            file.write(self._lines + "\n")
        super()._spawn(command, environment)


def short_broker(kind: str, reason: str, directory: Path) -> ProcessBroker:
    ours, theirs = SHORT[reason]
    if kind == "rabbitmq":
        return ShortRabbitMQ(theirs)
    (directory / "amqpd.toml").write_text(ours + "\n")
    return Amqpd("--config", str(directory / "amqpd.toml"), "--data-dir", str(directory / "data"))


@pytest.fixture
def log_in(broker: Broker, tmp_path: Path) -> Iterator[Callable[..., RawPeer]]:
    """Opens peers of a broker that is short for a reason; the first call starts it."""
    with contextlib.ExitStack() as stack:
        started: list[ProcessBroker] = []

        def open_peer(reason: str, capabilities: dict[str, bool] | None = None) -> RawPeer:
            if not started:
                started.append(stack.enter_context(short_broker(broker.kind, reason, tmp_path)))
            peer = stack.enter_context(RawPeer(started[0].host, started[0].port))
            peer.login(capabilities=capabilities)
            peer.open_channel(1)
            return peer

        yield open_peer


@pytest.mark.parametrize("reason", list(SHORT))
def test_a_publisher_is_told_why_and_others_go_on(log_in: Callable[..., RawPeer], reason: str) -> None:
    publisher, other = log_in(reason), log_in(reason)
    publisher.call(1, "queue.declare", queue="q")
    publisher.expect_nothing()
    publisher.publish(1, "", "q", b"a")
    publisher.expect(0, "connection.blocked", reason=reason)
    publisher.send(1, "basic.qos")
    publisher.expect_nothing(200)
    other.call(1, "basic.qos")
    other.call(1, "queue.declare", queue="r", exclusive=True)
    other.call(1, "basic.consume", queue="r")
    other.expect_nothing()


def test_who_did_not_ask_is_not_told_and_not_read(log_in: Callable[..., RawPeer]) -> None:
    publisher = log_in("low on memory", {})
    publisher.publish(1, "", "nowhere", b"a")
    publisher.expect_nothing(200)
    publisher.send(1, "basic.qos")
    publisher.expect_nothing(200)
