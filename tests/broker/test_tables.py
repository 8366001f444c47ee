"""Field tables: every kind, bit for bit, both ways; and the bounds."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amqpd import limits
from amqpd.broker import tables
from amqpd.broker.fields import TYPE_NAMES, Field, Table
from tests.support.raw_peer import Typed, table


def sized(inner: bytes) -> bytes:
    return len(inner).to_bytes(4, "big") + inner


KINDS: list[tuple[bytes, Field]] = [
    (b"t\x00", Field("t", False)),
    (b"t\x01", Field("t", True)),
    (b"b\x80", Field("b", -128)),
    (b"b\x7f", Field("b", 127)),
    (b"B\xff", Field("B", 255)),
    (b"s\x80\x00", Field("s", -32768)),
    (b"u\xff\xff", Field("u", 65535)),
    (b"I\x80\x00\x00\x00", Field("I", -(2**31))),
    (b"i\xff\xff\xff\xff", Field("i", 2**32 - 1)),
    (b"l\x80\x00\x00\x00\x00\x00\x00\x00", Field("l", -(2**63))),
    (b"T\xff\xff\xff\xff\xff\xff\xff\xff", Field("T", 2**64 - 1)),
    (b"f\x3f\xc0\x00\x00", Field("f", 1.5)),
    (b"d\xbf\xf8\x00\x00\x00\x00\x00\x00", Field("d", -1.5)),
    (b"d\x7f\xf0\x00\x00\x00\x00\x00\x00", Field("d", float("inf"))),
    (b"D\x02\x00\x00\x01\x3a", Field("D", (2, 314))),
    (b"D\xff\xff\xff\xff\xff", Field("D", (255, 2**32 - 1))),
    (b"S\x00\x00\x00\x00", Field("S", "")),
    (b"S\x00\x00\x00\x02\xc3\xa9", Field("S", "é")),
    (b"S\x00\x00\x00\x02\xff\x00", Field("S", "\udcff\x00")),
    (b"x\x00\x00\x00\x02\xff\x00", Field("x", b"\xff\x00")),
    (b"V", Field("V", None)),
    (b"A\x00\x00\x00\x00", Field("A", [])),
    (b"A\x00\x00\x00\x03Vt\x01", Field("A", [Field("V", None), Field("t", True)])),
    (b"F\x00\x00\x00\x00", Field("F", {})),
    (b"F\x00\x00\x00\x03\x01kV", Field("F", {"k": Field("V", None)})),
]


@pytest.mark.parametrize(("data", "field"), KINDS)
def test_kinds(data: bytes, field: Field) -> None:
    whole = sized(b"\x03key" + data)
    assert tables.read_table(whole, 0) == ({"key": field}, len(whole))
    assert tables.write_table({"key": field}) == whole


def test_every_kind_is_there() -> None:
    assert {field.kind for _, field in KINDS} == set(TYPE_NAMES)


def test_another_letter_for_long() -> None:
    found, _ = tables.read_table(sized(b"\x01kL\x80\x00\x00\x00\x00\x00\x00\x00"), 0)
    assert found == {"k": Field("l", -(2**63))}
    assert tables.write_table(found) == sized(b"\x01kl\x80\x00\x00\x00\x00\x00\x00\x00")


def test_true_may_be_any_octet_but_zero() -> None:
    found, _ = tables.read_table(sized(b"\x00t\xff"), 0)
    assert found == {"": Field("t", True)}


def test_position() -> None:
    data = b"before" + sized(b"\x01aV") + b"after"
    assert tables.read_table(data, 6) == ({"a": Field("V", None)}, len(data) - 5)


def test_a_name_twice_keeps_the_later() -> None:
    assert tables.read_table(sized(b"\x01ab\x01\x01ab\x02"), 0)[0] == {"a": Field("b", 2)}


def test_order_is_kept() -> None:
    data = sized(b"\x01zV\x01aV\x01mV")
    found, _ = tables.read_table(data, 0)
    assert list(found) == ["z", "a", "m"]
    assert tables.write_table(found) == data


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00\x00\x00",
        b"\x00\x00\x00\x01",
        b"\xff\xff\xff\xff",
        b"\x80\x00\x00\x00\x01aV",
        sized(b"\x01a"),
        sized(b"\x02aV"),
        sized(b"\x05"),
        sized(b"\x01aZ"),
        sized(b"\x01a\x00"),
        sized(b"\x01at"),
        sized(b"\x01aI\x00\x00\x00"),
        sized(b"\x01al" + bytes(7)),
        sized(b"\x01aD" + bytes(4)),
        sized(b"\x01af" + bytes(3)),
        sized(b"\x01ad" + bytes(7)),
        sized(b"\x01aS\x00\x00\x00\x02x"),
        sized(b"\x01aS\xff\xff\xff\xffx"),
        sized(b"\x01ax\x00\x00\x00\x02x"),
        sized(b"\x01aA\x00\x00\x00\x02V"),
        sized(b"\x01aA\x00\x00\x00\x01I"),
        sized(b"\x01aF\x00\x00\x00\x03\x01k"),
        sized(b"\x01aF\x00\x00\x00\x02\x01k"),
    ],
)
def test_malformed(data: bytes) -> None:
    with pytest.raises(tables.MalformedTable):
        tables.read_table(data, 0)


@pytest.mark.parametrize(
    "data",
    [
        b"\x00\x00\x00\x03\x01aI\x00\x00\x00\x01",
        b"\x00\x00\x00\x03\x01aS\x00\x00\x00\x01x",
        sized(b"\x01aA\x00\x00\x00\x01I\x00\x00\x00\x01"),
        sized(b"\x01aF\x00\x00\x00\x03\x01kI\x00\x00\x00\x01"),
    ],
)
def test_a_field_that_ends_beyond_its_table(data: bytes) -> None:
    """Even if there are octets behind the table."""
    with pytest.raises(tables.MalformedTable):
        tables.read_table(data + b"more", 0)


def nest(depth: int, kind: str) -> bytes:
    inner = b""
    for _ in range(depth):
        inner = (b"\x00" if kind == "F" else b"") + kind.encode() + sized(inner)
    return sized(inner if kind == "F" else b"\x00" + inner)


@pytest.mark.parametrize("kind", "FA")
def test_depth(kind: str) -> None:
    data = nest(limits.TABLE_DEPTH_MAX - 1, kind)
    found, end = tables.read_table(data, 0)
    assert end == len(data)
    assert tables.write_table(found) == data
    with pytest.raises(tables.MalformedTable, match="nested deeper"):
        tables.read_table(nest(limits.TABLE_DEPTH_MAX, kind), 0)


def test_fields_of_a_table() -> None:
    data = sized(b"\x01aV" * limits.TABLE_ITEMS_MAX)
    assert tables.read_table(data, 0)[1] == len(data)
    with pytest.raises(tables.MalformedTable, match="more than"):
        tables.read_table(sized(b"\x01aV" * (limits.TABLE_ITEMS_MAX + 1)), 0)


def test_fields_are_counted_with_all_they_hold() -> None:
    half = limits.TABLE_ITEMS_MAX // 2
    array = b"A" + sized(b"V" * (half - 1))
    data = sized(b"\x01a" + array + b"\x01b" + array)
    assert tables.read_table(data, 0)[1] == len(data)
    with pytest.raises(tables.MalformedTable, match="more than"):
        tables.read_table(sized(b"\x01a" + array + b"\x01b" + array + b"\x01cV"), 0)


@pytest.mark.parametrize("text", ["", "a", "é", "\udcff", "x" * 255])
def test_short_strings_and_texts(text: str) -> None:
    data = tables.bytes_of(text)
    assert tables.text_of(data) == text
    assert tables.write_shortstr(text) == bytes([len(data)]) + data
    assert tables.write_longstr(data) == sized(data)


texts = st.one_of(st.text(max_size=6), st.binary(max_size=6).map(lambda data: data.decode("utf-8", "surrogateescape")))
floats = st.floats(width=32, allow_nan=False)
leaves = st.one_of(
    st.booleans().map(lambda value: Typed("t", value)),
    st.integers(-128, 127).map(lambda value: Typed("b", value)),
    st.integers(0, 255).map(lambda value: Typed("B", value)),
    st.integers(-(2**15), 2**15 - 1).map(lambda value: Typed("s", value)),
    st.integers(0, 2**16 - 1).map(lambda value: Typed("u", value)),
    st.integers(-(2**31), 2**31 - 1).map(lambda value: Typed("I", value)),
    st.integers(0, 2**32 - 1).map(lambda value: Typed("i", value)),
    st.integers(-(2**63), 2**63 - 1).map(lambda value: Typed("l", value)),
    st.integers(0, 2**64 - 1).map(lambda value: Typed("T", value)),
    floats.map(lambda value: Typed("f", value)),
    st.floats(allow_nan=False).map(lambda value: Typed("d", value)),
    st.tuples(st.integers(0, 255), st.integers(0, 2**31 - 1)).map(lambda value: Typed("D", value)),
    texts.map(lambda value: Typed("S", value)),
    st.binary(max_size=6).map(lambda value: Typed("x", value)),
    st.just(Typed("V", None)),
)
values: st.SearchStrategy[Typed] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4).map(lambda items: Typed("A", items)),
        st.dictionaries(texts, inner, max_size=4).map(lambda items: Typed("F", items)),
    ),
    max_leaves=12,
)


def expected(entries: dict[str, Typed]) -> Table:
    return {name: expected_field(value) for name, value in entries.items()}


def expected_field(value: Typed) -> Field:
    inner: Any = value.value
    if value.kind == "A":
        return Field("A", [expected_field(item) for item in inner])
    return Field(value.kind, expected(inner) if value.kind == "F" else inner)


@settings(max_examples=200)
@given(st.dictionaries(texts, values, max_size=5))
def test_any_table_there_and_back(entries: dict[str, Typed]) -> None:
    """The bytes are made by an encoder of the tests' own."""
    data = table(entries)
    found, end = tables.read_table(data, 0)
    assert (found, end) == (expected(entries), len(data))
    assert tables.write_table(found) == data


@given(st.binary(max_size=60))
def test_anything_is_read_or_refused(data: bytes) -> None:
    try:
        _, end = tables.read_table(sized(data), 0)
    except tables.MalformedTable:
        return
    assert end == len(data) + 4
