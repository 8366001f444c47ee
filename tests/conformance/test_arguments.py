"""How arguments and properties of what lies beyond the core are checked: limits, expiry, dead letters, priorities."""

from typing import Any

import pytest

from tests.conformance.conftest import Name
from tests.support.raw_peer import RawPeer, Typed, properties

DURATION_MAX_MS = 315_360_000_000  # ten years


def invalid(arg: str, queue: str, why: str) -> str:
    return f"PRECONDITION_FAILED - invalid arg '{arg}' for queue '{queue}' in vhost '/': {why}"


def missing(queue: str) -> str:
    return f"NOT_FOUND - no queue '{queue}' in vhost '/'"


@pytest.mark.parametrize(
    ("arguments", "arg", "why"),
    [
        ({"x-message-ttl": -1}, "x-message-ttl", "{value_negative,-1}"),
        ({"x-message-ttl": "a"}, "x-message-ttl", '"expected integer, got longstr"'),
        ({"x-message-ttl": 1.5}, "x-message-ttl", '"expected integer, got double"'),
        ({"x-message-ttl": Typed("f", 1.0)}, "x-message-ttl", '"expected integer, got float"'),
        ({"x-message-ttl": True}, "x-message-ttl", '"expected integer, got bool"'),
        ({"x-message-ttl": None}, "x-message-ttl", '"expected integer, got void"'),
        ({"x-message-ttl": Typed("T", 1)}, "x-message-ttl", '"expected integer, got timestamp"'),
        ({"x-message-ttl": Typed("D", (0, 1))}, "x-message-ttl", '"expected integer, got decimal"'),
        ({"x-message-ttl": [1]}, "x-message-ttl", '"expected integer, got array"'),
        ({"x-message-ttl": {"a": 1}}, "x-message-ttl", '"expected integer, got table"'),
        ({"x-message-ttl": b"1"}, "x-message-ttl", '"expected integer, got binary"'),
        ({"x-message-ttl": Typed("l", 2**62)}, "x-message-ttl", f"{{value_too_large,{2**62}}}"),
        (
            {"x-message-ttl": Typed("l", DURATION_MAX_MS + 1)},
            "x-message-ttl",
            f"{{value_too_large,{DURATION_MAX_MS + 1}}}",
        ),
        ({"x-expires": 0}, "x-expires", "{value_zero,0}"),
        ({"x-expires": -1}, "x-expires", "{value_negative,-1}"),
        ({"x-expires": "1"}, "x-expires", '"expected integer, got longstr"'),
        ({"x-expires": Typed("l", DURATION_MAX_MS + 1)}, "x-expires", f"{{value_too_large,{DURATION_MAX_MS + 1}}}"),
        ({"x-max-length": -1}, "x-max-length", "{value_negative,-1}"),
        ({"x-max-length": "1"}, "x-max-length", '"expected integer, got longstr"'),
        ({"x-max-length-bytes": -1}, "x-max-length-bytes", "{value_negative,-1}"),
        ({"x-max-length-bytes": 1.0}, "x-max-length-bytes", '"expected integer, got double"'),
        ({"x-max-priority": 256}, "x-max-priority", "{max_value_exceeded,256}"),
        ({"x-max-priority": -1}, "x-max-priority", "{value_negative,-1}"),
        ({"x-max-priority": "a"}, "x-max-priority", '"expected integer, got longstr"'),
        ({"x-overflow": "nope"}, "x-overflow", "invalid_overflow"),
        ({"x-overflow": ""}, "x-overflow", "invalid_overflow"),
        ({"x-overflow": 1}, "x-overflow", "{unacceptable_type,signedint}"),
        ({"x-overflow": None}, "x-overflow", "{unacceptable_type,void}"),
        ({"x-dead-letter-routing-key": "k"}, "x-dead-letter-routing-key", "routing_key_but_no_dlx_defined"),
        ({"x-dead-letter-routing-key": 1}, "x-dead-letter-routing-key", "{unacceptable_type,signedint}"),
        (
            {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": True},
            "x-dead-letter-routing-key",
            "{unacceptable_type,bool}",
        ),
        ({"x-single-active-consumer": 1}, "x-single-active-consumer", "{unacceptable_type,signedint}"),
        ({"x-single-active-consumer": "true"}, "x-single-active-consumer", "{unacceptable_type,longstr}"),
        ({"x-queue-type": 1}, "x-queue-type", "{unacceptable_type,signedint}"),
        ({"x-queue-type": "nope"}, "x-queue-type", "\"unsupported queue type 'nope'\""),
        ({"x-queue-type": "Classic"}, "x-queue-type", "\"unsupported queue type 'Classic'\""),
        ({"x-queue-type": ""}, "x-queue-type", "\"unsupported queue type ''\""),
        ({"x-queue-mode": "nope"}, "x-queue-mode", "\"unsupported queue mode 'nope'\""),
        ({"x-queue-mode": 1}, "x-queue-mode", "{unacceptable_type,signedint}"),
        ({"x-queue-version": 3}, "x-queue-version", "\"unsupported queue version '3'\""),
        ({"x-queue-version": "1"}, "x-queue-version", '"expected integer, got longstr"'),
    ],
)
def test_invalid_arguments(peer: RawPeer, name: Name, arguments: dict[str, Any], arg: str, why: str) -> None:
    queue = name("q")
    peer.refused(1, 406, invalid(arg, queue, why), "queue.declare", queue=queue, arguments=arguments)
    peer.refused(1, 404, missing(queue), "queue.declare", queue=queue, passive=True)


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-message-ttl": 0},
        {"x-message-ttl": Typed("l", DURATION_MAX_MS)},
        {"x-message-ttl": Typed("b", 100)},
        {"x-message-ttl": Typed("B", 200)},
        {"x-message-ttl": Typed("s", 1000)},
        {"x-message-ttl": Typed("u", 60_000)},
        {"x-message-ttl": Typed("i", 4_000_000_000)},
        {"x-expires": Typed("l", DURATION_MAX_MS)},
        {"x-max-length": 0, "x-max-length-bytes": 0},
        {"x-max-length": Typed("l", 2**63 - 1), "x-max-length-bytes": Typed("l", 2**63 - 1)},
        {"x-overflow": "drop-head"},
        {"x-overflow": "reject-publish"},
        {"x-overflow": "reject-publish-dlx"},
        {"x-dead-letter-exchange": ""},
        {"x-dead-letter-exchange": "nope", "x-dead-letter-routing-key": ""},
        {"x-max-priority": 0},
        {"x-max-priority": 255},
        {"x-single-active-consumer": False},
        {"x-queue-type": "classic"},
        {"x-queue-mode": "lazy"},
        {"x-queue-mode": "default"},
        {"x-queue-version": 2},
        {"x-foo": [1]},
    ],
)
def test_valid_arguments(peer: RawPeer, name: Name, arguments: dict[str, Any]) -> None:
    queue = name("q")
    for _ in range(2):
        peer.call(1, "queue.declare", queue=queue, arguments=arguments)


@pytest.mark.parametrize(
    ("value", "kind"), [(1, "signedint"), (True, "bool"), (None, "void"), (b"x", "binary"), (1.5, "double")]
)
def test_dead_letter_exchange_of_a_wrong_type(peer: RawPeer, name: Name, value: object, kind: str) -> None:
    queue = name("q")
    text = f"PRECONDITION_FAILED - invalid type '{kind}' for arg 'x-dead-letter-exchange' in queue '{queue}'"
    arguments = {"x-dead-letter-exchange": value}
    peer.refused(1, 406, f"{text} in vhost '/'", "queue.declare", queue=queue, arguments=arguments)


@pytest.mark.parametrize(
    "arg",
    [
        "x-delivery-limit",
        "x-dead-letter-strategy",
        "x-quorum-initial-group-size",
        "x-queue-leader-locator",
        "x-max-age",
        "x-stream-max-segment-size-bytes",
        "x-initial-cluster-size",
    ],
)
def test_arguments_of_other_queue_types(peer: RawPeer, name: Name, arg: str) -> None:
    queue = name("q")
    text = f"PRECONDITION_FAILED - invalid arg '{arg}' for queue '{queue}' in vhost '/'"
    text += " of queue type rabbit_classic_queue"
    peer.refused(1, 406, text, "queue.declare", queue=queue, arguments={arg: 1})


IN_THE_ORDER_OF_THEIR_CHECKS: list[tuple[str, Any, str]] = [
    ("x-expires", 0, "{value_zero,0}"),
    ("x-message-ttl", -1, "{value_negative,-1}"),
    ("x-dead-letter-routing-key", 1, "{unacceptable_type,signedint}"),
    ("x-max-length", -1, "{value_negative,-1}"),
    ("x-max-length-bytes", -1, "{value_negative,-1}"),
    ("x-max-priority", -1, "{value_negative,-1}"),
    ("x-overflow", "nope", "invalid_overflow"),
    ("x-queue-mode", "nope", "\"unsupported queue mode 'nope'\""),
    ("x-single-active-consumer", "a", "{unacceptable_type,longstr}"),
]


def test_of_several_invalid_arguments_the_first_is_told(peer: RawPeer, name: Name) -> None:
    queue = name("q")
    for position, (arg, _, why) in enumerate(IN_THE_ORDER_OF_THEIR_CHECKS):
        arguments = {key: value for key, value, _ in reversed(IN_THE_ORDER_OF_THEIR_CHECKS[position:])}
        peer.refused(1, 406, invalid(arg, queue, why), "queue.declare", queue=queue, arguments=arguments)


def test_arguments_for_a_queue_that_is_there_are_compared_only(peer: RawPeer, name: Name) -> None:
    queue = peer.call(1, "queue.declare", queue=name("q"))["queue"]
    text = f"PRECONDITION_FAILED - inequivalent arg 'x-expires' for queue '{queue}' in vhost '/':"
    text += " received the value '0' of type 'signedint' but current is none"
    peer.refused(1, 406, text, "queue.declare", queue=queue, arguments={"x-expires": 0})
    peer.call(1, "queue.declare", queue=queue, passive=True, arguments={"x-expires": 0})


COMPARED_IN_ORDER: dict[str, list[str]] = {
    "classic": [
        "x-expires",
        "x-message-ttl",
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-priority",
        "x-overflow",
        "x-queue-mode",
        "x-queue-version",
        "x-single-active-consumer",
        "x-queue-type",
        "x-queue-master-locator",
        "x-foo",
    ],
    "quorum": [
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-dead-letter-strategy",
        "x-expires",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-in-memory-length",
        "x-max-in-memory-bytes",
        "x-overflow",
        "x-single-active-consumer",
        "x-queue-type",
        "x-quorum-initial-group-size",
        "x-delivery-limit",
        "x-message-ttl",
        "x-queue-leader-locator",
        "x-foo",
    ],
}


@pytest.mark.parametrize("kind", COMPARED_IN_ORDER)
def test_of_several_arguments_that_differ_the_first_is_told(peer: RawPeer, name: Name, kind: str) -> None:
    queue = name("q")
    peer.call(1, "queue.declare", queue=queue, durable=True, arguments={"x-queue-type": kind})
    names = COMPARED_IN_ORDER[kind]
    for position, first in enumerate(names[:-1]):  # the last one is known to nobody: nothing comes behind it
        arguments = {"x-queue-type": kind} | dict.fromkeys(reversed(names[position:]), "other")
        received = "'other' but current is" if first == "x-queue-type" else "the value 'other' of type 'longstr' but"
        text = f"PRECONDITION_FAILED - inequivalent arg '{first}' for queue '{queue}' in vhost '/': received {received}"
        peer.send(1, "queue.declare", queue=queue, durable=True, arguments=arguments)
        got = peer.expect(1, "channel.close", reply_code=406)
        assert got["reply_text"].startswith(text)
        peer.send(1, "channel.close-ok")
        peer.open_channel(1)


def test_consumer_priority_of_a_wrong_type(peer: RawPeer) -> None:
    queue = peer.call(1, "queue.declare", exclusive=True)["queue"]
    text = f"PRECONDITION_FAILED - invalid arg 'x-priority' for queue '{queue}' in vhost '/':"
    text += ' "expected integer, got longstr"'
    peer.refused(1, 406, text, "basic.consume", queue=queue, arguments={"x-priority": "a"})


@pytest.mark.parametrize(
    ("props", "text"),
    [
        ({"expiration": "abc"}, "invalid expiration 'abc': no_integer"),
        ({"expiration": ""}, "invalid expiration '': no_integer"),
        ({"expiration": " 1"}, "invalid expiration ' 1': no_integer"),
        ({"expiration": "+"}, "invalid expiration '+': no_integer"),
        ({"expiration": "-1"}, "invalid expiration '-1': {value_negative,-1}"),
        ({"expiration": "1.5"}, "invalid expiration '1.5': {leftover_string,\".5\"}"),
        ({"expiration": "1 "}, "invalid expiration '1 ': {leftover_string,\" \"}"),
        ({"expiration": "1e3"}, "invalid expiration '1e3': {leftover_string,\"e3\"}"),
        ({"expiration": "99999999999999"}, "invalid expiration '99999999999999': {value_too_large,99999999999999}"),
        (
            {"expiration": str(DURATION_MAX_MS + 1)},
            f"invalid expiration '{DURATION_MAX_MS + 1}': {{value_too_large,{DURATION_MAX_MS + 1}}}",
        ),
        ({"user_id": "nope"}, "user_id property set to 'nope' but authenticated user was 'guest'"),
    ],
)
def test_properties_that_are_refused(peer: RawPeer, props: dict[str, str], text: str) -> None:
    peer.publish(1, "", "anything", b"body", properties(**props))
    peer.expect_channel_close(1, 406, f"PRECONDITION_FAILED - {text}", "basic.publish")


@pytest.mark.parametrize("expiration", ["+60000", "0060000", "-0", str(DURATION_MAX_MS)])
def test_expirations_that_are_accepted(peer: RawPeer, expiration: str) -> None:
    queue = peer.call(1, "queue.declare", exclusive=True)["queue"]
    peer.call(1, "basic.consume", queue=queue)
    peer.publish(1, "", queue, b"body", properties(expiration=expiration))
    assert peer.expect_deliver(1, b"body").properties == properties(expiration=expiration)
