"""What a policy may say, in RabbitMQ's words."""

from typing import Any

import pytest

from amqpd.broker.policy_keys import FOREIGN_KEYS, KEYS, OPERATOR_KEYS, InvalidDefinition, check_definition, erlang

NEEDS_MODE = "ha-mode must be specified to specify ha-params, ha-sync-mode or ha-promote-on-shutdown"

# As `rabbitmqctl set_policy` of 3.10.8 answers; what only 3.13 has, as its source says.
WRONG: list[tuple[Any, str]] = [
    ({"message-ttl": -1}, "-1 is not a valid message TTL"),
    ({"message-ttl": "a"}, '<<"a">> is not a valid message TTL'),
    ({"message-ttl": 1.5}, "1.5 is not a valid message TTL"),
    ({"message-ttl": True}, "true is not a valid message TTL"),
    ({"message-ttl": None}, "null is not a valid message TTL"),
    ({"message-ttl": {"a": 1}}, '#{<<"a">> => 1} is not a valid message TTL'),
    ({"message-ttl": [1, "b"]}, '[1,<<"b">>] is not a valid message TTL'),
    ({"expires": 0}, "0 is not a valid queue expiry"),
    ({"max-length": -1}, "-1 is not a valid maximum length"),
    ({"max-length-bytes": "a"}, '<<"a">> is not a valid maximum length in bytes'),
    ({"overflow": "x"}, '<<"x">> is not a valid overflow value'),
    ({"overflow": 1}, "1 is not a valid overflow value"),
    ({"dead-letter-exchange": 1}, "1 is not a valid dead letter exchange name"),
    ({"dead-letter-routing-key": 1}, "1 is not a valid dead letter routing key"),
    ({"dead-letter-routing-key": "\ud800"}, '<<"\ud800">> is not a valid dead letter routing key'),
    ({"dead-letter-strategy": "x"}, '<<"x">> is not a valid dead letter strategy'),
    ({"delivery-limit": -1}, "-1 is not a valid delivery limit"),
    ({"consumer-timeout": -1}, "-1 is not a valid consumer timeout"),
    ({"queue-mode": "x"}, '<<"x">> is not a valid queue-mode value'),
    ({"queue-version": 3}, "3 is not a valid queue-version value"),
    ({"queue-version": True}, "true is not a valid queue-version value"),
    ({"alternate-exchange": 1}, "1 is not a valid alternate exchange name"),
    ({"max-age": "7"}, '<<"7">> is not a valid max age'),
    ({"max-in-memory-length": -1}, "-1 is not a valid maximum memory in bytes"),
    ({"stream-max-segment-size-bytes": -1}, "-1 is not a valid segment size"),
    ({"stream-filter-size-bytes": 256}, "256 is not a valid filter size. Valid range is 16-255"),
    ({"queue-leader-locator": "x"}, '<<"x">> is not a valid queue leader locator value'),
    ({"queue-master-locator": "x"}, '<<"x">> invalid queue-master-locator value'),
    ({"initial-cluster-size": "a"}, '<<"a">> is not a valid cluster size'),
    ({"ha-mode": "x"}, '<<"x">> is not a valid ha-mode value'),
    ({"ha-mode": "exactly"}, 'ha-mode="exactly" takes an integer, none given'),
    ({"ha-mode": "exactly", "ha-params": "a"}, 'ha-mode="exactly" takes an integer, <<"a">> given'),
    ({"ha-mode": "nodes", "ha-params": []}, 'ha-mode="nodes" list must be non-empty'),
    ({"ha-mode": "nodes", "ha-params": [1]}, 'ha-mode="nodes" takes a list of strings, [1] given'),
    ({"ha-mode": "all", "ha-params": 1}, 'ha-mode="all" does not take parameters'),
    ({"ha-params": 2}, NEEDS_MODE),
    ({"ha-sync-mode": "automatic"}, NEEDS_MODE),
    ({"ha-mode": "all", "ha-sync-mode": "x"}, 'ha-sync-mode must be "manual" or "automatic", got <<"x">>'),
    (
        {"ha-mode": "all", "ha-promote-on-failure": "x"},
        'ha-promote-on-failure must be "always" or "when-synced", got <<"x">>',
    ),
    ({"ha-mode": "all", "ha-sync-batch-size": 0}, "ha-sync-batch-size takes an integer greater than 0, 0 given"),
    ({"message-ttl": -1, "max-length": -1}, "-1 is not a valid maximum length"),
    ({"max-priority": 10}, '[{<<"max-priority">>,10}] are not recognised policy settings'),
    ({"foo": 1, "bar": 2, "max-length": 1}, '[{<<"bar">>,2},{<<"foo">>,1}] are not recognised policy settings'),
    ({}, "no policy provided"),
    ([], "definition must be a dictionary: []"),
]

RIGHT: list[dict[str, Any]] = [
    {"message-ttl": 0},
    {"message-ttl": 4294967296000},
    {"expires": 1, "max-length": 0, "max-length-bytes": 0},
    {"overflow": "reject-publish-dlx", "dead-letter-exchange": "", "dead-letter-routing-key": "a"},
    {"delivery-limit": 0, "dead-letter-strategy": "at-least-once"},
    {"consumer-timeout": 1},
    {"alternate-exchange": "x"},
    {"queue-mode": "lazy", "queue-version": 2},
    {"max-age": "7D", "stream-max-segment-size-bytes": 1, "stream-filter-size-bytes": 16, "initial-cluster-size": 0},
    {"ha-mode": "all", "ha-sync-mode": "automatic", "ha-sync-batch-size": 1},
    {"ha-mode": "exactly", "ha-params": 2, "ha-promote-on-shutdown": "always"},
    {"ha-mode": "nodes", "ha-params": ["a@b"]},
]


@pytest.mark.parametrize(("definition", "words"), WRONG, ids=[str(definition) for definition, _ in WRONG])
def test_what_a_policy_may_not_say(definition: Any, words: str) -> None:
    with pytest.raises(InvalidDefinition) as caught:
        check_definition(definition)
    assert str(caught.value) == words


@pytest.mark.parametrize("definition", RIGHT, ids=str)
def test_what_a_policy_may_say(definition: dict[str, Any]) -> None:
    check_definition(definition)


def test_an_operator_policy_has_fewer_keys() -> None:
    check_definition({"max-length": 1, "overflow": "drop-head"}, operator=True)
    with pytest.raises(InvalidDefinition, match=r"^-1 is not a valid maximum length$"):
        check_definition({"max-length": -1}, operator=True)
    with pytest.raises(InvalidDefinition) as caught:
        check_definition({"dead-letter-exchange": 1}, operator=True)
    assert str(caught.value) == '[{<<"dead-letter-exchange">>,1}] are not recognised policy settings'


def test_the_keys_of_operators_and_of_kinds_are_keys() -> None:
    assert OPERATOR_KEYS < KEYS
    assert {key for keys in FOREIGN_KEYS.values() for key in keys} < KEYS


def test_values_look_as_in_erlang() -> None:
    value = {"a": [1, "b", None, True, 1.5]}
    assert erlang(value) == '#{<<"a">> => [1,<<"b">>,null,true,1.5]}'
