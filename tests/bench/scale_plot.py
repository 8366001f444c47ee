"""The figures of scale as a picture: a panel a cost, a line a broker. A line that does not rise is what is wanted."""

from pathlib import Path
from typing import Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from tests.bench import report
from tests.bench.plots import DOTS_PER_INCH, GREY, NAMES, OTHER_STYLE, STYLES, WIDTH
from tests.bench.scale_report import COSTS, Cost, Run, series

COLUMNS: Final = 4
PANEL_INCHES: Final = (2.75, 2.1)
LEGEND_INCHES: Final = 0.6
ROOM: Final = 3.0  # above and below the lines, as a factor


def draw(runs: list[Run], path: Path) -> None:
    """All costs that were measured, on scales of powers of ten."""
    matplotlib.use("Agg")
    measured = [cost for cost in COSTS if any(run.kind == cost.kind and cost.figure in run.figures for run in runs)]
    peers = list(dict.fromkeys(run.peer for run in runs))
    rows = max(1, -(-len(measured) // COLUMNS))
    size = (COLUMNS * PANEL_INCHES[0], rows * PANEL_INCHES[1] + LEGEND_INCHES)
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    panels: list[Axes] = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    for axes, cost in zip(panels, measured, strict=False):
        _panel(axes, runs, cost, peers)
    for axes in panels[len(measured) :]:
        axes.set_axis_off()
    lines = [
        Line2D([], [], color=_style(peer)[0], marker=_style(peer)[1], label=NAMES.get(peer, peer)) for peer in peers
    ]
    figure.legend(handles=lines, loc="outside lower center", ncols=3, frameon=False, fontsize=9, labelcolor=GREY)
    figure.suptitle("What one more costs the broker, by how many there are", fontsize=11)
    figure.savefig(path)


def _panel(axes: Axes, runs: list[Run], cost: Cost, peers: list[str]) -> None:
    drawn: list[tuple[int, float]] = []
    for peer in peers:
        points = series(runs, cost, peer)
        colour, mark = _style(peer)
        axes.plot(*_unzipped(points), marker=mark, markersize=4, color=colour, linewidth=WIDTH)
        for count, value in points:
            axes.annotate(
                report.number(value),
                (count, value),
                xytext=(0, 5),
                textcoords="offset points",
                ha="center",
                fontsize=7,
                color=colour,
            )
        drawn += points
    axes.set_xscale("log")
    axes.set_yscale("log")
    if drawn:
        axes.set_ylim(min(value for _, value in drawn) / ROOM, max(value for _, value in drawn) * ROOM)
        counts = sorted({count for count, _ in drawn})
        axes.set_xlim(counts[0] / 2, counts[-1] * 2)
        axes.set_xticks(counts)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(labelsize=7)
    axes.grid(which="major", color="#e5e5e5", linewidth=0.6)
    axes.spines[["top", "right"]].set_visible(False)
    axes.set_title(cost.short, fontsize=8.5, loc="left")


def _unzipped(points: list[tuple[int, float]]) -> tuple[list[int], list[float]]:
    return [count for count, _ in points], [value for _, value in points]


def _style(peer: str) -> tuple[str, str]:
    return STYLES.get(peer, OTHER_STYLE)
