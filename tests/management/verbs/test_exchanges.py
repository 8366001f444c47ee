import json

from amqpd.broker.bindings import Binding
from amqpd.broker.fields import Field, longstr
from tests.management.operators import Operator


def declare(operator: Operator, name: str, type_name: str = "topic", **flags: bool) -> None:
    flags = {"durable": True, "auto_delete": False, "internal": False, **flags}
    operator.world.vhost.declare_exchange(name, type_name, **flags, arguments={"alternate-exchange": longstr("alt")})


def test_exchanges(operator: Operator) -> None:
    declare(operator, "x", internal=True)
    rows = operator.rows("list_exchanges", vhost="/")
    assert ["", "direct"] in rows
    assert ["amq.match", "headers"] in rows
    assert rows[-1] == ["x", "topic"]
    operator.ask("set_policy", vhost="/", name="p", pattern="^x$", definition='{"alternate-exchange": "other"}')
    names = ["vhost", "durable", "auto_delete", "internal", "arguments", "policy"]
    assert operator.rows("list_exchanges", *names, vhost="/")[-1] == [
        "/",
        True,
        False,
        True,
        {"alternate-exchange": "alt"},
        "p",
    ]


def test_bindings(operator: Operator) -> None:
    declare(operator, "x")
    operator.world.queue("q")
    operator.world.vhost.bind(Binding("x", "q", True, "a.#", {"n": Field("t", True)}))
    operator.world.vhost.bind(Binding("x", "amq.fanout", False, "b"))
    assert operator.rows("list_bindings", vhost="/") == [
        ["", "exchange", "q", "queue", "q", {}],
        ["x", "exchange", "q", "queue", "a.#", {"n": True}],
        ["x", "exchange", "amq.fanout", "exchange", "b", {}],
    ]
    assert json.dumps(operator.rows("list_bindings", "routing_key", vhost="/")) == '[["q"], ["a.#"], ["b"]]'
