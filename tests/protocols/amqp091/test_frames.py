"""Frames: what is refused with which words. That the fast path is the plain one: tests/twins/test_frames.py."""

import pytest

from amqpd.protocols.amqp091.frames import erlang_binary, octets
from tests.protocols.amqp091.dialogue import closes, one
from tests.support.raw_peer import content_header, frame, method_payload
from tests.support.wire import Server, method, publish


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"", "<<>>"),
        (b"abc", '<<"abc">>'),
        (b"a b~", '<<"a b~">>'),
        (b'say "hi" \\', '<<"say \\"hi\\" \\\\">>'),
        (b"\x00", "<<0>>"),
        (b"abc\n", "<<97,98,99,10>>"),
        (b"\x7f\xff", "<<127,255>>"),
    ],
)
def test_binaries_as_erlang_prints_them(data: bytes, shown: str) -> None:
    assert erlang_binary(data) == shown


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (b"", "all octets = <<>>"),
        (b"0123456789abcdef", 'all octets = <<"0123456789abcdef">>'),
        (b"0123456789abcdefg", 'first 16 octets = <<"0123456789abcdef">>'),
        (bytes(100), "first 16 octets = <<" + ",".join("0" * 16) + ">>"),
    ],
)
def test_octets_of_error_texts(payload: bytes, shown: str) -> None:
    assert octets(payload) == shown


BROKEN = {
    "a wrong end": (
        frame(1, 1, method_payload("tx.select"), end=b"\x00"),
        "type 1, all octets = <<0,90,0,10>>: {invalid_frame_end_marker,0}",
    ),
    "too large": (
        b"\x03\x00\x01" + (131_073).to_bytes(4, "big") + b"x",
        "type 3, all octets = <<>>: {frame_too_large,131073,131064}",
    ),
    "2^32 - 1 octets": (
        b"\x01\x00\x01\xff\xff\xff\xff\x00",
        "type 1, all octets = <<>>: {frame_too_large,4294967295,131064}",
    ),
    "unknown type": (frame(9, 1, b"abc"), 'type 9, all octets = <<"abc">>: unknown_frame'),
    "half a method": (frame(1, 1, b"\x00\x0a\x00"), "type 1, all octets = <<0,10,0>>: unknown_frame"),
    "a heartbeat with a payload": (frame(8, 0, b"x"), 'type 8, all octets = <<"x">>: unknown_frame'),
}


@pytest.mark.parametrize("fault", BROKEN)
@pytest.mark.parametrize("in_pieces", [False, True])
def test_broken_frames(fault: str, in_pieces: bool) -> None:
    data, text = BROKEN[fault]
    peer = Server().peer(1)
    for chunk in [data[at : at + 1] for at in range(len(data))] if in_pieces else [data]:
        peer.connection.receive(chunk)
    assert closes(one(peer)) == ("connection.close", 501, f"FRAME_ERROR - {text}", 0, 0)


def test_a_size_is_refused_before_the_frame_is_there() -> None:
    """Nobody makes us hold more than was negotiated."""
    peer = Server().peer(1, frame_max=4096)
    peer.feed(frame(8, 0, b"") + b"\x03\x00\x01" + (4097).to_bytes(4, "big") + b"x")
    assert closes(one(peer))[1] == 501
    assert peer.connection.held_size == 0


@pytest.mark.parametrize("kind", [2, 3])
def test_contents_on_channel_0(kind: int) -> None:
    peer = Server().peer(1)
    peer.feed(frame(kind, 0, b"abc"))
    text = f'UNEXPECTED_FRAME - type {kind}, all octets = <<"abc">>'
    assert closes(one(peer)) == ("connection.close", 505, text, 0, 0)


def test_a_heartbeat_on_a_channel() -> None:
    peer = Server().peer(1)
    peer.feed(frame(8, 1, b""))
    assert closes(one(peer))[1:3] == (505, "UNEXPECTED_FRAME - type 8, all octets = <<>>")


HEADER_DUE = "expected content header for class 60, got non content header frame instead"
BODY_DUE = "expected content body, got non content body frame instead"
PUBLISH = method(1, "basic.publish", routing_key="q")
CONTENTS = {
    "a method for a header": (PUBLISH + method(1, "tx.select"), 505, HEADER_DUE),
    "a body for a header": (PUBLISH + frame(3, 1, b"x"), 505, HEADER_DUE),
    "a weight": (PUBLISH + frame(2, 1, content_header(0, weight=1)), 505, HEADER_DUE),
    "another class": (
        PUBLISH + frame(2, 1, content_header(0, class_id=50)),
        505,
        "expected content header for class 60, got one for class 50 instead",
    ),
    "class 65535": (
        PUBLISH + frame(2, 1, content_header(0, class_id=65535)),
        505,
        "expected content header for class 60, got one for class 65535 instead",
    ),
    "a header for a body": (PUBLISH + frame(2, 1, content_header(2)) * 2, 505, BODY_DUE),
    "a publish for a body": (PUBLISH + frame(2, 1, content_header(2)) + PUBLISH, 505, BODY_DUE),
}


@pytest.mark.parametrize("fault", CONTENTS)
def test_contents_out_of_order(fault: str) -> None:
    data, code, text = CONTENTS[fault]
    peer = Server().peer(1)
    peer.feed(data)
    assert closes(one(peer)) == ("connection.close", code, f"UNEXPECTED_FRAME - {text}", 60, 40)


def test_a_body_longer_than_announced() -> None:
    peer = Server().peer(1)
    peer.feed(PUBLISH + frame(2, 1, content_header(2)) + frame(3, 1, b"abc"))
    text = "FRAME_ERROR - content body frame exceeds remaining content size"
    assert closes(one(peer))[1:3] == (501, text)


@pytest.mark.parametrize("size", [134_217_729, 2**63 - 1, 2**63, 2**64 - 1])
def test_a_body_above_the_limit_is_refused_by_its_header(size: int) -> None:
    peer = Server().peer(1)
    peer.feed(PUBLISH + frame(2, 1, content_header(size)))
    text = f"PRECONDITION_FAILED - message size {size} is larger than configured max size 134217728"
    assert closes(one(peer)) == ("channel.close", 406, text, 60, 40)
    peer.feed(frame(3, 1, bytes(1000)) * 3 + method(2, "channel.open"))
    assert one(peer).name == "channel.open-ok", "what still comes of it is thrown away"
    assert not peer.connection.channels[1].body


def test_many_frames_in_one_chunk() -> None:
    peer = Server().peer(1, 2)
    peer.call(1, "queue.declare", queue="q")
    part = publish(1, "", "q", b"x") + method(2, "tx.select") + frame(8, 0, b"")
    peer.feed(part * 500)
    peer.turn()
    assert [said.name for said in peer.output()] == ["tx.select-ok"] * 500
    assert peer.server.broker.vhosts["/"].queues["q"].ready_count == 500
