"""Trouble for one connection, channel or consumer, at the moment that a test says. Nothing happens to what is gone.

What lasts, or concerns all connections: ``faults.py``. Must not know how the broker is run: it acts between two turns
(``Host.call``).
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from typing import Final

from amqpd.broker.consumers import Consumer
from amqpd.broker.queues.base import Queue
from amqpd.broker.timers import Deadline
from amqpd.errors import ChannelException
from amqpd.protocols.amqp091.channel import Channel
from amqpd.protocols.amqp091.connection import Connection
from amqpd.server.reactor import Link, Reactor
from amqpd.testing.host import Host

CLOSE_TEXT: Final = "closed by the test"
RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: close sends RST, and throws away what is not sent
READ_BYTES: Final = 65536


def close_connection(host: Host, connection: Connection, text: str = CLOSE_TEXT) -> None:
    """connection.close: 320, CONNECTION_FORCED with this text."""
    host.call(lambda: connection.force_close(text))


def abort_connection(host: Host, connection: Connection, *, reset: bool = False) -> None:
    """Close its socket without a word. The client sees the end of the stream, or a reset."""
    host.call(lambda: with_link(host, connection, lambda reactor, link: abort(link, reset=reset)))


def freeze_connection(host: Host, connection: Connection, seconds: float | None = None) -> None:
    """Neither read from it nor write to it, for so many seconds of the broker's clock, or until it is thawed."""
    host.call(lambda: with_link(host, connection, lambda reactor, link: freeze(reactor, link, seconds)))


def thaw_connection(host: Host, connection: Connection) -> None:
    """Go on with it: what it has sent meanwhile is read, what it is owed is written."""
    host.call(lambda: with_link(host, connection, lambda reactor, link: reactor.thaw(link)))


def close_channel(host: Host, channel: Channel, code: int, text: str) -> None:
    """channel.close with this code and exactly this text. What the channel had unacked goes back to its queues."""
    error = type("ChannelFault", (ChannelException,), {"reply_code": code, "reply_text": text})()
    host.call(lambda: _close_channel(channel, error))


def cancel_consumer(host: Host, consumer: Consumer) -> None:
    """basic.cancel to the client, as when a queue is gone. What it has unacked, it may still ack."""
    host.call(lambda: _cancel(consumer))


def cancel_consumers(host: Host, queue: Queue) -> None:
    """The same to all consumers of a queue."""

    def act() -> None:
        for consumer in list(queue.consumers.all):
            _cancel(consumer)

    host.call(act)


def with_link(host: Host, connection: Connection, act: Callable[[Reactor, Link], None]) -> None:
    """Act on the connection's socket, if it is open."""
    reactor = host.server.reactor
    link = reactor.links.get(connection.outbox.key)
    if link is not None and link.adapter is connection:
        act(reactor, link)


def abort(link: Link, *, reset: bool) -> None:
    """See ``abort_connection``."""
    if reset:
        link.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    else:
        _read_the_rest(link.sock)  # or the kernel would send a reset all the same
    connection = link.adapter
    assert isinstance(connection, Connection)
    connection.why = "its socket was closed by the test"
    connection.abandon()


def _read_the_rest(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while sock.recv(READ_BYTES):
            pass


class _Thaw(Deadline):
    """The end of a freeze."""

    def __init__(self, reactor: Reactor, link: Link) -> None:
        super().__init__()
        self.reactor = reactor
        self.link = link

    def on_deadline(self, now_ms: int) -> None:
        self.reactor.thaw(self.link)


def freeze(reactor: Reactor, link: Link, seconds: float | None) -> None:
    """See ``freeze_connection``. What was said of its end before is forgotten."""
    _forget_thaw(reactor, link)
    reactor.freeze(link)
    if seconds is not None:
        turn = reactor.turn
        turn.timers.set(_Thaw(reactor, link), turn.now_ms + int(seconds * 1000.0))


def _forget_thaw(reactor: Reactor, link: Link) -> None:
    timers = reactor.turn.timers
    for _, _, deadline in timers.heap:
        if isinstance(deadline, _Thaw) and deadline.link is link:
            timers.clear(deadline)


def _close_channel(channel: Channel, error: ChannelException) -> None:
    connection = channel.connection
    if connection.channels.get(channel.number) is channel and not channel.is_closing:
        connection.close_channel(channel, error)


def _cancel(consumer: Consumer) -> None:
    if not consumer.cancelled and isinstance(consumer.outlet, Channel):
        consumer.outlet.connection.vhost.remove_consumer(consumer)
        consumer.outlet.on_consumer_cancelled(consumer)
