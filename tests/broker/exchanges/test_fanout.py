from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.fanout import FanoutExchange
from amqpd.broker.fields import Field
from tests.broker.exchanges.published import published


def test_every_key_reaches_every_binding_in_order() -> None:
    exchange = FanoutExchange("x")
    bindings = [Binding("x", "b", True, "k"), Binding("x", "a", True, ""), Binding("x", "y", False, "#")]
    for binding in [*bindings, bindings[0]]:
        exchange.add(binding)
    for key in ("", "k", "other"):
        assert list(exchange.match(key, None)) == bindings
    assert list(exchange.match("k", published("k", {"h": Field("I", 1)}))) == bindings


def test_keys_tell_bindings_of_one_queue_apart() -> None:
    exchange = FanoutExchange("x")
    one, other = Binding("x", "q", True, "a"), Binding("x", "q", True, "b")
    exchange.add(one)
    exchange.add(other)
    exchange.remove(one)
    exchange.remove(one)
    assert list(exchange.match("a", None)) == [other]


def test_without_bindings_nothing_is_reached() -> None:
    assert list(FanoutExchange("x").match("k", None)) == []
