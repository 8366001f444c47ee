"""What a benchmark found out, as plain records: written to JSON, read back, and asked for medians and ratios."""

import statistics
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from tests.bench.disk import Sync
from tests.bench.loadgen import Figures

QUIET_BELOW_CPUS: Final = 0.25  # a run in which others used more of the machine counts only where there is no other
CPU: Final = "broker_cpu_us_per_msg"
FILL_CPU: Final = "publish_cpu_us"  # where a queue is filled first, then drained
DRAIN_CPU: Final = "consume_cpu_us"
CONNECTION_CPU: Final = "broker_cpu_us_per_connection"
DISK_COMMIT: Final = "disk_commit_us"  # what the disk takes for one, right before and after the run
CONFIRM_BEYOND_DISK: Final = "confirm_beyond_disk_us"


@dataclass(frozen=True, slots=True)
class Run:
    """One scenario against one peer, once; ``message`` says what failed, if anything did."""

    peer: str
    scenario: str
    number: int
    message: str
    figures: Figures

    def get(self, name: str) -> float | None:
        """A figure by name, ``latency_us.p50`` for one inside another."""
        value: Any = self.figures
        for part in name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        return float(value) if isinstance(value, int | float) else None


@dataclass(frozen=True, slots=True)
class LifeCycle:
    """One start on an empty directory and the stop that followed; memory is measured in one of them."""

    peer: str
    message: str
    ready_ms: float | None = None
    stop_s: float | None = None
    stop_status: int | None = None
    idle_rss_mb: float | None = None
    kb_per_connection: float | None = None


@dataclass(frozen=True, slots=True)
class Summary:
    """The runs of one scenario against one peer that count, and what went wrong in the others."""

    counted: list[Run]
    failures: list[str]
    run_count: int
    noisy: bool

    def median(self, name: str) -> float | None:
        return median([run.get(name) for run in self.counted])

    def spread(self, name: str) -> "Spread | None":
        return Spread.of([run.get(name) for run in self.counted])


@dataclass(frozen=True, slots=True)
class Spread:
    """A median, and what it lies between."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: list[float | None]) -> "Spread | None":
        known = [value for value in values if value is not None]
        return cls(statistics.median(known), min(known), max(known)) if known else None


@dataclass(slots=True)
class Results:
    machine: dict[str, str]
    command: str
    versions: dict[str, str] = field(default_factory=dict)  # by peer, in the order of the report
    confirms: dict[str, str] = field(default_factory=dict)
    life_cycles: list[LifeCycle] = field(default_factory=list)
    syncs: list[Sync] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)

    def summary(self, peer: str, scenario: str) -> Summary:
        runs = [run for run in self.runs if (run.peer, run.scenario) == (peer, scenario)]
        good = [run for run in runs if not run.message]
        quiet = [run for run in good if (run.get("other_cpus") or 0) < QUIET_BELOW_CPUS]
        failures = list(dict.fromkeys(run.message for run in runs if run.message))
        return Summary(quiet or good, failures, len(runs), noisy=bool(good) and not quiet)

    def ratio(self, of: str, to: str, scenario: str, name: str = CPU) -> Spread | None:
        """How many times of a figure ``of`` has that ``to`` has, each time within one run of the benchmark."""
        good = {
            (run.peer, run.number): run.get(name) for run in self.runs if run.scenario == scenario and not run.message
        }
        return Spread.of(
            [
                value / good_to
                for (peer, number), value in good.items()
                if peer == of
                and value is not None
                and value > 0
                and (good_to := good.get((to, number)))
                and good_to > 0
            ]
        )

    def life(self, peer: str, name: str) -> float | None:
        return median([getattr(cycle, name) for cycle in self.life_cycles if cycle.peer == peer and not cycle.message])

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Results":
        return cls(
            value["machine"],
            value["command"],
            value["versions"],
            value["confirms"],
            [LifeCycle(**cycle) for cycle in value["life_cycles"]],
            [Sync(**sync) for sync in value["syncs"]],
            [Run(**run) for run in value["runs"]],
        )


def median(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None
