from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.direct import DirectExchange
from amqpd.broker.fields import Field


def bind(exchange: DirectExchange, queue: str, key: str) -> Binding:
    binding = Binding(exchange.name, queue, True, key)
    exchange.add(binding)
    return binding


def test_key_must_be_equal() -> None:
    exchange = DirectExchange("x")
    one, other = bind(exchange, "q", "a"), bind(exchange, "q", "b")
    assert list(exchange.match("a", None)) == [one]
    assert list(exchange.match("b", None)) == [other]
    for key in ("", "A", "a.", "*", "#", "ab"):
        assert list(exchange.match(key, None)) == []


def test_wildcards_mean_nothing() -> None:
    exchange = DirectExchange("x")
    binding = bind(exchange, "q", "#")
    assert list(exchange.match("a", None)) == []
    assert list(exchange.match("#", None)) == [binding]


def test_empty_key_is_a_key() -> None:
    exchange = DirectExchange("x")
    binding = bind(exchange, "q", "")
    assert list(exchange.match("", None)) == [binding]


def test_all_bindings_of_a_key_in_order_each_once() -> None:
    exchange = DirectExchange("x")
    bindings = [bind(exchange, queue, "k") for queue in ("c", "a", "b")]
    bind(exchange, "a", "k")
    assert list(exchange.match("k", None)) == bindings


def test_removed_binding_is_gone_and_only_it() -> None:
    exchange = DirectExchange("x")
    one, other = bind(exchange, "q", "k"), bind(exchange, "r", "k")
    exchange.remove(one)
    exchange.remove(one)
    assert list(exchange.match("k", None)) == [other]
    exchange.remove(other)
    assert list(exchange.match("k", None)) == []
    exchange.remove(Binding("x", "q", True, "never"))
    assert exchange._by_key == {}


def test_attributes() -> None:
    exchange = DirectExchange("x", durable=True, auto_delete=True, internal=True, arguments={"a": Field("I", 1)})
    assert (exchange.name, exchange.type_name, exchange.uses_message) == ("x", "direct", False)
    assert (exchange.durable, exchange.auto_delete, exchange.internal) == (True, True, True)
    assert exchange.arguments == {"a": Field("I", 1)}
    plain = DirectExchange("y")
    assert (plain.durable, plain.auto_delete, plain.internal, plain.arguments) == (False, False, False, {})


def test_any_binding_will_do() -> None:
    # RabbitMQ looks at x-match only for headers exchanges.
    DirectExchange("x").check_binding("k", {"x-match": Field("S", "nonsense")})
