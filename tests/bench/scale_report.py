"""The figures of scale as Markdown: a row for each cost and broker, a column for few, more and many."""

from dataclasses import dataclass, field
from typing import Final

from tests.bench import programs
from tests.bench.peers import COMPILED
from tests.bench.report import number, table

IDLE: Final = "idle connections"
ACTIVE: Final = "active connections"
QUEUES: Final = "active queues"
BINDINGS: Final = "bindings of a topic exchange"
CHANNELS: Final = "channels of a connection"
FANOUT: Final = "queues of a fanout exchange"
CHURN: Final = "connections, one after another"

FLAT_TO: Final = 1.5  # times what it costs where there are few


@dataclass(frozen=True, slots=True)
class Run:
    """So many of one kind; ``message`` says what failed, if anything did."""

    peer: str
    kind: str
    count: int
    message: str = ""
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cost:
    """A figure of a kind, in words; ``short`` is for a picture."""

    kind: str
    figure: str
    what: str
    short: str
    unit: str = "us"


COSTS: Final = (
    Cost(IDLE, "kb", "memory of each", "memory of a connection, KB", "KB"),
    Cost(IDLE, "opened_us", "CPU to open each", "CPU to open a connection, us"),
    Cost(IDLE, "minute_us", "CPU of each in a minute, heartbeat 10 s", "a minute of an idle connection, us"),
    Cost(CHURN, "churned_us", "CPU to open and close each", "CPU of connections in turn, us"),
    Cost(ACTIVE, "message_us", "CPU a message", "a message, by active connections, us"),
    Cost(CHANNELS, "kb", "memory of each", "memory of a channel, KB", "KB"),
    Cost(CHANNELS, "opened_us", "CPU to open each", "CPU to open a channel, us"),
    Cost(CHANNELS, "message_us", "CPU a message", "a message, by active channels, us"),
    Cost(QUEUES, "message_us", "CPU a message", "a message, by active queues, us"),
    Cost(BINDINGS, "message_us", "CPU a message", "a message, by bindings (topic), us"),
    Cost(FANOUT, "message_us", "CPU a delivery", "a delivery, by queues of a fanout, us"),
)


def series(runs: list[Run], cost: Cost, peer: str) -> list[tuple[int, float]]:
    """How many there were, and what each cost; not where the broker gave back more memory than they took."""
    return [
        (run.count, run.figures[cost.figure])
        for run in runs
        if (run.kind, run.peer) == (cost.kind, peer) and run.figures.get(cost.figure, 0.0) > 0
    ]


def growth(points: list[tuple[int, float]]) -> float | None:
    """The cost where there are most, by that where there are fewest."""
    if len(points) < 2:
        return None
    return points[-1][1] / points[0][1]


def render(facts: programs.Facts, runs: list[Run], picture: str) -> str:
    shown = f"![What one more costs, by how many there are]({picture})\n\n" if picture else ""
    failures = [f"* {run.peer}, {run.count:,} {run.kind}: {run.message}" for run in runs if run.message]
    failed = "\n\nFailed:\n\n" + "\n".join(failures) if failures else ""
    return f"{shown}{_table(runs)}{failed}\n\n{programs.describe(facts)}\n"


def in_short(run: Run) -> str:
    """For the one who waits."""
    costs = (cost for cost in COSTS if cost.kind == run.kind and cost.figure in run.figures)
    return ", ".join(f"{cost.what} {number(run.figures[cost.figure])} {cost.unit}" for cost in costs)


def _table(runs: list[Run]) -> str:
    peers = list(dict.fromkeys(run.peer for run in runs))
    rows = []
    for cost in COSTS:
        counts = sorted({run.count for run in runs if run.kind == cost.kind})
        title = f"**{cost.kind}**, {', '.join(f'{count:,}' for count in counts)}: {cost.what}, {cost.unit}"
        for peer in peers:
            points = series(runs, cost, peer)
            if points:
                known = dict(points)
                cells = [number(known.get(count)) for count in counts]
                rows.append([title, peer, *cells, *[""] * (3 - len(cells)), *_judged(points, peer)])
                title = ""
    return table("what of each, of the broker|peer|few|more|many|many / few|flat?", "l l r r r r l", rows)


def _judged(points: list[tuple[int, float]], peer: str) -> list[str]:
    times = growth(points)
    if times is None:
        return ["", ""]
    verdict = "flat" if times <= FLAT_TO else "**grows**"
    return [f"{number(times)} x", verdict if peer == COMPILED else ""]
