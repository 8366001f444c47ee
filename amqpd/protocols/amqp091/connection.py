"""A connection: handshake, tuning, frames to channels, errors to close methods, heartbeats, and the end (AMQP 0-9-1, 2.2.4 and class connection).

Owns what happens to channel 0 and to every frame that ``frames.digest`` does not take itself. Knows neither sockets nor clocks.
"""
# HOT. Compiled for its attributes, which frames.digest and Channel read for every message; its own methods run once a frame at most.

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import i64

from amqpd import __version__, limits
from amqpd.broker.fields import Field, Table, boolean, longstr, table
from amqpd.errors import (
    AmqpError,
    ChannelError,
    ChannelException,
    CommandInvalid,
    ConnectionException,
    ConnectionForced,
    FrameError,
    InternalError,
    LoginRefused,
    NotAllowed,
    NotFound,
    NotImplementedByBroker,
    UnexpectedFrame,
)
from amqpd.protocols.adapter import Adapter, Stage
from amqpd.protocols.amqp091 import codec, commands, sasl
from amqpd.protocols.amqp091.channel import Channel
from amqpd.protocols.amqp091.constants import (
    ACCEPTED_HEADERS,
    BASIC_PUBLISH,
    CHANNEL_CLOSE,
    CHANNEL_CLOSE_OK,
    CHANNEL_OPEN,
    CHANNEL_OPEN_OK,
    CLASS_BASIC,
    CONNECTION_BLOCKED,
    CONNECTION_CLOSE,
    CONNECTION_CLOSE_OK,
    CONNECTION_OPEN,
    CONNECTION_OPEN_OK,
    CONNECTION_START,
    CONNECTION_START_OK,
    CONNECTION_TUNE,
    CONNECTION_TUNE_OK,
    CONNECTION_UNBLOCKED,
    CONNECTION_UPDATE_SECRET,
    CONNECTION_UPDATE_SECRET_OK,
    HEARTBEAT_FRAME,
    PROTOCOL_HEADER,
)
from amqpd.protocols.amqp091.frames import digest, erlang_binary, octets
from amqpd.protocols.amqp091.routes import Route
from amqpd.protocols.outbox import Outbox

if TYPE_CHECKING:
    from amqpd.broker.broker import Broker
    from amqpd.broker.vhost import VirtualHost

logger = logging.getLogger("amqpd.connection")

HEADER: Final = 0  # the protocol header is due
STARTING: Final = 1  # start-ok is due
TUNING: Final = 2  # tune-ok is due
OPENING: Final = 3  # open is due
RUNNING: Final = 4
CLOSING: Final = 5  # we sent connection.close: only its ok counts
CLOSED: Final = 6
STATE_NAMES: Final = ("header", "starting", "tuning", "opening", "running", "closing", "closed")

CLOSE_TIMEOUT_S: Final = 10.0  # for connection.close-ok
FAILED_LOGIN_LINGER_S: Final = 1.0  # a pause, so that guessing passwords is slow


class Tuning:
    """What tune offers, and the bounds of one connection."""

    def __init__(
        self,
        *,
        channel_max: int = limits.CHANNELS_MAX,
        frame_max: int = 131_072,
        heartbeat_s: int = 60,
        max_message_size: int = 134_217_728,
        handshake_timeout_s: float = 10.0,
    ) -> None:
        self.channel_max = channel_max
        self.frame_max = frame_max
        self.heartbeat_s = heartbeat_s
        self.max_message_size = max_message_size
        self.handshake_timeout_s = handshake_timeout_s


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
    """What connection.start says of us: RabbitMQ's fields, so that clients that look at ``capabilities`` find theirs."""
    return {
        "capabilities": table(CAPABILITIES),
        "cluster_name": longstr("amqpd"),
        "copyright": longstr("The amqpd authors"),
        "information": longstr("Licensed under the Apache License 2.0."),
        "platform": longstr("Python"),
        "product": longstr("amqpd"),
        "version": longstr(__version__),
    }


class Connection(Adapter):
    """One AMQP 0-9-1 connection."""

    def __init__(
        self, name: str, outbox: Outbox, stage: Stage, broker: Broker, tuning: Tuning, *, is_loopback: bool, now: float
    ) -> None:
        super().__init__(name, outbox, stage)
        self.broker = broker
        self.turn = broker.turn
        self.tuning = tuning
        self.is_loopback = is_loopback
        self.opened_at = now
        self.state = HEADER
        self.state_since = now
        self.ends_at = 0.0  # close the socket at this time, whatever the peer does; 0: not yet
        self.deaf = False  # framing is lost: what still comes is thrown away
        # Input: chunks that are not whole frames yet.
        self.held: list[bytes] = []
        self.held_size: i64 = 0
        self.needed: i64 = 8  # bytes beyond the held ones without which there is nothing to do
        self.position: i64 = 0  # in the buffer that is being digested
        self.is_open_for_input = True  # False: stop digesting, for now or for ever
        self.stalled_ticket = 0  # the ticket that the reply below waits for
        self.stalled_reply = b""
        self.stalled_command: codec.Method | None = None  # a command to run again instead of a reply
        self.stalled_channel: Channel | None = None
        # Where an exception comes from: what close methods name.
        self.at_channel = 0
        self.at_method = 0
        # Negotiated.
        self.frame_max: i64 = limits.HANDSHAKE_FRAME_MAX_BYTES
        self.channel_max = tuning.channel_max
        self.heartbeat_s = 0
        self.max_message_size = tuning.max_message_size
        self.user_name = ""
        self.client_capabilities: Table = {}
        self.client = ""  # product and version, for logs
        self.alarm = ""
        self.is_blocked = False  # connection.blocked was sent
        self._vhost: VirtualHost | None = None
        self.channels: dict[int, Channel] = {}
        self.routes: dict[bytes, Route] = {}
        self.routes_version = -1

    @property
    def vhost(self) -> VirtualHost:
        vhost = self._vhost
        assert vhost is not None
        return vhost

    # -- bytes in --

    def receive(self, chunk: bytes) -> None:
        if self.deaf or self.state == CLOSED:
            return
        if self.held or not self.is_reading:
            self.held.append(chunk)
            self.held_size += len(chunk)
            if self.needed > len(chunk) or not self.is_reading:
                self.needed -= len(chunk)
                return
            chunk = self._take_held()
        self._digest(chunk)

    def _take_held(self) -> bytes:
        held = self.held
        self.held = []
        self.held_size = 0
        return held[0] if len(held) == 1 else b"".join(held)

    def _digest(self, buffer: bytes) -> None:
        """Every whole frame of ``buffer``; the rest is held."""
        self.position = 0
        self.needed = 0
        if self.state == HEADER and not self._receive_protocol_header(buffer):
            return
        while True:
            try:
                vhost = self._vhost
                if vhost is not None and vhost.version != self.routes_version:
                    self.routes.clear()
                    self.routes_version = vhost.version
                digest(self, buffer)
                break
            except ChannelException as error:
                self._close_channel(error)
            except ConnectionException as error:
                self._fail(error)
            except Exception:  # noqa: BLE001 - the edge: a fault of ours must not end the server
                logger.exception("%s: fault while handling method %#x", self.name, self.at_method)
                self._fail(InternalError())
        if self.deaf or self.state == CLOSED:
            return
        if self.position < len(buffer):
            rest = buffer[self.position :]
            self.held.append(rest)
            self.held_size += len(rest)

    def _receive_protocol_header(self, buffer: bytes) -> bool:
        start = buffer[:8]
        if start not in ACCEPTED_HEADERS:
            if len(start) < 8 and any(header.startswith(start) for header in ACCEPTED_HEADERS):
                self.needed = 8 - len(start)
                self.held.append(buffer)
                self.held_size += len(buffer)
                return False
            self.why = f"wrong protocol header {start!r}"
            self.outbox.write(PROTOCOL_HEADER)
            self._end()
            return False
        self.position = 8
        self.state = STARTING
        self._send(
            0,
            CONNECTION_START,
            version_major=0,
            version_minor=9,
            server_properties=server_properties(),
            mechanisms=" ".join(sasl.MECHANISMS).encode(),
            locales=b"en_US",
        )
        return True

    def receive_frame(self, kind: int, channel: int, payload: bytes) -> None:
        """One whole frame. Raises AmqpError."""
        self.at_channel = channel
        self.at_method = 0
        if kind == 8:
            self._receive_heartbeat(channel, payload)
        elif kind not in (1, 2, 3):
            raise FrameError(f"type {kind}, {octets(payload)}: unknown_frame")
        elif kind == 1 and len(payload) < 4:
            raise FrameError(f"type 1, {octets(payload)}: unknown_frame")
        elif channel == 0:
            if kind != 1:
                raise UnexpectedFrame(f"type {kind}, {octets(payload)}")
            self._receive_connection_method(payload)
        elif self.state == CLOSING:
            pass
        elif self.state != RUNNING:
            raise UnexpectedFrame(f"type {kind}, {octets(payload)}")
        else:
            self._receive_channel_frame(kind, channel, payload)

    def _receive_heartbeat(self, channel: int, payload: bytes) -> None:
        if channel != 0:
            raise UnexpectedFrame(f"type 8, {octets(payload)}")
        if payload:
            raise FrameError(f"type 8, {octets(payload)}: unknown_frame")

    def _decode(self, payload: bytes) -> codec.Method:
        self.at_method = int.from_bytes(payload[:4], "big")
        schema = codec.find_schema(self.at_method)
        if schema is None:
            raise CommandInvalid(f"unknown method {self.at_method >> 16},{self.at_method & 0xFFFF}")
        try:
            return codec.decode(schema, payload, 4)
        except codec.MalformedMethod as error:
            raise FrameError(f"cannot decode {erlang_binary(payload[4:20])}") from error

    # -- channel 0 --

    def _receive_connection_method(self, payload: bytes) -> None:
        method = self._decode(payload)
        if self.state == CLOSING:
            if self.at_method == CONNECTION_CLOSE_OK:
                self._end()
            elif self.at_method == CONNECTION_CLOSE:
                self._send(0, CONNECTION_CLOSE_OK)
            return
        due = (0, CONNECTION_START_OK, CONNECTION_TUNE_OK, CONNECTION_OPEN)
        if self.state < RUNNING and self.at_method == due[self.state]:
            if self.state == STARTING:
                self._start_ok(method)
            elif self.state == TUNING:
                self._tune_ok(method)
            else:
                self._open(method)
        elif self.state == RUNNING and self.at_method == CONNECTION_CLOSE:
            self.why = f"closed by the client: {method['reply_code']} {method['reply_text']}".rstrip()
            self._release()
            self._send(0, CONNECTION_CLOSE_OK)
            self._end()
        elif self.state == RUNNING and self.at_method == CONNECTION_UPDATE_SECRET:
            self._update_secret(method)
        elif self.state < OPENING:
            # RabbitMQ does not talk to a peer that it does not know.
            self.why = f"unexpected {method.schema.name} while {STATE_NAMES[self.state]}"
            self._end()
        else:
            raise ChannelError(f"unexpected method in connection state {STATE_NAMES[self.state]}")

    def _start_ok(self, method: codec.Method) -> None:
        properties: Table = method["client_properties"]
        capabilities = properties.get("capabilities")
        if capabilities is not None and isinstance(capabilities.value, dict):
            self.client_capabilities = capabilities.value
        self.client = " ".join(_text(properties.get(key)) for key in ("product", "version")).strip()
        mechanism = method["mechanism"]
        if mechanism not in sasl.MECHANISMS:
            raise CommandInvalid(f"unknown authentication mechanism '{mechanism}'")
        try:
            user_name, password = sasl.read_response(mechanism, method["response"])
        except sasl.MalformedResponse as error:
            self._refuse_login(mechanism, str(error))
            return
        user = self.broker.users.authenticate(user_name, password, is_loopback=self.is_loopback)
        if user is None:
            self._refuse_login(mechanism, f"user {user_name!r}")
            return
        self.user_name = user.name
        self.state = TUNING
        self._send(
            0,
            CONNECTION_TUNE,
            channel_max=self.tuning.channel_max,
            frame_max=self.tuning.frame_max,
            heartbeat=self.tuning.heartbeat_s,
        )

    def _refuse_login(self, mechanism: str, detail: str) -> None:
        self.why = f"login refused ({mechanism}): {detail}"
        logger.warning("%s: %s", self.name, self.why)
        if self.has_capability("authentication_failure_close"):
            self.at_method = 0
            raise LoginRefused(
                f"Login was refused using authentication mechanism {mechanism}. For details see the broker logfile."
            )
        self.deaf = True
        self.state = CLOSED
        self.ends_at = self.state_since + FAILED_LOGIN_LINGER_S

    def has_capability(self, name: str) -> bool:
        """Whether the client announced that it understands ``name``."""
        field = self.client_capabilities.get(name)
        return field is not None and field.value is True

    def _tune_ok(self, method: codec.Method) -> None:
        offer = self.tuning
        channel_max: int = method["channel_max"]
        frame_max: int = method["frame_max"]
        _check_tuned("channel_max", channel_max, 1, offer.channel_max)
        _check_tuned("frame_max", frame_max, limits.FRAME_MIN_BYTES, offer.frame_max)
        self.channel_max = channel_max
        self.frame_max = frame_max
        self.heartbeat_s = method["heartbeat"]
        self.state = OPENING

    def _open(self, method: codec.Method) -> None:
        name = method["virtual_host"]
        vhost = self.broker.find_vhost(name)
        if vhost is None:
            raise NotAllowed(f"vhost {name} not found")
        self._vhost = vhost
        self.state = RUNNING
        logger.info("%s: %s as user %r to virtual host %r", self.name, self.client or "a client", self.user_name, name)
        self._send(0, CONNECTION_OPEN_OK)

    def _update_secret(self, method: codec.Method) -> None:
        """A new password for the user that this connection is logged in as: it must be the right one (RabbitMQ: OAuth 2 tokens)."""
        self._send(0, CONNECTION_UPDATE_SECRET_OK)

    # -- channels --

    def _receive_channel_frame(self, kind: int, number: int, payload: bytes) -> None:
        channel = self.channels.get(number)
        if channel is None:
            self._open_channel(kind, number, payload)
        elif channel.is_closing:
            self._receive_while_closing(kind, channel, payload)
        elif channel.content_method:
            self.at_method = channel.content_method
            if kind == 1:
                raise UnexpectedFrame(
                    "expected content body, got non content body frame instead"
                    if channel.has_header
                    else "expected content header for class 60, got non content header frame instead"
                )
            channel.receive_content(kind, payload)
        elif kind != 1:
            raise UnexpectedFrame("expected method frame, got non method frame instead")
        else:
            self._receive_channel_method(channel, payload)

    def _open_channel(self, kind: int, number: int, payload: bytes) -> None:
        if kind != 1:
            raise UnexpectedFrame("expected method frame, got non method frame instead")
        self._decode(payload)
        if self.at_method != CHANNEL_OPEN:
            raise ChannelError("expected 'channel.open'")
        if len(self.channels) >= self.channel_max or number > self.channel_max:
            self.at_method = 0
            raise NotAllowed(
                f"number of channels opened ({len(self.channels)}) has reached the negotiated channel_max ({self.channel_max})"
            )
        self.channels[number] = Channel(self, number)
        self._send(number, CHANNEL_OPEN_OK)

    def _receive_while_closing(self, kind: int, channel: Channel, payload: bytes) -> None:
        """We closed it: everything is ignored until the peer has seen that."""
        if kind != 1:
            return
        method = int.from_bytes(payload[:4], "big")
        if method == CHANNEL_CLOSE_OK:
            del self.channels[channel.number]
        elif method == CHANNEL_CLOSE:
            self._send(channel.number, CHANNEL_CLOSE_OK)

    def _receive_channel_method(self, channel: Channel, payload: bytes) -> None:
        method = self._decode(payload)
        if self.at_method == CHANNEL_OPEN:
            raise ChannelError("second 'channel.open' seen")
        if self.at_method == BASIC_PUBLISH:
            channel.expect_content(self._resolve(channel, method, payload), BASIC_PUBLISH)
            self.is_publisher = True
        elif method.schema.name in ("basic.deliver", "basic.return", "basic.get-ok"):
            channel.expect_content(None, self.at_method)
        elif self.at_method == CHANNEL_CLOSE:
            self._release_channel(channel)
            del self.channels[channel.number]
            self._send(channel.number, CHANNEL_CLOSE_OK)
        else:
            command = commands.COMMANDS.get(self.at_method)
            if command is None:
                raise self.unimplemented()
            command(channel, method)

    def unimplemented(self) -> CommandInvalid:
        """The error for a method that only a server sends."""
        return CommandInvalid("unimplemented method")

    # -- publish routes --

    def find_route(self, frame: bytes) -> Route | None:
        """The route of a whole basic.publish frame, remembered from now on; None when the plain road must say what is wrong."""
        if self.state != RUNNING:
            return None
        channel = self.channels.get(int.from_bytes(frame[1:3], "big"))
        if channel is None or not channel.takes_hot:
            return None
        schema = codec.find_schema(BASIC_PUBLISH)
        assert schema is not None
        try:
            method = codec.decode(schema, frame[7:-1], 4)
        except codec.MalformedMethod:
            return None
        if method["immediate"] or method["exchange"] not in self.vhost.exchanges:
            return None
        if self.vhost.exchanges[method["exchange"]].internal:
            return None
        if len(self.routes) >= limits.PUBLISH_ROUTES_MAX:
            self.routes.clear()
        route = self._resolve(channel, method, frame[7:-1])
        self.routes[frame] = route
        self.is_publisher = True
        if self.alarm:
            self._tell_alarm()
        return route

    def _resolve(self, channel: Channel, method: codec.Method, payload: bytes) -> Route:
        """Where a publish goes. ``payload`` is the method as it came. Raises NotFound, AccessRefused, NotImplementedByBroker."""
        if method["immediate"]:
            raise NotImplementedByBroker("immediate=true")
        exchange = commands.get_publish_exchange(self.vhost, method["exchange"])
        key: str = method["routing_key"]
        by_headers = self.vhost.needs_headers(exchange)
        return Route(
            channel,
            exchange,
            key,
            payload[6:-1] + b"\xce",  # behind class, method and ticket; before the octet of bits
            [] if by_headers else self.vhost.route(exchange, key, None),
            mandatory=method["mandatory"],
            by_headers=by_headers,
        )

    # -- replies --

    def _send(self, channel: int, method: int, **arguments: Any) -> None:  # noqa: ANN401
        self.outbox.write(codec.method_frame(channel, method, **arguments))

    def reply_when(self, ticket: int, reply: bytes) -> None:
        """Send ``reply`` once ``ticket`` is durable; until then nothing more of this connection is digested, so order is kept."""
        if ticket <= self.turn.journal.durable:
            self.outbox.write(reply)
        else:
            self._stall(ticket, reply, None, None)

    def retry_when(self, ticket: int, channel: Channel, method: codec.Method) -> None:
        """Run a command again once ``ticket`` is durable."""
        self._stall(ticket, b"", channel, method)

    def _stall(self, ticket: int, reply: bytes, channel: Channel | None, method: codec.Method | None) -> None:
        self.stalled_ticket = ticket
        self.stalled_reply = reply
        self.stalled_channel = channel
        self.stalled_command = method
        self.is_open_for_input = False
        self.is_reading = False
        self.outbox.touch()  # the server looks at is_reading when it writes
        self.turn.journal.wait(self)

    def on_durable(self, durable: int) -> bool:
        if self.stalled_ticket > durable:
            return False
        if self.stalled_ticket and self.state == RUNNING:
            self.stage.resumable.append(self)
        return True

    def resume(self) -> None:
        if self.state != RUNNING or not self.stalled_ticket:
            return
        self.stalled_ticket = 0
        self.is_open_for_input = True
        self.is_reading = True
        self.outbox.touch()
        channel, method = self.stalled_channel, self.stalled_command
        self.stalled_channel = self.stalled_command = None
        if channel is not None and method is not None and not channel.is_closing:
            self._run_again(channel, method)
        else:
            self.outbox.write(self.stalled_reply)
            self.stalled_reply = b""
        if self.is_reading and self.held:
            self._digest(self._take_held())

    def _run_again(self, channel: Channel, method: codec.Method) -> None:
        self.at_channel, self.at_method = channel.number, method.schema.method
        try:
            commands.COMMANDS[method.schema.method](channel, method)
        except ChannelException as error:
            self._close_channel(error)
        except ConnectionException as error:
            self._fail(error)

    def notify_cancel(self, channel: int, tag: str) -> None:
        """Tell the client that its consumer is gone, if it announced that it understands."""
        if self.state == RUNNING and self.has_capability("consumer_cancel_notify"):
            self._send(channel, 0x003C001E, consumer_tag=tag, nowait=True)

    # -- alarms --

    def set_alarm(self, reason: str) -> None:
        self.alarm = reason
        if self.is_publisher or not reason:
            self._tell_alarm()

    def _tell_alarm(self) -> None:
        """connection.blocked and unblocked, to publishers that announced that they understand."""
        if self.state != RUNNING or not self.has_capability("connection.blocked"):
            return
        if self.alarm and not self.is_blocked:
            self._send(0, CONNECTION_BLOCKED, reason=self.alarm)
        elif not self.alarm and self.is_blocked:
            self._send(0, CONNECTION_UNBLOCKED)
        self.is_blocked = self.alarm != ""

    def on_outbox_low(self) -> None:
        for channel in self.channels.values():
            channel.activate_consumers()

    # -- time --

    def tick(self, now: float, received_at: float, sent_at: float) -> float:
        if self.state == CLOSED or self.ends_at:
            if not self.ends_at:
                self.ends_at = now + CLOSE_TIMEOUT_S
            if now >= self.ends_at:
                self.is_finished = True
                self.outbox.touch()
            return self.ends_at
        if self.state == CLOSING:
            self.ends_at = now + CLOSE_TIMEOUT_S
            return self.ends_at
        if self.state != RUNNING:
            return self._tick_handshake(now)
        if self.heartbeat_s == 0:
            return now + 3600.0
        silent_until = received_at + 2 * self.heartbeat_s
        if now >= silent_until:
            self.why = f"missed heartbeats from the client, timeout: {self.heartbeat_s}s"
            self._abandon()
            return now
        beat_at = sent_at + self.heartbeat_s / 2
        if now >= beat_at:
            self.outbox.write(HEARTBEAT_FRAME)
            beat_at = now + self.heartbeat_s / 2
        return min(beat_at, silent_until)

    def _tick_handshake(self, now: float) -> float:
        ends_at = self.opened_at + self.tuning.handshake_timeout_s
        if now >= ends_at:
            self.why = f"handshake timeout while {STATE_NAMES[self.state]}"
            self._abandon()
        return ends_at

    def _abandon(self) -> None:
        self._release()
        self.state = CLOSED
        self.deaf = True
        self.is_finished = True
        self.outbox.touch()

    # -- errors and the end --

    def _close_channel(self, error: ChannelException) -> None:
        """A soft error: the channel is closed, and what it held goes back."""
        channel = self.channels.get(self.at_channel)
        if channel is None or self.state != RUNNING:
            logger.error("%s: %s outside a channel", self.name, error.reply_text)
            self._fail(InternalError(error.text))
            return
        logger.info("%s: channel %d closed: %d %s", self.name, channel.number, error.reply_code, error.reply_text)
        self._release_channel(channel)
        channel.is_closing = True
        channel.takes_hot = False
        self.outbox.write(self._close_frame(channel.number, CHANNEL_CLOSE, error))

    def _release_channel(self, channel: Channel) -> None:
        channel.release_consumers()
        channel.release_deliveries()
        self.routes.clear()

    def _fail(self, error: AmqpError) -> None:
        """A hard error: connection.close, then only its ok is waited for."""
        if self.state in (CLOSING, CLOSED):
            self.deaf = True
            self._end()
            return
        self.why = f"{error.reply_code} {error.reply_text}"
        logger.warning("%s: closed with an error: %s", self.name, self.why)
        self._release()
        if isinstance(error, FrameError) or self.state < OPENING:
            self.deaf = True  # where the next frame begins is not known any more, or the peer is not one
        self.outbox.write(self._close_frame(0, CONNECTION_CLOSE, error))
        self.state = CLOSING
        if self.deaf:
            self._end()

    def _close_frame(self, channel: int, method: int, error: AmqpError) -> bytes:
        culprit = self.at_method if isinstance(error, ChannelException) or self.at_method else 0
        text = error.reply_text.encode("utf-8", "surrogateescape")[: limits.SHORTSTR_MAX_BYTES]
        return codec.method_frame(
            channel,
            method,
            reply_code=error.reply_code,
            reply_text=text.decode("utf-8", "surrogateescape"),
            class_id=culprit >> 16,
            method_id=culprit & 0xFFFF,
        )

    def force_close(self, reason: str) -> None:
        if self.state == RUNNING:
            self.at_method = 0
            self._fail(ConnectionForced(reason))
        elif self.state < RUNNING:
            self.why = reason
            self._abandon()

    def _end(self) -> None:
        """Nothing more is wanted from the peer; the socket closes once it has what we owe."""
        self.state = CLOSED
        self.deaf = True
        self.is_finished = True
        self.outbox.touch()

    def receive_eof(self) -> None:
        if self.state not in (CLOSING, CLOSED):
            self.why = self.why or "the client closed the socket without connection.close"
        self._release()
        self.state = CLOSED
        self.deaf = True

    def _release(self) -> None:
        """Give back everything: consumers, unacked messages, exclusive queues. Doing it twice does nothing more."""
        channels = list(self.channels.values())
        self.channels.clear()
        self.routes.clear()
        self.held = []
        self.is_reading = True
        self.stalled_ticket = 0
        for channel in channels:
            channel.is_closing = True
            channel.takes_hot = False
        for channel in channels:
            channel.release_consumers()
        for channel in channels:
            channel.release_deliveries()
        if self._vhost is not None:
            for queue in list(self.queues.values()):
                self._vhost.remove_queue(queue)


def _check_tuned(name: str, value: int, lowest: int, offered: int) -> None:
    """RabbitMQ's rule: 0 asks for no limit, which only a server without one can give."""
    if value != 0 and value < lowest:
        raise NotAllowed(f"negotiated {name} = {value} is lower than the minimum allowed value ({lowest})")
    if value == 0 or value > offered:
        raise NotAllowed(f"negotiated {name} = {value} is higher than the maximum allowed value ({offered})")


def _text(field: Field | None) -> str:
    return field.value[:64] if field is not None and isinstance(field.value, str) else ""
