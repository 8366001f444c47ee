"""The data file as bytes: what LMDB says is there, and no damage that gets in the way."""

import random
from pathlib import Path

import lmdb
import pytest

from amqpd.store.environment import LMDB_FORMAT
from amqpd.store.pages import NotAStore, Pages
from tests.store.data_files import wipe_page

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


def contents(pages: Pages) -> dict[str, dict[bytes, bytes | None]]:
    return {name: {row.key: pages.value(row) for row in pages.rows(tree)} for name, tree in pages.tables().items()}


def test_it_reads_what_lmdb_reads(data_file: Path) -> None:
    pages = Pages(data_file)
    read = contents(pages)
    with lmdb.open(str(data_file.parent), readonly=True, max_dbs=4, lib_version=LMDB_FORMAT) as environment:
        for name in NAMES:
            table = environment.open_db(name.encode(), create=False)
            with environment.begin(db=table) as transaction:
                assert read[name] == dict(transaction.cursor())
                stat = transaction.stat(table)
            tree = pages.tables()[name]
            assert tree.rows == stat["entries"] == len(read[name])
            assert tree.pages == stat["branch_pages"] + stat["leaf_pages"] + stat["overflow_pages"]
        assert pages.page_count == environment.info()["last_pgno"] + 1
        assert pages.transaction == environment.info()["last_txnid"]
    assert list(read["many"]) == sorted(read["many"])
    assert pages.damage == []
    pages.close()


def test_every_page_is_live_or_free(data_file: Path) -> None:
    pages = Pages(data_file)
    live = sum(tree.pages for tree in pages.tables().values())
    others = pages.page_count - live - pages.free_pages()
    assert pages.free_pages() >= 30  # ten large values
    assert 2 < others <= 5  # two metas, the tables' names, the free pages
    pages.close()


def test_a_page_that_is_not_itself_names_the_keys_behind_it(data_file: Path) -> None:
    pages = Pages(data_file)
    whole = [row.key for row in pages.rows(pages.tables()["many"])]
    pages.close()
    lost = wipe_page(data_file, b"%032dv9999" % 9999)  # a leaf's node: a branch has no values
    pages = Pages(data_file)
    left = [row.key for row in pages.rows(pages.tables()["many"])]
    (damage,) = pages.damage
    assert (damage.table, damage.page) == ("many", lost)
    assert damage.first <= b"%032d" % 9999 < damage.end
    assert [key for key in whole if not damage.first <= key < damage.end] == left
    pages.close()


@pytest.mark.parametrize("content", [b"", b"x", b"not a store" * 1000, bytes(8192)])
def test_what_is_no_store_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.mdb").write_bytes(content)
    with pytest.raises(NotAStore):
        Pages(tmp_path / "data.mdb")


def test_a_shorter_file_is_read_as_far_as_it_goes(data_file: Path) -> None:
    content = data_file.read_bytes()
    for length in range(0, len(content), len(content) // 40):
        data_file.write_bytes(content[:length])
        try:
            pages = Pages(data_file)
        except NotAStore:
            assert length < 8192
        else:
            values = [value for rows in contents(pages).values() for value in rows.values()]
            assert pages.damage or None in values or length > len(content) - 3 * 4096
            pages.close()


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
        pages = Pages(data_file)
    except NotAStore:
        return
    pages.free_pages()
    contents(pages)
    pages.close()
