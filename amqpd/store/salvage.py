"""From a damaged data file to a sound one that holds every row that proves itself.

What the damaged file holds ``wreck.py`` finds. The new file takes its place by one rename, so a crash leaves either
one, and the damaged one is kept for a person.
"""

import logging
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Final

from amqpd.broker import records
from amqpd.broker.ports import ACKS, META, STATES, TABLES, Op
from amqpd.store import directories
from amqpd.store.directories import SALVAGING
from amqpd.store.environment import Environment
from amqpd.store.layout import open_pages
from amqpd.store.proofs import is_sealed
from amqpd.store.wreck import Wreck

logger = logging.getLogger("amqpd.store")

MAP_BYTES: Final = 1 << 30  # to start with
BATCH_BYTES: Final = 8 << 20  # of rows that are written at a time
GROWING: Final = (ACKS, STATES)
LOSSES_MAX: Final = 100  # that are told one by one


class UnreadableStore(Exception):
    """Nothing can be read from the data file: one line that says which, and what to do."""


def rebuild(directory: Path, problems: list[str], newest: int = 0) -> None:
    """Put a sound store in the damaged one's place. Raises UnreadableStore, OSError, lmdb.Error.

    ``newest``: a transaction that is known to have been committed.
    """
    data_file = directory / "store" / "data.mdb"
    directories.remove(directory / SALVAGING)
    try:
        with open_pages(data_file) as pages:
            wreck = Wreck(pages, newest)
            saved = _write(directory / SALVAGING, wreck)
        if not any(count for table, count in saved.items() if table != META) and not wreck.is_empty:
            raise UnreadableStore(
                f"cannot open the store in {directory}: {data_file} is damaged, and nothing in it can be read "
                f"({'; '.join(problems[:1])}): put a copy back, or move the directory away to start empty"
            )
        kept = _keep(directory, data_file)
        _report(data_file, kept, problems, wreck, saved)  # before the swap: after it nobody would know
        os.replace(directory / SALVAGING / "data.mdb", data_file)
        directories.sync(data_file.parent)
    finally:
        directories.remove(directory / SALVAGING)


def _write(path: Path, wreck: Wreck) -> Counter[int]:
    """A new environment with all rows; how many by table."""
    environment = Environment(path, MAP_BYTES, sync=False)
    saved: Counter[int] = Counter()
    growing: dict[tuple[int, bytes], bytes] = {}  # rows that may be there twice
    try:
        batch: list[Op] = []
        size = 0
        for table, key, value in wreck.rows():
            if table in GROWING:
                growing[table, key] = _further(table, key, growing.get((table, key), value), value)
                continue
            saved[table] += 1
            batch.append((table, key, value))
            size += len(value)
            if size > BATCH_BYTES:
                environment.write(batch)
                batch, size = [], 0
        environment.write(batch)
        for table, key, value in wreck.repaired:
            if table in GROWING or environment.read(table, key) is None:
                growing[table, key] = _further(table, key, growing.get((table, key), value), value)
        saved.update(table for table, _ in growing)
        batch = [(table, key, value) for (table, key), value in growing.items()]
        # Without it the store would pass for a new one.
        if saved and not wreck.has_schema:
            batch.append((META, *records.row(records.SCHEMA_KEY, records.SCHEMA_VERSION)))
        environment.write(batch)
        environment.sync()
    finally:
        environment.close()
    return saved


def _further(table: int, key: bytes, one: bytes, other: bytes) -> bytes:
    """Of two rows with one key the one that is further on: what is settled or delivered stays so.

    Where the keys of a leaf are out of order, LMDB does not find a row, and writes it a second time.
    """
    return max(one, other, key=lambda value: (is_sealed(key, value), len(value), _progress(table, value[4:])))


def _progress(table: int, body: bytes) -> int:
    """Bit maps grow by bits, marks are numbers."""
    number = int.from_bytes(body, "big")
    return number.bit_count() if table == ACKS else number


def _keep(directory: Path, data_file: Path) -> Path:
    """Give the damaged file a second name, under which it stays; the directory it is in."""
    number = 1
    while (kept := directory / f"store-damaged-{number}").exists() and not _is_same(kept / "data.mdb", data_file):
        number += 1
    kept.mkdir(exist_ok=True)
    if not (kept / "data.mdb").exists():
        try:
            os.link(data_file, kept / "data.mdb")
        except OSError:  # a file system without second names
            shutil.copyfile(data_file, kept / "copying")
            os.replace(kept / "copying", kept / "data.mdb")
    directories.sync(kept, directory)
    return kept


def _is_same(kept: Path, data_file: Path) -> bool:
    """Whether a crash came between the two names."""
    return not kept.exists() or kept.samefile(data_file)


def _report(data_file: Path, kept: Path, problems: list[str], wreck: Wreck, saved: Counter[int]) -> None:
    logger.error("%s was damaged: %s", data_file, "; ".join(problems))
    losses = wreck.losses()
    for loss in losses[:LOSSES_MAX]:
        logger.error("%s", loss)
    if len(losses) > LOSSES_MAX:
        logger.error("and %d losses more", len(losses) - LOSSES_MAX)
    counts = ", ".join(f"{TABLES[table]} {count}" for table, count in sorted(saved.items()))
    words = "rows saved to a new store: %s; %s; the damaged file is kept in %s"
    logger.error(words, counts, "not all of it" if losses else "nothing is known to be lost", kept)
