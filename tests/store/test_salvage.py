"""A sound store takes the damaged one's place: whole, logged, and whatever moment a crash comes."""

import logging
import os
import random
import re
from pathlib import Path

import pytest

from amqpd.broker import records
from amqpd.broker.ports import ACKS, META, SEGMENTS, STATES
from amqpd.store import salvage
from amqpd.store.directories import SALVAGING
from amqpd.store.environment import Environment
from amqpd.store.integrity import check
from amqpd.store.salvage import UnreadableStore, rebuild
from tests.store import wrecks
from tests.store.wrecks import PAGE


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    """Of a store whose list of tables is damaged: one bit of the page's flags."""
    data_file, _ = wrecks.make(tmp_path, batches=8)
    data = data_file.read_bytes()
    wrecks.flip(data_file, data, wrecks.spans(data)["main leaf head"][0][0], 0)
    return data_file


def test_all_rows_are_in_a_sound_store(tmp_path: Path, data_file: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "other").mkdir()
    _, rows = wrecks.make(tmp_path / "other", batches=8)
    damaged = data_file.read_bytes()
    problems = check(data_file)
    rebuild(tmp_path, problems)
    assert check(data_file) == []
    assert wrecks.read(data_file) == rows
    assert (tmp_path / "store-damaged-1" / "data.mdb").read_bytes() == damaged
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "store", "store-damaged-1"]
    assert {record.levelno for record in caplog.records} == {logging.ERROR}
    first, last = (caplog.records[at].getMessage() for at in (0, -1))
    assert first == f"{data_file} was damaged: {'; '.join(problems)}"
    assert "queues 3, bindings 3, segments 32" in last
    assert last.endswith(f"nothing is known to be lost; the damaged file is kept in {tmp_path / 'store-damaged-1'}")


def test_the_new_store_goes_on_where_the_old_one_was(tmp_path: Path, data_file: Path) -> None:
    """It can be written, checked and damaged again; every damaged file is kept."""
    for number in (1, 2, 3):
        rebuild(tmp_path, check(data_file))
        assert (tmp_path / f"store-damaged-{number}" / "data.mdb").exists()
        environment = Environment(tmp_path / "store", 1 << 24, sync=False)
        environment.write([wrecks.segment(3, 10_000 + number, b"more")])
        environment.close()
        assert check(data_file) == []
        data = data_file.read_bytes()
        wrecks.flip(data_file, data, wrecks.spans(data)["main leaf head"][0][0], 0)
    rebuild(tmp_path, check(data_file))
    assert sum(table == SEGMENTS for table, _ in wrecks.read(data_file)) == 32 + 3


def test_a_crash_between_the_names(tmp_path: Path, data_file: Path) -> None:
    """The damaged file had its second name, the new one not yet its first."""
    (tmp_path / "store-damaged-1").mkdir()
    os.link(data_file, tmp_path / "store-damaged-1" / "data.mdb")
    (tmp_path / SALVAGING).mkdir()
    (tmp_path / SALVAGING / "data.mdb").write_bytes(b"half")
    rebuild(tmp_path, check(data_file))
    assert check(data_file) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["store", "store-damaged-1"]


def test_a_file_system_without_second_names(tmp_path: Path, data_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "link", refuse)
    damaged = data_file.read_bytes()
    rebuild(tmp_path, check(data_file))
    assert check(data_file) == []
    assert (tmp_path / "store-damaged-1" / "data.mdb").read_bytes() == damaged


@pytest.mark.parametrize("content", [b"garbage" * 9000, bytes(20 * PAGE), b"x"])
def test_a_file_with_nothing_in_it_is_refused(tmp_path: Path, content: bytes) -> None:
    """The broker must not start empty."""
    data_file = tmp_path / "store" / "data.mdb"
    data_file.parent.mkdir()
    data_file.write_bytes(content)
    with pytest.raises(UnreadableStore, match=f"^cannot open the store in {re.escape(str(tmp_path))}: .+ start empty$"):
        rebuild(tmp_path, check(data_file))
    assert data_file.read_bytes() == content
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_file_cut_to_its_meta_pages_is_refused(tmp_path: Path, data_file: Path) -> None:
    os.truncate(data_file, 2 * PAGE)
    with pytest.raises(UnreadableStore):
        rebuild(tmp_path, check(data_file))


def test_an_empty_store_may_be_made_anew(tmp_path: Path) -> None:
    """All of it was seen, and there was nothing."""
    Environment(tmp_path / "store", 1 << 24, sync=False).close()
    data_file = tmp_path / "store" / "data.mdb"
    data = data_file.read_bytes()
    wrecks.flip(data_file, data, wrecks.metas(data)[1] + 44, 2)
    rebuild(tmp_path, check(data_file))
    assert check(data_file) == []
    assert wrecks.read(data_file) == {}


def test_a_lost_schema_is_written_anew(tmp_path: Path) -> None:
    """Or the broker would take the store for a new one."""
    data_file, rows = wrecks.make(tmp_path, batches=3)
    data = bytearray(data_file.read_bytes())
    at, size = wrecks.spans(bytes(data))["meta leaf page"][0]
    data[at : at + size] = bytes(size)
    data_file.write_bytes(data)
    rebuild(tmp_path, check(data_file))
    place = (META, records.SCHEMA_KEY)
    assert wrecks.read(data_file)[place] == rows[place]


def test_any_damage_ends_in_a_sound_store_or_none(tmp_path: Path, data_file: Path) -> None:
    chance = random.Random(11)
    sound = data_file.read_bytes()
    ends = {True: 0, False: 0}
    for _ in range(30):
        spoilt = bytearray(sound)
        for _ in range(chance.choice((1, 9, 90))):
            at, size = chance.randrange(len(spoilt)), chance.choice((1, 9, 600, 9000))
            spoilt[at : at + size] = chance.randbytes(len(spoilt[at : at + size]))
        data_file.write_bytes(spoilt[: chance.choice((len(spoilt), chance.randrange(len(spoilt))))])
        problems = check(data_file)
        try:
            rebuild(tmp_path, problems)
        except UnreadableStore:
            ends[False] += 1
        else:
            ends[True] += 1
            assert check(data_file) == []
    assert all(ends.values())


def spoil(data_file: Path) -> None:
    """One bit of the page that lists the tables, so that a rebuild is due and can lose nothing."""
    data = data_file.read_bytes()
    wrecks.flip(data_file, data, wrecks.spans(data)["main leaf head"][0][0], 0)


def test_what_was_written_but_never_committed_is_not_salvaged(tmp_path: Path) -> None:
    """A killed commit leaves pages behind the last one of the transaction."""
    data_file, rows = wrecks.make(tmp_path, batches=8)
    before = data_file.read_bytes()
    environment = Environment(tmp_path / "store", 1 << 24, sync=False)
    environment.write([wrecks.segment(1, 9000, bytes(9000)), wrecks.segment(2, 9000, bytes(9000))])
    environment.close()
    after = data_file.read_bytes()
    assert len(after) > len(before)
    data_file.write_bytes(before[: 2 * PAGE] + after[2 * PAGE :])
    assert check(data_file) == []
    spoil(data_file)
    rebuild(tmp_path, check(data_file))
    assert wrecks.read(data_file) == rows


@pytest.mark.parametrize("bit", [0, 7, 30])
def test_a_row_under_a_mended_key_gives_way_to_one_that_was_written_since(tmp_path: Path, bit: int) -> None:
    data_file, rows = wrecks.make(tmp_path, batches=8)
    key = next(key for table, key in rows if table == ACKS)
    damaged = bytearray(key)
    damaged[bit // 8] ^= 1 << bit % 8
    newer = records.seal(key, b"\x03")
    environment = Environment(tmp_path / "store", 1 << 24, sync=False)
    environment.write([(ACKS, bytes(damaged), rows[ACKS, key]), (ACKS, key, newer)])
    environment.close()
    spoil(data_file)
    rebuild(tmp_path, check(data_file))
    assert wrecks.read(data_file) == rows | {(ACKS, key): newer}


def test_losses_are_told_before_the_swap(
    tmp_path: Path, data_file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Behind it nobody would know of them."""

    def die(source: object, target: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", die)
    with pytest.raises(KeyboardInterrupt):
        rebuild(tmp_path, check(data_file))
    assert "was damaged" in caplog.text
    assert "saved to a new store" in caplog.text


@pytest.mark.parametrize("first", [b"\x01", b"\x07"], ids=["older first", "newer first"])
def test_of_acks_that_are_there_twice_the_further_ones_count(tmp_path: Path, first: bytes) -> None:
    """LMDB writes a row a second time where a damaged neighbour hides it."""
    _, rows = wrecks.make(tmp_path, batches=8)
    key = next(key for table, key in rows if table == ACKS)
    second = bytes([first[0] ^ 6])
    assert salvage._further(ACKS, key, records.seal(key, first), records.seal(key, second)) == records.seal(
        key, b"\x07"
    )
    state = key[:4]
    low, high = (records.seal(state, mark.to_bytes(8, "big")) for mark in (255, 256))
    assert salvage._further(STATES, state, high, low) == salvage._further(STATES, state, low, high) == high
    assert salvage._further(STATES, state, low, b"????" + bytes(8)) == low, "what is not sound does not count"
