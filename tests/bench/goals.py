"""What amqpd should reach on the machine of docs/performance.md: goals to judge a benchmark by, never a timed test."""

from dataclasses import dataclass
from typing import Final

from tests.bench.results import CONFIRM_BEYOND_DISK, CONNECTION_CPU, CPU, DRAIN_CPU, FILL_CPU

PURE_FACTOR: Final = 3.0  # the plain source may take at most so many times the CPU of the compiled goal
CPU_FIGURES: Final = frozenset({CPU, FILL_CPU, DRAIN_CPU, CONNECTION_CPU})


@dataclass(frozen=True, slots=True)
class Goal:
    """A limit of the compiled broker; ``scenario`` is empty where the life cycle has the figure.

    With ``than`` the limit is how many times that of another scenario the figure may be.
    """

    what: str
    scenario: str
    figure: str
    limit: float
    unit: str
    than: str = ""

    @property
    def pure_limit(self) -> float | None:
        return self.limit * PURE_FACTOR if self.figure in CPU_FIGURES and not self.than else None


def _cpu(scenario: str, limit_us: float, note: str = "", figure: str = CPU) -> Goal:
    return Goal(f"{scenario}: broker CPU per message{note}", scenario, figure, limit_us, "us")


def _than(scenario: str, other: str, times: float) -> Goal:
    return Goal(f"{scenario}: broker CPU per message, of that of {other}", scenario, CPU, times, "x", other)


GOALS: Final = (
    _cpu("A", 1.8),
    _cpu("B", 2.8),
    _cpu("C", 2.9),
    _cpu("D", 4.0, ", fsync included"),
    _cpu("D-only", 1.8, ", fsync included"),
    _cpu("F-1K", 4.0),
    _cpu("F-64K", 40.0),
    _cpu("G", 1.2, " delivered"),
    _cpu("H", 3.0),
    _cpu("H-100K", 5.0),
    _cpu("I", 2.9),
    _cpu("K", 2.5, " filled in", FILL_CPU),
    _cpu("K", 3.5, " drained", DRAIN_CPU),
    _cpu("N", 15.0, ", fill and get"),
    _than("P-B", "B", 1.3),
    _than("P-D", "D", 1.3),
    _than("T-B", "B", 1.3),
    _than("T-D", "D", 1.3),
    Goal("J-B: latency p50", "J-B", "latency_us.p50", 60.0, "us"),
    Goal("J-B: latency p99", "J-B", "latency_us.p99", 250.0, "us"),
    Goal("J-D: confirm p50, beyond the disk's own commit", "J-D", CONFIRM_BEYOND_DISK, 150.0, "us"),
    Goal("L: broker CPU per connection", "L", CONNECTION_CPU, 300.0, "us"),
    Goal("M: memory of an idle connection, the first 1,000", "", "kb_per_connection", 15.0, "KB"),
    Goal("start to first handshake, empty directory", "", "ready_ms", 100.0, "ms"),
    Goal("resident memory, idle", "", "idle_rss_mb", 40.0, "MB"),
)
