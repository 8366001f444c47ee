"""A host without a socket or a thread: a broker in this process, whose peers are those of ``tests/support/wire.py``."""

from collections.abc import Callable
from typing import TypeVar

from amqpd.broker.broker import Broker
from amqpd.server.lifecycle import Server
from amqpd.testing.errors import NotRunning
from tests.support import wire

T = TypeVar("T")


class WireHost:
    """``amqpd.testing.host.Host`` over the stand-in for a server. ``is_running`` is for the test to set."""

    vhost = "/"

    def __init__(self, peers: wire.Server) -> None:
        self.peers = peers
        self.is_running = True

    @property
    def server(self) -> Server:
        raise NotRunning("there is no server here")

    @property
    def node(self) -> Broker:
        return self.peers.broker

    def call(self, act: Callable[[], T]) -> T:
        if not self.is_running:
            raise NotRunning("the test has stopped it")
        result = act()
        self.peers.turn()
        return result
