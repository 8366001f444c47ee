"""One LMDB environment with a table for each of ports.TABLES: reads, writes, its growth, and its shrinking.

LMDB's file grows with the data and never shrinks by itself. When little of a large file lives, it is copied without its
free pages and put in the old one's place, between two commits. Sources: LMDB's and py-lmdb's documentation (format
version, map size, threads).
"""

import itertools
import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import lmdb

from amqpd.broker import records
from amqpd.broker.ports import CLEAR, META, SEGMENTS, TABLE, TABLES, THERE, Op
from amqpd.broker.queues.segments import read_segment_key
from amqpd.store import directories
from amqpd.store.reader import Values, Wanted
from amqpd.store.residency import Residency

logger = logging.getLogger("amqpd.store")

MAP_GROWTH: Final = 2
DELETED_BYTES: Final = 65_536  # of the map, that the kernel brings in around the one page a deletion looks at
LOCK_FILE_BYTES: Final = 8192  # LMDB's, with its 126 readers
LMDB_FORMAT: Final = 0  # lmdb 0.9's, which every LMDB tool reads; py-lmdb 3 also has 1.0's, and neither reads the other
SHRINK_ABOVE_BYTES: Final = 64 * 1024 * 1024  # smaller files are left alone
SHRINK_FACTOR: Final = 4  # a file that is more than so many times what lives in it
SHRINK_LIVE_BYTES: Final = 64 * 1024 * 1024  # what is copied in a moment; for more there is `amqpd store compact`
NUMBER_BYTES: Final = 1 << 20  # room for the few pages that one small row takes
SHRUNK: Final = "shrunk.tmp"


class LostRow(Exception):
    """A row that was written is not found under its key: it would come back at the next start."""

    def __init__(self, table: int, key: bytes) -> None:
        super().__init__(f"{_name(table, key)} is not where it was: the store is damaged")


class Environment:
    """See the module. One thread writes and shrinks, others read. ``sync``: a commit waits for the disk."""

    def __init__(self, path: Path, map_bytes: int, *, sync: bool) -> None:
        path.mkdir(parents=True, exist_ok=True)
        (path / SHRUNK).unlink(missing_ok=True)
        _allocate_lock_file(path / "lock.mdb")
        self._path = path
        self._sync = sync
        self._map_bytes = map_bytes
        self._tables: list[lmdb._Database] = []
        self._environment = self._open()
        self._residency = Residency(path / "data.mdb")
        # LMDB forbids a resize while a transaction of this process is open, and readers run in other threads.
        self._swap_lock = threading.Lock()

    def _open(self) -> lmdb.Environment:
        environment = lmdb.open(
            str(self._path),
            map_size=self._map_bytes,
            max_dbs=len(TABLES),
            sync=self._sync,
            metasync=self._sync,
            meminit=False,
            lib_version=LMDB_FORMAT,
        )
        # An existing store may have grown beyond the map it is opened with.
        self._map_bytes = max(self._map_bytes, environment.info()["map_size"])
        self._tables = [environment.open_db(name.encode()) for name in TABLES]
        return environment

    def write(self, ops: list[Op]) -> None:
        while True:
            try:
                self._write_once(ops)
                return
            except lmdb.MapFullError:
                with self._swap_lock:
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
                    deleted += self._clear(transaction, table & TABLE, key)
                elif transaction.delete(key, db=self._tables[table & TABLE]):
                    deleted += 1
                elif table & THERE:
                    raise LostRow(table & TABLE, key)
        self._residency.touched(deleted * DELETED_BYTES)

    def _clear(self, transaction: lmdb.Transaction, table: int, prefix: bytes) -> int:
        """Delete the keys that begin with ``prefix``; how many. Reads no value, as a cursor's own delete would."""
        keys = list(_keys(transaction, self._tables[table], prefix))
        for key in keys:
            transaction.delete(key, db=self._tables[table])
        return len(keys)

    def read(self, table: int, key: bytes) -> bytes | None:
        with self._swap_lock, self._environment.begin(db=self._tables[table]) as transaction:
            return transaction.get(key)

    def read_many(self, wanted: Wanted) -> Values:
        """Pages that are not in memory are waited for without the interpreter's lock."""
        with self._swap_lock, self._environment.begin() as transaction:
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
        self._residency.touched((self._path / "data.mdb").stat().st_size)  # the kernel maps far more than is looked at

    def range(self, table: int, first: bytes, limit: int) -> list[tuple[bytes, int]]:
        """See ports.Store. For any time."""
        with self._swap_lock, self._environment.begin(buffers=True) as transaction:
            cursor = transaction.cursor(self._tables[table])
            if not cursor.set_range(first):
                return []
            return [(bytes(key), len(value)) for key, value in itertools.islice(cursor.iternext(), limit)]

    def sync(self) -> None:
        """Have on disk what was written."""
        self._environment.sync(True)

    def shrink(self) -> None:
        """Give the disk back what free pages hold, if that is most of the file. In the writer's thread."""
        size = (self._path / "data.mdb").stat().st_size
        if size < SHRINK_ABOVE_BYTES:
            return
        live = self._live_bytes()
        if live > SHRINK_LIVE_BYTES or live * SHRINK_FACTOR > size:
            return
        try:
            self._copy_live()
        except (lmdb.Error, OSError) as error:  # no room for the copy: the file stays as it is
            (self._path / SHRUNK).unlink(missing_ok=True)
            logger.warning("the data file (%d bytes, %d in use) cannot be made smaller: %s", size, live, error)
            return
        with self._swap_lock:
            self._environment.close()
            os.replace(self._path / SHRUNK, self._path / "data.mdb")
            if self._sync:
                directories.sync(self._path)
            self._environment = self._open()
        logger.info("the data file was made smaller: %d bytes to %d", size, (self._path / "data.mdb").stat().st_size)

    def _live_bytes(self) -> int:
        with self._environment.begin() as transaction:
            stats = [transaction.stat(table) for table in self._tables]
        pages = sum(stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"] for stat in stats)
        return pages * int(stats[0]["psize"])

    def _copy_live(self) -> None:
        descriptor = os.open(self._path / SHRUNK, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        try:
            self._environment.copyfd(descriptor, compact=True)
        finally:
            os.close(descriptor)
        number(self._path / SHRUNK, sync=self._sync)

    def close(self) -> None:
        self._environment.close()


def number(copy: Path, *, sync: bool) -> None:
    """Write the number of the newest transaction to a compacted copy, where LMDB counts from 1 again."""
    environment = lmdb.open(
        str(copy),
        map_size=copy.stat().st_size + NUMBER_BYTES,
        max_dbs=len(TABLES),
        subdir=False,
        lock=False,
        sync=False,
        lib_version=LMDB_FORMAT,
    )
    try:
        table = environment.open_db(TABLES[META].encode())
        with environment.begin(db=table, write=True) as transaction:
            transaction.put(*records.row(records.TRANSACTION_KEY, transaction.id()))
        if sync:
            environment.sync(True)
    finally:
        environment.close()


def _name(table: int, key: bytes) -> str:
    if table != SEGMENTS:
        return f"the row {key.hex()} of {TABLES[table]}"
    queue_id, first, last, _, _ = read_segment_key(key)
    return f"segment {first}-{last} of queue number {queue_id}"


def _keys(transaction: lmdb.Transaction, table: lmdb._Database, prefix: bytes) -> Iterator[bytes]:
    """Keys that begin with ``prefix``, in order. Reads no value."""
    cursor = transaction.cursor(table)
    if cursor.set_range(prefix):
        yield from itertools.takewhile(lambda key: bytes(key).startswith(prefix), cursor.iternext(values=False))


def _allocate_lock_file(path: Path) -> None:
    """LMDB writes to it through its map: on a full disk that would be a SIGBUS, here it is an OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        os.posix_fallocate(descriptor, 0, LOCK_FILE_BYTES)
    finally:
        os.close(descriptor)
