"""A server from start to stop: listeners, wake-ups, the pump, alarms, and a stop that leaves nothing behind."""

import logging
import os
import socket
from collections.abc import Sequence

import anyio
import anyio.lowlevel

from amqpd.broker.broker import Broker
from amqpd.broker.ports import StoreFailed
from amqpd.clock import Clock
from amqpd.protocols.adapter import Stage
from amqpd.protocols.amqp091.handshake import Tuning
from amqpd.server.alarms import Alarms, Resource
from amqpd.server.listeners import Listener
from amqpd.server.password_checker import PasswordChecker, PasswordDoor
from amqpd.server.pump import nobody, pump
from amqpd.server.reactor import Door, Reactor

logger = logging.getLogger("amqpd.server")

SHUTDOWN_TEXT = "broker forced connection closure with reason 'shutdown'"  # RabbitMQ's
STOP_TIMEOUT_S = 3.0  # for clients to answer connection.close, unless somebody is in a hurry


class NewsDoor(Door):
    """The store has news, or an alarm: the turn's end collects the one, the other is handed on."""

    def __init__(self, descriptor: int, server: "Server") -> None:
        self.descriptor = descriptor
        self.server = server

    def on_readable(self) -> None:
        try:
            os.read(self.descriptor, 4096)
        except BlockingIOError:
            pass
        self.server.hand_on_alarm()


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
        resources: Sequence[Resource] = (),
    ) -> None:
        self.broker = broker
        self.clock = clock
        self.started_at = clock.now()
        self.patience_s = patience_s
        self.reactor = Reactor(broker.turn, Stage(), clock.now())
        self.listeners = [Listener(sock, self.reactor, broker, tuning, max_connections) for sock in sockets]
        self.passwords = broker.logins.checker = PasswordChecker()
        self.alarms = Alarms(resources, broker.journal.store.alarm, clock.now())
        self.has_resources = len(resources) > 0
        self.is_stopping = False
        self.is_killed = False  # its end is to be that of a killed process
        self.stop_timeout_s = STOP_TIMEOUT_S
        self.on_turn = nobody  # the pump's; set it before it runs
        self.alarm_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)  # readable when a resource's alarm has changed

    async def run(self) -> None:
        """Serve until cancelled, then stop cleanly. Raises StoreFailed."""
        self._open()
        try:
            async with anyio.create_task_group() as group:
                if self.has_resources:
                    group.start_soon(self._look_after_resources)
                await pump(self.reactor, self.clock, self.patience_s, self.on_turn)
        finally:
            with anyio.CancelScope(shield=True):
                await (self._die() if self.is_killed else self._stop())

    def hand_on_alarm(self) -> None:
        """Publishers are told, and are not read from while there is an alarm. A stop overrules it: what they answer
        to connection.close has to be read."""
        self.reactor.set_alarm("" if self.is_stopping else self.alarms.reason())

    def set_limit(self, name: str, limit_bytes: int, setting: str) -> bool:
        """Another limit for a resource; publishers are told within this turn. False when it is not watched."""
        if not self.alarms.set_limit(name, limit_bytes, setting):
            return False
        self.alarms.tick(self.clock.now())
        self.hand_on_alarm()
        return True

    def nudge(self) -> None:
        """Have the pump look again: somebody acted between its turns. May be called from any thread."""
        os.eventfd_write(self.alarm_fd, 1)

    def _open(self) -> None:
        for listener in self.listeners:
            self.reactor.watch(listener.sock.fileno(), listener)
        for descriptor in (self.broker.journal.store.wake_fd(), self.alarm_fd):
            if descriptor >= 0:
                self.reactor.watch(descriptor, NewsDoor(descriptor, self))
        passwords = PasswordDoor(self.passwords.descriptor, self.broker.logins.collect)
        self.reactor.watch(passwords.descriptor, passwords)
        self.alarms.tick(self.clock.now())  # before the first publish comes
        self.hand_on_alarm()
        self.reactor.turn_once(self.clock.now())

    async def _look_after_resources(self) -> None:
        """Beside the pump, by time alone. The reactor hears of a change through a descriptor, so that publishers are
        told within a turn."""
        while True:
            reason = self.alarms.reason()
            next_at = self.alarms.tick(self.clock.now())
            if self.alarms.reason() != reason:
                self.nudge()
            await anyio.sleep(max(next_at - self.clock.now(), 0.0))

    async def _stop(self) -> None:
        """No new connections, connection.close 320 to all, the last batch, then sockets and store are closed."""
        self._stop_listening()
        try:
            for link in list(self.reactor.links.values()):
                link.adapter.force_close(SHUTDOWN_TEXT)
            self.is_stopping = True
            self.hand_on_alarm()
            await self._turns()
            with anyio.move_on_after(self.stop_timeout_s):
                while self.reactor.links:
                    await self._turns()
            self.reactor.close()
            self.broker.stop()
            await self._write_the_rest()
        finally:
            self._release()

    async def _die(self) -> None:
        """The sockets are closed, what was not handed to the store is lost, and nobody is told: for tests of clients
        and of crashes."""
        self._stop_listening()
        self.reactor.close()
        self._release()

    def _stop_listening(self) -> None:
        for listener in self.listeners:
            self.reactor.unwatch(listener.sock.fileno())
            listener.sock.close()

    def _release(self) -> None:
        os.close(self.alarm_fd)
        self.passwords.close()
        self.broker.journal.store.close()
        self.broker.forget()

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
