"""Where a basic.publish goes: from the method's bytes to a route, once for as long as nothing changes."""
# HOT for keys that keep changing. Bench: tests/bench, H-100K.

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from amqpd.broker import tables
from amqpd.errors import AccessRefused, NotImplementedByBroker
from amqpd.protocols.amqp091 import access, codec
from amqpd.protocols.amqp091.constants import BASIC_PUBLISH
from amqpd.protocols.amqp091.routes import Route, Target

if TYPE_CHECKING:
    from amqpd.broker.exchanges.base import Exchange
    from amqpd.protocols.amqp091.channel import Channel
    from amqpd.protocols.amqp091.connection import Connection

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
    target = channel.connection.targets.get(name) or _find_target(channel.connection, name)
    if target is None or bits & IMMEDIATE:
        return None
    if target.checks_key and not access.may_use_key(channel.connection, target.exchange, key):
        return None
    return _route(channel, target, key, payload, mandatory=bits & MANDATORY != 0)


def _find_target(connection: Connection, name: str) -> Target | None:
    """An exchange that the user may publish to, remembered from now on."""
    exchange = connection.vhost.exchanges.get(name)
    if exchange is None or exchange.internal or not access.may_write(connection, exchange):
        return None
    target = connection.targets[name] = _target(connection, exchange)
    return target


def _target(connection: Connection, exchange: Exchange) -> Target:
    by_message = connection.vhost.needs_message(exchange)
    return Target(exchange, by_message=by_message, checks_key=access.has_key_rule(connection, exchange))


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
    target = _target(channel.connection, exchange)
    return _route(channel, target, method["routing_key"], payload, mandatory=method["mandatory"])


def _route(channel: Channel, target: Target, key: str, payload: bytes, *, mandatory: bool) -> Route:
    vhost, exchange = channel.connection.vhost, target.exchange
    asker = vhost.askers.get(key) if exchange.name == "" else None
    return Route(
        channel,
        exchange,
        key,
        payload[6:-1] + b"\xce",  # behind class, method and ticket; before the octet of bits
        [] if target.by_message else vhost.route(exchange, key, None),
        mandatory=mandatory,
        by_message=target.by_message,
        asker=asker,
    )
