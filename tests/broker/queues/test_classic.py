"""The classic queue in memory: order, requeues, deliveries, and the marks ahead of them.

What it has on disk: ``test_classic_on_disk.py``.
"""

import pytest

from amqpd import limits
from amqpd.broker.ports import STATES
from amqpd.broker.queues.classic import ClassicQueue
from amqpd.broker.queues.segments import queue_key
from amqpd.broker.records import unseal
from amqpd.protocols.amqp091.hot_codec import body_of
from tests.broker.world import World, arguments
from tests.support import raw_peer
from tests.support.wire import Peer


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def queue(world: World) -> ClassicQueue:
    return world.queue()


def numbers(first: int, last: int) -> list[bytes]:
    return [b"%d" % number for number in range(first, last + 1)]


def counts(queue: ClassicQueue) -> tuple[int, int]:
    return queue.ready_count, queue.unacked_count


def consuming(world: World, *, no_ack: bool = False, prefetch: int = 0) -> Peer:
    peer = world.server.peer(1)
    peer.call(1, "basic.qos", prefetch_count=prefetch)
    peer.send(1, "basic.consume", queue="q", consumer_tag="c", no_ack=no_ack)
    peer.turn()
    return peer


def delivered(peer: Peer) -> list[bytes]:
    return [said.body for said in peer.output() if said.name == "basic.deliver"]


def frames(*bodies: bytes) -> list[bytes]:
    """Contents that a channel can send."""
    return [
        raw_peer.frame(raw_peer.CONTENT_HEADER, 1, raw_peer.content_header(len(body), raw_peer.NO_PROPERTIES))
        + raw_peer.frame(raw_peer.BODY, 1, body)
        for body in bodies
    ]


# --- order ---


@pytest.mark.parametrize("persistent", [True, False])
def test_first_in_first_out(world: World, queue: ClassicQueue, persistent: bool) -> None:
    world.publish(queue, *numbers(1, 5), persistent=persistent)
    world.turn()
    assert world.drain(queue) == [(body, False) for body in numbers(1, 5)]


def test_an_empty_queue_has_no_head(queue: ClassicQueue) -> None:
    assert queue.hold_ticket() == 0
    assert queue.get() is None
    assert counts(queue) == (0, 0)


def test_counts(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, *numbers(1, 3))
    assert counts(queue) == (3, 0)
    first, second = world.take(queue), world.take(queue)
    assert counts(queue) == (1, 2)
    queue.settle(first)
    assert counts(queue) == (1, 1)
    queue.requeue([second])
    assert counts(queue) == (2, 0)


def test_positions_grow_and_stay(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, *numbers(1, 3))
    taken = [world.take(queue) for _ in range(3)]
    assert [message.position for message in taken] == [1, 2, 3]
    queue.requeue(taken)
    assert [world.take(queue).position for _ in range(3)] == [1, 2, 3]


# --- requeue ---


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 4, 5])
def test_peeking_sees_what_comes_next(world: World, queue: ClassicQueue, limit: int) -> None:
    """Requeued ones first. Any steps: ``test_classic_on_disk.py``."""
    world.publish(queue, *numbers(1, 4))
    queue.requeue([world.take(queue), world.take(queue)][::-1])
    expected = [(b"1", True), (b"2", True), (b"3", False), (b"4", False)]
    assert [(message.content, message.redelivered) for message in queue.peek(limit)] == expected[:limit]
    assert counts(queue) == (4, 0)
    assert world.drain(queue) == expected


def test_peeking_sees_returns_in_the_order_in_which_they_came_where_they_count(world: World) -> None:
    queue = world.queue(arguments=arguments(queue_type="quorum"))
    world.send("q", b"1", b"2", b"3")
    first, second = world.take(queue), world.take(queue)
    queue.requeue([second])
    queue.requeue([first])
    assert [body_of(message.content) for message in queue.peek(3)] == [b"2", b"1", b"3"]
    assert world.received() == [b"2", b"1", b"3"]


def test_requeued_is_redelivered_in_its_place(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, *numbers(1, 4))
    taken = [world.take(queue) for _ in range(3)]
    queue.requeue([taken[1]])
    assert world.take(queue) is taken[1]
    queue.requeue([taken[2], taken[0]])
    queue.requeue([taken[1]])
    assert world.drain(queue) == [(b"1", True), (b"2", True), (b"3", True), (b"4", False)]


def test_requeued_again_and_again(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, *numbers(1, 3))
    for _ in range(5):
        message = world.take(queue)
        assert message.content == b"1"
        queue.requeue([message])
    assert world.bodies(queue) == numbers(1, 3)


def test_requeued_goes_to_another_consumer(world: World, queue: ClassicQueue) -> None:
    peers = [consuming(world, prefetch=10) for _ in range(2)]
    world.publish(queue, *frames(*numbers(1, 4)))
    world.turn()
    assert [delivered(peer) for peer in peers] == [[b"1", b"3"], [b"2", b"4"]]
    peers[0].hang_up()
    world.turn()
    again = [(said.body, said.args["redelivered"]) for said in peers[1].output()]
    assert again == [(b"1", True), (b"3", True)]


def test_nothing_comes_back_to_a_deleted_queue(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, *numbers(1, 2))
    message = world.take(queue)
    world.vhost.remove_queue(queue)
    queue.requeue([message])
    assert queue.ready_count == 0
    world.turn()


# --- deliveries ---


def test_deliveries_stop_without_credit_and_go_on_with_it(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, *frames(*numbers(1, 5)))
    peer = consuming(world, prefetch=2)
    assert delivered(peer) == numbers(1, 2)
    assert counts(queue) == (3, 2)
    peer.send(1, "basic.ack", delivery_tag=2, multiple=True)
    peer.turn()
    assert delivered(peer) == numbers(3, 4)


def test_what_needs_no_ack_is_settled_with_its_delivery(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, *frames(*numbers(1, 3)))
    peer = consuming(world, no_ack=True)
    assert delivered(peer) == numbers(1, 3)
    assert counts(queue) == (0, 0)
    assert world.crash().find().ready_count == 0


def test_a_budget_bounds_the_deliveries_of_a_turn(world: World) -> None:
    queue = world.queue("brief", durable=False)
    peer = world.server.peer(1)
    peer.call(1, "basic.consume", queue="brief", no_ack=True)
    world.publish(queue, *frames(*numbers(1, 5)))
    assert queue.pump(3) is True
    assert counts(queue) == (2, 0)
    assert queue.pump(2) is True, "nothing is left, but nobody looked"
    assert queue.pump(2) is False


# --- marks ---


def mark(world: World, queue: ClassicQueue) -> int:
    """The position up to which a crash now would bring messages back as redelivered."""
    key = queue_key(queue.queue_id)
    value = world.rows(STATES).get(key)
    return 0 if value is None else int.from_bytes(unseal(key, value), "big")


def test_no_stored_message_is_delivered_before_its_mark_is_durable(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, *frames(b"1", b"2"))
    world.turn()
    world.store.is_delaying = True
    peer = consuming(world)
    assert delivered(peer) == []
    assert mark(world, queue) == 0
    world.complete()
    assert delivered(peer) == numbers(1, 2)
    assert mark(world, queue) > 2


def test_the_mark_is_asked_for_when_the_first_consumer_comes(world: World, queue: ClassicQueue) -> None:
    """So that the first message need not wait for it: not even for its own batch."""
    peer = consuming(world)
    assert mark(world, queue) == 1 + limits.DELIVERED_AHEAD
    world.store.is_delaying = True
    world.publish(queue, *frames(b"1"))
    world.turn()
    assert delivered(peer) == [b"1"]
    again = world.crash()
    assert again.find().ready_count == 0, "it was not confirmed"


@pytest.mark.parametrize("kind", ["ready", "transient", "marked"])
def test_a_consumer_asks_for_no_mark_that_is_of_no_use(world: World, kind: str) -> None:
    """What is ready asks for its own; what no crash brings back needs none; one that is there is enough."""
    queue = world.queue(durable=kind != "transient")
    if kind == "marked":
        world.publish(queue, b"1")
        queue.settle(world.take(queue))
        world.turn()
    if kind == "ready":
        world.publish(queue, b"1")
    asked = queue.asked_mark
    queue.on_consumer()
    assert queue.asked_mark == asked


def test_no_stored_message_is_got_before_its_mark_is_durable(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, *numbers(1, 2))
    world.turn()
    world.store.is_delaying = True
    ticket = queue.hold_ticket()
    assert ticket == world.journal.ticket
    assert queue.hold_ticket() == ticket, "it is asked for once"
    world.turn()
    assert queue.hold_ticket() == ticket
    world.complete()
    assert queue.hold_ticket() == 0
    assert mark(world, queue) == 1 + limits.DELIVERED_AHEAD


def test_what_was_marked_ahead_waits_for_nothing(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, b"1")
    world.take(queue)
    world.store.is_delaying = True
    world.publish(queue, b"2")
    assert queue.hold_ticket() == 0, "not even for its own batch"


@pytest.mark.parametrize("kind", ["transient message", "exclusive queue", "transient queue"])
def test_what_no_crash_brings_back_needs_no_mark(world: World, kind: str) -> None:
    queue = world.queue(durable=kind != "transient queue", exclusive=kind == "exclusive queue")
    world.store.is_delaying = True
    world.publish(queue, b"1", persistent=kind != "transient message")
    assert queue.hold_ticket() == 0


def test_order_is_kept_behind_a_message_that_waits(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, *frames(b"1"), persistent=False)
    world.publish(queue, *frames(b"2"))
    world.publish(queue, *frames(b"3"), persistent=False)
    world.turn()
    world.store.is_delaying = True
    peer = consuming(world)
    assert delivered(peer) == [b"1"]
    world.complete()
    assert delivered(peer) == [b"2", b"3"]


def test_the_next_mark_is_asked_for_in_good_time(world: World, queue: ClassicQueue) -> None:
    """So that deliveries need not wait for it."""
    world.publish(queue, b"1")
    world.take(queue)
    first = mark(world, queue)
    count = limits.DELIVERED_AHEAD // 2 + 1
    world.publish(queue, *[b"x"] * count, persistent=False)
    for _ in range(count):
        queue.get()
    queue.mark_dirty()
    world.turn()
    assert mark(world, queue) == count + 1 + limits.DELIVERED_AHEAD
    assert queue.delivered < first, "long before it is reached"


def test_deliveries_wait_at_the_mark_when_the_disk_is_late(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, b"1")
    world.take(queue)
    world.publish(queue, *[b"x"] * limits.DELIVERED_AHEAD, persistent=False)
    world.publish(queue, b"last")
    for _ in range(limits.DELIVERED_AHEAD):
        assert queue.hold_ticket() == 0
        queue.get()
    world.store.is_delaying = True
    assert queue.hold_ticket() == world.journal.ticket
    world.turn()
    world.complete()
    assert queue.hold_ticket() == 0


# --- what the next start knows of deliveries ---


def test_a_crash_brings_back_as_redelivered_whatever_may_have_been_delivered(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, *numbers(1, 3))
    world.take(queue)
    again = world.crash()
    twin = again.find()
    again.publish(twin, b"4")
    again.turn()
    assert again.drain(twin) == [(b"1", True), (b"2", True), (b"3", True), (b"4", False)]


def test_a_crash_before_any_delivery_marks_nothing(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, *numbers(1, 2))
    world.turn()
    again = world.crash()
    assert again.drain(again.find()) == [(b"1", False), (b"2", False)]


def test_a_clean_stop_says_exactly_what_was_delivered(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, *numbers(1, 4))
    world.take(queue)
    queue.settle(world.take(queue))
    again = world.stop()
    assert mark(again, again.find()) == 2
    assert again.drain(again.find()) == [(b"1", True), (b"3", False), (b"4", False)]


def test_requeued_before_a_clean_stop_is_redelivered(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, *numbers(1, 3))
    queue.requeue([world.take(queue), world.take(queue)])
    again = world.stop()
    assert again.drain(again.find()) == [(b"1", True), (b"2", True), (b"3", False)]


def test_a_clean_stop_without_a_delivery_has_nothing_to_say(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, b"1")
    world.turn()
    again = world.stop()
    assert mark(again, again.find()) == 0
    assert again.drain(again.find()) == [(b"1", False)]


def test_what_a_crash_left_in_doubt_stays_redelivered_after_a_clean_stop(world: World, queue: ClassicQueue) -> None:
    """Also when the second run did not get as far as the first one."""
    world.publish(queue, *numbers(1, 3))
    for _ in range(3):
        world.take(queue)
    again = world.crash()
    again.take(again.find())
    third = again.stop()
    assert third.drain(third.find()) == [(b"1", True), (b"2", True), (b"3", True)]


def test_redelivered_start_after_start(world: World, queue: ClassicQueue) -> None:
    world.publish(queue, *numbers(1, 3))
    world.take(queue)
    for _ in range(3):
        world = world.stop()
    assert world.drain(world.find()) == [(b"1", True), (b"2", False), (b"3", False)]


def test_messages_after_a_crash_are_new(world: World, queue: ClassicQueue) -> None:
    """Their positions are beyond the mark."""
    world.publish(queue, b"1")
    queue.settle(world.take(queue))
    world.turn()
    again = world.crash()
    again.publish(again.find(), b"2")
    again.turn()
    third = again.crash()
    assert third.drain(third.find()) == [(b"2", False)]
