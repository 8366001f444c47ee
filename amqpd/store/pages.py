"""The data file of LMDB as bytes: its tables, rows and free pages, read without mapping the file.

LMDB trusts what it maps, so a damaged page may end the process. This reader trusts nothing: what it cannot follow it
notes in ``damage`` and passes over. It knows nothing of what rows mean. Layout: ``mdb.c`` of LMDB 0.9 (data version 1,
64 bits, this machine's byte order); py-lmdb's ``verify.py``, which judges the structure as a whole, describes it too.
"""

import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

MAGIC: Final = 0xBEEFC0DE
DATA_VERSION: Final = 1
META_PAGES: Final = 2
DEPTH_MAX: Final = 32  # LMDB's own bound of its cursors
NO_PAGE: Final = (1 << 64) - 1

_HEADER: Final = struct.Struct("=QHHHH")  # page number, pad, flags, lower, upper
_META: Final = struct.Struct("=IIQQ")  # magic, version, address, map size; two trees follow
_TREE: Final = struct.Struct("=IHHQQQQQ")  # pad, flags, depth, branch, leaf and overflow pages, rows, root
_NODE: Final = struct.Struct("=HHHH")  # low and high half of the size, flags, size of the key
_NUMBER: Final = struct.Struct("=Q")
_OVERFLOW_COUNT: Final = struct.Struct("=I")

_BRANCH, _LEAF, _OVERFLOW, _DIRTY = 0x01, 0x02, 0x04, 0x10
_BIG, _SUBTREE, _DUPLICATES = 0x01, 0x02, 0x04


class NotAStore(Exception):
    """The file is no data file of LMDB, or not one that can be read here."""


@dataclass(frozen=True, slots=True)
class Tree:
    """A table: how much there is of it by its own account, and where it begins."""

    name: str
    rows: int
    pages: int
    root: int


@dataclass(frozen=True, slots=True)
class Row:
    """A key, and where its value lies: in ``value``, or ``size`` bytes from page ``page`` on."""

    key: bytes
    size: int
    value: bytes = b""
    page: int = NO_PAGE


@dataclass(frozen=True, slots=True)
class Damage:
    """What is wrong with a page of ``table``; ``first`` to ``end`` are the keys that lie behind it, b"": unknown."""

    table: str
    page: int
    reason: str
    first: bytes = b""
    end: bytes = b""


@dataclass(slots=True)
class _Walk:
    """Through one tree: no page twice, or a damaged one leads in circles."""

    name: str
    seen: set[int] = field(default_factory=set)


class Pages:
    """A data file that is open to be read. Raises NotAStore, OSError."""

    def __init__(self, path: Path) -> None:
        self.damage: list[Damage] = []
        self.transaction = -1  # the newest that was committed
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.file_bytes = os.fstat(self._file).st_size
            self.page_bytes = self._page_bytes()
            self._read_metas()
        except BaseException:
            os.close(self._file)
            raise

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)

    # -- what there is --

    def tables(self) -> dict[str, Tree]:
        """The tables by name."""
        found: dict[str, Tree] = {}
        for row in self._walk(_Walk("(tables)"), self._main.root, 1, b"", b"", subtrees=True):
            name = row.key.decode("ascii", "backslashreplace")
            found[name] = _tree(name, row.value, 0)
            if _TREE.unpack(row.value)[1]:  # tables of ours are plain: bytes in order, one value a key
                self.damage.append(Damage("(tables)", self._main.root, f"the kind of the table {name} is damaged"))
        return found

    def rows(self, table: Tree) -> Iterator[Row]:
        """The rows of a table in order of their keys."""
        return self._walk(_Walk(table.name), table.root, 1, b"", b"", subtrees=False)

    def rows_of(self, tables: dict[str, Tree], name: str) -> Iterator[Row]:
        """The rows of the table of that name; none where there is no such table."""
        return self.rows(tables[name]) if name in tables else iter(())

    def value(self, row: Row) -> bytes | None:
        """The value of a row; None when it is not where it should be."""
        if row.page == NO_PAGE:
            return row.value
        needed = (_HEADER.size - 1 + row.size) // self.page_bytes + 1
        start = row.page * self.page_bytes
        if row.page < META_PAGES or start + needed * self.page_bytes > self.file_bytes:
            return None
        extent = os.pread(self._file, _HEADER.size + row.size, start)
        number, _, kind, *_ = _HEADER.unpack_from(extent)
        (count,) = _OVERFLOW_COUNT.unpack_from(extent, _HEADER.size - _OVERFLOW_COUNT.size)
        return extent[_HEADER.size :] if (number, kind, count) == (row.page, _OVERFLOW, needed) else None

    def free_pages(self) -> int:
        """Pages that nothing is on: they are used again before the file grows."""
        free = 0
        for row in self._walk(_Walk("(free pages)"), self._free.root, 1, b"", b"", subtrees=False):
            value = self.value(row) or b""  # a count, and as many page numbers
            if len(value) >= _NUMBER.size:
                free += min(int(_NUMBER.unpack_from(value)[0]), self.page_count)
        return free

    # -- the two first pages --

    def _page_bytes(self) -> int:
        """Both metas have it; the second one's place depends on it."""
        size = 0
        meta = os.pread(self._file, 4096, 0)
        if len(meta) >= _HEADER.size + _META.size + _TREE.size:
            magic, version, _, _ = _META.unpack_from(meta, _HEADER.size)
            size = _TREE.unpack_from(meta, _HEADER.size + _META.size)[0]
            if magic != MAGIC:
                raise NotAStore("it is no data file of LMDB")
            if version != DATA_VERSION:
                raise NotAStore(f"it is of LMDB's data version {version}, and {DATA_VERSION} is what can be read")
        if not 256 <= size <= 32768 or size & (size - 1):
            raise NotAStore("its first page is damaged")
        return int(size)

    def _read_metas(self) -> None:
        """The newer of the two metas is the last commit."""
        for number in range(META_PAGES):
            meta = os.pread(self._file, self.page_bytes, number * self.page_bytes)
            at = _HEADER.size + _META.size
            if len(meta) < at + 2 * _TREE.size + 16 or _META.unpack_from(meta, _HEADER.size)[0] != MAGIC:
                raise NotAStore(f"its page {number} is damaged")
            last, transaction = struct.unpack_from("=QQ", meta, at + 2 * _TREE.size)
            if transaction > self.transaction:
                self.transaction = int(transaction)
                self._free = _tree("(free pages)", meta, at)
                self._main = _tree("(tables)", meta, at + _TREE.size)
                self.page_count = int(last) + 1

    # -- trees --

    def _walk(self, walk: _Walk, number: int, depth: int, first: bytes, end: bytes, *, subtrees: bool) -> Iterator[Row]:
        """The rows at and below a page whose keys are from ``first`` to before ``end``."""
        if number == NO_PAGE and depth == 1:
            return
        page, reason = self._page(walk, number, depth)
        nodes = [] if reason else _nodes(page)
        if nodes is None:
            reason = "its nodes are damaged"
        if reason or nodes is None:
            self.damage.append(Damage(walk.name, number, reason, first, end))
            return
        is_leaf = _HEADER.unpack_from(page)[2] & _LEAF
        keys = [first if not is_leaf and not index else key for index, (key, *_) in enumerate(nodes)] + [end]
        for index, (key, at, size, flags) in enumerate(nodes):
            if is_leaf:
                row = self._row(page, key, at, size, flags, subtrees=subtrees)
                if row is None:
                    self.damage.append(Damage(walk.name, number, "a row is damaged", key, keys[index + 1]))
                else:
                    yield row
            else:
                child = size | flags << 32
                yield from self._walk(walk, child, depth + 1, keys[index], keys[index + 1], subtrees=subtrees)

    def _page(self, walk: _Walk, number: int, depth: int) -> tuple[bytes, str]:
        """A page of a tree, and what is wrong with it."""
        if not META_PAGES <= number < self.page_count or depth > DEPTH_MAX:
            return b"", "there is no such page"
        if (number + 1) * self.page_bytes > self.file_bytes:
            return b"", "the file ends before it"
        if number in walk.seen:
            return b"", "it is in the tree twice"
        walk.seen.add(number)
        page = os.pread(self._file, self.page_bytes, number * self.page_bytes)
        own, _, flags, _, _ = _HEADER.unpack_from(page)
        if own != number or flags & ~_DIRTY not in (_BRANCH, _LEAF):
            return b"", "it is not the page it should be"
        return page, ""

    def _row(self, page: bytes, key: bytes, at: int, size: int, flags: int, *, subtrees: bool) -> Row | None:
        """The row of a leaf's node, whose data begin at ``at``."""
        if flags & _DUPLICATES or bool(flags & _SUBTREE) != subtrees:
            return None
        if not flags & _BIG:
            value = page[at : at + size]
            return Row(key, size, value) if len(value) == size and (not subtrees or size == _TREE.size) else None
        if at + _NUMBER.size > len(page):
            return None
        return Row(key, size, page=int(_NUMBER.unpack_from(page, at)[0]))


def _tree(name: str, page: bytes, at: int) -> Tree:
    _, _, _, branches, leaves, overflows, rows, root = _TREE.unpack_from(page, at)
    return Tree(name, rows, branches + leaves + overflows, root)


def _nodes(page: bytes) -> list[tuple[bytes, int, int, int]] | None:
    """Key, place of the data, size and flags of each node of a page; None when they cannot be."""
    _, _, _, lower, upper = _HEADER.unpack_from(page)
    if not _HEADER.size <= lower <= upper <= len(page) or lower & 1:
        return None
    nodes = []
    for (at,) in struct.iter_unpack("=H", page[_HEADER.size : lower]):
        if not upper <= at <= len(page) - _NODE.size:
            return None
        low, high, flags, key_size = _NODE.unpack_from(page, at)
        data = at + _NODE.size + key_size
        if data > len(page):
            return None
        nodes.append((page[at + _NODE.size : data], data, low | high << 16, flags))
    return nodes
