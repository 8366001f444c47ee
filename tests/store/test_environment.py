"""One environment: growth, shrinking, deletions by prefix, and the number of the newest transaction."""

import os
from collections.abc import Iterator
from pathlib import Path

import lmdb
import pytest

from amqpd.broker import records
from amqpd.broker.ports import CLEAR, META, QUEUES, SEGMENTS, THERE, Op
from amqpd.broker.queues.segments import segment_key
from amqpd.store import environment as environments
from amqpd.store import integrity
from amqpd.store.environment import SHRUNK, Environment, LostRow

VALUE = bytes(64 * 1024)


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Environment]:
    made = Environment(tmp_path / "store", 1 << 20, sync=True)
    yield made
    made.close()


def data_file(tmp_path: Path) -> Path:
    return tmp_path / "store" / "data.mdb"


def at(number: int) -> bytes:
    return segment_key(1, number, number, 1, len(VALUE))


def rows(first: int, last: int) -> list[Op]:
    return [(SEGMENTS, at(number), VALUE) for number in range(first, last + 1)]


def deletions(first: int, last: int) -> list[Op]:
    return [(SEGMENTS, at(number), None) for number in range(first, last + 1)]


def mark(environment: Environment) -> None:
    environment.write([(META, *records.row(records.SCHEMA_KEY, records.SCHEMA_VERSION))])


def test_the_map_grows_with_what_is_written(environment: Environment) -> None:
    environment.write(rows(1, 64))
    assert environment.read(SEGMENTS, at(64)) == VALUE


def test_each_commit_says_which_it_is(environment: Environment, tmp_path: Path) -> None:
    for _ in range(3):
        mark(environment)
        value = environment.read(META, records.TRANSACTION_KEY)
        assert value is not None
        copy = tmp_path / "copy.mdb"
        copy.write_bytes(data_file(tmp_path).read_bytes())
        with lmdb.open(str(copy), subdir=False, readonly=True, lock=False, lib_version=0) as reader:
            assert reader.info()["last_txnid"] == records.decode(records.TRANSACTION_KEY, value)
        copy.unlink()


def test_clear_deletes_what_begins_so_and_nothing_else(environment: Environment) -> None:
    environment.write([(QUEUES, key, b"value") for key in (b"a", b"ab", b"abc", b"ac", b"b")])
    environment.write([(CLEAR | QUEUES, b"ab", None)])
    assert list(environment.keys(QUEUES, b"")) == [b"a", b"ac", b"b"]


def test_a_file_that_is_mostly_free_is_made_smaller(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environments, "SHRINK_ABOVE_BYTES", 1 << 20)
    mark(environment)
    environment.write(rows(1, 64))
    environment.write(deletions(1, 60))
    before = data_file(tmp_path).stat().st_size
    environment.shrink()
    assert data_file(tmp_path).stat().st_size < before / 8
    assert list(environment.keys(SEGMENTS, b"")) == [at(number) for number in range(61, 65)]
    assert environment.read_many([(SEGMENTS, at(61)), (SEGMENTS, at(1))]) == [VALUE, None]
    environment.write(rows(70, 80))
    assert integrity.check(data_file(tmp_path)) == []
    assert os.listdir(tmp_path / "store").count(SHRUNK) == 0


@pytest.mark.parametrize(("written", "deleted"), [(8, 8), (64, 40)], ids=["small", "half is in use"])
def test_a_file_that_is_small_or_in_use_is_left_alone(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: int, deleted: int
) -> None:
    monkeypatch.setattr(environments, "SHRINK_ABOVE_BYTES", 1 << 20)
    environment.write(rows(1, written))
    environment.write(deletions(1, deleted))
    before = data_file(tmp_path).stat()
    environment.shrink()
    assert (data_file(tmp_path).stat().st_size, data_file(tmp_path).stat().st_ino) == (before.st_size, before.st_ino)


def test_a_copy_without_room_leaves_the_file_as_it_is(
    environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(environments, "SHRINK_ABOVE_BYTES", 1 << 20)

    def full(copy: Path, *, sync: bool) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(environments, "number", full)
    environment.write(rows(1, 64))
    environment.write(deletions(1, 60))
    before = data_file(tmp_path).stat().st_size
    environment.shrink()
    assert data_file(tmp_path).stat().st_size == before
    assert "cannot be made smaller" in caplog.text
    assert not (tmp_path / "store" / SHRUNK).exists()
    assert environment.read(SEGMENTS, at(64)) == VALUE


def test_what_a_crash_left_of_a_copy_is_removed(tmp_path: Path) -> None:
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / SHRUNK).write_bytes(b"half a copy")
    Environment(tmp_path / "store", 1 << 20, sync=True).close()
    assert not (tmp_path / "store" / SHRUNK).exists()


def test_a_segment_that_is_not_where_it_was_fails_the_batch(environment: Environment) -> None:
    """Its messages would come back at the next start, acked or not: nothing of the batch may be confirmed."""
    environment.write(rows(1, 3))
    with pytest.raises(LostRow, match=r"^segment 7-7 of queue number 1 is not where it was: the store is damaged$"):
        environment.write([*rows(4, 4), *deletions(2, 2), (THERE | SEGMENTS, at(7), None)])
    assert list(environment.keys(SEGMENTS, b"")) == [at(number) for number in (1, 2, 3)]
