"""One pass over a chunk of bytes: frames, whole publishes, single acks and gets; everything else goes to the
connection, frame by frame.

Rules: AMQP 0-9-1, 2.3.5 (frames) and 4.2. Any chopping of the byte stream gives the same result: what is not whole is
left for later.
"""
# HOT. Goal: O(bytes); two slices and one dictionary look-up a publish, no object a frame.  Bench: tests/bench,
# scenario A.
# Plan: walk an offset; look the raw publish method up in `routes` (a miss is resolved by the channel and remembered);
# a content whose body
#   is not one frame in this chunk takes the plain road through Connection.receive_frame and Channel.receive_content.
# Limits: the negotiated frame_max; PUBLISH_ROUTES_MAX routes, dropped whenever the topology changes.
# Twin: Connection.receive_frame; tests/twins/test_frames.py keeps both equal for all bytes and all ways to chop them.

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from librt.strings import read_i16_be, read_i32_be, read_i64_be
from mypy_extensions import i64

from amqpd import limits
from amqpd.broker.properties import read_facts
from amqpd.errors import FrameError
from amqpd.protocols.amqp091.getting import answer

if TYPE_CHECKING:
    from amqpd.protocols.amqp091.connection import Connection

PUBLISH: Final = 0x003C0028
ACK: Final = 0x003C0050
GET: Final = 0x003C0046
BASIC_FRAME_END: Final = 0xCE
PLAIN: Final = 0  # take_publish: this one must take the plain road
SHORT: Final = -1  # take_publish: the rest of the message is not here yet


def digest(connection: Connection, buffer: bytes) -> None:
    """Take whole frames from ``buffer`` at ``connection.position`` on, until none is left or the connection must wait.

    ``connection.position`` is past each frame before that frame is acted on, so that after an exception the next call
    goes on behind it.
    """
    end: i64 = len(buffer)
    p: i64 = connection.position
    outbox = connection.outbox
    while connection.is_open_for_input:
        if outbox.size > limits.OUTBOX_STOP_BYTES:
            connection.wait_for_room()
            return
        if end - p < 8:
            connection.needed = 8 - (end - p)
            return
        size: int = read_i32_be(buffer, p + 3)
        if size < 0 or size > connection.frame_max:
            connection.position = end
            raise frame_too_large(buffer, p, size & 0xFFFFFFFF, connection.frame_max - 8)
        after: i64 = p + 8 + size
        if after > end:
            connection.needed = after - end
            return
        if buffer[after - 1] != BASIC_FRAME_END:
            connection.position = end
            raise bad_frame_end(buffer, p, size)
        if buffer[p] == 1 and size >= 4:
            method: int = read_i32_be(buffer, p + 7)
            if method == PUBLISH:
                taken = take_publish(connection, buffer, p, after, end)
                if taken > 0:
                    p = taken
                    continue
                if taken == SHORT:
                    return
            elif method == ACK and size == 13:
                connection.position = after
                channel = connection.channels.get(int(read_i16_be(buffer, p + 1)) & 0xFFFF)
                if channel is not None and channel.takes_hot:
                    connection.at_channel = channel.number
                    connection.at_method = ACK
                    tag: i64 = read_i64_be(buffer, p + 11)
                    if buffer[p + 19] & 1:
                        channel.ack_multiple(tag)
                    else:
                        channel.ack(tag)
                    p = after
                    continue
            elif method == GET and take_get(connection, buffer[p:after], after):
                p = after
                continue
        connection.position = after
        connection.receive_frame(int(buffer[p]), int(read_i16_be(buffer, p + 1)) & 0xFFFF, buffer[p + 7 : after - 1])
        p = after


def take_get(connection: Connection, frame: bytes, after: i64) -> bool:
    """A whole basic.get frame, up to ``after``. False when it must take the plain road."""
    source = connection.sources.get(frame)
    if source is None:
        source = connection.find_source(frame)
        if source is None:
            return False
    if not source.channel.takes_hot:
        return False
    connection.position = after
    connection.at_channel = source.channel.number
    connection.at_method = GET
    ticket = answer(source.channel, source.queue, source.no_ack)
    if ticket:
        connection.retry_when(ticket, source.channel, connection.decode(frame[7:-1]))
    return True


def take_publish(connection: Connection, buffer: bytes, p: i64, after: i64, end: i64) -> i64:
    """A publish whose method frame is ``buffer[p:after]``: the position behind its content, or PLAIN, or SHORT."""
    frame = buffer[p:after]
    route = connection.last_route
    if route is None or frame != connection.last_frame:
        route = connection.routes.get(frame)
        if route is None:
            route = connection.find_route(frame)
            if route is None:
                return PLAIN
        connection.last_frame = frame
        connection.last_route = route
    if not route.channel.takes_hot:
        return PLAIN
    if end - after < 22:  # type, channel, size, class, weight, body size, flags: nothing is shorter
        if end - after >= 7 and (buffer[after] != 2 or int(read_i32_be(buffer, after + 3)) < 14):
            return PLAIN
        # Before its head is there, the next frame may be anything, also a short one of another channel.
        connection.needed = (22 if end - after >= 7 else 8) - (end - after)
        return SHORT
    number: i64 = route.channel.number
    if buffer[after] != 2 or int(read_i16_be(buffer, after + 1)) & 0xFFFF != number:
        return PLAIN
    header_size: int = read_i32_be(buffer, after + 3)
    if header_size < 14 or header_size > connection.frame_max - 8:
        return PLAIN
    header_end: i64 = after + 8 + header_size
    if header_end > end:
        connection.needed = header_end - end
        return SHORT
    if buffer[header_end - 1] != BASIC_FRAME_END or read_i32_be(buffer, after + 7) != 0x003C0000:
        return PLAIN
    body_size: i64 = read_i64_be(buffer, after + 11)
    content_end: i64 = header_end
    if body_size != 0:
        if body_size < 0 or body_size > connection.frame_max - 8 or body_size > connection.max_message_size:
            return PLAIN
        content_end = header_end + 8 + body_size
        if end - header_end >= 7 and (
            int(read_i32_be(buffer, header_end + 3)) != body_size
            or buffer[header_end] != 3
            or int(read_i16_be(buffer, header_end + 1)) & 0xFFFF != number
        ):
            return PLAIN
        if content_end > end:
            connection.needed = (content_end if end - header_end >= 7 else header_end + 8) - end
            return SHORT
        if buffer[content_end - 1] != BASIC_FRAME_END:
            return PLAIN
    facts: i64 = 0
    if header_size == 15 and read_i16_be(buffer, after + 19) == 0x1000 and 0 < buffer[after + 21] < 3:
        facts = buffer[after + 21]
    elif header_size == 14 and read_i16_be(buffer, after + 19) == 0:
        facts = 0
    else:
        facts = read_facts(buffer, after + 19, header_end - 1)
    connection.position = content_end
    connection.at_channel = number
    connection.at_method = PUBLISH
    route.channel.publish(route, buffer[after:content_end], facts)
    return content_end


def frame_too_large(buffer: bytes, p: i64, size: i64, limit: i64) -> FrameError:
    """The error for a declared size above what was negotiated."""
    return FrameError(f"type {buffer[p]}, all octets = <<>>: {{frame_too_large,{size},{limit}}}")


def bad_frame_end(buffer: bytes, p: i64, size: i64) -> FrameError:
    """The error for a frame that does not end with the frame-end octet."""
    payload = buffer[p + 7 : p + 7 + size]
    return FrameError(f"type {buffer[p]}, {octets(payload)}: {{invalid_frame_end_marker,{buffer[p + 7 + size]}}}")


def octets(payload: bytes) -> str:
    """Bytes as RabbitMQ's error texts show them."""
    shown = payload[:16]
    words = "all octets" if len(payload) <= 16 else "first 16 octets"
    return f"{words} = {erlang_binary(shown)}"


def erlang_binary(data: bytes) -> str:
    """Bytes as Erlang prints them."""
    if data and all(0x20 <= octet < 0x7F for octet in data):
        return '<<"' + data.decode("ascii").replace("\\", "\\\\").replace('"', '\\"') + '">>'
    return "<<" + ",".join(str(octet) for octet in data) + ">>"
