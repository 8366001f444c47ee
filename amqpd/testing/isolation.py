"""A virtual host for each test: made before it, and gone after it with all that the test has left there.

Owns what a test may leave behind in a broker that others share, and how that is told. Knows no test framework: pytest's
fixtures and the mixin for ``unittest`` are made of it.
"""

import re
import secrets
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, Literal, TypeAlias

from amqpd.testing import topology
from amqpd.testing.broker import Broker
from amqpd.testing.errors import NotRunning, WaitTimeout
from amqpd.testing.handles import ConnectionHandle

Leaks: TypeAlias = Literal["warn", "error", "ignore"]

NAME_MAX_CHARS: Final = 80  # of a test's name in that of its virtual host, which may have 255
LEAK_GRACE_S: Final = 0.25  # for clients that are just closing, in threads of their own


class AmqpdLeakWarning(UserWarning):
    """A test has left connections open."""


class LeakedConnections(AssertionError):
    """A test has left connections open, and that counts as an error."""


@contextmanager
def fresh_vhost(broker: Broker, test: str, leaks: Leaks = "warn") -> Iterator[str]:
    """A virtual host that nobody else uses, named after the test. It begins as the broker's own did. Meanwhile it is
    the one that ``broker`` means where none is said, as in its ``url`` and its ``queue("q")``, and ``reset`` goes back
    to its beginning.

    Connections still open in it at the end are closed, and told of: by an AmqpdLeakWarning, or LeakedConnections.
    Faults are ended then, and a broker that was left stopped is started.
    """
    _start_if_dead(broker)
    home, beginning = broker.vhost, broker.beginning
    name = _vhost_name(test)
    broker.beginning = broker.call(lambda: _add(broker, home, name))
    broker.vhost = name
    try:
        yield name
    finally:
        broker.vhost, broker.beginning = home, beginning
        recover(broker)
        if not broker.call(lambda: _drop_if_left(broker, name)):
            left = [] if leaks == "ignore" else _open_connections(broker, name)
            broker.call(lambda: topology.drop_vhost(broker.node, name))
            if left:
                _tell(leaks, test, left)


def _vhost_name(test: str) -> str:
    """Readable, and fit for a URL as it is. Not of ``random``, which tests seed."""
    words = re.sub(r"[^A-Za-z0-9_.]+", "-", test).strip("-")
    return f"{words[:NAME_MAX_CHARS]}-{secrets.token_hex(3)}"


def recover(broker: Broker) -> None:
    """From whatever a test has done to it: its faults are over, and it runs."""
    _start_if_dead(broker)
    broker.faults.clear()


def _start_if_dead(broker: Broker) -> None:
    try:
        broker.server  # noqa: B018 - raises NotRunning
    except NotRunning:
        broker.start()


def _add(broker: Broker, home: str, name: str) -> topology.Snapshot:
    """What the broker is like with the new virtual host."""
    assert broker.beginning is not None  # it runs
    topology.copy_vhost(broker.node, broker.beginning, home, name)
    return topology.take(broker.node)


def _drop_if_left(broker: Broker, name: str) -> bool:
    """Delete the virtual host at once if nobody is connected to it, as is usual; whether that is so."""
    if any(connection.vhost_name == name for connection in broker.node.connections):
        return False
    topology.drop_vhost(broker.node, name)
    return True


def _open_connections(broker: Broker, vhost: str) -> list[ConnectionHandle]:
    def find() -> list[ConnectionHandle]:
        return [connection for connection in broker.connections if connection.vhost == vhost]

    try:
        broker.wait_for(lambda: not find(), timeout=LEAK_GRACE_S)
    except WaitTimeout:
        return find()
    return []


def _tell(leaks: Leaks, test: str, left: list[ConnectionHandle]) -> None:
    what = "a connection" if len(left) == 1 else f"{len(left)} connections"
    text = f"{test} has left {what} open: {', '.join(_shown(connection) for connection in left)}"
    if leaks == "error":
        raise LeakedConnections(text)
    warnings.warn(AmqpdLeakWarning(text), stacklevel=1)


def _shown(connection: ConnectionHandle) -> str:
    """Who it is, by what clients say of themselves."""
    says = connection.client_properties
    words = [repr(says["connection_name"])] if says.get("connection_name") else []
    words += [str(says[noun]) for noun in ("product", "version") if says.get(noun)]
    return " ".join([*words, f"({connection.name})"])
