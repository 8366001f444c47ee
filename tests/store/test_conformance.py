"""The contract of ``amqpd.broker.ports.Store``: every store passes all of these. Its own rules are in its own file."""

import os
import select
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amqpd.broker import records
from amqpd.broker.ports import ACKS, BINDINGS, CLEAR, DELAYED, META, QUEUES, SCRATCH, SEGMENTS, TABLES, THERE, Op, Store
from amqpd.store.lmdb_store import LmdbStore
from amqpd.store.memory import MemoryStore

SMALL_MAP_BYTES = 1 << 16

Open = Callable[[], Store]


@pytest.fixture(params=["memory", "lmdb", "lmdb with a small map"])
def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    """Makes empty stores."""
    stores: list[Store] = []

    def open_empty() -> Store:
        if request.param == "memory":
            stores.append(MemoryStore())
        elif request.param == "lmdb":
            stores.append(LmdbStore(tmp_path / str(len(stores))))
        else:
            stores.append(LmdbStore(tmp_path / str(len(stores)), map_bytes=SMALL_MAP_BYTES))
        return stores[-1]

    yield open_empty
    for store in stores:
        store.close()


@pytest.fixture
def store(open_store: Open) -> Store:
    return open_store()


def wait_durable(store: Store, ticket: int) -> None:
    """As the broker waits: for the descriptor, then it asks."""
    while store.completed() < ticket:
        readable, _, _ = select.select([store.wake_fd()], [], [], 20.0)
        assert readable, f"ticket {ticket} is not durable after 20 s"
        os.read(store.wake_fd(), 4096)
    assert store.completed() == ticket


def commit(store: Store, ops: list[Op]) -> None:
    ticket = store.completed() + 1
    store.commit(ticket, ops)
    wait_durable(store, ticket)


def rows(store: Store, table: int, prefix: bytes = b"") -> list[tuple[bytes, bytes]]:
    """Without the row that a store may write for itself."""
    found = [row for row in store.scan(table, prefix) if (table, row[0]) != (META, records.TRANSACTION_KEY)]
    own = [] if table != META else [records.TRANSACTION_KEY]
    assert [key for key in store.keys(table, prefix) if key not in own] == [key for key, _ in found]
    return found


def fetched(store: Store, count: int) -> list[tuple[int, list[bytes | None]]]:
    """As the broker waits: for the descriptor, then it asks."""
    found = store.fetched()
    while len(found) < count:
        assert select.select([store.wake_fd()], [], [], 20.0)[0], f"{len(found)} of {count} are read after 20 s"
        os.read(store.wake_fd(), 4096)
        found += store.fetched()
    return found


def test_new_store_is_empty(store: Store) -> None:
    assert store.completed() == 0
    assert store.alarm() == ""
    for table in range(len(TABLES)):
        assert rows(store, table) == []
        assert store.read(table, b"k") is None


def test_tickets(store: Store) -> None:
    for ticket in (1, 2, 3, 7):  # they grow, by whatever
        store.commit(ticket, [(META, b"k", b"%d" % ticket)])
        wait_durable(store, ticket)
        assert store.read(META, b"k") == b"%d" % ticket


def test_wake_fd_is_readable_once_a_ticket_is_durable(store: Store) -> None:
    store.commit(1, [(META, b"k", b"v")])
    descriptor = store.wake_fd()
    if descriptor < 0:
        assert store.completed() == 1, "without a descriptor a commit completes at once"
        return
    assert select.select([descriptor], [], [], 20.0)[0] == [descriptor]
    assert store.completed() == 1
    os.read(descriptor, 4096)
    assert select.select([descriptor], [], [], 0.0)[0] == [], "quiet until the next one"


def test_empty_batch_is_durable_at_once(store: Store) -> None:
    store.commit(1, [])
    assert store.completed() == 1
    commit(store, [(META, b"k", b"v")])
    store.commit(3, [])
    assert store.completed() == 3


def test_put_replaces_and_delete_forgives(store: Store) -> None:
    commit(store, [(QUEUES, b"a", b"1"), (QUEUES, b"b", b"2")])
    commit(store, [(QUEUES, b"a", b"3"), (QUEUES, b"b", None), (QUEUES, b"never there", None)])
    assert rows(store, QUEUES) == [(b"a", b"3")]
    assert store.read(QUEUES, b"b") is None


def test_operations_of_a_batch_run_in_order(store: Store) -> None:
    commit(store, [(META, b"a", b"1"), (META, b"a", None), (META, b"b", b"1"), (META, b"b", b"2")])
    commit(store, [(META, b"c", b"1"), (CLEAR | META, b"c", None), (META, b"cc", b"2"), (META, b"d", None)])
    assert rows(store, META) == [(b"b", b"2"), (b"cc", b"2")]


def test_empty_values(store: Store) -> None:
    commit(store, [(META, b"k", b"")])
    assert store.read(META, b"k") == b""
    assert rows(store, META) == [(b"k", b"")]


def test_tables_are_apart(store: Store) -> None:
    commit(store, [(table, b"k", b"%d" % table) for table in range(len(TABLES))])
    assert [store.read(table, b"k") for table in range(len(TABLES))] == [b"%d" % table for table in range(len(TABLES))]
    commit(store, [(CLEAR | SEGMENTS, b"", None), (ACKS, b"k", None)])
    gone = [table for table in range(len(TABLES)) if store.read(table, b"k") is None]
    assert gone == [SEGMENTS, ACKS]


def test_scan_is_in_order_of_octets(store: Store) -> None:
    keys = [b"a", b"a\x00", b"a\x00\xff", b"aa", b"b", b"\x00", b"\xff", b"\xff\xff", b"ab" * 100]
    commit(store, [(BINDINGS, key, key[::-1]) for key in keys])
    assert rows(store, BINDINGS) == [(key, key[::-1]) for key in sorted(keys)]
    assert [key for key, _ in rows(store, BINDINGS, b"a")] == sorted(key for key in keys if key[:1] == b"a")
    assert [key for key, _ in rows(store, BINDINGS, b"\xff")] == [b"\xff", b"\xff\xff"]
    assert rows(store, BINDINGS, b"c") == []


def test_clear_takes_the_prefix_and_nothing_else(store: Store) -> None:
    keys = [b"\x00\x00\x00\x01" + bytes([each]) for each in range(256)]
    others = [b"\x00\x00\x00\x00\xff", b"\x00\x00\x00\x01", b"\x00\x00\x00\x02", b"\x00\x00\x01", b"\x01"]
    commit(store, [(SEGMENTS, key, b"v") for key in keys + others])
    commit(store, [(CLEAR | SEGMENTS, b"\x00\x00\x00\x01", None)])
    assert [key for key, _ in rows(store, SEGMENTS)] == sorted(set(others) - {b"\x00\x00\x00\x01"})
    commit(store, [(CLEAR | SEGMENTS, b"\x07", None), (CLEAR | SCRATCH, b"", None)])
    commit(store, [(CLEAR | SEGMENTS, b"\x01", None)])
    assert [key for key, _ in rows(store, SEGMENTS)] == sorted(set(others) - {b"\x00\x00\x00\x01", b"\x01"})


def test_keys_are_those_of_the_rows(store: Store) -> None:
    keys = [b"\x00\x01", b"\x00\x02", b"\x00\x02\xff", b"\x01"]
    commit(store, [(SEGMENTS, key, bytes(50_000)) for key in keys])
    assert list(store.keys(SEGMENTS, b"")) == keys
    assert list(store.keys(SEGMENTS, b"\x00\x02")) == keys[1:3]
    assert list(store.keys(SEGMENTS, b"\x03")) == []
    assert list(store.keys(ACKS, b"")) == []
    assert all(type(key) is bytes for key in store.keys(SEGMENTS, b""))


# -- values read off the loop --


def test_fetched_is_what_was_asked_for_once(store: Store) -> None:
    large = os.urandom(300_000)
    commit(store, [(SEGMENTS, b"a", b"1"), (SCRATCH, b"a", b"2"), (SEGMENTS, b"large", large), (ACKS, b"a", b"")])
    assert store.fetched() == []
    wanted = [(SCRATCH, b"a"), (SEGMENTS, b"large"), (SEGMENTS, b"never there"), (SEGMENTS, b"a"), (ACKS, b"a")]
    store.fetch(7, wanted)
    assert fetched(store, 1) == [(7, [b"2", large, None, b"1", b""])]
    assert store.fetched() == []
    store.fetch(8, [])
    assert fetched(store, 1) == [(8, [])]


def test_fetched_comes_in_the_order_of_asking(store: Store) -> None:
    """Also when the first is large and the others are small."""
    commit(store, [(SEGMENTS, b"%d" % each, bytes(each * 10_000)) for each in range(20)])
    for number in range(100):
        store.fetch(number, [(SEGMENTS, b"%d" % ((99 - number) % 20))])
    found = fetched(store, 100)
    assert [number for number, _ in found] == list(range(100))
    assert [len(value or b"") for _, (value,) in found] == [(99 - number) % 20 * 10_000 for number in range(100)]


def test_wake_fd_is_readable_when_there_is_something_fetched(store: Store) -> None:
    commit(store, [(SEGMENTS, b"a", b"1")])
    descriptor = store.wake_fd()
    store.fetch(1, [(SEGMENTS, b"a")])
    if descriptor < 0:
        assert store.fetched() == [(1, [b"1"])], "without a descriptor it is there at once"
        return
    assert select.select([descriptor], [], [], 20.0)[0] == [descriptor]
    assert store.fetched() == [(1, [b"1"])]


def test_what_is_durable_can_be_fetched_while_a_commit_runs(store: Store) -> None:
    """Whatever the commits do meanwhile, and while the map grows."""
    commit(store, [(SEGMENTS, b"kept", b"1" * 30_000)])
    for ticket in range(2, 60):
        store.commit(ticket, [(SEGMENTS, b"%d" % ticket, bytes(50_000)), (SEGMENTS, b"%d" % (ticket - 1), None)])
        store.fetch(ticket, [(SEGMENTS, b"kept"), (SEGMENTS, b"%d" % ticket)])
        ((number, (kept, new)),) = fetched(store, 1)
        assert number == ticket
        assert kept == b"1" * 30_000
        assert new in (None, bytes(50_000))
        wait_durable(store, ticket)


def test_large_values(store: Store) -> None:
    value = os.urandom(1 << 20) * 20
    commit(store, [(SEGMENTS, b"large", value), (SCRATCH, b"large", value), (META, b"small", b"v")])
    assert store.read(SEGMENTS, b"large") == value
    assert store.read(SCRATCH, b"large") == value
    commit(store, [(SEGMENTS, b"large", value[:100])])
    assert store.read(SEGMENTS, b"large") == value[:100]
    assert store.read(META, b"small") == b"v"


def test_grows(store: Store) -> None:
    """Far beyond a small map, in many batches, with reads in between."""
    value = bytes(10_000)
    for batch in range(40):
        commit(store, [(SEGMENTS, b"%04d" % (batch * 10 + each), value) for each in range(10)])
        assert store.read(SEGMENTS, b"%04d" % (batch * 10)) == value
    assert len(rows(store, SEGMENTS)) == 400


def test_reads_while_a_commit_runs(store: Store) -> None:
    """A read sees a batch whole or not at all, also while the map grows."""
    for ticket in range(1, 120):
        store.commit(ticket, [(META, b"first", b"%d" % ticket), (SEGMENTS, b"%d" % ticket, bytes(20_000))])
        while store.completed() < ticket:
            seen = int(store.read(META, b"first") or b"0")
            assert (store.read(SEGMENTS, b"%d" % seen) is not None) or seen == 0
            assert seen in (ticket - 1, ticket)
        assert store.read(META, b"first") == b"%d" % ticket


def test_close_waits_for_the_commit_that_runs(open_store: Open, tmp_path: Path) -> None:
    store = open_store()
    if not isinstance(store, LmdbStore):
        pytest.skip("nothing is there after its close")
    other = LmdbStore(tmp_path / "again")
    other.commit(1, [(SEGMENTS, b"%d" % each, bytes(100_000)) for each in range(100)])
    other.close()
    again = LmdbStore(tmp_path / "again")
    assert len(rows(again, SEGMENTS)) == 100
    again.close()


KEYS = st.sampled_from([b"a", b"ab", b"abc", b"b", b"\x00", b"\xff", b"\xffa"])
OPS = st.one_of(
    st.tuples(st.sampled_from([META, SEGMENTS]), KEYS, st.one_of(st.none(), st.binary(max_size=8))),
    st.tuples(st.sampled_from([CLEAR | META, CLEAR | SEGMENTS]), st.one_of(KEYS, st.just(b"")), st.none()),
)


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(OPS, max_size=8), max_size=6))
def test_any_batches_do_what_plain_dictionaries_do(store: Store, batches: list[list[Op]]) -> None:
    commit(store, [(CLEAR | META, b"", None), (CLEAR | SEGMENTS, b"", None)])
    model: dict[int, dict[bytes, bytes]] = {META: {}, SEGMENTS: {}}
    for batch in batches:
        commit(store, batch)
        for table, key, value in batch:
            rows_of = model[table & ~CLEAR]
            if table & CLEAR:
                model[table & ~CLEAR] = {each: rows_of[each] for each in rows_of if not each.startswith(key)}
            elif value is None:
                rows_of.pop(key, None)
            else:
                rows_of[key] = value
        for table in model:
            assert rows(store, table) == sorted(model[table].items())


# -- ranges --


def test_a_range_has_keys_in_order_and_the_sizes_of_values(store: Store) -> None:
    for table in (DELAYED, SCRATCH):
        assert store.range(table, b"", 10) == []
        commit(store, [(table, bytes([key]), b"v" * key * 100) for key in (5, 1, 9, 3, 7)])
        assert store.range(table, b"", 10) == [(bytes([key]), key * 100) for key in (1, 3, 5, 7, 9)]
        assert store.range(table, b"\x03", 2) == [(b"\x03", 300), (b"\x05", 500)]
        assert store.range(table, b"\x03\x00", 2) == [(b"\x05", 500), (b"\x07", 700)]
        assert store.range(table, b"\x0a", 2) == []
        assert store.range(table, b"", 0) == []


def test_a_range_follows_what_changes(store: Store) -> None:
    commit(store, [(DELAYED, b"a1", b"1"), (DELAYED, b"b2", b"2"), (DELAYED, b"b1", b"3")])
    assert store.range(DELAYED, b"", 10) == [(b"a1", 1), (b"b1", 1), (b"b2", 1)]
    commit(store, [(DELAYED, b"b1", b"longer"), (DELAYED, b"b3", b""), (DELAYED | THERE, b"a1", None)])
    assert store.range(DELAYED, b"a", 10) == [(b"b1", 6), (b"b2", 1), (b"b3", 0)]
    commit(store, [(DELAYED | CLEAR, b"b", None), (DELAYED, b"nope", None), (DELAYED, b"c", b"4")])
    assert store.range(DELAYED, b"", 10) == [(b"c", 1)]


def test_ranges_of_a_large_table(store: Store) -> None:
    keys = [number.to_bytes(3, "big") for number in range(5000)]
    commit(store, [(DELAYED, key, b"v") for key in keys[::2]])
    assert store.range(DELAYED, keys[1], 3) == [(key, 1) for key in keys[2:8:2]]
    commit(store, [(DELAYED, key, b"v") for key in keys[1::2]])
    assert store.range(DELAYED, keys[1000], 3000) == [(key, 1) for key in keys[1000:4000]]
