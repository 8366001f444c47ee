"""Contents read and changed, against bytes that the tests' own codec makes."""

from typing import Any, Final

import pytest

from amqpd.broker import contents
from amqpd.broker.fields import Field, longstr
from tests.support.raw_peer import BODY, CONTENT_HEADER, content_header, decode_properties, frame, properties

ALL: Final[dict[str, Any]] = {
    "content_type": "text/plain",
    "content_encoding": "utf-8",
    "headers": {"a": 1, "b": "x"},
    "delivery_mode": 2,
    "priority": 7,
    "correlation_id": "c",
    "reply_to": "r",
    "expiration": "60000",
    "message_id": "m",
    "timestamp": 123456789,
    "type": "t",
    "user_id": "guest",
    "app_id": "app",
    "cluster_id": "cl",
}


def content(body: bytes = b"body", **props: Any) -> bytes:
    return frame(CONTENT_HEADER, 1, content_header(len(body), properties(**props))) + frame(BODY, 1, body)


def props_of(data: bytes) -> dict[str, object]:
    size = int.from_bytes(data[3:7], "big")
    return decode_properties(data[19 : 7 + size])


@pytest.mark.parametrize(("name", "text"), [(name, str(value)) for name, value in ALL.items() if name != "headers"])
def test_every_property_is_found(name: str, text: str) -> None:
    assert contents.find_property(content(**ALL), name) == text
    assert contents.find_property(content(**{name: ALL[name]}), name) == text
    assert contents.find_property(content(), name) is None


def test_headers() -> None:
    assert contents.read_headers(content(**ALL))["b"] == longstr("x")
    assert contents.read_headers(content()) == {}


def test_new_headers_leave_everything_else_alone() -> None:
    changed = contents.with_headers(content(**ALL), {"z": Field("l", 5)}, expiration=None)
    expected = {name: value for name, value in ALL.items() if name != "expiration"} | {"headers": {"z": 5}}
    assert props_of(changed) == expected
    assert changed.endswith(frame(BODY, 1, b"body"))
    assert contents.body_size(changed) == 4


def test_headers_come_and_go() -> None:
    with_one = contents.with_headers(content(priority=1), {"k": longstr("v")})
    assert props_of(with_one) == {"headers": {"k": "v"}, "priority": 1}
    assert contents.with_headers(with_one, {}) == content(headers={}, priority=1), "RabbitMQ leaves an empty table"


def test_another_property() -> None:
    assert contents.with_property(content(type="t"), "reply_to", "there") == content(type="t", reply_to="there")
