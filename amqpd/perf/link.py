"""A connection to a broker while it is set up and taken down: one call, one answer.

Blocks, with a timeout. What comes in between, deliveries say, is kept for whoever takes the socket over.
"""

import socket
from typing import Any, Final

from amqpd import __version__
from amqpd.broker.fields import Table, boolean, longstr, table
from amqpd.perf.address import Address
from amqpd.perf.publish import CHANNEL
from amqpd.protocols.amqp091 import codec
from amqpd.protocols.amqp091.constants import (
    CHANNEL_CLOSE_OK,
    CHANNEL_OPEN,
    CONNECTION_CLOSE,
    CONNECTION_OPEN,
    CONNECTION_START_OK,
    CONNECTION_TUNE_OK,
    FRAME_BODY,
    FRAME_HEADER,
    FRAME_HEARTBEAT,
    FRAME_METHOD,
    PROTOCOL_HEADER,
)

TIMEOUT_S: Final = 20.0
RECEIVE_BYTES: Final = 262_144
FRAME_MAX: Final = 131_072
FRAME_KINDS: Final = (FRAME_METHOD, FRAME_HEADER, FRAME_BODY, FRAME_HEARTBEAT)
CAPABILITIES: Final = (
    "authentication_failure_close",
    "basic.nack",
    "connection.blocked",
    "consumer_cancel_notify",
    "publisher_confirms",
)


class BrokerError(Exception):
    """There is no broker, it refuses, or it went away; the text says what to tell the user."""


class Refused(BrokerError):
    """The broker closed the channel or the connection: ``code`` is the standard's."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text if text.startswith(str(code)) else f"{code} {text}")
        self.code = code


def refusal(method: codec.Method) -> Refused:
    """What a ``close`` method says."""
    return Refused(method["reply_code"], method["reply_text"])


def read_method(frame: bytes) -> codec.Method:
    """A whole method frame, decoded."""
    number = int.from_bytes(frame[7:11], "big")
    schema = codec.find_schema(number)
    if schema is None:
        raise BrokerError(f"the broker sent a method that AMQP 0-9-1 does not have: {number:#010x}")
    return codec.decode(schema, frame[:-1], 11)


class Link:
    """An open connection with one open channel, or BrokerError."""

    def __init__(self, address: Address, name: str) -> None:
        self.frame_max = FRAME_MAX
        self.rest = b""  # received and not looked at yet
        self._is_lost = False
        try:
            self.socket = socket.create_connection((address.host, address.port), TIMEOUT_S)
        except OSError as error:
            raise BrokerError(f"cannot connect to {address}: {error.strerror or error}") from error
        try:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._shake_hands(address, name)
        except BaseException:
            self.socket.close()
            raise

    def _shake_hands(self, address: Address, name: str) -> None:
        self._send(PROTOCOL_HEADER)
        start = self._wait_for("connection.start")
        if b"PLAIN" not in start["mechanisms"].split():
            raise BrokerError(f"{address} offers no login with a password (PLAIN)")
        try:
            tune = self.call(
                CONNECTION_START_OK,
                "connection.tune",
                channel=0,
                client_properties=_client_properties(name),
                mechanism="PLAIN",
                response=f"\0{address.user}\0{address.password}".encode(),
                locale="en_US",
            )
            self.frame_max = min(tune["frame_max"] or FRAME_MAX, FRAME_MAX)
            self._send(codec.method_frame(0, CONNECTION_TUNE_OK, channel_max=CHANNEL, frame_max=self.frame_max))
            self.call(CONNECTION_OPEN, "connection.open-ok", channel=0, virtual_host=address.vhost)
        except Refused as error:
            raise BrokerError(f"{address} refuses user {address.user!r}, vhost {address.vhost!r}: {error}") from error
        self.call(CHANNEL_OPEN, "channel.open-ok")

    def call(self, method: int, answer: str, *, channel: int = CHANNEL, **arguments: Any) -> codec.Method:
        """Send a method and wait for its answer. Raises Refused, or BrokerError when the broker is gone."""
        self._send(codec.method_frame(channel, method, **arguments))
        return self._wait_for(answer)

    def _send(self, data: bytes) -> None:
        if self._is_lost:
            raise BrokerError("the broker is gone")
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise self._lost(f"the broker went away: {error.strerror or error}") from error

    def _lost(self, words: str) -> BrokerError:
        """Nothing more can be said here."""
        self._is_lost = True
        return BrokerError(words)

    def _wait_for(self, answer: str) -> codec.Method:
        while True:
            frame = self._next_frame()
            if frame[0] != FRAME_METHOD:
                continue
            method = read_method(frame)
            if method.schema.name == answer:
                return method
            if method.schema.name == "channel.close":
                self._send(codec.method_frame(CHANNEL, CHANNEL_CLOSE_OK))
                self.call(CHANNEL_OPEN, "channel.open-ok")  # another one, for what is to be tidied up
            if method.schema.name in ("connection.close", "channel.close"):
                raise refusal(method)

    def _next_frame(self) -> bytes:
        while True:
            if self.rest and self.rest[0] not in FRAME_KINDS:
                raise BrokerError("the broker speaks another protocol, not AMQP 0-9-1")
            end = 8 + int.from_bytes(self.rest[3:7], "big")
            if len(self.rest) >= max(end, 8):
                frame, self.rest = self.rest[:end], self.rest[end:]
                return frame
            self.rest += self._receive()

    def _receive(self) -> bytes:
        try:
            data = self.socket.recv(RECEIVE_BYTES)
        except TimeoutError as error:
            raise self._lost(f"the broker does not answer for {TIMEOUT_S:.0f} seconds") from error
        except OSError as error:
            raise self._lost(f"the broker went away: {error.strerror or error}") from error
        if not data:
            raise self._lost("the broker closed the connection without a word")
        return data

    def close(self, timeout_s: float) -> None:
        """Politely, if the broker answers in time."""
        try:
            self.socket.settimeout(timeout_s)
            self.call(CONNECTION_CLOSE, "connection.close-ok", channel=0, reply_code=200, reply_text="bye")
        except BrokerError:
            pass  # it is closed one way or another
        finally:
            self.socket.close()


def _client_properties(name: str) -> Table:
    return {
        "product": longstr("amqpd perf"),
        "version": longstr(__version__),
        "connection_name": longstr(name),
        "capabilities": table({capability: boolean(True) for capability in CAPABILITIES}),
    }
