"""What is where in a data file of LMDB 0.9, for those who aim at it. A parser of the tests' own, on bytes.

It may be given a file that is written meanwhile, or one that is damaged already: what it cannot follow it leaves out.
Layout: ``mdb.c`` (MDB_page, MDB_node, MDB_db, MDB_meta), 64 bits, little endian.
"""

import json
import struct
from collections import defaultdict
from typing import Final, NamedTuple

PAGE: Final = 4096
HEADER: Final = 16
META_BYTES: Final = 136
NO_PAGE: Final = (1 << 64) - 1
BRANCH: Final = 1
BIG: Final = 1
SUBTREE: Final = 2
TREE_ROOT: Final = 40  # within an MDB_db of 48 bytes
TREE_BYTES: Final = 48

# Where one can aim.
ANYWHERE: Final = "anywhere"
SEGMENT_VALUES: Final = "segments"
SEGMENT_KEYS: Final = "keys of segments"
VALUES: Final = "other values"
KEYS: Final = "other keys"
TABLES: Final = "names and roots of tables"
LEAVES: Final = "leaf pages"  # headers, pointers, sizes
BRANCHES: Final = "branch pages"
OVERFLOWS: Final = "overflow headers"
FREE_LIST: Final = "free list"
NEWER_META: Final = "newer meta page"
OLDER_META: Final = "older meta page"
NOTHING: Final = "free pages"  # and the holes of others: nobody may notice
AIMS: Final = (
    ANYWHERE,
    SEGMENT_VALUES,
    SEGMENT_KEYS,
    VALUES,
    KEYS,
    TABLES,
    LEAVES,
    BRANCHES,
    OVERFLOWS,
    FREE_LIST,
    NEWER_META,
    OLDER_META,
    NOTHING,
)


class Span(NamedTuple):
    """Bytes of the file; of a row, the table and the key."""

    start: int
    length: int
    table: str = ""
    key: bytes = b""


class Layout:
    """``spans`` by aim, and the names of queues by their number in the store."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.spans: dict[str, list[Span]] = defaultdict(list)
        self.queue_names: dict[int, str] = {}
        self.used: set[int] = {0, 1}
        if len(data) < 2 * PAGE:
            return
        self._add(ANYWHERE, 0, len(data))
        newer = max((0, 1), key=lambda page: self._number(page * PAGE + HEADER + 128))
        self._add(NEWER_META, newer * PAGE, HEADER + META_BYTES)
        self._add(OLDER_META, (1 - newer) * PAGE, HEADER + META_BYTES)
        trees = newer * PAGE + HEADER + 24
        self._tree(self._number(trees + TREE_ROOT), "(free)", 0)
        self._tree(self._number(trees + TREE_BYTES + TREE_ROOT), "(tables)", 0)
        for page in range(len(data) // PAGE):
            if page not in self.used:
                self._add(NOTHING, page * PAGE, PAGE)

    def _add(self, aim: str, start: int, length: int, table: str = "", key: bytes = b"") -> None:
        if 0 < length and start + length <= len(self.data):
            self.spans[aim].append(Span(start, length, table, key))

    def _number(self, at: int) -> int:
        return int(struct.unpack_from("<Q", self.data, at)[0])

    def _tree(self, page: int, table: str, depth: int) -> None:
        at = page * PAGE
        if page in self.used or page == NO_PAGE or at + PAGE > len(self.data) or depth > 30:
            return
        self.used.add(page)
        flags, lower, upper = struct.unpack_from("<HHH", self.data, at + 10)
        if not HEADER <= lower <= upper <= PAGE:
            return
        is_branch = bool(flags & BRANCH)
        frame = FREE_LIST if table == "(free)" else BRANCHES if is_branch else LEAVES
        self._add(frame, at, lower, table)
        self._add(NOTHING, at + lower, upper - lower)
        for (offset,) in struct.iter_unpack("<H", self.data[at + HEADER : at + lower & ~1]):
            if not upper <= offset <= PAGE - 8:
                continue
            low, high, kind, size = struct.unpack_from("<HHHH", self.data, at + offset)
            self._add(frame, at + offset, 8, table)
            key = self.data[at + offset + 8 : at + offset + 8 + size]
            if is_branch:
                self._add(frame, at + offset + 8, size, table)
                self._tree(low | high << 16 | kind << 32, table, depth + 1)
            else:
                self._row(table, key, at + offset + 8, low | high << 16, kind, depth)

    def _row(self, table: str, key: bytes, at: int, size: int, kind: int, depth: int) -> None:
        value_at = at + len(key)
        if table == "(tables)":
            self._add(TABLES, at, len(key) + TREE_BYTES, table, key)
            if kind & SUBTREE and value_at + TREE_BYTES <= len(self.data):
                self._tree(self._number(value_at + TREE_ROOT), key.decode("ascii", "replace"), depth + 1)
            return
        is_segment = table == "segments"
        keys, values = (SEGMENT_KEYS, SEGMENT_VALUES) if is_segment else (KEYS, VALUES)
        if table == "(free)":
            keys = values = FREE_LIST
        self._add(keys, at, len(key), table, key)
        if kind & BIG and value_at + 8 <= len(self.data):
            self._add(FREE_LIST if table == "(free)" else OVERFLOWS, value_at, 8, table, key)
            page = self._number(value_at)
            if (page + 1) * PAGE > len(self.data):
                return
            self.used.update(range(page, page + (HEADER - 1 + size) // PAGE + 1))
            self._add(OVERFLOWS, page * PAGE, HEADER, table, key)
            value_at = page * PAGE + HEADER
        self._add(values, value_at, size, table, key)
        if table == "queues":
            self._note_queue(self.data[value_at : value_at + size])

    def _note_queue(self, value: bytes) -> None:
        try:
            fact = json.loads(value[4:])
            self.queue_names[int(fact["id"])] = str(fact["name"])
        except (ValueError, KeyError, TypeError):
            pass

    def queue_of(self, span: Span) -> str:
        """The queue that a row of messages belongs to, "" when there is none of that number."""
        return self.queue_names.get(int.from_bytes(span.key[:4], "big"), "")
