"""The power is cut: whatever was not synced is lost, torn or reordered, and nothing that was confirmed may be missing.

One run of the broker is recorded (``disk/``) and killed: at any moment, or behind the next few writes and syncs, so
that the narrow places are hit. From the record follow many directories that a disk might hold; each is one power cut,
with an audit of its own against a copy of the ledger. With one more of them the campaign goes on.
"""

import copy
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final

from tests.durability.campaign import BrokerStuck, Campaign, Run
from tests.durability.disk import shim
from tests.durability.disk.fate import Fate
from tests.durability.disk.history import History
from tests.durability.disk.image import Disk
from tests.durability.disk.log import Log
from tests.durability.faults import reports
from tests.durability.faults.base import Fault

SKIP: Final = "scratch"  # it is emptied at start: whatever it holds
IMMATERIAL: Final = ("lock",)  # the number of a process that is gone
AT_START_SHARE: Final = 0.12
AIMED_SHARE: Final = 0.75
RECORDS: Final = 14  # about two commits
AIM_S: Final = 0.5  # an idle broker writes nothing
FATES: Final = (Fate.LOST, Fate.LAST, Fate.ONE_LOST, Fate.TORN, Fate.TORN, Fate.TORN)
TRIES: Final = 12  # for images that differ
JUNK_SHARE: Final = 0.2
NOISE_BYTES: Final = 20_000
AUDITS_AT_ONCE: Final = 2


@dataclass(slots=True)
class Image:
    """A directory that a disk might hold, to be made again from its seed."""

    directory: Path  # it is ``data`` in there
    fate: Fate
    seed: int
    is_junk: bool  # the scratch directory holds noise

    def make(self, disk: Disk, directory: Path | None = None) -> bytes:
        data = (directory or self.directory) / "data"
        chance = Random(self.seed)
        digest = disk.image(data, self.fate, chance)
        if self.is_junk:
            (data / SKIP).mkdir()
            (data / SKIP / "data.mdb").write_bytes(chance.randbytes(NOISE_BYTES))
        return digest


class PowerCut(Fault):
    """See the module. ``images``: how many of one record are audited at most. ``is_strict``: a new file needs its
    directory synced."""

    name = "power-cut"
    weight = 2

    def __init__(self, images: int = 4, *, is_strict: bool = True) -> None:
        self.images = images
        self.is_strict = is_strict
        self.seen: Counter[str] = Counter()
        self.start_records = 40
        self.log: Log

    def why_not(self) -> str:
        return shim.why_not()

    def cycle(self, campaign: Campaign) -> None:
        place = campaign.directory / "power"
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        history = self.record(campaign, place)
        disk = Disk(history, place / "settled", is_strict=self.is_strict, immaterial=IMMATERIAL)
        images = self.choose(disk, place, campaign.random)
        uncertain = "nothing was uncertain" if history.is_settled(IMMATERIAL) else "something was uncertain"
        self.seen[f"records: {uncertain}"] += 1
        self.seen[f"records: died in {history.unfinished}"] += 1
        self.go_on(campaign, disk, images[0], place)
        self.audit(campaign, disk, images[1:] or images)
        campaign.ledger.counts["power cuts"] += len(images)
        for image in images:
            self.seen[f"cuts: {image.fate.value}"] += 1
        shutil.rmtree(place)

    # -- the record --

    def record(self, campaign: Campaign, place: Path) -> History:
        """One run of the broker, killed."""
        base = place / "base"
        if campaign.data.exists():
            shutil.copytree(campaign.data, base, ignore=shutil.ignore_patterns(SKIP, "*.sock"))
        else:
            base.mkdir()
        launch = campaign.launch()
        with Log(place / "log") as self.log:
            launch.environ.update(shim.environ(shim.build(place), self.log.path, campaign.data, SKIP))
            if campaign.random.random() < AT_START_SHARE:
                self.log.kill_behind(campaign.random.randint(1, self.start_records + RECORDS))
                self.seen["records: killed while starting"] += 1
            campaign.run(self.strike, launch=launch, on_ready=self.note_start, may_die=True, exit_codes=(-9,))
            return History(base, self.log.records(), SKIP)

    def note_start(self, run: Run) -> None:
        self.start_records = self.log.count

    def strike(self, run: Run) -> None:
        chance = run.campaign.random
        ended = run.load_for(chance.uniform(0.02, 1.0) * run.campaign.load_s)
        if not ended and chance.random() < AIMED_SHARE:
            self.log.kill_behind(chance.randint(1, RECORDS))
            run.has_ended(AIM_S)
        run.kill()

    # -- the images --

    def choose(self, disk: Disk, place: Path, chance: Random) -> list[Image]:
        """All that differ of some tries, up to as many as wanted; the extremes first, all are made."""
        found: list[Image] = []
        digests = set()
        for attempt in range(TRIES):
            fate = FATES[attempt] if attempt < len(FATES) else Fate.TORN
            image = Image(place / f"image-{attempt}", fate, chance.randrange(1 << 30), chance.random() < JUNK_SHARE)
            digest = image.make(disk)
            if digest in digests:
                shutil.rmtree(image.directory)
                continue
            digests.add(digest)
            found.append(image)
            if len(found) > self.images:
                break
        chance.shuffle(found)
        return found

    def go_on(self, campaign: Campaign, disk: Disk, image: Image, place: Path) -> None:
        """With what is on this disk; the campaign's own audit will see to it."""
        image.make(disk, place / "next")
        shutil.rmtree(campaign.data, ignore_errors=True)
        (place / "next" / "data").rename(campaign.data)

    # -- the audits --

    def audit(self, campaign: Campaign, disk: Disk, images: list[Image]) -> None:
        forks = [self.fork(campaign, image) for image in images]
        with ThreadPoolExecutor(AUDITS_AT_ONCE) as pool:
            list(pool.map(_audit, forks))
        for fork, image in zip(forks, images, strict=True):
            campaign.runs += fork.runs
            if fork.ledger.is_clean:
                continue
            kept = campaign.directory / f"broken-{self.seen['cuts that broke a promise']}"
            self.seen["cuts that broke a promise"] += 1
            image.make(disk, kept)
            _merge(campaign, fork, f"{image.fate.value}, as it was in {kept}, the log in {kept / 'stderr.txt'}")
            shutil.copyfile(fork.directory / "stderr.txt", kept / "stderr.txt")

    def fork(self, campaign: Campaign, image: Image) -> Campaign:
        """The same campaign up to now, on this image."""
        fork = Campaign(image.directory, image.seed, *campaign.options, environ=campaign.environ)
        fork.workload = copy.deepcopy(campaign.workload)
        fork.ledger = fork.workload.ledger
        fork.ledger.violations.clear()
        fork.ledger.examples.clear()
        return fork

    # -- the report --

    def notes(self) -> list[str]:
        return [f"{what:<48}{count:>6}" for what, count in sorted(self.seen.items())]

    def complaint(self, cycles: int) -> str:
        if cycles >= 5 and not self.seen["records: something was uncertain"]:
            return "nothing was ever uncertain: it never hit a write ahead of its sync"
        return ""


def _audit(fork: Campaign) -> None:
    try:
        fork.audit()
    except BrokerStuck:
        return  # the ledger has it
    damage = [found["words"] for found in reports.DAMAGE.finditer(fork.last_log)]
    if damage:
        fork.ledger.violated("broker failed", f"it reports damage: {damage[0]}")


def _merge(campaign: Campaign, fork: Campaign, where: str) -> None:
    ledger = campaign.ledger
    for kind, count in fork.ledger.violations.items():
        if count:
            ledger.violated(kind, f"{where}:")
            ledger.violations[kind] += count - 1
    ledger.examples += [f"... {example}" for example in fork.ledger.examples]
