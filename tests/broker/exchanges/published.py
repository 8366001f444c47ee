"""Messages as exchanges see them."""

from collections.abc import Mapping

from amqpd.broker import contents
from amqpd.broker.fields import Table
from amqpd.broker.publication import Publication, received
from tests.support import raw_peer


def published(
    routing_key: str = "",
    headers: Table | None = None,
    body: bytes = b"m",
    *,
    exchange: str = "x",
    persistent: bool = False,
    properties: Mapping[str, str] | None = None,
) -> Publication:
    """A message on channel 1, with these headers and other properties that are short strings."""
    header = raw_peer.content_header(len(body), raw_peer.NO_PROPERTIES)
    content = raw_peer.frame(raw_peer.CONTENT_HEADER, 1, header) + raw_peer.frame(raw_peer.BODY, 1, body)
    content = contents.with_headers(content, headers or {}, **(properties or {}))
    return received(exchange, routing_key, content, 1, persistent=persistent)
