import pytest

from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.headers import HeadersExchange
from amqpd.broker.fields import Field, FieldValue, Table, boolean, longstr, table
from amqpd.errors import PreconditionFailed
from tests.broker.exchanges.published import published

ONE, TWO, VOID = Field("I", 1), Field("I", 2), Field("V", None)


def is_match(arguments: Table, headers: Table | None) -> bool:
    exchange = HeadersExchange("x")
    exchange.check_binding("", arguments)
    binding = Binding("x", "q", True, "", arguments)
    exchange.add(binding)
    found = list(exchange.match("any key", published(headers=headers)))
    assert found in ([], [binding])
    return found == [binding]


# What RabbitMQ 3.10.8 did: a binding's arguments, a message's headers, the modes of x-match under which they matched.
ALL, ANY, ALL_X, ANY_X = "all", "any", "all-with-x", "any-with-x"
MODES = [
    ({}, None, {ALL, ALL_X}),
    ({}, {}, {ALL, ALL_X}),
    ({}, {"a": ONE}, {ALL, ALL_X}),
    ({}, {"x-match": longstr("all")}, {ALL, ALL_X}),
    ({}, {"x-match": longstr("any-with-x")}, {ALL, ALL_X}),
    ({"x-a": ONE}, None, {ALL}),
    ({"x-a": ONE}, {"x-a": ONE}, {ALL, ALL_X, ANY_X}),
    ({"x-a": ONE}, {"x-a": TWO}, {ALL}),
    ({"x-a": ONE, "a": ONE}, {"a": ONE}, {ALL, ANY, ANY_X}),
    ({"x-a": ONE, "a": ONE}, {"x-a": ONE}, {ANY_X}),
    ({"x-a": ONE, "a": ONE}, {"x-a": ONE, "a": TWO}, {ANY_X}),
    ({"x-a": ONE, "a": ONE}, {"x-a": ONE, "a": ONE}, {ALL, ANY, ALL_X, ANY_X}),
    ({"a": ONE, "b": TWO}, {"a": ONE}, {ANY, ANY_X}),
    ({"a": ONE, "b": TWO}, {"a": ONE, "b": TWO, "c": TWO}, {ALL, ANY, ALL_X, ANY_X}),
    ({"a": ONE, "b": TWO}, {"a": TWO, "b": ONE}, set()),
    ({"a": VOID}, {"a": Field("I", 9)}, {ALL, ANY, ALL_X, ANY_X}),
    ({"a": VOID}, {"a": VOID}, {ALL, ANY, ALL_X, ANY_X}),
    ({"a": VOID}, {"b": ONE}, set()),
    ({"a": VOID, "b": ONE}, {"b": ONE}, {ANY, ANY_X}),
    ({"a": VOID, "b": ONE}, {"a": ONE}, {ANY, ANY_X}),
    ({"x": ONE}, {"x": ONE}, {ALL, ANY, ALL_X, ANY_X}),
    ({"X-a": ONE}, {"X-a": TWO}, set()),
]


@pytest.mark.parametrize("mode", [ALL, ANY, ALL_X, ANY_X])
@pytest.mark.parametrize(("arguments", "headers", "modes"), MODES)
def test_modes(mode: str, arguments: Table, headers: Table | None, modes: set[str]) -> None:
    assert is_match({"x-match": longstr(mode), **arguments}, headers) == (mode in modes)


@pytest.mark.parametrize(("arguments", "headers", "modes"), MODES)
def test_all_is_the_default(arguments: Table, headers: Table | None, modes: set[str]) -> None:
    assert is_match(arguments, headers) == (ALL in modes)


# RabbitMQ 3.10.8: values of one group equal each other and no value of another group.
EQUAL_VALUES = [
    [Field(kind, 1) for kind in "bBsuIilT"] + [Field("f", 1.0), Field("d", 1.0)],
    [Field("I", 0), Field("d", 0.0), Field("d", -0.0)],
    [Field("d", 1.5), Field("f", 1.5)],
    [Field("l", 2**53), Field("d", float(2**53))],
    [Field("l", 2**53 + 1)],
    [boolean(True)],
    [boolean(False)],
    [longstr("a"), Field("x", b"a")],
    [longstr("\udcff"), Field("x", b"\xff")],
    [longstr(""), Field("x", b"")],
    [longstr("1")],
    [longstr("true")],
    [longstr("undefined")],
    [Field("D", (0, 1))],
    [Field("D", (1, 10))],
    [Field("A", []), Field("F", {})],
    [Field("A", [Field("I", 1)])],
    [Field("A", [Field("l", 1)])],
    [Field("A", [Field("d", 1.0)])],
    [Field("A", [longstr("a")])],
    [Field("A", [Field("x", b"a")])],
    [Field("A", [Field("A", [])])],
    [Field("A", [Field("F", {})])],
    [table({"a": Field("I", 1)})],
    [table({"a": Field("l", 1)})],
    [table({"a": boolean(True)})],
    [table({"b": Field("I", 1)})],
]
VALUES = [(group, value) for group, values in enumerate(EQUAL_VALUES) for value in values]


@pytest.mark.parametrize(("group", "asked"), VALUES)
def test_values_are_equal_as_in_rabbitmq(group: int, asked: Field) -> None:
    equal = [sent for _, sent in VALUES if is_match({"k": asked}, {"k": sent})]
    assert equal == EQUAL_VALUES[group]


def test_void_header_is_no_value_but_present() -> None:
    assert not any(is_match({"k": asked}, {"k": VOID}) for _, asked in VALUES)
    assert all(is_match({"k": VOID}, {"k": sent}) for _, sent in VALUES)


def test_a_nested_table_has_no_order() -> None:
    assert is_match({"k": table({"a": ONE, "b": TWO})}, {"k": table({"b": TWO, "a": ONE})})


def test_bindings_that_match_in_order_without_the_removed() -> None:
    exchange = HeadersExchange("x")
    bindings = [Binding("x", queue, True, "", {"a": ONE}) for queue in ("c", "a", "b")]
    miss = Binding("x", "a", True, "", {"a": TWO})
    for binding in [*bindings, miss, bindings[0]]:
        exchange.add(binding)
    assert list(exchange.match("", published(headers={"a": ONE}))) == bindings
    exchange.remove(bindings[1])
    exchange.remove(bindings[1])
    assert list(exchange.match("", published(headers={"a": ONE}))) == [bindings[0], bindings[2]]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("foo", '<<"foo">>'),
        ("", "<<>>"),
        ("ALL", '<<"ALL">>'),
        ('a"b\\c\n', '<<"a\\"b\\\\c\\n">>'),
        ("hé", '<<"hé">>'),
        ("É", "<<195,137>>"),
        ("\udcff", '<<"\udcff">>'),
        ("\x00", "<<0>>"),
    ],
)
def test_unknown_x_match_is_refused_in_rabbitmqs_words(value: str, shown: str) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        HeadersExchange("x").check_binding("", {"x-match": longstr(value)})
    assert caught.value.reply_text == (
        f"PRECONDITION_FAILED - Invalid x-match field value {shown}; expected all, any, all-with-x, or any-with-x"
    )


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [
        ("I", 3, "signedint (value 3)"),
        ("b", -1, "byte (value -1)"),
        ("t", True, "bool (value true)"),
        ("t", False, "bool (value false)"),
        ("V", None, "void (value undefined)"),
        ("x", b"all", 'binary (value <<"all">>)'),
        ("x", b"\x00\xff", "binary (value <<0,255>>)"),
        ("d", 1.5, "double (value 1.5)"),
        ("D", (2, 100), "decimal (value {2,100})"),
        ("A", [longstr("all"), ONE], 'array (value [{longstr,<<"all">>},{signedint,1}])'),
        ("A", [], "array (value [])"),
        ("F", {"a": ONE}, 'table (value [{<<"a">>,signedint,1}])'),
        ("T", 5, "timestamp (value 5)"),
    ],
)
def test_x_match_of_another_type_is_refused_in_rabbitmqs_words(kind: str, value: FieldValue, shown: str) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        HeadersExchange("x").check_binding("", {"x-match": Field(kind, value)})
    assert caught.value.text == f"Invalid x-match field type {shown}; expected longstr"
