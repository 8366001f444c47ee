"""What a test sees of messages: plain Python values, complete when they are made, with nothing of the broker in them.

Owns how properties and field tables become such values. Types: AMQP 0-9-1, 4.2.5.5 with RabbitMQ's errata.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from amqpd.broker import contents, tables
from amqpd.broker.fields import Field, Table
from amqpd.broker.message import BLIND, Message
from amqpd.protocols.amqp091.hot_codec import body_of

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class MessageProperties:
    """The properties of a message: None for those that it does not have; no headers are an empty dict.

    ``expiration`` is in milliseconds, as text, as on the wire. ``timestamp`` is in UTC; one that is too late for a
    datetime stays the number that it is, in seconds since 1970. Bytes of a text that are not UTF-8 are lone surrogates.
    """

    content_type: str | None = None
    content_encoding: str | None = None
    headers: dict[str, Any] = field(default_factory=dict)
    delivery_mode: int | None = None
    priority: int | None = None
    correlation_id: str | None = None
    reply_to: str | None = None
    expiration: str | None = None
    message_id: str | None = None
    timestamp: datetime | int | None = None
    type: str | None = None
    user_id: str | None = None
    app_id: str | None = None

    def __repr__(self) -> str:
        """What it has, and no more: it is read in the output of tests that failed."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        shown = [f"{name}={value!r}" for name, value in values.items() if value is not None and value != {}]
        return f"MessageProperties({', '.join(shown)})"


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageView:
    """A message as a consumer would get it."""

    body: bytes
    properties: MessageProperties
    exchange: str
    routing_key: str
    redelivered: bool = False

    @property
    def headers(self) -> dict[str, Any]:
        """Those of the properties."""
        return self.properties.headers

    def json(self) -> Any:
        """What the body says, read as JSON. Raises ValueError."""
        return json.loads(self.body)


@dataclass(frozen=True, slots=True, kw_only=True)
class UnackedMessage(MessageView):
    """A message that somebody holds, and who: ``consumer_tag`` is None for what was fetched with basic.get;
    ``channel`` is a number, ``connection`` a name.
    """

    delivery_tag: int
    consumer_tag: str | None
    channel: int
    connection: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedMessage(MessageView):
    """A message as it was published, and the names of the queues that it reached."""

    queues: tuple[str, ...]
    vhost: str


def view_ready(message: Message) -> MessageView:
    """A message that waits in its queue."""
    return MessageView(**_facts_of(message))


def view_unacked(message: Message, *, delivery_tag: int, channel: int, connection: str) -> UnackedMessage:
    """A message that was delivered, and by what it is known to whoever has it."""
    return UnackedMessage(
        **_facts_of(message),
        delivery_tag=delivery_tag,
        consumer_tag=None if message.consumer is None else message.consumer.tag,
        channel=channel,
        connection=connection,
    )


def view_published(
    content: bytes, exchange: str, routing_key: str, queues: tuple[str, ...], vhost: str
) -> PublishedMessage:
    """What was published: ``content`` is its content frames."""
    return PublishedMessage(
        body=body_of(content),
        properties=read_properties(content),
        exchange=exchange,
        routing_key=routing_key,
        queues=queues,
        vhost=vhost,
    )


def _facts_of(message: Message) -> dict[str, Any]:
    content, address = message.content, message.address
    if message.returns:
        content = contents.with_delivery_count(content, message.returns)
    if message.channel & BLIND:
        content = contents.without_blind_copies(content)
    middle = 1 + address[0]
    return {
        "body": body_of(content),
        "properties": read_properties(content),
        "exchange": tables.text_of(address[1:middle]),
        "routing_key": tables.text_of(address[middle + 1 : -1]),
        "redelivered": message.redelivered,
    }


# -- properties and field tables --


def read_properties(content: bytes) -> MessageProperties:
    """The properties that content frames begin with; they were checked when they came."""
    texts = {name: contents.find_property(content, name) for name in _READERS}
    values = {name: _READERS[name](text) for name, text in texts.items() if text is not None}
    return MessageProperties(headers=plain_table(contents.read_headers(content)), **values)


def plain_table(table: Table) -> dict[str, Any]:
    """The values of a field table by name: bool, int, float, str, bytes, None, lists and dicts of these; Decimal for a
    decimal, a datetime in UTC for a timestamp, and bytes for a text that is not UTF-8.
    """
    return {name: _plain(typed) for name, typed in table.items()}


def _plain(typed: Field) -> Any:
    kind, value = typed
    match value:
        case dict():
            return plain_table(value)
        case list():
            return [_plain(item) for item in value]
        case (scale, unscaled):
            return _decimal(scale, unscaled)
        case int() if kind == "T":
            return _datetime(value)
        case str() if not _is_unicode(value):
            return tables.bytes_of(value)
    return value


def _datetime(seconds: int | str) -> datetime | int:
    seconds = int(seconds)
    try:
        return _EPOCH + timedelta(seconds=seconds)
    except OverflowError:
        return seconds


def _decimal(scale: int, unscaled: int) -> Decimal:
    """The standard says that it is unsigned; clients write it with a sign."""
    signed = unscaled - (1 << 32) if unscaled >= 1 << 31 else unscaled
    return Decimal(f"{signed}e-{scale}")


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_READERS: Final[dict[str, Callable[[str], Any]]] = {
    "content_type": str,
    "content_encoding": str,
    "delivery_mode": int,
    "priority": int,
    "correlation_id": str,
    "reply_to": str,
    "expiration": str,
    "message_id": str,
    "timestamp": _datetime,
    "type": str,
    "user_id": str,
    "app_id": str,
}
