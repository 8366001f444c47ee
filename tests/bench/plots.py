"""The depth figures as a picture: rate and resident memory against how many messages wait, filling and draining."""

import math
from pathlib import Path
from typing import Final

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, NullFormatter

from tests.bench.buckets import Bucket
from tests.bench.depth_report import DRAIN, PUBLISH, RSS_GOAL_MB, Run

# Okabe and Ito's colours, which the colour-blind tell apart; the marks differ too, for those who print.
STYLES: Final = {"amqpd": ("#0072B2", "o"), "rabbitmq": ("#D55E00", "s"), "amqpd-pure": ("#009E73", "^")}
OTHER_STYLE: Final = ("#CC79A7", "D")
NAMES: Final = {"rabbitmq": "RabbitMQ"}
INCHES: Final = (9.0, 7.0)
DOTS_PER_INCH: Final = 100
GREY: Final = "#555555"
LEAST_RATE: Final = 1e4  # the scales begin there, or a decade lower
LEAST_MEMORY_MB: Final = 10.0
WIDTH: Final = 1.6
LOAD: Final = "persistent"  # the other load would double the lines and say the same


def draw(runs: list[Run], path: Path) -> None:
    """One column a direction; rate above, memory below, both on scales that hold a factor of a hundred."""
    matplotlib.use("Agg")
    drawn = [run for run in runs if run.load.name == LOAD and run.phase(PUBLISH)]
    figure = Figure(figsize=INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    axes = figure.subplots(2, 2, sharex="col", sharey="row")
    for column, phase in enumerate((PUBLISH, DRAIN)):
        rate, memory = axes[0][column], axes[1][column]
        for run in drawn:
            _draw_run(rate, memory, run, phase)
        for each in (rate, memory):
            _dress(each)
        memory.axhline(RSS_GOAL_MB, color=GREY, linewidth=1, linestyle=(0, (1, 2)))
        memory.set_xlabel("messages waiting in the queue")
    axes[0][1].invert_xaxis()  # so that time runs from left to right in both
    axes[0][0].set_title("filling, no consumer", fontsize=10)
    axes[0][1].set_title("then draining, no producer", fontsize=10)
    axes[0][0].set_ylabel("messages a second")
    axes[1][0].set_ylabel("resident memory, MB")
    axes[1][0].annotate(
        f"goal {RSS_GOAL_MB:g} MB",
        (0.99, RSS_GOAL_MB),
        xycoords=("axes fraction", "data"),
        ha="right",
        va="bottom",
        fontsize=8,
        color=GREY,
    )
    _begin_at(axes[0][0], LEAST_RATE)
    _begin_at(axes[1][0], LEAST_MEMORY_MB)
    _legend(figure, drawn)
    sizes = ", ".join(dict.fromkeys(f"{run.load.size}-byte" for run in drawn))
    figure.suptitle(f"One durable queue, persistent {sizes} messages", fontsize=12)
    figure.savefig(path)


def _draw_run(rate: Axes, memory: Axes, run: Run, name: str) -> None:
    phase = run.phase(name)
    buckets = sorted(phase.buckets, key=lambda bucket: bucket.depth) if phase else list[Bucket]()
    if not buckets:
        return
    colour, mark = _style(run)
    depths = [bucket.depth for bucket in buckets]
    rate.plot(depths, [bucket.rate for bucket in buckets], marker=mark, markersize=3.5, color=colour, linewidth=WIDTH)
    whole = [bucket.anon_mb + bucket.file_mb for bucket in buckets]
    memory.plot(depths, whole, marker=mark, markersize=3.5, color=colour, linewidth=WIDTH)
    memory.plot(depths, [bucket.anon_mb for bucket in buckets], linestyle="--", color=colour, linewidth=WIDTH)


def _dress(axes: Axes) -> None:
    axes.set_xscale("log")
    axes.set_yscale("log")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: _short(value)))
        axis.set_minor_formatter(NullFormatter())
    axes.grid(which="major", color="#cccccc", linewidth=0.7)
    axes.grid(which="minor", axis="y", color="#eeeeee", linewidth=0.5)
    axes.spines[["top", "right"]].set_visible(False)


def _begin_at(axes: Axes, least: float) -> None:
    """The scale begins at ``least``, or at the decade below the lowest value."""
    low, _ = axes.get_ylim()
    axes.set_ylim(bottom=min(least, 10 ** math.floor(math.log10(low))))


def _legend(figure: Figure, drawn: list[Run]) -> None:
    lines = []
    for run in drawn:
        colour, mark = _style(run)
        label = f"{NAMES.get(run.peer, run.peer)}, {_short(run.load.messages)} messages"
        lines.append(Line2D([], [], color=colour, marker=mark, markersize=4, label=label))
    lines.append(Line2D([], [], color=GREY, label="resident memory in all"))
    lines.append(Line2D([], [], color=GREY, linestyle="--", label="of it anonymous: not the file's pages"))
    figure.legend(handles=lines, loc="outside lower center", ncols=2, frameon=False, fontsize=9)


def _style(run: Run) -> tuple[str, str]:
    return STYLES.get(run.peer, OTHER_STYLE)


def _short(value: float) -> str:
    for limit, unit in ((1e6, " M"), (1e3, " k")):
        if value >= limit:
            return f"{value / limit:g}{unit}"
    return f"{value:g}"
