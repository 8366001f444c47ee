"""Where a basic.publish goes: from the method's bytes to a route, once for as long as nothing changes."""
# HOT for keys that keep changing. Bench: tests/bench, H-100K.

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from amqpd.broker import tables
from amqpd.errors import AccessRefused, NotImplementedByBroker
from amqpd.protocols.amqp091 import access, codec
from amqpd.protocols.amqp091.constants import BASIC_PUBLISH
from amqpd.protocols.amqp091.routes import Route

if TYPE_CHECKING:
    from amqpd.broker.exchanges.base import Exchange
    from amqpd.protocols.amqp091.channel import Channel

# Bits of basic.publish.
MANDATORY: Final = 1
IMMEDIATE: Final = 2


def find_route(channel: Channel, frame: bytes) -> Route | None:
    """The route of a whole method frame; None when the plain road must say what is wrong with it."""
    payload = frame[7:-1]
    # As codec.decode reads it, in a fraction of its time: class, method, ticket, two names, bits.
    key_at = 8 + payload[6] if len(payload) > 6 else 0
    if not 0 < key_at < len(payload) or len(payload) != key_at + payload[key_at - 1] + 1:
        return None
    name, key, bits = tables.text_of(payload[7 : key_at - 1]), tables.text_of(payload[key_at:-1]), payload[-1]
    exchange = channel.connection.vhost.exchanges.get(name)
    if exchange is None or exchange.internal or bits & IMMEDIATE:
        return None
    if not access.may_publish(channel.connection, exchange, key):
        return None
    return _route(channel, exchange, key, payload, mandatory=bits & MANDATORY != 0)


def resolve(channel: Channel, payload: bytes) -> Route:
    """The route of a method's payload. Raises NotFound, AccessRefused, NotImplementedByBroker."""
    method = codec.decode(codec.SCHEMAS[BASIC_PUBLISH], payload, 4)
    if method["immediate"]:
        raise NotImplementedByBroker("immediate=true")
    vhost = channel.connection.vhost
    access.check(channel.connection, "write", "exchange", method["exchange"])
    exchange = vhost.get_exchange(method["exchange"])
    if exchange.internal:
        raise AccessRefused(f"cannot publish to internal exchange '{exchange.name}' in vhost '{vhost.name}'")
    access.check_key(channel.connection, exchange, method["routing_key"])
    return _route(channel, exchange, method["routing_key"], payload, mandatory=method["mandatory"])


def _route(channel: Channel, exchange: Exchange, key: str, payload: bytes, *, mandatory: bool) -> Route:
    vhost = channel.connection.vhost
    asker = vhost.askers.get(key) if exchange.name == "" else None
    by_message = vhost.needs_message(exchange)
    return Route(
        channel,
        exchange,
        key,
        payload[6:-1] + b"\xce",  # behind class, method and ticket; before the octet of bits
        [] if by_message else vhost.route(exchange, key, None),
        mandatory=mandatory,
        by_message=by_message,
        asker=asker,
    )
