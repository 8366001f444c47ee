"""What clients and brokers made of the scenarios: as a table on a terminal, as docs/interop.md, as JSON.

The JSON is what is kept: a run of some clients replaces their rows, and the page is written from all there are.
"""

from __future__ import annotations

import datetime
import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from interop.brokers import ROOT
from interop.client import Client
from interop.drive import FAILED, LACKED, PASSED, Cell

Kept: TypeAlias = dict[str, Any]  # a row as the JSON has it

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

    def kept(self, run_on: str) -> Kept:
        """As the JSON has it."""
        return {
            "name": self.name,
            "client": self.client.name,
            "language": self.client.language,
            "version": self.version,
            "not_run": self.not_run,
            "run_on": run_on,
            "cells": {
                broker: {scenario: asdict(cell) for scenario, cell in cells.items()}
                for broker, cells in self.cells.items()
            },
        }


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
    """The page and the JSON; rows of clients that were not asked for are kept as they were."""
    path = directory / "interop.json"
    run_on = describe_run()
    new = [row.kept(run_on) for row in rows]
    asked_for = {row["client"] for row in new}
    old = json.loads(path.read_text(encoding="utf-8")) if path.exists() else []
    merged = [*new, *(row for row in old if row["client"] not in asked_for)]
    merged.sort(key=lambda row: (row["language"] != "Python", row["language"], row["client"]))
    path.write_text(json.dumps(merged, indent=1) + "\n", encoding="utf-8")
    (directory / "interop.md").write_text(page(merged, scenarios), encoding="utf-8")


def page(rows: Sequence[Kept], scenarios: Mapping[str, str]) -> str:
    """docs/interop.md."""
    run = [row for row in rows if not row["not_run"]]
    notes: list[str] = []
    parts = [HEAD]
    for language in dict.fromkeys(row["language"] for row in run):
        of_it = [row for row in run if row["language"] == language]
        parts.append(f"\n## {language}\n\n{_table(of_it, scenarios, notes)}\n")
    parts.append("\n## The scenarios\n\n" + "\n".join(f"* `{name}`: {what}" for name, what in scenarios.items()) + "\n")
    if notes:
        lines = (f"{number}. {note}" for number, note in enumerate(notes, 1))
        parts.append("\n## What clients cannot do, and what failed\n\n" + "\n".join(lines) + "\n")
    not_run = [f"* {row['name']}: {row['not_run']}" for row in rows if row["not_run"]]
    if not_run:
        parts.append("\n## Not run\n\n" + "\n".join(not_run) + "\n")
    parts.append("\n## Run on\n\n")
    for when in dict.fromkeys(row["run_on"] for row in run):
        names = ", ".join(row["name"] for row in run if row["run_on"] == when)
        parts.append(f"* {when}: {names}\n")
    return "".join(parts)


def describe_run() -> str:
    """When, which commit, on what."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    today = datetime.datetime.now(tz=datetime.UTC).date()
    commit = described.stdout.strip() or "unknown"
    return f"{today}, commit {commit}, {platform.system()} {platform.release()}, Python {platform.python_version()}"


def _table(rows: Sequence[Kept], scenarios: Mapping[str, str], notes: list[str]) -> str:
    """Scenarios down, clients across: there are more of the former."""
    heads = [f"{row['name']} {row['version']}".strip() for row in rows]
    lines = ["| | " + " | ".join(heads) + " |", "|-|" + "-|" * len(rows)]
    for scenario in scenarios:
        lines.append(f"| `{scenario}` | " + " | ".join(_cell(row, scenario, notes) for row in rows) + " |")
    return "\n".join(lines)


def _cell(row: Kept, scenario: str, notes: list[str]) -> str:
    cells = [by_name[scenario] for by_name in row["cells"].values() if scenario in by_name]
    signs = [SIGNS[cell["outcome"]] for cell in cells]
    shown = signs[0] if len(set(signs)) == 1 else " / ".join(signs)
    for cell in cells:
        if cell["outcome"] != PASSED:
            note = f"{row['client']}, {scenario}: {cell['lines'][-1] if cell['lines'] else 'it said nothing'}"
            if note not in notes:
                notes.append(note)
            return f"{shown} ({notes.index(note) + 1})"
    return shown or "not run"
