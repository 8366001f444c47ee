"""The disk is full, at any write: publishers wait and are told, consumers go on, nothing is confirmed that is not on
disk; when there is room again all goes on by itself. Also killed or stopped while it is full, and full at the start.

Three disks: a limit on the size of files, a small file system (for root), and one that says that it is full (shim).
"""

import contextlib
import errno
import os
import resource
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from tests.durability.campaign import Campaign, Run
from tests.durability.errors import shim
from tests.durability.faults import damage
from tests.durability.faults.base import NO_SOCKET, Fault, Launch
from tests.durability.faults.truncate import refusal_complaint
from tests.durability.ledger import PERSISTENT
from tests.server.serving import NotReady
from tests.support.raw_peer import PeerError, RawPeer

GOES_ON_S: Final = 8.0
ALARM_S: Final = 1.5
SLACK_BYTES: Final = 131_072
ROOM_BYTES: Final = 256 << 20  # well above the limit at which the alarm of the disk ends
LIMITED_LEAST: Final = 262_144  # the log must fit
AT_START_SHARE: Final = 0.15
STOPPED: Final = 1
END_TIMEOUT_S: Final = 20.0
NO_ROOM: Final = "No space left on device|quota exceeded|File too large|disk is full"


class Disk:
    """One that can be filled and emptied while a broker runs on it."""

    def prepare(self, campaign: Campaign, launch: Launch) -> None:
        """Before a start."""

    def fill(self, run: Run) -> None:
        raise NotImplementedError

    def fill_before(self, campaign: Campaign, launch: Launch) -> None:
        """So that the broker finds it full."""
        raise NotImplementedError

    def empty(self, run: Run | None) -> None:
        raise NotImplementedError


class Limited(Disk):
    """No file may be larger than now, or than some page that is written again."""

    def fill(self, run: Run) -> None:
        run.limit(resource.RLIMIT_FSIZE, self.limit(run.campaign, run.log_path))

    def limit(self, campaign: Campaign, log: Path) -> int:
        size = damage.data_file(campaign).stat().st_size
        least = max(LIMITED_LEAST, log.stat().st_size + LIMITED_LEAST)
        return max(least, campaign.random.choice((size, campaign.random.randint(size // 2, size + SLACK_BYTES))))

    def fill_before(self, campaign: Campaign, launch: Launch) -> None:
        limit = self.limit(campaign, campaign.directory / "stderr.txt")
        launch.before_exec = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def empty(self, run: Run | None) -> None:
        if run is not None:
            run.limit(resource.RLIMIT_FSIZE, resource.RLIM_INFINITY)


class Small(Disk):
    """A file system of its own in memory, filled by another file."""

    def __init__(self, data: Path) -> None:
        self.filler = data / "filler"

    def fill(self, run: Run) -> None:
        self.take_all(run.campaign.random.randrange(SLACK_BYTES))

    def take_all(self, slack: int) -> None:
        with self.filler.open("wb", buffering=0) as file:
            for piece in (1 << 20, 4096):
                with contextlib.suppress(OSError):
                    while file.write(bytes(piece)) == piece:
                        pass
            file.truncate(max(0, file.tell() - slack))

    def fill_before(self, campaign: Campaign, launch: Launch) -> None:
        if campaign.random.random() < 0.7:
            shutil.rmtree(campaign.data / "scratch", ignore_errors=True)  # as a clean stop does
        self.take_all(0)

    def empty(self, run: Run | None) -> None:
        self.filler.unlink(missing_ok=True)


class Failing(Disk):
    """Says that it is full from some write on: with an error, or after half of the bytes."""

    def __init__(self, directory: Path) -> None:
        self.switch = shim.Switch(directory)

    def prepare(self, campaign: Campaign, launch: Launch) -> None:
        launch.environ.update(self.switch.environ)

    def fill(self, run: Run) -> None:
        self.tell(run.campaign, let=run.campaign.random.choice((0, 0, 1, 2, 5, 20)))

    def tell(self, campaign: Campaign, let: int) -> None:
        chance = campaign.random
        error = chance.choice((errno.ENOSPC, errno.ENOSPC, errno.EDQUOT))
        self.switch.fail(shim.WRITE | shim.ROOM, error, let=let, is_partial=chance.random() < 0.4)

    def fill_before(self, campaign: Campaign, launch: Launch) -> None:
        self.tell(campaign, let=0)

    def empty(self, run: Run | None) -> None:
        self.switch.heal()


class FullDisk(Fault):
    """See the module."""

    name = "full-disk"

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()

    def cycle(self, campaign: Campaign) -> None:
        with self.disk(campaign) as disk:
            launch = campaign.launch()
            disk.prepare(campaign, launch)
            kind = type(disk).__name__.lower()
            if damage.data_file(campaign).exists() and campaign.random.random() < AT_START_SHARE:
                self.seen[f"{kind}, full at the start"] += 1
                self.start_full(campaign, disk, launch)
                return
            ways = (self.go_on, self.go_on, self.kill_while_full, self.stop_while_full)
            way = campaign.random.choice(ways)
            self.seen[f"{kind}, {way.__name__}"] += 1
            campaign.run(lambda run: self.fill(run, disk, way), launch=launch, exit_codes=(0, -signal.SIGKILL, STOPPED))

    @contextlib.contextmanager
    def disk(self, campaign: Campaign) -> Iterator[Disk]:
        kinds = ["limited", "small", "failing"]
        if not can_mount():
            kinds.remove("small")
        if shim.why_not():
            kinds.remove("failing")
        kind = campaign.random.choice(kinds)
        if kind == "small":
            with small_disk(campaign.data):
                yield Small(campaign.data)
        else:
            yield Failing(campaign.directory) if kind == "failing" else Limited()

    # -- while it runs --

    def fill(self, run: Run, disk: Disk, way: Callable[[Run, Disk], None]) -> None:
        chance = run.campaign.random
        run.load_for(chance.uniform(0.05, 0.6) * run.campaign.load_s)
        with publisher(run) as peer:
            disk.fill(run)
            if self.is_told(run, peer):
                self.seen["publishers were told"] += 1
            run.load_for(chance.uniform(0.0, 0.5) * run.campaign.load_s)
            way(run, disk)

    def is_told(self, run: Run, peer: RawPeer) -> bool:
        """The disk need not be full at once: much is written in place."""
        until = time.monotonic() + ALARM_S
        while "disk is full" not in run.log():
            if time.monotonic() > until or run.has_ended(0.02):
                return False
        try:
            peer.expect(0, "connection.blocked", reason="low on disk")
        except (PeerError, OSError) as error:
            run.campaign.ledger.violated("broker failed", f"full, and publishers are not told: {error!r}")
            return False
        return True

    def go_on(self, run: Run, disk: Disk) -> None:
        disk.empty(run)
        ledger = run.campaign.ledger
        confirmed, until = ledger.counts["confirmed"], time.monotonic() + GOES_ON_S
        while ledger.counts["confirmed"] <= confirmed + 50:
            if time.monotonic() > until or run.has_ended(0.02):
                ledger.violated("broker failed", f"there is room again, and nothing goes on\n{run.log()[-2000:]}")
                break
        run.load_for(run.campaign.random.uniform(0.0, 0.3) * run.campaign.load_s)
        if run.campaign.random.random() < 0.5:
            run.signal(signal.SIGTERM)
        else:
            run.kill()

    def kill_while_full(self, run: Run, disk: Disk) -> None:
        run.kill()
        disk.empty(None)

    def stop_while_full(self, run: Run, disk: Disk) -> None:
        """What cannot be written any more must not keep a process for ever that was told to go."""
        run.signal(signal.SIGTERM)
        if not run.has_ended(END_TIMEOUT_S):
            run.campaign.ledger.violated(
                "broker failed", f"it does not stop while the disk is full\n{run.log()[-2000:]}"
            )
            run.kill()
        disk.empty(None)

    # -- at the start --

    def start_full(self, campaign: Campaign, disk: Disk, launch: Launch) -> None:
        """It starts, or says in one line why not; then there is room, and nothing may be missing."""
        disk.fill_before(campaign, launch)
        with campaign.start(launch) as run:
            try:
                run.wait_ready()
                with publisher(run):
                    run.load_for(0.1)
            except NotReady:
                code = run.wait_exit(END_TIMEOUT_S)
                complaint = refusal_complaint(code, run.log(), NO_ROOM)
                if complaint:
                    campaign.ledger.violated("broker failed", f"full at the start: {complaint}\n{run.log()[-2000:]}")
            run.kill()
            if "Traceback" in run.log():
                campaign.ledger.violated("broker failed", f"full at the start: a traceback\n{run.log()[-2000:]}")
        campaign.ledger.on_restart()
        disk.empty(None)
        campaign.audit()

    def notes(self) -> list[str]:
        return [f"{what:<40}{count:>6}" for what, count in sorted(self.seen.items())]


@contextlib.contextmanager
def publisher(run: Run) -> Iterator[RawPeer]:
    """A connection that counts as a publisher's; what it publishes goes nowhere."""
    peer = RawPeer(*run.addresses[0])
    try:
        peer.login()
        peer.open_channel(1)
        peer.publish(1, "", "nowhere", b"", PERSISTENT)
        yield peer
    finally:
        peer.abort()


def can_mount() -> bool:
    return os.geteuid() == 0 and shutil.which("mount") is not None


@contextlib.contextmanager
def small_disk(data: Path) -> Iterator[None]:
    """``data`` lies on a file system of its own meanwhile."""
    data.mkdir(parents=True, exist_ok=True)
    used = sum(path.stat().st_size for path in data.rglob("*") if path.is_file())
    aside = data.with_name("aside")
    data.rename(aside)
    data.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={used + ROOM_BYTES}", "none", str(data)], check=True)
    try:
        shutil.copytree(aside, data, dirs_exist_ok=True, ignore=NO_SOCKET)
        shutil.rmtree(aside)
        yield
        (data / "filler").unlink(missing_ok=True)
        shutil.copytree(data, aside, ignore=NO_SOCKET)
    finally:
        subprocess.run(["umount", "-l", str(data)], check=True)
        data.rmdir()
        if aside.exists():
            aside.rename(data)
