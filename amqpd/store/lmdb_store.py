"""The store on disk: one LMDB environment for what must last, one without syncs for what is only paged out of memory.

One process at a time has a data directory; a lock file says which. Layout of the directory: ``lock``, ``store/``, and
``scratch/``, emptied at start. Sources: LMDB's and py-lmdb's documentation (format version, map size, threads).
"""

import errno
import fcntl
import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal

import lmdb

from amqpd.broker.ports import SCRATCH, TABLE, Op, Store
from amqpd.store import directories, integrity
from amqpd.store.committer import Committer
from amqpd.store.directories import NEW_STORE, SALVAGING
from amqpd.store.environment import Environment
from amqpd.store.reader import Reader, Values, Wanted

MAP_BYTES: Final = 1 << 30  # to start with; address space, not memory or disk
PROBE_BYTES: Final = 1 << 20  # a disk with less room than this is full
EMPTY_BYTES: Final = 8192  # LMDB's two meta pages
FULL_DISK: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


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
            directories.remove(directory / "scratch")
            directories.remove(directory / SALVAGING)
            if (directory / "store").exists():
                _check(directory)
            else:
                _make(directory, map_bytes)
                directories.sync(directory, *new_in)
            self._main = Environment(directory / "store", map_bytes, sync=durability == "fsync")
            self._scratch = Environment(directory / "scratch", map_bytes, sync=False)
        except DataDirectoryError:
            os.close(self._lock_file)
            raise
        except (lmdb.Error, OSError) as error:
            os.close(self._lock_file)
            raise DataDirectoryError(f"cannot open the store in {directory}: {error}") from error
        self._committer = Committer(self._write, self._is_full_disk, self._tidy)
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

    def range(self, table: int, first: bytes, limit: int) -> list[tuple[bytes, int]]:
        return self._environment(table).range(table, first, limit)

    def close(self) -> None:
        self._reader.close()
        self._committer.close()
        self._main.close()
        self._scratch.close()
        directories.remove(self.directory / "scratch")
        os.close(self._lock_file)

    def _environment(self, table: int) -> Environment:
        return self._scratch if table & TABLE == SCRATCH else self._main

    def _write(self, ops: list[Op]) -> None:
        """One batch, in the committer's thread. Raises lmdb.Error; nothing of the batch is kept then."""
        scratch = [op for op in ops if op[0] & TABLE == SCRATCH]
        if scratch:
            self._scratch.write(scratch)
        if len(scratch) < len(ops):
            self._main.write([op for op in ops if op[0] & TABLE != SCRATCH] if scratch else ops)

    def _tidy(self) -> None:
        """When nothing is to be written, in the committer's thread."""
        self._main.shrink()
        self._scratch.shrink()

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


def _lock(directory: Path) -> int:
    """The descriptor of the locked lock file."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise DataDirectoryError(f"cannot write to the data directory {directory}: {error.strerror}") from error
    try:
        take_lock(descriptor, directory, "stop that one, or give this one another --data-dir")
    except DataDirectoryError:
        os.close(descriptor)
        raise
    return descriptor


def take_lock(descriptor: int, directory: Path, advice: str) -> None:
    """Lock an open lock file, and leave the process's number in it. Raises DataDirectoryError, with ``advice``."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        owner = os.pread(descriptor, 32, 0).decode(errors="replace").strip() or "unknown"
        raise DataDirectoryError(
            f"the data directory {directory} is in use by another amqpd (process {owner}): "
            + advice.format(owner=owner)
        ) from None
    try:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
    except OSError:
        pass  # a full disk, or a file that can only be read: the lock holds without the number


def _make(directory: Path, map_bytes: int) -> None:
    """A store that is whole as soon as it has its name: LMDB does not sync its first pages by itself."""
    new = directory / NEW_STORE
    directories.remove(new)
    environment = Environment(new, map_bytes, sync=True)
    environment.sync()
    environment.close()
    directories.sync(new)
    new.rename(directory / "store")


def _check(directory: Path) -> None:
    """Look at the data file before LMDB does. Raises DataDirectoryError."""
    data_file = directory / "store" / "data.mdb"
    size = data_file.stat().st_size if data_file.exists() else 0
    if size < EMPTY_BYTES:
        raise DataDirectoryError(
            f"the data file {data_file} is {f'cut to {size} bytes' if size else 'missing or empty'}, though it was in "
            f"use: bring it back from a backup, or move {directory} away to start with an empty store"
        )
    problems = integrity.check(data_file)
    if not problems:
        return
    salvage = importlib.import_module("amqpd.store.salvage")  # 3 ms that only a damaged store pays
    try:
        salvage.rebuild(directory, problems)
    except salvage.UnreadableStore as error:
        raise DataDirectoryError(str(error)) from error


def _parents_to_make(directory: Path) -> list[Path]:
    """The directories that will get a new entry when ``directory`` is made."""
    return [path.parent for path in (directory.absolute(), *directory.absolute().parents) if not path.exists()]
