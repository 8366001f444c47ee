"""The matrix: a line a client, the page, and rows that are kept from the run before."""

import json
from pathlib import Path

from interop import matrix
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


def test_the_page_shows_what_differs_and_why(tmp_path: Path) -> None:
    rows = [row("a", amqpd=FAILED, rabbitmq=PASSED), row("b", amqpd=LACKED, rabbitmq=LACKED), row("c")]
    matrix.write(rows, SCENARIOS, tmp_path)
    page = (tmp_path / "interop.md").read_text()
    assert "| | a 1.2 | b 1.2 |" in page
    assert "| `connect` | yes | yes |" in page
    assert "| `tx` | **no** / yes (1) | - (2) |" in page
    assert "1. a, tx: a says why\n2. b, tx: b says why\n" in page
    assert "## Not run\n\n* c: needs a tool\n" in page


def test_clients_that_were_not_asked_for_stay(tmp_path: Path) -> None:
    matrix.write([row("a", amqpd=PASSED), row("b", "Python", amqpd=FAILED)], SCENARIOS, tmp_path)
    matrix.write([row("a", variant="old", amqpd=PASSED), row("a", variant="new", amqpd=PASSED)], SCENARIOS, tmp_path)
    kept = json.loads((tmp_path / "interop.json").read_text())
    assert [each["name"] for each in kept] == ["b", "a/old", "a/new"]
    assert kept[0]["cells"]["amqpd"]["tx"]["outcome"] == FAILED
    assert kept[1]["cells"]["amqpd"]["tx"]["seconds"] == 0.1
