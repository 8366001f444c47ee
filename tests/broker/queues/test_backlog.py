"""The backlog: reading ahead, and joining segments while everything else goes on.

Which segments are joined: ``test_compaction.py``. Here a queue gets more of them than it may have, one message each.
What a queue beyond its window does: ``test_classic_on_disk.py``.
"""

import logging
from collections.abc import Callable

import pytest

from amqpd import limits
from amqpd.broker.message import Message
from amqpd.broker.ports import ACKS, NEXT, QUARANTINE, SCRATCH, SEGMENTS
from amqpd.broker.queues.classic import ClassicQueue
from amqpd.broker.queues.segments import read_segment, read_segment_key
from tests.broker.world import World
from tests.support.wire import take_head

MESSAGE_BYTES = limits.MESSAGE_OVERHEAD_BYTES + 3  # of the messages below
WINDOW = 20 * MESSAGE_BYTES
ENOUGH = limits.COMPACTION_SEGMENTS + 1
KEPT = 30


def numbers(first: int, last: int) -> list[bytes]:
    return [b"%03d" % number for number in range(first, last + 1)]


def publish(world: World, queue: ClassicQueue, first: int, last: int, *, persistent: bool = True) -> None:
    """A batch each."""
    for body in numbers(first, last):
        world.publish(queue, body, persistent=persistent)
        world.turn()


def take(world: World, queue: ClassicQueue, count: int) -> list[Message]:
    return [world.take(queue) for _ in range(count)]


def settle(world: World, *messages: Message) -> None:
    for message in messages:
        message.queue.settle(message)
    world.turn()


def stored(world: World, table: int = SEGMENTS) -> list[list[bytes]]:
    """The contents of all segments, settled or not."""
    rows = world.rows(table)
    return [[content for *_, content in read_segment(key, rows[key])] for key in sorted(rows)]


def watch(world: World) -> list[list[tuple[int, int]]]:
    """First position and size of the segments of every fetch from now on."""
    asked: list[list[tuple[int, int]]] = []
    fetch = world.store.fetch

    def watching(number: int, wanted: list[tuple[int, bytes]]) -> None:
        keys = [read_segment_key(key) for _, key in wanted]
        asked.append([(key[1], key[4]) for key in keys])
        fetch(number, wanted)

    world.store.fetch = watching  # type: ignore[method-assign] # the test's own store
    return asked


@pytest.fixture
def world() -> World:
    """Queues keep twenty messages in memory."""
    return World(window_bytes=WINDOW)


# --- reading ahead ---


def test_the_next_is_asked_for_while_there_is_some_left(world: World) -> None:
    publish(world, world.queue(), 1, 200)
    again = world.crash()
    queue = again.find()
    asked = watch(again)
    again.store.is_reading = False
    assert queue.hold_ticket() == NEXT
    assert len(asked) == 1
    again.turn()
    assert len(asked) == 1, "one at a time"
    again.store.is_reading = True
    again.turn()
    again.store.is_reading = False
    again.take(queue)  # and its mark
    left = sum(size for _, size in asked[0][1:])
    while len(asked) == 1:
        assert queue.hold_ticket() == 0, "it comes too late"
        left -= asked[0][0][1]
        queue.get()
    assert 0 < left <= queue.backlog.read_bytes // 2
    taken = queue.unacked_count
    again.store.is_reading = True
    assert again.bodies(queue) == numbers(taken + 1, 200)


def test_no_more_than_its_bytes_and_one_segment_are_asked_for(world: World) -> None:
    publish(world, world.queue(), 1, 200)
    again = world.crash()
    queue = again.find()
    asked = watch(again)
    backlog = queue.backlog
    for number in range(1, 201):
        message = again.take(queue)
        assert message.content == b"%03d" % number
        assert backlog.here_bytes <= backlog.read_bytes * 3 // 2 + 100
        queue.settle(message)
    for fetch in asked:
        assert sum(size for _, size in fetch[:-1]) < backlog.read_bytes
    firsts = [first for fetch in asked for first, _ in fetch]
    assert firsts == list(range(1, 201)), "every segment once, in order"


def test_kinds_that_alternate_are_read_once_however_large_their_segments() -> None:
    """Larger than what is asked for at a time."""
    world = World(window_bytes=WINDOW)
    queue = world.queue()
    for number, body in enumerate(numbers(1, 400)):
        world.publish(queue, body, persistent=number % 2 == 0)
    world.turn()
    assert max(len(value) for value in world.rows(SEGMENTS).values()) > queue.backlog.read_bytes
    asked = watch(world)
    assert world.bodies(queue) == numbers(1, 400)
    assert sum(len(fetch) for fetch in asked) <= 6


def test_nothing_is_read_for_a_consumer_without_credit(world: World) -> None:
    publish(world, world.queue(), 1, 100)
    again = world.crash()
    asked = watch(again)
    peer = again.server.peer(1)
    peer.call(1, "basic.qos", prefetch_count=1)
    peer.send(1, "basic.consume", queue="q", consumer_tag="c")
    again.turn()
    before = len(asked)
    for _ in range(5):
        again.turn()
    assert len(asked) == before <= 2


# --- joining ---


def filled(world: World) -> ClassicQueue:
    """One segment short of too many."""
    queue = world.queue()
    publish(world, queue, 1, ENOUGH - 1)
    assert len(world.rows(SEGMENTS)) == ENOUGH - 1
    return queue


def test_small_segments_become_one(world: World) -> None:
    queue = filled(world)
    publish(world, queue, ENOUGH, ENOUGH)
    assert stored(world) == [numbers(1, ENOUGH)]
    assert queue.ready_count == ENOUGH
    assert world.bodies(queue) == numbers(1, ENOUGH)
    assert (world.rows(SEGMENTS), world.rows(ACKS)) == ({}, {})


def test_scratch_is_joined_too() -> None:
    world = World(window_bytes=WINDOW)
    queue = world.queue(durable=False)
    publish(world, queue, 1, ENOUGH + 30, persistent=False)
    assert len(world.rows(SCRATCH)) < 60
    assert world.bodies(queue) == numbers(1, ENOUGH + 30)
    assert (world.rows(SCRATCH), world.rows(ACKS)) == ({}, {})


def test_kinds_that_alternate_stay_in_order(world: World) -> None:
    queue = world.queue()
    for number in range(1, 2 * ENOUGH):
        publish(world, queue, number, number, persistent=number % 3 > 0)
    assert len(world.rows(SEGMENTS)) + len(world.rows(SCRATCH)) < ENOUGH
    assert world.bodies(queue) == numbers(1, 2 * ENOUGH - 1)
    assert (world.rows(SEGMENTS), world.rows(SCRATCH), world.rows(ACKS)) == ({}, {}, {})


def test_the_room_of_what_is_settled_is_given_back() -> None:
    """One message in ten is left, a hundred to a segment."""
    world = World()
    queue = world.queue()
    body = bytes(2000)
    for _ in range(70):
        world.publish(queue, *[body] * 100)
        world.turn()
    assert sum(len(value) for value in world.rows(SEGMENTS).values()) > 3 * limits.COMPACTION_BYTES
    held = take(world, queue, 7000)
    for at in range(0, 7000, 100):
        settle(world, *[message for message in held[at : at + 100] if message.position % 10])
    wanted = [message.position for message in held if not message.position % 10]
    room = sum(len(value) for value in world.rows(SEGMENTS).values())
    assert room < limits.COMPACTION_BYTES + 2 * len(wanted) * len(body)
    again = world.crash()
    assert [again.take(again.find()).position for _ in wanted] == wanted
    settle(world, *[message for message in held if not message.position % 10])
    assert (world.rows(SEGMENTS), world.rows(ACKS)) == ({}, {})


def test_it_comes_to_rest(world: World) -> None:
    """Whatever cannot be joined any further is not tried for ever."""
    queue = world.queue()
    body = bytes(limits.SMALL_SEGMENT_BYTES)
    for _ in range(ENOUGH + 5):
        world.publish(queue, body)
        world.turn()
    assert len(world.rows(SEGMENTS)) == ENOUGH + 5, "none of them is small"
    asked = watch(world)
    world.publish(queue, body)
    world.turn()
    assert asked == []
    assert queue.backlog.compact_above_segments >= 2 * ENOUGH
    assert world.journal.is_idle()


# --- looking ---


def watch_reads(world: World) -> list[int]:
    """First positions of the segments that are read at once, from now on."""
    read: list[int] = []
    inner = world.disk.read

    def watching(table: int, key: bytes) -> bytes | None:
        read.append(read_segment_key(key)[1])
        return inner(table, key)

    world.store.read = watching  # type: ignore[method-assign] # the test's own store
    return read


def test_who_looks_at_a_few_reads_a_few(world: World) -> None:
    for first in range(1, 200, 10):
        world.publish(world.queue(), *numbers(first, first + 9))
        world.turn()
    again = world.crash()
    read = watch_reads(again)
    assert [message.content for message in again.find().peek(13)] == numbers(1, 13)
    assert read == [1, 11]


def test_who_looks_at_kinds_that_alternate_reads_each_segment_once(world: World) -> None:
    queue = world.queue()
    for body in numbers(1, 200):
        world.publish(queue, body, persistent=int(body) % 2 == 0)
    world.turn()
    assert len(queue.backlog.away) > 100
    read = watch_reads(world)
    assert [message.content for message in queue.peek(200)] == numbers(1, 200)
    assert len(read) == len(set(read)) == 2


def test_who_looks_finds_what_was_read_and_then_joined(world: World) -> None:
    filled(world)
    world = world.crash()
    queue = world.find()
    assert queue.hold_ticket() == NEXT
    world.turn()
    here = [run.segment for run in queue.backlog.here]
    publish(world, queue, ENOUGH, ENOUGH)
    assert [segment for segment in here if segment.successor is not None] == here != []
    assert [message.content for message in queue.peek(ENOUGH)] == numbers(1, ENOUGH)


def test_who_looks_sees_nothing_of_what_is_damaged_and_tells_nobody(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    publish(world, world.queue(), 1, 5)
    (key,) = [key for key in world.rows(SEGMENTS) if read_segment_key(key)[1] == 3]
    again = world.crash()
    again.disk.tables[SEGMENTS][key] = again.rows(SEGMENTS)[key][:-1] + b"?"
    queue = again.find()
    before = again.rows(SEGMENTS)
    assert [message.content for message in queue.peek(10)] == [*numbers(1, 2), *numbers(4, 5)]
    again.turn()
    assert (caplog.records, queue.ready_count, again.rows(SEGMENTS)) == ([], 5, before)


# --- joining while everything else goes on ---


def reading(world: World) -> ClassicQueue:
    """What is to be joined is being read."""
    queue = filled(world)
    world.store.is_reading = False
    publish(world, queue, ENOUGH, ENOUGH)
    assert queue.backlog.compacting_number
    return queue


def joined(world: World) -> None:
    """It is read, joined, and on disk."""
    world.store.is_reading = True
    world.turn()


def test_settled_between_asking_and_arriving(world: World) -> None:
    queue = filled(world)
    held = take(world, queue, KEPT)
    world.store.is_reading = False
    publish(world, queue, ENOUGH, ENOUGH)
    settle(world, *held[:5])
    queue.settle(held[5])  # and one of which the open batch does not know yet
    joined(world)
    assert len(world.rows(SEGMENTS)) == 1
    assert stored(world)[0] == numbers(7, ENOUGH)
    again = world.crash()
    assert again.bodies(again.find()) == numbers(7, ENOUGH)
    assert world.bodies(queue) == numbers(KEPT + 1, ENOUGH)
    settle(world, *held[6:])
    assert (world.rows(SEGMENTS), world.rows(ACKS)) == ({}, {})


@pytest.mark.parametrize("is_late", [False, True])
def test_settled_after_it_was_joined(world: World, is_late: bool) -> None:
    """Before or after the batch with the new segment: the map of what is settled is the new one's."""
    queue = filled(world)
    held = take(world, queue, KEPT)
    publish(world, queue, ENOUGH, ENOUGH - 1)
    world.store.is_reading = False
    publish(world, queue, ENOUGH, ENOUGH)
    world.store.is_delaying = True
    world.store.is_reading = True
    world.turn()
    if is_late:
        finish(world)
    settle(world, *held[1::2])
    finish(world)
    again = world.crash()
    wanted = numbers(1, KEPT)[::2] + numbers(KEPT + 1, ENOUGH)
    assert again.bodies(again.find()) == wanted
    assert (again.rows(SEGMENTS), again.rows(ACKS)) == ({}, {})
    queue.requeue(held[::2])
    world.store.is_delaying = False
    assert world.bodies(queue) == wanted


def finish(world: World) -> None:
    """The disk catches up."""
    while world.store.complete():
        world.turn()


def test_requeued_after_it_was_joined(world: World) -> None:
    queue = filled(world)
    held = take(world, queue, KEPT)
    publish(world, queue, ENOUGH, ENOUGH)
    queue.requeue(held)
    assert world.bodies(queue) == numbers(1, ENOUGH)
    assert (world.rows(SEGMENTS), world.rows(ACKS)) == ({}, {})


def test_what_was_joined_is_not_read_before_it_is_on_disk(world: World) -> None:
    filled(world)
    world = world.crash()
    queue = world.find()
    world.store.is_reading = False
    publish(world, queue, ENOUGH, ENOUGH)
    world.store.is_delaying = True
    world.store.is_reading = True
    world.turn()
    assert len(world.store.waiting) == 1, "the new segment"
    asked = watch(world)
    assert queue.hold_ticket() == NEXT
    assert queue.get() is None
    world.turn()
    assert asked == []
    assert [message.content for message in queue.peek(ENOUGH)] == numbers(1, ENOUGH), "who only looks need not wait"
    world.store.is_delaying = False
    world.complete()
    assert queue.hold_ticket() != 0
    assert world.bodies(queue) == numbers(1, ENOUGH)
    assert world.rows(SEGMENTS) == {}


@pytest.mark.parametrize("is_committed", [False, True])
def test_a_crash_before_or_after_the_batch(world: World, is_committed: bool) -> None:
    queue = reading(world)
    world.store.is_delaying = True
    joined(world)
    assert world.store.waiting
    if is_committed:
        world.complete()
    again = world.crash()
    assert len(again.rows(SEGMENTS)) == (1 if is_committed else ENOUGH)
    assert again.bodies(again.find()) == numbers(1, ENOUGH)
    assert again.rows(SEGMENTS) == {}
    assert queue.ready_count == ENOUGH


def test_acks_of_a_joined_segment_come_back(world: World) -> None:
    queue = filled(world)
    publish(world, queue, ENOUGH, ENOUGH)
    held = take(world, queue, KEPT)
    settle(world, *held[3::4])
    assert (len(world.rows(SEGMENTS)), len(world.rows(ACKS))) == (1, 1)
    again = world.crash()
    wanted = [body for at, body in enumerate(numbers(1, ENOUGH)) if at >= KEPT or at % 4 != 3]
    assert again.find().ready_count == len(wanted)
    assert again.bodies(again.find()) == wanted


def test_joined_again_and_again(world: World) -> None:
    queue = world.queue()
    held: list[Message] = []
    for start in range(1, 3 * ENOUGH, KEPT):
        publish(world, queue, start, start + KEPT - 1)
        held += take(world, queue, KEPT)
        settle(world, *held[-KEPT::3])
    wanted = [message.content for at, message in enumerate(held) if at % KEPT % 3]
    again = world.crash()
    assert len(again.rows(SEGMENTS)) < ENOUGH
    assert again.bodies(again.find()) == wanted
    settle(world, *[message for message in held if not message.settled])
    assert (world.rows(SEGMENTS), world.rows(ACKS)) == ({}, {})


def purge(world: World, queue: ClassicQueue) -> None:
    queue.purge()
    world.turn()


def delete(world: World, queue: ClassicQueue) -> None:
    world.vhost.remove_queue(queue)
    world.turn()


@pytest.mark.parametrize("end", [purge, delete])
@pytest.mark.parametrize("held_count", [0, 5, 25])
def test_the_end_while_it_is_read_to_be_joined(
    world: World, end: Callable[[World, ClassicQueue], None], held_count: int
) -> None:
    queue = filled(world)
    held = take(world, queue, held_count)
    world.store.is_reading = False
    publish(world, queue, ENOUGH, ENOUGH)
    assert queue.backlog.compacting_number
    end(world, queue)
    joined(world)
    assert sum(map(len, stored(world))) == (held_count if end is purge else 0)
    settle(world, *held)
    assert (world.rows(SEGMENTS), world.rows(ACKS)) == ({}, {})
    assert queue.backlog.segments == {}


@pytest.mark.parametrize("end", [purge, delete])
@pytest.mark.parametrize("held_count", [0, 5, 25])
def test_the_end_while_what_was_joined_is_written(
    world: World, end: Callable[[World, ClassicQueue], None], held_count: int
) -> None:
    """Of the new segment some messages are held: which, is only to be found in what is not on disk yet."""
    queue = filled(world)
    held = take(world, queue, held_count)
    world.store.is_reading = False
    publish(world, queue, ENOUGH, ENOUGH)
    world.store.is_delaying = True
    joined(world)
    end(world, queue)
    assert queue.ready_count == 0
    finish(world)
    again = world.crash()
    if end is purge:
        assert again.bodies(again.find()) == numbers(1, held_count)
    settle(world, *held)
    finish(world)
    assert (world.rows(SEGMENTS), world.rows(ACKS)) == ({}, {})


def test_what_is_being_read_is_not_joined(world: World) -> None:
    """It would be gone when it is asked for."""
    filled(world)
    world = world.crash()
    queue = world.find()
    world.store.is_reading = False
    publish(world, queue, ENOUGH, ENOUGH)
    assert queue.backlog.compacting_number
    assert queue.hold_ticket() == NEXT
    coming = queue.backlog.coming_segments
    assert coming
    number, wanted = world.store.asked.pop(0)
    world.store.inner.fetch(number, wanted)
    world.turn()
    assert all(segment.successor is None for segment in coming)
    world.store.is_reading = True
    assert world.bodies(queue) == numbers(1, ENOUGH)


# --- joining what is damaged ---


def test_a_damaged_segment_is_not_joined_and_is_told_when_it_is_read(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    queue = filled(world)
    (key,) = [key for key in world.rows(SEGMENTS) if read_segment_key(key)[1] == 100]
    damaged = world.rows(SEGMENTS)[key][:-1] + b"?"
    world.disk.tables[SEGMENTS][key] = damaged
    publish(world, queue, ENOUGH, ENOUGH)
    assert caplog.records == []
    assert queue.ready_count == ENOUGH
    found = []
    while (message := take_head(world.server, queue)) is not None:
        found.append(message.content)
        queue.settle(message)
    world.turn()
    assert found == numbers(1, 99) + numbers(101, ENOUGH)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (
            logging.ERROR,
            "queue 'q': the checksum of segment 100-100 does not hold: 1 messages are lost to this queue; "
            "what is left of them is in quarantine",
        )
    ]
    assert world.rows(QUARANTINE) == {key: damaged}
    assert (world.rows(SEGMENTS), world.rows(ACKS)) == ({}, {})
    assert queue.ready_count == 0
