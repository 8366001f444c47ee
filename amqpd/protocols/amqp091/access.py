"""What is asked before a method is carried out: may this user do that here, and is there room for one more.

Each function raises the error that the peer gets, in RabbitMQ's order of questions and with its texts, or does nothing.
Names are asked about whether or not there is such a thing, so that who may not use one does not learn whether it is
there. Rules: RabbitMQ, Access Control, Topic Authorisation, Virtual Host Limits, User Limits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from amqpd.broker.exchanges.topic import TopicExchange
from amqpd.broker.permissions import Verb
from amqpd.broker.vhost_limits import USER_LIMITS, VHOST_LIMITS
from amqpd.errors import AccessRefused, NotAllowed, PreconditionFailed

if TYPE_CHECKING:
    from amqpd.broker.exchanges.base import Exchange
    from amqpd.broker.fields import Table
    from amqpd.protocols.amqp091.connection import Connection


# -- connections and channels --


def check_open(connection: Connection, vhost: str) -> None:
    """Whether the user may enter a virtual host, which is there. Raises NotAllowed."""
    broker, user = connection.broker, connection.user_name
    room = broker.limits.find(VHOST_LIMITS, vhost, "max-connections")
    refused = f"access to vhost '{vhost}' refused for user '{user}'"
    if room is not None and sum(other.vhost_name == vhost for other in broker.connections) >= room:
        raise NotAllowed(f"{refused}: connection limit ({room}) is reached")
    room = broker.limits.find(USER_LIMITS, user, "max-connections")
    if room is not None and sum(other.user_name == user for other in broker.connections) >= room:
        raise NotAllowed(f"connection refused for user '{user}': user connection limit ({room}) is reached")
    if not broker.permissions.may_enter(user, vhost):
        raise NotAllowed(refused)


def check_channel(connection: Connection) -> None:
    """Whether the user may open one more channel. Raises NotAllowed."""
    broker, user = connection.broker, connection.user_name
    room = broker.limits.find(USER_LIMITS, user, "max-channels")
    if room is not None and sum(one.channel_count() for one in broker.connections if one.user_name == user) >= room:
        raise NotAllowed(
            f"number of channels opened for user '{user}' has reached the maximum allowed user limit of ({room})"
        )


# -- queues and exchanges --


def check(connection: Connection, verb: Verb, kind: str, name: str) -> None:
    """The name of a ``kind``, that is a queue or an exchange. Raises AccessRefused."""
    connection.broker.permissions.check(connection.user_name, connection.vhost.name, verb, kind, name)


def check_new_queue(connection: Connection, name: str, arguments: Table) -> None:
    """One that is not there yet: there must be room, and to send what dies in it to an exchange is to read from the
    one and to write to the other. Raises AccessRefused, PreconditionFailed."""
    vhost = connection.vhost
    room = connection.broker.limits.find(VHOST_LIMITS, vhost.name, "max-queues")
    if room is not None and len(vhost.queues) >= room:
        raise PreconditionFailed(
            f"cannot declare queue '{name}': queue limit in vhost '{vhost.name}' ({room}) is reached"
        )
    _check_way(connection, "queue", name, arguments, "x-dead-letter-exchange")


def check_new_exchange(connection: Connection, name: str, arguments: Table) -> None:
    """The same with what an exchange cannot route. Raises AccessRefused."""
    _check_way(connection, "exchange", name, arguments, "alternate-exchange")


def _check_way(connection: Connection, kind: str, name: str, arguments: Table, argument: str) -> None:
    field = arguments.get(argument)
    if field is not None and isinstance(field.value, str):
        check(connection, "read", kind, name)
        check(connection, "write", "exchange", field.value)


# -- bindings and messages --


def check_source(connection: Connection, name: str, key: str) -> None:
    """The source of a binding. Raises AccessRefused."""
    check(connection, "read", "exchange", name)
    exchange = connection.vhost.exchanges.get(name)
    if exchange is not None:
        _check_topic(connection, "read", exchange, key)


def check_key(connection: Connection, exchange: Exchange, key: str) -> None:
    """The routing key of a publish to ``exchange``. Raises AccessRefused."""
    _check_topic(connection, "write", exchange, key)


def has_key_rule(connection: Connection, exchange: Exchange) -> bool:
    """Whether some routing keys may be forbidden with ``exchange``."""
    permissions = connection.broker.permissions
    return isinstance(exchange, TopicExchange) and permissions.has_topic(
        connection.user_name, connection.vhost.name, exchange.name
    )


def may_write(connection: Connection, exchange: Exchange) -> bool:
    """Whether a publish to ``exchange`` is allowed, for who wants no reason."""
    try:
        check(connection, "write", "exchange", exchange.name)
    except AccessRefused:
        return False
    return True


def may_use_key(connection: Connection, exchange: Exchange, key: str) -> bool:
    """Whether one with this routing key is, where that to ``exchange`` is."""
    try:
        check_key(connection, exchange, key)
    except AccessRefused:
        return False
    return True


def _check_topic(connection: Connection, verb: Verb, exchange: Exchange, key: str) -> None:
    if isinstance(exchange, TopicExchange):
        connection.broker.permissions.check_topic(connection.user_name, connection.vhost.name, verb, exchange.name, key)
