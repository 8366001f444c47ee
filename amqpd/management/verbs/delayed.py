"""Verbs of delayed messages: those that wait at exchanges of the type x-delayed-message."""

from collections.abc import Callable, Mapping
from typing import Final

from amqpd.broker.exchanges.delayed import DelayedExchange, DelayedMessage
from amqpd.broker.vhost import VirtualHost
from amqpd.management.columns import Columns, listing
from amqpd.management.node import Node
from amqpd.management.requests import Done, Listing, Refused, Request, Result

LISTED_MAX: Final = 1_000  # each is read from the store, all in one turn
COLUMNS: Final[Columns[DelayedMessage]] = {
    "id": lambda message: message.id,
    "due_ms": lambda message: message.due_ms,
    "routing_key": lambda message: message.routing_key,
    "body_bytes": lambda message: message.body_bytes,
    "persistent": lambda message: message.persistent,
}


def list_delayed(node: Node, request: Request) -> Listing:
    """Those that wait at one exchange, up to a number of them; those that are due first come first."""
    exchange = _find(node.vhost(request.text("vhost")), request.text("exchange"))
    limit = min(request.whole("limit", LISTED_MAX, lowest=1), LISTED_MAX)
    return listing(request, COLUMNS, list(COLUMNS), exchange.delayed(limit))


def cancel_delayed(node: Node, request: Request) -> Done:
    """Drop one that waits."""
    exchange = _find(node.vhost(request.text("vhost")), request.text("exchange"))
    name = request.text("id")
    ticket = exchange.cancel(name)
    if ticket is None:
        raise Refused(
            f"no message {name} waits at exchange '{exchange.name}': its time may have come, see list_delayed"
        )
    return Done(ticket=ticket)


def _find(vhost: VirtualHost, name: str) -> DelayedExchange:
    exchange = vhost.exchanges.get(name)
    if exchange is None:
        raise Refused(f"exchange '{name}' does not exist in virtual host '{vhost.name}'")
    if not isinstance(exchange, DelayedExchange):
        raise Refused(f"exchange '{name}' is of type {exchange.type_name}: messages wait at x-delayed-message only")
    return exchange


VERBS: Final[Mapping[str, Callable[[Node, Request], Result]]] = {
    "list_delayed": list_delayed,
    "cancel_delayed": cancel_delayed,
}
