"""The log of the recorder (``shim.c``): made here, written there, read here once the broker is dead."""

import mmap
import struct
from enum import IntEnum, IntFlag
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

HEAD: Final = struct.Struct("<8Q")  # magic, capacity, used, count, kill_at, overflow, owner, spare
RECORD: Final = struct.Struct("<IIqQII")  # kind, file, at, length, flags, octets of payload
MAGIC: Final = 0x646B736964
CAPACITY: Final = 1 << 30  # of a sparse file; a run writes a few dozen MiB
AT_USED: Final = 16
AT_COUNT: Final = 24
AT_KILL: Final = 32
AT_OVERFLOW: Final = 40
AT_OWNER: Final = 48


class Kind(IntEnum):
    """What a record is about."""

    OPENED = 1  # a file that was there gets a number
    CREATED = 2  # one that was not
    WRITE = 3
    SIZE = 4
    SYNC = 5
    END = 6  # a WRITE, SIZE or SYNC returned
    MAKE_DIR = 7
    RENAMED = 8
    REMOVED = 9
    MAPPED = 10  # from here on it may be written unseen


class Flag(IntFlag):
    """What else is known."""

    DIRECTORY = 1
    THROUGH = 2  # O_SYNC or O_DSYNC: it is on disk when it returns
    GROWTH = 4  # a size that never shrinks the file


class Record(NamedTuple):
    """One event. ``at`` is an offset or a size; of an END the record that began, and ``result`` what it returned."""

    kind: Kind
    file: int = 0
    at: int = 0
    result: int = 0
    flags: int = 0
    payload: bytes = b""


class LogFull(Exception):
    """The recorded process wrote more than the log takes, and was killed for it."""


class NotRecorded(Exception):
    """No process wrote to the log: it was not preloaded."""


class Log:
    """A fresh log at ``path`` for one process."""

    def __init__(self, path: Path, capacity: int = CAPACITY) -> None:
        self.path = path
        with path.open("w+b") as file:
            file.truncate(capacity)
            self._map = mmap.mmap(file.fileno(), capacity)
        HEAD.pack_into(self._map, 0, MAGIC, capacity, HEAD.size, 0, 0, 0, 0, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def count(self) -> int:
        return self._number(AT_COUNT)

    def kill_behind(self, records: int) -> None:
        """The process kills itself once it has written so many more."""
        struct.pack_into("<Q", self._map, AT_KILL, self.count + records)

    def records(self) -> list[Record]:
        """All of them. Raises LogFull and NotRecorded."""
        if self._number(AT_OVERFLOW):
            raise LogFull(f"more than {len(self._map):,} octets")
        if not self._number(AT_OWNER):
            raise NotRecorded(f"{self.path}: was shim.c preloaded?")
        found = []
        at, used = HEAD.size, self._number(AT_USED)
        while at < used:
            kind, file, where, result, flags, size = RECORD.unpack_from(self._map, at)
            at += RECORD.size
            signed = result - (1 << 64) if result >> 63 else result
            found.append(Record(Kind(kind), file, where, signed, flags, self._map[at : at + size]))
            at += (size + 7) & ~7
        return found

    def close(self) -> None:
        self._map.close()
        self.path.unlink()

    def _number(self, at: int) -> int:
        number: int = struct.unpack_from("<Q", self._map, at)[0]
        return number
