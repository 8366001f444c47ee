"""Commands about connections, channels and consumers."""

from typing import Annotated

import typer

from amqpd.cli.ctl.command import ColumnNames, Ctl, Vhost, command

_Reason = Annotated[str, typer.Argument(metavar="REASON", show_default=False, help="What the client is told.")]


@command
def list_connections(ctl: Ctl, columns: ColumnNames = None) -> None:
    """List the open connections.

    \b
    Columns, user, peer_host, peer_port and state unless you say which:
      name pid user vhost host port peer_host peer_port state channels
      channel_max frame_max timeout protocol client_properties
    A connection's pid is its name, here.
    """
    ctl.list("Listing connections", "list_connections", columns=columns or [])


@command
def list_channels(ctl: Ctl, columns: ColumnNames = None) -> None:
    """List the open channels.

    \b
    Columns, pid, user, consumer_count and messages_unacknowledged unless
    you say which:
      name pid connection number user vhost transactional confirm
      consumer_count messages_unacknowledged messages_unconfirmed
      messages_uncommitted acks_uncommitted prefetch_count
      global_prefetch_count
    """
    ctl.list("Listing channels", "list_channels", columns=columns or [])


@command
def list_consumers(ctl: Ctl, columns: ColumnNames = None, vhost: Vhost = "/") -> None:
    """List the consumers of a virtual host.

    \b
    Columns:
      queue_name channel_pid consumer_tag ack_required prefetch_count
      active arguments, and activity_status exclusive
    """
    ctl.list(f"Listing consumers in vhost {vhost}", "list_consumers", vhost=vhost, columns=columns or [])


@command
def close_connection(
    ctl: Ctl,
    connection: Annotated[
        str, typer.Argument(metavar="NAME", show_default=False, help="As list_connections name shows it.")
    ],
    reason: _Reason,
) -> None:
    """Close a connection.

    Its client is told why (320).

    \b
    Example:
      amqpd ctl close_connection '127.0.0.1:4711 -> 127.0.0.1:5672' 'too many messages'
    """
    ctl.do(f"Connection {connection} is closed.", "close_connection", name=connection, reason=reason)


@command
def close_all_connections(
    ctl: Ctl,
    reason: _Reason,
    vhost: Vhost = "/",
    everywhere: Annotated[bool, typer.Option("--global", help="Of all virtual hosts.", show_default=False)] = False,
    limit: Annotated[int, typer.Option("--limit", metavar="NUMBER", min=0, help="At most so many; 0 is all.")] = 0,
) -> None:
    """Close all connections of a virtual host.

    Their clients are told why (320).
    """
    facts = ctl.call("close_all_connections", reason=reason, vhost=vhost, limit=limit, everywhere=everywhere)
    ctl.say(f"Closed {facts['connections']} connections.", facts)
