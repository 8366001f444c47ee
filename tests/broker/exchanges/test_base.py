import pytest

from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.plain_types import PLAIN_TYPES
from amqpd.broker.fields import Field
from tests.broker.exchanges.published import published

KEEPERS = ("x-recent-history", "x-message-deduplication")
every_type = pytest.mark.parametrize("type_name", PLAIN_TYPES)


@every_type
def test_remembers_what_leads_to_exchanges(type_name: str) -> None:
    exchange = PLAIN_TYPES[type_name]("x")
    bindings = [Binding("x", "y", False, "1"), Binding("x", "z", False, "1")]
    for binding in [Binding("x", "q", True, "1"), *bindings, bindings[0]]:
        exchange.add(binding)
    assert list(exchange.exchange_bindings) == bindings
    exchange.remove(bindings[0])
    exchange.remove(Binding("x", "never", False, "1"))
    assert list(exchange.exchange_bindings) == bindings[1:]


@every_type
def test_keeps_its_attributes(type_name: str) -> None:
    arguments = {"a": Field("I", 1)}
    exchange = PLAIN_TYPES[type_name]("x", durable=True, auto_delete=True, internal=True, arguments=arguments)
    assert (exchange.name, exchange.type_name) == ("x", type_name)
    assert (exchange.durable, exchange.auto_delete, exchange.internal) == (True, True, True)
    assert exchange.arguments == arguments


@every_type
@pytest.mark.parametrize(
    ("argument", "alternate"),
    [(Field("S", "y"), "y"), (Field("S", ""), ""), (Field("x", b"y"), None), (Field("I", 1), None), (None, None)],
)
def test_alternate(type_name: str, argument: Field | None, alternate: str | None) -> None:
    exchange = PLAIN_TYPES[type_name]("x", arguments={"alternate-exchange": argument} if argument else {})
    assert exchange.alternate == alternate


@every_type
def test_alternate_of_a_policy_is_second_to_the_argument(type_name: str) -> None:
    by_policy = PLAIN_TYPES[type_name]("x")
    by_policy.policy = {"alternate-exchange": "y"}
    assert by_policy.alternate == "y"
    both = PLAIN_TYPES[type_name]("x", arguments={"alternate-exchange": Field("S", "z")})
    both.policy = {"alternate-exchange": "y"}
    assert both.alternate == "z"


@pytest.mark.parametrize("type_name", [name for name in PLAIN_TYPES if name not in KEEPERS])
def test_a_plain_exchange_keeps_nothing(type_name: str) -> None:
    exchange = PLAIN_TYPES[type_name]("x")
    assert not exchange.keeps_messages
    assert not exchange.keep(published())
    assert exchange.number == 0
