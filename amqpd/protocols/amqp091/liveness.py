"""Heartbeats and time-outs of a connection (AMQP 0-9-1, 4.2.7): what time itself asks for.

RabbitMQ's rule: a beat after half an interval of our silence, the end after two of the peer's, without a close method.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amqpd.protocols.amqp091.constants import HEARTBEAT_FRAME
from amqpd.protocols.amqp091.states import CLOSED, CLOSING, RUNNING, STATE_NAMES

if TYPE_CHECKING:
    from amqpd.protocols.amqp091.connection import Connection


def tick(connection: Connection, now: float, received_at: float, sent_at: float) -> float:
    """When to be asked again, in the seconds of ``now``."""
    if connection.state in (CLOSING, CLOSED):
        if not connection.ends_at:
            connection.ends_at = now + connection.linger_s
        if now >= connection.ends_at:
            connection.end()
        return connection.ends_at
    if connection.state != RUNNING:
        return _tick_handshake(connection, now)
    if connection.heartbeat_s == 0:
        return now + 3600.0
    silent_until = received_at + 2 * connection.heartbeat_s
    if now >= silent_until and connection.is_reading:  # beats that we do not read may well be there
        connection.why = f"missed heartbeats from the client, timeout: {connection.heartbeat_s}s"
        connection.abandon()
        return now
    beat_at = sent_at + connection.heartbeat_s / 2
    if now >= beat_at:
        connection.outbox.write(HEARTBEAT_FRAME)
        beat_at = now + connection.heartbeat_s / 2
    return min(beat_at, silent_until) if connection.is_reading else beat_at


def _tick_handshake(connection: Connection, now: float) -> float:
    ends_at = connection.opened_at + connection.tuning.handshake_timeout_s
    if now >= ends_at:
        connection.why = f"handshake timeout while {STATE_NAMES[connection.state]}"
        connection.abandon()
    return ends_at
