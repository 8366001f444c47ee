"""LMDB's pages as bytes."""

from pathlib import Path

import pytest

from amqpd.store.layout import LEAF, PAGE, is_page_size, open_pages, ordering_bits, page_flags, read_nodes, ruined_nodes
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


def test_sizes_of_pages() -> None:
    assert [size for size in range(70_000) if is_page_size(size)] == [512 << shift for shift in range(7)]
