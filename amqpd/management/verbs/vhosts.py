"""Verbs of virtual hosts."""

from collections.abc import Callable, Mapping
from typing import Final

from amqpd.broker.vhost import VirtualHost
from amqpd.management.columns import Columns, listing
from amqpd.management.node import Node
from amqpd.management.requests import Done, Listing, Misused, Request, Result

COLUMNS: Final[Columns[VirtualHost]] = {
    "name": lambda vhost: vhost.name,
    "description": lambda vhost: vhost.description,
    "tags": lambda vhost: list(vhost.tags),
    "default_queue_type": lambda vhost: vhost.default_queue_type or "undefined",
    "tracing": lambda vhost: False,
    "cluster_state": lambda vhost: "running",
}
USUAL: Final = ["name"]
QUEUE_TYPES: Final = ("classic", "quorum")


def list_vhosts(node: Node, request: Request) -> Listing:
    """All virtual hosts."""
    return listing(request, COLUMNS, USUAL, list(node.broker.vhosts.values()))


def add_vhost(node: Node, request: Request) -> Done:
    """A virtual host; one that is there stays as it is."""
    name = request.name("name")
    if name in node.broker.vhosts:
        return Done({"is_new": False})
    ticket = node.broker.add_vhost(
        name,
        description=request.text("description", ""),
        tags=request.texts("tags"),
        default_queue_type=_queue_type(request, ""),
    )
    return Done({"is_new": True}, ticket)


def update_vhost_metadata(node: Node, request: Request) -> Done:
    """What is said of a virtual host from now on; what the request does not say stays."""
    vhost = node.vhost(request.text("name"))
    ticket = node.broker.add_vhost(
        vhost.name,
        description=request.text("description", vhost.description),
        tags=request.texts("tags", list(vhost.tags)),
        default_queue_type=_queue_type(request, vhost.default_queue_type),
    )
    return Done(ticket=ticket)


def _queue_type(request: Request, usual: str) -> str:
    queue_type = request.text("default_queue_type", usual)
    if queue_type and queue_type not in QUEUE_TYPES:
        raise Misused(f"the default queue type must be one of {', '.join(QUEUE_TYPES)}, not {queue_type}")
    return queue_type


def delete_vhost(node: Node, request: Request) -> Done:
    """A virtual host with all that is in it; its connections are closed (320)."""
    vhost = node.vhost(request.text("name"))
    return Done(ticket=node.broker.delete_vhost(vhost.name))


VERBS: Final[Mapping[str, Callable[[Node, Request], Result]]] = {
    "list_vhosts": list_vhosts,
    "add_vhost": add_vhost,
    "update_vhost_metadata": update_vhost_metadata,
    "delete_vhost": delete_vhost,
}
