"""Verbs of exchanges and bindings. Columns: rabbitmqctl's."""

from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.base import Exchange
from amqpd.broker.policies import EXCHANGE, POLICY
from amqpd.broker.vhost import VirtualHost
from amqpd.management import field_tables
from amqpd.management.columns import Columns, listing
from amqpd.management.node import Node
from amqpd.management.requests import Listing, Request, Result


class _Entry(NamedTuple):
    vhost: VirtualHost
    exchange: Exchange

    def policy(self) -> str:
        policy = self.vhost.policies.match(POLICY, self.vhost.name, EXCHANGE, self.exchange.name)
        return policy.name if policy else ""


EXCHANGE_COLUMNS: Final[Columns[_Entry]] = {
    "name": lambda entry: entry.exchange.name,
    "vhost": lambda entry: entry.vhost.name,
    "type": lambda entry: entry.exchange.type_name,
    "durable": lambda entry: entry.exchange.durable,
    "auto_delete": lambda entry: entry.exchange.auto_delete,
    "internal": lambda entry: entry.exchange.internal,
    "arguments": lambda entry: field_tables.to_json(entry.exchange.arguments),
    "policy": lambda entry: entry.policy(),
}
EXCHANGES_USUAL: Final = ["name", "type"]

BINDING_COLUMNS: Final[Columns[Binding]] = {
    "source_name": lambda binding: binding.source,
    "source_kind": lambda binding: "exchange",
    "destination_name": lambda binding: binding.destination,
    "destination_kind": lambda binding: "queue" if binding.to_queue else "exchange",
    "routing_key": lambda binding: binding.key,
    "arguments": lambda binding: field_tables.to_json(binding.arguments),
}


def list_exchanges(node: Node, request: Request) -> Listing:
    """The exchanges of a virtual host."""
    vhost = node.vhost(request.text("vhost"))
    entries = [_Entry(vhost, exchange) for exchange in vhost.exchanges.values()]
    return listing(request, EXCHANGE_COLUMNS, EXCHANGES_USUAL, entries)


def list_bindings(node: Node, request: Request) -> Listing:
    """The bindings of a virtual host, those of the default exchange first."""
    vhost = node.vhost(request.text("vhost"))
    return listing(request, BINDING_COLUMNS, list(BINDING_COLUMNS), list(_bindings(vhost)))


def _bindings(vhost: VirtualHost) -> Iterator[Binding]:
    for name in vhost.queues:
        yield Binding("", name, True, name)
    yield from vhost.bindings


VERBS: Final[Mapping[str, Callable[[Node, Request], Result]]] = {
    "list_exchanges": list_exchanges,
    "list_bindings": list_bindings,
}
