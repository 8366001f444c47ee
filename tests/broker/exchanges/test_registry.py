from amqpd.broker.exchanges.direct import DirectExchange
from amqpd.broker.exchanges.fanout import FanoutExchange
from amqpd.broker.exchanges.headers import HeadersExchange
from amqpd.broker.exchanges.registry import EXCHANGE_TYPES, find_exchange_type
from amqpd.broker.exchanges.topic import TopicExchange


def test_types_by_name() -> None:
    assert find_exchange_type("direct") is DirectExchange
    assert find_exchange_type("fanout") is FanoutExchange
    assert find_exchange_type("topic") is TopicExchange
    assert find_exchange_type("headers") is HeadersExchange
    assert len(EXCHANGE_TYPES) == 4


def test_unknown_type() -> None:
    for name in ("", "Direct", "x-consistent-hash"):
        assert find_exchange_type(name) is None


def test_only_headers_reads_headers() -> None:
    assert [name for name, exchange_type in EXCHANGE_TYPES.items() if exchange_type.uses_message] == ["headers"]
