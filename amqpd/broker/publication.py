"""A message on its way through exchanges: what they may decide by, read when one asks.

Made where a key alone does not decide (headers, CC, hashes, delays), and for what the broker itself publishes: dead
letters, delayed messages. A message that only its key routes never becomes one.
"""

from functools import cached_property

from amqpd.broker import contents, tables
from amqpd.broker.fields import Table

CARBON_COPIES = ("CC", "BCC")


class Publication:
    """``content``: content frames as on channel number ``channel``. ``exchange`` and ``routing_key``: where it was
    published, as consumers are told. ``kept``: an exchange took it instead of routing it on."""

    def __init__(self, exchange: str, routing_key: str, content: bytes, channel: int, *, persistent: bool) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        self.content = content
        self.channel = channel
        self.persistent = persistent
        self.kept = False

    @cached_property
    def headers(self) -> Table:
        """The headers, empty when there are none."""
        return contents.read_headers(self.content)

    @cached_property
    def address(self) -> bytes:
        """Exchange and routing key as a delivery has them, and a frame end (``Message.address``)."""
        return tables.write_shortstr(self.exchange) + tables.write_shortstr(self.routing_key) + b"\xce"

    @property
    def keys(self) -> list[str]:
        """All routing keys: its own, then those of the headers CC and BCC (RabbitMQ: sender-selected distribution)."""
        return [self.routing_key, *copies(self.headers)]

    def find(self, name: str) -> str | None:
        """A property other than the headers as text, by the name ``contents.PROPERTY_FLAGS`` has."""
        return contents.find_property(self.content, name)


def copies(headers: Table) -> list[str]:
    """The routing keys in the headers CC and BCC."""
    keys: list[str] = []
    for name in CARBON_COPIES:
        field = headers.get(name)
        if field is not None and isinstance(field.value, list):
            keys += [item.value for item in field.value if isinstance(item.value, str)]
    return keys
