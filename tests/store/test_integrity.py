"""What the check of a data file finds, and what it must not: a power cut, a killed broker, a failed commit."""

import os
import random
import struct
from pathlib import Path

import lmdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amqpd.broker import records
from amqpd.broker.ports import META, SEGMENTS, TABLES
from amqpd.store.environment import Environment
from amqpd.store.integrity import PROBLEMS_MAX, check
from tests.store import wrecks
from tests.store.wrecks import PAGE


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    data_file, _ = wrecks.make(tmp_path_factory.mktemp("sound"))
    assert check(data_file) == []
    return data_file.read_bytes()


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    return tmp_path / "data.mdb"


def test_no_file_and_an_empty_one_are_sound(data_file: Path) -> None:
    assert check(data_file) == []
    data_file.touch()
    assert check(data_file) == []


def test_a_directory_is_no_file(tmp_path: Path) -> None:
    assert len(check(tmp_path)) == 1


def test_every_state_of_a_new_store_is_sound(tmp_path: Path) -> None:
    """A table comes with a transaction of its own, and the first row with another."""
    environment = lmdb.open(str(tmp_path), max_dbs=len(TABLES), lib_version=0)
    assert check(tmp_path / "data.mdb") == []
    for name in TABLES:
        environment.open_db(name.encode())
        assert check(tmp_path / "data.mdb") == []
    environment.close()
    again = Environment(tmp_path, 1 << 24, sync=False)
    again.write([])
    again.close()
    assert check(tmp_path / "data.mdb") == []


def test_a_compacted_copy_is_sound(sound: bytes, data_file: Path, tmp_path: Path) -> None:
    data_file.write_bytes(sound)
    environment = lmdb.open(str(tmp_path), max_dbs=len(TABLES), lib_version=0)
    (tmp_path / "copy").mkdir()
    environment.copy(str(tmp_path / "copy"), compact=True)
    environment.close()
    assert check(tmp_path / "copy" / "data.mdb") == []


def test_values_replaced_within_a_transaction_are_sound(tmp_path: Path) -> None:
    """LMDB keeps the pages of a large value for the smaller one that replaces it."""
    environment = Environment(tmp_path, 1 << 24, sync=False)
    environment.write([(SEGMENTS, b"k", bytes(50_000)), (SEGMENTS, b"k", bytes(3000)), (SEGMENTS, b"l", bytes(9000))])
    assert check(tmp_path / "data.mdb") == []
    environment.write([(SEGMENTS, b"k", None)])
    environment.close()
    assert check(tmp_path / "data.mdb") == []


@pytest.mark.parametrize("seed", range(4))
def test_a_transaction_that_was_cut_off_is_no_damage(tmp_path: Path, data_file: Path, seed: int) -> None:
    """All of its pages may be there, and none of its meta page; or the meta page as LMDB leaves it when that fails."""
    environment = Environment(tmp_path / "store", 1 << 24, sync=False)
    chance = random.Random(seed)
    environment.write(wrecks.topology())
    for number in range(12):
        before = (tmp_path / "store" / "data.mdb").read_bytes()
        environment.write([wrecks.segment(1, 2 * number, chance.randbytes(chance.choice((30, 3000))))])
        after = bytearray((tmp_path / "store" / "data.mdb").read_bytes())
        at = wrecks.metas(bytes(after))[1]
        for kept in (slice(at, at + PAGE), slice(at + 136, at + 152)):
            cut_off = bytearray(after)
            cut_off[kept] = before[kept]
            data_file.write_bytes(cut_off)
            assert check(data_file) == []
    environment.close()


def test_a_file_that_is_longer_is_sound(sound: bytes, data_file: Path) -> None:
    data_file.write_bytes(sound + os.urandom(3 * PAGE + 17))
    assert check(data_file) == []


# Any flipped bit here is damage. In keys of branches, in sizes and in padding some do nothing.
ORDER = ("head", "number", "pointers", "flags", "child", "record", "large pointer", "main leaf key", "free value")


def test_flipped_bits_of_what_orders_the_file_are_found(sound: bytes, data_file: Path) -> None:
    chance = random.Random(7)
    kinds = {kind: places for kind, places in wrecks.spans(sound).items() if kind.endswith(ORDER)}
    assert len(kinds) > 30
    for kind, places in kinds.items():
        for _ in range(6):
            at, size = chance.choice(places)
            at, bit = at + chance.randrange(size), chance.randrange(8)
            wrecks.flip(data_file, sound, at, bit)
            assert check(data_file), (kind, at, bit)


@pytest.mark.parametrize(
    ("first", "size"), [(0, 8), (10, 2), (16, 8), (40, 4), (44, 2), (46, 2), (92, 2), (94, 2), (96, 32), (128, 16)]
)
def test_flipped_bits_of_the_newer_meta_page_are_found(sound: bytes, data_file: Path, first: int, size: int) -> None:
    at = wrecks.metas(sound)[1] + first
    for bit in range(size * 8):
        wrecks.flip(data_file, sound, at + bit // 8, bit % 8)
        assert check(data_file), bit


def test_numbers_of_transactions(sound: bytes, data_file: Path) -> None:
    """The older one flipped up, the newer one down: the broker would come up with a state of before."""
    older, newer = wrecks.metas(sound)
    number = struct.unpack_from("=Q", sound, newer + 144)[0]
    unseen = []
    for at in (older, newer):
        for bit in range(64):
            wrecks.flip(data_file, sound, at + 144 + bit // 8, bit % 8)
            if not check(data_file):
                unseen.append((at, bit))
            assert check(data_file, newest=number)
    # What is left over looks like a commit that was cut off.
    assert unseen == ([(newer, 1)] if number & 2 else [])


def test_a_key_on_the_wrong_side_of_its_branch_is_found(sound: bytes, data_file: Path) -> None:
    """LMDB would not find the rows, though they are there."""
    unseen = 0
    for at, size in wrecks.spans(sound)["segments branch key"][1:]:
        assert size == 32
        wrecks.flip(data_file, sound, at + 3, 6)  # in the number of the queue
        unseen += not check(data_file)
    assert unseen == 0


def test_a_lost_schema_is_found(sound: bytes, data_file: Path) -> None:
    """Without it the store would pass for an empty one."""
    at = sound.rindex(b"schema", 0, wrecks.spans(sound)["meta leaf page"][0][0] + PAGE)
    for bit in range(6 * 8):
        wrecks.flip(data_file, sound, at + bit // 8, bit % 8)
        assert check(data_file)


def test_the_store_of_a_newer_amqpd_is_left_alone(tmp_path: Path) -> None:
    """Recovery refuses it. It may have tables that are unknown here."""
    environment = Environment(tmp_path, 1 << 24, sync=False)
    environment.write([(META, *records.row(records.SCHEMA_KEY, records.SCHEMA_VERSION + 1))])
    environment.close()
    more = lmdb.open(str(tmp_path), max_dbs=len(TABLES) + 1, lib_version=0)
    more.open_db(b"streams")
    more.close()
    assert check(tmp_path / "data.mdb") == []


def test_an_unknown_table_is_found(tmp_path: Path) -> None:
    environment = Environment(tmp_path, 1 << 24, sync=False)
    environment.write(wrecks.topology())
    environment.close()
    more = lmdb.open(str(tmp_path), max_dbs=len(TABLES) + 1, lib_version=0)
    more.open_db(b"streams")
    more.close()
    assert check(tmp_path / "data.mdb")[0] == "table streams: unknown"


def test_problems_are_bounded(tmp_path: Path) -> None:
    environment = Environment(tmp_path, 1 << 24, sync=False)
    environment.write([wrecks.segment(1, 2 * number, bytes(3000)) for number in range(PROBLEMS_MAX + 9)])
    environment.close()
    data_file = tmp_path / "data.mdb"
    spoilt = bytearray(data_file.read_bytes())
    for at, _ in wrecks.spans(bytes(spoilt))["segments large head"]:
        spoilt[at] ^= 1
    data_file.write_bytes(spoilt)
    problems = check(data_file)
    assert len(problems) == PROBLEMS_MAX + 1
    assert problems[-1] == "and so on"


@settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    cut=st.integers(0, 1 << 20), holes=st.lists(st.tuples(st.integers(0, 1 << 20), st.binary(max_size=40)), max_size=9)
)
def test_any_bytes_get_an_answer(sound: bytes, data_file: Path, cut: int, holes: list[tuple[int, bytes]]) -> None:
    spoilt = bytearray(sound)
    for at, found in holes:
        at %= len(spoilt) - len(found)
        spoilt[at : at + len(found)] = found
    data_file.write_bytes(spoilt[: cut or None])
    assert all(problem.isprintable() for problem in check(data_file))


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(found=st.binary(max_size=9000))
def test_garbage_is_no_store(data_file: Path, found: bytes) -> None:
    data_file.write_bytes(found)
    assert bool(check(data_file)) == bool(found)
