import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.broker import records
from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.topic import TopicExchange
from amqpd.broker.fields import TYPE_NAMES, Field, Table, boolean, longstr, table
from tests.broker.world import World

NAN = float("nan")


def whole(bits: int, *, signed: bool) -> st.SearchStrategy[int]:
    return st.integers(-(1 << bits - 1), (1 << bits - 1) - 1) if signed else st.integers(0, (1 << bits) - 1)


# As they come off the wire: bytes that are no UTF-8 are lone surrogates.
texts = st.binary(max_size=12).map(lambda octets: octets.decode("utf-8", "surrogateescape"))
simple: dict[str, st.SearchStrategy[Any]] = {
    "t": st.booleans(),
    "b": whole(8, signed=True),
    "B": whole(8, signed=False),
    "s": whole(16, signed=True),
    "u": whole(16, signed=False),
    "I": whole(32, signed=True),
    "i": whole(32, signed=False),
    "l": whole(64, signed=True),
    "f": st.floats(width=32),
    "d": st.floats(),
    "D": st.tuples(st.integers(0, 255), whole(32, signed=True)),
    "S": texts,
    "T": whole(64, signed=False),
    "V": st.none(),
    "x": st.binary(max_size=12),
}
simple_fields = st.one_of([st.builds(Field, st.just(kind), values) for kind, values in simple.items()])
fields = st.recursive(
    simple_fields,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: Field("A", items)),
        st.dictionaries(texts, inner, max_size=4).map(lambda items: Field("F", items)),
    ),
    max_leaves=12,
)
tables = st.dictionaries(texts, fields, max_size=5)


def through_bytes(arguments: Table) -> Table:
    return records.table_from_json(records.decode(records.encode(records.table_to_json(arguments))))


def exact(value: Any) -> Any:
    """What is equal when every bit is: NaN is itself, 0.0 is not -0.0, True is not 1, and order counts."""
    match value:
        case Field(kind, inner):
            return kind, exact(inner)
        case dict():
            return [(name, exact(item)) for name, item in value.items()]
        case list():
            return [exact(item) for item in value]
        case float():
            return "nan" if value != value else struct.pack(">d", value)
    return type(value), value


def test_every_kind_is_tried() -> None:
    assert {*simple, "A", "F"} == set(TYPE_NAMES)


@given(arguments=tables)
def test_any_table_comes_back_the_same(arguments: Table) -> None:
    assert exact(through_bytes(arguments)) == exact(arguments)


@pytest.mark.parametrize(
    "field",
    [
        Field("d", NAN),
        Field("d", float("inf")),
        Field("f", float("-inf")),
        Field("d", -0.0),
        Field("x", bytes(range(256))),
        Field("x", b""),
        Field("S", "\udcff"),
        Field("S", "\x00\u2028 \U0001f600"),
        Field("V", None),
        Field("D", (2, -314)),
        Field("A", []),
        Field("A", [Field("A", [Field("x", b"\xff")]), Field("F", {})]),
        table({"a": table({"b": table({"": boolean(False)})})}),
        Field("l", -(2**63)),
        Field("T", 2**64 - 1),
    ],
    ids=repr,
)
def test_comes_back_the_same(field: Field) -> None:
    assert exact(through_bytes({"name": field})) == exact({"name": field})


def test_order_is_kept() -> None:
    assert list(through_bytes({"b": longstr(""), "a": longstr(""), "c": longstr("")})) == ["b", "a", "c"]


def test_values_are_compact_text() -> None:
    assert records.encode({"a": [1, "ä"]}) == b'{"a":[1,"\\u00e4"]}'


# --- keys ---


def test_keys_fit_any_names() -> None:
    longest = "ä" * 127
    binding = Binding(longest, longest, True, longest, {"a": longstr("b" * 10_000)})
    assert len(records.name_key(longest, longest)) == 24
    assert len(records.binding_key(longest, binding)) == 24


def test_keys_tell_names_apart() -> None:
    assert len({records.name_key(*names) for names in (("/", "a"), ("/a", ""), ("", "/a"), ("/", "b"))}) == 4
    assert records.name_key("/", "a") == records.name_key("/", "a")


def test_keys_tell_bindings_apart() -> None:
    one = Field("I", 1)
    bindings = [
        Binding("x", "q", True, "k"),
        Binding("y", "q", True, "k"),
        Binding("x", "r", True, "k"),
        Binding("x", "q", False, "k"),
        Binding("x", "q", True, "l"),
        Binding("x", "q", True, "k", {"a": one}),
        Binding("x", "q", True, "k", {"a": Field("l", 1)}),
        Binding("x", "q", True, "k", {"a": Field("t", True)}),
        Binding("x", "q", True, "k", {"b": one}),
    ]
    assert len({records.binding_key("/", binding) for binding in bindings}) == len(bindings)
    assert records.binding_key("/", bindings[0]) != records.binding_key("v", bindings[0])


# --- values ---


def test_exchange_value() -> None:
    arguments = {"alternate-exchange": longstr("y")}
    exchange = TopicExchange("x", durable=True, auto_delete=True, internal=True, arguments=arguments)
    assert records.decode(records.exchange_value("/", exchange)) == {
        "vhost": "/",
        "name": "x",
        "type": "topic",
        "auto_delete": True,
        "internal": True,
        "arguments": [["alternate-exchange", "S", "y"]],
    }


def test_queue_value() -> None:
    queue = World().queue("q", auto_delete=True, arguments={"x-max-length": Field("I", 5)})
    assert records.decode(records.queue_value("/", queue)) == {
        "vhost": "/",
        "name": "q",
        "id": queue.queue_id,
        "auto_delete": True,
        "arguments": [["x-max-length", "I", 5]],
    }


def test_binding_value() -> None:
    binding = Binding("x", "q", True, "k", {"a": Field("x", b"\xff")})
    assert records.decode(records.binding_value("/", binding)) == {
        "vhost": "/",
        "source": "x",
        "destination": "q",
        "to_queue": True,
        "key": "k",
        "arguments": [["a", "x", "/w=="]],
    }
