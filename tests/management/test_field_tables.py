from typing import Any

import pytest

from amqpd.broker.fields import Field, Table
from amqpd.management.field_tables import NoField, from_json, to_json

VALUES: dict[str, Any] = {
    "text": "ü",
    "number": -3,
    "fraction": 1.5,
    "yes": True,
    "nothing": None,
    "list": [1, "a", [False]],
    "table": {"a": {"b": 2}},
}


def test_json_comes_back_as_it_was() -> None:
    assert to_json(from_json(VALUES)) == VALUES


def test_types_of_the_wire() -> None:
    table = from_json(VALUES)
    assert [table[name].kind for name in VALUES] == ["S", "l", "d", "t", "V", "A", "F"]


def test_what_json_has_no_type_for() -> None:
    table: Table = {"time": Field("T", 1), "bytes": Field("x", b"a\xff"), "decimal": Field("D", (2, 125))}
    assert to_json(table) == {"time": 1, "bytes": "a\udcff", "decimal": 1.25}


def test_texts_that_the_wire_does_not_have() -> None:
    with pytest.raises(NoField, match=r"^'.ud800' is no Unicode text$"):
        from_json({"a": ["\ud800"]})
    with pytest.raises(NoField, match=r"^the name 'x+' is longer than 255 bytes$"):
        from_json({"a": {"x" * 256: 1}})


def test_a_number_that_is_too_large() -> None:
    assert from_json({"n": 2**63 - 1})["n"] == Field("l", 2**63 - 1)
    with pytest.raises(NoField, match=r"^9223372036854775808 is too large for an argument$"):
        from_json({"a": [{"n": 2**63}]})
