"""The classic queue and the store: what is written and deleted, messages beyond the window, what cannot be read."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd import limits
from amqpd.broker.message import Message
from amqpd.broker.ports import ACKS, NEXT, QUARANTINE, QUEUES, SCRATCH, SEGMENTS, STATES
from amqpd.broker.queues.classic import ClassicQueue
from amqpd.broker.queues.segments import acks_key, read_segment, read_segment_key
from amqpd.broker.records import unseal
from tests.broker.world import World
from tests.support.small_segments import needs_interpreter, small_segments
from tests.support.wire import take_head

ON_DISK = (SEGMENTS, ACKS, STATES, SCRATCH, QUARANTINE)
MESSAGE_BYTES = limits.MESSAGE_OVERHEAD_BYTES + 2  # of the messages below
WINDOW = 10 * MESSAGE_BYTES


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def queue(world: World) -> ClassicQueue:
    return world.queue()


def numbers(first: int, last: int) -> list[bytes]:
    return [b"%02d" % number for number in range(first, last + 1)]


def stored(world: World, table: int = SEGMENTS) -> list[list[bytes]]:
    """The contents of all segments, settled or not."""
    rows = world.rows(table)
    return [[content for *_, content in read_segment(key, rows[key])] for key in sorted(rows)]


def key_at(world: World, first: int) -> bytes:
    """Of the only queue's segment at this position."""
    (key,) = [key for key in world.rows(SEGMENTS) if read_segment_key(key)[1] == first]
    return key


def take(world: World, queue: ClassicQueue, count: int) -> list[Message]:
    return [world.take(queue) for _ in range(count)]


def settle(world: World, *messages: Message) -> None:
    for message in messages:
        message.queue.settle(message)
    world.turn()


# --- segments ---


def test_a_batch_adds_one_segment_to_a_queue(world: World, queue: ClassicQueue) -> None:
    for bodies in (numbers(1, 3), numbers(4, 4)):
        world.publish(queue, *bodies)
        world.turn()
    assert stored(world) == [numbers(1, 3), numbers(4, 4)]


def test_a_large_batch_adds_several(world: World, queue: ClassicQueue) -> None:
    body = bytes(limits.SEGMENT_BYTES // 2)
    world.publish(queue, *[body] * 5)
    world.turn()
    assert [len(segment) for segment in stored(world)] == [2, 2, 1]
    again = world.crash()
    assert len(again.bodies(again.find())) == 5


def test_only_stored_messages_are_written(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, b"01", persistent=False)
    world.publish(queue, b"02")
    world.publish(queue, b"03", persistent=False)
    world.publish(queue, b"04")
    world.turn()
    assert stored(world) == [[b"02", b"04"]]
    again = world.crash()
    assert again.bodies(again.find()) == [b"02", b"04"]


@pytest.mark.parametrize(("durable", "exclusive"), [(False, False), (True, True)])
def test_a_queue_that_ends_with_the_broker_stores_nothing(world: World, durable: bool, exclusive: bool) -> None:
    queue = world.queue("own", durable=durable, exclusive=exclusive)
    world.publish(queue, b"01")
    world.turn()
    settle(world, world.take(queue))
    assert [world.rows(table) for table in ON_DISK] == [{}] * len(ON_DISK)


def test_what_was_acked_before_sealing_is_never_written(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, b"01")
    settle(world, world.take(queue))
    world.store.is_delaying = True
    world.publish(queue, b"02")
    world.turn()  # with the store
    world.publish(queue, *numbers(3, 5))
    settle(world, *take(world, queue, 3)[1:])
    world.complete()
    world.complete()
    assert stored(world) == [[b"02"], [b"05"]]
    world.store.is_delaying = False
    assert world.crash().find().ready_count == 2


def test_acks_are_a_map_beside_the_segment(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, *numbers(1, 10))
    messages = take(world, queue, 10)
    settle(world, messages[1], messages[9])
    assert stored(world) == [numbers(1, 10)]
    key = acks_key(queue.queue_id, 1)
    assert list(world.rows(ACKS)) == [key]
    assert unseal(key, world.rows(ACKS)[key]) == b"\x02\x02"
    settle(world, messages[0])
    assert unseal(key, world.rows(ACKS)[key]) == b"\x03\x02"


def test_a_segment_goes_with_its_last_message(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, *numbers(1, 3))
    messages = take(world, queue, 3)
    settle(world, messages[2], messages[0])
    settle(world, messages[1])
    assert (world.rows(SEGMENTS), world.rows(ACKS)) == ({}, {})


def test_a_segment_that_is_acked_at_once_never_had_a_map(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, *numbers(1, 3))
    settle(world, *take(world, queue, 3))
    assert (world.rows(SEGMENTS), world.rows(ACKS)) == ({}, {})


def test_acks_while_the_store_has_the_batch_are_in_the_next_one(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, b"01")
    settle(world, world.take(queue))
    world.store.is_delaying = True
    world.publish(queue, *numbers(2, 3))
    world.turn()
    settle(world, world.take(queue))
    world.complete()
    assert stored(world) == [numbers(2, 3)]
    assert world.rows(ACKS) == {}
    world.complete()
    assert len(world.rows(ACKS)) == 1


def test_holes_stay_start_after_start(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, *numbers(1, 20))
    world.turn()
    left = numbers(1, 20)
    for step in (5, 3, 2):
        queue = world.find()
        settle(world, *take(world, queue, len(left))[::step])
        del left[::step]
        world = world.crash()
    assert world.bodies(world.find()) == left
    assert world.rows(SEGMENTS) == {}


# --- deletion ---


def test_deletion_clears_everything(world: World) -> None:
    world = World(window_bytes=WINDOW)
    for name in ("kept", "q"):
        queue = world.queue(name)
        world.publish(queue, *numbers(1, 10))
        world.publish(queue, *numbers(11, 30), persistent=False)
        queue.mark_dirty()
        world.turn()
        settle(world, *take(world, queue, 2))
    queue = world.queue("q")
    assert all(len(world.rows(table)) == 2 for table in (SEGMENTS, ACKS, STATES, QUEUES))
    held = world.take(queue)
    world.publish(queue, b"31")
    world.vhost.remove_queue(queue)
    world.turn()
    assert all(len(world.rows(table)) == 1 for table in (SEGMENTS, ACKS, STATES, SCRATCH, QUEUES))
    settle(world, held)
    assert len(world.rows(ACKS)) == 1, "an ack that comes late says nothing"
    assert world.find("kept").ready_count == 28


def test_deletion_of_what_was_never_on_disk_writes_nothing(world: World) -> None:
    """Reply queues come and go by the thousand."""
    queue = world.queue("own", exclusive=True)
    world.publish(queue, b"01")
    world.turn()
    world.vhost.remove_queue(queue)
    assert world.journal.is_idle()


def test_deleted_and_declared_again_is_another_queue(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, *numbers(1, 3))
    world.turn()
    world.vhost.remove_queue(queue)
    world.publish(world.queue(), b"04")
    world.turn()
    again = world.crash()
    assert again.bodies(again.find()) == [b"04"]


def test_purge_deletes_what_is_ready(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, *numbers(1, 3))
    world.turn()
    world.publish(queue, b"04")
    held = world.take(queue)
    queue.requeue([world.take(queue)])
    assert queue.purge() == 3
    world.turn()
    assert (queue.ready_count, queue.unacked_count, queue.memory_bytes) == (0, 1, 0)
    queue.requeue([held])
    again = world.crash()
    assert again.bodies(again.find()) == [b"01"]
    assert queue.purge() == 1
    world.turn()
    assert (world.rows(SEGMENTS), world.rows(ACKS)) == ({}, {})


# --- beyond the window ---

KINDS = ("persistent", "transient", "mixed")


def is_persistent(kind: str, number: int) -> bool:
    return kind == "persistent" or (kind == "mixed" and number % 3 == 0)


def fill(world: World, queue: ClassicQueue, first: int, last: int, kind: str, *, batch: int = 4) -> None:
    for number in range(first, last + 1):
        world.publish(queue, b"%02d" % number, persistent=is_persistent(kind, number))
        if number % batch == 0:
            world.turn()
    world.turn()


@pytest.fixture
def small() -> World:
    """Queues keep ten messages in memory."""
    return World(window_bytes=WINDOW)


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("batch", [1, 7, 100])
def test_what_is_beyond_the_window_is_on_disk_and_in_order(small: World, kind: str, durable: bool, batch: int) -> None:
    queue = small.queue(durable=durable)
    fill(small, queue, 1, 60, kind, batch=batch)
    assert queue.memory_bytes <= WINDOW
    assert queue.ready_count == 60
    assert small.bodies(queue) == numbers(1, 60)
    assert (small.rows(SEGMENTS), small.rows(SCRATCH), small.rows(ACKS)) == ({}, {}, {})
    assert queue.memory_bytes == 0


@pytest.mark.parametrize("kind", KINDS)
def test_memory_stays_within_the_window_while_it_is_read_back(small: World, kind: str) -> None:
    queue = small.queue()
    fill(small, queue, 1, 90, kind)
    for number in range(1, 91):
        message = small.take(queue)
        assert message.content == b"%02d" % number
        assert queue.memory_bytes <= WINDOW
        settle(small, message)


def test_within_the_window_nothing_transient_is_written(small: World) -> None:
    queue = small.queue()
    fill(small, queue, 1, 10, "transient")
    assert small.rows(SCRATCH) == {}
    fill(small, queue, 11, 11, "transient")
    assert small.rows(SCRATCH) != {}


def test_nothing_is_forgotten_before_it_is_durable(small: World) -> None:
    queue = small.queue()
    small.store.is_delaying = True
    fill(small, queue, 1, 30, "mixed")
    assert queue.memory_bytes == 30 * MESSAGE_BYTES
    while small.store.complete():
        small.turn()
    assert queue.memory_bytes <= WINDOW
    small.store.is_delaying = False
    assert small.bodies(queue) == numbers(1, 30)


def test_drained_while_the_disk_is_late_everything_comes_from_memory(small: World) -> None:
    queue = small.queue(durable=False)
    small.store.is_delaying = True
    fill(small, queue, 1, 30, "transient")
    assert small.bodies(queue) == numbers(1, 30)
    while small.store.complete():
        small.turn()
    assert small.rows(SCRATCH) == {}


def test_new_messages_wait_behind_those_on_disk(small: World) -> None:
    queue = small.queue()
    fill(small, queue, 1, 30, "mixed")
    taken = [message.content for message in take(small, queue, 10)]
    fill(small, queue, 31, 40, "mixed")
    assert taken + small.bodies(queue) == numbers(1, 40)


def test_back_within_the_window_nothing_goes_to_disk_any_more(small: World) -> None:
    queue = small.queue()
    fill(small, queue, 1, 30, "transient")
    small.bodies(queue)
    fill(small, queue, 31, 39, "transient")
    assert small.rows(SCRATCH) == {}
    assert small.bodies(queue) == numbers(31, 39)


def test_one_message_larger_than_the_window_stays(small: World) -> None:
    queue = small.queue()
    body = bytes(3 * WINDOW)
    small.publish(queue, body, persistent=False)
    small.turn()
    assert len(queue.ready) == 1
    small.publish(queue, body, persistent=False)
    small.turn()
    assert queue.memory_bytes < 2 * len(body)
    assert small.bodies(queue) == [body, body]


@pytest.mark.parametrize("kind", KINDS)
def test_requeued_comes_before_what_is_on_disk(small: World, kind: str) -> None:
    queue = small.queue()
    fill(small, queue, 1, 40, kind)
    taken = take(small, queue, 20)
    queue.requeue(taken[10:])
    queue.requeue(taken[:10])
    small.turn()
    assert small.drain(queue) == [(body, index < 20) for index, body in enumerate(numbers(1, 40))]


def test_paged_messages_come_back_after_a_crash(small: World) -> None:
    queue = small.queue()
    fill(small, queue, 1, 60, "mixed")
    settle(small, *take(small, queue, 30)[::2])  # 1, 3, 5 to 29
    again = small.crash()
    wanted = [number for number in range(3, 61, 3) if number >= 30 or number % 2 == 0]
    assert again.bodies(again.find()) == [b"%02d" % number for number in wanted]


def test_scratch_has_maps_of_no_acks(small: World) -> None:
    """Nobody reads it after a restart."""
    queue = small.queue(durable=False)
    fill(small, queue, 1, 40, "transient", batch=40)
    settle(small, *take(small, queue, 25))
    assert len(small.rows(SCRATCH)) == 1
    assert small.rows(ACKS) == {}
    assert small.bodies(queue) == numbers(26, 40)


# --- purge beyond the window ---


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("taken", [0, 3, 17])
def test_purge_takes_what_is_on_disk_too(small: World, kind: str, taken: int) -> None:
    queue = small.queue()
    fill(small, queue, 1, 50, kind)
    held = take(small, queue, taken)
    assert queue.purge() == 50 - taken
    small.turn()
    assert (queue.ready_count, queue.unacked_count, queue.memory_bytes) == (0, taken, 0)
    again = small.crash()
    assert again.bodies(again.find()) == [body for body in numbers(1, taken) if is_persistent(kind, int(body))]
    queue.requeue(held)
    assert small.bodies(queue) == numbers(1, taken)
    assert (small.rows(SEGMENTS), small.rows(SCRATCH), small.rows(ACKS)) == ({}, {}, {})


def test_purge_with_a_segment_that_is_half_in_memory(small: World) -> None:
    queue = small.queue()
    fill(small, queue, 1, 40, "persistent", batch=40)
    assert len(small.rows(SEGMENTS)) == 1
    held = take(small, queue, 2)
    queue.requeue([held[1]])
    assert queue.purge() == 39
    small.turn()
    again = small.crash()
    assert again.bodies(again.find()) == [b"01"]
    settle(small, held[0])
    assert (small.rows(SEGMENTS), small.rows(ACKS)) == ({}, {})


def test_purge_of_what_came_back_after_a_crash_reads_nothing(small: World) -> None:
    fill(small, small.queue(), 1, 40, "persistent")
    again = small.crash()
    queue = again.find()
    reads = count_reads(again)
    assert queue.purge() == 40
    again.turn()
    assert reads == []
    assert again.rows(SEGMENTS) == {}


def test_purge_while_the_disk_is_late(small: World) -> None:
    queue = small.queue()
    small.store.is_delaying = True
    fill(small, queue, 1, 30, "mixed")
    assert queue.purge() == 30
    while small.store.complete():
        small.turn()
    assert (small.rows(SEGMENTS), small.rows(SCRATCH)) == ({}, {})
    assert queue.memory_bytes == 0


def test_life_goes_on_after_a_purge(small: World) -> None:
    queue = small.queue()
    fill(small, queue, 1, 40, "mixed")
    queue.purge()
    fill(small, queue, 41, 80, "mixed")
    assert small.bodies(queue) == numbers(41, 80)


# --- reading ---


def count_reads(world: World) -> list[bytes]:
    """The keys of segments that are asked for from now on, as they are."""
    reads: list[bytes] = []
    fetch = world.store.fetch

    def counting(number: int, wanted: list[tuple[int, bytes]]) -> None:
        reads.extend(key for _, key in wanted)
        fetch(number, wanted)

    world.store.fetch = counting  # type: ignore[method-assign] # the test's own store
    return reads


def test_messages_are_read_before_the_head_gets_there(small: World) -> None:
    queue = small.queue()
    fill(small, queue, 1, 60, "persistent", batch=2)
    reads = count_reads(small)
    take(small, queue, 5)
    assert reads == [], "they were in memory"
    small.take(queue)
    assert reads == [key_at(small, first) for first in range(5, 5 + 2 * len(reads), 2)]
    sizes = [read_segment_key(key)[4] for key in reads]
    assert sum(sizes[:-1]) < WINDOW // 4 <= sum(sizes), "a quarter of the window"
    assert len(queue.ready) == 0, "segment by segment"


def test_kinds_that_alternate_are_read_no_more_often_than_others() -> None:
    """What was on its way to disk before the window was full lies in one segment, the rest in another."""
    world = World(window_bytes=400 * MESSAGE_BYTES)
    queue = world.queue()
    for number in range(1000):
        world.publish(queue, b"%03d" % number, persistent=number % 2 == 0)
    world.turn()
    reads = count_reads(world)
    assert world.bodies(queue) == [b"%03d" % number for number in range(1000)]
    assert len(reads) < 50


def test_the_head_is_waited_for_while_it_is_read(small: World) -> None:
    queue = small.queue()
    fill(small, queue, 1, 40, "persistent")
    again = small.crash()
    queue = again.find()
    again.store.is_reading = False
    assert queue.hold_ticket() == NEXT
    assert queue.get() is None
    again.turn()
    assert queue.hold_ticket() == NEXT
    assert queue.ready_count == 40
    again.store.is_reading = True
    assert again.bodies(queue) == numbers(1, 40)


def test_a_consumer_gets_what_was_read_when_it_is_there(small: World) -> None:
    fill(small, small.queue(), 1, 4, "persistent")
    again = small.crash()
    again.store.is_reading = False
    peer = again.server.peer(1)
    peer.call(1, "basic.consume", queue="q", consumer_tag="c", no_ack=True)
    assert peer.output() == []
    again.store.is_reading = True
    again.turn()
    assert again.find().ready_count == 0


def test_purge_while_it_is_being_read(small: World) -> None:
    """What comes late is of nobody: the next messages are other ones."""
    fill(small, small.queue(), 1, 40, "persistent")
    again = small.crash()
    queue = again.find()
    again.store.is_reading = False
    assert queue.hold_ticket() == NEXT
    assert queue.purge() == 40
    again.turn()
    fill(again, queue, 41, 80, "persistent")
    again.store.is_reading = True
    assert again.bodies(queue) == numbers(41, 80)
    assert (again.rows(SEGMENTS), again.rows(ACKS)) == ({}, {})


def test_deleted_while_it_is_being_read(small: World) -> None:
    fill(small, small.queue(), 1, 40, "persistent")
    again = small.crash()
    queue = again.find()
    again.store.is_reading = False
    assert queue.hold_ticket() == NEXT
    again.vhost.remove_queue(queue)
    again.turn()
    again.store.is_reading = True
    again.turn()
    assert again.journal.fetching == {}
    assert again.rows(SEGMENTS) == {}
    assert (queue.ready_count, queue.get()) == (0, None)


# --- what cannot be read ---


def spoil(world: World, key: bytes, *, is_missing: bool = False) -> None:
    rows = world.disk.tables[SEGMENTS]
    if is_missing:
        del rows[key]
    else:
        rows[key] = rows[key][:-1] + b"?"


@pytest.mark.parametrize("is_missing", [False, True])
def test_a_segment_that_cannot_be_read_is_put_away_and_the_others_go_on(
    small: World, is_missing: bool, caplog: pytest.LogCaptureFixture
) -> None:
    queue = small.queue()
    fill(small, queue, 1, 40, "persistent")
    key = key_at(small, 21)
    spoil(small, key, is_missing=is_missing)
    value = small.rows(SEGMENTS).get(key)
    assert small.bodies(queue) == numbers(1, 20) + numbers(25, 40)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    reason = "segment 21-24 is missing" if is_missing else "the checksum of segment 21-24 does not hold"
    assert f"queue 'q': {reason}: 4 messages are lost to this queue" in caplog.text
    assert queue.ready_count == 0
    assert (small.rows(SEGMENTS), small.rows(ACKS)) == ({}, {})
    assert small.rows(QUARANTINE) == ({} if value is None else {key: value}), "as it was found"
    again = small.crash()
    assert again.find().ready_count == 0


def test_a_queue_of_which_nothing_can_be_read_is_empty(small: World, caplog: pytest.LogCaptureFixture) -> None:
    fill(small, small.queue(), 1, 40, "persistent")
    again = small.crash()
    queue = again.find()
    for key in again.rows(SEGMENTS):
        spoil(again, key)
    assert queue.ready_count == 40
    assert take_head(again.server, queue) is None
    again.turn()
    assert queue.ready_count == 0
    assert len(caplog.records) == 10
    again.publish(queue, b"41")
    again.turn()
    assert again.bodies(queue) == [b"41"]


def test_what_is_held_of_a_segment_that_cannot_be_read_can_be_settled(small: World) -> None:
    """Its messages in memory go on; on disk nothing is left that speaks of them."""
    queue = small.queue()
    fill(small, queue, 1, 40, "persistent", batch=40)
    held = take(small, queue, 5)
    spoil(small, key_at(small, 1))
    settle(small, held[0])
    assert take_head(small.server, queue) is None
    small.turn()
    assert len(small.rows(QUARANTINE)) == 1
    queue.requeue([held[1]])
    assert small.bodies(queue) == [b"02"]
    settle(small, *held[2:])
    assert (small.rows(SEGMENTS), small.rows(ACKS)) == ({}, {})
    assert queue.backlog.sparse_bytes == 0


def test_a_segment_that_cannot_be_read_is_told_once(small: World, caplog: pytest.LogCaptureFixture) -> None:
    """However many runs of messages are of it."""
    queue = small.queue()
    fill(small, queue, 1, 40, "mixed", batch=40)
    (key,) = small.rows(SEGMENTS)
    spoil(small, key)
    left = []
    while (message := take_head(small.server, queue)) is not None:
        left.append(int(message.content))
    assert [number for number in left if number > 10] == [number for number in range(11, 41) if number % 3]
    assert len(caplog.records) == 1
    assert queue.ready_count == 0


def test_purge_of_what_cannot_be_read(small: World, caplog: pytest.LogCaptureFixture) -> None:
    """It has to be read when some of it is held."""
    queue = small.queue()
    fill(small, queue, 1, 40, "persistent", batch=40)
    held = small.take(queue)
    spoil(small, key_at(small, 1))
    assert queue.purge() == 39
    small.turn()
    assert queue.ready_count == 0
    assert len(caplog.records) == 1
    settle(small, held)
    assert (small.rows(SEGMENTS), small.rows(ACKS)) == ({}, {})


def test_delete_of_what_cannot_be_read(small: World) -> None:
    queue = small.queue()
    fill(small, queue, 1, 40, "persistent")
    spoil(small, key_at(small, 5))
    take(small, queue, 10)
    small.turn()
    assert len(small.rows(QUARANTINE)) == 1
    small.vhost.remove_queue(queue)
    small.turn()
    assert [small.rows(table) for table in ON_DISK] == [{}] * len(ON_DISK)


# --- everything together ---

STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["persistent", "transient", "take", "take", "ack", "ack", "requeue", "turn", "complete", "read", "purge"]
        ),
        st.integers(1, 12),
    ),
    max_size=80,
)


@given(steps=STEPS)
def test_a_queue_that_pages_is_a_list(steps: list[tuple[str, int]]) -> None:
    check_steps(steps)


@needs_interpreter
@given(steps=STEPS)
def test_a_queue_that_pages_and_compacts_is_a_list(steps: list[tuple[str, int]]) -> None:
    with small_segments():
        check_steps(steps)


def check_steps(steps: list[tuple[str, int]]) -> None:
    """Whatever happens in whatever order: the same messages, in the same order, as in a plain list."""
    world = World(window_bytes=6 * MESSAGE_BYTES)
    queue = world.queue()
    world.store.is_delaying = True
    world.store.is_reading = False
    ready: list[tuple[int, bool]] = []
    held: list[tuple[Message, int]] = []
    kept: set[int] = set()  # persistent
    count = 0
    for step, times in steps:
        if step in ("persistent", "transient"):
            for _ in range(times):
                world.publish(queue, b"%d" % count, persistent=step == "persistent")
                ready.append((count, False))
                kept |= {count} if step == "persistent" else set()
                count += 1
        elif step == "take":
            while times and ready and not queue.hold_ticket():
                message = queue.get()
                assert message is not None
                number, redelivered = ready.pop(0)
                assert (message.content, message.redelivered) == (b"%d" % number, redelivered)
                held.append((message, number))
                times -= 1
        elif step == "ack" and held:
            queue.settle(held.pop(times % len(held))[0])
        elif step == "requeue" and held:
            chosen, held = held[:times], held[times:]
            queue.requeue([message for message, _ in chosen])
            ready = sorted(ready + [(number, True) for _, number in chosen])
        elif step == "purge" and times == 1:
            assert queue.purge() == len(ready)
            ready = []
        elif step == "complete":
            world.store.complete()
        elif step == "read":
            world.store.is_reading = True
        world.turn()
        world.store.is_reading = False
        assert (queue.ready_count, queue.unacked_count) == (len(ready), len(held))
        seen = [(message.content, message.redelivered) for message in queue.peek(count)]
        assert seen == [(b"%d" % number, redelivered) for number, redelivered in ready]
    finish(world, kept, ready, held)


def finish(world: World, kept: set[int], ready: list[tuple[int, bool]], held: list[tuple[Message, int]]) -> None:
    """The disk catches up: it has what is wanted, in order, and in the end nothing."""
    world.store.is_reading = True
    world.store.is_delaying = False
    world.store.complete()
    world.turn()
    wanted = sorted(kept & ({number for number, _ in ready} | {number for _, number in held}))
    again = world.crash()
    assert again.bodies(again.find()) == [b"%d" % number for number in wanted]
    queue = world.find()
    assert world.drain(queue) == [(b"%d" % number, redelivered) for number, redelivered in ready]
    settle(world, *[message for message, _ in held])
    assert (world.rows(SEGMENTS), world.rows(SCRATCH), world.rows(ACKS)) == ({}, {}, {})
