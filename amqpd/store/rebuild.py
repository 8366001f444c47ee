"""A data file without its free pages: copied, checked, and put in the old one's place by one rename.

What a broker does by itself with a small file (``environment.py``), for one of any size, offline. A crash at any point
leaves the old file or the new one. The unfinished copy lies beside it under another name, and the next start of a
broker removes it, or the next compaction.
"""

import contextlib
import fcntl
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lmdb

from amqpd.store import directories, integrity
from amqpd.store.environment import LMDB_FORMAT, NUMBER_BYTES, SHRUNK, number
from amqpd.store.lmdb_store import FULL_DISK
from amqpd.store.tables import open_tables

CHUNK_BYTES: Final = 1 << 20


class CannotCompact(Exception):
    """One line that says why, and that the store is as it was."""


class NoRoom(CannotCompact):
    """The disk has not enough room for the copy."""

    def __init__(self, needed_bytes: int, free_bytes: int) -> None:
        super().__init__("the disk has too little room for the copy")
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes


@dataclass(frozen=True, slots=True)
class Sizes:
    """Of the data file, in bytes."""

    before: int
    after: int


def live_bytes(data_file: Path) -> int:
    """What a copy will take. Raises NotAStore, OSError."""
    with open_tables(data_file) as tables:
        return (tables.page_count - tables.free_pages()) * tables.pages.page_bytes


def compact(data_file: Path, on_written: Callable[[int], None]) -> Sizes:
    """Rebuild a data file that nobody writes; ``on_written`` is told how many more bytes of the copy are written.

    Raises CannotCompact; NotAStore, OSError.
    """
    unfinished = data_file.with_name(SHRUNK)
    unfinished.unlink(missing_ok=True)
    problems = integrity.check(data_file)
    if problems:
        raise CannotCompact(f"its structure is damaged ({problems[0]})")
    _check_not_mapped(data_file)
    needed = live_bytes(data_file) + NUMBER_BYTES
    if needed > (free := shutil.disk_usage(data_file.parent).free):
        raise NoRoom(needed, free)
    before = data_file.stat().st_size
    try:
        _copy(data_file, unfinished, on_written)
        _number(unfinished)
        _check_copy(data_file, unfinished)
        after = unfinished.stat().st_size
        os.replace(unfinished, data_file)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        if error.errno in FULL_DISK:
            raise NoRoom(needed, shutil.disk_usage(data_file.parent).free) from error
        raise
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    directories.sync(data_file.parent)
    return Sizes(before, after)


def _check_not_mapped(data_file: Path) -> None:
    """Every program that has LMDB map the file holds a lock of ``lock.mdb``; one that waits would go on with the old
    file, and share its table of readers with the next broker."""
    try:
        descriptor = os.open(data_file.with_name("lock.mdb"), os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
    except OSError:
        raise CannotCompact("another program reads it, a backup perhaps: try again when that has ended") from None
    finally:
        os.close(descriptor)


def _copy(data_file: Path, target: Path, on_written: Callable[[int], None]) -> None:
    """Copy what lives, and have it on disk under the name ``target``."""
    old = data_file.stat()
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, old.st_mode & 0o777)
    try:
        if os.geteuid() == 0:
            os.fchown(descriptor, old.st_uid, old.st_gid)
        with _opened(data_file) as environment, _reading_copy(environment) as source:
            while chunk := os.read(source, CHUNK_BYTES):
                _write(descriptor, chunk)
                on_written(len(chunk))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write(descriptor: int, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[os.write(descriptor, rest) :]


@contextlib.contextmanager
def _opened(data_file: Path) -> Iterator[lmdb.Environment]:
    try:
        # By its directory, as a broker does: LMDB writes to the copy how the original was opened.
        environment = lmdb.open(str(data_file.parent), readonly=True, lock=False, create=False, lib_version=LMDB_FORMAT)
    except lmdb.Error as error:
        raise CannotCompact(f"LMDB cannot open it: {error}") from error
    try:
        yield environment
    finally:
        environment.close()


@contextlib.contextmanager
def _reading_copy(environment: lmdb.Environment) -> Iterator[int]:
    """The end of a pipe from which the compacted copy comes; whoever stops reading ends the copying.

    A pipe, because LMDB copies in one call: so progress shows, and Ctrl-C works.
    """
    source, sink = os.pipe2(os.O_CLOEXEC)
    with contextlib.suppress(PermissionError):  # the user has many pipes; a small one is slower
        fcntl.fcntl(sink, fcntl.F_SETPIPE_SZ, CHUNK_BYTES)
    failures: list[lmdb.Error] = []

    def copy() -> None:
        try:
            environment.copyfd(sink, compact=True)
        except lmdb.Error as error:
            failures.append(error)
        finally:
            os.close(sink)

    thread = threading.Thread(target=copy, name="amqpd-compaction")
    thread.start()
    try:
        yield source
    finally:
        os.close(source)
        thread.join()
    if failures:
        raise CannotCompact(f"LMDB cannot copy it: {failures[0]}")


def _number(copy: Path) -> None:
    try:
        number(copy, sync=True)
    except lmdb.Error as error:  # a disk that is full by now is an "Input/output error"
        raise CannotCompact(f"LMDB cannot write the copy: {error}") from error


def _check_copy(data_file: Path, copy: Path) -> None:
    """The copy is sound, and has all rows."""
    problems = integrity.check(copy)
    if not problems and _rows(copy) != _rows(data_file):
        problems = ["it has not the same rows"]
    if problems:
        raise CannotCompact(f"the copy is not good ({problems[0]})")


def _rows(data_file: Path) -> dict[str, int]:
    with open_tables(data_file) as tables:
        return {name: tree.rows for name, tree in tables.trees.items()}
