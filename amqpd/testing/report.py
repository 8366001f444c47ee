"""How a broker stands, in a few lines for a person: what there is in each queue, who is connected, who is blocked.

It is for the text of an error: never much more than forty lines, and it says what it leaves out.
"""

from typing import Final

from amqpd.broker.broker import Broker
from amqpd.broker.queues.base import Queue
from amqpd.protocols.amqp091.channel import Channel
from amqpd.protocols.amqp091.connection import Connection
from amqpd.testing import peek

QUEUE_LINES: Final = 18
CONNECTION_LINES: Final = 18  # with their channels


def describe(broker: Broker) -> str:
    """The state of a broker, between two turns."""
    queues = [(vhost.name, queue) for vhost in broker.vhosts.values() for queue in vhost.queues.values()]
    connections = peek.open_connections(broker)
    return "\n".join(
        [
            "The broker has " + ("these queues:" if queues else "no queues."),
            *_bounded([_of_queue(vhost, queue) for vhost, queue in sorted(queues, key=_is_dull)], QUEUE_LINES),
            "It has " + ("these connections:" if connections else "no connections."),
            *_bounded([line for connection in connections for line in _of_connection(connection)], CONNECTION_LINES),
        ]
    )


def _is_dull(entry: tuple[str, Queue]) -> bool:
    """Whether it is left out rather than others: nothing is in it, and nobody waits for it."""
    _, queue = entry
    return not (queue.ready_count or queue.unacked_count or queue.consumers.all)


def _of_queue(vhost: str, queue: Queue) -> str:
    consumers = _counted(len(queue.consumers.all), "consumer")
    where = "" if vhost == "/" else f" in vhost '{vhost}'"
    return f"queue '{queue.name}'{where}: {queue.ready_count} ready, {queue.unacked_count} unacked, {consumers}"


def _of_connection(connection: Connection) -> list[str]:
    client = f", {connection.client}" if connection.client else ""
    blocked = f", blocked: {connection.alarm}" if connection.alarm and connection.is_publisher else ""
    channels = [channel for channel in connection.channels.values() if not channel.is_closing]
    return [
        f"connection {connection.name} of '{connection.user_name}' to vhost '{connection.vhost_name}'{client}{blocked}",
        *[f"  {_of_channel(channel)}" for channel in channels],
    ]


def _of_channel(channel: Channel) -> str:
    facts = [f"{len(channel.unacked)} unacked"]
    if channel.prefetch or channel.channel_prefetch:
        facts.append(f"prefetch {channel.prefetch or channel.channel_prefetch}")
    if channel.confirms is not None:
        facts.append(f"{channel.confirms.confirmed} of {_counted(channel.confirms.last, 'publish', 'es')} confirmed")
    if channel.tx is not None:
        facts.append("in a transaction")
    facts += [f"consumes '{consumer.queue.name}' as '{consumer.tag}'" for consumer in channel.consumers.values()]
    return f"channel {channel.number}: {', '.join(facts)}"


def _counted(count: int, noun: str, plural: str = "s") -> str:
    return f"{count} {noun}" + ("" if count == 1 else plural)


def _bounded(lines: list[str], limit: int) -> list[str]:
    kept = [f"  {line}" for line in lines[:limit]]
    return [*kept, f"  and {len(lines) - limit} more lines like these"] if len(lines) > limit else kept
