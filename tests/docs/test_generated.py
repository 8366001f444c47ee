"""The tables made of the code are up to date."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from amqpd import limits
from tests.docs.generated import GENERATED, find_block, limits_table
from tests.docs.pages import PAGES, name_of, prose


@pytest.mark.parametrize(("page", "name", "make"), GENERATED, ids=[name for _, name, _ in GENERATED])
def test_generated_block(page: Path, name: str, make: Callable[[], str]) -> None:
    assert find_block(page, name)["text"] == make(), "run `python -m tests.docs.generated`"


def test_limits_table_has_the_values_that_run() -> None:
    rows = [row.split("|") for row in limits_table().splitlines()[2:]]
    shown = {row[1].strip(" `"): row[2].strip() for row in rows}
    assert shown == {name: f"{value:,}" for name, value in vars(limits).items() if name.isupper()}


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_limits_that_pages_name_exist(page: Path) -> None:
    named = re.findall(r"`([A-Z]+(?:_[A-Z]+)*_(?:BYTES|MAX|AHEAD|DELIVERIES|S))`", prose(page))
    assert [name for name in named if not hasattr(limits, name) and not name.startswith("AMQPD_")] == []
