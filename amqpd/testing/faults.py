"""Faults that last: what can be wrong with a broker for a while, as clients in production meet it.

Must not know how the broker is run: it acts between two turns (``Host.call``). What happens at once, and to one
connection: ``trouble.py``.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from amqpd.protocols.amqp091.connection import Connection
from amqpd.server.alarms import Alarms
from amqpd.server.lifecycle import Server
from amqpd.server.reactor import Door, Link, Reactor
from amqpd.testing.acks import acks_of
from amqpd.testing.errors import NotRunning
from amqpd.testing.host import Host
from amqpd.testing.observed import Interference, ObservedBroker
from amqpd.testing.trouble import CLOSE_TEXT, abort, freeze, with_link

if TYPE_CHECKING:
    from amqpd.testing.handles import ConnectionHandle

F = TypeVar("F", bound="Fault")


class Fault(ABC):
    """Something that goes wrong until ``end``, or until its ``with`` block is left. It ends with the broker, too: after
    a restart it is gone.
    """

    def __init__(self, host: Host) -> None:
        self._host = host
        self._server = host.server
        self.is_over = False

    def end(self) -> None:
        """Nothing happens if it is over already."""
        with contextlib.suppress(NotRunning):
            self._host.call(self._end)
        self.is_over = True

    def _end(self) -> None:
        if not self.is_over and self._host.server is self._server:
            self._undo()
        self.is_over = True

    @abstractmethod
    def _begin(self) -> None:
        """Called once."""

    @abstractmethod
    def _undo(self) -> None:
        """Called once, unless the broker is gone."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()


class PublishFault(Fault):
    """One that publishes use up."""

    def __init__(self, host: Host, interference: Interference) -> None:
        super().__init__(host)
        self._interference = interference
        self._watch = _node(host).watch

    @property
    def left(self) -> int:
        """How many publishes it has not happened to."""
        return self._interference.left

    def _begin(self) -> None:
        self._watch.begin(self._interference)

    def _undo(self) -> None:
        self._watch.end(self._interference)


class _RefusedLogins(Fault):
    def _begin(self) -> None:
        _node(self._host).logins.refusals += 1

    def _undo(self) -> None:
        _node(self._host).logins.refusals -= 1


class _BlockedPublishers(Fault):
    def __init__(self, host: Host, reason: str) -> None:
        super().__init__(host)
        self.reason = reason
        self._alarms = _forced_alarms(self._server)

    def _begin(self) -> None:
        self._alarms.faults.append(self)
        self._server.hand_on_alarm()

    def _undo(self) -> None:
        self._alarms.faults.remove(self)
        self._server.hand_on_alarm()


class _LinkFault(Fault):
    """One of connections: of ``chosen``, or of all that there are and those to come."""

    def __init__(self, host: Host, chosen: Connection | None = None) -> None:
        super().__init__(host)
        self._chosen = chosen
        self._reactor = self._server.reactor
        self._links: list[Link] = []  # those that it happens to

    def meet(self, link: Link) -> None:
        """Happen to it."""
        self._links.append(link)
        self._strike(link)

    def _begin(self) -> None:
        if self._chosen is not None:
            with_link(self._host, self._chosen, lambda reactor, link: self.meet(link))
            return
        for link in self._reactor.links.values():
            self.meet(link)
        for arrivals in _arrivals(self._server):
            arrivals.faults.append(self)

    def _undo(self) -> None:
        for arrivals in _arrivals(self._server):
            if self in arrivals.faults:
                arrivals.faults.remove(self)
        for link in self._links:
            self._relieve(link)

    @abstractmethod
    def _strike(self, link: Link) -> None: ...

    @abstractmethod
    def _relieve(self, link: Link) -> None: ...


class _FrozenConnections(_LinkFault):
    def _strike(self, link: Link) -> None:
        freeze(self._reactor, link, None)

    def _relieve(self, link: Link) -> None:
        self._reactor.thaw(link)


class _DroppedAcks(_LinkFault):
    def _strike(self, link: Link) -> None:
        acks_of(link).droppers += 1

    def _relieve(self, link: Link) -> None:
        acks_of(link).droppers -= 1


class _ForcedAlarms(Alarms):
    """The alarms of a server, and one that a test has raised."""

    def __init__(self, real: Alarms) -> None:
        self.real = real
        self.faults: list[_BlockedPublishers] = []

    def tick(self, now: float) -> float:
        return self.real.tick(now)

    def reason(self) -> str:
        return self.faults[-1].reason if self.faults else self.real.reason()


class _Arrivals(Door):
    """A listener, and what happens to every connection that arrives."""

    def __init__(self, listener: Door, reactor: Reactor) -> None:
        self.listener = listener
        self.reactor = reactor
        self.faults: list[_LinkFault] = []

    def on_readable(self) -> None:
        known = set(self.reactor.links.values())
        self.listener.on_readable()
        for link in self.reactor.links.values():
            if link not in known:
                for fault in self.faults:
                    fault.meet(link)


def _node(host: Host) -> ObservedBroker:
    node = host.node
    assert isinstance(node, ObservedBroker)
    return node


def _forced_alarms(server: Server) -> _ForcedAlarms:
    """Those of the server; made when they are asked for first."""
    alarms = server.alarms
    if not isinstance(alarms, _ForcedAlarms):
        alarms = server.alarms = _ForcedAlarms(alarms)
    return alarms


def _arrivals(server: Server) -> Iterator[_Arrivals]:
    """The doors in the place of listeners; made when they are asked for first."""
    reactor = server.reactor
    for listener in server.listeners:
        key = listener.sock.fileno()
        door = reactor.doors.get(key)
        if door is listener:
            door = reactor.doors[key] = _Arrivals(listener, reactor)
        if isinstance(door, _Arrivals):
            yield door


class Faults:
    """``broker.faults``. What lasts returns a ``Fault``, and happens to connections to come as well."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._begun: list[Fault] = []

    def clear(self) -> None:
        """End all that lasts, and thaw whoever is frozen. Nothing happens if the broker is not running."""
        with contextlib.suppress(NotRunning):
            self._host.call(self._clear)

    # -- connections --

    def close_connections(self, text: str = CLOSE_TEXT) -> None:
        """connection.close to all: 320, CONNECTION_FORCED with this text."""
        self._on_each(lambda link: link.adapter.force_close(text))

    def abort_connections(self, *, reset: bool = False) -> None:
        """Close all sockets without a word. Clients see the end of the stream, or a reset."""
        self._on_each(lambda link: abort(link, reset=reset))

    def freeze_connections(self) -> Fault:
        """Neither read from any connection nor write to it, as if the network held everything back."""
        return self._begin(lambda: _FrozenConnections(self._host))

    def drop_acks(self, connection: ConnectionHandle | None = None) -> Fault:
        """Lose every basic.ack that clients send, or one client sends: its messages stay unacked."""
        chosen = None if connection is None else connection.subject
        return self._begin(lambda: _DroppedAcks(self._host, chosen))

    def refuse_logins(self) -> Fault:
        """Refuse everybody who logs in with a password, as if it were wrong (403)."""
        return self._begin(lambda: _RefusedLogins(self._host))

    # -- publishers --

    def block_publishers(self, reason: str = "low on memory") -> Fault:
        """connection.blocked to every connection that publishes, and nothing more is read from it until the end."""
        return self._begin(lambda: _BlockedPublishers(self._host, reason))

    def nack_next(self, count: int = 1) -> PublishFault:
        """Refuse the next publishes, as a full queue does: they go nowhere, and where the channel confirms, the client
        gets basic.nack. A transaction with one of them fails (406).
        """
        return self._interfere(count, is_nack=True)

    def return_next(self, count: int = 1) -> PublishFault:
        """Find no route for the next publishes: those that are mandatory are returned (312), others are lost."""
        return self._interfere(count, is_nack=False)

    def _interfere(self, count: int, *, is_nack: bool) -> PublishFault:
        if count < 1:
            raise ValueError(f"count is {count}: how many publishes should it happen to?")
        return self._begin(lambda: PublishFault(self._host, Interference(count, is_nack=is_nack)))

    def _begin(self, make: Callable[[], F]) -> F:
        def act() -> F:
            fault = make()
            fault._begin()
            self._begun = [each for each in self._begun if not each.is_over] + [fault]
            return fault

        return self._host.call(act)

    def _clear(self) -> None:
        begun, self._begun = self._begun, []
        for fault in begun:
            fault._end()
        reactor = self._host.server.reactor
        for link in list(reactor.links.values()):
            reactor.thaw(link)

    def _on_each(self, act: Callable[[Link], None]) -> None:
        def act_on_each() -> None:
            for link in list(self._host.server.reactor.links.values()):
                act(link)

        self._host.call(act_on_each)
