"""How long a broker keeps a second connection waiting: amqpload's ``--ping`` beside a load, and what its lines say.

The answer is timed when the kernel has it, so that a pinger which must wait for a processor does not count as a broker
that stalls. For the broker's own thread it is known how long it stood ready to run and did not: that is taken off too.
What is left is the broker's doing. A stall that begins between two requests shows shorter by up to the interval.
"""

import statistics
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

INTERVAL_MS: Final = 2.0
LONG_MS: Final = 5.0  # reading back is to block the loop no longer than this
STOP_TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True)
class Ping:
    at_ns: int  # CLOCK_MONOTONIC
    read_ms: float  # until the pinger had read the answer
    answered_ms: float  # until the kernel had it
    waited_ms: float  # the broker's thread, meanwhile, for a processor

    @property
    def stall_ms(self) -> float:
        return max(0.0, self.answered_ms - self.waited_ms)


@dataclass(frozen=True, slots=True)
class Stalls:
    """The answers of one span of time; all zero where there was none."""

    ping_count: int = 0
    answered_p50_ms: float = 0.0
    answered_p99_ms: float = 0.0
    answered_max_ms: float = 0.0
    stall_p99_ms: float = 0.0
    stall_max_ms: float = 0.0
    long_count: int = 0  # stalls above LONG_MS
    noise_max_ms: float = 0.0  # the pinger's own: answered, and not read yet


class Pinger:
    """A pinger from its start to the end of the ``with`` block; ``pings`` may be read after that."""

    def __init__(self, amqpload: Path, port: int, broker_pid: int | None, lines: Path) -> None:
        command = [str(amqpload), "--port", str(port), "--ping", f"{INTERVAL_MS:g}"]
        if broker_pid is not None:  # a broker whose loop is the first thread of this process
            command += ["--pid", str(broker_pid)]
        self._lines = lines
        with lines.open("wb") as output:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:  # it waits for an answer that does not come
            self._process.kill()
            self._process.wait()

    def pings(self) -> list[Ping]:
        return parse(self._lines.read_text())


def parse(text: str) -> list[Ping]:
    """amqpload's lines, the last of which may be cut off."""
    complete = text[: text.rfind("\n") + 1]
    return [
        Ping(int(at_ns), float(read_us) / 1e3, float(answered_us) / 1e3, float(waited_us) / 1e3)
        for at_ns, read_us, answered_us, waited_us in map(str.split, complete.splitlines())
    ]


def summarise(pings: Iterable[Ping], from_ns: int, to_ns: int) -> Stalls:
    """Of the requests made in that span."""
    within = [ping for ping in pings if from_ns <= ping.at_ns < to_ns]
    if not within:
        return Stalls()
    answered = [ping.answered_ms for ping in within]
    stalls = [ping.stall_ms for ping in within]
    return Stalls(
        len(within),
        statistics.median(answered),
        percentile(answered, 99),
        max(answered),
        percentile(stalls, 99),
        max(stalls),
        sum(stall > LONG_MS for stall in stalls),
        max(ping.read_ms - ping.answered_ms for ping in within),
    )


def percentile(values: list[float], percent: int) -> float:
    """The value that so many percent do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
