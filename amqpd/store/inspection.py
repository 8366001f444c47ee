"""What a data file holds, in figures: its size, its tables, and its queues.

Reads keys, ack maps and topology, and no message: the keys of segments say how many there are. So the time goes with
the number of segments, not of messages. Nothing is judged here (``verification.py``); what cannot be read is counted.
"""

import contextlib
from dataclasses import dataclass, field
from pathlib import Path

from amqpd.broker import records
from amqpd.broker.ports import ACKS, META, QUARANTINE, QUEUES, SEGMENTS, TABLES
from amqpd.broker.queues.segments import CorruptSegment, read_acks_key, read_segment_key
from amqpd.store.tables import Tables, open_tables


@dataclass(frozen=True, slots=True)
class TableFigures:
    """Rows of a table, and bytes of the pages that it takes."""

    name: str
    rows: int
    bytes: int


@dataclass(slots=True)
class QueueFigures:
    """A durable queue. Without a name: its messages are there, but no queue has the number."""

    queue_id: int
    vhost: str | None = None
    name: str | None = None
    segments: int = 0
    messages: int = 0  # that wait
    settled: int = 0  # holes: settled, but on disk with their segment
    bytes: int = 0
    quarantined: int = 0  # segments


@dataclass(slots=True)
class Figures:
    """All of it. ``schema`` None: it cannot be read. ``unreadable``: what had to be passed over, in words."""

    file_bytes: int
    page_bytes: int
    pages: int
    free_pages: int
    schema: int | None = None
    tables: list[TableFigures] = field(default_factory=list)
    queues: list[QueueFigures] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    @property
    def live_bytes(self) -> int:
        """Of the pages that hold something."""
        return (self.pages - self.free_pages) * self.page_bytes

    @property
    def is_known_schema(self) -> bool:
        """Whether this amqpd knows what the rows mean; it lists no queues otherwise."""
        return self.schema == records.SCHEMA_VERSION


def inspect(data_file: Path) -> Figures:
    """The figures of a data file that nobody writes. Raises NotAStore, OSError."""
    with open_tables(data_file) as tables:
        pages = tables.pages
        figures = Figures(pages.file_bytes, pages.page_bytes, tables.page_count, tables.free_pages())
        trees = [tables.trees[name] for name in TABLES if name in tables.trees]
        figures.tables = [TableFigures(tree.name, tree.rows, tree.pages * pages.page_bytes) for tree in trees]
        figures.schema = read_schema(tables)
        if figures.is_known_schema:
            figures.queues = _queues(tables, figures.unreadable)
        figures.unreadable += [
            f"page {damage.page} of {damage.tree.label}: {damage.reason}" for damage in tables.damage
        ]
        return figures


def read_schema(tables: Tables) -> int | None:
    """The version of the schema, in the form of any version; None: none is readable."""
    for row in tables.rows(TABLES[META]):
        if row.key == records.SCHEMA_KEY:
            value = tables.value(row) or b""
            try:
                body = value if value.isdigit() else records.unseal(row.key, value)  # 1 was not sealed
                return int(body)
            except (records.CorruptRecord, ValueError):
                return None
    return None


def _queues(tables: Tables, unreadable: list[str]) -> list[QueueFigures]:
    """By bytes, the largest first."""
    queues = _declared(tables, unreadable)
    settled = _settled(tables, unreadable)
    for row in tables.rows(TABLES[SEGMENTS]):
        try:
            queue_id, first, _, count, size = read_segment_key(row.key)
        except CorruptSegment as error:
            unreadable.append(str(error))
            continue
        figures = queues.setdefault(queue_id, QueueFigures(queue_id))
        holes = settled.get((queue_id, first), 0)
        figures.segments += 1
        figures.messages += count - holes
        figures.settled += holes
        figures.bytes += size
    for row in tables.rows(TABLES[QUARANTINE]):
        with contextlib.suppress(CorruptSegment):  # records and acks are there too
            queue_id = read_segment_key(row.key)[0]
            queues.setdefault(queue_id, QueueFigures(queue_id)).quarantined += 1
    each = {id(figures): figures for figures in queues.values()}  # a queue of several parts is there several times
    return sorted(each.values(), key=lambda queue: (-queue.bytes, queue.vhost or "", queue.name or ""))


def _declared(tables: Tables, unreadable: list[str]) -> dict[int, QueueFigures]:
    queues: dict[int, QueueFigures] = {}
    for row in tables.rows(TABLES[QUEUES]):
        try:
            fact = records.decode(row.key, tables.value(row) or b"")
            figures = QueueFigures(fact["id"], fact["vhost"], fact["name"])
            queues.update(dict.fromkeys(records.queue_numbers(fact), figures))
        except records.CorruptRecord:
            unreadable.append(f"the record {row.key.hex()} of a queue")
    return queues


def _settled(tables: Tables, unreadable: list[str]) -> dict[tuple[int, int], int]:
    """Settled messages by queue and first position of their segment."""
    counts: dict[tuple[int, int], int] = {}
    for row in tables.rows(TABLES[ACKS]):
        place = read_acks_key(row.key)
        try:
            settled = records.unseal(row.key, tables.value(row) or b"")
            counts[place] = int.from_bytes(settled, "big").bit_count()
        except records.CorruptRecord:
            unreadable.append(f"the acks of the segment at position {place[1]} of queue {place[0]}")
    return counts
