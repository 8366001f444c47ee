"""Publishing: returns, refusals, and contents that come back as they were, bit for bit."""

from typing import Any

import pytest

from tests.conformance.conftest import Connect
from tests.support.raw_peer import (
    BODY,
    CONTENT_HEADER,
    METHOD,
    RawPeer,
    Typed,
    content_header,
    decode_properties,
    frame,
    method_payload,
    properties,
)


@pytest.fixture
def queue(peer: RawPeer) -> str:
    name: str = peer.call(1, "queue.declare", exclusive=True)["queue"]
    return name


def test_through_the_default_exchange(peer: RawPeer, queue: str) -> None:
    peer.publish(1, "", queue, b"hello")
    peer.get(1, queue, b"hello", exchange="", routing_key=queue, redelivered=False, message_count=0, delivery_tag=1)


def test_mandatory_returns_what_finds_no_queue(peer: RawPeer, queue: str) -> None:
    props = properties(content_type="text/plain", headers={"a": 1})
    peer.publish(1, "amq.direct", "no such key", b"body", props, mandatory=True)
    returned = peer.expect_content(
        1,
        "basic.return",
        b"body",
        reply_code=312,
        reply_text="NO_ROUTE",
        exchange="amq.direct",
        routing_key="no such key",
    )
    assert returned.properties == props
    peer.publish(1, "", queue, b"body", mandatory=True)
    peer.get(1, queue, b"body")


def test_unroutable_without_mandatory_is_dropped(peer: RawPeer) -> None:
    peer.publish(1, "", "nope", b"body")
    peer.call(1, "basic.qos")


@pytest.mark.parametrize("exchange", ["", "nope"])
def test_immediate(peer: RawPeer, exchange: str) -> None:
    peer.publish(1, exchange, "x", b"body", immediate=True)
    peer.expect_connection_close(540, "NOT_IMPLEMENTED - immediate=true", "basic.publish")


@pytest.mark.parametrize("mandatory", [False, True])
def test_a_missing_exchange_closes_the_channel_only(peer: RawPeer, mandatory: bool) -> None:
    peer.open_channel(2)
    peer.publish(1, "nope", "x", b"body", mandatory=mandatory)
    peer.expect_channel_close(1, 404, "NOT_FOUND - no exchange 'nope' in vhost '/'", "basic.publish")
    peer.call(2, "basic.qos")


@pytest.mark.parametrize(
    ("props", "text"),
    [
        ({"delivery_mode": 3}, "invalid message: {delivery_mode_unknown,3}"),
        ({"delivery_mode": 0}, "invalid message: {delivery_mode_unknown,0}"),
    ],
)
def test_properties_that_are_refused(peer: RawPeer, props: dict[str, Any], text: str) -> None:
    peer.publish(1, "", "anything", b"body", properties(**props))
    peer.expect_channel_close(1, 406, f"PRECONDITION_FAILED - {text}", "basic.publish")


@pytest.mark.parametrize(
    "props",
    [
        {"delivery_mode": 1},
        {"delivery_mode": 2},
        {"expiration": "60000"},
        {"expiration": "+60000"},
        {"user_id": "guest"},
        {"priority": 255},
        {"timestamp": 2**64 - 1},
        {"headers": {}},
        {"content_type": ""},
        {"cluster_id": "c"},
    ],
)
def test_properties_that_are_accepted(peer: RawPeer, queue: str, props: dict[str, Any]) -> None:
    sent = properties(**props)
    peer.publish(1, "", queue, b"body", sent)
    assert peer.get(1, queue, b"body").properties == sent


EVERY_TYPE: dict[str, Any] = {
    "t": True,
    "f": False,
    "b": Typed("b", -128),
    "B": Typed("B", 255),
    "s": Typed("s", -32768),
    "u": Typed("u", 65535),
    "I": Typed("I", -(2**31)),
    "i": Typed("i", 2**32 - 1),
    "l": Typed("l", -(2**63)),
    "float": Typed("f", 1.5),
    "d": Typed("d", -1e300),
    "D": Typed("D", (2, 314)),
    "S": "text ä☃",
    "binary S": "\x00\udcff\udc80",
    "x": Typed("x", b"\x00\xff"),
    "T": Typed("T", 1234567890),
    "V": None,
    "A": [1, "two", None, [Typed("b", 3), {"four": 4.0}], []],
    "F": {"nested": {"deeper": [True]}, "empty": {}},
    "": "empty key",
}
EVERY_PROPERTY: dict[str, Any] = {
    "content_type": "text/plain",
    "content_encoding": "gzip",
    "headers": EVERY_TYPE,
    "delivery_mode": 2,
    "priority": 9,
    "correlation_id": "correlation",
    "reply_to": "reply",
    "expiration": "3600000",
    "message_id": "message",
    "timestamp": 1234567890,
    "type": "type",
    "user_id": "guest",
    "app_id": "app",
    "cluster_id": "cluster",
}


@pytest.mark.parametrize("prop", EVERY_PROPERTY)
def test_each_property_comes_back(peer: RawPeer, queue: str, prop: str) -> None:
    sent = properties(**{prop: EVERY_PROPERTY[prop]})
    peer.publish(1, "", queue, b"body", sent)
    assert peer.get(1, queue, b"body").properties == sent


def test_all_properties_come_back(peer: RawPeer, queue: str) -> None:
    sent = properties(**EVERY_PROPERTY)
    peer.publish(1, "", queue, b"body", sent)
    got = peer.get(1, queue, b"body")
    assert got.properties == sent
    assert decode_properties(got.properties)["app_id"] == "app"


@pytest.mark.parametrize("key", EVERY_TYPE)
def test_each_table_type_comes_back(peer: RawPeer, queue: str, key: str) -> None:
    sent = properties(headers={key: EVERY_TYPE[key]})
    peer.publish(1, "", queue, b"body", sent)
    assert peer.get(1, queue, b"body").properties == sent


def test_headers_come_back_through_a_headers_exchange(peer: RawPeer, queue: str) -> None:
    """Routing must look into the table and leave its bytes alone."""
    peer.call(1, "queue.bind", queue=queue, exchange="amq.headers", arguments={"x-match": "any", "t": True})
    sent = properties(**EVERY_PROPERTY)
    peer.publish(1, "amq.headers", "", b"body", sent)
    assert peer.get(1, queue, b"body").properties == sent


def test_the_reserved_flag_bit_is_no_property(peer: RawPeer, queue: str) -> None:
    method = method_payload("basic.publish", routing_key=queue)
    peer.send_bytes(frame(METHOD, 1, method) + frame(CONTENT_HEADER, 1, content_header(0, b"\x80\x02\x01a")))
    got = peer.get(1, queue, b"")
    assert got.properties in (b"\x80\x02\x01a", b"\x80\x00\x01a")


@pytest.mark.parametrize("size", [0, 1, 4087, 4088, 4089, 8176, 8177, 100_000])
def test_bodies_go_and_come_in_frames(connect: Connect, size: int) -> None:
    peer = connect(frame_max=4096)
    queue = peer.call(1, "queue.declare", exclusive=True)["queue"]
    body = bytes(index * 7 % 256 for index in range(size))
    peer.publish(1, "", queue, body)
    got = peer.get(1, queue, body)
    assert got.frame_sizes == (4088,) * (size // 4088) + ((size % 4088,) if size % 4088 else ())


def test_a_body_in_frames_of_odd_sizes(peer: RawPeer, queue: str) -> None:
    method = method_payload("basic.publish", routing_key=queue)
    parts = [b"a", b"bc", b"", b"defg"]
    peer.send_bytes(
        frame(METHOD, 1, method)
        + frame(CONTENT_HEADER, 1, content_header(7))
        + b"".join(frame(BODY, 1, part) for part in parts)
    )
    peer.get(1, queue, b"abcdefg")


def test_a_body_between_connections_of_different_frame_sizes(connect: Connect) -> None:
    big, small = connect(frame_max=131072), connect(frame_max=4096)
    queue = small.call(1, "queue.declare", exclusive=True)["queue"]
    small.call(1, "basic.consume", queue=queue, no_ack=True)
    body = bytes(300_000)
    big.publish(1, "", queue, body)
    assert max(small.expect_deliver(1, body).frame_sizes) == 4088


def test_order_of_many(peer: RawPeer, queue: str) -> None:
    bodies = [str(number).encode() for number in range(500)]
    peer.publish_all(1, queue, bodies)
    peer.call(1, "basic.consume", queue=queue, no_ack=True)
    for tag, got in enumerate(peer.expect_delivers(1, bodies), 1):
        assert got.tag == tag


def test_a_content_cut_off_by_a_close_is_forgotten(peer: RawPeer, connect: Connect) -> None:
    queue = peer.call(1, "queue.declare", queue="", exclusive=True)["queue"]
    other = connect()
    method = method_payload("basic.publish", routing_key=queue)
    other.send_bytes(frame(METHOD, 1, method) + frame(CONTENT_HEADER, 1, content_header(5)) + frame(BODY, 1, b"abc"))
    other.abort()
    peer.get_empty(1, queue)
