"""What is remembered of methods with these very bytes: where a publish goes, and where a get takes from."""
# HOT. Looked up once a publish or get; dropped whenever exchanges, bindings or queues change.

from __future__ import annotations

from typing import TYPE_CHECKING

from mypy_extensions import mypyc_attr

if TYPE_CHECKING:
    from amqpd.broker.exchanges.base import Exchange
    from amqpd.broker.ports import Asker
    from amqpd.broker.queues.base import Queue
    from amqpd.protocols.amqp091.channel import Channel


@mypyc_attr(acyclic=True)  # thousands where keys keep changing; the connection forgets them itself
class Route:
    """``address``: exchange and routing key as on the wire, then a frame end. ``by_message``: ask the exchange for
    each message. ``asker``: who gets it as an answer, instead of queues."""

    def __init__(
        self,
        channel: Channel,
        exchange: Exchange,
        routing_key: str,
        address: bytes,
        queues: list[Queue],
        *,
        mandatory: bool,
        by_message: bool,
        asker: Asker | None = None,
    ) -> None:
        self.channel = channel
        self.exchange = exchange
        self.routing_key = routing_key
        self.address = address
        self.queues = queues
        self.mandatory = mandatory
        self.by_message = by_message
        self.asker = asker


@mypyc_attr(acyclic=True)
class Target:
    """An exchange that this connection may publish to. ``checks_key``: not with every routing key."""

    def __init__(self, exchange: Exchange, *, by_message: bool, checks_key: bool) -> None:
        self.exchange = exchange
        self.by_message = by_message
        self.checks_key = checks_key


class Source:
    """A basic.get: whose answer it is, from which queue."""

    def __init__(self, channel: Channel, queue: Queue, *, no_ack: bool) -> None:
        self.channel = channel
        self.queue = queue
        self.no_ack = no_ack
