"""Arguments alone, and together with policies. Their texts are held by tests/conformance/test_arguments.py."""

from typing import Any

import pytest

from amqpd.broker.arguments import QueueSettings, check_queue, effective, merge_policies, parse_expiration
from amqpd.broker.fields import Field, Table, longstr
from amqpd.errors import NotImplementedByBroker, PreconditionFailed


def number(value: int) -> Field:
    return Field("I", value)


def test_nothing_said() -> None:
    assert effective({}, {}, {}) == QueueSettings()


@pytest.mark.parametrize(
    ("arguments", "policy", "operator", "ttl"),
    [
        ({"x-message-ttl": number(5)}, {}, {}, 5),
        ({}, {"message-ttl": 7}, {}, 7),
        ({"x-message-ttl": number(5)}, {"message-ttl": 7}, {}, 5),
        ({"x-message-ttl": number(9)}, {"message-ttl": 7}, {}, 7),
        ({"x-message-ttl": number(9)}, {"message-ttl": 7}, {"message-ttl": 3}, 3),
        ({}, {"message-ttl": 0}, {"message-ttl": 3}, 0),
    ],
)
def test_the_smallest_number_counts(
    arguments: Table, policy: dict[str, Any], operator: dict[str, Any], ttl: int
) -> None:
    assert effective(arguments, policy, operator).message_ttl_ms == ttl


def test_an_argument_s_word_comes_before_the_policy_s() -> None:
    policy = {"overflow": "reject-publish", "dead-letter-exchange": "a"}
    settings = effective({"x-dead-letter-exchange": longstr("b")}, policy, {})
    assert (settings.dead_letter_exchange, settings.overflow) == ("b", "reject-publish")


def test_the_operator_has_the_last_word_over_the_policy() -> None:
    assert merge_policies({"overflow": "drop-head", "expires": 5}, {"overflow": "reject-publish", "expires": 9}) == {
        "overflow": "reject-publish",
        "expires": 5,
    }


def test_quorum_queues_have_a_delivery_limit() -> None:
    quorum = {"x-queue-type": longstr("quorum")}
    assert effective(quorum, {}, {}).delivery_limit == 20
    assert effective({**quorum, "x-delivery-limit": number(50)}, {}, {}).delivery_limit == 50


def test_streams_do_not_exist_yet() -> None:
    with pytest.raises(NotImplementedByBroker, match="x-queue-type stream"):
        check_queue("/", "q", {"x-queue-type": longstr("stream")}, durable=True, exclusive=False, auto_delete=False)


@pytest.mark.parametrize("text", ["0", "1", "+5", "4294967296", "315360000000"])
def test_expirations(text: str) -> None:
    assert parse_expiration(text) == int(text)


@pytest.mark.parametrize("text", ["", "+", "x", "1x", "-1", "315360000001", "1e3", " 1", "٣"])
def test_what_is_no_expiration(text: str) -> None:
    with pytest.raises(PreconditionFailed, match="invalid expiration"):
        parse_expiration(text)
