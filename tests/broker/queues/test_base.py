"""What all kinds of queues share, on a classic one."""

import pytest

from amqpd.broker.consumers import Consumer
from amqpd.broker.queues.classic import ClassicQueue
from tests.broker.world import World, channel_of


@pytest.fixture
def world() -> World:
    return World()


def consumer_of(world: World, queue: ClassicQueue) -> Consumer:
    return Consumer("c", queue, channel_of(world), {}, no_ack=False, exclusive=False, prefetch=1)


@pytest.mark.parametrize(
    ("durable", "exclusive", "on_disk"),
    [(True, False, True), (False, False, False), (True, True, False), (False, True, False)],
)
def test_on_disk_is_what_is_durable_and_outlives_its_connection(
    world: World, durable: bool, exclusive: bool, on_disk: bool
) -> None:
    queue = world.queue(durable=durable, exclusive=exclusive)
    assert queue.on_disk is on_disk
    assert queue.durable is durable
    assert (queue.owner is world.owner) is exclusive


def test_noted_once_a_turn(world: World) -> None:
    queue = world.queue()
    for _ in range(3):
        queue.mark_dirty()
    assert list(world.broker.turn.dirty) == [queue]
    world.turn()
    assert not queue.dirty
    queue.mark_dirty()
    assert list(world.broker.turn.dirty) == [queue]


def test_a_new_consumer_has_the_queue_pumped(world: World) -> None:
    queue = world.queue()
    consumer = consumer_of(world, queue)
    queue.add_consumer(consumer)
    assert queue.consumers.all == [consumer]
    assert queue.dirty


def test_credit_that_is_back_has_the_queue_pumped(world: World) -> None:
    queue = world.queue()
    consumer = consumer_of(world, queue)
    queue.add_consumer(consumer)
    world.turn()
    queue.activate(consumer)
    assert not queue.dirty, "it is in the ring already"
    consumer.unacked = 1
    assert queue.consumers.next() is None
    queue.activate(consumer)
    assert list(world.broker.turn.dirty) == [queue]
    assert consumer.active


def test_a_cancelled_consumer_changes_nothing(world: World) -> None:
    queue = world.queue()
    consumer = consumer_of(world, queue)
    queue.add_consumer(consumer)
    queue.consumers.remove(consumer)
    world.turn()
    queue.activate(consumer)
    assert not queue.dirty
    assert not consumer.active
