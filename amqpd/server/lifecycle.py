"""A server from start to stop: listeners, the store's wake-up, the pump, and a stop that leaves nothing behind."""

import logging
import os
import socket

import anyio
import anyio.lowlevel

from amqpd.broker.broker import Broker
from amqpd.broker.ports import StoreFailed
from amqpd.clock import Clock
from amqpd.protocols.adapter import Stage
from amqpd.protocols.amqp091.handshake import Tuning
from amqpd.server.listeners import Listener
from amqpd.server.pump import pump
from amqpd.server.reactor import Door, Reactor

logger = logging.getLogger("amqpd.server")

STOP_TIMEOUT_S = 3.0  # for clients to answer connection.close


class StoreDoor(Door):
    """The store has news: the turn's end collects them; its alarm is handed on."""

    def __init__(self, server: "Server") -> None:
        self.server = server

    def on_readable(self) -> None:
        store = self.server.broker.journal.store
        try:
            os.read(store.wake_fd(), 4096)
        except BlockingIOError:
            pass
        self.server.reactor.set_alarm(store.alarm())


class Server:
    """Serves ``broker`` on sockets that listen already."""

    def __init__(
        self,
        broker: Broker,
        sockets: list[socket.socket],
        tuning: Tuning,
        clock: Clock,
        *,
        max_connections: int,
        patience_s: float,
    ) -> None:
        self.broker = broker
        self.clock = clock
        self.patience_s = patience_s
        self.reactor = Reactor(broker.turn, Stage(), clock.now())
        self.listeners = [Listener(sock, self.reactor, broker, tuning, max_connections) for sock in sockets]

    async def run(self) -> None:
        """Serve until cancelled, then stop cleanly. Raises StoreFailed."""
        self._open()
        try:
            await pump(self.reactor, self.clock, self.patience_s)
        finally:
            with anyio.CancelScope(shield=True):
                await self._stop()

    def _open(self) -> None:
        for listener in self.listeners:
            self.reactor.watch(listener.sock.fileno(), listener)
        wake_fd = self.broker.journal.store.wake_fd()
        if wake_fd >= 0:
            self.reactor.watch(wake_fd, StoreDoor(self))
        self.reactor.turn_once(self.clock.now())

    async def _stop(self) -> None:
        """No new connections, connection.close 320 to all, the last batch, then sockets and store are closed."""
        for listener in self.listeners:
            self.reactor.unwatch(listener.sock.fileno())
            listener.sock.close()
        try:
            for link in list(self.reactor.links.values()):
                link.adapter.force_close("broker forced connection closure with reason 'shutdown'")
            ends_at = self.clock.now() + STOP_TIMEOUT_S
            while self.reactor.links and self.clock.now() < ends_at:
                await self._turns()
            self.reactor.close()
            self.broker.stop()
            await self._write_the_rest()
        finally:
            self.broker.journal.store.close()

    async def _write_the_rest(self) -> None:
        """The last batch. Raises StoreFailed when it cannot be written: nothing in it was promised to anybody."""
        journal = self.broker.journal
        while not journal.is_idle():
            self.broker.turn.finish()
            if journal.store.alarm():
                raise StoreFailed(f"the last batch was not written: {journal.store.alarm()}")
            await anyio.sleep(0.001)

    async def _turns(self) -> None:
        while self.reactor.turn_once(self.clock.now()):
            await anyio.lowlevel.checkpoint()
        await anyio.sleep(0.001)
