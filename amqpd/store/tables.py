"""The tables of a data file and their rows, as far as they can be followed: for looking at a store offline.

LMDB trusts what it maps, so a damaged page may end the process. This reader trusts nothing: what it cannot follow it
notes in ``damage`` and passes over. It knows nothing of what rows mean, and reads a large value only when asked.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from amqpd.store.layout import (
    BIG,
    DATA_VERSION,
    HEAD_BYTES,
    LEAF,
    MAGIC,
    META_PAGES,
    NO_PAGE,
    NUMBER,
    SUBTREE,
    TREE,
    Meta,
    Node,
    Pages,
    Tree,
    open_pages,
    page_flags,
    read_nodes,
)


class NotAStore(Exception):
    """The file is no data file of LMDB, or not one that can be read here."""


class Row(NamedTuple):
    """A key, and where its value lies: in ``value``, or ``size`` bytes from page ``page`` on."""

    key: bytes
    size: int
    value: bytes = b""
    page: int = NO_PAGE


class Damage(NamedTuple):
    """What is wrong with a page of ``tree``; ``first`` to ``end`` are the keys that lie behind it, b"": unknown."""

    tree: Tree
    page: int
    reason: str
    first: bytes = b""
    end: bytes = b""


class Tables:
    """Those of the last transaction. Raises NotAStore, OSError."""

    def __init__(self, pages: Pages) -> None:
        meta = _newest(pages)
        self.pages = pages
        self.transaction: int = meta.transaction
        self.page_count: int = meta.last_page + 1
        self.damage: list[Damage] = []
        self._free = meta.free
        self.trees = {tree.name: tree for tree in self._read_trees(meta.main)}

    def _read_trees(self, main: Tree) -> Iterator[Tree]:
        for number, page, nodes, _ in self._leaves(main):
            for key, flags, begin, size in nodes:
                name = key.decode("ascii", "backslashreplace")
                if flags != SUBTREE or size != TREE.size:
                    self.damage.append(Damage(main, number, f"the row of the table {name} is damaged"))
                    continue
                tree = Tree(name, f"the table {name}", page, begin)
                if tree.flags:  # tables of ours are plain: bytes in order, one value a key
                    self.damage.append(Damage(main, number, f"the kind of the table {name} is damaged"))
                yield tree

    def rows(self, name: str) -> Iterator[Row]:
        """The rows of the table of that name in order of their keys; none where there is no such table."""
        return self._rows(self.trees[name]) if name in self.trees else iter(())

    def value(self, row: Row) -> bytes | None:
        """The value of a row; None when it is not where it should be."""
        if row.page == NO_PAGE:
            return row.value
        count = self.pages.large_count(row.page)
        if row.page < META_PAGES or count < self.pages.count_for(row.size):
            return None
        return self.pages.read_bytes(row.page, row.size, HEAD_BYTES) or None

    def free_pages(self) -> int:
        """Pages that nothing is on: they are used again before the file grows."""
        free = 0
        for row in self._rows(self._free):
            value = self.value(row) or b""  # a count, and as many page numbers
            if len(value) >= NUMBER.size:
                free += min(int(NUMBER.unpack_from(value)[0]), self.page_count)
        return free

    def _rows(self, tree: Tree) -> Iterator[Row]:
        for number, page, nodes, end in self._leaves(tree):
            for at, (key, flags, begin, size) in enumerate(nodes, 1):
                if not flags:
                    yield Row(key, size, page[begin : begin + size])
                elif flags == BIG:
                    yield Row(key, size, page=NUMBER.unpack_from(page, begin)[0])
                else:
                    next_key = nodes[at][0] if at < len(nodes) else end
                    self.damage.append(Damage(tree, number, "a row is damaged", key, next_key))

    def _leaves(self, tree: Tree) -> Iterator[tuple[int, bytes, list[Node], bytes]]:
        """The leaves in order: number, content, nodes, and before which key it ends."""
        seen: set[int] = set()
        waiting = [(tree.root, b"", b"")] if tree.root != NO_PAGE else []
        while waiting:
            number, first, end = waiting.pop()
            page, problem = self._page(number, seen)
            nodes = read_nodes(page) if page else []
            if not nodes:
                self.damage.append(Damage(tree, number, problem or "its nodes are damaged", first, end))
            elif page_flags(page) == LEAF:
                yield number, page, nodes, end
            else:
                keys = [first, *(node[0] for node in nodes[1:])]
                children = [node[3] for node in nodes]
                waiting += reversed(list(zip(children, keys, [*keys[1:], end], strict=True)))

    def _page(self, number: int, seen: set[int]) -> tuple[bytes, str]:
        """A page of a tree, and what is wrong with it. No page twice, or a damaged one leads in circles."""
        if not META_PAGES <= number < self.page_count:
            return b"", "there is no such page"
        if number in seen:
            return b"", "it is in the tree twice"
        seen.add(number)
        return self.pages.read_of_tree(number)


@contextlib.contextmanager
def open_tables(data_file: Path) -> Iterator[Tables]:
    """Raises NotAStore, OSError."""
    with open_pages(data_file) as pages:
        yield Tables(pages)


def _newest(pages: Pages) -> Meta:
    """The newer of the two meta pages is the last commit. Raises NotAStore, OSError."""
    metas = pages.metas()
    if len(metas) < META_PAGES and pages.trouble is not None:
        raise pages.trouble
    if not metas or metas[0].magic != MAGIC:
        raise NotAStore("it is no data file of LMDB")
    if metas[0].version != DATA_VERSION:
        raise NotAStore(f"it is of LMDB's data version {metas[0].version}, and {DATA_VERSION} is what can be read")
    if len(metas) < META_PAGES or metas[1].magic != MAGIC:
        raise NotAStore("its page 1 is damaged")
    if metas[0].page_bytes != pages.page_bytes:
        raise NotAStore("its first page is damaged")
    return max(metas, key=lambda meta: meta.transaction)
