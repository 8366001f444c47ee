"""The store on disk: one LMDB environment for what must last, one without syncs for what is only paged out of memory.

One process at a time has a data directory; a lock file says which. Layout of the directory: ``lock``, ``store/`` and
``scratch/``, the latter emptied at start. Sources: LMDB's and py-lmdb's documentation (format version, map size,
threads).
"""

import errno
import fcntl
import itertools
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import lmdb

from amqpd.broker import records
from amqpd.broker.ports import CLEAR, META, SCRATCH, TABLES, Op, Store
from amqpd.store.committer import Committer
from amqpd.store.reader import Reader, Values, Wanted
from amqpd.store.residency import Residency

MAP_BYTES: Final = 1 << 30  # to start with; address space, not memory or disk
MAP_GROWTH: Final = 2
PROBE_BYTES: Final = 1 << 20  # a disk with less room than this is full
DELETED_BYTES: Final = 65_536  # of the map, that the kernel brings in around the one page a deletion looks at
LOCK_FILE_BYTES: Final = 8192  # LMDB's, with its 126 readers
FULL_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LMDB_FORMAT: Final = 0  # lmdb 0.9's, which every LMDB tool reads; py-lmdb 3 also has 1.0's, and neither reads the other


class DataDirectoryError(Exception):
    """The data directory cannot be used: one line that says why."""


class LmdbStore(Store):
    """See the module. Raises DataDirectoryError when ``directory`` cannot be made, written or locked.

    ``durability``: what a commit waits for: "fsync" for the disk, "write" for the kernel only, so that a crash of the
    machine may lose it, and damage the store.
    """

    def __init__(
        self, directory: Path, *, durability: Literal["fsync", "write"] = "fsync", map_bytes: int = MAP_BYTES
    ) -> None:
        self.directory = directory
        new_in = _parents_to_make(directory)
        self._lock_file = _lock(directory)
        try:
            shutil.rmtree(directory / "scratch", ignore_errors=True)
            self._main = _Environment(directory / "store", map_bytes, sync=durability == "fsync")
            self._scratch = _Environment(directory / "scratch", map_bytes, sync=False)
            _sync_directories(directory / "store", directory, *new_in)
        except (lmdb.Error, OSError) as error:
            os.close(self._lock_file)
            raise DataDirectoryError(f"cannot open the store in {directory}: {error}") from error
        self._committer = Committer(self._write, self._is_full_disk)
        self._reader = Reader(self._read, self._committer.wake)

    def commit(self, ticket: int, ops: list[Op]) -> None:
        self._committer.submit(ticket, ops)

    def completed(self) -> int:
        return self._committer.completed()

    def wake_fd(self) -> int:
        return self._committer.wake_fd

    def alarm(self) -> str:
        return self._committer.alarm

    def read(self, table: int, key: bytes) -> bytes | None:
        return self._environment(table).read(table, key)

    def fetch(self, number: int, wanted: Wanted) -> None:
        self._reader.fetch(number, wanted)

    def fetched(self) -> list[tuple[int, Values]]:
        return self._reader.fetched()

    def scan(self, table: int, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        return self._environment(table).scan(table, prefix)

    def keys(self, table: int, prefix: bytes) -> Iterator[bytes]:
        return self._environment(table).keys(table, prefix)

    def close(self) -> None:
        self._reader.close()
        self._committer.close()
        self._main.close()
        self._scratch.close()
        shutil.rmtree(self.directory / "scratch", ignore_errors=True)
        os.close(self._lock_file)

    def _environment(self, table: int) -> "_Environment":
        return self._scratch if table & ~CLEAR == SCRATCH else self._main

    def _write(self, ops: list[Op]) -> None:
        """One batch, in the committer's thread. Raises lmdb.Error; nothing of the batch is kept then."""
        scratch = [op for op in ops if op[0] & ~CLEAR == SCRATCH]
        if scratch:
            self._scratch.write(scratch)
        if len(scratch) < len(ops):
            self._main.write([op for op in ops if op[0] & ~CLEAR != SCRATCH] if scratch else ops)

    def _read(self, wanted: Wanted) -> Values:
        """Values for the loop, in the reader's thread."""
        values: Values = [None] * len(wanted)
        for environment in (self._main, self._scratch):
            places = [at for at, (table, _) in enumerate(wanted) if self._environment(table) is environment]
            if places:
                for at, value in zip(places, environment.read_many([wanted[at] for at in places]), strict=True):
                    values[at] = value
        return values

    def _is_full_disk(self, error: Exception) -> bool:
        """LMDB reports a write that was cut short, which is how a disk fills up, as an I/O error: ask for room to
        know."""
        if not isinstance(error, lmdb.Error | OSError):
            return False
        probe = self.directory / "probe"
        try:
            descriptor = os.open(probe, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                # As far out as the data file's end, so that a limit on file sizes shows too.
                os.posix_fallocate(descriptor, (self.directory / "store" / "data.mdb").stat().st_size, PROBE_BYTES)
            finally:
                os.close(descriptor)
        except OSError as trouble:
            return trouble.errno in FULL_DISK
        finally:
            probe.unlink(missing_ok=True)
        return any(os.strerror(number) in str(error) for number in FULL_DISK)


class _Environment:
    """One LMDB environment with a table for each of TABLES. Written by one thread, read by another."""

    def __init__(self, path: Path, map_bytes: int, *, sync: bool) -> None:
        path.mkdir(parents=True, exist_ok=True)
        _allocate_lock_file(path / "lock.mdb")
        self._environment = lmdb.open(
            str(path),
            map_size=map_bytes,
            max_dbs=len(TABLES),
            sync=sync,
            metasync=sync,
            meminit=False,
            lib_version=LMDB_FORMAT,
        )
        # An existing store may have grown beyond the map it is opened with.
        used = self._environment.info()["map_size"]
        self._map_bytes = max(map_bytes, used)
        self._tables = [self._environment.open_db(name.encode()) for name in TABLES]
        self._residency = Residency(path / "data.mdb")
        # LMDB forbids a resize while a transaction of this process is open, and readers run in another thread.
        self._resize_lock = threading.Lock()

    def write(self, ops: list[Op]) -> None:
        while True:
            try:
                self._write_once(ops)
                return
            except lmdb.MapFullError:
                with self._resize_lock:
                    self._map_bytes *= MAP_GROWTH
                    self._environment.set_mapsize(self._map_bytes)

    def _write_once(self, ops: list[Op]) -> None:
        deleted = 0
        with self._environment.begin(write=True) as transaction:
            # LMDB does not checksum its meta pages: this tells a rolled back one (store/integrity.py).
            number = records.row(records.TRANSACTION_KEY, transaction.id())
            transaction.put(*number, db=self._tables[META])
            for table, key, value in ops:
                if value is not None:
                    transaction.put(key, value, db=self._tables[table])
                elif table & CLEAR:
                    deleted += self._clear(transaction, table & ~CLEAR, key)
                else:
                    deleted += transaction.delete(key, db=self._tables[table])
        self._residency.touched(deleted * DELETED_BYTES)

    def _clear(self, transaction: lmdb.Transaction, table: int, prefix: bytes) -> int:
        """Delete the keys that begin with ``prefix``; how many. Reads no value, as a cursor's own delete would."""
        keys = list(_keys(transaction, self._tables[table], prefix))
        for key in keys:
            transaction.delete(key, db=self._tables[table])
        return len(keys)

    def read(self, table: int, key: bytes) -> bytes | None:
        with self._resize_lock, self._environment.begin(db=self._tables[table]) as transaction:
            return transaction.get(key)

    def read_many(self, wanted: Wanted) -> Values:
        """Pages that are not in memory are waited for without the interpreter's lock."""
        with self._resize_lock, self._environment.begin() as transaction:
            values = [transaction.get(key, db=self._tables[table]) for table, key in wanted]
        self._residency.touched(sum(len(value) for value in values if value is not None))
        return values

    def scan(self, table: int, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """For start-up, before anything writes."""
        with self._environment.begin() as transaction:
            cursor = transaction.cursor(self._tables[table])
            if cursor.set_range(prefix):
                yield from itertools.takewhile(lambda row: row[0].startswith(prefix), cursor.iternext())

    def keys(self, table: int, prefix: bytes) -> Iterator[bytes]:
        """For start-up, before anything writes."""
        with self._environment.begin() as transaction:
            yield from _keys(transaction, self._tables[table], prefix)

    def close(self) -> None:
        self._environment.close()


def _keys(transaction: lmdb.Transaction, table: lmdb._Database, prefix: bytes) -> Iterator[bytes]:
    """Keys that begin with ``prefix``, in order. Reads no value."""
    cursor = transaction.cursor(table)
    if cursor.set_range(prefix):
        yield from itertools.takewhile(lambda key: bytes(key).startswith(prefix), cursor.iternext(values=False))


def _lock(directory: Path) -> int:
    """The descriptor of the locked lock file."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise DataDirectoryError(f"cannot write to the data directory {directory}: {error.strerror}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.read(descriptor, 32).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise DataDirectoryError(
            f"the data directory {directory} is in use by another amqpd (process {owner}): "
            "stop that one, or give this one another --data-dir"
        ) from None
    try:
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
    except OSError:
        pass  # a full disk: the lock holds without the number
    return descriptor


def _allocate_lock_file(path: Path) -> None:
    """LMDB writes to it through its map: on a full disk that would be a SIGBUS, here it is an OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.posix_fallocate(descriptor, 0, LOCK_FILE_BYTES)
    finally:
        os.close(descriptor)


def _parents_to_make(directory: Path) -> list[Path]:
    """The directories that will get a new entry when ``directory`` is made."""
    return [path.parent for path in (directory.absolute(), *directory.absolute().parents) if not path.exists()]


def _sync_directories(*paths: Path) -> None:
    """A new file is there after a power cut only when the directory that names it was synced."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
