"""The recorder: what it notes leads from the snapshot to what is there, and LMDB's promises hold on what it allows."""

import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from tests.durability.disk import shim
from tests.durability.disk.fate import Fate
from tests.durability.disk.history import History
from tests.durability.disk.image import Disk
from tests.durability.disk.log import HEAD, Kind, Log, LogFull, NotRecorded, Record
from tests.durability.writer import TICKET
from tests.server.serving import ROOT

pytestmark = pytest.mark.skipif(bool(shim.why_not()), reason=shim.why_not() or "it can be built")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shim.build(tmp_path_factory.mktemp("shim"))


def run(built: Path, log: Log, root: Path, *command: str) -> int:
    environ = {**os.environ, **shim.environ(built, log.path, root, "scratch")}
    return subprocess.run([sys.executable, *command], cwd=ROOT, env=environ, timeout=30, check=False).returncode


def contents(directory: Path) -> dict[str, bytes | None]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes() if path.is_file() else None
        for path in sorted(directory.rglob("*"))
    }


@pytest.mark.parametrize("seed", range(6))
def test_the_record_leads_to_what_is_there(built: Path, tmp_path: Path, seed: int) -> None:
    base, work = tmp_path / "base", tmp_path / "work"
    base.mkdir()
    (base / "a").write_bytes(b"was there")
    (base / "b").write_bytes(b"was there, too" * 1000)
    shutil.copytree(base, work)
    with Log(tmp_path / "log") as log:
        assert run(built, log, work, "-m", "tests.durability.disk.doer", str(work), str(seed), "300") == 0
        history = History(base, log.records(), "scratch")
    disk = Disk(history, tmp_path / "settled")
    disk.image(tmp_path / "kept", Fate.KEPT, Random(seed))
    assert contents(tmp_path / "kept") == contents(work)
    disk.image(tmp_path / "lost", Fate.LOST, Random(seed))
    assert contents(tmp_path / "lost") != contents(work)


def records_of(built: Path, directory: Path, script: str, *, kill_behind: int = 0) -> tuple[int, list[Record]]:
    work = directory / "work"
    work.mkdir()
    with Log(directory / "log") as log:
        if kill_behind:
            log.kill_behind(kill_behind)
        return run(built, log, work, "-c", f"import os; os.chdir({str(work)!r}); {script}"), log.records()


def test_descriptors_with_o_dsync_write_through(built: Path, tmp_path: Path) -> None:
    script = "fd = os.open('a', os.O_CREAT | os.O_WRONLY | os.O_DSYNC); os.write(fd, b'abc')"
    _, records = records_of(built, tmp_path, script)
    assert [(each.kind, each.flags, each.payload) for each in records if each.kind == Kind.WRITE] == [
        (Kind.WRITE, 2, b"abc")
    ]


def test_what_is_mapped_for_writing_is_known_to_be(built: Path, tmp_path: Path) -> None:
    script = "import mmap; fd = os.open('a', os.O_CREAT | os.O_RDWR); os.ftruncate(fd, 9); mmap.mmap(fd, 9)"
    _, records = records_of(built, tmp_path, script)
    assert Kind.MAPPED in [each.kind for each in records]


@pytest.mark.parametrize(("count", "expected"), [(2, b""), (3, b"x"), (4, b"x"), (5, b"xy")])
def test_killed_behind_a_record(built: Path, tmp_path: Path, count: int, expected: bytes) -> None:
    """A file made, and two writes, of which each is two records: it begins, and it has returned."""
    script = "fd = os.open('a', os.O_CREAT | os.O_WRONLY); os.write(fd, b'x'); os.write(fd, b'y')"
    code, records = records_of(built, tmp_path, script, kill_behind=count)
    assert (code, len(records)) == (-signal.SIGKILL, count)
    assert (tmp_path / "work" / "a").read_bytes() == expected


def test_a_full_log_kills(built: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    with Log(tmp_path / "log", HEAD.size + 1000) as log:
        code = run(built, log, work, "-c", f"open({str(work / 'a')!r}, 'wb').write(bytes(2000))")
        assert code == -signal.SIGKILL
        with pytest.raises(LogFull):
            log.records()


def test_a_process_that_is_not_recorded_is_noticed(tmp_path: Path) -> None:
    with Log(tmp_path / "log") as log, pytest.raises(NotRecorded):
        log.records()


# -- LMDB on such a disk: the store alone, with one batch a commit --


UNSYNCED = "import lmdb; real = lmdb.open;lmdb.open = lambda *args, **options: real(*args, **{**options, **%s});"
NO_DIRECTORY_SYNC = "import os; os.fsync = lambda fd: None;"  # LMDB does not call Python's
WRITER = "%simport runpy, sys; runpy.run_module('tests.durability.writer', run_name='__main__', alter_sys=True)"
# Says the newest ticket if everything else is as that ticket left it. A process of its own: the map of a file that is
# too short ends it with SIGBUS.
CHECK = """
import sys
from pathlib import Path
from amqpd.broker.ports import BINDINGS, META, QUEUES, SEGMENTS
from amqpd.store.lmdb_store import LmdbStore
from tests.durability.writer import TICKET, state_after
directory = Path(sys.argv[1])
store = LmdbStore(directory, map_bytes=1 << 20)
newest = store.read(META, b"newest")
ticket = TICKET.unpack(newest)[0] if newest else 0
found = [dict(store.scan(table, b"")) for table in (QUEUES, BINDINGS, SEGMENTS)]
assert found == state_after(ticket)[1:]
assert not list(directory.glob("*damaged*")), "nothing was salvaged"
print(ticket)
"""


def cut(
    built: Path, place: Path, tickets: int, records: int, planted: str = "", *, has_syncs: bool = True
) -> tuple[int, Disk]:
    """A writer that dies so many records behind its ticket of that number; the last ticket that it called durable."""
    place.mkdir()
    work, base = place / "work", place / "base"
    base.mkdir()
    with Log(place / "log") as log:
        environ = {**os.environ, **shim.environ(built, log.path, work, "scratch")}
        command = [sys.executable, "-c", WRITER % planted, str(work), "1"]
        if tickets == 0:
            log.kill_behind(records)
        with subprocess.Popen(command, cwd=ROOT, env=environ, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            said = process.stdout.read(TICKET.size * tickets)
            if tickets:
                log.kill_behind(records)
            said += process.stdout.read()
        assert process.returncode == -signal.SIGKILL
        kept = [record if has_syncs else _failed_sync(record) for record in log.records()]
        history = History(base, kept, "scratch")
    newest: int = TICKET.unpack(said[-TICKET.size :])[0] if said else 0
    return newest, Disk(history, place / "settled")


def _failed_sync(record: Record) -> Record:
    """As if a sync never came back with success; an END of a sync returns 0, that of a write what was written."""
    return record._replace(result=-1) if record.kind == Kind.END and record.result == 0 else record


def broken(disk: Disk, place: Path, said: int, seeds: range) -> Counter[str]:
    """What is wrong with images of it: "unreadable", "lost", and how many are "fine"."""
    found: Counter[str] = Counter()
    digests = set()
    for fate in Fate:
        for seed in seeds:
            target = place / "image"
            digest = disk.image(target, fate, Random(seed))
            if digest not in digests:
                command = [sys.executable, "-c", CHECK, str(target)]
                done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
                is_there = done.returncode == 0 and int(done.stdout) >= said
                found["fine" if is_there else "lost" if done.returncode == 0 else "unreadable"] += 1
                if not is_there:
                    print(f"{fate.value}, seed {seed}, {said} promised: {done.stdout}{done.stderr}")  # noqa: T201
            digests.add(digest)
            shutil.rmtree(target)
    return found


@pytest.mark.slow
def test_what_lmdb_has_synced_survives(built: Path, tmp_path: Path) -> None:
    seen: Counter[str] = Counter()
    for records in range(1, 9):
        place = tmp_path / str(records)
        said, disk = cut(built, place, 10 + records, records)
        seen += broken(disk, place, said, range(2))
    assert set(seen) == {"fine"}
    assert seen["fine"] > 20


@pytest.mark.slow
def test_a_cut_during_the_first_start_leaves_what_starts_again(built: Path, tmp_path: Path) -> None:
    """LMDB does not sync the two meta pages of a new file before the file grows: they may be torn, or noise."""
    seen: Counter[str] = Counter()
    for records in (8, 16, 20, 26):
        place = tmp_path / str(records)
        said, disk = cut(built, place, 0, records)
        disk.is_strict = False
        seen += broken(disk, place, said, range(8))
    assert set(seen) == {"fine"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("planted", "damage"),
    [
        (UNSYNCED % "{'sync': False, 'metasync': False}", {"unreadable", "lost"}),
        (UNSYNCED % "{'metasync': False}", {"lost"}),
        (NO_DIRECTORY_SYNC, {"lost"}),
    ],
    ids=["no sync", "no sync of meta pages", "no sync of directories"],
)
def test_what_was_not_synced_is_lost(built: Path, tmp_path: Path, planted: str, damage: set[str]) -> None:
    """A disk that kept everything would prove nothing."""
    said, disk = cut(built, tmp_path / "cut", 20, 3, planted)
    seen = broken(disk, tmp_path / "cut", said, range(4))
    assert damage <= set(seen), seen


@pytest.mark.slow
def test_meta_pages_without_their_data_pages_are_found_out(built: Path, tmp_path: Path) -> None:
    """A disk that lies about syncs, but not about writes through: LMDB's order of pages ahead of meta page is gone.

    Names are kept as a journal keeps them: no directory counts as synced either.
    """
    said, disk = cut(built, tmp_path / "cut", 20, 3, has_syncs=False)
    disk.is_strict = False
    disk.history.synced = 1 << 60
    seen = broken(disk, tmp_path / "cut", said, range(3))
    assert seen["unreadable"] >= 3, seen
