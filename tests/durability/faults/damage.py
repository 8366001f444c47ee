"""What faults that damage the data file have in common: they look at what is left, with the reports at hand."""

import contextlib
import shutil
from pathlib import Path
from typing import Final

from tests.durability.campaign import Campaign, Run
from tests.durability.faults import reports
from tests.durability.faults.pages import Layout
from tests.durability.ledger import Reader
from tests.durability.peer import Delivery, Gone, LoadPeer
from tests.durability.workload import BINDINGS

QUIET_S: Final = 0.05
EXCHANGES: Final = ("all", "route")
THINGS: Final = tuple(f"thing-{number}" for number in range(12))  # what the declarer makes
THING_BINDINGS: Final = tuple(("route", thing, thing) for thing in THINGS)


def data_file(campaign: Campaign) -> Path:
    return campaign.data / "store" / "data.mdb"


class Look:
    """One audit behind damage: what is reported is excused, at the start and while everything is read.

    Segments are checked when they are read, so all queues are read once before the audit reads them for good.
    """

    def __init__(self, campaign: Campaign, layout: Layout) -> None:
        self.campaign = campaign
        self.layout = layout
        self.reports = reports.Reports()
        self.broken_before = sum(campaign.ledger.violations.values())
        self.is_salvaged = False
        self._run: Run | None = None  # the run whose log counts as well

    def keep(self, run: Run) -> None:
        """What ``run`` says until its end counts as reported too."""
        self._run = run

    def audit(self) -> None:
        """Start, read, compare."""
        if self._run is not None:
            self._note(self._run.log())
        self.campaign.audit(on_ready=self._on_ready)
        for path in self.campaign.data.glob("store-damaged-*"):
            self.is_salvaged = True
            self.campaign.ledger.counts["stores that were salvaged"] += 1
            shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _on_ready(self, run: Run) -> None:
        known = len(run.log())
        self._note(run.log()[:known])
        for queue in self.campaign.ledger.open_from:
            self._read(run, queue)
        self._note(run.log()[known:])

    def _note(self, log: str) -> None:
        queues = [*self.campaign.ledger.marks, *THINGS]
        bindings = [*((exchange, queue, key) for queue, exchange, key in BINDINGS), *THING_BINDINGS]
        found = reports.Reader(self.layout.queue_names, EXCHANGES, queues, bindings).read(log)
        found.excuse(self.campaign.ledger)
        self.reports.add(found)
        self.campaign.ledger.counts["reports that name a table only"] += len(found.vague)

    def _read(self, run: Run, queue: str) -> None:
        """Have everything in the queue delivered, and give it back."""
        try:
            peer = LoadPeer(*run.addresses[0])
            with contextlib.closing(peer.socket):
                self._read_all(peer, queue)
        except Gone as gone:
            self.campaign.ledger.violated("broker failed", f"while {queue} is read: {gone.said}\n{run.log()[-2000:]}")

    def _read_all(self, peer: LoadPeer, queue: str) -> None:
        reader = Reader(queue, is_alone=True)
        answer, events = peer.call("basic.consume", queue=queue)
        if answer.name == "channel.close":
            return  # the queue is gone, which the audit judges
        while True:
            for event in events:
                if isinstance(event, Delivery):
                    self.campaign.ledger.deliver(reader, event)
            if peer.wait(QUIET_S):
                events = list(peer.read())
                continue
            answer, events = peer.call("queue.declare", queue=queue, passive=True)
            if answer["message_count"] == 0 and not events:
                return
