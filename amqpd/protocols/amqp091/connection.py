"""A connection: handshake, tuning, frames to channels, errors to close methods, heartbeats, and the end (AMQP 0-9-1,
2.2.4 and class connection).

Owns what happens to channel 0 and to every frame that ``frames.digest`` does not take itself. Knows neither sockets
nor clocks.
"""
# HOT. Compiled for its attributes, which frames.digest and Channel read for every message; its own methods run once a
# frame at most.

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from mypy_extensions import i64

from amqpd import limits
from amqpd.broker.fields import Table
from amqpd.broker.ports import SOON
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
    UnexpectedFrame,
)
from amqpd.protocols.adapter import Adapter, Stage
from amqpd.protocols.amqp091 import access, codec, commands, getting, handshake, liveness, publishing
from amqpd.protocols.amqp091.channel import Channel
from amqpd.protocols.amqp091.constants import (
    BASIC_CANCEL,
    BASIC_DELIVER,
    BASIC_GET_OK,
    BASIC_PUBLISH,
    BASIC_RETURN,
    CHANNEL_CLOSE,
    CHANNEL_CLOSE_OK,
    CHANNEL_OPEN,
    CHANNEL_OPEN_OK,
    CONNECTION_BLOCKED,
    CONNECTION_CLOSE,
    CONNECTION_UNBLOCKED,
)
from amqpd.protocols.amqp091.frames import digest, erlang_binary, octets
from amqpd.protocols.amqp091.routes import Route, Source, Target
from amqpd.protocols.amqp091.states import CLOSED, CLOSING, HEADER, OPENING, RUNNING, TUNING
from amqpd.protocols.outbox import Outbox

if TYPE_CHECKING:
    from amqpd.broker.broker import Broker
    from amqpd.broker.users import User
    from amqpd.broker.vhost import VirtualHost

logger = logging.getLogger("amqpd.connection")

CONTENT_METHODS: Final = (BASIC_PUBLISH, BASIC_RETURN, BASIC_DELIVER, BASIC_GET_OK)
CLOSE_TIMEOUT_S: Final = 10.0  # for connection.close-ok
FAILED_LOGIN_LINGER_S: Final = 1.0  # a pause, so that guessing passwords is slow


class Connection(Adapter):
    """One AMQP 0-9-1 connection."""

    def __init__(
        self,
        name: str,
        outbox: Outbox,
        stage: Stage,
        broker: Broker,
        tuning: handshake.Tuning,
        *,
        is_loopback: bool,
        now: float,
    ) -> None:
        super().__init__(name, outbox, stage)
        self.broker = broker
        self.turn = broker.turn
        self.tuning = tuning
        self.is_loopback = is_loopback
        self.opened_at = now
        self.state = HEADER
        self.ends_at = 0.0  # close the socket at this time, whatever the peer does; 0: not decided
        self.linger_s = CLOSE_TIMEOUT_S  # from the first tick of a closing connection to that time
        self.deaf = False  # framing is lost: what still comes is thrown away
        # Input: chunks that are not whole frames yet.
        self.held: list[bytes] = []
        self.held_size: i64 = 0
        self.needed = 8  # bytes beyond the held ones without which there is nothing to do
        self.position: i64 = 0  # in the buffer that is being digested
        self.is_open_for_input = True  # False: stop digesting, for now or for ever
        self.is_congested = False  # it waits for the peer to read
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
        self.client_properties: Table = {}
        self.certificate_name: str | None = None  # whom the client's TLS certificate names, "" for nobody; None: no TLS
        self.mechanism = ""  # how it logs in
        self.claimed_name = ""  # as whom
        self.is_authenticating = False  # the answer to that is not there yet
        self.is_impersonator = False  # its messages may have somebody else's user_id
        self.client_capabilities: Table = {}
        self.client = ""  # product and version, for logs
        self.alarm = ""
        self.is_blocked = False  # connection.blocked was sent
        self._vhost: VirtualHost | None = None
        self.channels: dict[int, Channel] = {}
        self.routes: dict[bytes, Route] = {}
        self.last_frame = b""  # of a publish, and its route
        self.last_route: Route | None = None
        self.targets: dict[str, Target] = {}  # exchanges that routes lead to
        self.sources: dict[bytes, Source] = {}
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
        start: i64 = 0
        if self.held or not self.is_reading:
            start = self._complete_held(chunk)
        if start < len(chunk):
            self._digest(chunk, start)

    def _complete_held(self, chunk: bytes) -> i64:
        """Digest what is held with as much of ``chunk`` as it needs, and no more: a chunk may be large. How much that
        was; all of it when it could not be digested."""
        size: i64 = len(chunk)
        p: i64 = 0
        while (self.held or not self.is_reading) and p < size:
            if not self.is_reading or self.needed > size - p:
                self.needed -= size - p
                self.hold(chunk[p:])
                return size
            end: i64 = p + self.needed if self.needed > 0 else size
            self.hold(chunk[p:end])
            p = end
            self._digest(self._take_held())
            if self.deaf or self.state == CLOSED:
                return size
        return p

    def _take_held(self) -> bytes:
        held = self.held
        self.held = []
        self.held_size = 0
        return held[0] if len(held) == 1 else b"".join(held)

    def _digest(self, buffer: bytes, start: i64 = 0) -> None:
        """Every whole frame of ``buffer`` from ``start`` on; the rest is held. Counts what this adds to the open
        batch."""
        journal = self.turn.journal
        if self.backlog_ticket != journal.ticket:
            self.backlog_ticket = journal.ticket
            self.backlog_bytes = 0
        before = journal.pending_bytes
        self._digest_frames(buffer, start)
        self.backlog_bytes += journal.pending_bytes - before

    def _digest_frames(self, buffer: bytes, start: i64) -> None:
        self.position = start
        self.needed = 0
        if self.state == HEADER and not handshake.receive_protocol_header(self, buffer):
            return
        while True:
            try:
                self._drop_stale_routes()
                digest(self, buffer)
                break
            except Exception as error:  # noqa: BLE001 - the edge: nothing a peer sends may end the server
                self._on_error(error)
        if self.deaf or self.state == CLOSED:
            return
        if self.position < len(buffer):
            self.hold(buffer[self.position :])

    def hold(self, data: bytes) -> None:
        """Keep what is not a whole frame yet."""
        self.held.append(data)
        self.held_size += len(data)

    def _on_error(self, error: Exception) -> None:
        if isinstance(error, ChannelException):
            self._close_channel(error)
        elif isinstance(error, ConnectionException):
            self._fail(error)
        else:
            logger.error("%s: fault while handling method %#x", self.name, self.at_method, exc_info=error)
            self._fail(InternalError())

    def _drop_stale_routes(self) -> None:
        """The topology changed: what was remembered of it is wrong."""
        vhost = self._vhost
        if vhost is not None and vhost.version != self.routes_version:
            self._forget_routes()
            self.routes_version = vhost.version

    def _forget_routes(self) -> None:
        self.stage.spare_routes += max(0, len(self.routes) - limits.PUBLISH_ROUTES_MAX)
        self.routes.clear()
        self.last_frame = b""
        self.last_route = None
        self.targets.clear()
        self.sources.clear()

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
            handshake.receive_method(self, payload)
        elif self.state == CLOSING:
            pass
        elif self.state != RUNNING:
            raise UnexpectedFrame(f"type {kind}, {octets(payload)}")
        else:
            self._receive_channel_frame(kind, channel, payload)
            self._drop_stale_routes()

    def _receive_heartbeat(self, channel: int, payload: bytes) -> None:
        if channel != 0:
            raise UnexpectedFrame(f"type 8, {octets(payload)}")
        if payload:
            raise FrameError(f"type 8, {octets(payload)}: unknown_frame")

    def decode(self, payload: bytes) -> codec.Method:
        self.at_method = int.from_bytes(payload[:4], "big")
        schema = codec.find_schema(self.at_method)
        if schema is None:
            raise CommandInvalid(f"unknown method {self.at_method >> 16},{self.at_method & 0xFFFF}")
        try:
            return codec.decode(schema, payload, 4)
        except codec.MalformedMethod as error:
            raise FrameError(
                f"cannot decode {erlang_binary(payload[4:20])}",
                class_id=self.at_method >> 16,
                method_id=self.at_method & 0xFFFF,
            ) from error

    # -- channel 0 --

    # -- handshake.py tells --

    def authenticate(self, user_name: str, password: bytes) -> None:
        """Have the broker look at a password. Until its answer is there nothing more of this connection is digested."""
        self.claimed_name = user_name
        self.is_authenticating = True
        self.broker.logins.authenticate(user_name, password, self._on_authenticated)
        if self.is_authenticating:
            self._pause()

    def _on_authenticated(self, user: User | None) -> None:
        self.is_authenticating = False
        try:
            handshake.finish_authentication(self, user)
        except Exception as error:  # noqa: BLE001 - the same edge as in _digest
            self._on_error(error)
        if not self.is_reading:
            self.stage.resumable.append(self)

    def on_login(self, user: User) -> None:
        self.user_name = user.name
        self.state = TUNING

    def on_tuned(self, channel_max: int, frame_max: int, heartbeat_s: int) -> None:
        self.channel_max = channel_max
        self.frame_max = frame_max
        self.heartbeat_s = heartbeat_s
        self.state = OPENING

    def on_open(self, vhost: VirtualHost) -> None:
        self._vhost = vhost
        self.vhost_name = vhost.name
        self.broker.connections[self] = None
        self.state = RUNNING
        self.wants_tick = True  # heartbeats begin
        self.outbox.touch()

    def end_later(self) -> None:
        """Say nothing, and close the socket after a pause: guessing passwords must be slow."""
        self._stop_listening()
        self.wants_tick = True
        self.linger_s = FAILED_LOGIN_LINGER_S
        self.outbox.touch()

    def _stop_listening(self) -> None:
        self.state = CLOSED
        self.deaf = True
        self.is_open_for_input = False

    def has_capability(self, name: str) -> bool:
        """Whether the client announced that it understands ``name``."""
        field = self.client_capabilities.get(name)
        return field is not None and field.value is True

    # -- channels --

    def channel_count(self) -> int:
        return len(self.channels)

    def _receive_channel_frame(self, kind: int, number: int, payload: bytes) -> None:
        channel = self.channels.get(number)
        if channel is None:
            self._open_channel(kind, number, payload)
        elif channel.content_method:
            self.at_method = channel.content_method
            channel.receive_content(kind, payload)
        elif kind != 1:
            raise UnexpectedFrame("expected method frame, got non method frame instead")
        elif channel.is_closing:
            self._receive_while_closing(channel, payload)
        else:
            self._receive_channel_method(channel, payload)

    def _open_channel(self, kind: int, number: int, payload: bytes) -> None:
        if kind != 1:
            raise UnexpectedFrame("expected method frame, got non method frame instead")
        self.decode(payload)
        if self.at_method != CHANNEL_OPEN:
            raise ChannelError("expected 'channel.open'")
        self.at_method = 0  # RabbitMQ blames no method for what is too much
        if len(self.channels) >= self.channel_max or number > self.channel_max:
            raise NotAllowed(
                f"number of channels opened ({len(self.channels)}) has reached the negotiated "
                f"channel_max ({self.channel_max})"
            )
        access.check_channel(self)
        self.channels[number] = Channel(self, number)
        self.send(number, CHANNEL_OPEN_OK)

    def _receive_while_closing(self, channel: Channel, payload: bytes) -> None:
        """We closed it: what the peer sent before it saw that is ignored, contents included."""
        self.at_method = int.from_bytes(payload[:4], "big")
        if self.at_method == CHANNEL_CLOSE_OK:
            del self.channels[channel.number]
        elif self.at_method == CHANNEL_CLOSE:
            self.send(channel.number, CHANNEL_CLOSE_OK)
        elif self.at_method == CHANNEL_OPEN:
            raise ChannelError("second 'channel.open' seen")
        elif self.at_method in CONTENT_METHODS:
            channel.expect_content(self.at_method, payload)

    def _receive_channel_method(self, channel: Channel, payload: bytes) -> None:
        method = self.decode(payload)
        if self.at_method == CHANNEL_OPEN:
            raise ChannelError("second 'channel.open' seen")
        if self.at_method in CONTENT_METHODS:
            channel.expect_content(self.at_method, payload)
        elif self.at_method == CHANNEL_CLOSE:
            self._release_channel(channel)
            del self.channels[channel.number]
            self.send(channel.number, CHANNEL_CLOSE_OK)
        else:
            command = commands.COMMANDS.get(self.at_method)
            if command is None:
                raise self.unimplemented()
            command(channel, method)

    def unimplemented(self) -> CommandInvalid:
        """The error for a method that only a server sends."""
        return CommandInvalid("unimplemented method")

    def find_route(self, frame: bytes) -> Route | None:
        """The route of a whole basic.publish frame, remembered from now on; None when the plain road must say what is
        wrong."""
        channel = self._hot_channel(frame)
        if channel is None:
            return None
        route = publishing.find_route(channel, frame)
        if route is not None:
            if len(self.routes) >= limits.PUBLISH_ROUTES_MAX:
                if self.stage.spare_routes > 0:
                    self.stage.spare_routes -= 1
                else:
                    self._forget_routes()
            self.routes[frame] = route
            self.on_publisher()
        return route

    def find_source(self, frame: bytes) -> Source | None:
        """The same of a whole basic.get frame."""
        channel = self._hot_channel(frame)
        if channel is None:
            return None
        source = getting.find_source(channel, frame)
        if source is not None:
            if len(self.sources) >= limits.PUBLISH_ROUTES_MAX:
                self.sources.clear()
            self.sources[frame] = source
        return source

    def _hot_channel(self, frame: bytes) -> Channel | None:
        """The channel of a frame, if it is one that takes whole messages."""
        channel = self.channels.get(int.from_bytes(frame[1:3], "big")) if self.state == RUNNING else None
        return channel if channel is not None and channel.takes_hot else None

    def on_publisher(self) -> None:
        """This connection publishes: alarms and back-pressure concern it."""
        self.is_publisher = True
        if self.alarm:
            self._tell_alarm()

    # -- replies --

    def send(self, channel: int, method: int, **arguments: Any) -> None:
        self.outbox.write(codec.method_frame(channel, method, **arguments))

    def reply_when(self, ticket: int, reply: bytes) -> None:
        """Send ``reply`` once ``ticket`` is durable; until then nothing more of this connection is digested, so order
        is kept."""
        if ticket <= self.turn.journal.durable:
            self.outbox.write(reply)
        else:
            self._stall(ticket, reply, None, None)

    def retry_when(self, ticket: int, channel: Channel, method: codec.Method) -> None:
        """Run a command again once ``ticket`` is durable, or in the next turn (SOON)."""
        self._stall(ticket, b"", channel, method)
        if ticket == SOON:
            self.stage.resumable.append(self)

    def _stall(self, ticket: int, reply: bytes, channel: Channel | None, method: codec.Method | None) -> None:
        self.stalled_ticket = ticket
        self.stalled_reply = reply
        self.stalled_channel = channel
        self.stalled_command = method
        self._pause()
        self.turn.journal.wait(self)

    def _pause(self) -> None:
        """Digest nothing more, before ``resume``."""
        self.is_open_for_input = False
        self.is_reading = False
        self.outbox.touch()  # the server looks at is_reading when it writes

    def on_durable(self, durable: int) -> bool:
        if self.stalled_ticket > durable:
            return False
        if self.stalled_ticket and self.state == RUNNING:
            self.stage.resumable.append(self)
        return True

    def resume(self) -> None:
        if self.state >= CLOSING or self.is_reading or self.is_authenticating:
            return
        self.is_congested = False
        self.is_open_for_input = True
        self.is_reading = True
        self.outbox.touch()
        if self.stalled_ticket:
            self._finish_stall()
        if self.is_reading and self.held:
            self._digest(self._take_held())

    def _finish_stall(self) -> None:
        self.stalled_ticket = 0
        channel, method = self.stalled_channel, self.stalled_command
        self.stalled_channel = self.stalled_command = None
        if channel is not None and method is not None and not channel.is_closing:
            self._run_again(channel, method)
        else:
            self.outbox.write(self.stalled_reply)
            self.stalled_reply = b""

    def _run_again(self, channel: Channel, method: codec.Method) -> None:
        self.at_channel, self.at_method = channel.number, method.schema.method
        try:
            commands.COMMANDS[method.schema.method](channel, method)
        except Exception as error:  # noqa: BLE001 - the same edge as in _digest
            self._on_error(error)

    def notify_cancel(self, channel: int, tag: str) -> None:
        """Tell the client that its consumer is gone, if it announced that it understands."""
        if self.state == RUNNING and self.has_capability("consumer_cancel_notify"):
            self.send(channel, BASIC_CANCEL, consumer_tag=tag, nowait=True)

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
            self.send(0, CONNECTION_BLOCKED, reason=self.alarm)
        elif not self.alarm and self.is_blocked:
            self.send(0, CONNECTION_UNBLOCKED)
        self.is_blocked = self.alarm != ""

    def wait_for_room(self) -> None:
        """The peer does not read what it asks for: digest nothing more before it does."""
        self.is_congested = True
        self.is_open_for_input = False
        self.is_reading = False
        self.outbox.is_starved = True  # on_outbox_low ends it

    def on_outbox_low(self) -> None:
        if self.is_congested:
            self.stage.resumable.append(self)
        for channel in self.channels.values():
            channel.activate_consumers()

    # -- time --

    def tick(self, now: float, received_at: float, sent_at: float) -> float:
        return liveness.tick(self, now, received_at, sent_at)

    def abandon(self) -> None:
        self.release()
        self.is_abandoned = True
        self.end()

    # -- errors and the end --

    def close_channel(self, channel: Channel, error: ChannelException) -> None:
        """A soft error that no method of the peer is to blame for."""
        self.at_channel, self.at_method = channel.number, 0
        self._close_channel(error)

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
        self.outbox.write(codec.close_frame(channel.number, CHANNEL_CLOSE, error, self.at_method))

    def _release_channel(self, channel: Channel) -> None:
        channel.release_consumers()
        channel.release_deliveries()
        self._forget_routes()

    def _fail(self, error: AmqpError) -> None:
        """A hard error: connection.close, then only its ok is waited for."""
        if self.state in (CLOSING, CLOSED):
            self.deaf = True
            self.end()
            return
        self.why = f"{error.reply_code} {error.reply_text}"
        logger.warning("%s: closed with an error: %s", self.name, self.why)
        self.release()
        # A client that is let in no further answers, too: some do not tell why if the stream ends before they have.
        is_expected = isinstance(error, (LoginRefused, NotAllowed))
        if isinstance(error, FrameError) or (self.state < OPENING and not is_expected):
            self.deaf = True  # where the next frame begins is not known any more, or the peer is not one
        self.outbox.write(codec.close_frame(0, CONNECTION_CLOSE, error, self.at_method))
        self.state = CLOSING
        self.wants_tick = True
        if self.deaf:
            self.end()

    def force_close(self, reason: str) -> None:
        if self.state == RUNNING:
            self.at_method = 0
            self._fail(ConnectionForced(reason))
        elif self.state < RUNNING:
            self.why = reason
            self.abandon()

    def end(self) -> None:
        """Nothing more is wanted from the peer; the socket closes once it has what we owe."""
        self._stop_listening()
        self.is_finished = True
        self.outbox.touch()

    def receive_eof(self) -> None:
        if self.state not in (CLOSING, CLOSED):
            self.why = self.why or "the client closed the socket without connection.close"
        self.release()
        self.state = CLOSED
        self.deaf = True

    def release(self) -> None:
        """Give back everything: consumers, unacked messages, exclusive queues. Doing it twice does nothing more."""
        self.broker.connections.pop(self, None)
        channels = list(self.channels.values())
        self.channels.clear()
        self._forget_routes()
        self.is_reading = True
        self.is_open_for_input = True
        self.is_congested = False
        self.stalled_ticket = 0
        self.stalled_channel = self.stalled_command = None
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
