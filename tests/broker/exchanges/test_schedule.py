"""Rows that wait for their time. What becomes of them then: ``test_delayed.py``."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd import limits
from amqpd.broker import records
from amqpd.broker.exchanges import schedule
from amqpd.broker.exchanges.schedule import PAUSE_MS, Schedule
from amqpd.broker.journal import Journal
from amqpd.broker.ports import DELAYED, QUARANTINE, SCRATCH
from amqpd.broker.turn import Turn
from amqpd.store.memory import MemoryStore
from tests.support.wire import DelayedStore

NUMBER = 7
SMALL_WINDOW = 3


class World:
    """A schedule of a store that can be held up and crash. Times are in ms; ``released`` is what came, and when."""

    def __init__(self, disk: MemoryStore | None = None, table: int = DELAYED) -> None:
        self.disk = disk or MemoryStore()
        self.store = DelayedStore(self.disk)
        self.store.is_delaying = False
        self.turn = Turn(Journal(self.store))
        self.table = table
        self.schedule = Schedule(table, NUMBER, self.turn, lambda body: self.released.append((self.now, body)))
        self.now = 0
        self.number = 0
        self.released: list[tuple[int, bytes]] = []

    def add(self, due_ms: int, body: bytes | None = None) -> bytes:
        self.number += 1
        key = self.schedule.key(due_ms, self.number)
        ticket = self.schedule.add(key, body or b"%d" % due_ms)
        assert ticket == self.turn.journal.ticket
        return key

    def pass_to(self, now: int) -> list[tuple[int, bytes]]:
        """All turns at that time; what came in them."""
        self.now = now
        before = len(self.released)
        while True:
            is_due = self.turn.begin(now / 1000)
            self.turn.finish()
            if not is_due and not (self.store.is_reading and self.store.asked):
                return self.released[before:]

    def crash(self) -> "World":
        disk = MemoryStore()
        disk.tables = [dict(rows) for rows in self.disk.tables]
        disk.tables[SCRATCH].clear()
        again = World(disk)
        again.number = again.schedule.restore()
        return again

    @property
    def rows(self) -> dict[bytes, bytes]:
        return self.disk.tables[self.table]


@pytest.fixture(params=[DELAYED, SCRATCH])
def world(request: pytest.FixtureRequest) -> World:
    return World(table=request.param)


@pytest.fixture
def small_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SCHEDULE_KEYS", SMALL_WINDOW)


def test_each_at_its_time_and_then_no_more(world: World) -> None:
    for due_ms in (30, 10, 20):
        world.add(due_ms)
    world.pass_to(0)
    assert world.schedule.count == 3
    assert len(world.rows) == 3
    assert world.pass_to(9) == []
    assert world.pass_to(10) == [(10, b"10")]
    assert world.pass_to(29) == [(29, b"20")]
    assert world.pass_to(1000) == [(1000, b"30")]
    assert world.pass_to(2000) == []
    assert world.schedule.count == 0
    assert world.rows == {}
    assert world.turn.timers.next_ms() == 0


def test_in_the_order_of_times_and_then_of_arrival(world: World) -> None:
    for due_ms, body in ((5, b"c"), (5, b"d"), (4, b"a"), (4, b"b"), (5, b"e")):
        world.add(due_ms, body)
    world.pass_to(1)
    assert [body for _, body in world.pass_to(5)] == [b"a", b"b", b"c", b"d", b"e"]


def test_due_before_its_batch_is_durable(world: World) -> None:
    world.store.is_delaying = True
    world.add(10)
    world.pass_to(5)
    world.add(10, b"in the next batch")
    assert [body for _, body in world.pass_to(10)] == [b"10", b"in the next batch"]
    world.store.complete()
    world.pass_to(11)
    world.store.complete()
    assert world.pass_to(12) == []
    assert world.rows == {}


@pytest.mark.usefixtures("small_window")
def test_few_keys_are_in_memory_however_many_wait(world: World) -> None:
    for due_ms in [*range(100, 300, 2), *range(101, 300, 2)]:
        world.add(due_ms)
        world.pass_to(0)
        assert len(world.schedule.near) <= 2 * SMALL_WINDOW
        assert len(world.schedule.fresh) <= 1
    assert [body for _, body in world.pass_to(199)] == [b"%d" % due_ms for due_ms in range(100, 200)]
    world.add(150, b"late")
    world.add(210, b"between")
    expected = [b"late", *(b"%d" % due_ms for due_ms in range(200, 211)), b"between"]
    assert [body for _, body in world.pass_to(210)] == expected
    assert len(world.schedule.near) <= 2 * SMALL_WINDOW
    assert world.schedule.count == 300 - 211


def test_a_step_is_bounded_in_bytes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SCHEDULE_STEP_BYTES", 10_000)
    for number in range(50):
        world.add(number + 1, b"%02d" % number + b"x" * 1000)
    world.pass_to(0)
    world.now = 100
    world.turn.begin(0.1)
    assert 1 <= len(world.store.asked[0][1]) <= 10
    world.turn.finish()
    assert len(world.released) <= 10
    world.pass_to(100)
    assert [body[:2] for _, body in world.released] == [b"%02d" % number for number in range(50)]


def test_one_larger_than_a_step_comes_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SCHEDULE_STEP_BYTES", 10)
    world.add(1, b"x" * 1000)
    world.pass_to(0)
    assert world.pass_to(1) == [(1, b"x" * 1000)]


def test_waits_while_the_store_is_behind(world: World) -> None:
    world.add(10)
    world.pass_to(0)
    world.turn.journal.pending_bytes = limits.BATCH_HIGH_BYTES + 1
    world.turn.begin(0.010)
    assert not world.store.asked
    assert world.turn.timers.next_ms() == 10 + PAUSE_MS
    world.turn.journal.pending_bytes = 0
    assert world.pass_to(10 + PAUSE_MS) == [(10 + PAUSE_MS, b"10")]


# --- cancelling and looking ---


@pytest.mark.usefixtures("small_window")
def test_cancelled_ones_never_come(world: World) -> None:
    keys = [world.add(due_ms) for due_ms in range(10, 30)]
    for key in (keys[0], keys[15]):
        assert world.schedule.cancel(key)
        assert not world.schedule.cancel(key)
    world.pass_to(0)
    for key in (keys[1], keys[16]):
        assert world.schedule.cancel(key)
        assert not world.schedule.cancel(key)
    assert not world.schedule.cancel(world.schedule.key(1, 1))
    assert world.schedule.count == 16
    expected = [b"%d" % due_ms for due_ms in range(10, 30) if due_ms not in (10, 11, 25, 26)]
    assert [body for _, body in world.pass_to(30)] == expected
    assert world.rows == {}


@pytest.mark.usefixtures("small_window")
@pytest.mark.parametrize("is_durable", [True, False])
def test_a_cancelled_one_is_not_read_again_before_its_deletion_is_durable(world: World, is_durable: bool) -> None:
    world.store.is_delaying = not is_durable
    keys = [world.add(due_ms) for due_ms in range(10, 30)]
    world.pass_to(0)
    world.store.is_delaying = True
    assert world.schedule.cancel(keys[15])
    world.pass_to(1)
    if not is_durable:
        world.store.complete()
        world.pass_to(2)
    assert keys[15] in world.rows
    expected = [b"%d" % due_ms for due_ms in range(10, 30) if due_ms != 25]
    assert [body for _, body in world.pass_to(30)] == expected


def test_what_is_leaving_cannot_be_cancelled(world: World) -> None:
    key = world.add(10)
    world.pass_to(0)
    world.store.is_reading = False
    world.pass_to(10)
    assert not world.schedule.cancel(key)
    world.store.is_reading = True
    assert world.pass_to(11) == [(11, b"10")]
    assert world.schedule.count == 0


@pytest.mark.usefixtures("small_window")
def test_the_first_can_be_looked_at(world: World) -> None:
    keys = [world.add(due_ms) for due_ms in range(10, 30)]
    for is_turn_taken in (False, True):
        if is_turn_taken:
            world.pass_to(0)
        assert world.schedule.first(10) == keys[:10]
        assert world.schedule.first(100) == keys
        assert [world.schedule.find(key) for key in keys[:2]] == [b"10", b"11"]
        assert world.schedule.find(world.schedule.key(10, 2)) is None


def test_rows_of_others_are_not_its(world: World) -> None:
    for number in (NUMBER - 1, NUMBER + 1):
        key = number.to_bytes(4, "big") + bytes(16)
        world.store.inner.commit(0, [(world.table, key, records.seal(key, b"other"))])
        assert world.schedule.find(key) is None
    world.add(10)
    world.pass_to(0)
    world.schedule.far = world.schedule.prefix
    world.schedule.near.clear()
    assert world.schedule.first(10) == [world.schedule.key(10, 1)]
    world.schedule._set_alarm()
    assert world.pass_to(10) == [(10, b"10")]
    assert len(world.rows) == 2


def test_cleared_it_does_nothing_more(world: World) -> None:
    world.add(10)
    world.add(20)
    world.pass_to(0)
    world.store.is_reading = False
    world.pass_to(10)
    world.schedule.clear()
    world.store.is_reading = True
    assert world.pass_to(30) == []
    assert world.schedule.count == 0


# --- restarts and damage ---


@pytest.mark.usefixtures("small_window")
@pytest.mark.parametrize("keys_at_once", [1, 7, 14, 1000])
def test_after_a_restart_all_come_that_were_durable(keys_at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "KEYS_AT_ONCE", keys_at_once)
    world = World()
    for due_ms in range(10, 30):
        world.add(due_ms)
    world.pass_to(15)
    again = world.crash()
    assert (again.schedule.count, again.number) == (14, 20)
    again.add(20, b"new")
    expected = [*(b"%d" % due_ms for due_ms in range(16, 21)), b"new", *(b"%d" % due_ms for due_ms in range(21, 30))]
    assert [body for _, body in again.pass_to(40)] == expected


def test_damage_is_repaired_or_put_aside(world: World, caplog: pytest.LogCaptureFixture) -> None:
    keys = [world.add(due_ms) for due_ms in (10, 11, 12)]
    world.pass_to(0)
    one_bit = bytearray(world.rows[keys[0]])
    one_bit[-1] ^= 1
    world.rows[keys[0]] = bytes(one_bit)
    world.rows[keys[1]] = b"not a sealed row"
    assert [body for _, body in world.pass_to(20)] == [b"10", b"12"]
    assert world.disk.tables[QUARANTINE] == {keys[1]: b"not a sealed row"}
    assert world.rows == {}
    assert "in quarantine" in caplog.text


def test_a_row_that_is_lost_is_told(world: World, caplog: pytest.LogCaptureFixture) -> None:
    key = world.add(10)
    world.pass_to(0)
    del world.rows[key]
    assert world.pass_to(10) == []
    assert world.schedule.count == 0
    assert "is lost" in caplog.text


# --- against a model ---

steps = st.one_of(
    st.tuples(st.just("add"), st.integers(1, 30)),
    st.tuples(st.just("cancel"), st.integers(0, 60)),
    st.tuples(st.just("pass"), st.integers(0, 12)),
    st.tuples(st.just("complete"), st.just(0)),
    st.tuples(st.just("crash"), st.just(0)),
)


@given(st.lists(steps, max_size=60), st.booleans())
def test_as_a_sorted_list_would(script: list[tuple[str, int]], is_delaying: bool) -> None:
    usual, limits.SCHEDULE_KEYS = limits.SCHEDULE_KEYS, SMALL_WINDOW  # type: ignore[misc]  # not Final in a test
    try:
        run_against_model(script, is_delaying=is_delaying)
    finally:
        limits.SCHEDULE_KEYS = usual  # type: ignore[misc]


def run_against_model(script: list[tuple[str, int]], *, is_delaying: bool) -> None:
    world = World()
    world.store.is_delaying = is_delaying
    waiting: dict[bytes, bytes] = {}
    for step, value in script:
        if step == "add":
            due_ms = world.now + value
            waiting[world.add(due_ms)] = b"%d" % due_ms
        elif step == "cancel" and waiting:
            key = sorted(waiting)[value % len(waiting)]
            assert world.schedule.cancel(key)
            del waiting[key]
        elif step == "pass":
            now = world.now + value
            due = sorted(key for key in waiting if int.from_bytes(key[4:12], "big") <= now)
            assert [body for _, body in world.pass_to(now)] == [waiting.pop(key) for key in due]
        elif step == "complete":
            world.store.complete()
            world.turn.finish()
        elif step == "crash":
            now, world = world.now, world.crash()
            world.now, world.store.is_delaying = now, is_delaying
            waiting = {key: records.unseal(key, value) for key, value in world.rows.items()}
        assert world.schedule.count == len(waiting)
        assert len(world.schedule.near) <= 2 * SMALL_WINDOW
        assert world.schedule.first(100) == sorted(waiting)
