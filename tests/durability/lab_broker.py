"""``amqpd`` with points at which the process kills itself.

    LAB_POINT=before-commit:7 python -m tests.durability.lab_broker serve ...

dies at the seventh time.

The broker knows nothing of it. What is wrapped is py-lmdb, whose objects are replaced by ones that pass everything on,
renames of files, and the log, which tells when the broker stops. ``LAB_MAP_BYTES`` makes the map small, so that it
grows all the time; ``LAB_EAGER`` has segments joined and the data file made smaller all the time.
"""

import functools
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Final, Self

import lmdb

from amqpd import limits
from amqpd.broker.ports import TABLES
from amqpd.cli.main import main
from amqpd.store import committer, environment
from amqpd.store.directories import SALVAGING

POINTS: Final = (
    "opening",  # an environment, before LMDB does
    "opened",
    "scanning",  # a row in recovery, read
    "before-begin",  # of a batch
    "in-transaction",  # a put or delete was made
    "before-commit",
    "after-commit",  # nobody knows yet
    "growing",  # the map is full, and not larger yet
    "grown",
    "compacting",  # a batch that writes segments anew, before its commit
    "compacted",  # ... and after it
    "renaming",  # a new data file to the place of the old one
    "renamed",
    "salvaging",  # a row was written to the store that takes a damaged one's place
    "swapping",  # the two
    "swapped",
    "quarantining",  # a batch that moves something to quarantine, before its commit
    "quarantined",
    "reading-back",  # a segment, not handed on yet
    "last-batch",  # one of those that the stop itself writes, before its commit
    "last-committed",
    "closing",  # an environment, at a clean stop
)
DIED: Final = "lab: died at "
COMPACTION_SEGMENTS: Final = 8
COMPACTION_BYTES: Final = 65_536
SHRINK_ABOVE_BYTES: Final = 1 << 18
SHRINK_FACTOR: Final = 1
TIDY_AFTER_BATCHES: Final = 30
SEGMENT_TABLES: Final = ("segments", "scratch")
KEY_BYTES: Final = 20  # queue, first and last position: where a segment's key says what it covers


class Executioner:
    """Counts how often the point was reached, in any thread."""

    def __init__(self, point: str, times: int) -> None:
        self.point = point
        self.left = times
        self.is_stopping = False
        self.lock = threading.Lock()

    def reach(self, point: str) -> None:
        if point != self.point:
            return
        with self.lock:
            self.left -= 1
            if self.left == 0:
                os.write(2, f"{DIED}{point}\n".encode())
                os.kill(os.getpid(), signal.SIGKILL)


class Proxy:
    """Passes on what it does not know."""

    def __init__(self, real: Any, executioner: Executioner) -> None:
        self.real = real
        self.reach = executioner.reach
        self.executioner = executioner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class Environment(Proxy):
    """One that lmdb.open made. ``step_bytes``: how much the map may grow at a time, if it is to grow often."""

    def __init__(self, real: Any, executioner: Executioner, step_bytes: int) -> None:
        super().__init__(real, executioner)
        self.step_bytes = step_bytes
        self.names: dict[int, str] = {}  # of the tables
        self.is_salvage = False

    def open_db(self, key: bytes | None = None, *arguments: Any, **options: Any) -> Any:
        table = self.real.open_db(key, *arguments, **options)
        self.names[id(table)] = "" if key is None else bytes(key).decode()
        return table

    def begin(self, *arguments: Any, **options: Any) -> "Transaction":
        is_write = bool(options.get("write"))
        if is_write:
            self.reach("before-begin")
        name = self.names.get(id(options.get("db")), "")
        real = self.real.begin(*arguments, **options)
        transaction = Transaction(real, self.executioner, self.names, name, is_write=is_write)
        transaction.is_salvage = self.is_salvage
        return transaction

    def set_mapsize(self, size: int) -> None:
        self.reach("growing")
        if self.step_bytes:
            size = min(size, self.real.info()["map_size"] + self.step_bytes)
        self.real.set_mapsize(size)
        self.reach("grown")

    def close(self) -> None:
        self.reach("closing")
        self.real.close()


class Transaction(Proxy):
    """One that an environment began; ``table``: the name of its default one."""

    def __init__(
        self, real: Any, executioner: Executioner, names: dict[int, str], table: str, *, is_write: bool
    ) -> None:
        super().__init__(real, executioner)
        self.names = names
        self.table = table
        self.is_write = is_write
        self.put_segments: list[bytes] = []
        self.deleted_segments: list[bytes] = []
        self.has_quarantined = False
        self.is_salvage = False

    def __enter__(self) -> Self:
        self.real.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is not None or not self.is_write:
            self.real.__exit__(kind, error, traceback)
            return
        self.commit(functools.partial(self.real.__exit__, None, None, None))

    def commit(self, commit: Callable[[], Any] | None = None) -> None:
        """What is special about this batch comes first: the common points would hide it."""
        befores = ["before-commit"]
        afters = ["after-commit"]
        if self.is_compaction():
            befores.append("compacting")
            afters.append("compacted")
        if self.has_quarantined:
            befores.append("quarantining")
            afters.append("quarantined")
        if self.executioner.is_stopping:
            befores.append("last-batch")
            afters.append("last-committed")
        for point in befores:
            self.reach(point)
        (commit or self.real.commit)()
        for point in afters:
            self.reach(point)

    def is_compaction(self) -> bool:
        """Whether a segment was written that covers one that was deleted."""
        for put in self.put_segments:
            first, last = put[4:12], put[12:KEY_BYTES]
            if any(key[:4] == put[:4] and first <= key[4:12] <= last for key in self.deleted_segments):
                return True
        return False

    def put(self, key: bytes, value: bytes, *arguments: Any, **options: Any) -> Any:
        done = self.real.put(key, value, *arguments, **options)
        name = self.name_of(options)
        if name in SEGMENT_TABLES:
            self.put_segments.append(bytes(key))
        self.has_quarantined |= name == "quarantine"
        self.reach("salvaging" if self.is_salvage else "in-transaction")
        return done

    def delete(self, key: bytes, *arguments: Any, **options: Any) -> Any:
        done = self.real.delete(key, *arguments, **options)
        if self.name_of(options) in SEGMENT_TABLES:
            self.deleted_segments.append(bytes(key))
        self.reach("in-transaction")
        return done

    def get(self, key: bytes, *arguments: Any, **options: Any) -> Any:
        value = self.real.get(key, *arguments, **options)
        if self.name_of(options) in SEGMENT_TABLES and value is not None:
            self.reach("reading-back")
        return value

    def cursor(self, *arguments: Any, **options: Any) -> "Cursor":
        return Cursor(self.real.cursor(*arguments, **options), self.executioner, is_write=self.is_write)

    def name_of(self, options: dict[str, Any]) -> str:
        return self.names.get(id(options["db"]), "") if "db" in options else self.table


class Cursor(Proxy):
    """One of a transaction."""

    def __init__(self, real: Any, executioner: Executioner, *, is_write: bool) -> None:
        super().__init__(real, executioner)
        self.is_write = is_write

    def delete(self, *arguments: Any, **options: Any) -> Any:
        done = self.real.delete(*arguments, **options)
        self.reach("in-transaction")
        return done

    def next(self) -> Any:
        found = self.real.next()
        if not self.is_write:
            self.reach("scanning")
        return found

    def iternext(self, *arguments: Any, **options: Any) -> Iterator[Any]:
        for row in self.real.iternext(*arguments, **options):
            if not self.is_write:
                self.reach("scanning")
            yield row


class StopWatcher(logging.Filter):
    """Hears from the log that the broker stops."""

    def __init__(self, executioner: Executioner) -> None:
        super().__init__()
        self.executioner = executioner

    def filter(self, record: logging.LogRecord) -> bool:
        if record.getMessage().endswith(": stopping"):
            self.executioner.is_stopping = True
        return True


def wrap(executioner: Executioner, map_bytes: int) -> None:
    """From now on every environment is ours."""
    real_open = lmdb.open

    def opened(*arguments: Any, **options: Any) -> Environment:
        executioner.reach("opening")
        if map_bytes and options.get("subdir", True):
            options["map_size"] = map_bytes
        made = Environment(real_open(*arguments, **options), executioner, map_bytes)
        made.is_salvage = SALVAGING in str(arguments[0])
        executioner.reach("opened")
        return made

    real_replace = os.replace

    def replaced(source: Any, target: Any, **options: Any) -> None:
        is_salvage = SALVAGING in str(source)
        executioner.reach("swapping" if is_salvage else "renaming")
        real_replace(source, target, **options)
        executioner.reach("swapped" if is_salvage else "renamed")

    os.replace = os.rename = replaced  # type: ignore[assignment] # of paths only
    lmdb.open = opened  # type: ignore[assignment] # whoever opens one opens ours
    logging.getLogger("amqpd").addFilter(StopWatcher(executioner))


def be_eager() -> None:
    """Do all the time what else is done now and then. Has no effect where limits are compiled in."""
    limits.COMPACTION_SEGMENTS = COMPACTION_SEGMENTS  # type: ignore[misc] # final for the broker
    limits.COMPACTION_BYTES = COMPACTION_BYTES  # type: ignore[misc]
    environment.SHRINK_ABOVE_BYTES = SHRINK_ABOVE_BYTES  # type: ignore[misc]
    environment.SHRINK_FACTOR = SHRINK_FACTOR  # type: ignore[misc]
    committer.TIDY_AFTER_BATCHES = TIDY_AFTER_BATCHES  # type: ignore[misc]


if __name__ == "__main__":
    name, _, number = os.environ.get("LAB_POINT", ":0").partition(":")
    if name and name not in POINTS:
        sys.exit(f"no such point: {name}")
    if not set(SEGMENT_TABLES) <= set(TABLES):
        sys.exit("the tables of segments have other names now")
    wrap(Executioner(name, int(number)), int(os.environ.get("LAB_MAP_BYTES", "0")))
    if os.environ.get("LAB_EAGER"):
        be_eager()
    main()
