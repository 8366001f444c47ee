"""What ``python -m tests.bench`` found out, run by run: a small file each, kept beside the source.

A file holds medians and what they lie between; every single figure is in what ``--json`` writes, which is not kept.
"""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.results import (
    CONFIRM_BEYOND_DISK,
    CONNECTION_CPU,
    CPU,
    DISK_COMMIT,
    DRAIN_CPU,
    FILL_CPU,
    Results,
    Spread,
)

DIRECTORY: Final = Path(__file__).parent / "history"
FIGURES: Final = (
    CPU,
    FILL_CPU,
    DRAIN_CPU,
    CONNECTION_CPU,
    "publish_rate",
    "consume_rate",
    "connection_rate",
    "latency_us.p50",
    "latency_us.p99",
    "confirm_latency_us.p50",
    "confirm_latency_us.p99",
    f"{DISK_COMMIT}.p50",
    CONFIRM_BEYOND_DISK,
    "broker_rss_mb",
    "kb_per_connection",
    "other_cpus",
)
LIFE: Final = ("ready_ms", "stop_s", "idle_rss_mb", "kb_per_connection")
SIGNIFICANT: Final = 4  # digits: more than any figure is good to


@dataclass(frozen=True, slots=True)
class Entry:
    """One run of the benchmark.

    ``scenarios`` holds [median, least, most] by scenario, peer and figure; the median alone where no more is known.
    """

    at: str
    machine: dict[str, str]
    command: str
    versions: dict[str, str]
    life: dict[str, dict[str, float]]
    scenarios: dict[str, dict[str, dict[str, list[float]]]]

    def median(self, scenario: str, peer: str, figure: str) -> float | None:
        """None where it was not measured."""
        values = self.scenarios.get(scenario, {}).get(peer, {}).get(figure)
        return values[0] if values else None


def add(results: Results, directory: Path) -> Path | None:
    """The new file, named after its time and commit; None where nothing was measured."""
    entry = of(results, time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()))
    if not entry.scenarios:
        return None
    directory.mkdir(exist_ok=True)
    commit = entry.machine.get("commit", "").replace(" with uncommitted changes", "+").replace(" ", "-")
    path = directory / f"{entry.at[:16].replace(':', '')}-{commit}.json"
    path.write_text("\n".join(_lines(entry)) + "\n")
    return path


def load(directory: Path) -> list[Entry]:
    """The oldest first."""
    entries = [Entry(**json.loads(path.read_text())) for path in directory.glob("*.json")]
    return sorted(entries, key=lambda entry: entry.at)


def of(results: Results, at: str) -> Entry:
    """What is kept of these results."""
    lives: dict[str, dict[str, float]] = {}
    for peer in results.versions:
        known = {name: results.life(peer, name) for name in LIFE}
        lives[peer] = {name: _short(value) for name, value in known.items() if value is not None}
    scenarios: dict[str, dict[str, dict[str, list[float]]]] = {}
    for name in dict.fromkeys(run.scenario for run in results.runs):
        for peer in results.versions:
            summary = results.summary(peer, name)
            spreads = {figure: spread for figure in FIGURES if (spread := summary.spread(figure))}
            if spreads:
                kept = {figure: _three(spread) for figure, spread in spreads.items()}
                scenarios.setdefault(name, {})[peer] = kept
    return Entry(at, results.machine, results.command, results.versions, lives, scenarios)


def _three(spread: Spread) -> list[float]:
    return [_short(spread.median), _short(spread.least), _short(spread.most)]


def _short(value: float) -> float:
    return float(f"{value:.{SIGNIFICANT}g}")


def _lines(entry: Entry) -> Iterator[str]:
    """A line for each scenario and peer, so that a difference can be read."""
    yield "{"
    for name in ("at", "machine", "command", "versions", "life"):
        yield f" {json.dumps(name)}: {json.dumps(getattr(entry, name))},"
    yield ' "scenarios": {'
    scenarios: list[tuple[str, dict[str, Any]]] = list(entry.scenarios.items())
    for number, (scenario, peers) in enumerate(scenarios, 1):
        figures = ",\n".join(f"   {json.dumps(peer)}: {json.dumps(known)}" for peer, known in peers.items())
        yield f"  {json.dumps(scenario)}: {{\n{figures}\n  }}{',' if number < len(scenarios) else ''}"
    yield " }\n}"
