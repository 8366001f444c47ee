"""Arguments alone, and together with policies. Their texts are held by tests/conformance/test_arguments.py."""

from typing import Any

import pytest

from amqpd.broker.arguments import (
    QueueSettings,
    check_queue,
    consumer_priority,
    effective,
    merge_policies,
    parse_expiration,
)
from amqpd.broker.fields import Field, Table, boolean, longstr
from amqpd.errors import AccessRefused, NotImplementedByBroker, PreconditionFailed


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


def check(arguments: Table, *, name: str = "q", **flags: Any) -> None:
    check_queue("/", name, arguments, **{"durable": True, "exclusive": False, "auto_delete": False, **flags})


YEARS = 315_360_000_000


@pytest.mark.parametrize(
    ("argument", "field", "fault"),
    [
        ("x-message-ttl", number(-1), "{value_negative,-1}"),
        ("x-message-ttl", number(YEARS + 1), f"{{value_too_large,{YEARS + 1}}}"),
        ("x-message-ttl", longstr("5"), '"expected integer, got longstr"'),
        ("x-expires", number(0), "{value_zero,0}"),
        ("x-expires", number(-5), "{value_negative,-5}"),
        ("x-max-length", number(-1), "{value_negative,-1}"),
        ("x-max-length-bytes", boolean(True), '"expected integer, got bool"'),
        ("x-max-priority", number(256), "{max_value_exceeded,256}"),
        ("x-max-priority", number(-1), "{value_negative,-1}"),
        ("x-overflow", longstr("spill"), "invalid_overflow"),
        ("x-overflow", number(1), "{unacceptable_type,long}"),
        ("x-single-active-consumer", number(1), "{unacceptable_type,long}"),
        ("x-dead-letter-routing-key", longstr("k"), "routing_key_but_no_dlx_defined"),
        ("x-dead-letter-routing-key", number(1), "{unacceptable_type,long}"),
        ("x-queue-version", number(3), "\"unsupported queue version '3'\""),
        ("x-queue-mode", longstr("fast"), "\"unsupported queue mode 'fast'\""),
        ("x-queue-type", longstr("fast"), "\"unsupported queue type 'fast'\""),
        ("x-consumer-timeout", number(-1), "{value_negative,-1}"),
    ],
)
def test_what_an_argument_cannot_be(argument: str, field: Field, fault: str) -> None:
    field = Field("l", field.value) if field.kind == "I" else field
    with pytest.raises(PreconditionFailed) as caught:
        check({argument: field})
    assert str(caught.value) == f"invalid arg '{argument}' for queue 'q' in vhost '/': {fault}"


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-message-ttl": number(0), "x-expires": number(1), "x-max-length": number(0)},
        {"x-message-ttl": Field("l", YEARS), "x-max-priority": Field("B", 255)},
        {"x-dead-letter-exchange": longstr(""), "x-dead-letter-routing-key": longstr("")},
        {"x-queue-version": number(2), "x-queue-mode": longstr("lazy"), "x-overflow": longstr("reject-publish-dlx")},
        {"x-nobody-knows": Field("V", None)},
    ],
)
def test_what_arguments_can_be(arguments: Table) -> None:
    check(arguments)


QUORUM = {"x-queue-type": longstr("quorum")}


@pytest.mark.parametrize(
    ("flags", "property_name"),
    [
        ({"exclusive": True}, "exclusive-owner"),
        ({"auto_delete": True}, "auto-delete"),
        ({"durable": False}, "non-durable"),
    ],
)
def test_what_no_quorum_queue_is(flags: dict[str, Any], property_name: str) -> None:
    with pytest.raises(PreconditionFailed, match=rf"^invalid property '{property_name}' for queue 'q' in vhost '/'$"):
        check(QUORUM, **flags)


def test_quorum_queues_are_named_and_have_no_priorities() -> None:
    check(QUORUM)
    with pytest.raises(PreconditionFailed, match="server-named queue"):
        check(QUORUM, name="")
    for kind, argument in ((QUORUM, "x-max-priority"), ({}, "x-delivery-limit")):
        with pytest.raises(
            PreconditionFailed, match=rf"^invalid arg '{argument}' for queue 'q' in vhost '/' of queue type"
        ):
            check({**kind, argument: number(5)})


def test_reserved_names_and_exchanges_that_are_no_texts() -> None:
    with pytest.raises(AccessRefused, match="reserved prefix"):
        check({}, name="amq.q")
    with pytest.raises(PreconditionFailed, match=r"^invalid type 'bool' for arg 'x-dead-letter-exchange' in queue 'q'"):
        check({"x-dead-letter-exchange": boolean(True)})


def test_no_delivery_limit() -> None:
    """RabbitMQ 4.x: a negative one."""
    assert effective({**QUORUM, "x-delivery-limit": Field("l", -1)}, {}, {}).delivery_limit is None


def test_priorities_of_consumers() -> None:
    assert consumer_priority("q", "/", {}) == 0
    assert consumer_priority("q", "/", {"x-priority": Field("l", -7)}) == -7
    with pytest.raises(PreconditionFailed, match=r"^invalid arg 'x-priority' for queue 'q' in vhost '/': \"expected"):
        consumer_priority("q", "/", {"x-priority": longstr("high")})
