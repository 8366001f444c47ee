"""What clients and brokers made of the scenarios: as a table on a terminal, as docs/interop.md, as JSON.

The JSON is what is kept: a run of some clients replaces their rows, and the page is written from all there are.
"""

from __future__ import annotations

import datetime
import functools
import itertools
import json
import platform
import subprocess
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, TypeAlias

from interop.brokers import ROOT, Amqpd, RabbitMQ
from interop.client import Client
from interop.drive import FAILED, LACKED, PASSED, Cell

Kept: TypeAlias = dict[str, Any]  # a row as the JSON has it

SCENARIOS: dict[str, str] = tomllib.loads((Path(__file__).parent / "scenarios.toml").read_text(encoding="utf-8"))
ROWS, CAMPAIGNS = "interop.json", "interop-campaigns.json"
COLUMNS_MAX: Final = 6
SIGNS: Final = {PASSED: "yes", FAILED: "**no**", LACKED: "-"}
HEAD: Final = """# Interop

Real clients in their own languages, against amqpd and against RabbitMQ, each through the same scenarios. This page is
written by the command; nobody edits it.

```
python -m interop.run
```

The first table counts the scenarios that passed, of those that the client can do at all. The others say what became of
each: `yes`: every assertion held, on both brokers. `-`: the client cannot do that. **no**: it failed. Where amqpd and
RabbitMQ differ, a cell says both: amqpd / RabbitMQ. Below each table is why. What a driver does for a scenario is in
`interop/clients/`, a folder a client; how to add one is in `interop/README.md`.
"""
NO_TLS: Final = "TLS is not among them: amqpd has no listener for it yet, so no client is asked to."
CAMPAIGN_HEAD: Final = """
## Celery's worker, killed again and again

Tasks are sent with publisher confirms and done by a prefork worker that acks late, queues on disk. On the way the
worker and its pool are killed with SIGKILL, and started again. Every task has to be done at least once.

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


def count(cells: Iterable[Cell]) -> str:
    """How many passed, what their client lacks, how many failed."""
    outcomes = [cell.outcome for cell in cells]
    return f"{outcomes.count(PASSED)} passed, {outcomes.count(LACKED)} lacked, {outcomes.count(FAILED)} failed"


def is_good(rows: Sequence[Row]) -> bool:
    """Whether anything was run at all, and nothing failed but on RabbitMQ."""
    cells = [cell for row in rows for by_scenario in row.cells.values() for cell in by_scenario.values()]
    return bool(cells) and all(cell.outcome != FAILED or cell.broker == RabbitMQ.name for cell in cells)


def as_text(rows: Sequence[Row], scenarios: Sequence[str]) -> str:
    """A line a client and broker: how many passed, and what did not."""
    lines = []
    for row in rows:
        if row.not_run:
            lines.append(f"{row.name:26} not run: {row.not_run}")
        for broker, cells in row.cells.items():
            failed = [scenario for scenario in scenarios if scenario in cells and cells[scenario].outcome == FAILED]
            if cells:
                counts = count(cells.values())
                lines.append(f"{row.name:26} {row.version:12} {broker:9} {counts} {' '.join(failed)}".rstrip())
    return "\n".join(lines)


def write(rows: Sequence[Row], directory: Path) -> None:
    """The JSON and the page; rows of clients that were not asked for are kept as they were."""
    run_on = describe_run()
    new = [row.kept(run_on) for row in rows]
    asked_for = {row["client"] for row in new}
    merged = [*new, *(row for row in _read(directory / ROWS) if row["client"] not in asked_for)]
    merged.sort(key=lambda row: (row["language"] != "Python", row["language"], row["client"].lower()))
    _write(merged, directory / ROWS)
    write_page(directory)


def write_campaign(command: str, outcome: str, directory: Path) -> None:
    """The same for a campaign: what the command came to, now."""
    campaigns = [each for each in _read(directory / CAMPAIGNS) if each["command"] != command]
    _write([*campaigns, {"command": command, "outcome": outcome, "run_on": describe_run()}], directory / CAMPAIGNS)
    write_page(directory)


def write_page(directory: Path) -> None:
    """docs/interop.md, from what is kept."""
    text = page(_read(directory / ROWS), SCENARIOS, _read(directory / CAMPAIGNS))
    (directory / "interop.md").write_text(text, encoding="utf-8")


def _read(path: Path) -> list[Kept]:
    return list(json.loads(path.read_text(encoding="utf-8"))) if path.exists() else []


def _write(kept: list[Kept], path: Path) -> None:
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def page(rows: Sequence[Kept], scenarios: Mapping[str, str], campaigns: Sequence[Kept] = ()) -> str:
    """docs/interop.md."""
    run = [row for row in rows if not row["not_run"]]
    parts = [HEAD, f"\n## All clients\n\n{_overview(rows)}\n"]
    for language in dict.fromkeys(row["language"] for row in run):
        parts.append(f"\n## {language}\n")
        for some in _side_by_side([row for row in run if row["language"] == language]):
            notes: list[str] = []
            parts.append(f"\n{_table(some, scenarios, notes)}\n")
            parts += [f"\n{number}. {note}" for number, note in enumerate(notes, 1)] + ["\n"] * bool(notes)
    lines = "\n".join(f"* `{name}`: {what}" for name, what in scenarios.items())
    parts.append(f"\n## The scenarios\n\n{lines}\n\n{NO_TLS}\n")
    if campaigns:
        parts += [
            CAMPAIGN_HEAD,
            *(f"* `{each['command']}`: {each['outcome']} ({each['run_on']})\n" for each in campaigns),
        ]
    parts.append("\n## Run on\n\n")
    for when in dict.fromkeys(row["run_on"] for row in run):
        names = ", ".join(row["name"] for row in run if row["run_on"] == when)
        parts.append(f"* {when}: {names}\n")
    return "".join(parts)


@functools.cache
def describe_run() -> str:
    """When, which commit, beside which RabbitMQ, on what."""
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    rabbitmq = RabbitMQ()
    facts = [
        str(datetime.datetime.now(tz=datetime.UTC).date()),
        f"commit {described.stdout.strip() or 'unknown'}",
        f"RabbitMQ {rabbitmq.version() if rabbitmq.is_installed() else 'not installed'}",
        f"{platform.system()} {platform.release()}",
        f"Python {platform.python_version()}",
    ]
    return ", ".join(facts)


def _overview(rows: Sequence[Kept]) -> str:
    """A line a client: how much of what it can do it could do."""
    lines = ["| Language | Client | Version | amqpd | RabbitMQ | Cannot |", "|-|-|-|-|-|-|"]
    for row in rows:
        lacked = {name for cells in row["cells"].values() for name, cell in cells.items() if cell["outcome"] == LACKED}
        what = [_share(row, broker) for broker in (Amqpd.name, RabbitMQ.name)] + [str(len(lacked) or "")]
        if row["not_run"]:
            what = [f"not run: {row['not_run']}", "not run", ""]
        lines.append("| " + " | ".join([row["language"], row["name"], row["version"], *what]) + " |")
    return "\n".join(lines)


def _share(row: Kept, broker: str) -> str:
    outcomes = [cell["outcome"] for cell in row["cells"].get(broker, {}).values()]
    return f"{outcomes.count(PASSED)} of {len(outcomes) - outcomes.count(LACKED)}" if outcomes else "not run"


def _side_by_side(rows: Sequence[Kept]) -> Iterator[list[Kept]]:
    """As many as fit on a page; a client's variants stay together."""
    some: list[Kept] = []
    for _, group in itertools.groupby(rows, key=lambda row: row["client"]):
        variants = list(group)
        if some and len(some) + len(variants) > COLUMNS_MAX:
            yield some
            some = []
        some += variants
    yield some


def _table(rows: Sequence[Kept], scenarios: Mapping[str, str], notes: list[str]) -> str:
    """Scenarios down, clients across: there are more of the former."""
    heads = [f"{row['name']} {row['version']}".strip() for row in rows]
    lines = ["| | " + " | ".join(heads) + " |", "|-|" + "-|" * len(rows)]
    for scenario in scenarios:
        lines.append(f"| `{scenario}` | " + " | ".join(_cell(row, scenario, notes) for row in rows) + " |")
    return "\n".join(lines)


def _cell(row: Kept, scenario: str, notes: list[str]) -> str:
    """The sign, or both brokers' where they differ, and the numbers of the notes that say why."""
    cells = [by_scenario[scenario] for by_scenario in row["cells"].values() if scenario in by_scenario]
    signs = [SIGNS[cell["outcome"]] for cell in cells]
    shown = signs[0] if len(set(signs)) == 1 else " / ".join(signs)
    whys = dict.fromkeys(_why(row, scenario, cell) for cell in cells if cell["outcome"] != PASSED)
    notes += [why for why in whys if why not in notes]
    numbers = ", ".join(str(notes.index(why) + 1) for why in whys)
    return f"{shown} ({numbers})" if numbers else shown or "not run"


def _why(row: Kept, scenario: str, cell: Kept) -> str:
    reason = cell["lines"][-1] if cell["lines"] else "it said nothing"
    if cell["outcome"] == LACKED:
        names_it = reason.startswith((f"{row['client']} ", f"{row['client']}'s "))
        return reason if names_it else f"{row['client']}: {reason}"
    return f"{row['name']}, `{scenario}` on {cell['broker']}: {reason}"
