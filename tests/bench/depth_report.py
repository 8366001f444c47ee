"""What a deep queue cost, as records and as Markdown: goals, rates by depth, memory, answers, space."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from tests.bench import programs
from tests.bench.buckets import Bucket, deep_share, rate_at
from tests.bench.peers import COMPILED
from tests.bench.pinger import LONG_MS, Stalls
from tests.bench.report import number, table

IDLE: Final = "idle"
FLOW: Final = "short queue"
PUBLISH: Final = "publishing"
REST: Final = "full, idle"
DRAIN: Final = "draining"

RSS_GOAL_MB: Final = 250.0
SHARE_GOAL: Final = 0.8  # of the rate at depth 0, at full depth


@dataclass(frozen=True, slots=True)
class Load:
    name: str
    messages: int
    size: int
    persistent: bool

    @property
    def title(self) -> str:
        return f"{self.messages:,} {self.name}, {self.size} bytes"


@dataclass(frozen=True, slots=True)
class Space:
    """The data directory while so many messages wait; ``in_use_mb`` where it is LMDB's."""

    when: str
    waiting: int
    disk_mb: float
    in_use_mb: float | None


@dataclass(frozen=True, slots=True)
class Phase:
    """Peaks are of resident memory: both kinds together, then each by itself."""

    name: str
    rate: float | None
    peak_mb: float
    anon_mb: float
    file_mb: float
    stalls: Stalls
    buckets: list[Bucket]


@dataclass(frozen=True, slots=True)
class Run:
    """One load against one peer; ``message`` says what failed, if anything did."""

    peer: str
    load: Load
    phases: list[Phase]
    spaces: list[Space]
    message: str

    def phase(self, name: str) -> Phase | None:
        return next((phase for phase in self.phases if phase.name == name), None)

    @property
    def peak_mb(self) -> float:
        return max((phase.peak_mb for phase in self.phases), default=0.0)


def render(facts: programs.Facts, runs: list[Run], plot_name: str) -> str:
    sections = {
        "Goals": _goals(runs),
        "Rate by depth": _rates(runs),
        "Memory": _memory(runs),
        "Answers to another connection": _answers(runs),
        "Disk": _disk(runs),
        "What was measured, on what": programs.describe(facts),
    }
    parts = [f"![Rate and memory against the depth of the queue]({plot_name})"] if plot_name else []
    parts += [f"### {title}\n\n{text}" for title, text in sections.items() if text]
    failures = [f"* {run.peer}, {run.load.title}: {run.message}" for run in runs if run.message]
    parts += ["### Failed\n\n" + "\n".join(failures)] if failures else []
    return "\n\n".join(parts) + "\n"


def _goals(runs: list[Run]) -> str:
    rows = [row for run in runs if run.peer == COMPILED for row in _goals_of(run)]
    return table("load|goal|limit|measured|reached?", "l l r r l", rows) if rows else ""


def _goals_of(run: Run) -> Iterator[list[str]]:
    """A phase that was not reached has no figure, and so no verdict."""
    title = run.load.title
    for name in (PUBLISH, DRAIN):
        phase = run.phase(name)
        share = deep_share(phase.buckets) if phase else None
        what = f"{name}: rate at full depth, of that at depth 0"
        yield [title, what, f">= {SHARE_GOAL:.0%}", _percent(share), _verdict(share, share and share >= SHARE_GOAL)]
        title = ""
    peak = run.peak_mb if run.phase(DRAIN) else None
    limit = f"< {RSS_GOAL_MB:g} MB"
    yield [title, "resident memory, the whole way", limit, number(peak), _verdict(peak, peak and peak < RSS_GOAL_MB)]
    drain = run.phase(DRAIN)
    stall = drain.stalls.stall_max_ms if drain and drain.stalls.ping_count else None
    reached = stall is not None and stall <= LONG_MS
    yield [title, "longest stall while draining", f"<= {LONG_MS:g} ms", number(stall), _verdict(stall, reached)]


def _verdict(value: float | None, reached: object) -> str:
    if value is None:
        return "not measured"
    return "reached" if reached else "**not reached**"


def _rates(runs: list[Run]) -> str:
    rows = []
    for run in runs:
        title = run.load.title
        for name in (PUBLISH, DRAIN):
            if not (phase := run.phase(name)) or not phase.buckets:
                continue
            ends = rate_at(phase.buckets, deep=False), rate_at(phase.buckets, deep=True)
            cpus = [sorted(phase.buckets, key=lambda bucket: bucket.depth)[end].cpu_us for end in (0, -1)]
            mean = sum(bucket.cpu_us for bucket in phase.buckets) / len(phase.buckets)
            figures = [number(phase.rate), *map(number, ends), _percent(deep_share(phase.buckets)), number(mean)]
            rows.append([title, run.peer, name, *figures, " / ".join(map(number, cpus))])
            title = ""
    head = (
        "load|peer|phase|messages a second|at depth 0|at full depth|of that at depth 0|broker CPU, us a message|"
        "at depth 0 / at full depth, us"
    )
    return table(head, "l l l r r r r r r", rows) if rows else ""


def _memory(runs: list[Run]) -> str:
    rows = [
        [
            run.load.title if phase is run.phases[0] else "",
            run.peer,
            phase.name,
            number(phase.peak_mb),
            number(phase.anon_mb),
            number(phase.file_mb),
        ]
        for run in runs
        for phase in run.phases
    ]
    return table("load|peer|phase|resident, at most, MB|anonymous, MB|of files, MB", "l l l r r r", rows)


def _answers(runs: list[Run]) -> str:
    rows = []
    for run in runs:
        for phase in run.phases:
            stalls = phase.stalls
            answered = (stalls.answered_p50_ms, stalls.answered_p99_ms, stalls.answered_max_ms)
            rows.append(
                [
                    run.load.title if phase is run.phases[0] else "",
                    run.peer,
                    phase.name,
                    " / ".join(map(number, answered)),
                    f"{number(stalls.stall_p99_ms)} / {number(stalls.stall_max_ms)}",
                    f"{stalls.long_count:,} of {stalls.ping_count:,}",
                    number(stalls.noise_max_ms),
                ]
            )
    head = (
        "load|peer|phase|answered p50 / p99 / max, ms|stall p99 / max, ms|"
        f"stalls over {LONG_MS:g} ms|the pinger's own delay, max, ms"
    )
    return table(head, "l l l r r r r", rows)


def _disk(runs: list[Run]) -> str:
    rows = []
    for run in runs:
        for space in run.spaces:
            bodies_mb = space.waiting * run.load.size / 1e6
            rows.append(
                [
                    run.load.title if space is run.spaces[0] else "",
                    run.peer,
                    space.when,
                    f"{space.waiting:,}",
                    number(bodies_mb),
                    number(space.in_use_mb),
                    number(space.disk_mb),
                    f"{number(space.disk_mb / bodies_mb)} x" if bodies_mb else "",
                    number(space.disk_mb * 1e6 / space.waiting) if space.waiting else "",
                ]
            )
    head = "load|peer|when|waiting|bodies, MB|pages in use, MB|on disk, MB|on disk / bodies|on disk, bytes a message"
    return table(head, "l l l r r r r r r", rows) if rows else ""


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"
