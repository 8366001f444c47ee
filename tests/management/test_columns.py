import pytest

from amqpd.management.columns import Columns, listing
from amqpd.management.requests import Misused, Request

COLUMNS: Columns[int] = {"value": lambda value: value, "twice": lambda value: 2 * value}


def test_the_columns_that_were_asked_for_in_that_order() -> None:
    found = listing(Request({"columns": ["twice", "value", "twice"]}), COLUMNS, ["value"], [1, 2])
    assert found.columns == ["twice", "value", "twice"]
    assert list(found.rows) == [[2, 1, 2], [4, 2, 4]]


def test_the_usual_ones() -> None:
    found = listing(Request({}), COLUMNS, ["value"], [1])
    assert (found.columns, list(found.rows)) == (["value"], [[1]])


def test_rows_are_made_as_they_are_read() -> None:
    seen: list[int] = []
    found = listing(Request({}), {"value": seen.append}, ["value"], [1, 2, 3])
    next(found.rows)
    assert seen == [1]


def test_one_that_is_not_there() -> None:
    with pytest.raises(Misused, match=r"^there is no column valu; did you mean value\?$"):
        listing(Request({"columns": ["valu"]}), COLUMNS, ["value"], [])
    with pytest.raises(Misused, match=r"^there is no column x; there are twice, value$"):
        listing(Request({"columns": ["x"]}), COLUMNS, ["value"], [])
