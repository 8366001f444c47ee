"""The crash laboratory: load, a fault, a start, an audit, again and again, and a table of broken promises.

    python -m tests.durability.lab --cycles 1000 --seed 1
    python -m tests.durability.lab --cycles 200 --fault flip --fault full-disk

Without ``--fault`` all of them take turns on one data directory. A turn is up to three cycles of one fault and an
audit of everything, so that what is found is found with the fault that did it. Exit code 1 when a promise was broken,
or a fault was not what it says it is.
"""
# ruff: noqa: T201 - a program, it prints

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TextIO

from tests.durability.campaign import BrokerStuck, Campaign
from tests.durability.faults import PLACES, make_fault
from tests.durability.faults.base import Fault
from tests.durability.faults.flip import Flip
from tests.durability.faults.pages import AIMS
from tests.durability.ledger import KINDS, ON_DISK

CYCLES_A_TURN: Final = 3
PLAIN_EVERY_S: Final = 5.0
BAR_WIDTH: Final = 24


@dataclass(slots=True)
class Tally:
    """What one fault's turns have come to."""

    cycles: int = 0
    runs: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    violations: Counter[str] = field(default_factory=Counter)


class Laboratory:
    """Faults in turn, on one campaign."""

    def __init__(self, campaign: Campaign, faults: Sequence[Fault]) -> None:
        self.campaign = campaign
        self.faults = list(faults)
        self.tallies = {fault.name: Tally() for fault in faults}
        self.cycles = 0
        self.first_broken = 0  # the cycle in which, or in the audit behind which, a promise was first seen broken
        self.first_kinds = ""

    def run(self, cycles: int, after: Callable[[str], None] = lambda _: None, *, is_impatient: bool = False) -> None:
        """``after`` is called with the fault's name after every cycle. ``is_impatient``: the first broken promise
        ends it."""
        try:
            while self.cycles < cycles and not (is_impatient and self.broken):
                self.take_turn(cycles, after)
            if not is_impatient:
                self.account(self.faults[-1], lambda: self.campaign.audit(is_final=True))
        except BrokerStuck:
            self.note_broken()

    def take_turn(self, cycles: int, after: Callable[[str], None]) -> None:
        """Up to three cycles of one fault, and an audit."""
        fault = self.choose()
        tally = self.tallies[fault.name]
        for _ in range(min(self.campaign.random.randint(1, CYCLES_A_TURN), cycles - self.cycles)):
            self.cycles += 1
            tally.cycles += 1
            self.account(fault, lambda: fault.cycle(self.campaign))
            after(fault.name)
        self.account(fault, self.campaign.audit)
        if len(self.faults) > 1 and self.campaign.ledger.was_excused:
            self.campaign.renew()  # what is reported once is reported at every start, and other faults ask for silence

    def choose(self) -> Fault:
        """By weight, but none waits for ever: the one that is furthest behind its share."""
        return min(self.faults, key=lambda fault: (self.tallies[fault.name].cycles / fault.weight, fault.name))

    def account(self, fault: Fault, work: Callable[[], object]) -> None:
        """Do ``work``; what it counts and breaks is the fault's."""
        ledger, tally = self.campaign.ledger, self.tallies[fault.name]
        counts, violations, runs = ledger.counts.copy(), ledger.violations.copy(), self.campaign.runs
        try:
            work()
        finally:
            tally.runs += self.campaign.runs - runs
            tally.counts.update(ledger.counts - counts)
            tally.violations.update(ledger.violations - violations)
            self.note_broken()

    def note_broken(self) -> None:
        if self.broken and not self.first_broken:
            self.first_broken = self.cycles
            self.first_kinds = "; ".join(kind for kind, count in self.campaign.ledger.violations.items() if count)

    @property
    def broken(self) -> int:
        return sum(self.campaign.ledger.violations.values())

    def complaints(self) -> list[str]:
        """What was wrong with the faults themselves."""
        found = [(fault.name, fault.complaint(self.tallies[fault.name].cycles)) for fault in self.faults]
        return [f"{name}: {words}" for name, words in found if words]

    # -- the report --

    def table(self) -> str:
        """A column a fault, and one for all; then every other count, what the faults noted, and the first examples."""
        columns = [*self.tallies.items(), ("all", self.sum())] if len(self.tallies) > 1 else [*self.tallies.items()]
        tallies = [tally for _, tally in columns]
        rows = [
            ("cycles", [tally.cycles for tally in tallies]),
            ("runs of the broker", [tally.runs for tally in tallies]),
            *((name, [tally.counts[name] for tally in tallies]) for name in ("confirmed", "delivered", ON_DISK)),
            *((kind, [tally.violations[kind] for tally in tallies]) for kind in KINDS),
        ]
        lines = [f"{'':<32}" + "".join(f"{name:>13}" for name, _ in columns)]
        lines += [f"{name:<32}" + "".join(f"{value:>13,}" for value in values) for name, values in rows]
        lines += ["", "altogether:"]
        lines += [f"  {name:<42}{count:>13,}" for name, count in sorted(self.campaign.ledger.counts.items())]
        for fault in self.faults:
            lines += [f"{fault.name}: {note}" for note in fault.notes()]
        return "\n".join([*lines, *self.complaints(), *self.campaign.ledger.examples])

    def sum(self) -> Tally:
        """All faults together."""
        everything = Tally()
        for tally in self.tallies.values():
            everything.cycles += tally.cycles
            everything.runs += tally.runs
            everything.counts.update(tally.counts)
            everything.violations.update(tally.violations)
        return everything


class Progress:
    """How far it is: one line that is written again and again on a terminal, a line every few seconds elsewhere."""

    def __init__(self, laboratory: Laboratory, cycles: int, out: TextIO) -> None:
        self.laboratory = laboratory
        self.cycles = cycles
        self.out = out
        self.is_terminal = out.isatty()
        self.began = time.monotonic()
        self.said_at = self.began

    def after(self, fault: str) -> None:
        now = time.monotonic()
        if self.is_terminal:
            self.out.write(f"\r\x1b[K{self.line(fault, now)}")
            self.out.flush()
        elif now - self.said_at >= PLAIN_EVERY_S:
            self.said_at = now
            print(self.line(fault, now), file=self.out, flush=True)

    def line(self, fault: str, now: float) -> str:
        done = self.laboratory.cycles
        rate = done / max(now - self.began, 1e-9)
        left = round((self.cycles - done) / rate)
        filled = BAR_WIDTH * done // self.cycles
        bar = "#" * filled + "." * (BAR_WIDTH - filled)
        return (
            f"[{bar}] {done:,}/{self.cycles:,} cycles, {rate:.2f}/s, {left // 60}:{left % 60:02} left, "
            f"{self.laboratory.broken} broken promises, {fault}"
        )

    def end(self) -> None:
        if self.is_terminal:
            self.out.write("\n")


def chosen_faults(names: Sequence[str], aims: Sequence[str], say: Callable[[str], None]) -> list[Fault]:
    """The named ones or all; those that cannot be tried here are named with the reason, and left out unless asked
    for."""
    faults = []
    for name in names or PLACES:
        fault = make_fault(name)
        if aims and isinstance(fault, Flip):
            fault.aims = tuple(aims)
        reason = fault.why_not()
        if reason and names:
            raise SystemExit(f"{name} cannot be tried here: {reason}")
        if reason:
            say(f"without {name}: {reason}")
        else:
            faults.append(fault)
    return faults


def main(arguments: Sequence[str] | None = None) -> int:
    """The program."""
    options = parse(arguments)
    laboratory = Laboratory(
        Campaign(
            Path(options.directory or tempfile.mkdtemp(prefix="amqpd-lab-")),
            options.seed,
            "--backend",
            options.backend,
            environ={"AMQPD_QUEUE_WINDOW_BYTES": str(options.window_bytes)} if options.window_bytes else {},
            load_s=options.load_s,
        ),
        chosen_faults(options.fault, options.aim, print),
    )
    campaign = laboratory.campaign
    print(f"seed {options.seed}, {options.cycles} cycles, {campaign.directory}", flush=True)
    progress = Progress(laboratory, options.cycles, sys.stdout)
    try:
        laboratory.run(options.cycles, progress.after, is_impatient=options.until_broken)
    finally:
        progress.end()
        print(laboratory.table())
        print(f"seed {options.seed}, {time.monotonic() - progress.began:,.0f} s, {laboratory.broken} broken promises")
    if laboratory.first_broken:
        print(f"first seen in cycle {laboratory.first_broken}: {laboratory.first_kinds}")
        print(f"the data directory is left in {campaign.directory}")
    elif not options.keep:
        shutil.rmtree(campaign.directory)
    return 1 if laboratory.broken or laboratory.complaints() else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.durability.lab", description=__doc__)
    parser.add_argument("--cycles", type=int, default=100)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 30))
    parser.add_argument("--fault", action="append", default=[], choices=[*PLACES], help="only this; may be repeated")
    parser.add_argument(
        "--aim", action="append", default=[], choices=AIMS, help="only there bits flip; may be repeated"
    )
    parser.add_argument("--load-s", type=float, default=0.8, help="the longest time between load and fault")
    parser.add_argument("--window-bytes", type=int, default=0, help="queue_window_bytes of all runs")
    parser.add_argument("--backend", default="asyncio")
    parser.add_argument("--directory", default="", help="where to work; a temporary directory unless given")
    parser.add_argument("--keep", action="store_true", help="leave the data directory behind")
    parser.add_argument("--until-broken", action="store_true", help="end at the first broken promise")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
