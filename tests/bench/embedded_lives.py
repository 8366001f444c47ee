"""Lives of ``amqpd.testing.Broker`` in this process, timed: run by ``embedding.py`` with an amqpd on the path, prints
one line of JSON.

``first``: one life, the import of amqpd included. ``many``: so many lives, one after the other, and what is done in
one.
"""

import json
import socket
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amqpd.testing import Broker

MANY = 200
PAGE_BYTES = 4096


def first() -> dict[str, float]:
    since = time.perf_counter()
    from amqpd.testing import Broker

    broker = Broker().start()
    connect(broker).close()
    took_ms = (time.perf_counter() - since) * 1e3
    broker.stop()
    return {"first": took_ms}


def many() -> dict[str, float]:
    from amqpd.testing import Broker, fresh_vhost

    figures: dict[str, list[float]] = {"start": [], "stop": [], "vhost": [], "copy": [], "reset": []}
    for _ in range(MANY):
        broker = Broker()
        figures["start"].append(timed(broker.start))
        peer = connect(broker)
        figures["stop"].append(timed(broker.stop))
        peer.close()
    with Broker() as broker:
        figures["vhost"] += [timed(lambda: pass_through(fresh_vhost(broker, "test"))) for _ in range(MANY)]
    with Broker(definitions={"queues": [{"name": f"q{index}"} for index in range(10)]}) as broker:
        for _ in range(MANY):
            figures["copy"].append(timed(lambda: pass_through(fresh_vhost(broker, "test"))))
            broker.call(lambda: broker.node.vhosts["/"].queues["q1"].purge())
            figures["reset"].append(timed(broker.reset))
    medians = {name: statistics.median(values) for name, values in figures.items()}
    return {**medians, "kb": memory_of_one_kb()}


def memory_of_one_kb() -> float:
    from amqpd.testing import Broker

    before = resident_bytes()
    brokers = [Broker().start() for _ in range(50)]
    grown = resident_bytes() - before
    for broker in brokers:
        broker.stop()
    return grown / 1e3 / 50


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES


def connect(broker: "Broker") -> socket.socket:
    """As far as connection.start: the broker answers."""
    peer = socket.create_connection((broker.host, broker.port))
    peer.sendall(b"AMQP\0\0\x09\1")
    assert peer.recv(1) == b"\1"
    return peer


def pass_through(context: AbstractContextManager[object]) -> None:
    with context:
        pass


def timed(act: Callable[[], object]) -> float:
    since = time.perf_counter()
    act()
    return (time.perf_counter() - since) * 1e3


if __name__ == "__main__":
    print(json.dumps({"first": first, "many": many}[sys.argv[1]]()))
