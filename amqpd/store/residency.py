"""Gives memory back that holds nothing but pages of the data file, which the kernel keeps for us as long as it likes.

LMDB reads through a map of the file, so whatever was read counts as this process's memory until somebody else wants
it: a limit on memory would take a deep queue for a leak. Linux only; elsewhere nothing is given back.
"""

import importlib
import threading
from pathlib import Path
from typing import Final

RELEASE_EVERY_BYTES: Final = 32 * 1024 * 1024
MADV_DONTNEED: Final = 4  # of a read-only map of a file: the pages go, the file and the kernel's cache of it stay


class Residency:
    """Of the map of one file. ``touched`` may be called by several threads."""

    def __init__(self, path: Path) -> None:
        self._path = str(path.resolve())
        self._touched = 0
        self._lock = threading.Lock()

    def touched(self, size: int) -> None:
        """About ``size`` bytes of the file were read."""
        with self._lock:
            self._touched += size
            if self._touched < RELEASE_EVERY_BYTES:
                return
            self._touched = 0
        self.release()

    def release(self) -> None:
        """Let go of every page of the map."""
        ctypes = importlib.import_module("ctypes")  # 2 ms that a start does not pay
        for start, end in self._places():
            ctypes.CDLL(None).madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), MADV_DONTNEED)

    def _places(self) -> list[tuple[int, int]]:
        try:
            lines = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
        except OSError:
            return []
        return [_addresses(line) for line in lines if line.endswith(self._path)]


def _addresses(line: str) -> tuple[int, int]:
    start, _, end = line.split(maxsplit=1)[0].partition("-")
    return int(start, 16), int(end, 16)
