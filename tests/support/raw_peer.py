"""A synchronous AMQP 0-9-1 peer that says exactly what a test tells it to, right or wrong.

Owns its encoding of frames, methods, tables and properties (from the standard's XML and RabbitMQ's errata for table
types), so that a test never trusts the code it tests. Knows nothing of amqpd. Every wait ends after ``TIMEOUT_S``.
"""

import select
import socket
import struct
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, NamedTuple

TIMEOUT_S: Final = 5.0
HEADER: Final = b"AMQP\x00\x00\x09\x01"
FRAME_END: Final = b"\xce"
METHOD, CONTENT_HEADER, BODY, HEARTBEAT = 1, 2, 3, 8
STORE_CHANNEL: Final = 999
NO_PROPERTIES: Final = b"\x00\x00"
BASIC: Final = 60

# name: (class id, method id, arguments in the order of the wire)
METHODS: Final[dict[str, tuple[int, int, str]]] = {
    "connection.start": (
        10,
        10,
        "version_major:octet version_minor:octet server_properties:table mechanisms:longstr locales:longstr",
    ),
    "connection.start-ok": (
        10,
        11,
        "client_properties:table mechanism:shortstr response:longstr locale:shortstr",
    ),
    "connection.secure": (10, 20, "challenge:longstr"),
    "connection.secure-ok": (10, 21, "response:longstr"),
    "connection.tune": (10, 30, "channel_max:short frame_max:long heartbeat:short"),
    "connection.tune-ok": (10, 31, "channel_max:short frame_max:long heartbeat:short"),
    "connection.open": (10, 40, "virtual_host:shortstr capabilities:shortstr insist:bit"),
    "connection.open-ok": (10, 41, "known_hosts:shortstr"),
    "connection.close": (10, 50, "reply_code:short reply_text:shortstr class_id:short method_id:short"),
    "connection.close-ok": (10, 51, ""),
    "connection.blocked": (10, 60, "reason:shortstr"),
    "connection.unblocked": (10, 61, ""),
    "connection.update-secret": (10, 70, "new_secret:longstr reason:shortstr"),
    "connection.update-secret-ok": (10, 71, ""),
    "channel.open": (20, 10, "out_of_band:shortstr"),
    "channel.open-ok": (20, 11, "channel_id:longstr"),
    "channel.flow": (20, 20, "active:bit"),
    "channel.flow-ok": (20, 21, "active:bit"),
    "channel.close": (20, 40, "reply_code:short reply_text:shortstr class_id:short method_id:short"),
    "channel.close-ok": (20, 41, ""),
    "access.request": (30, 10, "realm:shortstr exclusive:bit passive:bit active:bit write:bit read:bit"),
    "access.request-ok": (30, 11, "ticket:short"),
    "exchange.declare": (
        40,
        10,
        "ticket:short exchange:shortstr type:shortstr passive:bit durable:bit auto_delete:bit internal:bit nowait:bit"
        " arguments:table",
    ),
    "exchange.declare-ok": (40, 11, ""),
    "exchange.delete": (40, 20, "ticket:short exchange:shortstr if_unused:bit nowait:bit"),
    "exchange.delete-ok": (40, 21, ""),
    "exchange.bind": (
        40,
        30,
        "ticket:short destination:shortstr source:shortstr routing_key:shortstr nowait:bit arguments:table",
    ),
    "exchange.bind-ok": (40, 31, ""),
    "exchange.unbind": (
        40,
        40,
        "ticket:short destination:shortstr source:shortstr routing_key:shortstr nowait:bit arguments:table",
    ),
    "exchange.unbind-ok": (40, 51, ""),
    "queue.declare": (
        50,
        10,
        "ticket:short queue:shortstr passive:bit durable:bit exclusive:bit auto_delete:bit nowait:bit arguments:table",
    ),
    "queue.declare-ok": (50, 11, "queue:shortstr message_count:long consumer_count:long"),
    "queue.bind": (
        50,
        20,
        "ticket:short queue:shortstr exchange:shortstr routing_key:shortstr nowait:bit arguments:table",
    ),
    "queue.bind-ok": (50, 21, ""),
    "queue.purge": (50, 30, "ticket:short queue:shortstr nowait:bit"),
    "queue.purge-ok": (50, 31, "message_count:long"),
    "queue.delete": (50, 40, "ticket:short queue:shortstr if_unused:bit if_empty:bit nowait:bit"),
    "queue.delete-ok": (50, 41, "message_count:long"),
    "queue.unbind": (50, 50, "ticket:short queue:shortstr exchange:shortstr routing_key:shortstr arguments:table"),
    "queue.unbind-ok": (50, 51, ""),
    "basic.qos": (60, 10, "prefetch_size:long prefetch_count:short global_:bit"),
    "basic.qos-ok": (60, 11, ""),
    "basic.consume": (
        60,
        20,
        "ticket:short queue:shortstr consumer_tag:shortstr no_local:bit no_ack:bit exclusive:bit nowait:bit"
        " arguments:table",
    ),
    "basic.consume-ok": (60, 21, "consumer_tag:shortstr"),
    "basic.cancel": (60, 30, "consumer_tag:shortstr nowait:bit"),
    "basic.cancel-ok": (60, 31, "consumer_tag:shortstr"),
    "basic.publish": (60, 40, "ticket:short exchange:shortstr routing_key:shortstr mandatory:bit immediate:bit"),
    "basic.return": (60, 50, "reply_code:short reply_text:shortstr exchange:shortstr routing_key:shortstr"),
    "basic.deliver": (
        60,
        60,
        "consumer_tag:shortstr delivery_tag:longlong redelivered:bit exchange:shortstr routing_key:shortstr",
    ),
    "basic.get": (60, 70, "ticket:short queue:shortstr no_ack:bit"),
    "basic.get-ok": (
        60,
        71,
        "delivery_tag:longlong redelivered:bit exchange:shortstr routing_key:shortstr message_count:long",
    ),
    "basic.get-empty": (60, 72, "cluster_id:shortstr"),
    "basic.ack": (60, 80, "delivery_tag:longlong multiple:bit"),
    "basic.reject": (60, 90, "delivery_tag:longlong requeue:bit"),
    "basic.recover-async": (60, 100, "requeue:bit"),
    "basic.recover": (60, 110, "requeue:bit"),
    "basic.recover-ok": (60, 111, ""),
    "basic.nack": (60, 120, "delivery_tag:longlong multiple:bit requeue:bit"),
    "confirm.select": (85, 10, "nowait:bit"),
    "confirm.select-ok": (85, 11, ""),
    "tx.select": (90, 10, ""),
    "tx.select-ok": (90, 11, ""),
    "tx.commit": (90, 20, ""),
    "tx.commit-ok": (90, 21, ""),
    "tx.rollback": (90, 30, ""),
    "tx.rollback-ok": (90, 31, ""),
}
CONNECTION_CLOSE: Final = struct.pack(">HH", *METHODS["connection.close"][:2])
NAMES: Final = {(class_id, method_id): name for name, (class_id, method_id, _) in METHODS.items()}
CONTENT_METHODS: Final = frozenset({"basic.deliver", "basic.return", "basic.get-ok"})

# In the order of their flag bits, the highest first.
PROPERTIES: Final = (
    ("content_type", "shortstr"),
    ("content_encoding", "shortstr"),
    ("headers", "table"),
    ("delivery_mode", "octet"),
    ("priority", "octet"),
    ("correlation_id", "shortstr"),
    ("reply_to", "shortstr"),
    ("expiration", "shortstr"),
    ("message_id", "shortstr"),
    ("timestamp", "longlong"),
    ("type", "shortstr"),
    ("user_id", "shortstr"),
    ("app_id", "shortstr"),
    ("cluster_id", "shortstr"),
)
ALL_CAPABILITIES: Final = {
    "publisher_confirms": True,
    "exchange_exchange_bindings": True,
    "basic.nack": True,
    "consumer_cancel_notify": True,
    "connection.blocked": True,
    "authentication_failure_close": True,
}

FIXED: Final = {"octet": ">B", "short": ">H", "long": ">I", "longlong": ">Q"}
TABLE_NUMBERS: Final = {
    "b": ">b",
    "B": ">B",
    "s": ">h",
    "u": ">H",
    "I": ">i",
    "i": ">I",
    "l": ">q",
    "T": ">Q",
    "f": ">f",
    "d": ">d",
}


class Typed(NamedTuple):
    """A table value whose wire type is chosen by the test; ``D`` holds (scale, unscaled), ``x`` holds bytes."""

    kind: str
    value: Any


class Frame(NamedTuple):
    """A frame as it came."""

    kind: int
    channel: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class Method:
    """A decoded method."""

    name: str
    args: dict[str, Any]

    def __getitem__(self, key: str) -> Any:
        return self.args[key]


@dataclass(frozen=True, slots=True)
class Content:
    """A method with its content: ``properties`` are the raw flags and values, ``frame_sizes`` those of the body."""

    method: Method
    properties: bytes
    body: bytes
    frame_sizes: tuple[int, ...]

    @property
    def tag(self) -> int:
        return int(self.method["delivery_tag"])


class PeerError(AssertionError):
    """The broker did not do what the dialogue says."""


# -- encoding ----------------------------------------------------------------------------------------------------


def frame(kind: int, channel: int, payload: bytes, end: bytes = FRAME_END) -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


def shortstr(text: str) -> bytes:
    raw = text.encode("utf-8", "surrogateescape")
    return struct.pack(">B", len(raw)) + raw


def longstr(text: str | bytes) -> bytes:
    raw = text if isinstance(text, bytes) else text.encode("utf-8", "surrogateescape")
    return struct.pack(">I", len(raw)) + raw


def table(entries: dict[str, Any]) -> bytes:
    return longstr(b"".join(shortstr(key) + table_value(value) for key, value in entries.items()))


def table_value(value: Any) -> bytes:
    typed = value if isinstance(value, Typed) else _typed(value)
    return typed.kind.encode() + _typed_payload(typed.kind, typed.value)


def _typed(value: Any) -> Typed:
    kinds: tuple[tuple[type, str], ...] = (
        (bool, "t"),
        (int, "I"),
        (float, "d"),
        (str, "S"),
        (bytes, "x"),
        (dict, "F"),
        (list, "A"),
    )
    return Typed(next((kind for cls, kind in kinds if isinstance(value, cls)), "V"), value)


def _typed_payload(kind: str, value: Any) -> bytes:
    if kind in TABLE_NUMBERS:
        return struct.pack(TABLE_NUMBERS[kind], value)
    match kind:
        case "t":
            return b"\x01" if value else b"\x00"
        case "D":
            return struct.pack(">Bi", *value)
        case "S" | "x":
            return longstr(value)
        case "F":
            return table(value)
        case "A":
            return longstr(b"".join(table_value(item) for item in value))
        case _:
            return b""


def method_payload(name: str, **args: Any) -> bytes:
    """A method's bytes; arguments not given are zero, empty or false."""
    class_id, method_id, signature = METHODS[name]
    parts = [struct.pack(">HH", class_id, method_id)]
    bits: list[bool] = []
    for field in [*signature.split(), "end:end"]:
        key, kind = field.split(":")
        if kind == "bit":
            bits.append(bool(args.pop(key, False)))
            continue
        if bits:
            parts.append(struct.pack(">B", sum(bit << position for position, bit in enumerate(bits))))
            bits = []
        parts.append(_argument(kind, args.pop(key, None)))
    if args:
        raise TypeError(f"{name} has no argument {', '.join(args)}")
    return b"".join(parts)


def _argument(kind: str, value: Any) -> bytes:
    match kind:
        case "end":
            return b""
        case "shortstr":
            return shortstr(value or "")
        case "longstr":
            return longstr(value or b"")
        case "table":
            return table(value or {})
        case _:
            return struct.pack(FIXED[kind], value or 0)


def properties(**values: Any) -> bytes:
    """Property flags and values, as a content header ends."""
    flags, parts = 0, []
    for position, (key, kind) in enumerate(PROPERTIES):
        if key in values:
            flags |= 1 << (15 - position)
            parts.append(_argument(kind, values.pop(key)))
    if values:
        raise TypeError(f"no property {', '.join(values)}")
    return struct.pack(">H", flags) + b"".join(parts)


def content_header(size: int, props: bytes = NO_PROPERTIES, *, class_id: int = BASIC, weight: int = 0) -> bytes:
    return struct.pack(">HHQ", class_id, weight, size) + props


# -- decoding ----------------------------------------------------------------------------------------------------


class _Reader:
    """A cursor over a payload."""

    def __init__(self, payload: bytes) -> None:
        self.payload = payload
        self.offset = 0

    def number(self, fmt: str) -> Any:
        (value,) = struct.unpack_from(fmt, self.payload, self.offset)
        self.offset += struct.calcsize(fmt)
        return value

    def raw(self, size: int) -> bytes:
        self.offset += size
        return self.payload[self.offset - size : self.offset]

    def argument(self, kind: str) -> Any:
        match kind:
            case "shortstr":
                return self.raw(self.number(">B")).decode("utf-8", "surrogateescape")
            case "longstr":
                return self.raw(self.number(">I")).decode("utf-8", "surrogateescape")
            case "table":
                return self.table()
            case _:
                return self.number(FIXED[kind])

    def table(self) -> dict[str, Any]:
        inner = _Reader(self.raw(self.number(">I")))
        entries = {}
        while inner.offset < len(inner.payload):
            key = inner.argument("shortstr")
            entries[key] = inner.table_value()
        return entries

    def table_value(self) -> Any:
        kind = chr(self.number(">B"))
        if kind in TABLE_NUMBERS:
            return self.number(TABLE_NUMBERS[kind])
        match kind:
            case "t":
                return self.number(">B") != 0
            case "D":
                return Typed("D", (self.number(">B"), self.number(">i")))
            case "S":
                return self.argument("longstr")
            case "x":
                return self.raw(self.number(">I"))
            case "F":
                return self.table()
            case "A":
                inner = _Reader(self.raw(self.number(">I")))
                items = []
                while inner.offset < len(inner.payload):
                    items.append(inner.table_value())
                return items
            case "V":
                return None
            case _:
                raise PeerError(f"table value of unknown type {kind!r}")


def decode_method(payload: bytes) -> Method:
    reader = _Reader(payload)
    ids = (reader.number(">H"), reader.number(">H"))
    if ids not in NAMES:
        raise PeerError(f"unknown method {ids}")
    name = NAMES[ids]
    args: dict[str, Any] = {}
    bits = bit = 0
    for field in METHODS[name][2].split():
        key, kind = field.split(":")
        if kind != "bit":
            args[key], bit = reader.argument(kind), 0
            continue
        bits = reader.number(">B") if bit == 0 else bits
        args[key], bit = bool(bits >> bit & 1), bit + 1
    if reader.offset != len(payload):
        raise PeerError(f"{name} has {len(payload) - reader.offset} bytes too many")
    return Method(name, args)


def decode_properties(raw: bytes) -> dict[str, Any]:
    reader = _Reader(raw)
    flags = reader.number(">H")
    return {key: reader.argument(kind) for bit, (key, kind) in enumerate(PROPERTIES) if flags >> (15 - bit) & 1}


# -- the peer ----------------------------------------------------------------------------------------------------


class RawPeer:
    """One connection. ``send*`` writes, ``expect*`` reads and compares, ``call`` does both."""

    def __init__(self, host: str, port: int) -> None:
        self.socket = socket.create_connection((host, port), TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray()
        self.unread: defaultdict[int, deque[Frame]] = defaultdict(deque)  # came while waiting for another channel
        self.frame_max = 0  # 0 until tuned: bodies go out in one frame
        self.dismissed = False  # the broker's connection.close was read

    def __enter__(self) -> "RawPeer":
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None
    ) -> None:
        self.abort()

    def abort(self) -> None:
        """Drop the TCP connection without a word."""
        self.socket.close()

    # -- out

    def send_bytes(self, raw: bytes) -> None:
        self.socket.sendall(raw)

    def send(self, channel: int, name: str, **args: Any) -> None:
        self.send_bytes(frame(METHOD, channel, method_payload(name, **args)))

    def publish(
        self,
        channel: int,
        exchange: str = "",
        routing_key: str = "",
        body: bytes = b"",
        props: bytes = NO_PROPERTIES,
        *,
        mandatory: bool = False,
        immediate: bool = False,
    ) -> None:
        """Send a whole publish; the body goes in as many frames as the negotiated frame_max asks for."""
        method = method_payload(
            "basic.publish", exchange=exchange, routing_key=routing_key, mandatory=mandatory, immediate=immediate
        )
        step = (self.frame_max or max(len(body), 1) + 8) - 8
        self.send_bytes(
            frame(METHOD, channel, method)
            + frame(CONTENT_HEADER, channel, content_header(len(body), props))
            + b"".join(frame(BODY, channel, body[at : at + step]) for at in range(0, len(body), step))
        )

    def publish_all(self, channel: int, queue: str, bodies: Iterable[bytes]) -> None:
        """Publish each body to a queue through the default exchange."""
        for body in bodies:
            self.publish(channel, "", queue, body)

    def store(self, queue: str, bodies: Iterable[bytes]) -> None:
        """Publish each body to a queue and wait until all are confirmed, so that other connections find them."""
        self.open_channel(STORE_CHANNEL)
        self.call(STORE_CHANNEL, "confirm.select")
        for tag, body in enumerate(bodies, 1):
            self.publish(STORE_CHANNEL, "", queue, body)
            self.expect(STORE_CHANNEL, "basic.ack", delivery_tag=tag)
        self.close_channel(STORE_CHANNEL)

    # -- in

    def read_bytes(self, size: int) -> bytes:
        """Exactly ``size`` bytes; what comes before the end of the stream counts as a failure."""
        while len(self.buffer) < size:
            try:
                chunk = self.socket.recv(65536)
            except TimeoutError:
                raise PeerError(f"nothing more after {TIMEOUT_S} s; so far {bytes(self.buffer)!r}") from None
            except ConnectionError as error:
                raise PeerError(f"connection lost: {error}; so far {bytes(self.buffer)!r}") from None
            if not chunk:
                raise PeerError(f"connection closed by the broker; so far {bytes(self.buffer)!r}")
            self.buffer += chunk
        taken = bytes(self.buffer[:size])
        del self.buffer[:size]
        return taken

    def read_frame(self) -> Frame:
        """The next frame of any channel, as it is on the wire."""
        kind, channel, size = struct.unpack(">BHI", self.read_bytes(7))
        payload = self.read_bytes(size)
        end = self.read_bytes(1)
        if end != FRAME_END:
            raise PeerError(f"frame of type {kind} ends with {end!r}")
        if (kind, channel) == (METHOD, 0) and payload.startswith(CONNECTION_CLOSE):
            self.dismissed = True
        return Frame(kind, channel, payload)

    def next_frame(self, channel: int) -> Frame:
        """The next frame of a channel; others are kept. Frames of different channels have no order."""
        while not self.unread[channel]:
            got = self.read_frame()
            if got.channel == 0 and channel != 0 and got.kind == METHOD:
                raise PeerError(f"waiting on channel {channel}, got {decode_method(got.payload)}")
            self.unread[got.channel].append(got)
        return self.unread[channel].popleft()

    def next_method(self, channel: int) -> Method:
        got = self.next_frame(channel)
        if got.kind != METHOD:
            raise PeerError(f"expected a method, got {got}")
        return decode_method(got.payload)

    def expect(self, channel: int, name: str, **args: Any) -> Method:
        """The next method of the channel, which must have this name and (at least) these arguments."""
        got = self.next_method(channel)
        given = {key: got.args.get(key) for key in args}
        if got.name != name or given != args:
            raise PeerError(f"expected {name} {args}\n     got {got.name} {got.args}")
        return got

    def expect_content(self, channel: int, name: str, body: bytes | None = None, **args: Any) -> Content:
        """A method with content; ``body`` is compared when given."""
        method = self.expect(channel, name, **args)
        header = self.next_frame(channel)
        class_id, weight, size = struct.unpack_from(">HHQ", header.payload)
        if (header.kind, class_id, weight) != (CONTENT_HEADER, BASIC, 0):
            raise PeerError(f"expected a content header, got {header}")
        parts: list[bytes] = []
        while sum(map(len, parts)) < size:
            part = self.next_frame(channel)
            if part.kind != BODY:
                raise PeerError(f"expected a body, got {part}")
            parts.append(part.payload)
        content = Content(method, header.payload[12:], b"".join(parts), tuple(map(len, parts)))
        if body is not None and content.body != body:
            raise PeerError(f"expected body {body!r}, got {content.body!r} with {method}")
        return content

    def expect_deliver(self, channel: int, body: bytes | None = None, **args: Any) -> Content:
        return self.expect_content(channel, "basic.deliver", body, **args)

    def expect_delivers(self, channel: int, bodies: Iterable[bytes], **args: Any) -> list[Content]:
        return [self.expect_deliver(channel, body, **args) for body in bodies]

    def call(self, channel: int, name: str, **args: Any) -> Method:
        """Send a method and take its answer, ``<name>-ok``."""
        self.send(channel, name, **args)
        return self.expect(channel, f"{name}-ok")

    def get(self, channel: int, queue: str, body: bytes | None = None, *, no_ack: bool = False, **args: Any) -> Content:
        """basic.get that must find a message."""
        self.send(channel, "basic.get", queue=queue, no_ack=no_ack)
        return self.expect_content(channel, "basic.get-ok", body, **args)

    def take_all(self, channel: int, queue: str) -> list[bytes]:
        """Get and forget all that is ready: unlike the count of a passive declare, in step with what was sent before.

        RabbitMQ's queues answer the passive declare ahead of publishes and requeues that wait.
        """
        bodies: list[bytes] = []
        while True:
            self.send(channel, "basic.get", queue=queue, no_ack=True)
            frame_ = self.next_frame(channel)
            self.unread[channel].appendleft(frame_)
            if decode_method(frame_.payload).name == "basic.get-empty":
                self.expect(channel, "basic.get-empty")
                return bodies
            bodies.append(self.expect_content(channel, "basic.get-ok").body)

    def get_empty(self, channel: int, queue: str) -> None:
        self.send(channel, "basic.get", queue=queue)
        self.expect(channel, "basic.get-empty", cluster_id="")

    def expect_nothing(self, ms: int = 40) -> None:
        """No frame of any channel within ``ms``."""
        kept = [got for frames in self.unread.values() for got in frames]
        if kept:
            raise PeerError(f"expected nothing, got {kept}")
        if self.buffer or select.select([self.socket], [], [], ms / 1000)[0]:
            raise PeerError(f"expected nothing, got {self.read_frame()}")

    def expect_socket_closed(self) -> None:
        """The broker ends the connection and says nothing before that."""
        if self.buffer:
            raise PeerError(f"expected the end, got {bytes(self.buffer)!r}")
        try:
            rest = self.socket.recv(65536)
        except ConnectionError:
            return
        except TimeoutError:
            raise PeerError(f"connection still open after {TIMEOUT_S} s") from None
        if rest:
            raise PeerError(f"expected the end, got {rest!r}")

    # -- closes

    def expect_channel_close(self, channel: int, code: int, text: str, culprit: str = "") -> None:
        """The broker closes the channel and names the method to blame; answered with close-ok."""
        self._expect_close(channel, "channel.close", code, text, culprit)
        self.send(channel, "channel.close-ok")

    def expect_connection_close(self, code: int, text: str, culprit: str = "", *, lingers: bool = False) -> None:
        """The broker closes the connection; answered with close-ok, upon which the socket is closed.

        ``lingers``: RabbitMQ distrusts the peer and keeps the socket for 3 s; not waited for.
        """
        self._expect_close(0, "connection.close", code, text, culprit)
        if lingers:
            self.abort()
            return
        self.send(0, "connection.close-ok")
        self.expect_socket_closed()

    def _expect_close(self, channel: int, name: str, code: int, text: str, culprit: str) -> None:
        class_id, method_id, _ = METHODS[culprit] if culprit else (0, 0, "")
        self.expect(channel, name, reply_code=code, reply_text=text, class_id=class_id, method_id=method_id)

    def refused(self, channel: int, code: int, text: str, name: str, **args: Any) -> None:
        """Send a method for which the broker closes the channel; the channel is open anew afterwards."""
        self.send(channel, name, **args)
        self.expect_channel_close(channel, code, text, name)
        self.open_channel(channel)

    def fatal(self, channel: int, code: int, text: str, name: str, **args: Any) -> None:
        """Send a method for which the broker closes the connection."""
        self.send(channel, name, **args)
        self.expect_connection_close(code, text, name)

    # -- handshake

    def start(self) -> Method:
        self.send_bytes(HEADER)
        return self.expect(0, "connection.start")

    def start_ok(
        self,
        mechanism: str = "PLAIN",
        response: bytes = b"\x00guest\x00guest",
        capabilities: dict[str, bool] | None = None,
    ) -> None:
        client = {"product": "raw peer", "capabilities": ALL_CAPABILITIES if capabilities is None else capabilities}
        self.send(
            0, "connection.start-ok", client_properties=client, mechanism=mechanism, response=response, locale="en_US"
        )

    def tune_ok(self, channel_max: int = 2047, frame_max: int = 131072, heartbeat: int = 0) -> None:
        self.send(0, "connection.tune-ok", channel_max=channel_max, frame_max=frame_max, heartbeat=heartbeat)
        self.frame_max = frame_max

    def login(
        self, *, capabilities: dict[str, bool] | None = None, channel_max: int = 2047, frame_max: int = 131072
    ) -> None:
        """The whole handshake, without heartbeats."""
        self.start()
        self.start_ok(capabilities=capabilities)
        self.expect(0, "connection.tune")
        self.tune_ok(channel_max, frame_max)
        self.call(0, "connection.open", virtual_host="/")

    def open_channel(self, channel: int) -> None:
        self.send(channel, "channel.open")
        self.expect(channel, "channel.open-ok", channel_id="")

    def close_channel(self, channel: int) -> None:
        self.call(channel, "channel.close", reply_code=200, reply_text="bye")

    def close(self) -> None:
        """An orderly end. Frames nobody asked for are an error: a dialogue has no extra lines."""
        with self:
            self.send(0, "connection.close", reply_code=200, reply_text="bye")
            self.expect(0, "connection.close-ok")
            left = [got for frames in self.unread.values() for got in frames]
            if left:
                raise PeerError(f"frames nobody asked for: {left}")

    @property
    def open(self) -> bool:
        """Whether this side has not closed the socket and the other side's close was not read."""
        if self.dismissed or self.socket.fileno() < 0:
            return False
        self.socket.setblocking(False)
        try:
            return self.socket.recv(1, socket.MSG_PEEK) != b""
        except BlockingIOError:
            return True
        except OSError:
            return False
        finally:
            self.socket.settimeout(TIMEOUT_S)
