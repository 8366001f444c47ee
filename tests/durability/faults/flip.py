"""Bits of the data file flip, between two runs or under a running broker: it must start, name what is damaged, deliver
nothing wrong, and lose nothing that it does not report.

Aimed at every kind of page and row there is (``pages.py``). What the reports cover is excused, all else must be there.
"""

import os
import signal
from collections import Counter
from pathlib import Path
from typing import Final

from tests.durability.campaign import Campaign, Run
from tests.durability.faults import damage
from tests.durability.faults.base import Fault
from tests.durability.faults.pages import AIMS, NOTHING, SEGMENT_KEYS, SEGMENT_VALUES, Layout, Span

LIVE_SHARE: Final = 0.2
CLEAN_SHARE: Final = 0.3
BITS_MAX: Final = 8
STOPPED: Final = 1  # the exit code of a broker that cannot keep its promise
CRASHES: Final = (-signal.SIGBUS, -signal.SIGSEGV, -signal.SIGABRT)  # LMDB trusts what it maps


class Flip(Fault):
    """See the module."""

    name = "flip"

    def __init__(self, aims: tuple[str, ...] = AIMS, live_share: float = LIVE_SHARE) -> None:
        self.aims = aims
        self.live_share = live_share
        self.aimed: Counter[str] = Counter()
        self.reported: Counter[str] = Counter()
        self.known: set[str] = set()  # what lies there damaged is reported at every start

    def cycle(self, campaign: Campaign) -> None:
        if campaign.random.random() < self.live_share:
            self.flip_live(campaign)
        else:
            self.flip_at_rest(campaign)

    # -- between two runs --

    def flip_at_rest(self, campaign: Campaign) -> None:
        campaign.run(self.load)
        layout = Layout(damage.data_file(campaign).read_bytes())
        aim, spans = self.choose(campaign, layout)
        bits = self.flip(campaign, spans)
        look = damage.Look(campaign, layout)
        look.audit()
        words = f"{aim}, bits {bits}, {campaign.directory}"
        self.reported[aim] += bool(look.reports.lines)
        self.judge(campaign, layout, aim, spans, look, words)

    def load(self, run: Run) -> None:
        chance = run.campaign.random
        run.load_for(chance.uniform(0.1, 1.0) * run.campaign.load_s)
        if chance.random() < CLEAN_SHARE:
            run.signal(signal.SIGTERM)
        else:
            run.kill()

    def choose(self, campaign: Campaign, layout: Layout) -> tuple[str, list[Span]]:
        """Where to aim: a kind of place, and as many spans of it as bits are to flip."""
        chance = campaign.random
        aim = chance.choice([aim for aim in self.aims if layout.spans[aim]])
        self.aimed[aim] += 1
        places = layout.spans[aim]
        count = 1 if chance.random() < 0.6 else chance.randint(2, BITS_MAX)
        return aim, chance.choices(places, k=count)

    def flip(self, campaign: Campaign, spans: list[Span]) -> list[tuple[int, int]]:
        """Another bit each; which."""
        chance = campaign.random
        bits: set[tuple[int, int]] = set()
        while len(bits) < len(spans):
            span = spans[len(bits)]
            bits.add((span.start + chance.randrange(span.length), chance.randrange(8)))
        flip_bits(damage.data_file(campaign), bits)
        return sorted(bits)

    def judge(
        self, campaign: Campaign, layout: Layout, aim: str, spans: list[Span], look: damage.Look, words: str
    ) -> None:
        """What must be reported is, what is no damage is not."""
        ledger = campaign.ledger
        if aim == NOTHING and look.reports.lines:
            ledger.violated(
                "broker failed", f"damage is reported where nothing lies: {look.reports.lines[:3]} ({words})"
            )
        # Whoever makes the store anew finds the keys of segments in their values, and has told of it already.
        if aim == SEGMENT_VALUES or (aim == SEGMENT_KEYS and not look.is_salvaged):
            for queue in {layout.queue_of(span) for span in spans} & set(ledger.open_from):
                if not look.reports.names_queue(queue):
                    ledger.violated("broker failed", f"damage in {queue} is not reported ({words})")
        if look.reports.nameless:
            ledger.violated("broker failed", f"a report that names nothing: {look.reports.nameless[:3]} ({words})")
        if sum(ledger.violations.values()) > look.broken_before:
            ledger.examples.append(f"... after a flip: {words}")

    # -- under a running broker --

    def flip_live(self, campaign: Campaign) -> None:
        self.layout = Layout(b"")
        self.words = ""
        look = damage.Look(campaign, self.layout)
        code = campaign.run(self.strike, on_ready=look.keep, exit_codes=(0, -signal.SIGKILL, STOPPED, *CRASHES))
        campaign.ledger.counts[f"flipped live: exit code {code}"] += 1
        look.layout = self.layout
        look.audit()
        if sum(campaign.ledger.violations.values()) > look.broken_before:
            campaign.ledger.examples.append(f"... after a live flip: {self.words}, exit code {code}")

    def strike(self, run: Run) -> None:
        campaign = run.campaign
        run.load_for(campaign.random.uniform(0.1, 0.6) * campaign.load_s)
        self.layout = Layout(damage.data_file(campaign).read_bytes())
        aim, spans = self.choose(campaign, self.layout)
        bits = self.flip(campaign, spans)
        self.words = f"{aim}, bits {bits}"
        if run.load_for(campaign.random.uniform(0.1, 0.6) * campaign.load_s):
            return
        if campaign.random.random() < 0.5:
            run.signal(signal.SIGTERM)
            if run.has_ended(5.0):
                return
        run.kill()

    def notes(self) -> list[str]:
        return [f"{aim:<28}{count:>6} times, {self.reported[aim]:>6} reported" for aim, count in self.aimed.items()]


def flip_bits(path: Path, bits: set[tuple[int, int]]) -> None:
    """Through the page cache, so that who has the file mapped sees it at once."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        for at, bit in bits:
            old = os.pread(descriptor, 1, at)
            if old:
                os.pwrite(descriptor, bytes([old[0] ^ 1 << bit]), at)
    finally:
        os.close(descriptor)
