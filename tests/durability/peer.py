"""A peer for load: publishes are bytes made beforehand, what comes is parsed in bulk. Knows nothing of what is tested.

Built on the handshake of ``tests/support/raw_peer.py``; from then on it reads for itself.
"""

import select
import struct
from collections import deque
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, Self

from tests.support.raw_peer import Method, PeerError, RawPeer, decode_method, frame, method_payload

IO_TIMEOUT_S: Final = 10.0
READ_BYTES: Final = 262_144
BODY_FRAME_BYTES: Final = 131_072 - 8  # of the frame_max that the handshake agrees on
DELIVER: Final = (60 << 16) | 60
ACK: Final = (60 << 16) | 80
NACK: Final = (60 << 16) | 120
CONNECTION_CLOSE: Final = (10 << 16) | 50


class Gone(Exception):
    """The connection ended; ``said`` is the reply text of connection.close, if the broker said one."""

    def __init__(self, said: str = "") -> None:
        super().__init__(said)
        self.said = said


class Delivery(NamedTuple):
    """A basic.deliver with its content; ``properties`` as on the wire."""

    tag: int
    redelivered: bool
    properties: bytes
    body: bytes


class Confirm(NamedTuple):
    """A basic.ack from the broker, or a basic.nack."""

    tag: int
    multiple: bool
    is_nack: bool = False


Event = Delivery | Confirm | Method


class LoadPeer:
    """One connection with channel 1 open. Everything raises Gone once the broker has ended it."""

    def __init__(self, host: str, port: int) -> None:
        try:
            peer = RawPeer(host, port)
        except OSError as error:
            raise Gone from error
        try:
            peer.login()
            peer.open_channel(1)
        except (PeerError, OSError) as error:
            peer.abort()
            raise Gone from error
        self.socket = peer.socket
        self.socket.settimeout(IO_TIMEOUT_S)
        self.buffer = bytes(peer.buffer)
        self.events: deque[Event] = deque()  # read and not taken yet: an end in between loses none of them
        self.end: Gone | None = None
        self.tag = 0
        self.redelivered = False
        self.properties = b""
        self.left = -1  # bytes of the body that is being put together; -1: none is
        self.parts: list[bytes] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()

    def send(self, data: bytes) -> None:
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise Gone from error

    def send_method(self, name: str, **arguments: Any) -> None:
        self.send(frame(1, 1, method_payload(name, **arguments)))

    def call(self, name: str, **arguments: Any) -> tuple[Method, list[Event]]:
        """Send a method and wait for its answer; what came before it comes along, what came after it is read next."""
        self.send_method(name, **arguments)
        before: list[Event] = []
        try:
            for event in self.stream():
                if isinstance(event, Method) and event.name in (f"{name}-ok", "channel.close", "basic.get-empty"):
                    return event, before
                before.append(event)
        except Gone:
            self.events.extendleft(reversed(before))  # for whoever wants its last words
            raise
        raise AssertionError("a stream ends with Gone")

    def wait(self, seconds: float) -> bool:
        """Whether something came within so many seconds."""
        if self.socket.fileno() < 0:
            return True  # the end, which is read next
        return bool(self.events) or bool(select.select([self.socket], [], [], seconds)[0])

    def stream(self) -> Iterator[Event]:
        """Events one by one, waiting for each."""
        while True:
            yield from self.read()

    def read(self) -> Iterator[Event]:
        """The events of one read, for at least one octet of which it waits; or those that were left by the last one."""
        if not self.events:
            self._fill()
        while self.events:
            yield self.events.popleft()

    def read_to_end(self) -> Iterator[Event]:
        """Whatever still comes until the connection ends."""
        try:
            yield from self.stream()
        except Gone:
            return

    def abort(self) -> None:
        self.socket.close()

    def _fill(self) -> None:
        if self.end is not None:
            self.abort()
            raise self.end
        try:
            chunk = self.socket.recv(READ_BYTES)
        except OSError as error:
            self.abort()
            raise Gone from error
        if not chunk:
            self.abort()
            raise Gone
        buffer = self.buffer + chunk if self.buffer else chunk
        at, end = 0, len(buffer)
        while end - at >= 8:
            kind, channel, size = struct.unpack_from(">BHI", buffer, at)
            after = at + 8 + size
            if after > end:
                break
            event = self._event(kind, channel, buffer[at + 7 : after - 1])
            at = after
            if event is not None:
                self.events.append(event)
        self.buffer = buffer[at:]

    def _event(self, kind: int, channel: int, payload: bytes) -> Event | None:
        if kind == 1:
            return self._method_event(channel, payload)
        if kind == 2:
            (self.left,) = struct.unpack_from(">Q", payload, 4)
            self.properties, self.parts = payload[12:], []
        elif kind == 3:
            self.left -= len(payload)
            self.parts.append(payload)
        if kind in (2, 3) and self.left == 0:
            self.left = -1
            return Delivery(self.tag, self.redelivered, self.properties, b"".join(self.parts))
        return None

    def _method_event(self, channel: int, payload: bytes) -> Event | None:
        (method,) = struct.unpack_from(">I", payload)
        if method in (ACK, NACK):
            tag, bits = struct.unpack_from(">QB", payload, 4)
            return Confirm(tag, bits & 1 == 1, method == NACK)
        if method == DELIVER:
            self.tag, bits = struct.unpack_from(">QB", payload, 5 + payload[4])
            self.redelivered = bits & 1 == 1
            return None
        decoded = decode_method(payload)
        if channel == 0 and method == CONNECTION_CLOSE:
            self.end = Gone(decoded["reply_text"])
            self.send(frame(1, 0, method_payload("connection.close-ok")))
            return None
        if channel == 0:
            return None  # blocked and unblocked: whoever is blocked waits anyway
        return decoded


def publish_frames(exchange: str, key: str, properties: bytes, body: bytes, *, mandatory: bool = False) -> bytes:
    """A whole publish on channel 1."""
    method = method_payload("basic.publish", exchange=exchange, routing_key=key, mandatory=mandatory)
    header = struct.pack(">HHQ", 60, 0, len(body)) + properties
    bodies = [frame(3, 1, body[at : at + BODY_FRAME_BYTES]) for at in range(0, len(body), BODY_FRAME_BYTES)]
    return frame(1, 1, method) + frame(2, 1, header) + b"".join(bodies)
