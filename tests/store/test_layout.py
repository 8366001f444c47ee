"""LMDB's pages as bytes."""

import sys
from pathlib import Path

import pytest

from amqpd.store.layout import BRANCH, LEAF, PAGE, open_pages, ordering_bits, page_flags, read_nodes, ruined_nodes
from tests.store import wrecks


@pytest.fixture(scope="module")
def data_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return wrecks.make(tmp_path_factory.mktemp("sound"))[0]


@pytest.fixture(scope="module")
def leaf(data_file: Path) -> bytes:
    """Of the table of acks."""
    data = data_file.read_bytes()
    at, size = wrecks.spans(data)["acks leaf page"][0]
    return data[at : at + size]


def test_meta_pages(data_file: Path) -> None:
    with open_pages(data_file) as pages:
        first, second = pages.metas()
        assert abs(first.transaction - second.transaction) == 1
        assert (first.place, second.number, first.page_bytes) == (0, 1, wrecks.PAGE)


@pytest.mark.parametrize("size", [512 << shift for shift in range(7)])
def test_either_meta_page_tells_the_size_of_pages(tmp_path: Path, size: int) -> None:
    at = 16 + 24  # page's head, and the meta's; in it begins the tree of free pages with the size
    for told in (0, size):
        meta = bytes(at) + size.to_bytes(4, sys.byteorder)
        content = (meta if told == 0 else bytes(at + 4)).ljust(size, b"\0") + meta.ljust(size, b"\0")
        (tmp_path / "data.mdb").write_bytes(content)
        with open_pages(tmp_path / "data.mdb") as pages:
            assert [meta.place for meta in pages.metas()] == [0, 1]
            assert pages.page_bytes == size


def test_pages_of_trees_and_of_large_values(data_file: Path) -> None:
    data = data_file.read_bytes()
    spans = wrecks.spans(data)
    leaf, large = (spans[kind][0][0] // wrecks.PAGE for kind in ("acks leaf page", "segments large head"))
    with open_pages(data_file) as pages:
        assert pages.read_of_tree(leaf) == (data[leaf * wrecks.PAGE :][: wrecks.PAGE], "")
        assert pages.read_of_tree(leaf, (BRANCH,)) == (b"", f"its head says page {leaf}, flags 0x2")
        assert pages.read_of_tree(1 << 60) == (b"", "unreadable")
        assert pages.large_count(large) == pages.count_for(spans["segments large value"][0][1])
        assert pages.large_count(leaf) == pages.large_count(large + 1) == pages.large_count(1 << 60) == 0
        assert [pages.count_for(size) for size in (0, 4080, 4081, 8176, 8177)] == [1, 1, 2, 2, 3]


def test_what_the_file_does_not_have_is_empty(data_file: Path) -> None:
    with open_pages(data_file) as pages:
        count = pages.file_bytes // pages.page_bytes
        assert len(pages.read(count - 1)) == wrecks.PAGE
        assert pages.read(count) == pages.read(1 << 60) == b""
        pages.announce([count - 1, count, 1 << 60])


def test_nodes_have_keys_and_values(leaf: bytes) -> None:
    nodes = read_nodes(leaf)
    assert page_flags(leaf) == LEAF
    assert page_flags(b"") == 0
    assert [len(key) for key, *_ in nodes] == [12] * len(nodes)
    assert sorted(nodes) == nodes == ruined_nodes(leaf)
    assert {leaf[begin : begin + size][4:] for _, _, begin, size in nodes} == {b"\x01"}


def test_a_page_whose_nodes_do_not_fill_it_has_none(leaf: bytes) -> None:
    """Any one bit of its order, but for those that the padding of nodes hides."""
    seen = total = 0
    for bit in ordering_bits(leaf):
        spoilt = bytearray(leaf)
        spoilt[bit >> 3] ^= 1 << (bit & 7)
        total += 1
        seen += not read_nodes(bytes(spoilt))
    assert total > 3000
    assert seen > total * 0.8  # flags of nodes are not judged here


@pytest.mark.parametrize("page", [bytes(4096), b"\xff" * 4096, PAGE.pack(1, 0, LEAF, 18, 16) + bytes(4080)])
def test_garbage_has_no_nodes(page: bytes) -> None:
    assert read_nodes(page) == ruined_nodes(page) == []
    assert list(ordering_bits(page))
