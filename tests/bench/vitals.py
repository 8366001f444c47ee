"""What the processes of a broker use: processor time, memory by kind, disk. Read from /proc; knows no brokers.

Megabytes are millions of bytes. Resident memory comes in two kinds: anonymous, which is the broker's own, and of
files, which the kernel drops when it needs room: the mapped data file, where it is in the page cache, and libraries.
"""

import contextlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lmdb

MB: Final = 1e6
BLOCK_BYTES: Final = 512  # of st_blocks
LMDB_FORMAT: Final = 0  # of amqpd's files
TABLES_MAX: Final = 64
RESET_PEAK: Final = "5"  # written to clear_refs: VmHWM starts anew


@dataclass(frozen=True, slots=True)
class Vitals:
    cpu_s: float
    anon_mb: float
    file_mb: float
    disk_mb: float  # allocated to the data directory
    in_use_mb: float | None  # of that, pages of LMDB that hold something


class Watch:
    """A process and the descendants it has now, and the directory they keep their data in."""

    def __init__(self, pid: int, directory: Path) -> None:
        self._pids = _with_descendants(pid)
        self._directory = directory

    def read(self) -> Vitals:
        statuses = [_status(pid) for pid in self._pids]
        return Vitals(
            sum(_cpu_s(pid) for pid in self._pids),
            sum(status.get("RssAnon", 0.0) for status in statuses),
            sum(status.get("RssFile", 0.0) for status in statuses),
            disk_mb(self._directory),
            lmdb_in_use_mb(self._directory),
        )

    def peak_mb(self) -> float:
        """The most that was resident, of both kinds together, since the last ``reset_peak``."""
        return sum(_status(pid).get("VmHWM", 0.0) for pid in self._pids)

    def reset_peak(self) -> None:
        for pid in self._pids:
            with contextlib.suppress(OSError):
                Path(f"/proc/{pid}/clear_refs").write_text(RESET_PEAK)


def parse_status(text: str) -> dict[str, float]:
    """The sizes of /proc/PID/status, in megabytes."""
    sizes = (line.split() for line in text.splitlines() if line.endswith(" kB"))
    return {name.removesuffix(":"): int(kib) * 1024 / MB for name, kib, _ in sizes}


def disk_mb(directory: Path) -> float:
    """What the files of a directory and those below it take on disk; they may come and go meanwhile."""
    total = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_blocks * BLOCK_BYTES if path.is_file() else 0
    return total / MB


def lmdb_in_use_mb(data_directory: Path) -> float | None:
    """The pages that hold something, in all LMDB files of a data directory; None where there are none. The rest of such
    a file is free and used again.
    """
    files = list(data_directory.rglob("data.mdb"))
    try:
        return sum(map(_pages_mb, files)) if files else None
    except (lmdb.Error, OSError):  # it is being made, or removed
        return None


def _pages_mb(data_file: Path) -> float:
    """As a reader beside the broker, which LMDB allows for."""
    with lmdb.open(str(data_file.parent), readonly=True, max_dbs=TABLES_MAX, lib_version=LMDB_FORMAT) as environment:
        with environment.begin() as transaction:
            names = [bytes(name) for name, _ in transaction.cursor()]
        tables = [environment.open_db(name, create=False) for name in names]
        with environment.begin() as transaction:
            stats = [environment.stat(), *(transaction.stat(table) for table in tables)]
    pages = sum(stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"] for stat in stats)
    return float(pages * stats[0]["psize"] / MB)


def _status(pid: int) -> dict[str, float]:
    try:
        return parse_status(Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return {}


def _cpu_s(pid: int) -> float:
    """To the nanosecond and with threads that have ended, unlike the ticks of /proc/PID/stat."""
    try:
        return time.clock_gettime(~pid << 3 | 2)  # clock_getcpuclockid(3), which Python does not have
    except OSError:
        return 0.0


def _with_descendants(pid: int) -> list[int]:
    found = [pid]
    for parent in found:
        with contextlib.suppress(OSError):
            for children in Path(f"/proc/{parent}/task").glob("*/children"):
                found += map(int, children.read_text().split())
    return found
