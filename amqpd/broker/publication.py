"""A message on its way through exchanges: what they may decide by, read when one asks.

Made where a key alone does not decide (headers, CC, hashes, delays), and for what the broker itself publishes: dead
letters, delayed messages. A message that only its key routes never becomes one.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from amqpd.broker import contents, tables
from amqpd.broker.fields import TYPE_NAMES, Table
from amqpd.broker.message import BLIND
from amqpd.errors import PreconditionFailed

if TYPE_CHECKING:
    from amqpd.broker.exchanges.base import Exchange

CARBON_COPIES = ("CC", "BCC")


class Publication:
    """``content``: content frames as on channel number ``channel`` (which may have BLIND, as ``Message.channel``).
    ``exchange`` and ``routing_key``: where it was published, as consumers are told. ``kept``: an exchange took it
    instead of routing it on. ``ticket``: what its confirm has to wait for, beside its queues. ``passed``: exchanges
    that have not seen it before. ``refused``: by a queue that was full. ``is_dead``: the broker publishes it once more,
    out of a queue where it died. ``is_routed``: where it goes is known already. ``moved``: out of a place on disk.
    """

    def __init__(self, exchange: str, routing_key: str, content: bytes, channel: int, *, persistent: bool) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        self.content = content
        self.channel = channel
        self.persistent = persistent
        self.kept = False
        self.refused = False
        self.is_routed = False
        self.moved = False
        self.is_dead = False
        self.ticket = 0
        self.passed: list[Exchange] = []

    def on_enqueued(self) -> None:
        """It is in a queue, or kept: from now on others with its id are duplicates."""
        for exchange in self.passed:
            exchange.note(self)

    @cached_property
    def headers(self) -> Table:
        """The headers, empty when there are none."""
        return contents.read_headers(self.content)

    @cached_property
    def address(self) -> bytes:
        """Exchange and routing key as a delivery has them, and a frame end (``Message.address``)."""
        return tables.write_shortstr(self.exchange) + tables.write_shortstr(self.routing_key) + b"\xce"

    @cached_property
    def keys(self) -> list[str]:
        """All routing keys: its own, then those of the headers CC and BCC (RabbitMQ: sender-selected distribution)."""
        return [self.routing_key, *copies(self.headers)]

    def shown(self) -> bytes:
        """The content as others see it."""
        return contents.without_blind_copies(self.content) if self.channel & BLIND else self.content

    @property
    def ttl_ms(self) -> int:
        """Its own time to live, -1 for none; it was checked when it came."""
        text = self.find("expiration")
        return -1 if text is None else int(text)

    def find(self, name: str) -> str | None:
        """A property other than the headers as text, by the name ``contents.PROPERTY_FLAGS`` has."""
        return contents.find_property(self.content, name)


def received(exchange: str, routing_key: str, content: bytes, channel: int, *, persistent: bool) -> Publication:
    """A message from a client. Raises PreconditionFailed for CC or BCC of a wrong type."""
    message = Publication(exchange, routing_key, content, channel, persistent=persistent)
    for name in CARBON_COPIES:
        field = message.headers.get(name)
        if field is not None and field.kind != "A":
            kind = TYPE_NAMES[field.kind]
            raise PreconditionFailed(f'invalid message: {{unacceptable_type_in_header,"{name}",{kind}}}')
    if "BCC" in message.headers:
        message.channel |= BLIND
    return message


def copies(headers: Table) -> list[str]:
    """The routing keys in the headers CC and BCC."""
    keys: list[str] = []
    for name in CARBON_COPIES:
        field = headers.get(name)
        if field is not None and isinstance(field.value, list):
            keys += [item.value for item in field.value if isinstance(item.value, str)]
    return keys
