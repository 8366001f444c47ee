"""The data file as bytes: what LMDB says is there, and no damage that gets in the way."""

import random
from pathlib import Path

import lmdb
import pytest

from amqpd.store.environment import LMDB_FORMAT
from amqpd.store.tables import NotAStore, open_tables
from tests.store.data_files import contents, wipe_page

NAMES = ("few", "many", "large", "none")


@pytest.fixture
def data_file(tmp_path: Path) -> Path:
    """Tables of every shape: a leaf, a tree of some depth, overflow pages, nothing; and free pages."""
    with lmdb.open(str(tmp_path), map_size=1 << 26, max_dbs=4, lib_version=LMDB_FORMAT) as environment:
        few, many, large, _ = (environment.open_db(name.encode()) for name in NAMES)
        with environment.begin(write=True) as transaction:
            for number in range(20_000):
                transaction.put(b"%032d" % number, b"v%d" % number, db=many)
            for number in range(30):
                transaction.put(b"%d" % number, bytes([number]) * 10_000, db=large)
            transaction.put(b"k", b"", db=few)
        with environment.begin(write=True) as transaction:
            for number in range(10):
                transaction.delete(b"%d" % number, db=large)
    return tmp_path / "data.mdb"


def test_it_reads_what_lmdb_reads(data_file: Path) -> None:
    read = contents(data_file)
    with (
        open_tables(data_file) as tables,
        lmdb.open(str(data_file.parent), readonly=True, max_dbs=4, lib_version=LMDB_FORMAT) as environment,
    ):
        for name in NAMES:
            table = environment.open_db(name.encode(), create=False)
            with environment.begin(db=table) as transaction:
                assert read[name] == dict(transaction.cursor())
                stat = transaction.stat(table)
            tree = tables.trees[name]
            assert tree.rows == stat["entries"] == len(read[name])
            assert tree.pages == stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
            assert list(read[name]) == sorted(read[name])
        assert tables.page_count == environment.info()["last_pgno"] + 1
        assert tables.transaction == environment.info()["last_txnid"]
        assert tables.damage == []
        assert list(tables.rows("no such table")) == []


def test_a_value_that_was_made_smaller_keeps_its_pages(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path), max_dbs=1, lib_version=LMDB_FORMAT) as environment:
        table = environment.open_db(b"t")
        with environment.begin(db=table, write=True) as transaction:
            transaction.put(b"k", bytes(20_000))
            transaction.put(b"k", bytes(10_000))
    assert contents(tmp_path / "data.mdb") == {"t": {b"k": bytes(10_000)}}


def test_every_page_is_live_or_free(data_file: Path) -> None:
    with open_tables(data_file) as tables:
        live = sum(tree.pages for tree in tables.trees.values())
        others = tables.page_count - live - tables.free_pages()
        assert tables.free_pages() >= 30  # ten large values
        assert 2 < others <= 5  # two metas, the tables' names, the free pages


def test_a_page_that_is_not_itself_names_the_keys_behind_it(data_file: Path) -> None:
    whole = list(contents(data_file)["many"])
    lost = wipe_page(data_file, b"%032dv9999" % 9999)
    with open_tables(data_file) as tables:
        left = [row.key for row in tables.rows("many")]
        (damage,) = tables.damage
    assert (damage.tree.name, damage.page) == ("many", lost)
    assert damage.first <= b"%032d" % 9999 < damage.end
    assert [key for key in whole if not damage.first <= key < damage.end] == left


@pytest.mark.parametrize("content", [b"", b"x", b"not a store" * 1000, bytes(8192)])
def test_what_is_no_store_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.mdb").write_bytes(content)
    with pytest.raises(NotAStore), open_tables(tmp_path / "data.mdb"):
        pass


def test_a_shorter_file_is_read_as_far_as_it_goes(data_file: Path) -> None:
    content = data_file.read_bytes()
    for length in range(0, len(content), len(content) // 40):
        data_file.write_bytes(content[:length])
        try:
            values = [value for rows in contents(data_file).values() for value in rows.values()]
        except NotAStore:
            assert length < 8192
        else:
            with open_tables(data_file) as tables:
                for name in tables.trees:
                    list(tables.rows(name))
                assert tables.damage or None in values or length > len(content) - 3 * 4096


@pytest.mark.parametrize("seed", range(20))
def test_no_damage_gets_in_the_way(data_file: Path, seed: int) -> None:
    """Bytes at random, mostly where pages begin: it ends, and says NotAStore or reads something."""
    chance = random.Random(seed)
    content = bytearray(data_file.read_bytes())
    for _ in range(chance.choice((1, 10, 300))):
        page = chance.randrange(len(content) // 4096) * 4096
        content[page + chance.randrange(chance.choice((16, 256, 4096)))] = chance.randrange(256)
    data_file.write_bytes(content)
    try:
        contents(data_file)
        with open_tables(data_file) as tables:
            tables.free_pages()
    except NotAStore:
        pass
