"""The store on disk: one LMDB environment for what must last, one without syncs for what is only paged out of memory.

One process at a time has a data directory; a lock file says which. Layout of the directory: ``lock``, ``store/`` and
``scratch/``, the latter emptied at start. Sources: LMDB's and py-lmdb's documentation (format version, map size,
threads).
"""

import errno
import fcntl
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import lmdb

from amqpd.broker.ports import CLEAR, SCRATCH, TABLES, Op, Store
from amqpd.store.committer import Committer

MAP_BYTES: Final = 1 << 30  # to start with; address space, not memory or disk
MAP_GROWTH: Final = 2
PROBE_BYTES: Final = 1 << 20  # a disk with less room than this is full
FULL_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
LMDB_FORMAT: Final = 0  # lmdb 0.9's, which every LMDB tool reads; py-lmdb 3 also has 1.0's, and neither reads the other


class DataDirectoryError(Exception):
    """The data directory cannot be used: one line that says why."""


class LmdbStore(Store):
    """See the module. Raises DataDirectoryError when ``directory`` cannot be made, written or locked."""

    def __init__(self, directory: Path, *, map_bytes: int = MAP_BYTES) -> None:
        self.directory = directory
        self._lock_file = _lock(directory)
        try:
            shutil.rmtree(directory / "scratch", ignore_errors=True)
            self._main = _Environment(directory / "store", map_bytes, sync=True)
            self._scratch = _Environment(directory / "scratch", map_bytes, sync=False)
        except (lmdb.Error, OSError) as error:
            os.close(self._lock_file)
            raise DataDirectoryError(f"cannot open the store in {directory}: {error}") from error
        self._committer = Committer(self._write, self._is_full_disk)

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

    def scan(self, table: int, prefix: bytes, head_bytes: int = 0) -> Iterator[tuple[bytes, bytes]]:
        return self._environment(table).scan(table, prefix, head_bytes)

    def close(self) -> None:
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
        with self._environment.begin(write=True) as transaction:
            for table, key, value in ops:
                if value is not None:
                    transaction.put(key, value, db=self._tables[table])
                elif table & CLEAR:
                    self._clear(transaction, table & ~CLEAR, key)
                else:
                    transaction.delete(key, db=self._tables[table])

    def _clear(self, transaction: lmdb.Transaction, table: int, prefix: bytes) -> None:
        cursor = transaction.cursor(db=self._tables[table])
        found = cursor.set_range(prefix)
        while found and bytes(cursor.key()).startswith(prefix):
            found = cursor.delete()

    def read(self, table: int, key: bytes) -> bytes | None:
        with self._resize_lock, self._environment.begin(db=self._tables[table]) as transaction:
            return transaction.get(key)

    def scan(self, table: int, prefix: bytes, head_bytes: int) -> Iterator[tuple[bytes, bytes]]:
        """For start-up, before anything writes. Reads no more of a value than is asked for."""
        with self._environment.begin(db=self._tables[table], buffers=True) as transaction:
            cursor = transaction.cursor()
            found = cursor.set_range(prefix)
            while found and bytes(cursor.key()).startswith(prefix):
                yield bytes(cursor.key()), bytes(cursor.value()[: head_bytes or None])
                found = cursor.next()

    def close(self) -> None:
        self._environment.close()


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
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    return descriptor
