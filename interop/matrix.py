"""What clients and brokers made of the scenarios: as a table on a terminal, as docs/interop.md, as JSON."""

from __future__ import annotations

import datetime
import json
import platform
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from interop.brokers import ROOT
from interop.client import Client
from interop.drive import FAILED, LACKED, PASSED, Cell

SIGNS: Final = {PASSED: "yes", FAILED: "**no**", LACKED: "-"}
HEAD: Final = """# Interop

Real clients in their own languages, against amqpd and against RabbitMQ, each through the same scenarios. This page is
written by the command; nobody edits it.

```
python -m interop.run
```

`yes`: every assertion of the scenario held. `-`: the client cannot do that; below the tables is why. `**no**`: it
failed. Where amqpd and RabbitMQ differ, a cell says both: amqpd / RabbitMQ. What a driver does for a scenario is in
`interop/clients/`, a folder a client; how to add one is in `interop/README.md`.
"""


@dataclass(slots=True)
class Row:
    """A client, or one of its variants; ``cells`` by broker and scenario."""

    client: Client
    variant: str
    version: str = ""
    not_run: str = ""
    cells: dict[str, dict[str, Cell]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.client.name}/{self.variant}" if self.variant else self.client.name


def as_text(rows: Sequence[Row], scenarios: Sequence[str]) -> str:
    """A line a client and broker: how many passed, and what did not."""
    lines = []
    for row in rows:
        if row.not_run:
            lines.append(f"{row.name:26} not run: {row.not_run}")
        for broker, cells in row.cells.items():
            outcomes = [cells[scenario].outcome for scenario in scenarios if scenario in cells]
            failed = [scenario for scenario in scenarios if scenario in cells and cells[scenario].outcome == FAILED]
            count = f"{outcomes.count(PASSED)} passed, {outcomes.count(LACKED)} lacked, {len(failed)} failed"
            lines.append(f"{row.name:26} {row.version:12} {broker:9} {count} {' '.join(failed)}".rstrip())
    return "\n".join(lines)


def write(rows: Sequence[Row], scenarios: Mapping[str, str], directory: Path) -> None:
    """The page and the JSON."""
    facts = _facts(rows)
    (directory / "interop.md").write_text(_page(rows, scenarios, facts), encoding="utf-8")
    (directory / "interop.json").write_text(json.dumps(_as_json(rows, facts), indent=1) + "\n", encoding="utf-8")


def _page(rows: Sequence[Row], scenarios: Mapping[str, str], facts: Mapping[str, str]) -> str:
    run = [row for row in rows if not row.not_run]
    notes: list[str] = []
    parts = [HEAD]
    for language in dict.fromkeys(row.client.language for row in run):
        of_it = [row for row in run if row.client.language == language]
        parts.append(f"\n## {language}\n\n{_table(of_it, scenarios, notes)}\n")
    parts.append("\n## The scenarios\n\n" + "\n".join(f"* `{name}`: {what}" for name, what in scenarios.items()) + "\n")
    if notes:
        lines = (f"{number}. {note}" for number, note in enumerate(notes, 1))
        parts.append("\n## What clients cannot do, and what failed\n\n" + "\n".join(lines) + "\n")
    not_run = [f"* {row.name}: {row.not_run}" for row in rows if row.not_run]
    if not_run:
        parts.append("\n## Not run\n\n" + "\n".join(not_run) + "\n")
    parts.append("\n## Run on\n\n" + "\n".join(f"* {name}: {value}" for name, value in facts.items()) + "\n")
    return "".join(parts)


def _table(rows: Sequence[Row], scenarios: Mapping[str, str], notes: list[str]) -> str:
    """Scenarios down, clients across: there are more of the former."""
    heads = [f"{row.name} {row.version}".strip() for row in rows]
    lines = ["| | " + " | ".join(heads) + " |", "|-|" + "-|" * len(rows)]
    for scenario in scenarios:
        lines.append(f"| `{scenario}` | " + " | ".join(_cell(row, scenario, notes) for row in rows) + " |")
    return "\n".join(lines)


def _cell(row: Row, scenario: str, notes: list[str]) -> str:
    cells = [by_name[scenario] for by_name in row.cells.values() if scenario in by_name]
    signs = [SIGNS[cell.outcome] for cell in cells]
    shown = signs[0] if len(set(signs)) == 1 else " / ".join(signs)
    for cell in cells:
        if cell.outcome != PASSED:
            note = f"{row.client.name}, {scenario}: {cell.lines[-1] if cell.lines else 'it said nothing'}"
            if note not in notes:
                notes.append(note)
            return f"{shown} ({notes.index(note) + 1})"
    return shown or "not run"


def _facts(rows: Sequence[Row]) -> dict[str, str]:
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    today = datetime.datetime.now(tz=datetime.UTC).date()
    brokers = sorted({broker for row in rows for broker in row.cells})
    return {
        "date": today.isoformat(),
        "commit": described.stdout.strip() or "unknown",
        "brokers": ", ".join(brokers),
        "system": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
    }


def _as_json(rows: Sequence[Row], facts: Mapping[str, str]) -> dict[str, Any]:
    return {"facts": dict(facts), "clients": list(_rows_as_json(rows))}


def _rows_as_json(rows: Sequence[Row]) -> Iterator[dict[str, Any]]:
    for row in rows:
        yield {
            "name": row.name,
            "language": row.client.language,
            "version": row.version,
            "not_run": row.not_run,
            "cells": [
                {"scenario": name, **asdict(cell)} for cells in row.cells.values() for name, cell in cells.items()
            ],
        }
