"""Hand-written bytes of the methods that come once a message: deliver, get-ok, return, confirms; and contents for
another channel.
"""
# HOT. Prefixes are built once a consumer; `reframe` runs only when channel numbers or frame sizes differ.
# Twin: codec.method_frame; tests/twins/test_hot_codec.py.

from __future__ import annotations

from typing import Final

from librt.strings import BytesWriter, read_i32_be, write_i32_be, write_i64_be
from mypy_extensions import i32, i64, u8

ENDLESS: Final = (1 << 63) - 1  # a body size beyond what a signed 64-bit number holds
NO_ROUTE: Final = b"\x00\x3c\x00\x32\x01\x38\x08NO_ROUTE"  # basic.return up to the exchange


def _head(w: BytesWriter, kind: int, channel: i64, size: i64) -> None:
    w.append(kind)
    _write_channel(w, channel)
    write_i32_be(w, i32(size))


def _write_channel(w: BytesWriter, channel: i64) -> None:
    w.append(u8(channel >> 8))
    w.append(u8(channel & 0xFF))


def deliver_prefix(channel: i64, tag: bytes, address_size: i64) -> bytes:
    """basic.deliver up to the delivery tag, for an address of ``address_size`` bytes (frame end included)."""
    w = BytesWriter()
    _head(w, 1, channel, 4 + 1 + len(tag) + 9 + address_size - 1)
    w.write(b"\x00\x3c\x00\x3c")
    w.append(len(tag))
    w.write(tag)
    return w.getvalue()


def get_ok(channel: i64, tag: i64, redelivered: bool, address: bytes, message_count: i64) -> bytes:
    """basic.get-ok, without the content."""
    w = BytesWriter()
    _head(w, 1, channel, 4 + 9 + len(address) - 1 + 4)
    w.write(b"\x00\x3c\x00\x47")
    write_i64_be(w, tag)
    w.append(1 if redelivered else 0)
    w.write(address[:-1])
    write_i32_be(w, i32(message_count))
    w.append(0xCE)
    return w.getvalue()


def no_route(channel: i64, address: bytes) -> bytes:
    """basic.return 312, without the content."""
    w = BytesWriter()
    _head(w, 1, channel, len(NO_ROUTE) + len(address) - 1)
    w.write(NO_ROUTE)
    w.write(address)
    return w.getvalue()


def confirm(channel: i64, tag: i64, multiple: bool, refused: bool = False) -> bytes:
    """basic.ack to a publisher, or basic.nack."""
    w = BytesWriter()
    _head(w, 1, channel, 13)
    w.write(b"\x00\x3c\x00\x78" if refused else b"\x00\x3c\x00\x50")
    write_i64_be(w, tag)
    w.append(1 if multiple else 0)
    w.append(0xCE)
    return w.getvalue()


def content_frames(channel: i64, header: bytes, body: bytes, frame_max: i64) -> bytes:
    """A content that came in frames of its own, in frames of full size: ``header`` is a header frame's payload."""
    w = BytesWriter()
    _head(w, 2, channel, len(header))
    w.write(header)
    w.append(0xCE)
    _write_body(w, channel, body, frame_max)
    return w.getvalue()


def _write_body(w: BytesWriter, channel: i64, body: bytes, frame_max: i64) -> None:
    p: i64 = 0
    while p < len(body):
        piece = body[p : p + frame_max - 8]
        _head(w, 3, channel, len(piece))
        w.write(piece)
        w.append(0xCE)
        p += len(piece)


def body_of(content: bytes) -> bytes:
    """The body of content frames, in one piece."""
    parts: list[bytes] = []
    p: i64 = 8 + int(read_i32_be(content, 3))
    while p < len(content):
        size: int = read_i32_be(content, p + 3)
        parts.append(content[p + 7 : p + 7 + size])
        p += 8 + size
    return b"".join(parts)


def fits(content: bytes, frame_max: i64) -> bool:
    """Whether every frame of ``content`` is within ``frame_max``."""
    p: i64 = 0
    while p < len(content):
        size: i64 = 8 + int(read_i32_be(content, p + 3))
        if size > frame_max:
            return False
        p += size
    return True


def reframe(content: bytes, channel: i64, frame_max: i64) -> bytes:
    """The same content on channel ``channel``, in frames of at most ``frame_max`` bytes.

    A header is never split: the standard gives no way to, so one that is larger than the frame is sent as it is.
    """
    w = BytesWriter()
    header_end: i64 = 8 + int(read_i32_be(content, 3))
    w.append(2)
    _write_channel(w, channel)
    w.write(content[3:header_end])
    p: i64 = header_end
    if fits(content[header_end:], frame_max):
        while p < len(content):
            end: i64 = p + 8 + int(read_i32_be(content, p + 3))
            w.append(3)
            _write_channel(w, channel)
            w.write(content[p + 3 : end])
            p = end
        return w.getvalue()
    _write_body(w, channel, body_of(content), frame_max)
    return w.getvalue()
