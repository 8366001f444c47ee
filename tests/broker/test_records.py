import struct
import zlib
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
    return records.table_from_json(records.parse(records.encode(records.table_to_json(arguments))))


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


# --- rows ---


def test_exchange_row() -> None:
    arguments = {"alternate-exchange": longstr("y")}
    exchange = TopicExchange("x", durable=True, auto_delete=True, internal=True, arguments=arguments)
    assert records.decode(*records.exchange_row("/", exchange)) == {
        "vhost": "/",
        "name": "x",
        "type": "topic",
        "auto_delete": True,
        "internal": True,
        "arguments": [["alternate-exchange", "S", "y"]],
    }


def test_queue_row() -> None:
    queue = World().queue("q", auto_delete=True, arguments={"x-max-length": Field("I", 5)})
    assert records.decode(*records.queue_row("/", queue)) == {
        "vhost": "/",
        "name": "q",
        "id": queue.queue_id,
        "auto_delete": True,
        "arguments": [["x-max-length", "I", 5]],
    }


def test_binding_row() -> None:
    binding = Binding("x", "q", True, "k", {"a": Field("x", b"\xff")})
    assert records.decode(*records.binding_row("/", binding)) == {
        "vhost": "/",
        "source": "x",
        "destination": "q",
        "to_queue": True,
        "key": "k",
        "arguments": [["a", "x", "/w=="]],
    }


def test_keys_of_rows_are_made_of_names() -> None:
    queue = World().queue("q")
    exchange = TopicExchange("x", durable=True, auto_delete=False, internal=False, arguments={})
    binding = Binding("x", "q", True, "k")
    assert records.queue_row("v", queue)[0] == records.name_key("v", "q")
    assert records.exchange_row("v", exchange)[0] == records.name_key("v", "x")
    assert records.binding_row("v", binding)[0] == records.binding_key("v", binding)


# --- seals ---

KEY, BODY = b"a key", b'{"name":"q"}'


def flipped(octets: bytes, *bits: int) -> bytes:
    spoilt = bytearray(octets)
    for bit in bits:
        spoilt[bit // 8] ^= 1 << bit % 8
    return bytes(spoilt)


@given(key=st.binary(max_size=30), body=st.binary(min_size=1, max_size=60))
def test_what_is_sealed_can_be_unsealed(key: bytes, body: bytes) -> None:
    value = records.seal(key, body)
    assert records.unseal(key, value) == body
    assert value[4:] == body, "a person can read it"


def test_a_seal_is_of_key_and_body() -> None:
    assert records.seal(KEY, BODY)[:4] == zlib.crc32(KEY + BODY).to_bytes(4, "big")


def test_every_flipped_bit_breaks_a_seal_and_is_repaired() -> None:
    value = records.seal(KEY, BODY)
    for bit in range(len(KEY + value) * 8):
        both = flipped(KEY + value, bit)
        key, spoilt = both[: len(KEY)], both[len(KEY) :]
        with pytest.raises(records.CorruptRecord):
            records.unseal(key, spoilt)
        assert records.repair(key, spoilt) == (KEY, BODY)


def test_no_two_flipped_bits_are_taken_for_one() -> None:
    both = KEY + records.seal(KEY, BODY)
    for first in range(0, len(both) * 8, 7):
        for second in range(first + 1, len(both) * 8, 11):
            spoilt = flipped(both, first, second)
            assert records.repair(spoilt[: len(KEY)], spoilt[len(KEY) :]) is None


@pytest.mark.parametrize("value", [b"", b"\0", bytes(4), b"junk", records.seal(KEY, BODY)[:-1], b"x" * 5000])
def test_no_sealed_value(value: bytes) -> None:
    with pytest.raises(records.CorruptRecord):
        records.unseal(KEY, value)
    assert records.repair(KEY, value) is None


def test_a_value_under_another_key_breaks_its_seal() -> None:
    with pytest.raises(records.CorruptRecord):
        records.unseal(b"other", records.seal(KEY, BODY))


def test_long_values_are_not_repaired() -> None:
    """It would take as long as the square of their size."""
    longest = records.seal(KEY, bytes(records.REPAIR_MAX_BYTES - 4))
    assert records.repair(KEY, flipped(longest, 3)) == (KEY, bytes(records.REPAIR_MAX_BYTES - 4))
    longer = records.seal(KEY, bytes(records.REPAIR_MAX_BYTES - 3))
    assert records.repair(KEY, flipped(longer, 3)) is None
