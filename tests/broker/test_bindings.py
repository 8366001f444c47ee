import pytest

from amqpd.broker.bindings import Binding, Bindings
from amqpd.broker.fields import Field, Table, boolean, longstr, table


def to_queue(source: str, destination: str, key: str = "", arguments: Table | None = None) -> Binding:
    return Binding(source, destination, True, key, arguments or {})


def with_argument(value: Field) -> Binding:
    return to_queue("x", "q", "k", {"a": value})


SAME_ARGUMENTS = [
    ({}, {}),
    ({"a": Field("I", 1), "b": longstr("2")}, {"b": longstr("2"), "a": Field("I", 1)}),
    ({"a": table({"b": Field("I", 1), "c": boolean(True)})}, {"a": table({"c": boolean(True), "b": Field("I", 1)})}),
    ({"a": Field("A", [Field("I", 1)])}, {"a": Field("A", [Field("I", 1)])}),
    ({"a": Field("d", 0.0)}, {"a": Field("d", -0.0)}),
    ({"a": Field("d", float("nan"))}, {"a": Field("d", float("nan"))}),
    ({"a": Field("D", (2, 100))}, {"a": Field("D", (2, 100))}),
    ({"a": Field("V", None)}, {"a": Field("V", None)}),
]

OTHER_ARGUMENTS = [
    ({}, {"a": Field("V", None)}),
    ({"a": Field("I", 1)}, {"b": Field("I", 1)}),
    ({"a": Field("I", 1)}, {"a": Field("I", 2)}),
    ({"a": Field("I", 1)}, {"a": Field("l", 1)}),
    ({"a": Field("I", 1)}, {"a": boolean(True)}),
    ({"a": Field("I", 1)}, {"a": Field("d", 1.0)}),
    ({"a": Field("f", 1.0)}, {"a": Field("d", 1.0)}),
    ({"a": longstr("a")}, {"a": Field("x", b"a")}),
    ({"a": Field("A", [])}, {"a": Field("F", {})}),
    ({"a": Field("A", [Field("I", 1)])}, {"a": Field("A", [Field("l", 1)])}),
    ({"a": Field("A", [Field("I", 1), Field("I", 2)])}, {"a": Field("A", [Field("I", 2), Field("I", 1)])}),
    ({"a": table({"b": Field("I", 1)})}, {"a": table({"b": boolean(True)})}),
]


@pytest.mark.parametrize(("one", "other"), SAME_ARGUMENTS)
def test_same_arguments_make_the_same_binding(one: Table, other: Table) -> None:
    first, second = to_queue("x", "q", "k", one), to_queue("x", "q", "k", other)
    assert first == second
    assert hash(first) == hash(second)
    bindings = Bindings()
    assert bindings.add(first)
    assert not bindings.add(second)
    assert bindings.remove(second)
    assert list(bindings) == []


@pytest.mark.parametrize(("one", "other"), OTHER_ARGUMENTS)
def test_other_arguments_make_another_binding(one: Table, other: Table) -> None:
    bindings = Bindings()
    assert bindings.add(to_queue("x", "q", "k", one))
    assert not bindings.remove(to_queue("x", "q", "k", other))
    assert bindings.add(to_queue("x", "q", "k", other))
    assert len(bindings) == 2


@pytest.mark.parametrize(
    "other",
    [
        Binding("y", "q", True, "k"),
        Binding("x", "r", True, "k"),
        Binding("x", "q", False, "k"),
        Binding("x", "q", True, "l"),
    ],
)
def test_every_part_tells_bindings_apart(other: Binding) -> None:
    assert Binding("x", "q", True, "k") != other


def test_arguments_are_given_back_unchanged() -> None:
    arguments: Table = {"b": Field("I", 1), "a": longstr("x")}
    (binding,) = held(to_queue("x", "q", "k", arguments)).from_source("x")
    assert list(binding.arguments.items()) == list(arguments.items())


def test_adding_twice_and_removing_twice() -> None:
    bindings = Bindings()
    assert bindings.add(to_queue("x", "q"))
    assert not bindings.add(to_queue("x", "q"))
    assert len(bindings) == 1
    assert bindings.remove(to_queue("x", "q"))
    assert not bindings.remove(to_queue("x", "q"))
    assert len(bindings) == 0


def held(*bindings: Binding) -> Bindings:
    result = Bindings()
    for binding in bindings:
        result.add(binding)
    return result


def test_found_by_source_in_the_order_of_insertion() -> None:
    group = [to_queue("x", f"q{number}") for number in (3, 1, 2)]
    bindings = held(group[0], to_queue("y", "q9"), *group[1:])
    assert bindings.from_source("x") == group
    bindings.remove(group[0])
    bindings.add(group[0])
    assert bindings.from_source("x") == [*group[1:], group[0]]
    assert bindings.from_source("z") == []


def test_found_by_destination_and_its_kind() -> None:
    queue_side, exchange_side = Binding("x", "d", True, ""), Binding("x", "d", False, "")
    other_source = Binding("y", "d", True, "")
    bindings = held(queue_side, exchange_side, other_source, Binding("x", "e", True, ""))
    assert bindings.to_destination("d", to_queue=True) == [queue_side, other_source]
    assert bindings.to_destination("d", to_queue=False) == [exchange_side]
    assert bindings.to_destination("e", to_queue=False) == []


def test_found_between_two_ends() -> None:
    wanted = [to_queue("x", "q", "a"), to_queue("x", "q", "b")]
    bindings = held(*wanted, to_queue("x", "r", "a"), to_queue("y", "q", "a"), Binding("x", "q", False, "a"))
    assert bindings.between("x", "q", True) == wanted
    assert bindings.between("q", "x", True) == []


def test_has_source_until_the_last_binding_is_gone() -> None:
    bindings = held(to_queue("x", "q"), to_queue("x", "r"))
    assert bindings.has_source("x")
    assert not bindings.has_source("q")
    bindings.remove(to_queue("x", "q"))
    assert bindings.has_source("x")
    bindings.remove(to_queue("x", "r"))
    assert not bindings.has_source("x")


def test_answers_are_copies() -> None:
    bindings = held(to_queue("x", "q"), to_queue("x", "r"))
    for binding in bindings.from_source("x"):
        bindings.remove(binding)
    assert len(bindings) == 0


def test_iterates_and_contains_all() -> None:
    group = {to_queue("x", "q"), to_queue("y", "q"), Binding("x", "y", False, "")}
    bindings = held(*group)
    assert set(bindings) == group
    assert len(list(bindings)) == 3
    assert to_queue("x", "q") in bindings
    assert to_queue("x", "r") not in bindings
    assert with_argument(Field("I", 1)) not in bindings


def test_nothing_is_left_behind() -> None:
    # Names come and go for years (server-named queues): empty groups must not stay.
    bindings = Bindings()
    for number in range(10):
        bindings.add(to_queue("x", f"q{number}"))
        bindings.remove(to_queue("x", f"q{number}"))
    assert (bindings._by_source, bindings._by_destination, bindings._by_pair) == ({}, {}, {})
