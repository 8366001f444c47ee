"""Channel 0: protocol header, start-ok, tune-ok, open, close (AMQP 0-9-1, class connection), and what we say of us.

Functions over a Connection, which keeps the state: one a method, as in ``commands.py``. Texts: RabbitMQ's.
"""
# HOT. Four methods a connection.  Bench: tests/bench, scenario L.

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Final

from amqpd import __version__, limits
from amqpd.broker.fields import Field, Table, boolean, longstr, table
from amqpd.errors import ChannelError, CommandInvalid, LoginRefused, NotAllowed
from amqpd.protocols.amqp091 import access, codec, sasl
from amqpd.protocols.amqp091.constants import (
    ACCEPTED_HEADERS,
    CONNECTION_CLOSE,
    CONNECTION_CLOSE_OK,
    CONNECTION_OPEN,
    CONNECTION_OPEN_OK,
    CONNECTION_START,
    CONNECTION_START_OK,
    CONNECTION_TUNE,
    CONNECTION_TUNE_OK,
    CONNECTION_UPDATE_SECRET,
    CONNECTION_UPDATE_SECRET_OK,
    PROTOCOL_HEADER,
)
from amqpd.protocols.amqp091.states import CLOSING, OPENING, RUNNING, STARTING, STATE_NAMES, TUNING

if TYPE_CHECKING:
    from amqpd.broker.users import User
    from amqpd.protocols.amqp091.connection import Connection

logger = logging.getLogger("amqpd.connection")


class Tuning:
    """How one may log in, what tune offers, and the bounds of one connection."""

    def __init__(
        self,
        *,
        channel_max: int = limits.CHANNELS_MAX,
        frame_max: int = 131_072,
        heartbeat_s: int = 60,
        max_message_size: int = 134_217_728,
        handshake_timeout_s: float = 10.0,
        consumer_timeout_ms: int = 0,
        consumer_timeout_closes_channel: bool = False,
        login: sasl.LoginRules | None = None,
    ) -> None:
        self.channel_max = channel_max
        self.frame_max = frame_max
        self.heartbeat_s = heartbeat_s
        self.max_message_size = max_message_size
        self.handshake_timeout_s = handshake_timeout_s
        self.consumer_timeout_ms = consumer_timeout_ms  # 0: a consumer may hold a delivery for ever
        self.consumer_timeout_closes_channel = consumer_timeout_closes_channel
        self.login = login or sasl.LoginRules()


CAPABILITIES: Final[Table] = {
    name: boolean(True)
    for name in (
        "publisher_confirms",
        "exchange_exchange_bindings",
        "basic.nack",
        "consumer_cancel_notify",
        "connection.blocked",
        "consumer_priorities",
        "authentication_failure_close",
        "per_consumer_qos",
        "direct_reply_to",
    )
}


def server_properties() -> Table:
    """What connection.start says of us: RabbitMQ's fields, so that clients that look at ``capabilities`` find
    theirs."""
    return {
        "capabilities": table(CAPABILITIES),
        "cluster_name": longstr("amqpd"),
        "copyright": longstr("The amqpd authors"),
        "information": longstr("Licensed under the Apache License 2.0."),
        "platform": longstr("Python"),
        "product": longstr("amqpd"),
        "version": longstr(__version__),
    }


def receive_protocol_header(connection: Connection, buffer: bytes) -> bool:
    """The first eight bytes of a connection; False when they are not there or not right."""
    start = buffer[:8]
    if start not in ACCEPTED_HEADERS:
        if len(start) < 8 and any(header.startswith(start) for header in ACCEPTED_HEADERS):
            connection.needed = 1
            connection.hold(buffer)
            return False
        connection.why = f"wrong protocol header {start!r}"
        connection.outbox.write(PROTOCOL_HEADER)
        connection.end()
        return False
    connection.position = 8
    connection.state = STARTING
    _send_start(connection)
    return True


def _send_start(connection: Connection) -> None:
    connection.outbox.write(_start_frame(_offered(connection)))


@functools.lru_cache(maxsize=16)
def _start_frame(mechanisms: tuple[str, ...]) -> bytes:
    return codec.method_frame(
        0,
        CONNECTION_START,
        version_major=0,
        version_minor=9,
        server_properties=server_properties(),
        mechanisms=" ".join(mechanisms).encode(),
        locales=b"en_US",
    )


def _offered(connection: Connection) -> tuple[str, ...]:
    return connection.tuning.login.offered(connection.certificate_name)


def receive_method(connection: Connection, payload: bytes) -> None:
    """A method on channel 0. Raises AmqpError."""
    method = connection.decode(payload)
    if connection.state == CLOSING:
        if connection.at_method == CONNECTION_CLOSE_OK:
            connection.end()
        elif connection.at_method == CONNECTION_CLOSE:
            connection.send(0, CONNECTION_CLOSE_OK)
        return
    due = (0, CONNECTION_START_OK, CONNECTION_TUNE_OK, CONNECTION_OPEN)
    if connection.state < RUNNING and connection.at_method == due[connection.state]:
        if connection.state == STARTING:
            _start_ok(connection, method)
        elif connection.state == TUNING:
            _tune_ok(connection, method)
        else:
            _open(connection, method)
    elif connection.state == RUNNING and connection.at_method == CONNECTION_CLOSE:
        connection.why = f"closed by the client: {method['reply_code']} {method['reply_text']}".rstrip()
        connection.release()
        connection.send(0, CONNECTION_CLOSE_OK)
        connection.closes_second = True
        connection.end()
    elif connection.state == RUNNING and connection.at_method == CONNECTION_UPDATE_SECRET:
        connection.authenticate(connection.user_name, method["new_secret"])
    elif connection.state < OPENING:
        # RabbitMQ does not talk to a peer that it does not know.
        connection.why = f"unexpected {method.schema.name} while {STATE_NAMES[connection.state]}"
        connection.end()
    else:
        raise ChannelError(f"unexpected method in connection state {STATE_NAMES[connection.state]}")


def _start_ok(connection: Connection, method: codec.Method) -> None:
    """Who the client is, and whether it may come in. Raises CommandInvalid, LoginRefused."""
    properties: Table = method["client_properties"]
    connection.client_properties = properties
    capabilities = properties.get("capabilities")
    if capabilities is not None and isinstance(capabilities.value, dict):
        connection.client_capabilities = capabilities.value
    connection.client = " ".join(_text(properties.get(key)) for key in ("product", "version")).strip()
    mechanism = method["mechanism"]
    if mechanism not in _offered(connection):
        connection.at_method = 0
        raise CommandInvalid(f"unknown authentication mechanism '{mechanism}'")
    connection.mechanism = mechanism
    try:
        claim = sasl.read_claim(mechanism, method["response"], connection.tuning.login, connection.certificate_name)
    except sasl.MalformedResponse as error:
        _refuse_login(connection, str(error))
        return
    if claim.password is None:
        connection.claimed_name = claim.user_name
        finish_authentication(connection, connection.broker.users.find(claim.user_name))
    else:
        connection.authenticate(claim.user_name, claim.password)


def finish_authentication(connection: Connection, user: User | None) -> None:
    """What was asked of the broker is known: ``user``, or None. Raises LoginRefused, NotAllowed."""
    connection.is_impersonator = user is not None and "impersonator" in user.tags
    if connection.state == STARTING:
        _finish_login(connection, user)
    elif connection.state == RUNNING:
        connection.at_channel, connection.at_method = 0, CONNECTION_UPDATE_SECRET
        if user is None:
            raise NotAllowed("New secret was refused by one of the backends")
        connection.send(0, CONNECTION_UPDATE_SECRET_OK)


def _finish_login(connection: Connection, user: User | None) -> None:
    if user is None:
        _refuse_login(connection, f"user {connection.claimed_name!r}")
        return
    if user.name in connection.tuning.login.loopback_users and not connection.is_loopback:
        _refuse_login(connection, f"user {user.name!r} can only connect from this machine")
        return
    connection.on_login(user)
    connection.send(
        0,
        CONNECTION_TUNE,
        channel_max=connection.tuning.channel_max,
        frame_max=connection.tuning.frame_max,
        heartbeat=connection.tuning.heartbeat_s,
    )


def _refuse_login(connection: Connection, detail: str) -> None:
    connection.why = f"login refused ({connection.mechanism}): {detail}"
    logger.warning("%s: %s", connection.name, connection.why)
    if connection.has_capability("authentication_failure_close"):
        connection.at_channel = connection.at_method = 0
        raise LoginRefused(
            f"Login was refused using authentication mechanism {connection.mechanism}. "
            "For details see the broker logfile."
        )
    connection.end_later()


def _tune_ok(connection: Connection, method: codec.Method) -> None:
    """What both sides can do. Raises NotAllowed for what lies outside the offer."""
    offer = connection.tuning
    channel_max: int = method["channel_max"]
    frame_max: int = method["frame_max"]
    connection.at_method = CONNECTION_TUNE  # RabbitMQ names the method that made the offer
    _check_tuned("channel_max", channel_max, 1, offer.channel_max)
    _check_tuned("frame_max", frame_max, limits.FRAME_MIN_BYTES, offer.frame_max)
    connection.on_tuned(channel_max, frame_max, method["heartbeat"])


def _open(connection: Connection, method: codec.Method) -> None:
    """Enter a virtual host. Raises NotAllowed."""
    name = method["virtual_host"]
    vhost = connection.broker.find_vhost(name)
    if vhost is None:
        raise NotAllowed(f"vhost {name} not found")
    access.check_open(connection, name)
    connection.on_open(vhost)
    logger.info(
        "%s: %s as user %r to virtual host %r",
        connection.name,
        connection.client or "a client",
        connection.user_name,
        name,
    )
    connection.send(0, CONNECTION_OPEN_OK)


def _check_tuned(name: str, value: int, lowest: int, offered: int) -> None:
    """RabbitMQ's rule: 0 asks for no limit, which only a server without one can give."""
    if value != 0 and value < lowest:
        raise NotAllowed(f"negotiated {name} = {value} is lower than the minimum allowed value ({lowest})")
    if value == 0 or value > offered:
        detail = " (no limit)" if name == "channel_max" and value == 0 else ""
        raise NotAllowed(f"negotiated {name} = {value}{detail} is higher than the maximum allowed value ({offered})")


def _text(field: Field | None) -> str:
    return field.value[:64] if field is not None and isinstance(field.value, str) else ""
