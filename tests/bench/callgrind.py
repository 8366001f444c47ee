"""What callgrind counted: functions, the calls between them, and for whom the libraries worked. Pure arithmetic.

The format: https://valgrind.org/docs/manual/cl-format.html, as far as it is used here. The events are instructions,
system calls, nanoseconds in them by the clock, and nanoseconds of processor in them.
"""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

AMQPD: Final = "amqpd__mypyc"  # what the name of the shared object with the hot modules begins with
ROUNDS_MAX: Final = 500  # of handing costs up the calls; recursion is far less deep

_NAME: Final = re.compile(r"(c?)(fn|ob)=\((\d+)\)(?: (.*))?")


@dataclass(frozen=True, slots=True)
class Function:
    """``level``: 1, or how deep in its own recursion it is, which callgrind keeps apart."""

    place: str  # the shared object
    name: str
    level: int = 1

    @property
    def is_ours(self) -> bool:
        """A function of amqpd's, and not one of those that mypyc brings along."""
        return self.place.startswith(AMQPD) and "___" in self.name

    @property
    def is_jump(self) -> bool:
        """Of a table of jumps to other shared objects: callgrind knows no name for it."""
        return self.name.startswith("0x")

    def plain(self) -> "Function":
        """Whatever the recursion."""
        return Function(self.place, self.name)


@dataclass(slots=True)
class Cost:
    instructions: float = 0
    system_calls: float = 0
    elapsed_ns: float = 0
    busy_ns: float = 0

    def add(self, other: "Cost", times: float = 1) -> None:
        self.instructions += other.instructions * times
        self.system_calls += other.system_calls * times
        self.elapsed_ns += other.elapsed_ns * times
        self.busy_ns += other.busy_ns * times


@dataclass(slots=True)
class Calls:
    """Of one function by another: how many, and what they cost with all below them."""

    count: float = 0
    cost: Cost = field(default_factory=Cost)

    def add(self, other: "Calls", times: float = 1) -> None:
        self.count += other.count * times
        self.cost.add(other.cost, times)


class Counts:
    """Of one run: each function's own cost, and the calls (caller, callee)."""

    def __init__(self) -> None:
        self.own: dict[Function, Cost] = defaultdict(Cost)
        self.calls: dict[tuple[Function, Function], Calls] = defaultdict(Calls)

    def add(self, other: "Counts", times: float = 1) -> None:
        for function, cost in other.own.items():
            self.own[function].add(cost, times)
        for key, calls in other.calls.items():
            self.calls[key].add(calls, times)

    def total(self) -> Cost:
        total = Cost()
        for cost in self.own.values():
            total.add(cost)
        return total

    def inclusive(self) -> dict[Function, float]:
        """Instructions of each function and of all below it."""
        below: dict[Function, float] = defaultdict(float)
        for function, cost in self.own.items():
            if function.level == 1:
                below[function] += cost.instructions
        for (caller, _), calls in self.calls.items():
            if caller.level == 1:
                below[caller] += calls.cost.instructions
        return below

    def plain(self) -> "Counts":
        """With the levels of recursion together. Its ``inclusive`` would count what recurs twice."""
        merged = Counts()
        for function, cost in self.own.items():
            merged.own[function.plain()].add(cost)
        for (caller, callee), calls in self.calls.items():
            merged.calls[caller.plain(), callee.plain()].add(calls)
        return merged

    def without_jumps(self) -> "Counts":
        """With each call through a table of jumps as a call of what it leads to; that instruction stays the table's."""
        leads_to: dict[Function, Function] = {}
        for (caller, callee), _ in sorted(self.calls.items(), key=lambda item: item[1].count):
            if caller.is_jump:
                leads_to[caller] = callee
        direct = Counts()
        for function, cost in self.own.items():
            direct.own[Function("", "jumps between shared objects") if function.is_jump else function].add(cost)
        for (caller, callee), calls in self.calls.items():
            if not caller.is_jump:
                direct.calls[caller, leads_to.get(callee, callee)].add(calls)
        return direct

    def on_behalf(self) -> dict[Function, float]:
        """Instructions of libraries by the function of ours that had them work. What nobody of ours did is left out.

        A function that several call is shared out by what the calls of each cost.
        """
        callers: dict[Function, list[tuple[Function, float]]] = defaultdict(list)
        for (caller, callee), calls in self.calls.items():
            if calls.cost.instructions > 0 and caller != callee and not callee.is_ours:
                callers[callee].append((caller, calls.cost.instructions))
        found: dict[Function, float] = defaultdict(float)
        waiting = {function: cost.instructions for function, cost in self.own.items() if not function.is_ours}
        for _ in range(ROUNDS_MAX):
            handed_up: dict[Function, float] = defaultdict(float)
            for callee, amount in waiting.items():
                weights = sum(weight for _, weight in callers[callee])
                for caller, weight in callers[callee]:
                    (found if caller.is_ours else handed_up)[caller] += amount * weight / weights
            waiting = handed_up
        return found


def read(lines: Iterable[str]) -> Counts:
    """One file of callgrind's."""
    counts = Counts()
    names: dict[tuple[str, str], str] = {}  # callgrind tells each once
    place = called_place = ""
    function = callee = Function("", "")
    calls: int | None = None
    for line in lines:
        if line[:1].isdigit() or line[:1] in ("+", "-", "*"):
            cost = Cost(*map(float, line.split()[1:]))
            if calls is None:
                counts.own[function].add(cost)
            else:  # 0 of one that is older than the file
                counts.calls[function, callee].add(Calls(calls, cost))
                calls = None
        elif line.startswith("calls="):
            calls = int(line.removeprefix("calls=").split()[0])
        elif match := _NAME.match(line):
            if match[4] is not None:
                names[match[2], match[3]] = match[4].strip()
            name = names[match[2], match[3]]
            if match[2] == "ob":
                called_place = name.rpartition("/")[2]
                place = place if match[1] else called_place
            elif match[1]:
                callee, called_place = _function(called_place, name), place
            else:
                function, called_place = _function(place, name), place
    return counts


def _function(place: str, name: str) -> Function:
    name, _, level = name.partition("'")
    return Function(place, name, int(level or 1))
