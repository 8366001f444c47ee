"""The priority queue: the highest first, in order within each, in memory, on disk and over restarts.

What its parts are: ``test_classic.py``. Any steps against a plain list: at the end.
"""

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amqpd import limits
from amqpd.broker import records
from amqpd.broker.arguments import QueueSettings
from amqpd.broker.message import Message
from amqpd.broker.ports import ACKS, QUARANTINE, QUEUES, SCRATCH, SEGMENTS, STATES
from amqpd.broker.queues.priority import PriorityQueue
from amqpd.broker.queues.segments import read_segment_key
from amqpd.protocols.amqp091.hot_codec import body_of
from tests.broker.world import World, arguments
from tests.support.small_segments import needs_interpreter, small_segments
from tests.support.wire import take_head

ON_DISK = (SEGMENTS, ACKS, STATES, SCRATCH, QUARANTINE)
WINDOW = 10 * (limits.MESSAGE_OVERHEAD_BYTES + 32)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def queue(world: World) -> PriorityQueue:
    return world.priorities()


def send(world: World, *bodies: bytes, persistent: bool = True) -> None:
    """Each body begins with its priority, in a batch of its own."""
    for body in bodies:
        world.send("q", body, priority=int(body[:1]), persistent=persistent)
        world.turn()


def batch(world: World, *bodies: bytes, persistent: bool = True) -> None:
    for body in bodies:
        world.send("q", body, priority=int(body[:1]), persistent=persistent)


def served(bodies: list[bytes]) -> list[bytes]:
    """In the order in which they come."""
    return sorted(bodies, key=lambda body: -int(body[:1]))


def many(count: int) -> list[bytes]:
    return [b"%d %03d" % (number * 7 % 4, number) for number in range(count)]


def flags(world: World, queue: PriorityQueue) -> list[tuple[bytes, bool]]:
    return [(body_of(content), redelivered) for content, redelivered in world.drain(queue)]


# --- order ---


def test_the_highest_first_and_in_order_within(world: World, queue: PriorityQueue) -> None:
    everything = [b"1a", b"5a", b"0a", b"5b", b"1b", b"9a"]
    batch(world, *everything)
    assert world.received() == [b"9a", b"5a", b"5b", b"1a", b"1b", b"0a"]


def test_without_a_priority_it_is_the_lowest(world: World, queue: PriorityQueue) -> None:
    world.send("q", b"none")
    batch(world, b"0 zero", b"1 one")
    assert world.received() == [b"1 one", b"none", b"0 zero"]


@pytest.mark.parametrize("levels", [1, 9, 255])
def test_beyond_the_highest_is_the_highest(world: World, levels: int) -> None:
    world.priorities(levels=levels)
    for priority in (levels, 255, levels - 1, min(levels + 1, 255)):
        world.send("q", b"%d" % priority, priority=priority)
    found = world.received()
    assert found[-1] == b"%d" % (levels - 1)
    assert found[:-1] == [b"%d" % priority for priority in (levels, 255, min(levels + 1, 255))]


def test_what_comes_later_goes_first_if_it_is_higher(world: World, queue: PriorityQueue) -> None:
    batch(world, b"1a", b"1b")
    assert body_of(world.take(queue).content) == b"1a"
    batch(world, b"2a")
    assert world.received() == [b"2a", b"1b"]


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 4, 5])
def test_peeking_takes_the_highest_first_too(world: World, queue: PriorityQueue, limit: int) -> None:
    batch(world, b"1a", b"2a", b"1b", b"2b")
    assert [body_of(message.content) for message in queue.peek(limit)] == [b"2a", b"2b", b"1a", b"1b"][:limit]


def test_requeued_is_redelivered_in_its_place(world: World, queue: PriorityQueue) -> None:
    batch(world, b"2a", b"2b", b"1a", b"1b")
    taken = [world.take(queue) for _ in range(3)]
    queue.requeue([taken[2], taken[1]])
    batch(world, b"3a")
    queue.requeue([taken[0]])
    assert flags(world, queue) == [(b"3a", False), (b"2a", True), (b"2b", True), (b"1a", True), (b"1b", False)]


def test_counts(world: World, queue: PriorityQueue) -> None:
    batch(world, b"1a", b"2a", b"3a")
    first, second = world.take(queue), world.take(queue)
    assert (queue.ready_count, queue.unacked_count) == (1, 2)
    queue.settle(first)
    queue.requeue([second])
    assert (queue.ready_count, queue.unacked_count) == (2, 0)
    assert queue.purge() == 2
    assert (queue.ready_count, queue.head()) == (0, None)
    batch(world, b"2b")
    assert world.received() == [b"2b"]


def test_levels_that_nobody_uses_cost_nothing(world: World) -> None:
    queue = world.priorities(levels=255)
    assert queue.parts == {}
    world.send("q", b"a", priority=200)
    world.send("q", b"b")
    assert sorted(queue.parts) == [0, 200]


def test_consumers_are_the_queue_s(world: World, queue: PriorityQueue) -> None:
    """A budget, credit and turns count for all parts together."""
    peer = world.server.peer(1)
    peer.call(1, "basic.qos", prefetch_count=2)
    peer.call(1, "basic.consume", queue="q", consumer_tag="c")
    batch(world, b"1a", b"2a", b"3a")
    world.turn()
    assert [said.body for said in peer.output()] == [b"3a", b"2a"]
    batch(world, b"9a")
    peer.send(1, "basic.ack", delivery_tag=2, multiple=True)
    peer.turn()
    assert [said.body for said in peer.output()] == [b"9a", b"1a"]
    assert (queue.ready_count, queue.unacked_count) == (0, 2)
    peer.hang_up()
    assert flags(world, queue) == [(b"9a", True), (b"1a", True)]


# --- expiry and overflow ---


def test_what_expires_at_the_head_of_all(world: World) -> None:
    """RabbitMQ: lower ones wait behind higher ones that live."""
    queue = world.priorities(message_ttl=50)
    batch(world, b"1a")
    world.pass_ms(30)
    batch(world, b"2a")
    world.pass_ms(30)
    assert queue.ready_count == 2
    world.pass_ms(30)
    assert queue.ready_count == 0


def test_what_is_too_much_is_dropped_at_the_head_of_all(world: World) -> None:
    """RabbitMQ: the highest of them."""
    world.priorities(max_length=2)
    batch(world, b"9a", b"1a", b"5a")
    world.turn()
    assert world.received() == [b"5a", b"1a"]


def test_bytes_are_counted_over_all_parts(world: World) -> None:
    queue = world.priorities(max_length_bytes=6)
    batch(world, b"1a", b"2a", b"3a")
    world.turn()
    assert (queue.ready_count, queue.ready_bytes) == (3, 6)
    message = world.take(queue)
    assert queue.ready_bytes == 4
    queue.requeue([message])
    assert queue.ready_bytes == 6
    batch(world, b"1b")
    world.turn()
    assert queue.ready_bytes == 6
    assert world.received() == [b"2a", b"1a", b"1b"]
    assert queue.ready_bytes == 0


def test_bytes_are_counted_when_a_policy_asks(world: World, queue: PriorityQueue) -> None:
    batch(world, b"1a", b"2a", b"3a")
    queue.apply(QueueSettings(max_priority=9, max_length_bytes=4))
    assert queue.ready_bytes == 6
    world.turn()
    assert world.received() == [b"2a", b"1a"]


def test_a_full_queue_refuses(world: World) -> None:
    queue = world.priorities(max_length=1, overflow="reject-publish")
    batch(world, b"1a", b"2a")
    world.turn()
    assert queue.ready_count == 1
    assert world.received() == [b"1a"]


def test_the_dead_are_of_the_queue(world: World) -> None:
    world.queue("grave")
    world.priorities(message_ttl=10, dead_letter_exchange="", dead_letter_routing_key="grave")
    batch(world, b"1a", b"2a")
    world.pass_ms(20)
    assert world.received("grave") == [b"2a", b"1a"]


# --- the store ---


def test_parts_are_in_the_row(world: World, queue: PriorityQueue) -> None:
    """The lowest has the queue's own number."""
    batch(world, b"0a", b"3a", b"7a")
    world.turn()
    (value,) = world.rows(QUEUES).values()
    (key,) = world.rows(QUEUES)
    fact = records.decode(key, value)
    assert fact["id"] == queue.queue_id
    assert fact["parts"] == {"3": queue.parts[3].queue_id, "7": queue.parts[7].queue_id}
    assert len({queue.queue_id, *fact["parts"].values()}) == 3
    assert queue.parts[0].queue_id == queue.queue_id


def test_messages_and_parts_come_back(world: World, queue: PriorityQueue) -> None:
    everything = many(20)
    batch(world, *everything)
    world.turn()
    again = world.crash()
    twin = again.find_priorities()
    assert {priority: part.queue_id for priority, part in twin.parts.items()} == {
        priority: part.queue_id for priority, part in queue.parts.items()
    }
    assert twin.ready_count == 20
    assert again.received() == served(everything)
    numbers = [again.queue("other").queue_id, *(part.queue_id for part in twin.parts.values())]
    assert len(set(numbers)) == len(numbers), "no number is used twice"


def test_what_comes_after_a_restart_is_behind_what_was_there(world: World, queue: PriorityQueue) -> None:
    batch(world, b"1a", b"2a")
    world.turn()
    again = world.crash()
    batch(again, b"2b", b"1b", b"3a")
    again.turn()
    third = again.crash()
    assert third.received() == [b"3a", b"2a", b"2b", b"1a", b"1b"]


def test_a_crash_brings_back_as_redelivered_what_may_have_been_delivered(world: World, queue: PriorityQueue) -> None:
    """Of its priority only."""
    batch(world, b"1a", b"2a")
    world.turn()
    world.take(queue)
    again = world.crash()
    assert flags(again, again.find_priorities()) == [(b"2a", True), (b"1a", False)]


def test_a_clean_stop_says_exactly_what_was_delivered(world: World, queue: PriorityQueue) -> None:
    batch(world, b"1a", b"2a", b"2b", b"2c")
    queue.settle(world.take(queue))
    world.take(queue)
    again = world.stop()
    assert flags(again, again.find_priorities()) == [(b"2b", True), (b"2c", False), (b"1a", False)]


def test_what_was_acked_stays_away(world: World, queue: PriorityQueue) -> None:
    batch(world, *many(12))
    taken = [world.take(queue) for _ in range(6)]
    for message in taken[::2]:
        queue.settle(message)
    world.turn()
    again = world.crash()
    kept = served(many(12))
    assert again.received() == [kept[1], kept[3], kept[5], *kept[6:]]


def test_a_part_that_was_made_is_known_before_its_messages(world: World, queue: PriorityQueue) -> None:
    """Its number and they are in one batch."""
    world.store.is_delaying = True
    batch(world, b"4a")
    world.turn()
    before = world.crash()
    assert before.find_priorities().ready_count == 0
    world.complete()
    after = world.crash()
    assert after.received() == [b"4a"]


def test_a_queue_that_is_deleted_leaves_nothing(world: World, queue: PriorityQueue) -> None:
    batch(world, *many(12))
    batch(world, *many(12), persistent=False)
    world.turn()
    message = world.take(queue)
    world.turn()
    world.vhost.remove_queue(queue)
    world.turn()
    assert [world.rows(table) for table in (*ON_DISK, QUEUES)] == [{}] * 6
    assert queue.ready_count == 0
    queue.requeue([message])
    queue.reject(message)
    world.turn()
    assert world.crash().vhost.queues == {}


def test_purged_is_purged_on_disk(world: World, queue: PriorityQueue) -> None:
    batch(world, *many(12))
    world.turn()
    assert queue.purge() == 12
    world.turn()
    assert world.rows(SEGMENTS) == {}
    assert world.crash().find_priorities().ready_count == 0


def test_a_queue_that_is_exclusive_stores_nothing(world: World) -> None:
    queue = world.vhost.declare_queue(
        "q", world.owner, durable=True, exclusive=True, auto_delete=False, arguments=arguments(max_priority=5)
    )
    batch(world, b"1a", b"2a")
    world.turn()
    assert [world.rows(table) for table in (*ON_DISK, QUEUES)] == [{}] * 6
    assert world.bodies(queue)
    assert isinstance(queue, PriorityQueue)


def test_after_a_restart_what_expires_does_so_without_a_consumer(world: World) -> None:
    world.priorities(message_ttl=50)
    batch(world, *many(12))
    world.turn()
    again = world.crash()
    assert again.find_priorities().ready_count == 12
    again.pass_ms(60)
    assert again.find_priorities().ready_count == 0
    assert again.rows(SEGMENTS) == {}


def test_a_limit_in_bytes_holds_after_a_restart(world: World) -> None:
    world.priorities(max_length_bytes=4000)
    batch(world, *[b"%d" % (number % 3) + b"x" * 999 for number in range(4)])
    world.turn()
    again = world.crash()
    twin = again.find_priorities()
    assert abs(int(twin.ready_bytes) - 4000) < 500, "an estimate"
    batch(again, b"2" + b"y" * 999)
    again.turn()
    assert twin.ready_count <= 4
    assert len(again.received()) <= 4
    assert twin.ready_bytes == 0


# --- beyond the window ---


@pytest.fixture
def small() -> World:
    """Parts that keep ten messages in memory."""
    world = World(window_bytes=WINDOW)
    world.priorities()
    return world


@pytest.mark.parametrize("persistent", [True, False])
def test_order_is_kept_on_disk(small: World, persistent: bool) -> None:
    everything = many(120)
    send(small, *everything, persistent=persistent)
    assert any(part.paging for part in small.find_priorities().parts.values())
    assert small.received() == served(everything)
    assert small.rows(SEGMENTS) == small.rows(SCRATCH) == {}


def test_a_consumer_gets_what_is_on_disk_in_order(small: World) -> None:
    everything = many(120)
    send(small, *everything)
    peer = small.server.peer(1)
    peer.send(1, "basic.consume", queue="q", consumer_tag="c", no_ack=True)
    peer.turn()
    assert [said.body for said in peer.output()[1:]] == served(everything)
    assert small.find_priorities().ready_count == 0


def test_what_is_higher_goes_first_while_the_rest_is_on_disk(small: World) -> None:
    queue = small.find_priorities()
    send(small, *[b"1 %03d" % number for number in range(60)])
    taken = [small.take(queue) for _ in range(20)]
    send(small, b"2a", *[b"1 %03d" % number for number in range(60, 70)])
    queue.requeue(taken[10:])
    left = [b"2a", *[b"1 %03d" % number for number in range(10, 70)]]
    assert small.received() == left


def test_a_head_that_is_being_read_is_waited_for(small: World) -> None:
    """Nobody lower goes first meanwhile."""
    send(small, *many(120))
    again = small.crash()
    queue = again.find_priorities()
    again.store.is_reading = False
    assert queue.head() is None
    again.turn()
    peer = again.server.peer(1)
    peer.call(1, "basic.consume", queue="q", consumer_tag="c", no_ack=True)
    assert queue.ready_count == 120
    again.store.is_reading = True
    again.turn()
    assert [said.body for said in peer.output()] == served(many(120))


@needs_interpreter
def test_parts_are_compacted(small: World) -> None:
    with small_segments():
        everything = many(120)
        send(small, *everything)
        queue = small.find_priorities()
        kept: list[Message] = []
        while queue.ready_count:
            message = small.take(queue)
            if queue.ready_count % 3 == 0:
                kept.append(message)
            else:
                queue.settle(message)
            small.turn()
        assert len(small.rows(SEGMENTS)) < 30
        again = small.crash()
        assert again.received() == [body_of(message.content) for message in kept]


# --- damage ---


def spoil(world: World, part: int, first: int) -> None:
    """The segment of a part that begins at this position is junk now."""
    for key in world.rows(SEGMENTS):
        if read_segment_key(key)[:2] == (part, first):
            world.disk.tables[SEGMENTS][key] = b"junk"
            return
    raise AssertionError("no such segment")


@pytest.mark.parametrize("first", [1, 2, 3])
def test_what_is_damaged_is_lost_and_nothing_else(
    world: World, queue: PriorityQueue, first: int, caplog: pytest.LogCaptureFixture
) -> None:
    send(world, b"2a", b"2b", b"2c", b"1a", b"1b")
    spoil(world, queue.parts[2].queue_id, first)
    with caplog.at_level(logging.ERROR):
        again = world.crash()
        twin = again.find_priorities()
        expected = [body for body in (b"2a", b"2b", b"2c", b"1a", b"1b") if body != (b"2a", b"2b", b"2c")[first - 1]]
        assert again.received() == expected
    assert "1 messages are lost to this queue" in caplog.text
    assert (twin.ready_count, twin.unacked_count, twin.head()) == (0, 0, None)
    assert len(again.rows(QUARANTINE)) == 1
    assert again.crash().find_priorities().ready_count == 0


def test_a_part_that_is_lost_as_a_whole_makes_way(world: World, queue: PriorityQueue) -> None:
    send(world, b"2a", b"2b", b"1a")
    for first in (1, 2):
        spoil(world, queue.parts[2].queue_id, first)
    again = world.crash()
    message = take_head(again.server, again.find_priorities())
    assert message is not None
    assert body_of(message.content) == b"1a"
    again.turn()
    assert again.find_priorities().ready_count == 0


# --- any steps ---


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[str, int, bool]]:
    verbs = ("send", "send", "send", "take", "take", "settle", "requeue", "crash", "purge")
    kinds = st.tuples(st.sampled_from(verbs), st.integers(0, 7), st.booleans())
    return draw(st.lists(kinds, min_size=10, max_size=60))


def run(steps: list[tuple[str, int, bool]], window_bytes: int) -> None:
    """The queue against a plain list of (priority, number), the unacked ones aside."""
    world = World(window_bytes=window_bytes)
    world.priorities(levels=5)
    ready: list[tuple[int, int, bool]] = []  # minus the priority, number, persistent
    unacked: list[tuple[Message, tuple[int, int, bool]]] = []
    for number, (verb, value, flag) in enumerate(steps):
        queue = world.find_priorities()
        match verb:
            case "send":
                world.send("q", b"%03d" % number * (1 + 50 * flag), priority=value, persistent=value % 2 == 0)
                ready.append((-min(value, 5), number, value % 2 == 0))
                ready.sort()
            case "take" if ready:
                unacked.append((world.take(queue), ready.pop(0)))
                assert body_of(unacked[-1][0].content)[:3] == b"%03d" % unacked[-1][1][1]
            case "settle" if unacked:
                queue.settle(unacked.pop(value % len(unacked))[0])
            case "requeue" if unacked:
                message, entry = unacked.pop(value % len(unacked))
                queue.requeue([message])
                ready = sorted([*ready, entry])
            case "purge" if flag and value == 0:
                assert queue.purge() == len(ready)
                ready = []
            case "crash" if flag:
                world.turn()
                world = world.crash()
                ready = sorted([entry for entry in (*ready, *(entry for _, entry in unacked)) if entry[2]])
                unacked = []
        world.turn()
        queue = world.find_priorities()
        assert queue.ready_count == len(ready)
        seen = [body_of(message.content)[:3] for message in queue.peek(len(steps))]
        assert seen == [b"%03d" % number for _, number, _ in ready]
    assert [body[:3] for body in world.received()] == [b"%03d" % number for _, number, _ in ready]


@settings(max_examples=60)
@given(steps=steps())
def test_any_steps(steps: list[tuple[str, int, bool]]) -> None:
    run(steps, limits.QUEUE_WINDOW_BYTES)


@needs_interpreter
@settings(max_examples=60)
@given(steps=steps())
def test_any_steps_on_disk(steps: list[tuple[str, int, bool]]) -> None:
    with small_segments():
        run(steps, 1200)
