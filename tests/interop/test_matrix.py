"""The matrix: a line a client, the page, and rows that are kept from the run before."""

import json
import shutil
from pathlib import Path

import pytest

from interop import matrix
from interop.brokers import ROOT
from interop.client import Client
from interop.drive import FAILED, LACKED, PASSED, Cell
from interop.matrix import Row

SCENARIOS = {"connect": "a clean close", "tx": "commit and rollback"}


def row(name: str, language: str = "C", variant: str = "", **outcomes: str) -> Row:
    """Outcomes of tx by broker; connect passes."""
    cells = {
        broker: {"connect": Cell(broker, PASSED, 0.1), "tx": Cell(broker, outcome, 0.1, ("first", f"{name} says why"))}
        for broker, outcome in outcomes.items()
    }
    return Row(Client(name, language, Path(), []), variant, "1.2", "" if cells else "needs a tool", cells)


def test_a_line_a_client_and_broker() -> None:
    text = matrix.as_text([row("a", amqpd=FAILED, rabbitmq=PASSED), row("b", variant="v")], list(SCENARIOS))
    lines = [line.split() for line in text.splitlines()]
    assert lines == [
        "a 1.2 amqpd 1 passed, 0 lacked, 1 failed tx".split(),
        "a 1.2 rabbitmq 2 passed, 0 lacked, 0 failed".split(),
        "b/v not run: needs a tool".split(),
    ]


def test_an_overview_then_a_table_a_language_with_its_reasons() -> None:
    rows = [row("a", amqpd=FAILED, rabbitmq=PASSED), row("b", amqpd=LACKED, rabbitmq=LACKED), row("c")]
    page = matrix.page([each.kept("today") for each in rows], SCENARIOS)
    assert "| C | a | 1.2 | 1 of 2 | 2 of 2 |  |\n" in page
    assert "| C | b | 1.2 | 1 of 1 | 1 of 1 | 1 |\n" in page
    assert "| C | c | 1.2 | not run: needs a tool | not run |  |\n" in page
    assert "| | a 1.2 | b 1.2 |" in page
    assert "| `connect` | yes | yes |" in page
    assert "| `tx` | **no** / yes (1) | - (2) |\n\n1. a, `tx` on amqpd: a says why\n2. b says why\n" in page


def test_each_reason_is_given_once() -> None:
    kept = row("a", amqpd=LACKED, rabbitmq=LACKED).kept("today")
    kept["cells"]["rabbitmq"]["tx"]["lines"] = ["another reason"]
    page = matrix.page([kept, row("a", variant="new", amqpd=LACKED).kept("today")], SCENARIOS)
    assert "| `tx` | - (1, 2) | - (1) |\n\n1. a says why\n2. a: another reason\n\n##" in page


def test_variants_of_a_client_stay_side_by_side() -> None:
    rows = [row(name, variant=variant, amqpd=PASSED).kept("today") for name in "abc" for variant in "123"]
    page = matrix.page(rows, SCENARIOS)
    assert "| | a/1 1.2 | a/2 1.2 | a/3 1.2 | b/1 1.2 | b/2 1.2 | b/3 1.2 |\n" in page
    assert "| | c/1 1.2 | c/2 1.2 | c/3 1.2 |\n" in page


def test_a_campaign_takes_the_place_of_the_one_before(tmp_path: Path) -> None:
    for outcome in ("3 missing", "0 missing"):
        matrix.write_campaign("python -m a", outcome, tmp_path)
    matrix.write_campaign("python -m b", "9 missing", tmp_path)
    lines = [line for line in (tmp_path / "interop.md").read_text().splitlines() if "missing" in line]
    assert [line.partition(" (")[0] for line in lines] == ["* `python -m a`: 0 missing", "* `python -m b`: 9 missing"]


def test_the_page_is_what_the_runs_came_to(tmp_path: Path) -> None:
    for name in (matrix.ROWS, matrix.CAMPAIGNS):
        shutil.copy(ROOT / "docs" / name, tmp_path)
    matrix.write_page(tmp_path)
    assert (ROOT / "docs" / "interop.md").read_text() == (tmp_path / "interop.md").read_text()


@pytest.mark.parametrize(
    ("outcomes", "is_good"),
    [({}, False), ({"amqpd": PASSED}, True), ({"amqpd": FAILED}, False), ({"amqpd": LACKED, "rabbitmq": FAILED}, True)],
)
def test_what_fails_on_amqpd_is_not_good(outcomes: dict[str, str], is_good: bool) -> None:
    assert matrix.is_good([row("a", **outcomes)]) == is_good


def test_clients_that_were_not_asked_for_stay(tmp_path: Path) -> None:
    matrix.write([row("a", amqpd=PASSED), row("b", "Python", amqpd=FAILED)], tmp_path)
    matrix.write([row("a", variant="old", amqpd=PASSED), row("a", variant="new", amqpd=PASSED)], tmp_path)
    kept = json.loads((tmp_path / "interop.json").read_text())
    assert [each["name"] for each in kept] == ["b", "a/old", "a/new"]
    assert kept[0]["cells"]["amqpd"]["tx"]["outcome"] == FAILED
    assert kept[1]["cells"]["amqpd"]["tx"]["seconds"] == 0.1
