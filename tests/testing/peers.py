"""Raw peers of a broker in this process."""

import contextlib
from collections.abc import Iterator
from typing import Any

from amqpd.testing import Broker
from amqpd.testing.handles import ConnectionHandle
from tests.support.raw_peer import RawPeer


@contextlib.contextmanager
def logged_in(broker: Broker, **login: Any) -> Iterator[RawPeer]:
    """A peer that is logged in and has channel 1 open."""
    with RawPeer(broker.host, broker.port) as peer:
        peer.login(**login)
        peer.open_channel(1)
        yield peer


def newest(broker: Broker) -> ConnectionHandle:
    """The connection that was opened last."""
    return broker.connections[-1]
