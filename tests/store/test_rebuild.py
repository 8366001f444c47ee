"""Compaction of a data file: nothing lost, whatever happens meanwhile."""

import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import lmdb
import pytest

from amqpd.broker import records
from amqpd.broker.ports import CLEAR, META, SEGMENTS, TABLES, Op
from amqpd.store import rebuild
from amqpd.store.environment import LMDB_FORMAT, NUMBER_BYTES, SHRUNK
from amqpd.store.lmdb_store import LmdbStore
from amqpd.store.rebuild import CannotCompact, NoRoom, compact, live_bytes
from amqpd.store.tables import open_tables
from amqpd.store.verification import verify
from tests.store.data_files import PAGE_BYTES, contents, flip, queue, schema, segment, write

ROOT = Path(__file__).resolve().parents[2]


def segments(queue_id: int) -> list[Op]:
    return [segment(queue_id, range(n * 100 + 1, n * 100 + 101), bytes(500)) for n in range(40)]


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    """Two queues, one of which was emptied."""
    return write(
        tmp_path / "data",
        [*schema(), queue("full", 1), queue("emptied", 2)],
        segments(1) + segments(2),
        [(CLEAR | SEGMENTS, (2).to_bytes(4, "big"), None)],
    )


def rows(data_file: Path) -> dict[str, dict[bytes, bytes | None]]:
    """All there is but the number of the newest transaction."""
    found = contents(data_file)
    del found[TABLES[META]][records.TRANSACTION_KEY]
    return found


def names(data_file: Path) -> set[str]:
    return {path.name for path in data_file.parent.iterdir()}


def is_good(data_file: Path) -> bool:
    return verify(data_file, lambda done, total: None).problems == []


def nothing(count: int) -> None:
    """Progress that nobody watches."""


def test_it_is_smaller_and_the_same(data_file: Path) -> None:
    before, size = rows(data_file), data_file.stat().st_size
    expected = live_bytes(data_file)
    written: list[int] = []
    sizes = compact(data_file, written.append)
    assert (sizes.before, sizes.after) == (size, data_file.stat().st_size)
    assert sizes.after < 0.6 * sizes.before
    assert 0 <= expected - sum(written) <= 10 * 4096  # the list of free pages is not copied
    assert rows(data_file) == before
    assert is_good(data_file)
    assert names(data_file) == {"data.mdb", "lock.mdb"}


def test_a_broker_goes_on_with_it(data_file: Path) -> None:
    before = rows(data_file)
    for _ in range(2):
        compact(data_file, nothing)
        write(data_file.parents[1], [segment(1, [10_000])])
        assert is_good(data_file)
    _, key, value = segment(1, [10_000])
    before["segments"][key] = value
    assert rows(data_file) == before


def test_a_second_time_gains_nothing(data_file: Path) -> None:
    compact(data_file, nothing)
    sizes = compact(data_file, nothing)
    assert sizes.before == sizes.after


def test_mode_and_what_is_left_of_a_crash(data_file: Path) -> None:
    data_file.chmod(0o640)
    (data_file.parent / SHRUNK).write_bytes(b"half of a copy")
    compact(data_file, nothing)
    assert stat.S_IMODE(data_file.stat().st_mode) == 0o640
    assert names(data_file) == {"data.mdb", "lock.mdb"}


def test_a_broker_removes_what_is_left_of_a_crash(data_file: Path) -> None:
    (data_file.parent / SHRUNK).write_bytes(b"half of a copy")
    store = LmdbStore(data_file.parents[1])
    assert len(list(store.keys(SEGMENTS, b""))) == 40
    store.close()
    assert names(data_file) == {"data.mdb", "lock.mdb"}


CRASH = """
import os, sys
from pathlib import Path
from amqpd.store.rebuild import compact

name, left = sys.argv[2], int(sys.argv[3])
call = getattr(os, name)
def crashing(*words, **options):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), 9)
    return call(*words, **options)
setattr(os, name, crashing)
compact(Path(sys.argv[1]), lambda count: None)
"""


def crash(data_file: Path, call: str, number: int) -> bool:
    """Compact in a process that is killed before that call; False when it got to its end."""
    words = [sys.executable, "-c", CRASH, str(data_file), call, str(number)]
    done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True)
    assert done.stderr == ""
    return done.returncode != 0


@pytest.mark.parametrize("call", ["unlink", "open", "write", "fsync", "replace"])
def test_a_crash_leaves_the_old_store_or_the_new(data_file: Path, call: str) -> None:
    before, size = rows(data_file), data_file.stat().st_size
    sizes: list[int] = []
    while crash(data_file, call, len(sizes)):
        assert rows(data_file) == before
        assert is_good(data_file)
        sizes.append(data_file.stat().st_size)
        assert len(sizes) < 50
    assert sizes[0] == size
    assert (sizes[-1] < size) == (call in ("open", "fsync")), "the directory is synced after the rename"
    assert rows(data_file) == before
    assert names(data_file) == {"data.mdb", "lock.mdb"}


def test_no_room_is_said_with_figures(data_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = data_file.read_bytes()
    statvfs = os.statvfs

    def full(path: Path) -> os.statvfs_result:
        real = statvfs(path)
        return os.statvfs_result((real.f_bsize, 4096, real.f_blocks, 9, 9, *real[5:10]))

    monkeypatch.setattr(os, "statvfs", full)
    with pytest.raises(NoRoom) as caught:
        compact(data_file, nothing)
    assert caught.value.free_bytes == 9 * 4096
    assert caught.value.needed_bytes == live_bytes(data_file) + NUMBER_BYTES
    assert (data_file.read_bytes(), names(data_file)) == (before, {"data.mdb", "lock.mdb"})


FULL = """
import resource, signal, sys
from pathlib import Path
from amqpd.store.rebuild import CannotCompact, NoRoom, compact
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
try:
    compact(Path(sys.argv[1]), lambda count: None)
except CannotCompact as error:
    print("no room" if isinstance(error, NoRoom) else error)
"""


def test_a_disk_that_fills_up_meanwhile(data_file: Path) -> None:
    before = data_file.read_bytes()
    copied = live_bytes(data_file) - 3 * 4096
    for limit in (0, 10_000, copied - 1, copied + 1):
        words = [sys.executable, "-c", FULL, str(data_file), str(limit)]
        done = subprocess.run(words, cwd=ROOT, check=False, capture_output=True, text=True)
        written = "LMDB cannot write the copy: mdb_txn_commit: Input/output error\n"
        assert (done.stdout, done.stderr) == ("no room\n" if limit < copied else written, "")
        assert (data_file.read_bytes(), names(data_file)) == (before, {"data.mdb", "lock.mdb"})


def test_an_interrupt_changes_nothing(data_file: Path) -> None:
    before = data_file.read_bytes()

    def interrupt(count: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compact(data_file, interrupt)
    assert threading.active_count() == 1
    assert (data_file.read_bytes(), names(data_file)) == (before, {"data.mdb", "lock.mdb"})


def test_a_damaged_structure_is_not_copied(data_file: Path) -> None:
    with open_tables(data_file) as tables:
        root = tables.trees["segments"].root
    flip(data_file, root * PAGE_BYTES, 1)
    before = data_file.read_bytes()
    with pytest.raises(CannotCompact, match="structure is damaged"):
        compact(data_file, nothing)
    assert (data_file.read_bytes(), names(data_file)) == (before, {"data.mdb", "lock.mdb"})


def test_a_copy_that_lacks_something_is_not_taken(data_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = data_file.read_bytes()

    def losing(copy: Path, *, sync: bool) -> None:
        with lmdb.open(
            str(copy), map_size=1 << 24, max_dbs=2, subdir=False, lock=False, lib_version=LMDB_FORMAT
        ) as environment:
            tables = [environment.open_db(name) for name in (b"queues", b"meta")]
            with environment.begin(write=True) as transaction:
                transaction.delete(records.name_key("/", "full"), db=tables[0])
                transaction.put(*records.row(records.TRANSACTION_KEY, transaction.id()), db=tables[1])

    monkeypatch.setattr(rebuild, "number", losing)
    with pytest.raises(CannotCompact, match="not the same rows"):
        compact(data_file, nothing)
    assert (data_file.read_bytes(), names(data_file)) == (before, {"data.mdb", "lock.mdb"})


READER = """
import lmdb, sys
with lmdb.open(sys.argv[1], lib_version=0) as environment:
    print("reads", flush=True)
    sys.stdin.read()
"""


def test_another_program_that_reads_it_is_waited_for(data_file: Path) -> None:
    words = [sys.executable, "-c", READER, str(data_file.parent)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == b"reads\n"
        with pytest.raises(CannotCompact, match="another program reads it"):
            compact(data_file, nothing)
        reader.communicate(b"")
    compact(data_file, nothing)
