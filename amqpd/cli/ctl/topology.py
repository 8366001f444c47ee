"""Commands about virtual hosts, exchanges, queues and bindings."""

from typing import Annotated, Any

import typer

from amqpd.cli.ctl.command import ColumnNames, Ctl, Vhost, command

_QueueName = Annotated[str, typer.Argument(metavar="QUEUE", show_default=False, help="The queue's name.")]
_ExchangeName = Annotated[str, typer.Argument(metavar="EXCHANGE", show_default=False, help="The exchange's name.")]
_Description = Annotated[str | None, typer.Option("--description", metavar="TEXT", help="What it is for.")]
_Tags = Annotated[str | None, typer.Option("--tags", metavar="TAG[,...]", help="Words to find it by.")]
_QueueType = Annotated[
    str | None,
    typer.Option(
        "--default-queue-type", metavar="classic|quorum", help="For durable queues whose clients say no type."
    ),
]
_VhostName = Annotated[str, typer.Argument(metavar="VHOST", show_default=False, help="The virtual host's name.")]


@command
def list_queues(ctl: Ctl, columns: ColumnNames = None, vhost: Vhost = "/") -> None:
    """List the queues of a virtual host.

    \b
    Columns, name and messages unless you say which:
      name vhost type durable auto_delete exclusive owner_pid arguments
      policy operator_policy effective_policy_definition state
      messages messages_ready messages_unacknowledged message_bytes_ready
      consumers exclusive_consumer_tag

    \b
    Examples:
      amqpd ctl list_queues
      amqpd ctl list_queues -p staging name messages_ready consumers
      amqpd ctl list_queues --format json name arguments | jq '.[].name'
    """
    ctl.list(f"Listing queues for vhost {vhost}", "list_queues", vhost=vhost, columns=columns or [])


@command
def list_exchanges(ctl: Ctl, columns: ColumnNames = None, vhost: Vhost = "/") -> None:
    """List the exchanges of a virtual host.

    \b
    Columns, name and type unless you say which:
      name vhost type durable auto_delete internal arguments policy
    """
    ctl.list(f"Listing exchanges for vhost {vhost}", "list_exchanges", vhost=vhost, columns=columns or [])


@command
def list_bindings(ctl: Ctl, columns: ColumnNames = None, vhost: Vhost = "/") -> None:
    """List the bindings of a virtual host.

    \b
    Columns, all of them unless you say which:
      source_name source_kind destination_name destination_kind
      routing_key arguments
    """
    ctl.list(f"Listing bindings for vhost {vhost}", "list_bindings", vhost=vhost, columns=columns or [])


@command
def purge_queue(ctl: Ctl, queue: _QueueName, vhost: Vhost = "/") -> None:
    """Drop all ready messages of a queue.

    Those that consumers hold stay theirs.
    """
    facts = ctl.call("purge_queue", vhost=vhost, name=queue)
    ctl.say(f"Queue {queue} in vhost {vhost} was purged of {facts['messages']} ready messages.", facts)


@command
def delete_queue(
    ctl: Ctl,
    queue: _QueueName,
    vhost: Vhost = "/",
    if_empty: Annotated[
        bool, typer.Option("-e", "--if-empty", help="Only if it has no ready message.", show_default=False)
    ] = False,
    if_unused: Annotated[
        bool, typer.Option("-u", "--if-unused", help="Only if it has no consumer.", show_default=False)
    ] = False,
) -> None:
    """Delete a queue with all its messages.

    Its bindings go too, and its consumers are cancelled.
    """
    facts = ctl.call("delete_queue", vhost=vhost, name=queue, if_empty=if_empty, if_unused=if_unused)
    ctl.say(f"Queue {queue} in vhost {vhost} was deleted with {facts['messages']} ready messages.", facts)


@command
def list_vhosts(ctl: Ctl, columns: ColumnNames = None) -> None:
    """List the virtual hosts.

    \b
    Columns, name unless you say which:
      name description tags default_queue_type tracing cluster_state
    """
    ctl.list("Listing vhosts", "list_vhosts", columns=columns or [])


@command
def add_vhost(
    ctl: Ctl,
    vhost: _VhostName,
    description: _Description = None,
    tags: _Tags = None,
    default_queue_type: _QueueType = None,
) -> None:
    """Make a virtual host.

    Nobody may enter it without permissions there: see set_permissions.
    """
    facts = ctl.call("add_vhost", name=vhost, **_metadata(description, tags, default_queue_type))
    ctl.say(f"Vhost {vhost} was added." if facts["is_new"] else f"Vhost {vhost} is there already.", facts)


@command
def update_vhost_metadata(
    ctl: Ctl,
    vhost: _VhostName,
    description: _Description = None,
    tags: _Tags = None,
    default_queue_type: _QueueType = None,
) -> None:
    """Describe a virtual host anew.

    What is not named stays.
    """
    values = _metadata(description, tags, default_queue_type)
    ctl.do(f"Vhost {vhost} is described anew.", "update_vhost_metadata", name=vhost, **values)


@command
def delete_vhost(ctl: Ctl, vhost: _VhostName) -> None:
    """Delete a virtual host with all in it.

    Its connections are closed (320).
    """
    ctl.do(f"Vhost {vhost} was deleted.", "delete_vhost", name=vhost)


@command
def list_delayed(
    ctl: Ctl,
    exchange: _ExchangeName,
    columns: ColumnNames = None,
    vhost: Vhost = "/",
    limit: Annotated[int, typer.Option("--limit", metavar="NUMBER", min=1, help="So many, those due first.")] = 100,
) -> None:
    """List messages that wait for their time.

    EXCHANGE is one of the type x-delayed-message.

    \b
    Columns, all of them unless you say which:
      id due_ms routing_key body_bytes persistent
    due_ms counts milliseconds since 1970.
    """
    ctl.list(
        f"Listing delayed messages of exchange {exchange} in vhost {vhost}",
        "list_delayed",
        vhost=vhost,
        exchange=exchange,
        columns=columns or [],
        limit=limit,
    )


@command
def cancel_delayed(
    ctl: Ctl,
    exchange: _ExchangeName,
    message: Annotated[str, typer.Argument(metavar="ID", show_default=False, help="As list_delayed shows it.")],
    vhost: Vhost = "/",
) -> None:
    """Drop a message that waits for its time."""
    ctl.do(
        f"Message {message} of exchange {exchange} was dropped.",
        "cancel_delayed",
        vhost=vhost,
        exchange=exchange,
        id=message,
    )


def _metadata(description: str | None, tags: str | None, default_queue_type: str | None) -> dict[str, Any]:
    """What was said of a virtual host."""
    words = None if tags is None else [tag.strip() for tag in tags.split(",") if tag.strip()]
    said = {"description": description, "tags": words, "default_queue_type": default_queue_type}
    return {name: value for name, value in said.items() if value is not None}
