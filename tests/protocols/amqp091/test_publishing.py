"""Where a publish goes: the route of a method frame, and what refuses one."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.errors import AccessRefused, NotFound, NotImplementedByBroker
from amqpd.protocols.amqp091 import codec, publishing
from amqpd.protocols.amqp091.channel import Channel
from amqpd.protocols.amqp091.routes import Route
from tests.support.raw_peer import Typed, frame, method_payload
from tests.support.wire import Server, method


def channel() -> Channel:
    """A channel that sees two queues and exchanges of a few kinds."""
    peer = Server().peer(1)
    for queue in ("q", "r"):
        peer.call(1, "queue.declare", queue=queue)
        peer.call(1, "queue.bind", queue=queue, exchange="amq.fanout")
    peer.call(1, "exchange.declare", exchange="inside", type="fanout", internal=True)
    peer.call(1, "exchange.declare", exchange="to.headers", type="direct")
    peer.call(1, "exchange.bind", source="to.headers", destination="amq.headers", routing_key="k")
    peer.call(1, "exchange.declare", exchange="else", type="direct", arguments={"alternate-exchange": "amq.headers"})
    return peer.connection.channels[1]


ONE = channel()


def payload(**args: Any) -> bytes:
    return method_payload("basic.publish", **args)


def test_route() -> None:
    one = channel()
    for made in (
        publishing.resolve(one, payload(exchange="amq.fanout", routing_key="k", mandatory=True)),
        publishing.find_route(one, method(1, "basic.publish", exchange="amq.fanout", routing_key="k", mandatory=True)),
    ):
        assert made is not None
        assert made.channel is one
        assert made.exchange.name == "amq.fanout"
        assert made.routing_key == "k"
        assert made.address == b"\x0aamq.fanout\x01k\xce"
        assert [queue.name for queue in made.queues] == ["q", "r"]
        assert made.mandatory
        assert not made.by_message


def test_a_ticket_is_ignored() -> None:
    made = publishing.resolve(channel(), payload(ticket=65535, routing_key="q"))
    assert made.address == b"\x00\x01q\xce"
    assert [queue.name for queue in made.queues] == ["q"]
    assert not made.mandatory


@pytest.mark.parametrize("exchange", ["amq.headers", "amq.match", "to.headers", "else"])
def test_where_headers_decide_nothing_is_decided_before(exchange: str) -> None:
    made = publishing.resolve(channel(), payload(exchange=exchange, routing_key="k"))
    assert made.by_message
    assert made.queues == []


REFUSED = [
    ({"exchange": "missing"}, NotFound, "no exchange 'missing' in vhost '/'"),
    ({"exchange": "inside"}, AccessRefused, "cannot publish to internal exchange 'inside' in vhost '/'"),
    ({"immediate": True}, NotImplementedByBroker, "immediate=true"),
    ({"exchange": "missing", "immediate": True}, NotImplementedByBroker, "immediate=true"),
]


@pytest.mark.parametrize(("args", "error", "text"), REFUSED)
def test_refused(args: dict[str, Any], error: type[Exception], text: str) -> None:
    one = channel()
    with pytest.raises(error) as caught:
        publishing.resolve(one, payload(**args))
    assert str(caught.value) == text
    assert publishing.find_route(one, method(1, "basic.publish", **args)) is None, "the plain road says why"


@pytest.mark.parametrize("wrong", [payload()[:-1], payload() + b"\x00", payload(exchange="x" * 255)[:20]])
def test_what_is_no_method_has_no_route(wrong: bytes) -> None:
    assert publishing.find_route(channel(), frame(1, 1, wrong)) is None


names = st.sampled_from(["", "amq.fanout", "inside", "missing", "q", "é", "\udcff", "x" * 255])


@given(names, names, st.integers(0, 255), st.binary(max_size=3), st.integers(0, 300))
def test_the_short_way_reads_as_the_codec_does(name: str, key: str, bits: int, extra: bytes, cut: int) -> None:
    whole = payload(ticket=7, exchange=name, routing_key=key)[:-1] + bytes([bits]) + extra
    data = whole[: len(whole) - cut] if cut < len(whole) else whole
    try:
        expected: Route | None = publishing.resolve(ONE, data)
    except (codec.MalformedMethod, AccessRefused, NotFound, NotImplementedByBroker):
        expected = None
    made = publishing.find_route(ONE, frame(1, 1, data))
    assert (made is None) == (expected is None)
    if made is not None and expected is not None:
        assert (made.exchange, made.routing_key, made.address) == (
            expected.exchange,
            expected.routing_key,
            expected.address,
        )
        assert (made.mandatory, made.queues) == (expected.mandatory, expected.queues)


def test_alternate_exchanges_count() -> None:
    peer = Server().peer(1)
    peer.call(1, "queue.declare", queue="rest")
    peer.call(
        1, "exchange.declare", exchange="x", type="direct", arguments={"alternate-exchange": Typed("S", "amq.fanout")}
    )
    peer.call(1, "queue.bind", queue="rest", exchange="amq.fanout")
    made = publishing.resolve(peer.connection.channels[1], payload(exchange="x", routing_key="nobody"))
    assert [queue.name for queue in made.queues] == ["rest"]
