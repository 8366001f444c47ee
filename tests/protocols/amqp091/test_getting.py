"""basic.get where its bytes are remembered: what is, and what is not."""

import pytest

from amqpd import limits
from tests.support.wire import Server, method

GET = method(1, "basic.get", queue="q", no_ack=True)


def test_what_is_remembered_answers_like_the_first_time() -> None:
    peer = Server().peer(1)
    peer.call(1, "queue.declare", queue="q")
    for body in (b"a", b"b"):
        peer.publish(1, "", "q", body)
    peer.turn()
    peer.feed(GET * 3)
    peer.turn()
    assert [(said.name, said.body) for said in peer.output()] == [
        ("basic.get-ok", b"a"),
        ("basic.get-ok", b"b"),
        ("basic.get-empty", b""),
    ]
    assert list(peer.connection.sources) == [GET]


@pytest.mark.parametrize("frame", [GET[:-3] + b"\xce", GET[:7] + b"\x00\x3c\x00\x46\x00\x00\x7f" + GET[14:]])
def test_a_malformed_one_is_not(frame: bytes) -> None:
    size = len(frame) - 8
    peer = Server().peer(1)
    peer.call(1, "queue.declare", queue="q")
    peer.feed(frame[:3] + size.to_bytes(4, "big") + frame[7:])
    peer.turn()
    assert [said.args["reply_code"] for said in peer.output()] == [501]
    assert not peer.connection.sources


def test_where_a_content_is_due_none_may_come() -> None:
    peer = Server().peer(1)
    peer.call(1, "queue.declare", queue="q")
    peer.feed(GET)
    peer.turn()
    assert [said.name for said in peer.output()] == ["basic.get-empty"]
    peer.feed(method(1, "basic.publish", routing_key="q") + GET)
    peer.turn()
    assert [(said.name, said.args["reply_code"]) for said in peer.output()] == [("connection.close", 505)]


def test_so_many_at_most() -> None:
    peer = Server().peer(1)
    for number in range(limits.PUBLISH_ROUTES_MAX + 1):
        peer.connection.sources[b"%d" % number] = peer.connection.sources.get(GET)  # type: ignore[assignment]
    peer.call(1, "queue.declare", queue="q")
    peer.feed(GET)
    assert list(peer.connection.sources) == [GET]
