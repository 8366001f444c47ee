"""How arguments and properties of what lies beyond the core are checked: limits, expiry, dead letters, priorities."""

from typing import Any

import pytest

from tests.conformance.conftest import Name
from tests.support.brokers import Broker
from tests.support.raw_peer import RawPeer, Typed, properties


@pytest.fixture(autouse=True)
def _not_built_yet(broker: Broker) -> None:
    """These pin RabbitMQ's answers for the extensions that amqpd does not have yet."""
    if broker.kind != "rabbitmq":
        pytest.skip("amqpd keeps these arguments and compares them; they have no effect yet")


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
        ({"x-message-ttl": True}, "x-message-ttl", '"expected integer, got bool"'),
        ({"x-message-ttl": None}, "x-message-ttl", '"expected integer, got void"'),
        ({"x-message-ttl": Typed("l", 2**62)}, "x-message-ttl", f"{{value_too_large,{2**62}}}"),
        ({"x-expires": 0}, "x-expires", "{value_zero,0}"),
        ({"x-expires": -1}, "x-expires", "{value_negative,-1}"),
        ({"x-max-length": -1}, "x-max-length", "{value_negative,-1}"),
        ({"x-max-length-bytes": -1}, "x-max-length-bytes", "{value_negative,-1}"),
        ({"x-max-priority": 256}, "x-max-priority", "{max_value_exceeded,256}"),
        ({"x-max-priority": -1}, "x-max-priority", "{value_negative,-1}"),
        ({"x-overflow": "nope"}, "x-overflow", "invalid_overflow"),
        ({"x-overflow": 1}, "x-overflow", "{unacceptable_type,signedint}"),
        ({"x-dead-letter-routing-key": "k"}, "x-dead-letter-routing-key", "routing_key_but_no_dlx_defined"),
        ({"x-single-active-consumer": 1}, "x-single-active-consumer", "{unacceptable_type,signedint}"),
        ({"x-queue-type": 1}, "x-queue-type", "{unacceptable_type,signedint}"),
        ({"x-queue-type": "nope"}, "x-queue-type", "\"unsupported queue type 'nope'\""),
        ({"x-queue-mode": "nope"}, "x-queue-mode", "\"unsupported queue mode 'nope'\""),
    ],
)
def test_invalid_arguments(peer: RawPeer, name: Name, arguments: dict[str, Any], arg: str, why: str) -> None:
    queue = name("q")
    peer.refused(1, 406, invalid(arg, queue, why), "queue.declare", queue=queue, arguments=arguments)
    peer.refused(1, 404, missing(queue), "queue.declare", queue=queue, passive=True)


def test_dead_letter_exchange_of_a_wrong_type(peer: RawPeer, name: Name) -> None:
    queue = name("q")
    text = f"PRECONDITION_FAILED - invalid type 'signedint' for arg 'x-dead-letter-exchange' in queue '{queue}'"
    arguments = {"x-dead-letter-exchange": 1}
    peer.refused(1, 406, f"{text} in vhost '/'", "queue.declare", queue=queue, arguments=arguments)


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
        ({"expiration": "-1"}, "invalid expiration '-1': {value_negative,-1}"),
        ({"expiration": "1.5"}, "invalid expiration '1.5': {leftover_string,\".5\"}"),
        ({"expiration": "1 "}, "invalid expiration '1 ': {leftover_string,\" \"}"),
        ({"expiration": "99999999999999"}, "invalid expiration '99999999999999': {value_too_large,99999999999999}"),
        ({"user_id": "nope"}, "user_id property set to 'nope' but authenticated user was 'guest'"),
    ],
)
def test_properties_that_are_refused(peer: RawPeer, props: dict[str, str], text: str) -> None:
    peer.publish(1, "", "anything", b"body", properties(**props))
    peer.expect_channel_close(1, 406, f"PRECONDITION_FAILED - {text}", "basic.publish")
