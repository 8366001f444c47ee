"""Verbs of connections, channels and consumers. Columns: rabbitmqctl's, as far as they mean something here.

RabbitMQ names a connection by its Erlang process, its "pid"; here that is the connection's name, as the log has it.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from amqpd.broker.consumers import Consumer
from amqpd.broker.vhost import VirtualHost
from amqpd.management import field_tables
from amqpd.management.columns import Columns, listing
from amqpd.management.node import Node
from amqpd.management.requests import Done, Listing, Refused, Request, Result
from amqpd.protocols.amqp091.channel import Channel
from amqpd.protocols.amqp091.connection import Connection


def _peer(connection: Connection) -> tuple[str, str]:
    """Host and port of the client."""
    host, _, port = connection.name.partition(" -> ")[0].rpartition(":")
    return host.strip("[]"), port


def _own(connection: Connection) -> tuple[str, str]:
    host, _, port = connection.name.partition(" -> ")[2].rpartition(":")
    return host.strip("[]"), port


def _state(connection: Connection) -> str:
    return "blocked" if connection.alarm and connection.is_publisher else "running"


CONNECTION_COLUMNS: Final[Columns[Connection]] = {
    "name": lambda connection: connection.name,
    "pid": lambda connection: connection.name,
    "user": lambda connection: connection.user_name,
    "vhost": lambda connection: connection.vhost_name,
    "host": lambda connection: _own(connection)[0],
    "port": lambda connection: int(_own(connection)[1]),
    "peer_host": lambda connection: _peer(connection)[0],
    "peer_port": lambda connection: int(_peer(connection)[1]),
    "state": _state,
    "channels": lambda connection: len(connection.channels),
    "channel_max": lambda connection: connection.channel_max,
    "frame_max": lambda connection: int(connection.frame_max),
    "timeout": lambda connection: connection.heartbeat_s,
    "protocol": lambda connection: "AMQP 0-9-1",
    "client_properties": lambda connection: field_tables.to_json(connection.client_properties),
}
CONNECTIONS_USUAL: Final = ["user", "peer_host", "peer_port", "state"]


def _name(channel: Channel) -> str:
    return f"{channel.connection.name} ({channel.number})"


def _unconfirmed(channel: Channel) -> int:
    return channel.confirms.last - channel.confirms.confirmed if channel.confirms else 0


CHANNEL_COLUMNS: Final[Columns[Channel]] = {
    "name": _name,
    "pid": _name,
    "connection": lambda channel: channel.connection.name,
    "number": lambda channel: channel.number,
    "user": lambda channel: channel.connection.user_name,
    "vhost": lambda channel: channel.connection.vhost_name,
    "transactional": lambda channel: channel.tx is not None,
    "confirm": lambda channel: channel.confirms is not None,
    "consumer_count": lambda channel: len(channel.consumers),
    "messages_unacknowledged": lambda channel: len(channel.unacked),
    "messages_unconfirmed": _unconfirmed,
    "messages_uncommitted": lambda channel: len(channel.tx.publishes) if channel.tx else 0,
    "acks_uncommitted": lambda channel: len(channel.tx.settled) if channel.tx else 0,
    "prefetch_count": lambda channel: channel.prefetch,
    "global_prefetch_count": lambda channel: channel.channel_prefetch,
}
CHANNELS_USUAL: Final = ["pid", "user", "consumer_count", "messages_unacknowledged"]


class _Entry(NamedTuple):
    vhost: VirtualHost
    consumer: Consumer

    def channel(self) -> str:
        outlet = self.consumer.outlet
        return _name(outlet) if isinstance(outlet, Channel) else ""

    def is_active(self) -> bool:
        single = self.consumer.queue.consumers.single
        return single is None or single is self.consumer


CONSUMER_COLUMNS: Final[Columns[_Entry]] = {
    "queue_name": lambda entry: entry.consumer.queue.name,
    "channel_pid": _Entry.channel,
    "consumer_tag": lambda entry: entry.consumer.tag,
    "ack_required": lambda entry: not entry.consumer.no_ack,
    "prefetch_count": lambda entry: entry.consumer.prefetch,
    "active": _Entry.is_active,
    "activity_status": lambda entry: "up" if entry.is_active() else "waiting",
    "exclusive": lambda entry: entry.consumer.exclusive,
    "arguments": lambda entry: field_tables.to_json(entry.consumer.arguments),
}
CONSUMERS_USUAL: Final = [
    "queue_name",
    "channel_pid",
    "consumer_tag",
    "ack_required",
    "prefetch_count",
    "active",
    "arguments",
]


def list_connections(node: Node, request: Request) -> Listing:
    """All connections that are open."""
    return listing(request, CONNECTION_COLUMNS, CONNECTIONS_USUAL, list(_connections(node)))


def list_channels(node: Node, request: Request) -> Listing:
    """All channels of all connections."""
    channels = [channel for connection in _connections(node) for channel in connection.channels.values()]
    return listing(request, CHANNEL_COLUMNS, CHANNELS_USUAL, channels)


def list_consumers(node: Node, request: Request) -> Listing:
    """The consumers of a virtual host, queue by queue."""
    vhost = node.vhost(request.text("vhost"))
    entries = [_Entry(vhost, consumer) for queue in vhost.queues.values() for consumer in queue.consumers.all]
    return listing(request, CONSUMER_COLUMNS, CONSUMERS_USUAL, entries)


def close_connection(node: Node, request: Request) -> Done:
    """The connection of this name; its client is told why (320)."""
    name = request.text("name")
    for connection in node.broker.connections:
        if connection.name == name:
            connection.force_close(request.text("reason"))
            return Done()
    raise Refused(f"there is no connection '{name}': amqpd ctl list_connections name shows those that are open")


def close_all_connections(node: Node, request: Request) -> Done:
    """Those of a virtual host or of all of them, oldest first, up to a number of them."""
    chosen = list(node.broker.connections)
    if not request.flag("everywhere"):
        vhost = node.vhost(request.text("vhost"))
        chosen = [connection for connection in chosen if connection.vhost_name == vhost.name]
    limit = request.whole("limit", 0, lowest=0)
    chosen = chosen[:limit] if limit else chosen
    for connection in chosen:
        connection.force_close(request.text("reason"))
    return Done({"connections": len(chosen)})


def _connections(node: Node) -> Iterator[Connection]:
    return (connection for connection in node.broker.connections if isinstance(connection, Connection))


VERBS: Final[Mapping[str, Callable[[Node, Request], Result]]] = {
    "list_connections": list_connections,
    "list_channels": list_channels,
    "list_consumers": list_consumers,
    "close_connection": close_connection,
    "close_all_connections": close_all_connections,
}
