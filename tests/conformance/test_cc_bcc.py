"""Sender-selected distribution (RabbitMQ's): the headers ``CC`` and ``BCC`` name more routing keys."""

from typing import Any

import pytest

from tests.conformance.conftest import Name
from tests.support.raw_peer import RawPeer, Typed, decode_properties, properties

HEADERS = pytest.mark.parametrize("header", ["CC", "BCC"])


def declare(peer: RawPeer, *bindings: tuple[str, str], **arguments: Any) -> str:
    """A queue with bindings: exchange and key."""
    queue: str = peer.call(1, "queue.declare", exclusive=True, arguments=arguments)["queue"]
    for exchange, key in bindings:
        peer.call(1, "queue.bind", queue=queue, exchange=exchange, routing_key=key)
    return queue


def got(peer: RawPeer, *queues: str) -> list[int]:
    """How many messages each queue has."""
    return [len(peer.take_all(1, queue)) for queue in queues]


@HEADERS
def test_each_key_is_routed(peer: RawPeer, header: str) -> None:
    queues = [declare(peer) for _ in range(4)]
    peer.publish(1, "", queues[0], b"m", properties(headers={header: queues[1:3]}))
    assert got(peer, *queues) == [1, 1, 1, 0]


def test_both(peer: RawPeer) -> None:
    key, cc, bcc = (declare(peer) for _ in range(3))
    peer.publish(1, "", key, b"m", properties(headers={"CC": [cc], "BCC": [bcc]}))
    for queue in (key, cc, bcc):
        content = peer.get(1, queue, b"m", exchange="", routing_key=key, message_count=0)
        assert content.properties == properties(headers={"CC": [cc]})


@HEADERS
def test_a_queue_gets_one_copy(peer: RawPeer, header: str) -> None:
    first, second = declare(peer), declare(peer)
    peer.publish(1, "", first, b"m", properties(headers={header: [first, second, second, first]}))
    assert got(peer, first, second) == [1, 1]


def test_a_queue_gets_one_copy_of_cc_and_bcc(peer: RawPeer) -> None:
    first, second = declare(peer), declare(peer)
    peer.publish(1, "", first, b"m", properties(headers={"CC": [second], "BCC": [second, first]}))
    assert got(peer, first, second) == [1, 1]


def test_cc_comes_as_it_was_sent(peer: RawPeer) -> None:
    queue = declare(peer)
    headers = {"a": Typed("D", (2, 314)), "CC": [queue, 5, None, Typed("x", b"\0"), []], "b": {"CC": "c"}}
    sent = properties(headers=headers, content_type="t", delivery_mode=1, message_id="i")
    peer.publish(1, "", "nowhere", b"m", sent)
    assert peer.get(1, queue, b"m").properties == sent


@pytest.mark.parametrize("place", [0, 1, 2, 3])
def test_bcc_is_taken_out_and_all_else_comes_as_it_was_sent(peer: RawPeer, place: int) -> None:
    queue = declare(peer)
    rest = [("a", Typed("D", (2, 314))), ("CC", ["x", 5]), ("z", {"BCC": ["kept"], "t": Typed("T", 1)})]
    others = {"content_type": "t", "priority": 3, "correlation_id": "c", "app_id": "p"}
    with_bcc = dict([*rest[:place], ("BCC", [queue]), *rest[place:]])
    peer.publish(1, "", "nowhere", b"m", properties(headers=with_bcc, **others))
    assert peer.get(1, queue, b"m").properties == properties(headers=dict(rest), **others)


def test_headers_without_bcc_are_there_still_though_empty(peer: RawPeer) -> None:
    queue = declare(peer)
    peer.publish(1, "", "nowhere", b"m", properties(headers={"BCC": [queue]}))
    assert peer.get(1, queue, b"m").properties == properties(headers={})


@HEADERS
def test_an_empty_array(peer: RawPeer, header: str) -> None:
    queue = declare(peer)
    peer.publish(1, "", queue, b"m", properties(headers={header: []}))
    assert peer.get(1, queue, b"m").properties == properties(headers={"CC": []} if header == "CC" else {})


def test_names_are_case_sensitive(peer: RawPeer) -> None:
    queue, other = declare(peer), declare(peer)
    sent = properties(headers={"cc": [other], "Bcc": [other], "bcc": 1})
    peer.publish(1, "", queue, b"m", sent)
    assert peer.get(1, queue, b"m").properties == sent
    assert got(peer, other) == [0]


@HEADERS
def test_items_that_are_no_text_are_passed_over(peer: RawPeer, header: str) -> None:
    queue = declare(peer)
    items = [5, None, Typed("x", queue.encode()), True, {"a": queue}, [queue], 1.5]
    peer.publish(1, "", "nowhere", b"m", properties(headers={header: items}), mandatory=True)
    peer.expect_content(1, "basic.return", b"m")
    peer.publish(1, "", "nowhere", b"m", properties(headers={header: [*items, queue]}))
    assert got(peer, queue) == [1]


@HEADERS
@pytest.mark.parametrize("length", [255, 256, 300, 70_000])
def test_a_key_longer_than_any_queues_name(peer: RawPeer, header: str, length: int) -> None:
    queue = declare(peer)
    peer.publish(1, "", queue, b"m", properties(headers={header: ["x" * length]}))
    assert got(peer, queue) == [1]


@HEADERS
@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ("q", "longstr"),
        (1, "signedint"),
        (Typed("l", 1), "long"),
        (1.5, "double"),
        (True, "bool"),
        (None, "void"),
        ({"q": "q"}, "table"),
        (b"q", "binary"),
        (Typed("T", 1), "timestamp"),
    ],
)
def test_other_types_are_refused(peer: RawPeer, header: str, value: Any, kind: str) -> None:
    queue = declare(peer)
    text = f'PRECONDITION_FAILED - invalid message: {{unacceptable_type_in_header,"{header}",{kind}}}'
    peer.publish(1, "", queue, b"m", properties(headers={header: value}))
    peer.expect_channel_close(1, 406, text, "basic.publish")
    peer.open_channel(1)
    assert got(peer, queue) == [0]


@pytest.mark.parametrize(
    ("props", "text"),
    [
        ({"user_id": "a", "expiration": "b"}, "user_id property set to 'a' but authenticated user was 'guest'"),
        ({"expiration": "b", "delivery_mode": 3}, "invalid expiration 'b': no_integer"),
        ({"delivery_mode": 3}, 'invalid message: {unacceptable_type_in_header,"CC",longstr}'),
        ({"headers": {"BCC": 1, "CC": "c"}}, 'invalid message: {unacceptable_type_in_header,"CC",longstr}'),
        ({"reply_to": "amq.rabbitmq.reply-to", "user_id": "a"}, "fast reply consumer does not exist"),
    ],
)
def test_which_of_several_faults_is_told(peer: RawPeer, props: dict[str, Any], text: str) -> None:
    peer.publish(1, "", "nowhere", b"m", properties(**({"headers": {"CC": "c"}} | props)))
    peer.expect_channel_close(1, 406, f"PRECONDITION_FAILED - {text}", "basic.publish")


def test_a_missing_exchange_is_told_first(peer: RawPeer) -> None:
    peer.publish(1, "nope", "", b"m", properties(headers={"CC": "c"}))
    peer.expect_channel_close(1, 404, "NOT_FOUND - no exchange 'nope' in vhost '/'", "basic.publish")


@HEADERS
def test_mandatory_is_about_all_keys(peer: RawPeer, header: str) -> None:
    queue = declare(peer)
    peer.publish(1, "", "nowhere", b"m", properties(headers={header: [queue]}), mandatory=True)
    peer.get(1, queue, b"m", routing_key="nowhere")
    peer.publish(1, "", "nowhere", b"lost", properties(headers={header: ["nowhere either"], "a": 1}), mandatory=True)
    content = peer.expect_content(1, "basic.return", b"lost", reply_code=312, routing_key="nowhere")
    kept = {"CC": ["nowhere either"], "a": 1} if header == "CC" else {"a": 1}
    assert content.properties == properties(headers=kept)


@HEADERS
def test_through_a_direct_exchange(peer: RawPeer, header: str, name: Name) -> None:
    key, other, both = name("key"), name("other"), name("both")
    queues = [
        declare(peer, ("amq.direct", key)),
        declare(peer, ("amq.direct", other)),
        declare(peer, ("amq.direct", key), ("amq.direct", other), ("amq.direct", both)),
        declare(peer, ("amq.direct", both)),
    ]
    peer.publish(1, "amq.direct", key, b"m", properties(headers={header: [other]}))
    assert got(peer, *queues) == [1, 1, 1, 0]


@HEADERS
def test_through_a_topic_exchange(peer: RawPeer, header: str, name: Name) -> None:
    prefix = name("t")
    queues = [declare(peer, ("amq.topic", f"{prefix}.{pattern}")) for pattern in ("a", "*", "#", "c.*", "d")]
    peer.publish(1, "amq.topic", f"{prefix}.a", b"m", properties(headers={header: [f"{prefix}.c.x"]}))
    assert got(peer, *queues) == [1, 1, 1, 1, 0]


@HEADERS
def test_through_a_fanout_exchange(peer: RawPeer, header: str, name: Name) -> None:
    exchange = name("x")
    peer.call(1, "exchange.declare", exchange=exchange, type="fanout")
    queue, other = declare(peer, (exchange, "")), declare(peer)
    peer.publish(1, exchange, "", b"m", properties(headers={header: ["a", "b", other]}))
    assert got(peer, queue, other) == [1, 0]


@HEADERS
def test_through_exchanges_bound_to_each_other(peer: RawPeer, header: str, name: Name) -> None:
    """Each exchange on the way sees all keys."""
    first, second = name("first"), name("second")
    for exchange in (first, second):
        peer.call(1, "exchange.declare", exchange=exchange, type="direct")
    peer.call(1, "exchange.bind", source=first, destination=second, routing_key="a")
    queue, other = declare(peer, (second, "b")), declare(peer, (second, "c"))
    peer.publish(1, first, "a", b"m", properties(headers={header: ["b"]}))
    assert got(peer, queue, other) == [1, 0]


@HEADERS
def test_an_alternate_exchange_sees_all_keys_when_none_was_routed(peer: RawPeer, header: str, name: Name) -> None:
    alternate, exchange = name("ae"), name("x")
    peer.call(1, "exchange.declare", exchange=alternate, type="direct")
    peer.call(1, "exchange.declare", exchange=exchange, type="direct", arguments={"alternate-exchange": alternate})
    queue, rest = declare(peer, (exchange, "a")), declare(peer, (alternate, "b"))
    peer.publish(1, exchange, "a", b"m", properties(headers={header: ["b"]}))
    assert got(peer, queue, rest) == [1, 0]
    peer.publish(1, exchange, "c", b"m", properties(headers={header: ["b"]}))
    assert got(peer, queue, rest) == [0, 1]


@HEADERS
def test_in_a_transaction(peer: RawPeer, header: str) -> None:
    first, second = declare(peer), declare(peer)
    peer.call(1, "tx.select")
    peer.publish(1, "", first, b"m", properties(headers={header: [second]}))
    peer.call(1, "tx.commit")
    assert got(peer, first, second) == [1, 1]


@HEADERS
def test_one_confirm_for_all(peer: RawPeer, header: str) -> None:
    first, second = declare(peer), declare(peer)
    peer.call(1, "confirm.select")
    peer.publish(1, "", first, b"m", properties(headers={header: [second]}))
    peer.expect(1, "basic.ack", delivery_tag=1, multiple=False)
    assert got(peer, first, second) == [1, 1]


def test_copies_are_messages_of_their_own(peer: RawPeer) -> None:
    first, second = declare(peer), declare(peer)
    peer.publish(1, "", first, b"m", properties(headers={"CC": [second]}))
    peer.send(1, "basic.ack", delivery_tag=peer.get(1, first, b"m").tag)
    peer.get(1, second, b"m", redelivered=False)


@HEADERS
def test_a_dead_letter_goes_by_all_keys_again(peer: RawPeer, header: str, name: Name) -> None:
    """Those of BCC too, although nobody sees them."""
    exchange = name("dlx")
    peer.call(1, "exchange.declare", exchange=exchange, type="direct")
    queue = declare(peer, **{"x-dead-letter-exchange": exchange})
    by_key, by_copy = declare(peer, (exchange, queue)), declare(peer, (exchange, "copy"))
    peer.publish(1, "", queue, b"m", properties(headers={header: ["copy"]}))
    peer.send(1, "basic.reject", delivery_tag=peer.get(1, queue).tag)
    peer.call(1, "basic.consume", queue=by_key, no_ack=True)
    headers = decode_properties(peer.expect_deliver(1, b"m").properties)["headers"]
    assert headers["x-death"][0]["routing-keys"] == ([queue, "copy"] if header == "CC" else [queue])
    assert headers.get(header) == (["copy"] if header == "CC" else None)
    assert got(peer, by_copy) == [1]


def test_a_dead_letter_with_a_key_of_its_own_loses_cc(peer: RawPeer, name: Name) -> None:
    exchange = name("dlx")
    peer.call(1, "exchange.declare", exchange=exchange, type="direct")
    queue = declare(peer, **{"x-dead-letter-exchange": exchange, "x-dead-letter-routing-key": "dead"})
    by_key, by_copy = declare(peer, (exchange, "dead")), declare(peer, (exchange, "copy"))
    peer.publish(1, "", queue, b"m", properties(headers={"CC": ["copy"]}))
    peer.send(1, "basic.reject", delivery_tag=peer.get(1, queue).tag)
    peer.call(1, "basic.consume", queue=by_key, no_ack=True)
    headers = decode_properties(peer.expect_deliver(1, b"m", routing_key="dead").properties)["headers"]
    assert headers["x-death"][0]["routing-keys"] == [queue, "copy"]
    assert "CC" not in headers
    assert got(peer, by_copy) == [0]
