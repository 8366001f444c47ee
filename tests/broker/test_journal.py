import pytest

from amqpd import limits
from amqpd.broker.confirms import Confirms
from amqpd.broker.journal import Journal
from amqpd.broker.owner import Owner
from amqpd.broker.ports import META, QUEUES
from tests.broker.world import World, channel_of
from tests.support.wire import DelayedStore


@pytest.fixture
def store() -> DelayedStore:
    return DelayedStore()


@pytest.fixture
def journal(store: DelayedStore) -> Journal:
    return Journal(store)


# --- batches ---


def test_nothing_is_offered_when_nothing_changed(journal: Journal, store: DelayedStore) -> None:
    journal.seal()
    assert store.waiting == []
    assert journal.is_idle()
    assert not journal.collect()


def test_a_batch_holds_its_operations_in_order(journal: Journal, store: DelayedStore) -> None:
    assert journal.put(META, b"a", b"1") == 1
    assert journal.delete(META, b"b") == 1
    assert journal.put(QUEUES, b"a", b"2") == 1
    journal.seal()
    assert store.waiting == [(1, [(META, b"a", b"1"), (META, b"b", None), (QUEUES, b"a", b"2")])]


def test_what_comes_while_the_store_is_busy_is_the_next_batch_together(journal: Journal, store: DelayedStore) -> None:
    journal.put(META, b"a", b"")
    journal.seal()
    assert journal.put(META, b"b", b"") == 2
    journal.seal()
    assert journal.put(META, b"c", b"") == 2
    journal.seal()
    assert [ticket for ticket, _ in store.waiting] == [1]
    store.complete()
    assert journal.collect()
    journal.seal()
    assert store.waiting == [(2, [(META, b"b", b""), (META, b"c", b"")])]


def test_durable_is_what_the_store_says(journal: Journal, store: DelayedStore) -> None:
    journal.put(META, b"a", b"")
    journal.seal()
    assert not journal.collect()
    assert journal.durable == 0
    store.complete()
    assert journal.collect()
    assert journal.durable == 1
    assert not journal.collect(), "no news"


def test_newest_is_the_ticket_that_holds_everything_so_far(journal: Journal, store: DelayedStore) -> None:
    assert journal.newest() == 0, "all is durable"
    journal.put(META, b"a", b"")
    assert journal.newest() == 1
    journal.seal()
    assert journal.newest() == 1, "with the store, and nothing behind it"
    journal.put(META, b"b", b"")
    assert journal.newest() == 2
    store.complete()
    journal.collect()
    journal.seal()
    store.complete()
    journal.collect()
    assert journal.newest() == 0


def test_idle_is_when_a_stop_has_nothing_to_wait_for(journal: Journal, store: DelayedStore) -> None:
    journal.put(META, b"a", b"")
    assert not journal.is_idle()
    journal.seal()
    assert not journal.is_idle()
    store.complete()
    assert not journal.is_idle(), "nobody was told yet"
    journal.collect()
    assert journal.is_idle()


# --- queues ---


def test_an_enlisted_queue_is_a_change(journal: Journal) -> None:
    world = World()
    queue = world.queue()
    world.store.is_delaying = True
    world.publish(queue, b"a")
    assert world.journal.newest() == world.journal.ticket
    assert not world.journal.is_idle()
    world.turn()
    assert len(world.store.waiting) == 1


def test_queues_hand_over_what_is_true_when_the_batch_is_sealed() -> None:
    world = World()
    queue = world.queue()
    world.store.is_delaying = True
    world.publish(queue, b"a")
    queue.purge()
    world.turn()
    assert [ops for _, ops in world.store.waiting] == [[]]


# --- who waits ---


def test_a_waiter_is_told_until_it_has_nothing_to_wait_for() -> None:
    world = World()
    world.store.is_delaying = True
    channel = channel_of(world)
    channel.confirms = Confirms()
    first = world.journal.put(META, b"a", b"")
    channel.confirms.record(first)
    channel.confirms.record(first + 1)
    world.journal.wait(channel)
    world.turn()
    world.journal.put(META, b"b", b"")
    world.complete()
    assert channel.confirms.confirmed == 1
    assert world.journal.waiters == [channel]
    world.complete()
    assert channel.confirms.confirmed == 2
    assert world.journal.waiters == []


def test_every_waiter_is_told(journal: Journal, store: DelayedStore) -> None:
    for name in "abc":
        journal.wait(Owner(name))
    journal.put(META, b"a", b"")
    journal.seal()
    assert len(journal.waiters) == 3
    store.complete()
    journal.collect()
    assert journal.waiters == []


# --- back-pressure ---


def test_overloaded_until_the_store_has_caught_up() -> None:
    world = World()
    queue = world.queue()
    journal = world.journal
    world.store.is_delaying = True
    message = bytes(limits.BATCH_HIGH_BYTES // 4)
    world.publish(queue, message, message, message)
    assert not journal.is_overloaded()
    assert not journal.is_relieved(), "more than the low mark"
    world.publish(queue, message)
    assert journal.is_overloaded(), "the high mark, and what messages cost beside their content"
    world.turn()
    assert journal.is_overloaded(), "the store has them, but the memory is not free"
    world.complete()
    assert not journal.is_overloaded()
    assert journal.is_relieved()


def test_what_is_sealed_and_what_is_open_count_together() -> None:
    world = World()
    queue = world.queue()
    world.store.is_delaying = True
    half = bytes(limits.BATCH_HIGH_BYTES // 2)
    world.publish(queue, half)
    world.turn()
    world.publish(queue, half)
    assert world.journal.is_overloaded()
    world.complete()
    assert not world.journal.is_overloaded()


def test_swamped_is_more_than_overloaded() -> None:
    world = World()
    queue = world.queue()
    world.store.is_delaying = True
    world.publish(queue, bytes(limits.BATCH_HIGH_BYTES))
    assert not world.journal.is_swamped()
    world.publish(queue, bytes(limits.BATCH_STOP_BYTES - limits.BATCH_HIGH_BYTES))
    assert world.journal.is_swamped()
    world.turn()
    assert world.journal.is_swamped()
    world.complete()
    assert not world.journal.is_swamped()


def test_transient_messages_are_no_load() -> None:
    world = World()
    queue = world.queue()
    world.publish(queue, bytes(limits.BATCH_HIGH_BYTES), persistent=False)
    assert world.journal.is_relieved()
