"""What passes between a load and a broker, as bytes that amqpd did not encode, and read by what amqpd did not write."""

import struct
from collections.abc import Iterator
from typing import NamedTuple

from tests.support.raw_peer import Method, content_header, decode_method, frame, method_payload

FRAME_HEADER, FRAME_BODY = 2, 3
RUN = 0x1234
NOW = 1_800_000_000 * 10**9


class Stamp(NamedTuple):
    """The first 16 bytes of a body."""

    at: int
    run: int
    producer: int
    sequence: int


class Published(NamedTuple):
    """One publish as a broker sees it."""

    method: Method
    properties: bytes
    body: bytes

    @property
    def stamp(self) -> Stamp:
        return Stamp(*struct.unpack(">QHHI", self.body[:16]))


def frames(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    while data:
        kind, channel, size = struct.unpack(">BHI", data[:7])
        assert data[7 + size] == 0xCE
        yield kind, channel, data[7 : 7 + size]
        data = data[8 + size :]


def publishes(data: bytes) -> list[Published]:
    """All of it must be whole publishes on channel 1."""
    found: list[Published] = []
    left = frames(data)
    for kind, channel, payload in left:
        assert (kind, channel) == (1, 1)
        head_kind, _, head = next(left)
        assert head_kind == FRAME_HEADER
        (size,) = struct.unpack(">Q", head[4:12])
        body = b""
        while len(body) < size:
            body_kind, _, piece = next(left)
            assert body_kind == FRAME_BODY
            body += piece
        assert len(body) == size
        found.append(Published(decode_method(payload), head[12:], body))
    return found


def body(sequence: int, *, at: int = NOW, run: int = RUN, producer: int = 0, size: int = 16) -> bytes:
    """The body of a message of a load."""
    return struct.pack(">QHHI", at, run, producer, sequence).ljust(size, b"x")


def deliver(tag: int, text: bytes, *, redelivered: bool = False, piece: int = 100_000) -> bytes:
    """A delivery on channel 1."""
    method = method_payload(
        "basic.deliver", consumer_tag="perf", delivery_tag=tag, redelivered=redelivered, exchange="", routing_key="q"
    )
    pieces = [text[at : at + piece] for at in range(0, len(text), piece)]
    return b"".join(
        (
            frame(1, 1, method),
            frame(2, 1, content_header(len(text))),
            *(frame(3, 1, each) for each in pieces),
        )
    )


def said(name: str, **args: object) -> bytes:
    """A method of the broker on channel 1."""
    return frame(1, 1, method_payload(name, **args))


def methods(data: bytes) -> list[Method]:
    """All of it must be methods on channel 1."""
    heard = list(frames(data))
    assert {(kind, channel) for kind, channel, _ in heard} <= {(1, 1)}
    return [decode_method(payload) for _, _, payload in heard]
