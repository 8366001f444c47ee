"""A broker inside of another program: what it is made of, its lives from start to stop, and all that can be asked of
it. In a thread of its own: ``broker.py``. In the running event loop: ``async_broker.py``.

Owns the port, which stays the same over restarts, and the store, which survives them. Must not know threads or tasks.
"""

from __future__ import annotations

import functools
import importlib
import logging
import os
import socket
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar
from urllib.parse import quote

from amqpd.app import make_server, url_host
from amqpd.broker.broker import Broker as Node
from amqpd.broker.ports import StoreFailed
from amqpd.clock import SystemClock
from amqpd.server.lifecycle import SHUTDOWN_TEXT, Server
from amqpd.settings import Settings
from amqpd.store.memory import MemoryStore
from amqpd.testing import topology
from amqpd.testing.clock import ManualClock
from amqpd.testing.errors import NotRunning, WaitTimeout
from amqpd.testing.faults import Faults
from amqpd.testing.handles import ChannelHandle, ConnectionHandle, QueueHandle
from amqpd.testing.history import History
from amqpd.testing.observed import ObservedBroker
from amqpd.testing.report import describe
from amqpd.testing.views import PublishedMessage
from amqpd.testing.waiting import Waiter, Waiters, Wish, Wishes

if TYPE_CHECKING:
    import pika

T = TypeVar("T")

HISTORY_LIMIT = 10_000  # messages, with record=True
STOP_TIMEOUT_S = 0.01  # for clients to answer connection.close; most are killed by a stop, and are meant to

logging.getLogger("amqpd").addHandler(logging.NullHandler())  # a library speaks to who listens

_alive: weakref.WeakSet[Embedded] = weakref.WeakSet()


class Embedded(ABC):
    """What ``Broker`` and ``AsyncBroker`` have in common; a ``Host`` to the parts of this package.

    ``port`` 0 takes a free one, and keeps it. ``vhost``: the virtual host of ``url``, and the one that is meant where
    none is said; it is made if it is not "/". ``data_dir``: keep what is durable in this directory, on LMDB; in memory
    without. ``clock``: "manual" stands still until ``advance``; heartbeats are then off unless ``heartbeat_s`` is said.
    ``definitions``: the topology to begin with, RabbitMQ's definitions as a mapping, as JSON text, or as the path of a
    file. ``record``: remember published messages for ``published``, so many, or 10,000. ``settings``: any field of
    ``amqpd.settings.Settings``, as ``heartbeat_s=5``.

    Raises SettingsError for a setting that cannot be used.
    """

    def __init__(
        self,
        port: int = 0,
        *,
        host: str = "127.0.0.1",
        vhost: str = "/",
        data_dir: Path | str | None = None,
        clock: Literal["real", "manual"] = "real",
        definitions: Mapping[str, Any] | Path | str | None = None,
        record: bool | int = False,
        **settings: Any,
    ) -> None:
        if data_dir is None:
            settings = {"durability": "memory", **settings}
        else:
            settings = {"durability": "write", "data_dir": Path(data_dir), **settings}
        if clock == "manual":
            settings = {"heartbeat_s": 0, **settings}
        self._settings = Settings(host=host, port=port, **settings)
        self.host = self._settings.hosts[0]
        self.vhost = vhost
        self._definitions = definitions
        self._clock = ManualClock() if clock == "manual" else SystemClock()
        self._history = History(HISTORY_LIMIT if record is True else int(record)) if record else None
        self._memory = MemoryStore() if self._settings.durability == "memory" else None
        self._port = port
        self._held_port: socket.socket | None = None  # bound and not listening, so that nobody takes it between lives
        self._server: Server | None = None
        self._waiters = Waiters()
        self._faults = Faults(self)
        self.beginning: topology.Snapshot | None = None  # what reset goes back to; taken at the first start
        self._wishes = Wishes(self)
        self._failure: StoreFailed | None = None  # what the last life ended with, until somebody was told
        self._why = "it was not started"

    # -- where it is --

    @property
    def port(self) -> int:
        """The port it listens on; 0 before the first start, when none was asked for."""
        return self._port

    @property
    def url(self) -> str:
        """Where clients find it: amqp://guest:guest@127.0.0.1:PORT/VHOST."""
        return f"amqp://guest:guest@{url_host(self.host)}:{self._port}/{quote(self.vhost, safe='')}"

    def pika_parameters(self, **overrides: Any) -> pika.ConnectionParameters:
        """Parameters for pika's connections; ``overrides`` are those of ``pika.ConnectionParameters``. Imports pika."""
        parameters = importlib.import_module("pika").ConnectionParameters(
            **{"host": self.host, "port": self._port, "virtual_host": self.vhost, **overrides}
        )
        return parameters

    # -- looking --

    def queue(self, name: str, vhost: str | None = None) -> QueueHandle:
        """A queue to look at, whether it exists already or not."""
        return QueueHandle(self, name, self.vhost if vhost is None else vhost)

    def queues(self, vhost: str | None = None) -> list[QueueHandle]:
        """All queues of a virtual host, by name."""
        where = self.vhost if vhost is None else vhost
        names = self.call(lambda: sorted(self.node.vhosts[where].queues) if where in self.node.vhosts else [])
        return [QueueHandle(self, name, where) for name in names]

    @property
    def connections(self) -> list[ConnectionHandle]:
        """All open connections, oldest first."""
        return self.call(lambda: [ConnectionHandle(self, connection) for connection in self.node.connections])

    @property
    def channels(self) -> list[ChannelHandle]:
        """All open channels, by connection."""
        return [channel for connection in self.connections for channel in connection.channels]

    def published(
        self, exchange: str | None = None, routing_key: str | None = None, vhost: str | None = None
    ) -> list[PublishedMessage]:
        """What clients have published since the start or the last ``reset``, oldest first, whether it reached a queue
        or not. Raises RuntimeError without ``record``.
        """
        where = self.vhost if vhost is None else vhost
        history = self.history
        return self.call(lambda: history.find(exchange, routing_key, where))

    @property
    def history(self) -> History:
        """What ``published`` looks at. Raises RuntimeError without ``record``."""
        if self._history is None:
            raise RuntimeError("published messages are not recorded: say record=True when the broker is made")
        return self._history

    # -- time --

    def advance(self, seconds: float) -> None:
        """Let time pass: whatever is due meanwhile happens at once, in order. Raises RuntimeError unless
        ``clock="manual"``.
        """
        clock = self._clock
        if not isinstance(clock, ManualClock):
            raise RuntimeError('time passes by itself here: say clock="manual" when the broker is made')
        self.call(lambda: self._advance(clock, seconds))

    def _advance(self, clock: ManualClock, seconds: float) -> None:
        reactor = self.server.reactor
        until = round(clock.now() + seconds, 6)  # ten times 0.1 are 1
        self._run_turns()
        while (at := reactor.next_timer()) <= until:
            clock.move_to(at)
            self._run_turns()
        clock.move_to(until)

    # -- topology --

    def snapshot(self) -> topology.Snapshot:
        """The topology as it is now, for ``reset``."""
        return self.call(lambda: topology.take(self.node))

    def reset(self, snapshot: topology.Snapshot | None = None, *, keep_connections: bool = False) -> None:
        """Back to the start, or to a snapshot: what was declared since is gone, what was deleted is back, queues are
        empty, faults are over, the history is empty. Connections are closed unless they are to be kept; their exclusive
        queues then stay as well.
        """
        self.faults.clear()
        target = snapshot or self.beginning
        assert target is not None  # it was started, or nothing above would have worked
        self.call(lambda: topology.reset(self.node, target, keep_connections=keep_connections))
        if self._history is not None:
            self.call(self._history.clear)

    # -- trouble --

    @property
    def faults(self) -> Faults:
        """Trouble on demand."""
        return self._faults

    # -- for the parts of this package --

    @property
    def server(self) -> Server:
        """Raises NotRunning."""
        if self._server is None:
            raise NotRunning(f"the broker is not running: {self._why}")
        return self._server

    @property
    def node(self) -> Node:
        """Raises NotRunning."""
        return self.server.broker

    @abstractmethod
    def call(self, act: Callable[[], T]) -> T:
        """See ``Host``."""

    def _call_here(self, act: Callable[[], T]) -> T:
        """``call``, on the loop's thread."""
        server = self.server
        try:
            self._run_turns()  # what clients have sent by now comes first
            return act()
        finally:
            server.nudge()
            self._run_turns()

    def _check(self, waiter: Waiter, wish: Wish, timeout: float) -> None:
        """Raises what the wait ended with, if it was not what was wished for."""
        if waiter.error is not None:
            raise waiter.error
        if not waiter.is_over:
            raise self._timeout(wish.words, timeout)

    def _timeout(self, words: str, timeout: float) -> WaitTimeout:
        return WaitTimeout(f"waited {timeout:g} s for {words}\n{self.call(lambda: describe(self.node))}")

    def _run_turns(self) -> None:
        """Until there is nothing left to do; the store may still be writing."""
        server = self.server
        while server.reactor.turn_once(self._clock.now()):
            pass
        self._waiters.on_turn(False)

    # -- lives --

    def _prepare(self) -> Server:
        """A server that listens. Raises StartError, InvalidDefinitions, and RuntimeError when there is one already."""
        if self._server is not None:
            raise RuntimeError(f"the broker is running already, at {self.url}")
        server = make_server(
            replace(self._settings, port=self._port),
            self._clock,
            store=self._memory,
            make_broker=functools.partial(ObservedBroker, history=self._history),
            prepare=self._furnish,
        )
        server.stop_timeout_s = STOP_TIMEOUT_S
        server.on_turn = self._waiters.on_turn
        self._port = server.listeners[0].sock.getsockname()[1]
        self._release_port()
        self._server = server
        self._failure = None
        self._why = "it was stopped"
        self._faults = Faults(self)
        _alive.add(self)
        return server

    def _furnish(self, node: Node) -> None:
        if self.vhost not in node.vhosts:
            topology.make_vhost(node, self.vhost)
        if self.beginning is None:
            if self._definitions is not None:
                topology.apply(node, self._definitions, self.vhost)
            self.beginning = topology.take(node)

    def _prepare_to_die(self) -> None:
        """What comes is an end as of ``kill -9``."""
        self.server.is_killed = True
        self._why = "it was killed; start() brings it back"

    def _close_connections(self) -> None:
        """As a restart does that keeps everything else."""
        self.faults.clear()
        self.faults.close_connections(SHUTDOWN_TEXT)

    def _note_failure(self, error: StoreFailed) -> None:
        self._failure = error
        self._why = f"its store failed: {error}"

    def _end(self) -> None:
        """This life is over, because of ``_why``."""
        self._server = None
        over = NotRunning(f"the broker is not running: {self._why}")
        over.__cause__ = self._failure
        self._waiters.fail(over)
        _alive.discard(self)

    def _raise_failure(self) -> None:
        """Tell, once, of a life that ended because its store failed."""
        failure, self._failure = self._failure, None
        if failure is not None:
            raise failure

    def _hold_port(self) -> None:
        """Clients are refused, and nobody else takes the port, until the next life."""
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        held = socket.socket(family, socket.SOCK_STREAM)
        held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            held.bind((self.host, self._port))
        except OSError:
            held.close()
        else:
            self._held_port = held

    def _release_port(self) -> None:
        if self._held_port is not None:
            self._held_port.close()
            self._held_port = None


def _forget_in_child() -> None:
    """A forked process has copies of the sockets, and would keep them open for as long as it lives."""
    for embedded in list(_alive):
        server = embedded._server
        if server is not None:
            listening = [listener.sock for listener in server.listeners]
            for sock in (*listening, *(link.sock for link in server.reactor.links.values())):
                sock.close()
            embedded._why = "this process is a fork of the one that it runs in"
            embedded._end()


os.register_at_fork(after_in_child=_forget_in_child)
