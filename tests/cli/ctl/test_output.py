import csv
import io
import json
from typing import Any

import pytest

from amqpd.cli.ctl.output import cell, lines

COLUMNS = ["name", "n", "arguments"]
ROWS: list[list[Any]] = [["a", 10, {"x": 1}], ["bcd", 9, {}], ['e,"f"', 0, {"y": "ü"}]]


def shown(form: str, rows: list[list[Any]] = ROWS, *, headers: bool = True, aligned: bool = False) -> list[str]:
    return list(lines(form, COLUMNS, iter(rows), headers=headers, aligned=aligned))


def test_a_table_for_scripts_has_tabs_as_rabbitmqctl() -> None:
    assert shown("table")[:2] == ["name\tn\targuments", 'a\t10\t{"x":1}']
    assert shown("table", headers=False)[0] == 'a\t10\t{"x":1}'
    assert shown("table", []) == ["name\tn\targuments"]


def test_a_table_for_people_is_aligned_numbers_to_the_right() -> None:
    assert shown("table", aligned=True) == [
        "name    n  arguments",
        'a      10  {"x":1}',
        "bcd     9  {}",
        'e,"f"   0  {"y":"ü"}',
    ]
    assert shown("table", headers=False, aligned=True)[1] == "bcd     9  {}"
    assert shown("table", [], headers=False, aligned=True) == []


def test_json_is_an_array_with_an_object_a_line() -> None:
    text = shown("json")
    assert len(text) == len(ROWS) + 2
    assert json.loads("\n".join(text)) == [dict(zip(COLUMNS, row, strict=True)) for row in ROWS]
    assert json.loads("\n".join(shown("json", []))) == []


def test_csv_quotes_everything_as_rabbitmqctl() -> None:
    text = shown("csv")
    assert text[:2] == ['"name","n","arguments"', '"a","10","{""x"":1}"']
    assert list(csv.reader(io.StringIO("\n".join(text))))[3] == ['e,"f"', "0", '{"y":"ü"}']
    assert shown("csv", headers=False)[0].startswith('"a"')


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain ü", "plain ü"),
        ("", ""),
        (None, ""),
        (True, "true"),
        (False, "false"),
        (1.5, "1.5"),
        (["a", "b"], "[a, b]"),
        ([], "[]"),
        ([1, "a"], '[1,"a"]'),
        ({"a": [1]}, '{"a":[1]}'),
    ],
)
def test_cells(value: Any, text: str) -> None:
    assert cell(value) == text


@pytest.mark.parametrize(
    ("hostile", "text"),
    [("a\tb", "a\\tb"), ("a\nb", "a\\nb"), ("\x1b[2J", "\\x1b[2J"), ("\udcff", "\\udcff"), ("\u202eb", "\\u202eb")],
)
def test_no_name_can_play_tricks_on_a_terminal_or_a_script(hostile: str, text: str) -> None:
    assert cell(hostile) == text
    assert cell([hostile]) == f"[{text}]"
    assert all(letter.isprintable() for letter in cell({hostile: [hostile]}))
