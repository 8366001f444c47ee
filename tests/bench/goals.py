"""What amqpd should reach on the machine of docs/performance.md: goals to judge a benchmark by, never a timed test."""

from dataclasses import dataclass
from typing import Final

from tests.bench.results import CPU

PURE_FACTOR: Final = 3.0  # the plain source may take at most so many times the CPU of the compiled goal


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
        return self.limit * PURE_FACTOR if self.figure == CPU and not self.than else None


def _cpu(scenario: str, limit_us: float, note: str = "") -> Goal:
    return Goal(f"{scenario}: broker CPU per message{note}", scenario, CPU, limit_us, "us")


def _than(scenario: str, other: str, times: float) -> Goal:
    return Goal(f"{scenario}: broker CPU per message, of that of {other}", scenario, CPU, times, "x", other)


GOALS: Final = (
    _cpu("A", 3.0),
    _cpu("B", 4.5),
    _cpu("C", 4.5),
    _cpu("D", 7.0, ", fsync included"),
    _cpu("D-only", 4.0),
    _cpu("G", 2.0, " delivered"),
    _cpu("H", 6.0),
    _cpu("H-100K", 10.0),
    _than("P-B", "B", 1.3),
    _than("P-D", "D", 1.3),
    _than("T-B", "B", 1.3),
    _than("T-D", "D", 1.3),
    _cpu("F-64K", 60.0),
    _cpu("N", 25.0, ", fill and get"),
    Goal("J-B: latency p50", "J-B", "latency_us.p50", 120.0, "us"),
    Goal("start to first handshake, empty directory", "", "ready_ms", 150.0, "ms"),
    Goal("resident memory, idle", "", "idle_rss_mb", 45.0, "MB"),
    Goal("memory of an idle connection", "", "kb_per_connection", 25.0, "KB"),
)
