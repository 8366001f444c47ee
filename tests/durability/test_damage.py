"""Damage and failing disks: what aims, reads reports and makes disks fail, and a few cycles of each fault."""

import errno
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest

from amqpd.broker import records
from amqpd.broker.ports import QUEUES, SEGMENTS, STATES
from amqpd.store.lmdb_store import LmdbStore
from tests.durability.campaign import Campaign
from tests.durability.errors import shim
from tests.durability.faults import make_fault, reports
from tests.durability.faults.flip import Flip, flip_bits
from tests.durability.faults.pages import (
    AIMS,
    ANYWHERE,
    NOTHING,
    PAGE,
    SEGMENT_KEYS,
    SEGMENT_VALUES,
    VALUES,
    Layout,
)
from tests.durability.faults.truncate import refusal_complaint
from tests.durability.lab import Laboratory
from tests.durability.ledger import Ledger, Producer
from tests.durability.writer import TICKET
from tests.server.serving import ROOT

needs_shim = pytest.mark.skipif(bool(shim.why_not()), reason=shim.why_not())


# -- where to aim --


def make_store(directory: Path) -> bytes:
    """Some hundred segments, small and large, some deleted again; the bytes of the data file."""
    chance = Random(1)
    store = LmdbStore(directory, map_bytes=1 << 24)
    ticket = 0
    for number in range(60):
        ops: list[tuple[int, bytes, bytes | None]] = [
            (SEGMENTS, bytes([0, 0, 0, 7, number, each]) + bytes(26), chance.randbytes(chance.choice((50, 900, 9000))))
            for each in range(4)
        ]
        ops.append((STATES, b"\0\0\0\7", chance.randbytes(12)))
        ops += [(SEGMENTS, bytes([0, 0, 0, 7, number - 9, each]) + bytes(26), None) for each in range(2) if number > 9]
        key = records.name_key("/", "q")
        ops.append((QUEUES, *records.row(key, {"id": 7, "name": "q"})))
        ticket += 1
        store.commit(ticket, ops)
        while store.completed() < ticket:
            pass
    store.close()
    return (directory / "store" / "data.mdb").read_bytes()


def content(directory: Path) -> list[tuple[bytes, bytes]]:
    store = LmdbStore(directory, map_bytes=1 << 24)
    found = [row for table in (SEGMENTS, STATES, QUEUES) for row in store.scan(table, b"")]
    store.close()
    return found


def test_layout_finds_every_row_and_page(tmp_path: Path) -> None:
    data = make_store(tmp_path)
    layout = Layout(data)
    assert set(AIMS) == set(layout.spans), "there is something of every kind"
    rows = {span.key: data[span.start : span.start + span.length] for span in layout.spans[SEGMENT_VALUES]}
    assert rows == {key: value for key, value in content(tmp_path) if len(key) == 32}
    assert {span.key for span in layout.spans[SEGMENT_KEYS]} == set(rows)
    assert all(data[span.start :].startswith(span.key) for span in layout.spans[SEGMENT_KEYS])
    assert {span.table for span in layout.spans[VALUES]} == {"states", "queues"} | (
        {"meta"} & {span.table for span in layout.spans[VALUES]}
    )
    assert layout.queue_names == {7: "q"}
    assert layout.queue_of(layout.spans[SEGMENT_VALUES][0]) == "q"
    free = sum(span.length for span in layout.spans[NOTHING] if span.length == PAGE)
    assert 0 < free < len(data) / 2


def test_layout_nobody_misses_what_it_calls_nothing(tmp_path: Path) -> None:
    layout = Layout(make_store(tmp_path))
    before = content(tmp_path)
    layout = Layout((tmp_path / "store" / "data.mdb").read_bytes())
    chance = Random(2)
    spans = chance.choices(layout.spans[NOTHING], k=200)
    flip_bits(tmp_path / "store" / "data.mdb", {(span.start + chance.randrange(span.length), 3) for span in spans})
    assert content(tmp_path) == before


def test_layout_of_anything_ends(tmp_path: Path) -> None:
    data = bytearray(make_store(tmp_path))
    chance = Random(3)
    for _ in range(300):
        data[chance.randrange(len(data) if chance.random() < 0.5 else 3 * PAGE)] = chance.randrange(256)
        for span in [span for spans in Layout(bytes(data)).spans.values() for span in spans]:
            assert 0 <= span.start < span.start + span.length <= len(data)
    assert Layout(b"").spans == {}
    assert list(Layout(bytes(2 * PAGE)).spans) == [ANYWHERE, "newer meta page", "older meta page"]


# -- what is reported --


def error(words: str, level: str = "error", logger: str = "recovery") -> str:
    return f"2026-01-01T00:00:00.000Z {level} amqpd.{logger}: {words}\n"


def test_reports_are_read() -> None:
    key = records.name_key("/", "gone").hex()
    log = (
        error(
            "queue 'a': the checksum of segment 1-9 does not hold: 3 messages are lost to this queue", logger="queues"
        )
        + error("queue 'a': segment 10-19 is missing: 4 messages are lost to this queue", logger="queues")
        + error("queue 'b': which messages of segment 1-9 were acked is lost: all of them are delivered again")
        + error(f"queues: the checksum of a record does not hold: it is in quarantine (key {key})")
        + error("queue number 7 has lost its name: 5 messages are kept, but not delivered")
        + error("acks: the checksum of a record does not hold: it is in quarantine (key 000000080000000000000001)")
        + error("binding of 'h' to 'e' with key 'k': one end of it is lost: it is removed")
        + error("segment 1-9 of queue 9: its damaged key was repaired", "warning")
        + error("the disk is full (x): publishers wait", logger="store")
        + error("queue 'c' is fine", "info")
        + error("something is wrong", logger="store")
    )
    names = {7: "d", 8: "f", 9: "g"}
    found = reports.Reader(names, ["e"], ["a", "b", "gone"], [("e", "h", "k")]).read(log)
    assert found.queues == {"a": 7, "b": 0, **dict.fromkeys(("gone", "d", "f"), float("inf"))}
    assert found.unsure == {"b", "gone", "d", "f"}
    assert found.names == {"gone", "d", "h"}
    assert found.repaired == {"g"}
    assert found.nameless == ["something is wrong"]
    ledger = Ledger([Producer(1, "", "a", ("a",))], ("a",))
    found.excuse(ledger)
    assert ledger.excuses["a"].missing == 7
    assert ledger.excused_names == found.names


def test_reports_of_salvage_are_read() -> None:
    log = error("/data/store/data.mdb was damaged: page 3 of table segments: unreadable", logger="store")
    log += error("queue 'a' of '/': segment 1-9 is damaged", logger="store")
    log += error(
        "rows saved to a new store: segments 3; not all of it; the damaged file is kept in /data", logger="store"
    )
    reader = reports.Reader({}, ["e"], ["a", "b"], [])
    found = reader.read(log)
    assert (set(found.queues), found.names, found.nameless, found.vague) == ({"a"}, set(), [], [])
    found = reader.read(error("table segments: 2 of 9 rows are lost", logger="store"))
    assert (set(found.queues), found.nameless, len(found.vague)) == ({"a", "b"}, [], 1)
    found = reader.read(error("acks: the checksum of a record does not hold: it is in quarantine (key 200000030001)"))
    assert (set(found.queues), found.names, len(found.vague)) == ({"a", "b"}, {"*"}, 1)
    found = reader.read(error("table bindings: 2 of 9 rows are lost", logger="store"))
    assert (set(found.queues) & {"a"}, found.names, len(found.vague)) == (set(), {"*"}, 1)


def test_refusals_are_judged() -> None:
    good = "amqpd: /data/store/data.mdb is no data file: restore it from a backup, or remove it to start empty\n"
    assert refusal_complaint(1, good) == ""
    assert refusal_complaint(-7, good)
    assert refusal_complaint(1, good + good)
    assert refusal_complaint(1, "Traceback (most recent call last)\n" + good)
    assert refusal_complaint(1, "amqpd: no\n")


# -- a disk that fails --


def write_until_it_fails(directory: Path, environ: dict[str, str], first_ticket: int) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.durability.writer", str(directory), str(first_ticket)]
    return subprocess.Popen(
        command, cwd=ROOT, env={"PATH": "", **environ}, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


@needs_shim
@pytest.mark.parametrize(("call", "error"), [(shim.WRITE, errno.EIO), (shim.META, errno.EIO), (shim.SYNC, errno.EIO)])
def test_disk_fails_when_it_is_told_to(tmp_path: Path, call: int, error: int) -> None:
    """What is on the disk then is what was reported durable, or that and the batch that failed."""
    with write_until_it_fails(tmp_path / "data", {}, 1) as process:
        assert process.stdout is not None
        said = process.stdout.read(TICKET.size * 3)
        process.kill()
        said += process.stdout.read()
    (before,) = TICKET.unpack(said[-TICKET.size :])
    file = tmp_path / "data" / "store" / "data.mdb"
    (tmp_path / "disk").write_bytes(file.read_bytes())
    switch = shim.Switch(tmp_path, disk=tmp_path / "disk")
    with write_until_it_fails(tmp_path / "data", switch.environ, before + 2) as process:
        assert process.stdout is not None
        said = process.stdout.read(TICKET.size * 3)
        switch.fail(call, error, let=2)
        said += process.stdout.read()
    (last,) = TICKET.unpack(said[-TICKET.size :])
    assert switch.hits
    assert process.returncode not in (0, -9)
    for path in (file, tmp_path / "disk"):
        file.write_bytes(path.read_bytes())
        store = LmdbStore(tmp_path / "data", map_bytes=1 << 20)
        (newest,) = TICKET.unpack(store.read(0, b"newest") or b"")
        store.close()
        assert last <= newest <= last + 1


# -- a few cycles of each --


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize("name", ["flip", "truncate", "full-disk", "io-error"])
def test_faults_break_no_promise(tmp_path: Path, name: str) -> None:
    fault = Flip(live_share=0.0) if name == "flip" else make_fault(name)
    if fault.why_not():
        pytest.skip(fault.why_not())
    campaign = Campaign(tmp_path, 11, load_s=0.4)
    laboratory = Laboratory(campaign, [fault])
    laboratory.run(6)
    assert campaign.ledger.is_clean, laboratory.table()
    assert campaign.ledger.counts["confirmed"] > 500
