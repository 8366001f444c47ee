"""The reference store: tables as dictionaries, durable as long as the process. ``amqpd serve --memory`` runs on it,
and most tests.
"""

from collections.abc import Iterator

from amqpd.broker.ports import CLEAR, TABLE, TABLES, THERE, Op, Store


class MemoryStore(Store):
    """Commits complete at once."""

    def __init__(self) -> None:
        self.tables: list[dict[bytes, bytes]] = [{} for _ in TABLES]
        self._completed = 0
        self._fetched: list[tuple[int, list[bytes | None]]] = []

    def commit(self, ticket: int, ops: list[Op]) -> None:
        for table, key, value in ops:
            if table & CLEAR:
                rows = self.tables[table & TABLE]
                for stale in [row for row in rows if row.startswith(key)]:
                    del rows[stale]
            elif value is None:
                assert not table & THERE or key in self.tables[table & TABLE]
                self.tables[table & TABLE].pop(key, None)
            else:
                self.tables[table][key] = value
        self._completed = ticket

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

    def close(self) -> None:
        """Nothing to release."""
