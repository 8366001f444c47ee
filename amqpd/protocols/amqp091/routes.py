"""What is remembered of a publish method: where messages with these very bytes go."""
# HOT. Looked up once a publish; dropped whenever exchanges, bindings or queues change.

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amqpd.broker.exchanges.base import Exchange
    from amqpd.broker.ports import Asker
    from amqpd.broker.queues.base import Queue
    from amqpd.protocols.amqp091.channel import Channel


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
