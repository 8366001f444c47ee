"""An operator without a socket: verbs of the control socket on a broker that a test takes turns with."""

import os
from collections.abc import Generator, Mapping
from typing import Any

from amqpd.clock import SystemClock
from amqpd.management.node import Node
from amqpd.management.requests import Aside, Done, Listing, Request, Result
from amqpd.management.verbs.registry import VERBS
from amqpd.protocols.amqp091.handshake import Tuning
from amqpd.server.lifecycle import Server
from tests.broker.world import World
from tests.support.wire import Peer

SETTINGS = {"durability": "memory", "port": 0}


class Operator:
    """What was asked for is done when the answer is there, and durable."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.broker = world.broker
        self.server = Server(world.broker, [], Tuning(), SystemClock(), max_connections=1, patience_s=0.0)
        self.node = Node(self.server, SETTINGS)

    def close(self) -> None:
        self.server.reactor.close()
        os.close(self.server.alarm_fd)

    def ask(self, verb: str, **values: Any) -> Mapping[str, Any]:
        """Have it done. Raises Refused."""
        done = self._finish(self._begin(verb, values))
        self.world.turn()
        assert self.broker.journal.durable >= done.ticket
        return done.facts

    def rows(self, verb: str, *columns: str, **values: Any) -> list[list[Any]]:
        """A listing."""
        result = self._begin(verb, {**values, "columns": list(columns)} if columns else values)
        assert isinstance(result, Listing)
        rows = list(result.rows)
        assert all(len(row) == len(result.columns) for row in rows)
        return rows

    def columns(self, verb: str, **values: Any) -> list[str]:
        result = self._begin(verb, values)
        assert isinstance(result, Listing)
        return result.columns

    def peer(self, *channels: int) -> Peer:
        """A connection with a name as a socket would give it one."""
        peer = self.world.server.connect()
        peer.connection.name = f"127.0.0.1:{4000 + peer.key} -> 127.0.0.1:5672"
        peer.log_in(*channels)
        return peer

    def _begin(self, verb: str, values: dict[str, Any]) -> Result:
        result = VERBS[verb](self.node, Request(values))
        while isinstance(result, Aside):
            result = result.then(result.work())
        return result

    def _finish(self, result: Result) -> Done:
        if isinstance(result, Done):
            return result
        assert isinstance(result, Generator)
        while True:
            try:
                next(result)
            except StopIteration as stop:
                done: Done = stop.value
                return done
            self.world.turn()
