"""The store on disk: reopening, its lock, directories it cannot use, a disk that is full.

Its contract is in ``test_conformance.py``.
"""

import os
import re
import resource
import select
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from amqpd.broker import records
from amqpd.broker.ports import ACKS, CLEAR, META, SCRATCH, SEGMENTS, Op
from amqpd.store.directories import SALVAGING
from amqpd.store.lmdb_store import DataDirectoryError, LmdbStore

ROOT = Path(__file__).resolve().parents[2]


def commit(store: LmdbStore, ops: list[Op]) -> None:
    ticket = store.completed() + 1
    store.commit(ticket, ops)
    while store.completed() < ticket:
        assert select.select([store.wake_fd()], [], [], 20.0)[0]
        os.read(store.wake_fd(), 4096)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    opened = LmdbStore(tmp_path)
    yield opened
    opened.close()


def test_what_was_committed_is_there_again(tmp_path: Path) -> None:
    large = os.urandom(1 << 20) * 3
    store = LmdbStore(tmp_path, map_bytes=1 << 16)
    commit(store, [(META, b"k", b"v"), (SEGMENTS, b"large", large), (ACKS, b"gone", b"")])
    commit(store, [(ACKS, b"gone", None)])
    store.close()
    for map_bytes in (1 << 16, 1 << 30):  # smaller than what is there, and larger
        again = LmdbStore(tmp_path, map_bytes=map_bytes)
        assert again.completed() == 0
        assert again.read(META, b"k") == b"v"
        assert again.read(SEGMENTS, b"large") == large
        assert list(again.scan(ACKS, b"")) == []
        commit(again, [(SEGMENTS, b"more", large)])
        commit(again, [(SEGMENTS, b"more", None)])
        again.close()


def test_the_number_of_the_newest_transaction_is_in_it(tmp_path: Path) -> None:
    """As LMDB counts, and it goes on start after start: an older one is a page that was rolled back."""
    last = 0
    for _ in range(3):
        store = LmdbStore(tmp_path)
        for _ in range(3):
            commit(store, [(SEGMENTS, b"k", b"v"), (SCRATCH, b"k", b"v")])
            value = store.read(META, records.TRANSACTION_KEY)
            assert value is not None
            number = records.decode(records.TRANSACTION_KEY, value)
            assert number > last
            last = number
        commit(store, [(SCRATCH, b"k", b"v")])
        assert store.read(META, records.TRANSACTION_KEY) == value, "what need not last does not count"
        store.close()
    with lmdb.open(str(tmp_path / "store"), readonly=True, max_dbs=20) as environment:
        assert environment.info()["last_txnid"] == last


def test_close_while_something_is_being_read(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    commit(store, [(SEGMENTS, b"%d" % each, bytes(100_000)) for each in range(100)])
    for number in range(50):
        store.fetch(number, [(SEGMENTS, b"%d" % each) for each in range(100)])
    store.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("amqpd-")]


def test_space_is_used_again(tmp_path: Path) -> None:
    """A queue that is filled and emptied for ever must not fill the disk."""
    store = LmdbStore(tmp_path, map_bytes=1 << 16)
    value = bytes(100_000)
    sizes = []
    for _ in range(5):
        commit(store, [(SEGMENTS, b"%d" % each, value) for each in range(20)])
        commit(store, [(CLEAR | SEGMENTS, b"", None)])
        sizes.append((tmp_path / "store" / "data.mdb").stat().st_size)
    store.close()
    assert sizes[-1] <= sizes[1] * 1.3


def test_scratch_is_empty_at_start_and_gone_at_the_end(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    commit(store, [(SCRATCH, b"k", b"v"), (META, b"k", b"v")])
    assert store.read(SCRATCH, b"k") == b"v"
    store.close()
    assert not (tmp_path / "scratch").exists()
    (tmp_path / "scratch").mkdir()
    (tmp_path / "scratch" / "data.mdb").write_bytes(b"left by a crash")
    store = LmdbStore(tmp_path)
    assert list(store.scan(SCRATCH, b"")) == []
    assert store.read(META, b"k") == b"v"
    store.close()


def test_what_a_crash_left_of_a_salvaged_store_is_removed_at_start(tmp_path: Path) -> None:
    (tmp_path / SALVAGING).mkdir()
    LmdbStore(tmp_path).close()
    assert not (tmp_path / SALVAGING).exists()


def test_directories_are_made(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "a" / "b")
    store.close()
    assert (tmp_path / "a" / "b" / "store" / "data.mdb").exists()


# -- one at a time --


def test_lock_names_the_owner(store: LmdbStore, tmp_path: Path) -> None:
    words = (
        f"the data directory {tmp_path} is in use by another amqpd (process {os.getpid()}): "
        "stop that one, or give this one another --data-dir"
    )
    for _ in range(2):
        with pytest.raises(DataDirectoryError, match=f"^{re.escape(words)}$"):
            LmdbStore(tmp_path)
    commit(store, [(META, b"k", b"v")])  # the one that has it is not disturbed


def test_lock_is_given_back(tmp_path: Path) -> None:
    for _ in range(3):
        LmdbStore(tmp_path).close()
    before = len(os.listdir("/proc/self/fd"))
    LmdbStore(tmp_path).close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_lock_ends_with_its_process(tmp_path: Path) -> None:
    """A file left by a process that was killed locks nobody out."""
    code = (
        "import os, sys; from pathlib import Path; from amqpd.store.lmdb_store import LmdbStore\n"
        "store = LmdbStore(Path(sys.argv[1])); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT, check=False).returncode == -9
    assert (tmp_path / "lock").read_text().strip().isdigit()
    LmdbStore(tmp_path).close()


# -- directories that cannot be used --


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataDirectoryError, match=r"^cannot write to the data directory .*/file: File exists$"):
        LmdbStore(tmp_path / "file")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(stat.S_IRUSR | stat.S_IXUSR)
    try:
        with pytest.raises(DataDirectoryError, match="Permission denied"):
            LmdbStore(tmp_path / "data")
    finally:
        tmp_path.chmod(stat.S_IRWXU)


def test_a_file_system_that_is_read_only() -> None:
    with pytest.raises(DataDirectoryError, match=r"^cannot write to the data directory /proc/amqpd: .+$") as caught:
        LmdbStore(Path("/proc/amqpd"))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("garbage", [b"not a store at all" * 1000, bytes(65536)])
def test_a_store_that_is_none(tmp_path: Path, garbage: bytes) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "data.mdb").write_bytes(garbage)
    with pytest.raises(DataDirectoryError, match=r"^cannot open the store in .+$") as caught:
        LmdbStore(tmp_path)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "store" / "data.mdb").read_bytes() == garbage, "somebody may want to rescue it"
    with pytest.raises(DataDirectoryError, match="cannot open the store"):  # and not "in use"
        LmdbStore(tmp_path)


# -- a disk that is full --

CHILD = """
import os, resource, select, sys, time
from pathlib import Path
from amqpd.broker.ports import META, SEGMENTS
from amqpd.store.lmdb_store import LmdbStore

def limit(size):
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def wait(condition):
    until = time.monotonic() + 5.0
    while not condition():
        assert time.monotonic() < until, "too long"
        store.completed()  # which says what failed
        select.select([store.wake_fd()], [], [], 0.1)

directory = Path(sys.argv[1])
store = LmdbStore(directory)
store.commit(1, [(META, b"k", b"before")])
wait(lambda: store.completed() == 1)
used = (directory / "store" / "data.mdb").stat().st_size
limit(used + int(sys.argv[2]))
big = bytes(4_000_000)
store.commit(2, [(META, b"k", b"while full"), (SEGMENTS, b"big", big), (SEGMENTS, b"big2", big)])
wait(store.alarm)
assert store.alarm() == "low on disk", store.alarm()
time.sleep(0.7)  # it has tried again meanwhile
assert store.completed() == 1
assert set(os.listdir(directory)) == {"lock", "store", "scratch"}
assert store.read(META, b"k") == b"before"
assert store.alarm() == "low on disk"
limit(resource.RLIM_INFINITY)
wait(lambda: store.completed() == 2)
assert store.alarm() == ""
assert store.read(META, b"k") == b"while full"
store.commit(3, [(META, b"k", b"after")])
wait(lambda: store.completed() == 3)
store.close()
print("good")
"""


@pytest.mark.parametrize("room_bytes", [0, 1, 301_234, 5_000_000])
def test_full_disk_is_waited_out(tmp_path: Path, room_bytes: int) -> None:
    """RLIMIT_FSIZE stands for a disk that has so much room left: none, or some but not enough for the batch."""
    command = [sys.executable, "-c", CHILD, str(tmp_path), str(room_bytes)]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=40)
    assert done.stdout == "good\n", done.stderr
    assert "the disk is full" in done.stderr or done.stderr == ""
    store = LmdbStore(tmp_path)
    assert store.read(META, b"k") == b"after"
    assert store.read(SEGMENTS, b"big2") == bytes(4_000_000)
    store.close()


def test_close_while_the_disk_is_full(tmp_path: Path) -> None:
    """It ends, what was not durable is not there, and the store opens."""
    code = CHILD.split("time.sleep", maxsplit=1)[0] + "store.close()\nprint('closed')"
    command = [sys.executable, "-c", code, str(tmp_path), "0"]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=20)
    assert done.stdout == "closed\n", done.stderr
    store = LmdbStore(tmp_path)
    assert store.read(META, b"k") == b"before"
    assert store.read(SEGMENTS, b"big") is None
    store.close()


def test_limits_of_this_process_are_untouched() -> None:
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
