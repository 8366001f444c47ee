"""A write or a sync of the data file fails with EIO: the batch is never confirmed, the broker stops with exit code 1
and one line, and nothing that was confirmed is missing after the next start, on a disk that is well again.

Half of the runs go on from what the disk holds, not from what the kernel's cache says: pages that a failed sync was to
write are not there then (``errors/shim.c``).
"""

import errno
import shutil
import signal
from collections import Counter
from typing import Final

from tests.durability.campaign import Campaign, Run
from tests.durability.errors import shim
from tests.durability.faults import damage
from tests.durability.faults.base import Fault

STOPPED: Final = 1
STOPS_S: Final = 6.0
CALLS: Final = {"write": shim.WRITE, "meta": shim.META, "sync": shim.SYNC}
FULL_SHARE: Final = 0.3
LAST_WORDS: Final = "the broker stops"


class IoError(Fault):
    """See the module."""

    name = "io-error"

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def why_not(self) -> str:
        return shim.why_not()

    def cycle(self, campaign: Campaign) -> None:
        chance = campaign.random
        launch = campaign.launch()
        file = damage.data_file(campaign)
        disk = campaign.directory / "disk"
        is_from_disk = file.exists() and chance.random() < 0.5
        number = file.stat().st_ino if file.exists() else 0  # another one: the broker has made the file anew, smaller
        if is_from_disk:
            shutil.copyfile(file, disk)
        self.switch = shim.Switch(campaign.directory, disk=disk if is_from_disk else None)
        launch.environ.update(self.switch.environ)
        self.call = chance.choice([*CALLS])
        is_full = chance.random() < FULL_SHARE
        act = self.strike_while_full if is_full else self.strike
        broken = sum(campaign.ledger.violations.values())
        code = campaign.run(act, launch=launch, exit_codes=(STOPPED, -signal.SIGKILL, *((0,) if is_full else ())))
        self.seen[f"{self.call}{', full at the same time' if is_full else ''}: exit code {code}"] += 1
        if is_from_disk and file.stat().st_ino == number:
            disk.replace(file)
            self.seen["went on from the disk"] += 1
        campaign.audit()
        if sum(campaign.ledger.violations.values()) > broken:
            campaign.ledger.examples.append(f"... after EIO: {self.call}, {is_full=}, {is_from_disk=}")

    def strike(self, run: Run) -> None:
        """Once; the promise is gone for good."""
        campaign = run.campaign
        run.load_for(campaign.random.uniform(0.05, 0.8) * campaign.load_s)
        self.switch.fail(
            CALLS[self.call],
            errno.EIO,
            let=campaign.random.choice((0, 0, 1, 3, 10)),
            times=campaign.random.choice((1, 1, shim.FOR_EVER)),
            is_partial=campaign.random.random() < 0.3,
            is_stale=campaign.random.random() < 0.5,
        )
        if not run.has_ended(STOPS_S):
            campaign.ledger.violated("broker failed", f"it goes on after EIO ({self.call})\n{run.log()[-2000:]}")
            run.kill()
        elif LAST_WORDS not in run.log():
            campaign.ledger.violated("broker failed", f"no last words after EIO ({self.call})\n{run.log()[-2000:]}")

    def strike_while_full(self, run: Run) -> None:
        """It may look like a full disk then, which is waited out: what is tried again must be written as a whole."""
        campaign = run.campaign
        run.load_for(campaign.random.uniform(0.05, 0.8) * campaign.load_s)
        self.switch.fail(
            CALLS[self.call] | shim.ROOM,
            errno.EIO if campaign.random.random() < 0.5 else errno.ENOSPC,
            let=campaign.random.choice((0, 1)),
            times=campaign.random.randint(2, 6),
            is_stale=campaign.random.random() < 0.5,
        )
        run.load_for(campaign.random.uniform(0.1, 2.5))
        run.kill()

    def notes(self) -> list[str]:
        return [f"{what:<48}{count:>6}" for what, count in sorted(self.seen.items())]
