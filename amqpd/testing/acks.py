"""Acks that get lost: a socket in front of a connection, out of which no basic.ack comes while somebody drops them.

Owns where frames begin in what a client sends. A frame that is dropped becomes a heartbeat, so that a client that only
acks is not taken for a silent one. Rules: AMQP 0-9-1, 4.2.3 (general frame format).
"""

import socket
from typing import Final

from amqpd.protocols.amqp091.connection import Connection
from amqpd.protocols.amqp091.constants import BASIC_ACK, FRAME_METHOD, HEARTBEAT_FRAME, PROTOCOL_HEADER
from amqpd.protocols.amqp091.states import HEADER
from amqpd.server.reactor import Link

_HEAD_SIZE: Final = 7  # type, channel, size
_METHOD_HEAD_SIZE: Final = 11  # and class, method
_ACK: Final = BASIC_ACK.to_bytes(4, "big")


class AckFilter:
    """What a client sends, however it is chopped, without its acks while there are ``droppers``.

    ``preamble``: so many octets come before the first frame.
    """

    def __init__(self, preamble: int = 0) -> None:
        self.droppers = 0
        self._left = preamble  # octets of the frame in hand
        self._passes = True  # the frame in hand is not dropped
        self._head = b""  # of the next frame: not enough of it to know what it is
        self._seen = 0  # octets of that head that went by already

    def pass_by(self, data: bytes) -> None:
        """``data`` was sent before the filter was there."""
        self.feed(data)
        self._seen = len(self._head)

    def feed(self, chunk: bytes) -> bytes:
        """What is left of ``chunk``."""
        data = self._head + chunk
        self._head = b""
        kept: list[bytes] = []
        at = 0
        while at < len(data):
            if not self._left:
                size = _frame_size(data, at)
                if not size:
                    self._head = data[at:]
                    break
                at += self._begin_frame(data, at, size, kept)
            end = min(at + self._left, len(data))
            if self._passes:
                kept.append(data[at:end])
            self._left -= end - at
            at = end
        return b"".join(kept)

    def _begin_frame(self, data: bytes, at: int, size: int, kept: list[bytes]) -> int:
        """Decide what becomes of it; how many of its octets went by already."""
        is_ack = data[at] == FRAME_METHOD and data[at + _HEAD_SIZE : at + _METHOD_HEAD_SIZE] == _ACK
        seen, self._seen = self._seen, 0
        self._left = size - seen
        self._passes = not (is_ack and self.droppers) or seen > 0
        if not self._passes:
            kept.append(HEARTBEAT_FRAME)
        return seen


def _frame_size(data: bytes, at: int) -> int:
    """Of the whole frame; 0 when too little of it is here to know what it is."""
    there = len(data) - at
    if there < _HEAD_SIZE:
        return 0
    payload_size = int.from_bytes(data[at + 3 : at + _HEAD_SIZE], "big")
    if data[at] == FRAME_METHOD and payload_size >= 4 and there < _METHOD_HEAD_SIZE:
        return 0
    return payload_size + 8


class FilteredSocket(socket.socket):
    """Takes the place of ``sock``, which is of no use any more."""

    def __init__(self, sock: socket.socket, acks: AckFilter) -> None:
        super().__init__(sock.family, sock.type, sock.proto, fileno=sock.detach())
        self.setblocking(False)
        self.acks = acks

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        """Raises BlockingIOError when nothing came that is not dropped."""
        while chunk := super().recv(size, flags):
            if kept := self.acks.feed(chunk):
                return kept
        return b""


def acks_of(link: Link) -> AckFilter:
    """The filter in front of ``link``, which is put there if there is none; it stays for as long as the link."""
    sock = link.sock
    if not isinstance(sock, FilteredSocket):
        sock = FilteredSocket(sock, _make_filter(link))
        link.sock = sock
    return sock.acks


def _make_filter(link: Link) -> AckFilter:
    """One that knows where the next frame begins."""
    connection = link.adapter
    assert isinstance(connection, Connection)
    acks = AckFilter(len(PROTOCOL_HEADER) if connection.state == HEADER else 0)
    acks.pass_by(b"".join(connection.held))
    return acks
