"""How fast the disk syncs right now: it varies by a factor of 50 with what else the host does, so every run tells."""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import lmdb

TRIES: Final = 200
COMMIT: Final = "LMDB commit of one 100-byte value"
APPEND: Final = bytes(4096)
PUT: Final = bytes(100)


@dataclass(frozen=True, slots=True)
class Sync:
    """One probe: ``what`` was done, and how long it took, sync included."""

    what: str
    p50_us: float
    p99_us: float


def probe(parent: Path) -> list[Sync]:
    with tempfile.TemporaryDirectory(dir=parent) as directory:
        return [_append(Path(directory) / "appended"), _commit(Path(directory) / "lmdb")]


def commit(parent: Path, every_s: float) -> Sync:
    """Commits alone, one each ``every_s``, as a broker makes them that is held to a rate."""
    with tempfile.TemporaryDirectory(dir=parent) as directory:
        return _commit(Path(directory) / "lmdb", every_s)


def _append(path: Path) -> Sync:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT)

    def append() -> None:
        os.write(descriptor, APPEND)
        os.fdatasync(descriptor)

    try:
        return _timed("append 4 KiB, fdatasync", append)
    finally:
        os.close(descriptor)


def _commit(path: Path, every_s: float = 0.0) -> Sync:
    keys = iter(range(TRIES))
    with lmdb.open(str(path), map_size=1 << 26) as environment:

        def commit() -> None:
            with environment.begin(write=True) as transaction:
                transaction.put(next(keys).to_bytes(8, "big"), PUT)

        return _timed(COMMIT, commit, every_s)


def _timed(what: str, action: Callable[[], None], every_s: float = 0.0) -> Sync:
    times_us = []
    due = time.perf_counter()
    for _ in range(TRIES):
        if every_s:
            time.sleep(max(0.0, due - time.perf_counter()))
            due = max(due, time.perf_counter()) + every_s
        start = time.perf_counter_ns()
        action()
        times_us.append((time.perf_counter_ns() - start) / 1e3)
    cuts = statistics.quantiles(times_us, n=100)
    return Sync(what, cuts[49], cuts[98])
