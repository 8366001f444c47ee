import pytest

from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.registry import EXCHANGE_TYPES
from amqpd.broker.fields import Field

every_type = pytest.mark.parametrize("type_name", ["direct", "fanout", "topic", "headers"])


@every_type
def test_remembers_what_leads_to_exchanges(type_name: str) -> None:
    exchange = EXCHANGE_TYPES[type_name]("x")
    bindings = [Binding("x", "y", False, "k"), Binding("x", "z", False, "k")]
    for binding in [Binding("x", "q", True, "k"), *bindings, bindings[0]]:
        exchange.add(binding)
    assert list(exchange.exchange_bindings) == bindings
    exchange.remove(bindings[0])
    exchange.remove(Binding("x", "never", False, "k"))
    assert list(exchange.exchange_bindings) == bindings[1:]


@every_type
def test_keeps_its_attributes(type_name: str) -> None:
    arguments = {"a": Field("I", 1)}
    exchange = EXCHANGE_TYPES[type_name]("x", durable=True, auto_delete=True, internal=True, arguments=arguments)
    assert (exchange.name, exchange.type_name) == ("x", type_name)
    assert (exchange.durable, exchange.auto_delete, exchange.internal) == (True, True, True)
    assert exchange.arguments == arguments


@every_type
@pytest.mark.parametrize(
    ("argument", "alternate"),
    [(Field("S", "y"), "y"), (Field("S", ""), ""), (Field("x", b"y"), None), (Field("I", 1), None), (None, None)],
)
def test_alternate(type_name: str, argument: Field | None, alternate: str | None) -> None:
    exchange = EXCHANGE_TYPES[type_name]("x", arguments={"alternate-exchange": argument} if argument else {})
    assert exchange.alternate == alternate
