"""The reference store's own: nothing waits, nothing is kept. Its contract is in ``test_conformance.py``."""

from amqpd.broker.ports import META
from amqpd.store.memory import MemoryStore


def test_commits_complete_at_once() -> None:
    store = MemoryStore()
    store.commit(1, [(META, b"k", b"v")])
    assert store.completed() == 1
    assert store.wake_fd() == -1


def test_tables_can_be_looked_at() -> None:
    store = MemoryStore()
    store.commit(1, [(META, b"k", b"v")])
    assert store.tables[META] == {b"k": b"v"}
