"""What a message costs, as a picture: a panel a scenario, a bar a broker, the goal as a line."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from tests.bench import elsewhere, report
from tests.bench.elsewhere import Elsewhere
from tests.bench.goals import GOALS
from tests.bench.peers import COMPILED, PURE, RABBITMQ
from tests.bench.plots import DOTS_PER_INCH, GREY, STYLES
from tests.bench.results import Results

COLUMNS: Final = 4
PANEL_INCHES: Final = (2.75, 1.35)
LEGEND_INCHES: Final = 0.7
BARS: Final = (COMPILED, PURE, RABBITMQ)
ELSEWHERE: Final = "#999999"
ROOM: Final = 1.3  # to the right of the longest bar, for its figure
HEIGHT: Final = 0.72


def draw(results: Results, path: Path) -> None:
    """One picture of all scenarios; each panel has a scale of its own, from zero."""
    matplotlib.use("Agg")
    compared = report.compared(results)
    rows = max(1, -(-len(compared) // COLUMNS))
    size = (COLUMNS * PANEL_INCHES[0], rows * PANEL_INCHES[1] + LEGEND_INCHES)
    figure = Figure(figsize=size, dpi=DOTS_PER_INCH, layout="constrained")
    panels: list[Axes] = list(figure.subplots(rows, COLUMNS, squeeze=False).flat)
    there = elsewhere.load()
    for axes, (scenario, what, name) in zip(panels, compared, strict=False):
        _panel(axes, results, there, scenario, name)
        axes.set_title(f"{scenario}, {what}" if what else scenario, fontsize=9, loc="left", fontweight="bold")
    for axes in panels[len(compared) :]:
        axes.set_axis_off()
    _legend(figure, there)
    figure.suptitle("Broker CPU, microseconds a message; each panel has its own scale, from zero", fontsize=11)
    figure.savefig(path)


def _panel(axes: Axes, results: Results, there: Elsewhere, scenario: str, name: str) -> None:
    values = [results.summary(peer, scenario).median(name) for peer in BARS]
    colours = [STYLES[peer][0] for peer in BARS]
    values.append(there.value(elsewhere.LAVINMQ, scenario, name))
    colours.append(ELSEWHERE)
    known = [value for value in values if value]
    _bars(axes, values, colours)
    goal = next((goal.limit for goal in GOALS if (goal.scenario, goal.figure, goal.than) == (scenario, name, "")), None)
    if goal:
        axes.axvline(goal, color="black", linewidth=1, linestyle=(0, (2, 1)))
        known.append(goal)
    axes.set_xlim(0, max(known, default=1) * ROOM)
    axes.set_ylim(len(values) - 0.5, -0.5)  # the first at the top
    axes.xaxis.set_visible(False)
    axes.yaxis.set_visible(False)
    axes.spines[["top", "right", "bottom"]].set_visible(False)


def _bars(axes: Axes, values: Sequence[float | None], colours: Sequence[str]) -> None:
    for place, (value, colour) in enumerate(zip(values, colours, strict=True)):
        if not value:
            continue
        hatch = "////" if colour == ELSEWHERE else None
        axes.barh(place, value, HEIGHT, color="white" if hatch else colour, edgecolor=colour, hatch=hatch)
        axes.annotate(
            report.number(value),
            (value, place),
            xytext=(3, 0),
            textcoords="offset points",
            va="center",
            fontsize=8,
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
        )


def _legend(figure: Figure, there: Elsewhere) -> None:
    names = {COMPILED: "amqpd, compiled", PURE: "amqpd, pure Python", RABBITMQ: "RabbitMQ"}
    known: list[Patch | Line2D] = [Patch(color=STYLES[peer][0], label=names[peer]) for peer in BARS]
    elsewhere_label = f"{elsewhere.LAVINMQ}, another machine, {there.date}"
    known.append(Patch(facecolor="white", edgecolor=ELSEWHERE, hatch="////", label=elsewhere_label))
    known.append(Line2D([], [], color="black", linewidth=1, linestyle=(0, (2, 1)), label="goal of the compiled broker"))
    figure.legend(handles=known, loc="outside lower center", ncols=3, frameon=False, fontsize=9, labelcolor=GREY)
