"""The data file of LMDB as bytes: meta pages, trees, nodes; sound ones, and what a damaged one may have been.

Layout: ``mdb.c`` and ``lmdb.h`` of LMDB 0.9 (data version 1, 64 bits, this machine's byte order). Nothing is mapped, so
no damage can end the process.
"""

import contextlib
import os
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from struct import Struct
from typing import Final

MAGIC: Final = 0xBEEFC0DE
DATA_VERSION: Final = 1
META_PAGES: Final = 2
META_BYTES: Final = 152  # of a meta page, with the page's header
NO_PAGE: Final = (1 << 64) - 1
HEAD_BYTES: Final = 16  # of a page
USUAL_PAGE_BYTES: Final = 4096
PAGE_SIZES: Final = (USUAL_PAGE_BYTES, *(1 << bits for bits in range(9, 16)), USUAL_PAGE_BYTES)  # in the order of trial
FREE_LIST: Final = "the free list"

BRANCH: Final = 0x01
LEAF: Final = 0x02
OVERFLOW: Final = 0x04
META_PAGE: Final = 0x08
BIG: Final = 0x01  # a node whose value lies on pages of its own
SUBTREE: Final = 0x02  # a node whose value is a tree: a table
INTEGER_KEY: Final = 0x08  # of the free list, whose keys are numbers in the machine's byte order

PAGE: Final = Struct("=QHHHH")  # number, pad, flags, end of the pointers, begin of the nodes
LARGE: Final = Struct("=QHHI")  # number, pad, flags, count of pages
META_HEAD: Final = Struct("=IIQQ")  # magic, version, address, map size; two trees follow: free pages, tables
TREE: Final = Struct("=IHHQQQQQ")  # pad, flags, depth, branch, leaf and overflow pages, rows, root
META_TAIL: Final = Struct("=QQ")  # last page, transaction
NODE: Final = Struct("=HHHH")  # low and high half of the size (leaf) or page (branch), flags, size of the key
NUMBER: Final = Struct("=Q")

Node = tuple[bytes, int, int, int]  # key, flags, where the value begins, its size; of a branch: 0, end, child


class Tree:
    """A tree: by its own account, and as it was found. ``name``: of a table; LMDB's own two trees have none."""

    __slots__ = ("depth", "flags", "found", "heads", "label", "name", "pad", "root", "told")

    def __init__(self, name: str, label: str, page: bytes, at: int) -> None:
        self.name = name
        self.label = label
        self.pad, self.flags, self.depth, *counts, self.root = TREE.unpack_from(page, at)
        self.told: list[int] = counts  # branches, leaves, overflow pages, rows
        self.found = [0, 0, 0, 0]
        self.heads: list[tuple[int, int]] = []  # page and bytes of each large value

    @property
    def pages(self) -> int:
        return sum(self.told[:3])

    @property
    def rows(self) -> int:
        return self.told[3]


class Meta:
    """A meta page, read from page ``place``."""

    def __init__(self, place: int, page: bytes) -> None:
        self.place = place
        self.number, _, self.flags, _, _ = PAGE.unpack_from(page)
        self.magic, self.version, _, self.map_bytes = META_HEAD.unpack_from(page, HEAD_BYTES)
        at = HEAD_BYTES + META_HEAD.size
        self.free = Tree("", FREE_LIST, page, at)
        self.main = Tree("", "the list of tables", page, at + TREE.size)
        self.last_page, self.transaction = META_TAIL.unpack_from(page, at + 2 * TREE.size)
        self.page_bytes: int = self.free.pad


class Pages:
    """The pages of a file that is open."""

    def __init__(self, file: int) -> None:
        self.file = file
        self.file_bytes = os.fstat(file).st_size
        self.page_bytes = USUAL_PAGE_BYTES
        self.trouble: OSError | None = None  # of the disk, the last one

    def read(self, number: int) -> bytes:
        """A page; nothing when the disk does not give it."""
        return self.read_bytes(number, self.page_bytes)

    def read_bytes(self, number: int, size: int, skip: int = 0) -> bytes:
        """``size`` bytes, from ``skip`` bytes behind the begin of a page; nothing when the disk does not give them."""
        offset = number * self.page_bytes + skip
        if offset + size > self.file_bytes:
            return b""
        try:
            found = os.pread(self.file, size, offset)
        except OSError as error:  # a bad sector
            self.trouble = error
            return b""
        return found if len(found) == size else b""

    def read_of_tree(self, number: int, kinds: tuple[int, ...] = (BRANCH, LEAF)) -> tuple[bytes, str]:
        """A branch or leaf, and what is wrong with it."""
        page = self.read(number)
        if not page:
            return b"", "unreadable"
        own, _, flags, _, _ = PAGE.unpack_from(page)
        if own != number or flags not in kinds:
            return b"", f"its head says page {own}, flags {flags:#x}"
        return page, ""

    def count_for(self, size: int) -> int:
        """How many pages a large value of ``size`` bytes needs."""
        return (HEAD_BYTES - 1 + size) // self.page_bytes + 1

    def large_count(self, number: int) -> int:
        """How many pages the large value that begins at a page has, by its own account; 0 when none begins there.

        More than needed when it was replaced by a smaller one within a transaction.
        """
        head = self.read_bytes(number, HEAD_BYTES)
        own, _, flags, count = LARGE.unpack(head) if head else (NO_PAGE, 0, 0, 0)
        return count if (own, flags) == (number, OVERFLOW) else 0

    def announce(self, numbers: Iterable[int]) -> None:
        """These will be read: a disk that is asked for many at once is many times as fast."""
        for number in numbers:
            offset = number * self.page_bytes
            if offset < self.file_bytes:
                os.posix_fadvise(self.file, offset, self.page_bytes, os.POSIX_FADV_WILLNEED)

    def metas(self) -> list[Meta]:
        """Both meta pages, or as many as the file has: by the size of pages that one of them tells, if any does."""
        metas: list[Meta] = []
        for self.page_bytes in PAGE_SIZES:
            found = [(number, self.read_bytes(number, META_BYTES)) for number in range(META_PAGES)]
            metas = [Meta(number, page) for number, page in found if page]
            if any(meta.page_bytes == self.page_bytes for meta in metas):
                break
        return metas


@contextlib.contextmanager
def open_pages(data_file: Path) -> Iterator[Pages]:
    """Raises OSError."""
    file = os.open(data_file, os.O_RDONLY | os.O_CLOEXEC)
    try:
        yield Pages(file)
    finally:
        os.close(file)


def read_nodes(page: bytes) -> list[Node]:
    """The nodes of a branch or leaf, in order; none when something is wrong with them: they fill their page's end."""
    _, _, flags, lower, upper = PAGE.unpack_from(page)
    page_bytes = len(page)
    if not HEAD_BYTES < lower <= upper < page_bytes or lower & 1:
        return []
    places: list[int] = memoryview(page)[HEAD_BYTES:lower].cast("H").tolist()
    if min(places) != upper or max(places) > page_bytes - NODE.size:
        return []
    is_leaf = flags & LEAF
    node_max = ((page_bytes - HEAD_BYTES) // 2 & -2) - 2
    unpack = NODE.unpack_from
    nodes: list[Node] = []
    ends: list[int] = []
    for at in places:
        low, high, node_flags, key_bytes = unpack(page, at)
        begin = at + 8 + key_bytes
        size = low | high << 16
        if not is_leaf:
            end = begin
            size |= node_flags << 32
        elif node_flags & BIG:
            end = begin + 8
        else:
            end = begin + size
        if end - at > node_max:
            return []
        ends.append(end + 1 & -2)
        nodes.append((page[at + 8 : begin], node_flags, begin, size))
    places.sort()
    ends.sort()
    del places[0]
    places.append(page_bytes)
    return nodes if places == ends else []


def page_flags(page: bytes) -> int:
    """Of a page; 0 of none."""
    return int(PAGE.unpack_from(page)[2]) if page else 0


def ruined_nodes(page: bytes) -> list[Node]:
    """Nodes that pointers lead to, good or not."""
    _, _, _, lower, upper = PAGE.unpack_from(page)
    nodes: list[Node] = []
    if not HEAD_BYTES < lower <= upper < len(page):
        return nodes
    for begin in range(HEAD_BYTES, lower - 1, 2):
        at = int.from_bytes(page[begin : begin + 2], sys.byteorder)
        if upper <= at <= len(page) - NODE.size:
            low, high, flags, key_bytes = NODE.unpack_from(page, at)
            value = at + NODE.size + key_bytes
            if value < len(page):
                nodes.append((page[at + NODE.size : value], flags, value, low | high << 16))
    return nodes


def ordering_bits(page: bytes) -> Iterator[int]:
    """The bits that order a page: ends of its pointers and nodes, the pointers, the heads of nodes."""
    lower = PAGE.unpack_from(page)[3]
    yield from range(12 * 8, HEAD_BYTES * 8)
    if not HEAD_BYTES < lower <= len(page):
        return
    yield from range(HEAD_BYTES * 8, lower // 2 * 16)
    for begin in range(HEAD_BYTES, lower - 1, 2):
        at = int.from_bytes(page[begin : begin + 2], sys.byteorder)
        if at <= len(page) - NODE.size:
            yield from range(at * 8, (at + NODE.size) * 8)
