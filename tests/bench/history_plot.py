"""The history as a picture: a panel a scenario, how many times amqpd's CPU RabbitMQ takes, run by run.

A ratio, since runs may be of different machines; RabbitMQ is measured in each of them.
"""

from pathlib import Path
from typing import Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from tests.bench import report
from tests.bench.history import Entry
from tests.bench.peers import COMPILED, PURE, RABBITMQ
from tests.bench.plots import DOTS_PER_INCH, GREY, STYLES, WIDTH
from tests.bench.results import CPU
from tests.bench.scenarios import SCENARIOS

COLUMNS: Final = 5
PANEL_INCHES: Final = (2.2, 1.6)
LEGEND_INCHES: Final = 0.7
ENTRIES_MAX: Final = 12  # the newest
LABELS_MAX: Final = 4  # at an axis
PEERS: Final = (COMPILED, PURE)
ROOM: Final = 1.6  # above and below, as a factor


def drawable(entries: list[Entry]) -> list[Entry]:
    """Those in which both were measured; the newest."""
    return [entry for entry in entries if any(_panels([entry]))][-ENTRIES_MAX:]


def draw(entries: list[Entry], path: Path) -> None:
    """The runs from left to right; each panel has a scale of its own, of powers of ten."""
    matplotlib.use("Agg")
    entries = drawable(entries)
    panels = _panels(entries)
    rows = max(1, -(-len(panels) // COLUMNS))
    size = (COLUMNS * PANEL_INCHES[0], rows * PANEL_INCHES[1] + LEGEND_INCHES)
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    all_axes: list[Axes] = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for axes, (scenario, what, name) in zip(all_axes, panels, strict=False):
        _panel(axes, entries, scenario, name)
        axes.set_title(f"{scenario}, {what}" if what else scenario, fontsize=8.5, loc="left", fontweight="bold")
    for axes in all_axes[len(panels) :]:
        axes.set_axis_off()
    labels = {COMPILED: "RabbitMQ / amqpd, compiled", PURE: "RabbitMQ / amqpd, pure Python"}
    lines = [Line2D([], [], color=STYLES[peer][0], marker=STYLES[peer][1], label=labels[peer]) for peer in PEERS]
    figure.legend(handles=lines, loc="outside lower center", ncols=2, frameon=False, fontsize=9, labelcolor=GREY)
    figure.suptitle("How many times amqpd's CPU RabbitMQ takes, by commit (more is better)", fontsize=11)
    figure.savefig(path)


def _panels(entries: list[Entry]) -> list[tuple[str, str, str]]:
    return [
        (scenario, what, name)
        for scenario in SCENARIOS
        for what, name in report.COMPARED.get(scenario, {"": CPU}).items()
        if any(_ratio(entry, scenario, peer, name) for entry in entries for peer in PEERS)
    ]


def _ratio(entry: Entry, scenario: str, peer: str, name: str) -> float | None:
    theirs, ours = entry.median(scenario, RABBITMQ, name), entry.median(scenario, peer, name)
    return theirs / ours if theirs and ours else None


def _panel(axes: Axes, entries: list[Entry], scenario: str, name: str) -> None:
    drawn: list[float] = []
    for peer in PEERS:
        points = [
            (place, ratio)
            for place, entry in enumerate(entries)
            if (ratio := _ratio(entry, scenario, peer, name)) is not None
        ]
        colour, mark = STYLES[peer]
        places, ratios = [place for place, _ in points], [ratio for _, ratio in points]
        axes.plot(places, ratios, marker=mark, markersize=4, color=colour, linewidth=WIDTH)
        if points:
            axes.annotate(
                report.number(ratios[-1]),
                points[-1],
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=7,
                color=colour,
            )
        drawn += ratios
    axes.set_yscale("log")
    axes.set_ylim(min(drawn) / ROOM, max(drawn) * ROOM)
    axes.set_xlim(-0.4, len(entries) - 1 + 0.2 * len(entries) + 0.4)
    step = -(-len(entries) // LABELS_MAX)
    marked = range(len(entries) - 1, -1, -step)
    axes.set_xticks(marked, [entries[place].machine["commit"][:7] for place in marked])
    axes.yaxis.set_major_locator(FixedLocator([1, 3, 10, 30, 100, 300, 1000]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g} x"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=7)
    axes.grid(which="major", axis="y", color="#e5e5e5", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
