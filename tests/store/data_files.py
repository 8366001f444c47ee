"""Stores of one's own making for the tests of what reads their files: rows in, and damage where a test wants it."""

import os
import select
from collections.abc import Iterable
from pathlib import Path

from amqpd.broker import records
from amqpd.broker.ports import ACKS, BINDINGS, EXCHANGES, META, QUEUES, SEGMENTS, STATES, Op
from amqpd.broker.queues.segments import SegmentWriter, acks_key, queue_key
from amqpd.store.lmdb_store import LmdbStore
from amqpd.store.tables import open_tables

PAGE_BYTES = 4096


def write(directory: Path, *batches: Iterable[Op]) -> Path:
    """A store with these batches, which no broker has; its data file."""
    store = LmdbStore(directory, durability="write", map_bytes=1 << 24)
    for ticket, batch in enumerate(batches, 1):
        store.commit(ticket, list(batch))
        while store.completed() < ticket:
            assert select.select([store.wake_fd()], [], [], 20.0)[0]
            os.read(store.wake_fd(), 4096)
    store.close()
    return directory / "store" / "data.mdb"


def schema(next_queue_id: int = 10) -> list[Op]:
    """What every store begins with."""
    return [
        (META, *records.row(records.SCHEMA_KEY, records.SCHEMA_VERSION)),
        (META, *records.row(records.NEXT_QUEUE_KEY, next_queue_id)),
    ]


def queue(name: str, queue_id: int, vhost: str = "/", *, parts: dict[str, int] | None = None) -> Op:
    fact: dict[str, object] = {"vhost": vhost, "name": name, "id": queue_id, "auto_delete": False, "arguments": []}
    if parts:
        fact["parts"] = parts
    return (QUEUES, *records.row(records.name_key(vhost, name), fact))


def exchange(name: str, vhost: str = "/") -> Op:
    fact = {"vhost": vhost, "name": name, "type": "fanout", "auto_delete": False, "internal": False, "arguments": []}
    return (EXCHANGES, *records.row(records.name_key(vhost, name), fact))


def binding(source: str, destination: str, *, to_queue: bool = True, vhost: str = "/") -> Op:
    fact = {"vhost": vhost, "source": source, "destination": destination, "to_queue": to_queue}
    return (BINDINGS, *records.row(f"{source}>{destination}".encode(), {**fact, "key": "", "arguments": []}))


def segment(queue_id: int, positions: Iterable[int], content: bytes = b"body") -> Op:
    """Messages at these positions; each ends in its own."""
    writer = SegmentWriter()
    for position in positions:
        writer.add(position, 1, b"\x00\x01q\xce", content + b"@%d." % position)
    key = writer.segment(1, False).key(queue_id)
    return SEGMENTS, key, writer.value(key)


def acks(queue_id: int, first: int, settled: Iterable[int], last: int = 0) -> Op:
    """Settled positions of the segment from ``first`` to ``last``, by default the last of them."""
    offsets = [position - first for position in settled]
    bits = bytearray((max(offsets) if last == 0 else last - first) // 8 + 1)
    for offset in offsets:
        bits[offset >> 3] |= 1 << (offset & 7)
    key = acks_key(queue_id, first)
    return ACKS, key, records.seal(key, bytes(bits))


def mark(queue_id: int, position: int) -> Op:
    key = queue_key(queue_id)
    return STATES, key, records.seal(key, position.to_bytes(8, "big"))


def spoil(data_file: Path, pattern: bytes, replacement: bytes) -> None:
    """Overwrite every occurrence of ``pattern``; there is one at least."""
    content = data_file.read_bytes()
    assert content.count(pattern) >= 1
    assert len(pattern) == len(replacement)
    data_file.write_bytes(content.replace(pattern, replacement))


def flip(data_file: Path, offset: int, bit: int = 0) -> None:
    with data_file.open("r+b") as file:
        file.seek(offset)
        byte = file.read(1)[0]
        file.seek(offset)
        file.write(bytes([byte ^ 1 << bit]))


def contents(data_file: Path) -> dict[str, dict[bytes, bytes | None]]:
    """All that can be read, by table."""
    with open_tables(data_file) as tables:
        return {name: {row.key: tables.value(row) for row in tables.rows(name)} for name in tables.trees}


def wipe_page(data_file: Path, pattern: bytes) -> int:
    """Overwrite the leaf that has ``pattern`` in a row with zeros; its number. Free room may hold it too."""
    content = data_file.read_bytes()
    rows = _rows_with(data_file, pattern)
    for at in range(2 * PAGE_BYTES, len(content), PAGE_BYTES):
        if pattern in content[at : at + PAGE_BYTES]:
            data_file.write_bytes(content[:at] + bytes(PAGE_BYTES) + content[at + PAGE_BYTES :])
            if _rows_with(data_file, pattern) < rows:
                return at // PAGE_BYTES
    raise AssertionError(f"{pattern!r} is in no tree")


def _rows_with(data_file: Path, pattern: bytes) -> int:
    tables = contents(data_file).values()
    return sum(pattern in key + (value or b"") for rows in tables for key, value in rows.items())
