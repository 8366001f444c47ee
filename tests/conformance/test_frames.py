"""Frames that are wrong, and frames in the wrong place."""

from typing import Any

import pytest

from tests.conformance.conftest import Connect
from tests.support.raw_peer import (
    BODY,
    CONTENT_HEADER,
    HEARTBEAT,
    METHOD,
    RawPeer,
    content_header,
    frame,
    longstr,
    method_payload,
    shortstr,
)

QOS = method_payload("basic.qos")
PUBLISH = frame(METHOD, 1, method_payload("basic.publish"))
NO_METHOD = "UNEXPECTED_FRAME - expected method frame, got non method frame instead"
NO_HEADER = "UNEXPECTED_FRAME - expected content header for class 60, got non content header frame instead"
NO_BODY = "UNEXPECTED_FRAME - expected content body, got non content body frame instead"
OTHER_CLASS = "UNEXPECTED_FRAME - expected content header for class 60, got one for class {} instead"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        pytest.param(
            frame(METHOD, 1, QOS, end=b"\x00"),
            "type 1, all octets = <<0,60,0,10,0,0,0,0,0,0,0>>: {invalid_frame_end_marker,0}",
            id="end octet",
        ),
        pytest.param(
            frame(BODY, 1, b"x" * 100, end=b"\x01"),
            'type 3, first 16 octets = <<"xxxxxxxxxxxxxxxx">>: {invalid_frame_end_marker,1}',
            id="end octet of a long frame",
        ),
        pytest.param(frame(5, 1, b"hello"), 'type 5, all octets = <<"hello">>: unknown_frame', id="type"),
        pytest.param(frame(5, 0, b"hello"), 'type 5, all octets = <<"hello">>: unknown_frame', id="type on 0"),
        pytest.param(frame(5, 9, b"hello"), 'type 5, all octets = <<"hello">>: unknown_frame', id="type on unopened"),
        pytest.param(frame(METHOD, 1, b""), "type 1, all octets = <<>>: unknown_frame", id="empty method"),
        pytest.param(frame(METHOD, 1, b"\x00"), "type 1, all octets = <<0>>: unknown_frame", id="short method"),
        pytest.param(
            frame(HEARTBEAT, 0, b"abc"), 'type 8, all octets = <<"abc">>: unknown_frame', id="heartbeat with payload"
        ),
        pytest.param(
            PUBLISH + frame(CONTENT_HEADER, 1, content_header(0)[:9]),
            "type 2, all octets = <<0,60,0,0,0,0,0,0,0>>: unknown_frame",
            id="short header",
        ),
    ],
)
def test_frame_errors(peer: RawPeer, raw: bytes, text: str) -> None:
    peer.send_bytes(raw)
    peer.expect_connection_close(501, f"FRAME_ERROR - {text}", lingers=True)


@pytest.mark.parametrize("frame_max", [4096, 131072])
@pytest.mark.parametrize("over", [1, 100])
def test_a_frame_above_the_negotiated_size(connect: Connect, frame_max: int, over: int) -> None:
    """RabbitMQ lets the payload, not the frame, reach frame_max: eight bytes of grace."""
    peer = connect(frame_max=frame_max)
    size = frame_max + over
    peer.send_bytes(PUBLISH + frame(CONTENT_HEADER, 1, content_header(size)) + frame(BODY, 1, b"x" * size))
    text = f"FRAME_ERROR - type 3, all octets = <<>>: {{frame_too_large,{size},{frame_max - 8}}}"
    peer.expect_connection_close(501, text, lingers=True)


def test_a_frame_of_exactly_the_negotiated_size(connect: Connect) -> None:
    peer = connect(frame_max=4096)
    for size in (4087, 4088):
        peer.send_bytes(PUBLISH + frame(CONTENT_HEADER, 1, content_header(size)) + frame(BODY, 1, b"x" * size))
    peer.call(1, "basic.qos")


@pytest.mark.parametrize(
    ("payload", "shown", "culprit"),
    [
        (QOS + b"junk", "0,0,0,0,0,0,0,106,117,110,107", "basic.qos"),
        (method_payload("queue.declare", queue="abcdef")[:-8], "0,0,6,97,98,99", "queue.declare"),
    ],
    ids=["too long", "too short"],
)
def test_arguments_that_do_not_fit(peer: RawPeer, payload: bytes, shown: str, culprit: str) -> None:
    peer.send_bytes(frame(METHOD, 1, payload))
    peer.expect_connection_close(501, f"FRAME_ERROR - cannot decode <<{shown}>>", culprit)


@pytest.mark.amqpd_only("RabbitMQ's reader crashes and the socket closes without a word")
@pytest.mark.parametrize(
    ("channel", "payload"),
    [
        pytest.param(1, b"\x03\xe7\x00\x01", id="unknown class"),
        pytest.param(0, b"\x03\xe7\x00\x01", id="unknown class on 0"),
        pytest.param(1, b"\x00\x3c\x00\xff", id="unknown method"),
        pytest.param(1, method_payload("queue.declare")[:-4] + longstr(shortstr("abc") + b"Z"), id="table type"),
        pytest.param(1, method_payload("queue.declare")[:-4] + longstr(shortstr("abc") + b"I\x00"), id="table end"),
    ],
)
def test_what_cannot_be_decoded_is_a_frame_error(peer: RawPeer, channel: int, payload: bytes) -> None:
    peer.send_bytes(frame(METHOD, channel, payload))
    close = peer.expect(0, "connection.close")
    assert close["reply_code"] in (501, 502, 503)


def test_a_key_twice_in_a_table_is_accepted(peer: RawPeer) -> None:
    twice = longstr(b"\x03abct\x01\x03abct\x00")
    peer.send_bytes(frame(METHOD, 1, method_payload("queue.declare", exclusive=True)[:-4] + twice))
    peer.expect(1, "queue.declare-ok")


def header(**kwargs: Any) -> bytes:
    return frame(CONTENT_HEADER, 1, content_header(**kwargs))


@pytest.mark.parametrize(
    ("raw", "text", "culprit"),
    [
        pytest.param(frame(HEARTBEAT, 1, b""), "UNEXPECTED_FRAME - type 8, all octets = <<>>", "", id="heartbeat on 1"),
        pytest.param(frame(BODY, 1, b"abc"), NO_METHOD, "", id="body, no publish"),
        pytest.param(header(size=0), NO_METHOD, "", id="header, no publish"),
        pytest.param(PUBLISH + header(size=0) + frame(BODY, 1, b""), NO_METHOD, "", id="empty body after size 0"),
        pytest.param(frame(BODY, 2, b"abc"), NO_METHOD, "", id="body on unopened"),
        pytest.param(PUBLISH + frame(METHOD, 1, QOS), NO_HEADER, "basic.publish", id="method, no header"),
        pytest.param(PUBLISH + frame(BODY, 1, b"abc"), NO_HEADER, "basic.publish", id="body, no header"),
        pytest.param(PUBLISH + header(size=0, weight=3), NO_HEADER, "basic.publish", id="weight"),
        pytest.param(PUBLISH + header(size=5) + frame(METHOD, 1, QOS), NO_BODY, "basic.publish", id="method, no body"),
        pytest.param(PUBLISH + header(size=5) + header(size=5), NO_BODY, "basic.publish", id="header, no body"),
        pytest.param(
            PUBLISH + header(size=5) + frame(BODY, 1, b"abcd") + frame(METHOD, 1, QOS),
            NO_BODY,
            "basic.publish",
            id="body shorter",
        ),
        pytest.param(PUBLISH + header(size=0, class_id=50), OTHER_CLASS.format(50), "basic.publish", id="class 50"),
        pytest.param(PUBLISH + header(size=0, class_id=999), OTHER_CLASS.format(999), "basic.publish", id="class 999"),
        pytest.param(
            frame(METHOD, 1, method_payload("basic.deliver")) + frame(METHOD, 1, QOS),
            NO_HEADER,
            "basic.deliver",
            id="deliver from a client",
        ),
    ],
)
def test_unexpected_frames(peer: RawPeer, raw: bytes, text: str, culprit: str) -> None:
    peer.send_bytes(raw)
    peer.expect_connection_close(505, text, culprit)


@pytest.mark.amqpd_only("RabbitMQ 3.10 swallows what follows until a frame that is no body; 3.13 says 501")
def test_body_longer_than_announced(peer: RawPeer) -> None:
    peer.send_bytes(PUBLISH + header(size=2) + frame(BODY, 1, b"abc"))
    text = "FRAME_ERROR - content body frame exceeds remaining content size"
    close = peer.expect(0, "connection.close", reply_code=501)
    assert close["reply_text"].startswith(text)


@pytest.mark.amqpd_only("RabbitMQ answers 541 INTERNAL_ERROR, its reader having crashed")
@pytest.mark.parametrize(
    "props",
    [
        pytest.param(b"", id="no flags"),
        pytest.param(b"\x80\x00", id="value missing"),
        pytest.param(b"\x80\x00\x09ab", id="value cut"),
        pytest.param(b"\x80\x00\x01abcdef", id="bytes left"),
        pytest.param(b"\x80\x01\x00\x00\x01a", id="continuation bit"),
        pytest.param(b"\x20\x00" + longstr(b"\x01aZ"), id="header table"),
    ],
)
def test_properties_that_cannot_be_decoded(peer: RawPeer, props: bytes) -> None:
    peer.send_bytes(PUBLISH + header(size=0, props=props) + frame(METHOD, 1, QOS))
    close = peer.expect(0, "connection.close")
    assert close["reply_code"] in (501, 502)


def test_empty_body_frames_in_between(peer: RawPeer) -> None:
    peer.call(1, "confirm.select")
    bodies = b"".join(frame(BODY, 1, body) for body in (b"", b"a", b"", b"b"))
    peer.send_bytes(PUBLISH + header(size=2) + bodies)
    peer.expect(1, "basic.ack", delivery_tag=1)


def test_heartbeats_are_taken_at_any_time(peer: RawPeer) -> None:
    beat = frame(HEARTBEAT, 0, b"")
    peer.send_bytes(beat + PUBLISH + beat + header(size=2) + beat + frame(BODY, 1, b"ab") + beat)
    peer.call(1, "basic.qos")


def test_contents_of_two_channels_interleave(peer: RawPeer) -> None:
    for channel in (1, 2):
        if channel != 1:
            peer.open_channel(channel)
        peer.call(channel, "confirm.select")
    parts = [(METHOD, method_payload("basic.publish")), (CONTENT_HEADER, content_header(2)), (BODY, b"a"), (BODY, b"b")]
    peer.send_bytes(b"".join(frame(kind, channel, part) for kind, part in parts for channel in (1, 2)))
    for channel in (1, 2):
        peer.expect(channel, "basic.ack", delivery_tag=1, multiple=False)


def test_a_dialogue_sent_byte_by_byte(peer: RawPeer) -> None:
    queue = peer.call(1, "queue.declare", exclusive=True)["queue"]
    raw = frame(METHOD, 1, method_payload("basic.publish", routing_key=queue)) + header(size=1) + frame(BODY, 1, b"a")
    for byte in raw:
        peer.send_bytes(bytes([byte]))
    peer.call(1, "basic.qos")
    peer.get(1, queue, b"a", message_count=0)
