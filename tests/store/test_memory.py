"""The reference store's own: nothing waits, nothing is kept. Its contract is in ``test_conformance.py``."""

from hypothesis import given
from hypothesis import strategies as st

from amqpd.broker.ports import META
from amqpd.store.memory import MemoryStore, SortedKeys


def test_commits_complete_at_once() -> None:
    store = MemoryStore()
    store.commit(1, [(META, b"k", b"v")])
    assert store.completed() == 1
    assert store.wake_fd() == -1


def test_tables_can_be_looked_at() -> None:
    store = MemoryStore()
    store.commit(1, [(META, b"k", b"v")])
    assert store.tables[META] == {b"k": b"v"}


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 300)), max_size=200), st.integers(0, 300), st.integers(0, 50))
def test_keys_in_order_are_those_that_are_there(changes: list[tuple[bool, int]], first: int, limit: int) -> None:
    expected = {number.to_bytes(2, "big") for number in range(0, 300, 7)}
    keys = SortedKeys(expected, block_keys=4)
    for is_added, number in changes:
        key = number.to_bytes(2, "big")
        if is_added and key not in expected:
            expected.add(key)
            keys.add(key)
        elif not is_added and key in expected:
            expected.remove(key)
            keys.remove(key)
    start = first.to_bytes(2, "big")
    assert keys.take(start, limit) == [key for key in sorted(expected) if key >= start][:limit]
    assert all(len(block) <= 8 for block in keys._blocks)


def test_another_broker_takes_over_what_is_there() -> None:
    store = MemoryStore()
    store.commit(7, [(META, b"key", b"value")])
    store.close()
    assert store.completed() == 0
    assert store.read(META, b"key") == b"value"
