"""What all kinds of queues share, on a classic one."""

from typing import Any

import pytest

from amqpd import limits
from amqpd.broker import contents
from amqpd.broker.arguments import QueueSettings
from amqpd.broker.bindings import Binding
from amqpd.broker.consumers import Consumer
from amqpd.broker.ports import QUEUES, SCRATCH, SEGMENTS
from amqpd.broker.queues.classic import ClassicQueue
from amqpd.protocols.amqp091.hot_codec import body_of
from tests.broker.world import World, arguments, channel_of
from tests.support import wire
from tests.support.raw_peer import decode_properties
from tests.support.wire import Peer, Said


@pytest.fixture
def world() -> World:
    return World()


def consuming(world: World, *, prefetch: int = 0) -> Peer:
    """A consumer of "q" on a connection of its own."""
    peer = world.server.peer(1)
    peer.call(1, "basic.qos", prefetch_count=prefetch)
    peer.send(1, "basic.consume", queue="q", consumer_tag="c")
    peer.turn()
    return peer


def deliveries(peer: Peer) -> list[Said]:
    return [said for said in peer.output() if said.name == "basic.deliver"]


def bodies(peer: Peer) -> list[bytes]:
    return [said.body for said in deliveries(peer)]


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


# --- messages that expire ---


def test_a_message_expires_when_its_time_is_over(world: World) -> None:
    queue = world.queue(arguments=arguments(message_ttl=50))
    world.send("q", b"a", b"b")
    world.turn()
    world.pass_ms(49)
    assert queue.ready_count == 2
    world.pass_ms(2)
    assert queue.ready_count == 0
    assert world.rows(SEGMENTS) == {}, "nor does the disk have it any more"


@pytest.mark.parametrize(
    ("of_queue", "own", "ends"), [(None, "30", 30), (50, "30", 30), (50, "90", 50), (50, None, 50)]
)
def test_the_shorter_time_counts(world: World, of_queue: int | None, own: str | None, ends: int) -> None:
    queue = world.queue(arguments=arguments() if of_queue is None else arguments(message_ttl=of_queue))
    own_time: dict[str, Any] = {} if own is None else {"expiration": own}
    world.send("q", b"a", **own_time)
    world.pass_ms(ends - 1)
    assert queue.ready_count == 1
    world.pass_ms(2)
    assert queue.ready_count == 0


def test_messages_expire_at_the_head_only(world: World) -> None:
    """As RabbitMQ has it: what is behind one that lives longer waits, and goes with it."""
    queue = world.queue()
    world.send("q", b"long", expiration="500")
    world.send("q", b"short", b"short", expiration="10")
    world.send("q", b"forever")
    world.pass_ms(100)
    assert queue.ready_count == 4
    assert body_of(world.take(queue).content) == b"long"
    assert queue.ready_count == 1, "before anybody counts"
    assert world.received() == [b"forever"]


def test_the_next_head_expires_in_its_time(world: World) -> None:
    queue = world.queue()
    for time in ("10", "20", "30"):
        world.send("q", b"a", expiration=time)
    world.turn()
    left = []
    for passing in (5, 10, 10, 10):
        world.pass_ms(passing)
        left.append(queue.ready_count)
    assert left == [3, 2, 1, 0]


def test_who_is_there_in_time_gets_what_lives_for_no_time(world: World) -> None:
    world.queue(arguments=arguments(message_ttl=0))
    peer = consuming(world)
    world.send("q", b"a")
    world.turn()
    assert bodies(peer) == [b"a"]


def test_what_lives_for_no_time_is_gone_when_nobody_is_there(world: World) -> None:
    queue = world.queue()
    world.send("q", b"a", b"b", expiration="0")
    world.turn()
    assert queue.ready_count == 0
    consuming(world, prefetch=1)
    world.send("q", b"1", b"2", expiration="0")
    world.turn()
    assert (queue.ready_count, queue.unacked_count) == (0, 1), "no credit is nobody"


def test_nobody_gets_what_has_expired(world: World) -> None:
    """Not even where it lies behind one that had to be taken first."""
    world.queue()
    world.send("q", b"a", expiration="20")
    world.send("q", b"b", expiration="10")
    world.send("q", b"c")
    world.pass_ms(15)
    peer = consuming(world)
    assert bodies(peer) == [b"a", b"c"]


def test_unacked_messages_do_not_expire(world: World) -> None:
    queue = world.queue(arguments=arguments(message_ttl=10))
    world.send("q", b"a")
    message = world.take(queue)
    world.pass_ms(100)
    assert queue.unacked_count == 1
    queue.requeue([message])
    world.turn()
    assert (queue.ready_count, queue.unacked_count) == (0, 0), "but when they come back"


def test_a_requeued_message_keeps_its_time(world: World) -> None:
    queue = world.queue(arguments=arguments(message_ttl=100))
    world.send("q", b"a")
    message = world.take(queue)
    world.pass_ms(60)
    queue.requeue([message])
    world.pass_ms(30)
    assert queue.ready_count == 1
    world.pass_ms(20)
    assert queue.ready_count == 0


def test_a_queue_has_one_deadline_however_many_messages(world: World) -> None:
    world.queue(arguments=arguments(message_ttl=100))
    for _ in range(20):
        world.send("q", *[b"a"] * 10)
        world.pass_ms(1)
    assert world.broker.turn.timers.live == 1


@pytest.mark.parametrize("is_waiting", [True, False])
def test_who_was_there_in_time_gets_what_expires_while_its_mark_is_written(world: World, is_waiting: bool) -> None:
    queue = world.queue(arguments=arguments(message_ttl=10))
    world.send("q", b"a")
    world.turn()
    world.store.is_delaying = True
    peer = world.server.peer(1)
    if not is_waiting:
        channel = peer.connection.channels[1]
        channel.channel_prefetch = channel.outstanding = 1
    peer.call(1, "basic.consume", queue="q", consumer_tag="c")
    world.pass_ms(5000)
    world.complete()
    assert bodies(peer) == [b"a"] * is_waiting
    assert queue.ready_count == 0


def test_waiting_for_the_mark_is_nobodys_turn(world: World) -> None:
    """Who is first in turn is so when it is written, too."""
    world.queue(arguments=arguments(message_ttl=1000))
    world.send("q", b"a", b"b")
    world.turn()
    world.store.is_delaying = True
    peers = [consuming(world) for _ in range(2)]
    world.complete()
    assert [bodies(peer) for peer in peers] == [[b"a"], [b"b"]]


def test_what_is_on_disk_expires_too(world: World) -> None:
    """Nobody asks for it: the queue itself has to look after it."""
    world = World(window_bytes=2000)
    queue = world.queue(arguments=arguments(message_ttl=50))
    for number in range(40):
        world.send("q", b"%d" % number, persistent=number % 2 == 0)
        world.turn()
    assert queue.paging
    world.pass_ms(60)
    assert queue.ready_count == 0
    assert (world.rows(SEGMENTS), world.rows(SCRATCH)) == ({}, {})


def test_another_time_is_for_messages_to_come(world: World) -> None:
    queue = world.queue()
    world.send("q", b"old")
    queue.apply(QueueSettings(message_ttl_ms=10))
    world.send("q", b"new")
    world.pass_ms(20)
    assert queue.ready_count == 2
    assert world.received() == [b"old"]


# --- queues that are full ---


@pytest.mark.parametrize(("limit", "left"), [({"max_length": 3}, 3), ({"max_length_bytes": 8}, 4)])
def test_the_oldest_are_dropped(world: World, limit: dict[str, int], left: int) -> None:
    world.queue(arguments=arguments(**limit))
    everything = [b"%02d" % number for number in range(9)]
    world.send("q", *everything)
    world.turn()
    assert world.received() == everything[-left:]


def test_what_is_unacked_does_not_count(world: World) -> None:
    queue = world.queue(arguments=arguments(max_length=2))
    world.send("q", b"1", b"2")
    taken = [world.take(queue) for _ in range(2)]
    world.send("q", b"3", b"4")
    world.turn()
    assert (queue.ready_count, queue.unacked_count) == (2, 2)
    queue.requeue(taken)
    world.turn()
    assert world.received() == [b"3", b"4"], "what comes back is the oldest"


def test_a_queue_of_no_length_is_for_who_is_there(world: World) -> None:
    queue = world.queue(arguments=arguments(max_length=0))
    world.send("q", b"a")
    world.turn()
    assert queue.ready_count == 0
    peer = consuming(world)
    world.send("q", b"b")
    world.turn()
    assert bodies(peer) == [b"b"]


def test_the_bytes_of_bodies_are_counted_and_nothing_else(world: World) -> None:
    queue = world.queue(arguments=arguments(max_length_bytes=10))
    world.send("q", b"12345", b"", b"67890", headers={"k": "v" * 100})
    world.turn()
    assert (queue.ready_count, queue.ready_bytes) == (3, 10)
    first = world.take(queue)
    assert queue.ready_bytes == 5
    queue.requeue([first])
    assert queue.ready_bytes == 10
    queue.purge()
    assert queue.ready_bytes == 0
    world.send("q", b"x" * 11)
    world.turn()
    assert queue.ready_count == 0, "larger than the queue"


def test_a_new_limit_counts_at_once(world: World) -> None:
    queue = world.queue()
    world.send("q", b"11", b"22", b"33", b"44")
    world.turn()
    queue.apply(QueueSettings(max_length=3))
    world.turn()
    assert queue.ready_count == 3
    queue.apply(QueueSettings(max_length_bytes=4))
    assert queue.ready_bytes == 6, "counted now"
    world.turn()
    assert world.received() == [b"33", b"44"]
    queue.apply(QueueSettings())
    world.send("q", *[b"x"] * 9)
    world.turn()
    assert queue.ready_count == 9


def test_a_limit_holds_on_disk(world: World) -> None:
    world = World(window_bytes=2000)
    queue = world.queue(arguments=arguments(max_length=30))
    everything = [b"%d" % number for number in range(60)]
    for body in everything:
        world.send("q", body, persistent=int(body) % 2 == 0)
        world.turn()
    assert queue.paging
    assert queue.ready_count == 30
    assert world.received() == everything[-30:]


def test_bytes_on_disk_are_estimated(world: World) -> None:
    """At the next start no message is read: nearly as many as were there."""
    queue = world.queue(arguments=arguments(max_length_bytes=100_000))
    world.send("q", *[b"x" * 1000] * 50)
    world.turn()
    again = world.crash()
    assert again.find().ready_count == 50
    assert abs(int(again.find().ready_bytes) - int(queue.ready_bytes)) < 2500
    again.send("q", *[b"y" * 1000] * 60)
    again.turn()
    assert 95 <= again.find().ready_count <= 105
    assert len(again.received()) <= 105
    assert again.find().ready_bytes == 0


def test_bytes_are_counted_wherever_a_message_is(world: World) -> None:
    """In memory, behind the window, back from a consumer, on disk."""
    world = World(window_bytes=2000)
    queue = world.queue()
    for number in range(20):
        world.send("q", b"x" * 50, persistent=number % 2 == 0)
        world.turn()
    world.send("q", *[b"y" * 50] * 5)
    queue.requeue([world.take(queue), world.take(queue)])
    queue.apply(QueueSettings(max_length_bytes=10_000))
    assert queue.ready_bytes == 25 * 50
    world.send("q", *[b"z" * 50] * 10)
    world.turn()
    assert queue.ready_bytes == 35 * 50
    assert len(world.received()) == 35
    assert queue.ready_bytes == 0


def test_what_cannot_be_read_counts_for_nothing(world: World) -> None:
    world.queue(arguments=arguments(max_length_bytes=10_000))
    for body in (b"x" * 50, b"y" * 30):
        world.send("q", body)
        world.turn()
    first = min(world.rows(SEGMENTS))
    world.disk.tables[SEGMENTS][first] = b"junk"
    again = world.crash()
    assert again.find().ready_bytes == 30
    assert again.received() == [b"y" * 30]


# --- queues that refuse ---


@pytest.fixture
def publisher(world: World) -> Peer:
    made = world.server.peer(1)
    made.call(1, "confirm.select")
    return made


def answers(peer: Peer) -> list[tuple[str, int, bool]]:
    return [(said.name, said.args["delivery_tag"], said.args["multiple"]) for said in peer.output()]


@pytest.mark.parametrize("limit", [{"max_length": 2}, {"max_length_bytes": 3}])
def test_a_full_queue_refuses_what_is_new(world: World, publisher: Peer, limit: dict[str, int]) -> None:
    world.queue(arguments=arguments(overflow="reject-publish", **limit))
    for body in (b"1", b"2", b"33", b"44"):
        publisher.publish(1, "", "q", body)
    publisher.turn()
    assert answers(publisher) == [("basic.ack", 2, True), ("basic.nack", 4, True)]
    assert world.received() == [b"1", b"2"]
    publisher.publish(1, "", "q", b"5")
    publisher.turn()
    assert answers(publisher) == [("basic.ack", 5, False)]


def test_what_consumers_can_take_does_not_count(world: World, publisher: Peer) -> None:
    world.queue(arguments=arguments(overflow="reject-publish", max_length=1))
    peer = consuming(world, prefetch=3)
    for body in (b"1", b"2", b"3", b"4", b"5"):
        publisher.publish(1, "", "q", body)
    publisher.turn()
    assert bodies(peer) == [b"1", b"2", b"3"]
    assert answers(publisher) == [("basic.ack", 4, True), ("basic.nack", 5, False)]


def test_a_full_queue_is_no_reason_to_keep_a_message_from_another_one(world: World, publisher: Peer) -> None:
    for name, limit in (("q", 0), ("r", 5)):
        world.queue(name, arguments=arguments(overflow="reject-publish", max_length=limit))
        world.vhost.bind(Binding("amq.fanout", name, True, ""))
    publisher.publish(1, "amq.fanout", "", b"a", mandatory=True)
    publisher.turn()
    assert answers(publisher) == [("basic.nack", 1, False)], "refused by one of them, and routed: not returned"
    assert (world.received("q"), world.received("r")) == ([], [b"a"])


def test_a_refused_message_is_a_dead_letter_where_that_is_wanted(world: World, publisher: Peer) -> None:
    grave = {"dead_letter_exchange": "", "dead_letter_routing_key": "grave"}
    world.queue("grave")
    world.queue("q", arguments=arguments(overflow="reject-publish-dlx", max_length=1, **grave))
    world.queue("r", arguments=arguments(overflow="reject-publish", max_length=1, **grave))
    for body in (b"1", b"2"):
        publisher.publish(1, "", "q", body)
        publisher.publish(1, "", "r", body)
    publisher.turn()
    assert answers(publisher) == [("basic.ack", 2, True), ("basic.nack", 4, True)]
    assert reasons(world, "grave") == [(b"2", "maxlen")]


def test_a_queue_that_refuses_drops_nothing(world: World) -> None:
    """Not even when more comes back than it may have."""
    queue = world.queue(arguments=arguments(overflow="reject-publish", max_length=1))
    world.send("q", b"1")
    message = world.take(queue)
    world.send("q", b"2")
    queue.requeue([message])
    world.turn()
    assert world.received() == [b"1", b"2"]


# --- dead letters ---


def grave(world: World, **words: str | int) -> ClassicQueue:
    """The queue "q", whose dead messages go to "grave"."""
    world.queue("grave")
    return world.queue(arguments=arguments(dead_letter_exchange="", dead_letter_routing_key="grave", **words))


def reasons(world: World, name: str) -> list[tuple[bytes, str]]:
    """Body and reason of the newest death of each message of a queue, taken."""
    found = []
    for content in world.bodies(world.find(name)):
        headers = contents.read_headers(content)
        reason = headers["x-last-death-reason"].value
        assert isinstance(reason, str)
        found.append((body_of(content), reason))
    return found


def test_what_expires_is_a_dead_letter(world: World) -> None:
    grave(world, message_ttl=10)
    world.send("q", b"1", b"2")
    world.pass_ms(20)
    assert reasons(world, "grave") == [(b"1", "expired"), (b"2", "expired")]


def test_what_is_too_much_is_a_dead_letter(world: World) -> None:
    grave(world, max_length=1)
    world.send("q", b"1", b"2", b"3")
    world.turn()
    assert reasons(world, "grave") == [(b"1", "maxlen"), (b"2", "maxlen")]


@pytest.mark.parametrize("method", [("basic.reject", {}), ("basic.nack", {"multiple": True})])
def test_what_nobody_wants_is_a_dead_letter(world: World, method: tuple[str, dict[str, bool]]) -> None:
    queue = grave(world)
    world.send("q", b"1")
    peer = consuming(world)
    peer.send(1, method[0], delivery_tag=1, requeue=False, **method[1])
    peer.turn()
    assert queue.unacked_count == 0
    assert reasons(world, "grave") == [(b"1", "rejected")]


def test_what_is_acked_or_purged_or_goes_with_its_queue_is_none(world: World) -> None:
    queue = grave(world, expires=50)
    world.send("q", b"1", b"2", b"3")
    queue.settle(world.take(queue))
    queue.purge()
    world.send("q", b"4")
    message = world.take(queue)
    world.send("q", b"5")
    world.pass_ms(100)
    assert queue.deleted
    queue.reject(message)
    world.turn()
    assert (queue.unacked_count, world.find("grave").ready_count) == (0, 0)


def test_without_its_exchange_a_message_just_dies(world: World) -> None:
    queue = world.queue(arguments=arguments(dead_letter_exchange="nowhere", max_length=1))
    world.send("q", b"1", b"2")
    world.turn()
    assert queue.ready_count == 1


def test_dead_here_and_alive_there_are_one_batch(world: World) -> None:
    """At least once, whenever the broker dies."""
    grave(world, message_ttl=10)
    world.send("q", b"1")
    world.turn()
    world.store.is_delaying = True
    world.pass_ms(20)
    before = world.crash()
    assert (before.find("q").ready_count, before.find("grave").ready_count) == (0, 1), "it expires again"
    world.complete()
    after = world.crash()
    assert (after.find("q").ready_count, reasons(after, "grave")) == (0, [(b"1", "expired")])


def test_what_dies_on_disk_is_read_first(world: World) -> None:
    world = World(window_bytes=2000)
    grave(world, message_ttl=50)
    everything = [b"%d" % number for number in range(40)]
    for body in everything:
        world.send("q", body)
        world.turn()
    world.pass_ms(60)
    assert reasons(world, "grave") == [(body, "expired") for body in everything]


def test_many_deaths_take_turns_and_whoever_gets_waits_for_them(world: World) -> None:
    """A turn has its bound; nobody gets what has expired meanwhile."""
    queue = grave(world)
    count = 3 * limits.TURN_DELIVERIES // limits.DEATH_DELIVERIES
    world.send("q", *[b"x"] * count, expiration="10")
    world.send("q", b"alive")
    world.turn()
    peer = world.server.peer(1)
    world.now_ms += 20
    world.broker.turn.begin((world.now_ms - int(world.broker.turn.epoch_ms)) / 1000.0)
    peer.send(1, "basic.get", queue="q", no_ack=True)
    assert 1 < queue.ready_count < count + 1
    peer.turn()
    (said,) = peer.output()
    assert (said.body, said.args["message_count"]) == (b"alive", 0)
    assert world.find("grave").ready_count == count


# --- how often a message may come back ---


def quorum(world: World, **words: str | int) -> ClassicQueue:
    return world.queue(arguments=arguments(queue_type="quorum", **words))


def test_returns_are_counted_and_told(world: World) -> None:
    queue = quorum(world)
    world.send("q", b"1")
    peer = consuming(world)
    told = []
    for tag in range(1, 4):
        (said,) = deliveries(peer)
        headers = decode_properties(said.properties).get("headers", {})
        told.append((said.args["redelivered"], headers.get("x-delivery-count")))
        peer.send(1, "basic.nack", delivery_tag=tag, requeue=True)
        peer.turn()
    assert told == [(False, None), (True, 1), (True, 2)]
    assert queue.ready_count + queue.unacked_count == 1


def test_beyond_its_limit_a_message_is_dead(world: World) -> None:
    world.queue("grave")
    queue = quorum(world, delivery_limit=2, dead_letter_exchange="", dead_letter_routing_key="grave")
    world.send("q", b"1", b"2")
    for _ in range(3):
        queue.requeue([world.take(queue)])
        world.turn()
    assert reasons(world, "grave") == [(b"1", "delivery_limit")]
    assert (queue.ready_count, queue.unacked_count) == (1, 0)


def test_a_limit_of_no_returns(world: World) -> None:
    queue = quorum(world, delivery_limit=0)
    world.send("q", b"1")
    queue.requeue([world.take(queue)])
    world.turn()
    assert (queue.ready_count, queue.unacked_count) == (0, 0)


def test_a_classic_queue_counts_nothing(world: World) -> None:
    queue = world.queue()
    world.send("q", b"1")
    for _ in range(30):
        queue.requeue([world.take(queue)])
    assert world.take(queue).returns == 0


# --- queues that nobody uses ---


def test_a_queue_that_nobody_uses_goes(world: World) -> None:
    queue = world.queue(arguments=arguments(expires=100))
    world.send("q", b"1")
    world.pass_ms(99)
    assert "q" in world.vhost.queues
    world.pass_ms(1)
    assert queue.deleted
    assert (world.vhost.queues, world.rows(QUEUES), world.rows(SEGMENTS)) == ({}, {}, {})


@pytest.mark.parametrize("use", ["declare", "passive", "get", "consume"])
def test_whoever_uses_a_queue_keeps_it(world: World, use: str) -> None:
    world.queue(arguments=arguments(expires=100))
    peer = world.server.peer(1)
    for _ in range(5):
        world.pass_ms(60)
        match use:
            case "declare":
                peer.call(1, "queue.declare", queue="q", durable=True, arguments={"x-expires": 100})
            case "passive":
                peer.call(1, "queue.declare", queue="q", passive=True)
            case "get":
                peer.send(1, "basic.get", queue="q")
                peer.turn()
                assert peer.output()[-1].name == "basic.get-empty"
            case _:
                peer.call(1, "basic.consume", queue="q", consumer_tag="c")
                peer.call(1, "basic.cancel", consumer_tag="c")
    world.pass_ms(99)
    assert "q" in world.vhost.queues
    world.pass_ms(1)
    assert "q" not in world.vhost.queues


def test_publishing_to_a_queue_is_no_use_of_it(world: World) -> None:
    world.queue(arguments=arguments(expires=100))
    world.pass_ms(60)
    world.send("q", b"1")
    world.pass_ms(60)
    assert "q" not in world.vhost.queues


def test_a_queue_with_a_consumer_stays(world: World) -> None:
    world.queue(arguments=arguments(expires=100))
    peer = consuming(world)
    world.pass_ms(1000)
    assert "q" in world.vhost.queues
    peer.hang_up()
    world.pass_ms(99)
    assert "q" in world.vhost.queues, "its time begins when the last one leaves"
    world.pass_ms(1)
    assert "q" not in world.vhost.queues


def test_a_queue_that_is_deleted_leaves_no_deadline(world: World) -> None:
    for _ in range(3):
        queue = world.queue(arguments=arguments(expires=100_000, message_ttl=50_000))
        world.send("q", b"1")
        world.turn()
        world.vhost.remove_queue(queue)
        world.turn()
    assert world.broker.turn.timers.live == 0


def test_a_policy_may_end_it_or_begin_it(world: World) -> None:
    queue = world.queue(arguments=arguments(expires=100))
    queue.apply(QueueSettings())
    world.pass_ms(1000)
    assert "q" in world.vhost.queues
    queue.apply(QueueSettings(expires_ms=10))
    world.pass_ms(10)
    assert "q" not in world.vhost.queues


def test_a_restart_begins_its_time_anew(world: World) -> None:
    world.queue(arguments=arguments(expires=100))
    world.pass_ms(60)
    again = world.crash()
    again.pass_ms(60)
    assert "q" in again.vhost.queues
    again.pass_ms(40)
    assert "q" not in again.vhost.queues


# --- answers that count ---


@pytest.mark.parametrize("limit", [{"max_length": 1}, {"message_ttl": 0}])
def test_who_asks_in_the_same_breath_is_told_of_what_is_left(world: World, limit: dict[str, int]) -> None:
    world.queue(arguments=arguments(**limit))
    left = int("max_length" in limit)
    peer = world.server.peer(1)
    for ask in ("queue.declare", "queue.purge", "queue.delete"):
        asked = wire.method(1, ask, queue="q", **({"passive": True} if ask == "queue.declare" else {}))
        peer.feed(b"".join(wire.publish(1, "", "q", b"x") for _ in range(3)) + asked)
        peer.turn()
        (said,) = peer.output()
        assert (said.name, said.args["message_count"]) == (f"{ask}-ok", left)


def test_who_gets_in_the_same_breath_gets_what_is_left(world: World) -> None:
    world.queue(arguments=arguments(max_length=2))
    peer = world.server.peer(1)
    asked = wire.method(1, "basic.get", queue="q", no_ack=True)
    peer.feed(b"".join(wire.publish(1, "", "q", body) for body in (b"1", b"2", b"3")) + asked)
    peer.turn()
    (said,) = peer.output()
    assert (said.body, said.args["message_count"]) == (b"2", 1)


def test_who_looks_at_one_queue_ages_no_other(world: World) -> None:
    """A message that is to be delivered at once or never goes to who is ready, whatever else happens in its turn."""
    asked, queue = (
        world.queue("asked", arguments=arguments(message_ttl=0)),
        world.queue(arguments=arguments(message_ttl=0)),
    )
    peer = consuming(world)
    world.send("asked", b"x")
    world.send("q", b"a")
    asked.catch_up()
    world.turn()
    assert (bodies(peer), asked.ready_count, queue.ready_count) == ([b"a"], 0, 0)
