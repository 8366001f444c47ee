"""The reference store: tables as dictionaries, durable as long as the process. ``amqpd serve --memory`` runs on it,
and most tests.
"""

import bisect
import itertools
from collections.abc import Iterable, Iterator
from typing import Final

from amqpd.broker.ports import CLEAR, TABLE, TABLES, THERE, Op, Store

BLOCK_KEYS: Final = 1024  # in one sorted list, twice at most: what an insertion has to move


class MemoryStore(Store):
    """Commits complete at once."""

    def __init__(self) -> None:
        self.tables: list[dict[bytes, bytes]] = [{} for _ in TABLES]
        self._in_order: dict[int, SortedKeys] = {}  # of the tables that ``range`` was asked of
        self._completed = 0
        self._fetched: list[tuple[int, list[bytes | None]]] = []

    def commit(self, ticket: int, ops: list[Op]) -> None:
        for table, key, value in ops:
            if table & CLEAR:
                for stale in [row for row in self.tables[table & TABLE] if row.startswith(key)]:
                    self._delete(table & TABLE, stale)
            elif value is None:
                assert not table & THERE or key in self.tables[table & TABLE]
                self._delete(table & TABLE, key)
            else:
                self._put(table, key, value)
        self._completed = ticket

    def _put(self, table: int, key: bytes, value: bytes) -> None:
        rows = self.tables[table]
        if table in self._in_order and key not in rows:
            self._in_order[table].add(key)
        rows[key] = value

    def _delete(self, table: int, key: bytes) -> None:
        if self.tables[table].pop(key, None) is not None and table in self._in_order:
            self._in_order[table].remove(key)

    def completed(self) -> int:
        return self._completed

    def wake_fd(self) -> int:
        return -1

    def alarm(self) -> str:
        return ""

    def read(self, table: int, key: bytes) -> bytes | None:
        return self.tables[table].get(key)

    def fetch(self, number: int, wanted: list[tuple[int, bytes]]) -> None:
        self._fetched.append((number, [self.tables[table].get(key) for table, key in wanted]))

    def fetched(self) -> list[tuple[int, list[bytes | None]]]:
        fetched = self._fetched
        self._fetched = []
        return fetched

    def scan(self, table: int, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        rows = self.tables[table]
        for key in self.keys(table, prefix):
            yield key, rows[key]

    def keys(self, table: int, prefix: bytes) -> Iterator[bytes]:
        return iter(sorted(key for key in self.tables[table] if key.startswith(prefix)))

    def range(self, table: int, first: bytes, limit: int) -> list[tuple[bytes, int]]:
        rows = self.tables[table]
        if table not in self._in_order:
            self._in_order[table] = SortedKeys(rows)
        return [(key, len(rows[key])) for key in self._in_order[table].take(first, limit)]

    def close(self) -> None:
        """Nothing to release. What is in the tables stays, for another broker, whose tickets begin at 1 again."""
        self._completed = 0
        self._fetched = []


class SortedKeys:
    """A set of keys in order: sorted lists of moderate length, one behind the other."""

    def __init__(self, keys: Iterable[bytes] = (), block_keys: int = BLOCK_KEYS) -> None:
        ordered = sorted(keys)
        self._block_keys = block_keys
        self._blocks = [ordered[at : at + block_keys] for at in range(0, len(ordered), block_keys)] or [[]]

    def add(self, key: bytes) -> None:
        """Add a key that is not there."""
        at = self._find(key)
        block = self._blocks[at]
        bisect.insort(block, key)
        if len(block) > 2 * self._block_keys:
            self._blocks[at : at + 1] = [block[: self._block_keys], block[self._block_keys :]]

    def remove(self, key: bytes) -> None:
        """Remove a key that is there."""
        at = self._find(key)
        block = self._blocks[at]
        del block[bisect.bisect_left(block, key)]
        if not block and len(self._blocks) > 1:
            del self._blocks[at]

    def take(self, first: bytes, limit: int) -> list[bytes]:
        """The first ``limit`` keys that are not before ``first``."""
        at = self._find(first)
        block = self._blocks[at]
        later = itertools.chain.from_iterable(itertools.islice(self._blocks, at + 1, None))
        return list(itertools.islice(itertools.chain(block[bisect.bisect_left(block, first) :], later), limit))

    def _find(self, key: bytes) -> int:
        """Where the block is that has the key, or should have it: the last that does not begin behind it."""
        return max(0, bisect.bisect_right(self._blocks, key, key=_first) - 1)


def _first(block: list[bytes]) -> bytes:
    return block[0] if block else b""
