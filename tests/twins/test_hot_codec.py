"""The hand-written bytes of ``hot_codec`` against ``codec.method_frame`` and a plain way to make content frames."""

from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amqpd.broker.tables import bytes_of, write_shortstr
from amqpd.protocols.adapter import Stage
from amqpd.protocols.amqp091 import codec, hot_codec
from amqpd.protocols.amqp091.constants import BASIC_ACK, BASIC_DELIVER, BASIC_GET_OK, BASIC_NACK, BASIC_RETURN
from amqpd.protocols.outbox import Outbox
from tests.support.raw_peer import content_header, frame, properties

names = st.one_of(st.text(max_size=8), st.sampled_from(["", "x" * 255, "\udcff", "é"]))
channels = st.one_of(st.integers(1, 5), st.sampled_from([255, 256, 32767, 32768, 65535]))
tags = st.one_of(st.integers(1, 5), st.sampled_from([255, 2**31, 2**32, 2**63 - 1]))
header_payloads = st.sampled_from(
    [content_header(0), content_header(0, properties(delivery_mode=2, headers={"k": ["v"]}))]
)


def address(exchange: str, key: str) -> bytes:
    """As a route keeps it."""
    return write_shortstr(exchange) + write_shortstr(key) + b"\xce"


@given(channels, names, names, names, tags, st.booleans())
def test_deliver(channel: int, tag: str, exchange: str, key: str, number: int, redelivered: bool) -> None:
    where = address(exchange, key)
    outbox = Outbox(Stage(), 1)
    prefix = hot_codec.deliver_prefix(channel, bytes_of(tag), len(where))
    outbox.write_delivery(prefix, number, redelivered, where, b"")
    assert b"".join(outbox.take()) == codec.method_frame(
        channel,
        BASIC_DELIVER,
        consumer_tag=tag,
        delivery_tag=number,
        redelivered=redelivered,
        exchange=exchange,
        routing_key=key,
    )


@given(channels, tags, st.booleans(), names, names, st.sampled_from([0, 1, 255, 2**31 - 1]))
def test_get_ok(channel: int, tag: int, redelivered: bool, exchange: str, key: str, count: int) -> None:
    assert hot_codec.get_ok(channel, tag, redelivered, address(exchange, key), count) == codec.method_frame(
        channel,
        BASIC_GET_OK,
        delivery_tag=tag,
        redelivered=redelivered,
        exchange=exchange,
        routing_key=key,
        message_count=count,
    )


@given(channels, names, names)
def test_no_route(channel: int, exchange: str, key: str) -> None:
    assert hot_codec.no_route(channel, address(exchange, key)) == codec.method_frame(
        channel, BASIC_RETURN, reply_code=312, reply_text="NO_ROUTE", exchange=exchange, routing_key=key
    )


@given(channels, tags, st.booleans())
def test_confirm(channel: int, tag: int, multiple: bool) -> None:
    for refused, method in ((False, BASIC_ACK), (True, BASIC_NACK)):
        expected = codec.method_frame(channel, method, delivery_tag=tag, multiple=multiple)
        assert hot_codec.confirm(channel, tag, multiple, refused) == expected
    assert hot_codec.confirm(channel, tag, multiple) == codec.method_frame(
        channel, BASIC_ACK, delivery_tag=tag, multiple=multiple
    )


@pytest.mark.parametrize("channel", [32768, 65535])
def test_channel_numbers_above_32767(channel: int) -> None:
    assert hot_codec.confirm(channel, 1, False) == codec.method_frame(channel, BASIC_ACK, delivery_tag=1)
    content = hot_codec.content_frames(channel, content_header(1), b"x", FRAME_MAX)
    assert content == plain_content(channel, content_header(1), b"x", FRAME_MAX)
    assert hot_codec.reframe(content, 1, FRAME_MAX) == plain_content(1, content_header(1), b"x", FRAME_MAX)


# -- contents --

FRAME_MAX: Final = 64  # small, so that examples stay readable; nothing here knows the standard's least


def plain_content(channel: int, header: bytes, body: bytes, frame_max: int) -> bytes:
    step = frame_max - 8
    parts = [body[at : at + step] for at in range(0, len(body), step)]
    return frame(2, channel, header) + b"".join(frame(3, channel, part) for part in parts)


def in_frames(channel: int, header: bytes, parts: list[bytes]) -> bytes:
    """As a peer may have sent it: body frames of any size."""
    return frame(2, channel, header) + b"".join(frame(3, channel, part) for part in parts)


body_parts = st.lists(st.one_of(st.binary(max_size=5), st.sampled_from([bytes(56), bytes(57), bytes(200)])), max_size=5)
frame_maxes = st.sampled_from([32, 63, 64, 65, 300, 131_072])


@given(channels, header_payloads, st.binary(max_size=300), frame_maxes)
def test_content_frames(channel: int, header: bytes, body: bytes, frame_max: int) -> None:
    content = hot_codec.content_frames(channel, header, body, frame_max)
    assert content == plain_content(channel, header, body, frame_max)
    assert hot_codec.body_of(content) == body


@given(channels, header_payloads, body_parts)
def test_body_of(channel: int, header: bytes, parts: list[bytes]) -> None:
    assert hot_codec.body_of(in_frames(channel, header, parts)) == b"".join(parts)


@given(channels, header_payloads, body_parts, frame_maxes)
def test_fits(channel: int, header: bytes, parts: list[bytes], frame_max: int) -> None:
    largest = max([len(header), *map(len, parts)]) + 8
    assert hot_codec.fits(in_frames(channel, header, parts), frame_max) == (largest <= frame_max)


@settings(max_examples=200)
@given(channels, channels, header_payloads, body_parts, frame_maxes)
def test_reframe(old: int, new: int, header: bytes, parts: list[bytes], frame_max: int) -> None:
    """Frames that fit keep their sizes; if one does not, the body is cut anew. The header stays what it is."""
    content = in_frames(old, header, parts)
    made = hot_codec.reframe(content, new, frame_max)
    if all(len(part) + 8 <= frame_max for part in parts):
        assert made == in_frames(new, header, parts)
    else:
        assert made == plain_content(new, header, b"".join(parts), frame_max)
    assert hot_codec.body_of(made) == b"".join(parts)
    assert hot_codec.reframe(made, new, frame_max) == made
    assert hot_codec.fits(made, max(frame_max, len(header) + 8))


@pytest.mark.parametrize("size", [0, 1, FRAME_MAX - 9, FRAME_MAX - 8, FRAME_MAX - 7, 2 * (FRAME_MAX - 8), 1000])
def test_there_and_back(size: int) -> None:
    body = bytes(number % 251 for number in range(size))
    header = content_header(size)
    large = hot_codec.content_frames(1, header, body, 131_072)
    small = hot_codec.reframe(large, 2, FRAME_MAX)
    assert small == plain_content(2, header, body, FRAME_MAX)
    # Small frames are not joined again: every peer can take them.
    parts = [body[at : at + FRAME_MAX - 8] for at in range(0, size, FRAME_MAX - 8)]
    assert hot_codec.reframe(small, 1, 131_072) == in_frames(1, header, parts)
