"""basic.get: from the method's bytes to its queue, once for as long as nothing changes; and the answer."""
# HOT for who polls. Bench: tests/bench, scenario N.   Twin: commands.basic_get; tests/twins/test_frames.py.

from __future__ import annotations

from typing import TYPE_CHECKING

from amqpd.broker import tables
from amqpd.broker.arguments import QUORUM
from amqpd.broker.queues.base import Queue
from amqpd.errors import AmqpError
from amqpd.protocols.amqp091 import access, codec
from amqpd.protocols.amqp091.constants import BASIC_GET_EMPTY
from amqpd.protocols.amqp091.routes import Source

if TYPE_CHECKING:
    from amqpd.protocols.amqp091.channel import Channel


def find_source(channel: Channel, frame: bytes) -> Source | None:
    """What a whole method frame gets from; None when the plain road must say what is wrong, or which queue is meant."""
    payload = frame[7:-1]
    # As codec.decode reads it: class, method, ticket, the queue's name, bits.
    if len(payload) < 9 or payload[6] == 0 or len(payload) != 8 + payload[6]:
        return None
    vhost, name = channel.connection.vhost, tables.text_of(payload[7:-1])
    try:
        access.check(channel.connection, "read", "queue", name)
        queue = vhost.get_queue(name, channel.connection)
    except AmqpError:
        return None
    if is_locked(queue):
        return None
    return Source(channel, queue, no_ack=payload[-1] & 1 != 0)


def is_locked(queue: Queue) -> bool:
    """RabbitMQ's rule: a quorum queue with a single active consumer is its alone."""
    return queue.consumers.single_active and queue.settings.queue_type == QUORUM


def answer(channel: Channel, queue: Queue, no_ack: bool) -> int:
    """One message, now, or get-empty. The ticket to wait for before either; 0 when it was said."""
    ticket = queue.hold_ticket()
    if ticket:
        return ticket
    message = queue.get()
    if message is None:
        channel.outbox.write(codec.method_frame(channel.number, BASIC_GET_EMPTY))
    else:
        channel.get(queue, message, no_ack)
    return 0
