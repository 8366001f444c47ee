"""What a tracer says of the bytes between a client and a broker."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.protocols.amqp091.narration import LINE_MAX_CHARS, Narrator
from tests.support.raw_peer import (
    BODY,
    CONTENT_HEADER,
    HEARTBEAT,
    METHOD,
    content_header,
    frame,
    method_payload,
    properties,
)


def told(data: bytes, body_bytes: int = 0) -> list[str]:
    return Narrator(body_bytes).tell(data)


def test_a_message_in_words() -> None:
    data = (
        b"AMQP\0\0\x09\1"
        + frame(METHOD, 3, method_payload("basic.publish", exchange="x", routing_key="ü.k", mandatory=True))
        + frame(
            CONTENT_HEADER, 3, content_header(5, properties(delivery_mode=2, headers={"a": 1, "b": [True, {"c": "d"}]}))
        )
        + frame(BODY, 3, b"hello")
        + frame(HEARTBEAT, 0, b"")
    )
    assert told(data, body_bytes=4) == [
        "protocol header 0.9.1",
        "3 basic.publish exchange='x' routing_key='ü.k' mandatory=True",
        "3 header 5 bytes headers={a: 1, b: [True, {c: 'd'}]} delivery_mode='2'",
        "3 body 5 bytes b'hell'",
        "0 heartbeat",
    ]
    assert "3 body 5 bytes" in told(data)


@pytest.mark.parametrize(
    ("method", "argument"),
    [
        ("connection.start-ok", "response"),
        ("connection.secure-ok", "response"),
        ("connection.update-secret", "new_secret"),
    ],
)
def test_secrets_are_not_told(method: str, argument: str) -> None:
    (line,) = told(frame(METHOD, 0, method_payload(method, **{argument: b"\0guest\0hunter2"})))
    assert f"{argument}=***" in line
    assert "hunter2" not in line


@pytest.mark.parametrize(
    ("data", "line"),
    [
        (frame(METHOD, 1, b"\0\x3c\0\x28\0"), "1 basic.publish malformed: an argument ends beyond its frame"),
        (frame(METHOD, 1, b"\0\x63\0\x01"), "1 unknown method 99.1, 4 bytes"),
        (frame(CONTENT_HEADER, 1, b"\0\x3c\0\0" + bytes(8) + b"\x20\0\0\0\0\x09"), "1 header malformed: "),
        (frame(9, 1, b"xyz"), "1 frame of unknown type 9, 3 bytes"),
        (b"GET / HTTP/1.1\r\n", "these bytes are no frame; nothing is told from here on: 47 45 54"),
    ],
)
def test_what_is_wrong_is_told(data: bytes, line: str) -> None:
    (found,) = told(data)
    assert found.startswith(line)


def test_lines_are_bounded() -> None:
    (line,) = told(frame(METHOD, 1, method_payload("queue.declare", queue="q", arguments={"x": "y" * 10_000})))
    assert len(line) == LINE_MAX_CHARS


@given(st.binary(max_size=300), st.integers(1, 40))
def test_any_bytes_are_taken_in_any_pieces(data: bytes, size: int) -> None:
    narrator = Narrator()
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    assert [line for piece in pieces for line in narrator.tell(piece)] == told(data)
