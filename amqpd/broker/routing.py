"""Routing: from an exchange and a message's address to the queues it reaches.

Owns the walk through bindings between exchanges and through alternate exchanges. Must not know what a queue is, nor
how a type matches (``exchanges/``).

Rules: AMQP 0-9-1 section 3.1.3.1 (default exchange); RabbitMQ: Exchange to Exchange Bindings, Alternate Exchanges,
Sender-selected Distribution (CC and BCC).
"""
# HOT for keys that keep changing; plain on purpose: callers keep the answers by (exchange, routing key) where
# needs_message says that they may, and drop them when exchanges, bindings or queues change. Bench: tests/bench, H-100K.

from collections.abc import Container, Iterator, Mapping, Sequence

from amqpd.broker.exchanges.base import Exchange
from amqpd.broker.publication import Publication


def route_keys(
    exchanges: Mapping[str, Exchange],
    queues: Container[str],
    source: Exchange,
    routing_keys: Sequence[str],
    message: Publication | None,
) -> list[str]:
    """The names of the queues that a message reaches, each once, nearest first. It may be ``kept`` on the way.

    With several keys (CC, BCC) that is not the union of one walk per key: an exchange hands to its alternate only when
    none of the keys finds anything.
    """
    if source.name == "":
        # Only as the source: as somebody's alternate the default exchange has no bindings, and routes nothing.
        return list(dict.fromkeys(key for key in routing_keys if key in queues))
    reached: dict[str, None] = {}
    seen = {source.name: source}
    waiting = [source]
    for exchange in waiting:  # grows while it is walked
        if message is not None and exchange.keep(message):
            message.kept = True
            continue
        is_matched = False
        successors: list[str] = []
        for routing_key in routing_keys if exchange.uses_keys else routing_keys[:1]:
            for binding in exchange.match(routing_key, message):
                is_matched = True
                if not binding.to_queue:
                    successors.append(binding.destination)
                elif binding.destination in queues:
                    reached[binding.destination] = None
        # Any match will do, even of an exchange that leads nowhere: RabbitMQ asks each exchange by itself.
        if not is_matched and exchange.alternate is not None:
            successors.append(exchange.alternate)
        if successors:
            _visit(successors, exchanges, seen, waiting)
    return list(reached)


def needs_message(exchanges: Mapping[str, Exchange], source: Exchange) -> bool:
    """Whether any exchange that a message may come to from here decides by more than its key, or keeps messages."""
    return any(exchange.uses_message or exchange.keeps_messages for exchange in _reachable(exchanges, source))


def keeps_messages(exchanges: Mapping[str, Exchange], source: Exchange) -> bool:
    """Whether any of them keeps messages: asking where one goes changes something."""
    return any(exchange.keeps_messages for exchange in _reachable(exchanges, source))


def _reachable(exchanges: Mapping[str, Exchange], source: Exchange) -> Iterator[Exchange]:
    """The exchanges that a message may come to from ``source``, itself first."""
    seen = {source.name: source}
    waiting = [source]
    for exchange in waiting:  # grows while it is walked
        yield exchange
        successors = [binding.destination for binding in exchange.exchange_bindings]
        if exchange.alternate is not None:
            successors.append(exchange.alternate)
        _visit(successors, exchanges, seen, waiting)


def _visit(
    names: list[str], exchanges: Mapping[str, Exchange], seen: dict[str, Exchange], waiting: list[Exchange]
) -> None:
    """Line up those that exist and were not seen: a missing alternate is nothing, a cycle ends."""
    for name in names:
        exchange = exchanges.get(name)
        if exchange is not None and name not in seen:
            seen[name] = exchange
            waiting.append(exchange)
