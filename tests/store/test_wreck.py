"""What is found in a damaged data file: everything after one flipped bit, nothing stale ever."""

import random
from pathlib import Path

import pytest

from amqpd.broker.ports import ACKS, META, QUARANTINE, SEGMENTS, TABLES
from amqpd.broker.records import TRANSACTION_KEY
from amqpd.store.integrity import check
from amqpd.store.layout import open_pages
from amqpd.store.wreck import Wreck
from tests.store import wrecks
from tests.store.wrecks import PAGE, Rows


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, Rows]:
    data_file, rows = wrecks.make(tmp_path_factory.mktemp("sound"))
    return data_file.read_bytes(), rows


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    return tmp_path / "data.mdb"


def salvage(data_file: Path) -> tuple[Rows, list[str]]:
    """Rows, and what is known to be lost."""
    with open_pages(data_file) as pages:
        wreck = Wreck(pages, 0)
        rows = {(table, key): value for table, key, value in wreck.rows()}
        return {(table, key): value for table, key, value in wreck.repaired} | rows, wreck.losses()


def assert_nothing_wrong(found: Rows, rows: Rows) -> None:
    """Nothing that was not there: no stale row, no row of another table. Quarantine may hold what is damaged."""
    assert [place for place, value in found.items() if rows.get(place) != value and place[0] != QUARANTINE] == []


def test_a_sound_file(store: tuple[bytes, Rows], data_file: Path) -> None:
    data_file.write_bytes(store[0])
    assert salvage(data_file) == (store[1], [])


def test_one_flipped_bit_costs_nothing(store: tuple[bytes, Rows], data_file: Path) -> None:
    """In what orders the file: values have checksums, and recovery looks after these."""
    data, rows = store
    chance = random.Random(3)
    damaged = 0
    for kind, places in wrecks.spans(data).items():
        if kind.endswith(("value", "page", "quarantine leaf key")):  # nothing says what a key in quarantine was
            continue
        for _ in range(2):
            at, size = chance.choice(places)
            at, bit = at + chance.randrange(size), chance.randrange(8)
            wrecks.flip(data_file, data, at, bit)
            if check(data_file):
                damaged += 1
                assert salvage(data_file) == (rows, []), (kind, at, bit)
    assert damaged > 60


def test_one_flipped_bit_of_a_meta_page_costs_nothing(store: tuple[bytes, Rows], data_file: Path) -> None:
    data, rows = store
    chance = random.Random(4)
    for page in wrecks.metas(data):
        for at in (0, 10, *range(16, 24), *range(40, 152)):
            wrecks.flip(data_file, data, page + at, chance.randrange(8))
            if check(data_file):
                assert salvage(data_file)[0] == rows, (page, at)


def test_the_newer_meta_page_is_gone(store: tuple[bytes, Rows], data_file: Path) -> None:
    """The transaction before is whole."""
    data, rows = store
    at = wrecks.metas(data)[1]
    data_file.write_bytes(data[:at] + bytes(PAGE) + data[at + PAGE :])
    found, losses = salvage(data_file)
    assert len(found.keys() & rows.keys()) > len(rows) - 10
    assert losses == ["transactions behind 71 may be lost"]


def test_neither_meta_page_tells_the_size_of_pages(store: tuple[bytes, Rows], data_file: Path) -> None:
    """Then they are of the usual size."""
    data, rows = store
    spoilt = bytearray(data)
    for page in wrecks.metas(data):
        spoilt[page + 41] ^= 0x70
    data_file.write_bytes(spoilt)
    assert check(data_file) == [f"page 0 tells of pages of {PAGE ^ 0x7000} bytes"]
    assert salvage(data_file) == (rows, [])


def overwrite(data_file: Path, data: bytes, at: int, size: int) -> None:
    data_file.write_bytes(data[:at] + bytes(size) + data[at + size :])


@pytest.mark.parametrize("kind", ["main leaf page", "segments branch page", "segments leaf page"])
def test_a_page_without_large_values_is_gone(store: tuple[bytes, Rows], data_file: Path, kind: str) -> None:
    """What only that page led to is found by what it says of itself."""
    data, rows = store
    for at, size in wrecks.spans(data)[kind]:
        overwrite(data_file, data, at, size)
        found, _ = salvage(data_file)
        assert_nothing_wrong(found, rows)
        large = {place for place, value in rows.items() if place[0] == SEGMENTS and len(value) > 2048}
        assert large <= found.keys()
        if kind != "segments leaf page":
            assert {place for place in rows if place[0] != QUARANTINE} <= found.keys()


@pytest.mark.parametrize("table", ["acks", "queues", "segments"])
def test_what_is_lost_is_told(store: tuple[bytes, Rows], data_file: Path, table: str) -> None:
    data, rows = store
    number = TABLES.index(table)
    count = sum(place[0] == number for place in rows)
    at, size = wrecks.spans(data)[f"{table} leaf page"][0]
    overwrite(data_file, data, at, size)
    found, losses = salvage(data_file)
    lost = count - sum(place[0] == number for place in found)
    assert lost
    assert losses[-1] == f"table {table}: {lost} of {count} rows are lost"
    assert f"page {at // PAGE} of table {table}: unreadable" in losses


def test_a_torn_page(store: tuple[bytes, Rows], data_file: Path) -> None:
    """Its other half still has rows."""
    data, rows = store
    for at, size in wrecks.spans(data)["acks leaf page"]:
        overwrite(data_file, data, at + size - 512, 512)
        found, losses = salvage(data_file)
        assert_nothing_wrong(found, rows)
        assert losses
        lost = [place for place in rows if place not in found]
        assert {table for table, _ in lost} == {ACKS}
        assert len(lost) < 30


def test_a_damaged_segment_is_named_and_put_in_quarantine(store: tuple[bytes, Rows], data_file: Path) -> None:
    data, rows = store
    at, size = wrecks.spans(data)["segments large value"][0]
    wrecks.flip(data_file, data, at + size - 1, 0)
    found, losses = salvage(data_file)
    (place,) = rows.keys() - found.keys()
    queue_id, first = int.from_bytes(place[1][:4], "big"), int.from_bytes(place[1][4:12], "big")
    assert losses == [f"queue 'q{queue_id}' of '/': segment {first}-{first + 1} is damaged: it is in quarantine"]
    assert found[QUARANTINE, place[1]] == data[at : at + size - 1] + bytes([data[at + size - 1] ^ 1])


def test_much_damage_brings_nothing_back_that_was_deleted(store: tuple[bytes, Rows], data_file: Path) -> None:
    data, rows = store
    chance = random.Random(5)
    for _ in range(40):
        spoilt = bytearray(data)
        for _ in range(chance.choice((2, 5, 40))):
            spoilt[chance.randrange(2 * PAGE, len(data))] ^= 1 << chance.randrange(8)
        data_file.write_bytes(spoilt)
        if check(data_file):
            found, _ = salvage(data_file)
            stale = [place for place in found if place[0] in (SEGMENTS, ACKS) and place not in rows]
            # A row with a damaged key may be there as it was found: recovery puts it right, or in quarantine.
            known = {value for place, value in rows.items() if place[0] == ACKS}
            assert [place for place in stale if place[0] == SEGMENTS or found[place] not in known] == []


def test_neither_number_nor_scratch_is_a_row(store: tuple[bytes, Rows], data_file: Path) -> None:
    data_file.write_bytes(store[0])
    assert (META, TRANSACTION_KEY) not in salvage(data_file)[0]
