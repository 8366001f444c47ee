"""Whether a data file is sound as LMDB's, by its bytes: LMDB may map it only then.

LMDB checksums nothing and trusts what it maps: one flipped bit may end the process, hide rows, or bring back a state of
long ago. So every page that keeps order (meta pages, branches, leaves, heads of large values, free lists) is held to
what LMDB always writes; values are not read, they have checksums of their own. What a power cut or a killed broker
leaves is sound: the newer meta page was never written then, and what its transaction wrote lies on free pages.

Layout and rules: ``mdb.c`` and ``lmdb.h`` of LMDB 0.9 (data version 1, 64 bits, this machine's byte order), and
py-lmdb's ``verify.py``. Stricter than the latter: separators of branches bound the keys below them, nodes fill their
page without a gap, and names, flags and contents of tables are ours.
"""

import sys
from array import array
from operator import attrgetter, ge, le
from pathlib import Path
from typing import Final

from amqpd.broker import records
from amqpd.broker.ports import TABLES
from amqpd.store.layout import (
    BIG,
    BRANCH,
    DATA_VERSION,
    FREE_LIST,
    HEAD_BYTES,
    INTEGER_KEY,
    LEAF,
    MAGIC,
    META_PAGE,
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
    read_nodes,
)
from amqpd.store.proofs import is_near
from amqpd.store.tables import Tables

DEPTH_MAX: Final = 32  # of LMDB's cursors
MAP_MAX_BYTES: Final = 1 << 44  # 16 TiB: what a file system takes as one file
PAGES_MORE_MAX: Final = 1 << 20  # free pages that lie beyond the file's end
PROBLEMS_MAX: Final = 50  # nobody reads more
ANNOUNCED: Final = 256  # pages at a time that the disk is asked for ahead
FIRST_SCHEMA: Final = b"1"
UNSEEN: Final = 0  # marks of pages
REACHED: Final = 1
FREE: Final = 2
_META_TABLE: Final = TABLES[0]


class Unsound(Exception):
    """What makes it useless to look on."""


def check(data_file: Path, newest: int = 0) -> list[str]:
    """What is wrong with the file, a line each; nothing when it is sound, missing or empty.

    ``newest``: a transaction that is known to have been committed.
    """
    try:
        with open_pages(data_file) as pages:
            return Checker(pages).check(newest) if pages.file_bytes else []
    except FileNotFoundError:
        return []
    except OSError as error:
        return [f"the file cannot be read: {error.strerror}"]


class Checker:
    """One look at a file. ``marks``: what each page was found to be."""

    def __init__(self, pages: Pages) -> None:
        self.pages = pages
        self.problems: list[str] = []
        self.page_count = 0
        self.marks = bytearray()
        self.tables: list[Tree] = []
        self._free_rows: list[tuple[bytes, bytes, int, int]] = []  # key, and value or where it lies

    def check(self, newest: int) -> list[str]:
        try:
            older, newer = self._read_metas()
            self.measure(newer.last_page + 1)
            self._check_head(newer)
            self.check_free(newer)
            self.check_tree(newer.main)
            for tree in self.tables:
                self._check_table(tree)
            lost = self.marks.find(UNSEEN, META_PAGES)
            if lost >= 0 and not self.problems:  # or it is what the damage hides
                self.note(f"page {lost}: neither used nor free, as {self.marks.count(UNSEEN, META_PAGES)} pages are")
            if not self.problems:
                _check_contents(self, older, newer, newest)
        except Unsound as problem:
            if str(problem):
                self.problems.append(str(problem))
        return self.problems

    def note(self, problem: str) -> None:
        self.problems.append(problem)
        if len(self.problems) >= PROBLEMS_MAX:
            raise Unsound("and so on")

    # -- meta pages --

    def _read_metas(self) -> tuple[Meta, Meta]:
        """The older and the newer one. LMDB never skips a number, and writes even ones to page 0."""
        metas = self.pages.metas()
        if len(metas) < META_PAGES:
            raise Unsound("the file ends before its second page")
        for number, meta in enumerate(metas):
            if (meta.number, meta.flags, meta.magic, meta.version) != (number, META_PAGE, MAGIC, DATA_VERSION):
                raise Unsound(f"page {number} is no meta page of LMDB 0.9")
            if meta.page_bytes != self.pages.page_bytes:
                raise Unsound(f"page {number} tells of pages of {meta.page_bytes} bytes")
            if meta.transaction and meta.transaction & 1 != number:
                self.note(f"page {number} is of transaction {meta.transaction}, whose place is the other meta page")
        older, newer = sorted(metas, key=attrgetter("transaction"))
        if newer.transaction and newer.transaction != older.transaction + 1:
            self.note(f"the meta pages are of transactions {older.transaction} and {newer.transaction}")
        if older.transaction == 0 and (older.main.root, older.free.root) != (NO_PAGE, NO_PAGE):
            self.note(f"page {older.number} is of transaction 0, and not empty")
        return older, newer

    def measure(self, page_count: int) -> None:
        """How many pages there are. Raises Unsound."""
        in_file = self.pages.file_bytes // self.pages.page_bytes
        if not META_PAGES <= page_count <= in_file + max(in_file, PAGES_MORE_MAX):
            raise Unsound(f"{page_count} pages by the meta page, {in_file} in the file")
        self.page_count = page_count
        self.marks = bytearray(page_count)

    def _check_head(self, meta: Meta) -> None:
        where = f"page {meta.number}"
        if not self.page_count * self.pages.page_bytes <= meta.map_bytes <= MAP_MAX_BYTES:
            self.note(f"{where}: a map of {meta.map_bytes} bytes for {self.page_count} pages")
        if meta.free.flags != INTEGER_KEY:
            self.note(f"{where}: flags {meta.free.flags:#x} of the free list")
        if meta.main.flags or meta.main.pad:
            self.note(f"{where}: flags {meta.main.flags:#x}, pad {meta.main.pad} of the list of tables")

    # -- trees --

    def check_tree(self, tree: Tree) -> None:
        """Every page of it, and its own account of them, if they are all there."""
        problem_count = len(self.problems)
        if tree.root != NO_PAGE and not 0 < tree.depth <= DEPTH_MAX:
            self.note(f"{tree.label}: {tree.depth} levels")
            return
        if tree.root != NO_PAGE:
            self._check_page(tree, tree.root, tree.depth, b"", None)
            self._check_heads(tree)
        elif tree.depth:
            self.note(f"{tree.label}: {tree.depth} levels of nothing")
        for what, found, told in zip(("branches", "leaves", "large pages", "rows"), tree.found, tree.told, strict=True):
            if found != told and len(self.problems) == problem_count:
                self.note(f"{tree.label}: {found} {what} were found, there should be {told}")

    def _check_page(self, tree: Tree, number: int, levels: int, first: bytes, end: bytes | None) -> None:
        """A page and all below it, of ``levels`` levels; its keys are from ``first`` to before ``end``."""
        page, problem = self._take_page(number, LEAF if levels == 1 else BRANCH)
        nodes = [] if problem else read_nodes(page)
        if not nodes:
            self.note(f"page {number} of {tree.label}: {problem or 'its nodes are damaged'}")
            return
        keys = [node[0] for node in nodes]
        if tree.label == FREE_LIST:
            keys = [_sortable(key) for key in keys]
        if levels > 1:
            keys[0] = first  # LMDB never looks at it
        if keys[0] < first or (end is not None and keys[-1] >= end) or any(map(ge, keys, keys[1:])):
            self.note(f"page {number} of {tree.label}: its keys are out of order")
            return
        if levels == 1:
            tree.found[1] += 1
            tree.found[3] += len(nodes)
            self._check_rows(tree, number, page, nodes)
        else:
            tree.found[0] += 1
            self._check_children(tree, number, nodes, levels, keys, end)

    def _take_page(self, number: int, expected: int) -> tuple[bytes, str]:
        """A page that nothing else uses, and what is wrong with it."""
        if not META_PAGES <= number < self.page_count:
            return b"", "there is no such page"
        if self.marks[number]:
            return b"", "is used twice"
        self.marks[number] = REACHED
        return self.pages.read_of_tree(number, (expected,))

    def _check_children(
        self, tree: Tree, number: int, nodes: list[Node], levels: int, keys: list[bytes], end: bytes | None
    ) -> None:
        # LMDB aborts at a branch of one; in the free list there may be some (ITS#8336).
        if len(nodes) < 2 and tree.label != FREE_LIST:
            self.note(f"page {number} of {tree.label}: a branch of one")
        self.pages.announce([node[3] for node in nodes])
        bounds: list[bytes | None] = [*keys[1:], end]
        for node, first, next_first in zip(nodes, keys, bounds, strict=True):
            self._check_page(tree, node[3], levels - 1, first, next_first)

    def _check_rows(self, tree: Tree, number: int, page: bytes, nodes: list[Node]) -> None:
        """Large values, tables and free pages are noted for later."""
        if tree.name:
            for node in nodes:
                if node[1]:
                    if node[1] != BIG:
                        self.note(f"page {number} of {tree.label}: a node with flags {node[1]:#x}")
                        return
                    tree.heads.append((NUMBER.unpack_from(page, node[2])[0], node[3]))
            return
        for key, flags, begin, size in nodes:
            if tree.label == FREE_LIST and flags in (0, BIG) and len(key) == NUMBER.size:
                large = NUMBER.unpack_from(page, begin)[0] if flags else NO_PAGE
                self._free_rows.append((key, b"" if flags else page[begin : begin + size], large, size))
                if flags:
                    tree.heads.append((large, size))
            elif tree.label != FREE_LIST and flags == SUBTREE and size == TREE.size:
                name = key.decode("ascii", "backslashreplace")
                self.tables.append(Tree(name, f"table {name}", page, begin))
            else:
                self.note(f"page {number} of {tree.label}: a row of no use, with flags {flags:#x}")

    def _check_heads(self, tree: Tree) -> None:
        """Large values: their first pages say how many there are. LMDB frees as many."""
        heads = sorted(tree.heads)
        for begin in range(0, len(heads), ANNOUNCED):
            some = heads[begin : begin + ANNOUNCED]
            self.pages.announce([number for number, _ in some])
            for number, size in some:
                tree.found[2] += self._check_large(tree, number, size)
        tree.heads = []

    def _check_large(self, tree: Tree, number: int, size: int) -> int:
        """How many pages a large value has."""
        needed = self.pages.count_for(size)
        if not META_PAGES <= number <= self.page_count - needed:
            self.note(f"{tree.label}: there is no page {number} for a value of {size} bytes")
            return 0
        # To the end of the file, for the value is read there.
        if number * self.pages.page_bytes + HEAD_BYTES + size > self.pages.file_bytes:
            self.note(f"page {number} of {tree.label}: unreadable")
            return 0
        count = self.pages.large_count(number)
        if not needed <= count <= self.page_count - number:
            self.note(f"page {number} of {tree.label}: its head is not that of a value of {size} bytes")
            return 0
        if self.marks.count(UNSEEN, number, number + count) != count:
            self.note(f"page {number} of {tree.label}: is used twice, or one of the {count - 1} behind it")
        self.marks[number : number + count] = b"\x01" * count  # REACHED
        return count

    def _check_table(self, tree: Tree) -> None:
        if tree.flags or tree.pad:
            self.note(f"{tree.label}: flags {tree.flags:#x}, pad {tree.pad}")
        self.check_tree(tree)

    # -- free pages --

    def check_free(self, meta: Meta) -> None:
        """The tree of free pages, and what it lists."""
        self._free_rows = []
        self.check_tree(meta.free)
        for key, value, large, size in self._free_rows:
            transaction = NUMBER.unpack(key)[0]
            if not 0 < transaction <= meta.transaction:
                self.note(f"{FREE_LIST}: pages of transaction {transaction}, and the last one is {meta.transaction}")
            if large != NO_PAGE:
                value = self.pages.read_bytes(large, size, HEAD_BYTES) if META_PAGES <= large < self.page_count else b""
            self._check_free_pages(transaction, value)

    def _check_free_pages(self, transaction: int, value: bytes) -> None:
        """A count and as many pages, in falling order; behind them may be room that was not used."""
        where = f"{FREE_LIST}, transaction {transaction}"
        if not value or len(value) % NUMBER.size:
            self.note(f"{where}: it is damaged")
            return
        numbers = array("Q", value)
        count = numbers[0]
        if count > len(numbers) - 1:
            self.note(f"{where}: {count} pages in room for {len(numbers) - 1}")
            return
        numbers = numbers[1 : count + 1]
        if not numbers:
            return
        if any(map(le, numbers, numbers[1:])) or numbers[0] >= self.page_count or numbers[-1] < META_PAGES:
            self.note(f"{where}: pages out of order, or beyond the end")
            return
        marks = self.marks
        for number in numbers:
            if marks[number]:
                self.note(f"page {number}: is free, and used or free besides")
            else:
                marks[number] = FREE


# -- what amqpd keeps --


def _check_contents(checker: Checker, older: Meta, newer: Meta, newest: int) -> None:
    """The tables are there, and the rows about the store as a whole."""
    tables = {tree.name: tree for tree in checker.tables}
    is_empty = not any(tree.rows for tree in checker.tables)
    rows = {row.key: row.value for row in Tables(checker.pages).rows(_META_TABLE) if row.page == NO_PAGE}
    schema = rows.get(records.SCHEMA_KEY)
    version = records.SCHEMA_VERSION if schema is None else _number(records.SCHEMA_KEY, schema)
    if version > records.SCHEMA_VERSION:
        return  # a newer amqpd knows what has to be there; recovery refuses
    for name in sorted(set(tables) - set(TABLES)):
        checker.note(f"table {name}: unknown")
    # A new store gets its tables one after the other; an older schema has fewer.
    if not is_empty and version in (records.SCHEMA_VERSION, -1):
        for name in sorted(set(TABLES) - set(tables)):
            checker.note(f"table {name}: missing")
        if records.TRANSACTION_KEY not in rows:
            checker.note(f"table {_META_TABLE}: the number of the transaction is missing")
        for key in rows:
            # Without this row the store would pass for a new one.
            if schema is None and is_near(key, records.SCHEMA_KEY):
                checker.note(f"table {_META_TABLE}: the row {key!r} was {records.SCHEMA_KEY!r}")
    if records.TRANSACTION_KEY in rows:
        _check_transaction(checker, rows[records.TRANSACTION_KEY], older, newer)
    if newest > newer.transaction:
        checker.note(f"transaction {newest} was committed, and the meta pages know none behind {newer.transaction}")


def _check_transaction(checker: Checker, row: bytes, older: Meta, newer: Meta) -> None:
    number = _number(records.TRANSACTION_KEY, row)
    # LMDB counts from 1 again in a copy that it compacts.
    is_copy = older.transaction == 0 and newer.transaction == 1
    if number != newer.transaction and not is_copy:
        checker.note(f"page {newer.number} is of transaction {newer.transaction}, its tree of transaction {number}")


def _number(key: bytes, value: bytes) -> int:
    """The number in a sealed row; that of the first schema was not sealed. -1: it is damaged."""
    if value == FIRST_SCHEMA:
        return 1
    try:
        body = records.unseal(key, value)
    except records.CorruptRecord:
        mended = records.repair(key, value)
        body = b"" if mended is None else mended[1]
    return int(body) if body.isdigit() else -1


def _sortable(key: bytes) -> bytes:
    """A number in the machine's order of bytes, as bytes that sort like it."""
    return key[::-1] if sys.byteorder == "little" else key
