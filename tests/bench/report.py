"""Results as Markdown: what it costs beside others, goals, every figure, machine; and where that goes in a page."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from tests.bench import elsewhere
from tests.bench.goals import GOALS, Goal
from tests.bench.peers import AGAINST, COMPILED, PURE, RABBITMQ
from tests.bench.results import (
    CONNECTION_CPU,
    CPU,
    DISK_COMMIT,
    DRAIN_CPU,
    FILL_CPU,
    QUIET_BELOW_CPUS,
    Results,
    Spread,
    Summary,
    median,
)
from tests.bench.scenarios import SCENARIOS

SECTION: Final = "bench"  # this report's; those of the other programs stand beside it in the same page
CONNECTION_SCENARIOS: Final = ("L", "M")
HISTORY: Final = """![How many times amqpd's CPU RabbitMQ takes, by commit]({})

Of all runs in `tests/bench/history` in which both were measured; a run on another machine shows as a ratio too."""
# Scenario -> the figures it is compared by, each with what it is of; all others: CPU per message.
COMPARED: Final = {
    "K": {"the fill": FILL_CPU, "the drain": DRAIN_CPU},
    "N": {"the fill": FILL_CPU, "the get": DRAIN_CPU},
    "L": {"a connection": CONNECTION_CPU},
    "M": {},
}


def replace_between_marks(page: str, report: str, section: str = SECTION) -> str:
    """The page with what stands between the section's marks replaced; a page without them gets them at its end."""
    before, begin, rest = page.partition(f"<!-- {section} -->")
    _, end, after = rest.partition(f"<!-- /{section} -->")
    if not (begin and end):
        before, after = f"{page.rstrip()}\n\n".lstrip(), "\n"
    return f"{before}<!-- {section} -->\n{report.strip()}\n<!-- /{section} -->{after}"


def write_between_marks(path: Path, report: str, section: str) -> None:
    """The same with a page on disk, which need not be there yet."""
    page = path.read_text() if path.exists() else ""
    path.write_text(replace_between_marks(page, report, section))


def render(results: Results, picture: str = "", history_picture: str = "") -> str:
    """The report; the pictures are the files that it shows, if there are any."""
    sections = {
        "What a message costs": _compared(results, picture),
        "Against another commit": _against(results),
        "From run to run": HISTORY.format(history_picture) if history_picture else "",
        "Goals": _goals(results),
        "Scenarios": _scenarios(results),
        "Connections": _connections(results),
        "Start, stop and memory": _life_cycle(results),
        "The disk during this run": _disk(results),
        "What was measured, on what": _machine(results),
    }
    return "\n\n".join(f"## {title}\n\n{text}" for title, text in sections.items() if text) + "\n"


def number(value: float | None) -> str:
    if value is None:
        return ""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def compared(results: Results) -> list[tuple[str, str, str]]:
    """What is compared: a scenario, what of it, and the figure."""
    return [
        (name, what, figure)
        for name in _measured(results)
        for what, figure in COMPARED.get(name, {"": CPU}).items()
        if any(run.scenario == name and run.get(figure) is not None for run in results.runs)
    ]


def _compared(results: Results, picture: str) -> str:
    there = elsewhere.load()
    rows = [
        [
            _title(name, what),
            *(_with_spread(results.summary(peer, name).spread(figure)) for peer in (COMPILED, PURE, RABBITMQ)),
            *(_ratio_with_spread(results.ratio(RABBITMQ, peer, name, figure)) for peer in (COMPILED, PURE)),
            number(there.value(elsewhere.LAVINMQ, name, figure)),
            _times(there.ratio(name, figure)),
        ]
        for name, what, figure in compared(results)
    ]
    if not rows:
        return ""
    head = (
        "broker CPU, us a message|amqpd|amqpd-pure|RabbitMQ|RabbitMQ / amqpd|RabbitMQ / amqpd-pure|"
        "LavinMQ, elsewhere|RabbitMQ / LavinMQ, there"
    )
    shown = f"![Broker CPU of each scenario]({picture})\n\n" if picture else ""
    return f"{shown}{table(head, 'l r r r r r r r', rows)}\n\n{there.describe()}"


def _against(results: Results) -> str:
    """Ratios to the compiled amqpd of other commits, where any was measured."""
    rows = [
        [
            _title(name, what),
            peer,
            _with_spread(results.summary(COMPILED, name).spread(figure)),
            _with_spread(results.summary(peer, name).spread(figure)),
            _ratio_with_spread(ratio),
            _verdict(ratio),
        ]
        for peer in results.versions
        if peer.startswith(AGAINST)
        for name, what, figure in compared(results)
        if (ratio := results.ratio(peer, COMPILED, name, figure))
    ]
    head = "broker CPU, us a message|against|this|that|that / this|this takes"
    return table(head, "l l r r r l", rows) if rows else ""


def _verdict(ratio: Spread) -> str:
    """Only where all runs agree."""
    if ratio.least == ratio.most:
        return ""
    return "less" if ratio.least > 1 else "more" if ratio.most < 1 else "the same, within the spread"


def _title(name: str, what: str) -> str:
    return f"**{name}** {SCENARIOS[name].what}" + (f": {what}" if what else "")


def _with_spread(spread: Spread | None) -> str:
    if spread is None or spread.least == spread.most:
        return number(spread.median if spread else None)
    return f"{number(spread.median)} ({number(spread.least)} to {number(spread.most)})"


def _ratio_with_spread(spread: Spread | None) -> str:
    if spread is None or spread.least == spread.most:
        return _times(spread.median if spread else None)
    return f"{number(spread.median)} x ({number(spread.least)} to {number(spread.most)})"


def _goals(results: Results) -> str:
    if not {COMPILED, PURE} & set(results.versions):
        return ""
    there = elsewhere.load()
    rows = [
        [
            goal.what,
            f"{goal.limit:g} {goal.unit}",
            *_judged(results, goal, COMPILED, goal.limit),
            f"{goal.pure_limit:g} {goal.unit}" if goal.pure_limit else "",
            *_judged(results, goal, PURE, goal.pure_limit),
            number(_value(results, goal, RABBITMQ)),
            _times(_goal_ratio(results, goal)),
            "" if goal.than else number(there.value(elsewhere.LAVINMQ, goal.scenario, goal.figure)),
        ]
        for goal in GOALS
    ]
    head = "goal|at most|compiled|reached?|pure, at most|pure|reached?|RabbitMQ|RabbitMQ / compiled|LavinMQ, elsewhere"
    return table(head, "l r r l r r l r r r", rows)


def _judged(results: Results, goal: Goal, peer: str, limit: float | None) -> list[str]:
    value = _value(results, goal, peer)
    if limit is None:
        return [number(value), ""]
    summary = results.summary(peer, goal.scenario)
    failures = [cycle for cycle in results.life_cycles if cycle.peer == peer and cycle.message]
    if summary.failures if goal.scenario else failures:
        return [number(value), "**not reached**: failed"]
    if value is None:
        return ["", "not measured"]
    verdict = "reached" if value <= limit else "**not reached**"
    return [number(value), f"{verdict}, noisy" if summary.noisy else verdict]


def _value(results: Results, goal: Goal, peer: str) -> float | None:
    if not goal.scenario:
        return results.life(peer, goal.figure)
    value = results.summary(peer, goal.scenario).median(goal.figure)
    if not goal.than:
        return value
    other = results.summary(peer, goal.than).median(goal.figure)
    return value / other if value is not None and other else None


def _goal_ratio(results: Results, goal: Goal) -> float | None:
    if goal.scenario:
        ratio = results.ratio(RABBITMQ, COMPILED, goal.scenario, goal.figure)
        return ratio.median if ratio else None
    theirs, ours = _value(results, goal, RABBITMQ), _value(results, goal, COMPILED)
    return theirs / ours if theirs and ours else None


def _scenarios(results: Results) -> str:
    def cells(peer: str, name: str, summary: Summary) -> list[str]:
        cpu = number(summary.median(CPU))
        if (into := summary.median(FILL_CPU)) is not None:
            cpu += f" (in {number(into)}, out {number(summary.median(DRAIN_CPU))})"
        return [
            cpu,
            _ratio(results, peer, name, CPU),
            _rate(summary),
            _milliseconds(summary, "latency_us"),
            _milliseconds(summary, "confirm_latency_us"),
            number(summary.median("broker_rss_mb")),
        ]

    head = (
        "scenario|peer|broker CPU, us a message|RabbitMQ / this|messages a second|latency p50 / p99, ms|"
        "confirm p50 / p99, ms|peak RSS, MB|others, CPUs|runs"
    )
    names = [name for name in _measured(results) if name not in CONNECTION_SCENARIOS]
    if not names:
        return ""
    return table(head, "l l r r r r r r r l", _rows(results, names, cells, 6)) + _failures(results, names)


def _connections(results: Results) -> str:
    def cells(peer: str, name: str, summary: Summary) -> list[str]:
        return [
            number(summary.median("connection_rate") or summary.median("open_rate")),
            _milliseconds(summary, "latency_us"),
            number(summary.median(CONNECTION_CPU)),
            _ratio(results, peer, name, CONNECTION_CPU),
            number(summary.median("kb_per_connection")),
            number(summary.median("idle_cpu_percent")),
        ]

    head = (
        "scenario|peer|connections a second|time of one p50 / p99, ms|broker CPU of one, us|RabbitMQ / this|"
        "KB each, memory reused|CPU while idle, %|others, CPUs|runs"
    )
    names = [name for name in _measured(results) if name in CONNECTION_SCENARIOS]
    if not names:
        return ""
    return table(head, "l l r r r r r r r l", _rows(results, names, cells, 6)) + _failures(results, names)


def _rows(
    results: Results, names: list[str], cells: Callable[[str, str, Summary], list[str]], cell_count: int
) -> Iterable[list[str]]:
    """A row a scenario and peer: its cells, how busy others kept the machine, how many runs count, what failed."""
    for name in names:
        title = f"**{name}** {SCENARIOS[name].what}"
        for peer in results.versions:
            summary = results.summary(peer, name)
            if not summary.run_count:
                continue
            figures = cells(peer, name, summary) if summary.counted else ["failed", *[""] * (cell_count - 1)]
            yield [title, peer, *figures, number(summary.median("other_cpus")), _counted(summary)]
            title = ""


def _counted(summary: Summary) -> str:
    text = f"{len(summary.counted)} of {summary.run_count}"
    if summary.noisy:
        text += ", noisy"
    if summary.failures:
        text += "; failures below"
    return text


def _failures(results: Results, names: list[str]) -> str:
    """What went wrong, in the words of amqpload or of the broker; a list, as it may be long."""
    failed = [
        f"* **{name}**, {peer}: {message}"
        for name in names
        for peer in results.versions
        for message in results.summary(peer, name).failures
    ]
    return "\n".join(["", "", "Failed:", "", *failed]) if failed else ""


def _rate(summary: Summary) -> str:
    consumed = number(summary.median("consume_rate"))
    if summary.median(FILL_CPU) is not None:
        return f"in {number(summary.median('publish_rate'))}, out {consumed}"
    return consumed if summary.median("consume_rate") else number(summary.median("publish_rate"))


def _milliseconds(summary: Summary, histogram: str) -> str:
    p50, p99 = summary.median(f"{histogram}.p50"), summary.median(f"{histogram}.p99")
    return "" if p50 is None or p99 is None else f"{number(p50 / 1e3)} / {number(p99 / 1e3)}"


def _ratio(results: Results, peer: str, scenario: str, figure: str) -> str:
    ratio = None if peer == RABBITMQ else results.ratio(RABBITMQ, peer, scenario, figure)
    return _times(ratio.median if ratio else None)


def _times(ratio: float | None) -> str:
    return "" if ratio is None else f"{number(ratio)} x"


def _life_cycle(results: Results) -> str:
    def row(peer: str) -> list[str]:
        cycles = [cycle for cycle in results.life_cycles if cycle.peer == peer]
        good = [cycle for cycle in cycles if not cycle.message]
        starts = [cycle.ready_ms for cycle in good if cycle.ready_ms is not None]
        unclean = [cycle.stop_status for cycle in good if cycle.stop_status != 0]
        remarks = list(dict.fromkeys(f"failed: {cycle.message}" for cycle in cycles if cycle.message))
        remarks += [f"{len(unclean)} stops ended with {unclean}"] if unclean else []
        return [
            peer,
            number(median([*starts])) + (f" ({number(min(starts))} to {number(max(starts))})" if starts else ""),
            number(results.life(peer, "stop_s")),
            number(results.life(peer, "idle_rss_mb")),
            number(results.life(peer, "kb_per_connection")),
            "; ".join([f"{len(good)} of {len(cycles)}", *remarks]),
        ]

    peers = [peer for peer in results.versions if any(cycle.peer == peer for cycle in results.life_cycles)]
    head = "peer|start, ms (range)|clean stop, s|idle RSS, MB|KB an idle connection, the first 1,000|starts"
    return table(head, "l r r r r l", map(row, peers)) if peers else ""


def _disk(results: Results) -> str:
    rows = []
    for what in dict.fromkeys(sync.what for sync in results.syncs):
        of_it = [sync for sync in results.syncs if sync.what == what]
        rows.append(
            [what, *(_range([*us]) for us in zip(*((sync.p50_us, sync.p99_us) for sync in of_it), strict=True))]
        )
    for name in _measured(results):
        beside = [run for run in results.runs if run.scenario == name and run.get(f"{DISK_COMMIT}.p50") is not None]
        if beside:
            percentiles = (f"{DISK_COMMIT}.p50", f"{DISK_COMMIT}.p99")
            cells = (_range([run.get(figure) for run in beside]) for figure in percentiles)
            rows.append([f"the same commit 2,000 times a second, right before and after {name}", *cells])
    return table("sync|p50, us (range over the probes)|p99, us", "l r r", rows) if rows else ""


def _range(values: list[float | None]) -> str:
    spread = Spread.of(values)
    return f"{number(spread.median)} ({number(spread.least)} to {number(spread.most)})" if spread else ""


def _machine(results: Results) -> str:
    lines = [f"* {name}: {value}" for name, value in results.machine.items()]
    lines += [f"* {peer}: {version}; confirms {results.confirms[peer]}" for peer, version in results.versions.items()]
    busy = [run.figures["other_cpus"] for run in results.runs if "other_cpus" in run.figures]
    if busy:
        noisy = sum(cpus >= QUIET_BELOW_CPUS for cpus in busy)
        lines.append(
            f"* others used {number(median(busy))} CPUs (median, at most {number(max(busy))}); in {noisy} of "
            f"{len(busy)} runs it was {QUIET_BELOW_CPUS:g} or more, and such a run counts only where a scenario has no "
            "quieter one"
        )
    return "\n".join([*lines, f"* command: `{results.command}`"])


def _measured(results: Results) -> list[str]:
    return [name for name in SCENARIOS if any(run.scenario == name for run in results.runs)]


def table(head: str, alignment: str, rows: Iterable[list[str]]) -> str:
    """A table in Markdown: ``head`` divided by bars, ``alignment`` l or r a column."""

    def line(cells: Iterable[str]) -> str:
        return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"

    ruler = "|".join("-:" if side == "r" else "-" for side in alignment.split())
    return "\n".join([line(head.split("|")), f"|{ruler}|", *map(line, rows)])
