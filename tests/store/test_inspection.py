"""Figures of a store: what they say, and that no message is read for them."""

import os
import random
from collections import deque
from pathlib import Path

import pytest

from amqpd.broker import records
from amqpd.broker.ports import META, QUARANTINE, SEGMENTS, TABLES, Op
from amqpd.broker.queues.segments import segment_key
from amqpd.store.inspection import Figures, QueueFigures, inspect
from tests.store.data_files import acks, exchange, queue, schema, segment, spoil, wipe_page, write


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    """Three queues: one with holes, one empty, one with a segment in quarantine; and messages of no queue."""
    _, quarantined, value = segment(3, range(1, 8))
    return write(
        tmp_path,
        [*schema(), exchange("e"), queue("holes", 1), queue("empty", 2, "other"), queue("bad", 3)],
        [segment(1, range(1, 101)), segment(1, range(101, 201)), acks(1, 1, [1, 2, 50]), acks(1, 101, [200])],
        [(QUARANTINE, quarantined, value), (QUARANTINE, b"some record", b"?"), segment(3, [8])],
        [segment(7, [1, 2])],
    )


def by_name(figures: Figures) -> dict[str | None, QueueFigures]:
    return {found.name: found for found in figures.queues}


def test_queues(data_file: Path) -> None:
    figures = inspect(data_file)
    size = len(segment(1, range(1, 101))[2] or b"") + len(segment(1, range(101, 201))[2] or b"")
    found = by_name(figures)
    assert found["holes"] == QueueFigures(1, "/", "holes", segments=2, messages=196, settled=4, bytes=size)
    assert found["empty"] == QueueFigures(2, "other", "empty")
    assert (found["bad"].messages, found["bad"].segments, found["bad"].quarantined) == (1, 1, 1)
    assert (found[None].queue_id, found[None].messages) == (7, 2)
    assert [queue.bytes for queue in figures.queues] == sorted((queue.bytes for queue in figures.queues), reverse=True)
    assert figures.unreadable == []


def test_sizes(data_file: Path) -> None:
    figures = inspect(data_file)
    assert figures.schema == records.SCHEMA_VERSION
    assert figures.file_bytes == data_file.stat().st_size >= figures.pages * figures.page_bytes
    assert figures.live_bytes + figures.free_pages * figures.page_bytes == figures.pages * figures.page_bytes
    assert {table.name for table in figures.tables} == set(TABLES)
    rows = {table.name: table.rows for table in figures.tables}
    assert (rows["queues"], rows["segments"], rows["acks"], rows["quarantine"]) == (3, 4, 2, 2)
    assert sum(table.bytes for table in figures.tables) < figures.live_bytes


def test_an_empty_store(tmp_path: Path) -> None:
    figures = inspect(write(tmp_path))
    assert (figures.schema, figures.queues, figures.unreadable) == (None, [], [])


def test_messages_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data_file = write(tmp_path, [*schema(), queue("q", 1)], [segment(1, range(1, 200), bytes(1000))])
    wanted: list[int] = []
    pread = os.pread

    def counting(descriptor: int, size: int, offset: int) -> bytes:
        wanted.append(size)
        return pread(descriptor, size, offset)

    monkeypatch.setattr(os, "pread", counting)
    figures = inspect(data_file)
    assert figures.queues[0].bytes > 200_000
    assert max(wanted) <= 4096


def test_another_schema_lists_no_queues(tmp_path: Path) -> None:
    older = inspect(write(tmp_path / "older", [(META, records.SCHEMA_KEY, b"1"), queue("q", 1)]))
    assert (older.schema, older.is_known_schema, older.queues) == (1, False, [])
    row = records.row(records.SCHEMA_KEY, records.SCHEMA_VERSION + 1)
    newer = inspect(write(tmp_path / "newer", [(META, *row), queue("q", 1)]))
    assert (newer.schema, newer.is_known_schema, newer.queues) == (records.SCHEMA_VERSION + 1, False, [])


def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    good, bad = segment(1, range(1, 5)), segment(1, range(5, 9))
    data_file = write(
        tmp_path, [*schema(), queue("good", 1), queue("bad", 2)], [good, (SEGMENTS, b"?" * 32, bad[2]), acks(1, 1, [2])]
    )
    spoil(data_file, b'"name":"bad"', b'"name":"BAD"')
    spoil(data_file, acks(1, 1, [2])[2] or b"", b"?" * 5)
    figures = inspect(data_file)
    assert len(figures.unreadable) == 3
    assert by_name(figures)["good"].messages == 4


def test_a_damaged_page_is_counted(tmp_path: Path) -> None:
    data_file = write(tmp_path, [*schema(), queue("q", 1)], [segment(1, [n * 10]) for n in range(1, 500)])
    page = wipe_page(data_file, b"body@2500.")
    figures = inspect(data_file)
    (words,) = figures.unreadable
    assert words.startswith(f"page {page} of the table segments: ")
    assert 0 < figures.queues[0].messages < 499


LIVE_BYTES = 8_000_000


@pytest.mark.parametrize(
    ("least", "most", "factor"),
    [(262_144, 262_200, 1.3), (1024, 262_144, 1.5), (180, 200, 1.6), (1000, 1100, 2.2), (3000, 3100, 1.6)],
)
def test_the_file_follows_the_data(tmp_path: Path, least: int, most: int, factor: float) -> None:
    """Much flows through a queue of constant length (docs/store.md, "How large the file gets")."""
    chance = random.Random(1)
    live: deque[Op] = deque()
    live_bytes = 0
    batches: list[list[Op]] = []
    for number in range(1, 250):
        batch: list[Op] = []
        added = 0
        for count in range(1_000_000):
            value = bytes(int(least * (most / least) ** chance.random()))
            live.append((SEGMENTS, segment_key(1, number << 20 | count, 0, 1, len(value)), value))
            batch.append(live[-1])
            added += len(value)
            if added > LIVE_BYTES // 64:
                break
        live_bytes += added
        while live_bytes > LIVE_BYTES:
            table, key, gone = live.popleft()
            live_bytes -= len(gone or b"")
            batch.append((table, key, None))
        batches.append(batch)
    figures = inspect(write(tmp_path, *batches))
    assert figures.file_bytes <= factor * live_bytes


def test_a_priority_queue_is_one_queue(tmp_path: Path) -> None:
    """Whatever the number of its parts."""
    rows = [queue("q", 1, parts={"3": 2, "9": 3}), segment(1, [1]), segment(2, [1, 2]), segment(3, [5])]
    (figures,) = inspect(write(tmp_path, [*schema(), *rows])).queues
    assert (figures.name, figures.messages, figures.segments) == ("q", 4, 3)
