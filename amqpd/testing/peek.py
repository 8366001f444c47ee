"""What is in a queue, without any effect: the messages that are ready, and those that somebody holds.

Owns how they are found in the broker's own objects; ``views.py`` owns what becomes of each.
"""

import heapq
from collections.abc import Iterator

from amqpd.broker.broker import Broker
from amqpd.broker.message import Message
from amqpd.broker.queues.base import Queue
from amqpd.protocols.amqp091.channel import Channel
from amqpd.protocols.amqp091.connection import Connection
from amqpd.testing.views import MessageView, UnackedMessage, view_ready, view_unacked


def ready_messages(queue: Queue, limit: int) -> list[MessageView]:
    """The first ``limit`` ready messages, in the order in which consumers would get them. What is on disk is read."""
    return [view_ready(message) for message in queue.peek(limit)]


def unacked_messages(broker: Broker, queue: Queue, limit: int) -> list[UnackedMessage]:
    """The first ``limit`` messages of ``queue`` that somebody holds, in the order in which they would come again."""
    held = [entry for channel in open_channels(broker) for entry in _held_by(channel, queue)]
    return [
        view_unacked(message, delivery_tag=tag, channel=channel.number, connection=channel.connection.name)
        for message, tag, channel in heapq.nsmallest(limit, held, key=_place)
    ]


def open_connections(broker: Broker) -> list[Connection]:
    """Oldest first."""
    return [connection for connection in broker.connections if isinstance(connection, Connection)]


def open_channels(broker: Broker) -> list[Channel]:
    """Connection by connection; not those that the broker has closed, though their clients may not know yet."""
    channels = [channel for connection in open_connections(broker) for channel in connection.channels.values()]
    return [channel for channel in channels if not channel.is_closing]


_Held = tuple[Message, int, Channel]  # and the delivery tag


def _held_by(channel: Channel, queue: Queue) -> Iterator[_Held]:
    """What it has not settled, or has in a transaction that is not committed yet."""
    for tag, message in channel.unacked.by_tag.items():
        if message.queue is queue:
            yield message, tag, channel
    if channel.tx is not None:
        yield from ((message, tag, channel) for tag, message, _ in channel.tx.settled if message.queue is queue)


def _place(held: _Held) -> tuple[int, int]:
    message = held[0]
    return -message.priority, message.position
