from amqpd.broker.exchanges.direct import DirectExchange
from amqpd.broker.exchanges.fanout import FanoutExchange
from amqpd.broker.exchanges.headers import HeadersExchange
from amqpd.broker.exchanges.registry import EXCHANGE_TYPES, find_exchange_type
from amqpd.broker.exchanges.topic import TopicExchange

PLUG_INS = [
    "x-consistent-hash",
    "x-modulus-hash",
    "x-random",
    "x-local-random",
    "x-recent-history",
    "x-message-deduplication",
    "x-delayed-message",
]


def test_types_by_name() -> None:
    assert find_exchange_type("direct") is DirectExchange
    assert find_exchange_type("fanout") is FanoutExchange
    assert find_exchange_type("topic") is TopicExchange
    assert find_exchange_type("headers") is HeadersExchange
    assert list(EXCHANGE_TYPES) == ["direct", "fanout", "topic", "headers", *PLUG_INS]
    assert all(exchange_type.type_name == name for name, exchange_type in EXCHANGE_TYPES.items())


def test_unknown_type() -> None:
    for name in ("", "Direct", "x-nope"):
        assert find_exchange_type(name) is None


def test_which_read_messages() -> None:
    reading = [name for name, exchange_type in EXCHANGE_TYPES.items() if exchange_type.uses_message]
    assert reading == ["headers", "x-random", "x-local-random", "x-delayed-message"]
