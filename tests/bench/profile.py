"""``python -m tests.bench.profile``: what a message costs in machine instructions, function by function.

A compiled broker runs under callgrind, which counts every instruction of it. Each scenario runs three times: to warm
up, with few messages, and with many. What many cost beyond few, divided by how many more they are, is what a message
costs; starting, logging in and declaring drop out. Instructions are the same on a busy machine and on an idle one. What
they do not show is the kernel: of that there are the system calls, and the time in them as it was.

docs/hot-path.md says how to read the report, and holds one.
"""

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeVar

from tests.bench import callgrind, loadgen, machine, programs
from tests.bench.broker import Broker, Launch, Peer, PeerError
from tests.bench.callgrind import AMQPD, Cost, Counts, Function
from tests.bench.peers import COMPILED, Amqpd, prepare
from tests.bench.report import number, table, write_between_marks
from tests.bench.scenarios import SCENARIOS

SECTION: Final = "profile"  # of the page
VALGRIND: Final = (
    "valgrind",
    "--tool=callgrind",
    "--instr-atstart=no",  # which takes a while
    "--fair-sched=yes",  # the threads take turns, as on a processor each
    "--separate-threads=yes",
    "--separate-recs=20",
    "--collect-systime=nsec",
    "--dump-line=no",
)
LOAD_S: Final = 600.0  # for what takes a second without callgrind
RATE: Final = "100"  # a second, where a scenario has one: a turn each, under callgrind too
FILL: Final = "K-fill"
FILL_OPTIONS: Final = "--size 1024 --durable --persistent --confirm 500 --consumers 0 --keep"


@dataclass(frozen=True, slots=True)
class Load:
    """Messages of the run with few, and of the run with many."""

    few: int
    many: int


USUAL: Final = Load(20_000, 100_000)
LOADS: Final = {
    "F-64K": Load(200, 1_200),
    "J-B": Load(200, 1_200),
    "J-D": Load(200, 1_200),
    "J-only": Load(200, 1_200),
    "L": Load(50, 300),
    "N": Load(2_000, 12_000),
}
# K is two in one: of it the fill. M has no messages, and to bind H-100K's takes callgrind too long.
NAMES: Final = [*(name for name in SCENARIOS if name not in ("K", "M", "H-100K")), FILL]


class Watched(Peer):
    """A compiled amqpd under callgrind."""

    name = "amqpd-callgrind"
    confirm = ""

    def __init__(self, amqpd: Peer) -> None:
        self._amqpd = amqpd
        self.version = amqpd.version
        self.output = Path()

    def launch(self, directory: Path, port: int) -> Launch:
        plain = self._amqpd.launch(directory, port)
        self.output = directory.parent / "callgrind"
        command = [*VALGRIND, f"--callgrind-out-file={self.output}", *plain.command]
        return Launch(command, plain.environment | {"PYTHONHASHSEED": "0"}, plain.helpers)


@dataclass(frozen=True, slots=True)
class Profile:
    """Of one scenario, a message each; ``threads``: the loop's first."""

    scenario: str
    messages: int
    threads: list[Counts]

    def counts(self) -> Counts:
        """Of all threads."""
        counts = Counts()
        for thread in self.threads:
            counts.add(thread)
        return counts

    def on_behalf(self) -> dict[Function, float]:
        """``Counts.on_behalf`` of each thread by itself: what works for one does not work for another."""
        found: dict[Function, float] = defaultdict(float)
        for thread in self.threads:
            for function, instructions in thread.on_behalf().items():
                found[function] += instructions
        return found


def measure(name: str, load: Load, amqpd: Peer, workshop: Path, amqpload: Path) -> Profile:
    """Raises PeerError when the broker or the load fails."""
    watched = Watched(amqpd)
    broker = Broker(watched, workshop, amqpload)
    try:
        _tell(broker, "instrumentation", "on")
        for life, messages in enumerate((load.few, load.few, load.many)):
            outcome = loadgen.run(amqpload, broker.port, options(name, messages, life), LOAD_S)
            if outcome.message:
                raise PeerError(f"{name}: {outcome.message}")
            _tell(broker, "dump")
        few, many = (threads(watched.output, part) for part in (2, 3))
    finally:
        broker.stop()
    return difference(name, load, few, many)


def _tell(broker: Broker, *words: str) -> None:
    subprocess.run(["vgdb", f"--pid={broker.pid}", *words], check=True, capture_output=True)


def options(name: str, messages: int, life: int) -> list[str]:
    """amqpload's, for so many messages; ``life`` tells the queues of one run from those of another."""
    if name == FILL:
        return [*FILL_OPTIONS.split(), "--messages", str(messages), "--prefix", f"profile{life}"]
    mine = list(SCENARIOS[name].options)
    if "--rate" in mine:
        mine[mine.index("--rate") + 1] = RATE
    for option in ("--connections-only", "--prefill"):
        if option in mine:
            mine[mine.index(option) + 1] = str(messages)
            return mine
    return [*mine, "--messages", str(messages)]


def threads(output: Path, part: int) -> list[Counts]:
    """What each thread did since the dump before; the first is the loop's."""
    files = sorted(output.parent.glob(f"{output.name}.{part}-*"))
    return [callgrind.read(path.read_text().splitlines()).without_jumps() for path in files]


def difference(name: str, load: Load, few: list[Counts], many: list[Counts]) -> Profile:
    """What one message costs of those that ``many`` has beyond ``few``."""
    messages = load.many - load.few
    each = [Counts() for _ in max(few, many, key=len)]
    for run, times in ((many, 1 / messages), (few, -1 / messages)):
        for counts, its in zip(each, run, strict=False):
            counts.add(its, times)
    return Profile(name, messages, each)


# --- the report -----------------------------------------------------------------------------------------------------

ELSEWHERE: Final = "none of them: the pump, the event loop, the committer"
LIBRARIES: Final = {
    "libpython": "CPython",
    "python3": "CPython",
    "libc.so": "libc",
    "ld-linux": "the dynamic linker",
    "_socket": "socket",
    "_asyncio": "asyncio",
    "strings": "librt",
    "cpython": "lmdb",
    AMQPD: "mypyc",
}
SHARE_MIN: Final = 0.005  # of a scenario: less is not told
SYSTEM_CALLS_MIN: Final = 0.0005  # a message

Key = TypeVar("Key")


def render(profiles: list[Profile], top: int, facts: dict[str, str]) -> str:
    parts = [_modules(profiles), *(_scenario(profile, top) for profile in profiles)]
    parts += ["## What was counted, on what", "\n".join(f"* {name}: {value}" for name, value in facts.items())]
    return "\n\n".join(parts) + "\n"


def _modules(profiles: list[Profile]) -> str:
    """A row a module, a column a scenario."""
    columns = {profile.scenario: by_module(profile) for profile in profiles}
    told = {
        module: max(values[module] / sum(values.values()) for values in columns.values() if module in values)
        for module in dict.fromkeys(module for values in columns.values() for module in values)
    }
    rows = [
        [module, *(number(values.get(module)) for values in columns.values())]
        for module in sorted(told)
        if told[module] >= SHARE_MIN and module != ELSEWHERE
    ]
    rows.append([ELSEWHERE, *(number(values[ELSEWHERE]) for values in columns.values())])
    rows.append(["**all**", *(f"**{number(sum(values.values()))}**" for values in columns.values())])
    return "## Module by module\n\n" + table("|".join(["module", *columns]), "l" + " r" * len(columns), rows)


def by_module(profile: Profile) -> dict[str, float]:
    """Instructions of each compiled module, its own and those of libraries on its behalf; and all others."""
    counts = profile.counts()
    modules: dict[str, float] = defaultdict(float)
    for function, instructions in profile.on_behalf().items():
        modules[_dotted(function)[0]] += instructions
    for function, cost in counts.own.items():
        if function.is_ours:
            modules[_dotted(function)[0]] += cost.instructions
    modules[ELSEWHERE] = counts.total().instructions - sum(modules.values())
    return modules


def _scenario(profile: Profile, top: int) -> str:
    name, counts = profile.scenario, profile.counts()
    total, plain = counts.total(), counts.plain()
    elsewhere = sum(thread.total().instructions for thread in profile.threads[1:])
    what = SCENARIOS[name].what if name in SCENARIOS else "the fill of K, beyond what a queue keeps in memory"
    each = "connection" if name == "L" else "message"
    summary = (
        f"A {each}: {number(total.instructions)} instructions, {number(elsewhere)} of them "
        f"outside of the loop's thread; {number(total.system_calls)} system calls, {number(total.busy_ns / 1e3)} us of "
        f"processor in them. Counted over {profile.messages:,}."
    )
    sections = {
        "Functions of amqpd": _ours(profile, counts.inclusive(), plain, top),
        "Functions of all, alone": _alone(plain, total, top),
        "Calls out of amqpd": _calls_out(plain, top),
        "System calls": _system_calls(plain, top),
    }
    tables = [f"{title}:\n\n{text}" for title, text in sections.items()]
    return "\n\n".join([f"## {name}: {what}", summary, *tables])


def _ours(profile: Profile, below: dict[Function, float], plain: Counts, top: int) -> str:
    called = _called(plain)
    library: dict[Function, float] = defaultdict(float)
    for function, instructions in profile.on_behalf().items():
        library[function.plain()] += instructions
    with_library = {
        function: cost.instructions + library[function] for function, cost in plain.own.items() if function.is_ours
    }
    rows = [
        [
            _title(function),
            _frequency(called[function]),
            number(plain.own[function].instructions),
            number(library[function]),
            number(instructions),
            number(below[function]),
        ]
        for function, instructions in _first(with_library, top)
    ]
    return table("function|calls|alone|libraries for it|both|with all below", "l r r r r r", rows)


def _alone(plain: Counts, total: Cost, top: int) -> str:
    called = _called(plain)
    own = {function: cost.instructions for function, cost in plain.own.items()}
    rows = [
        [
            _title(function),
            _frequency(called[function]),
            number(instructions),
            f"{instructions / total.instructions:.1%}",
        ]
        for function, instructions in _first(own, top)
    ]
    return table("function|calls|instructions|share", "l r r r", rows)


def _calls_out(plain: Counts, top: int) -> str:
    cost = {
        pair: calls.cost.instructions for pair, calls in plain.calls.items() if pair[0].is_ours and not pair[1].is_ours
    }
    rows = [
        [_title(pair[0]), _title(pair[1]), _frequency(plain.calls[pair].count), number(instructions)]
        for pair, instructions in _first(cost, top)
    ]
    return table("from|to|calls|instructions, with all below", "l l r r", rows)


def _system_calls(plain: Counts, top: int) -> str:
    busy_us = {
        function: cost.busy_ns / 1e3 for function, cost in plain.own.items() if cost.system_calls > SYSTEM_CALLS_MIN
    }
    rows = [
        [_title(function), _frequency(plain.own[function].system_calls), number(us)]
        for function, us in _first(busy_us, top)
    ]
    return table("in|calls|us of processor", "l r r", rows)


def _called(plain: Counts) -> dict[Function, float]:
    called: dict[Function, float] = defaultdict(float)
    for (_, callee), calls in plain.calls.items():
        called[callee] += calls.count
    return called


def _title(function: Function) -> str:
    if function.is_ours:
        by = " (from the interpreter)" if function.name.startswith("CPyPy_") else ""
        return ".".join(_dotted(function)) + by
    return f"{function.name}, {_library(function.place)}" if function.place else function.name


def _dotted(function: Function) -> list[str]:
    """mypyc's name of a function of ours, taken apart: module, class, and so on."""
    return re.sub(r"^(CPyDef_|CPyPy_|__mypyc__)", "", function.name).split("___")


def _library(place: str) -> str:
    for start, name in LIBRARIES.items():
        if place.startswith(start):
            return name
    return place.partition(".")[0]


def _frequency(calls: float) -> str:
    return number(calls) if calls >= 0.1 else f"{calls:.4f}"


def _first(values: dict[Key, float], top: int) -> Iterable[tuple[Key, float]]:
    return sorted(values.items(), key=lambda item: -item[1])[:top]


# --- the command ----------------------------------------------------------------------------------------------------


def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="amqpd-profile-") as name:
        workshop, built = Path(name), arguments.amqpd
        try:
            amqpd = Amqpd(COMPILED, built.resolve(), compiled=True) if built else prepare([COMPILED], "", workshop)[0]
            amqpload = loadgen.build(workshop)
            profiles = []
            for scenario in arguments.scenario:
                programs.say(f"counting {scenario}")
                profiles.append(measure(scenario, LOADS.get(scenario, USUAL), amqpd, workshop, amqpload))
        except PeerError as error:
            print(f"tests.bench.profile: {error}", file=sys.stderr)
            return 2
    text = render(profiles, arguments.top, _facts(amqpd))
    if arguments.out:
        write_between_marks(arguments.out, text, SECTION)
    else:
        print(text, end="")
    return 0


def _facts(amqpd: Peer) -> dict[str, str]:
    """What instructions depend on: also the processor, for which libc and zlib choose their loops."""
    known = machine.describe(Path.cwd())
    kept = {name: known[name] for name in ("date", "commit", "CPU", "system")}
    command = programs.command("tests.bench.profile")
    return kept | {COMPILED: amqpd.version, "command": f"`{command}`"}


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.profile", description=__doc__.partition("\n")[0])
    parser.add_argument("--scenario", action="append", required=True, choices=NAMES, help="repeatable")
    parser.add_argument("--top", type=int, default=12, help="rows of a table (12)")
    parser.add_argument("--amqpd", type=Path, metavar="DIR", help="a directory that holds a compiled amqpd: build none")
    parser.add_argument("--out", type=Path, help="page whose part between the marks is replaced; default: print it")
    arguments = parser.parse_args()
    if not shutil.which("vgdb"):
        parser.error("valgrind is not installed")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
