import pytest

from amqpd.broker.consumers import Consumer, Consumers
from tests.broker.world import World, channel_of


@pytest.fixture
def world() -> World:
    return World()


def consumer_of(world: World, tag: str = "c", *, no_ack: bool = False, prefetch: int = 0) -> Consumer:
    queue = world.queue("q")
    return Consumer(tag, queue, channel_of(world), {}, no_ack=no_ack, exclusive=False, prefetch=prefetch)


# --- credit ---


@pytest.mark.parametrize(
    ("prefetch", "unacked", "no_ack", "has_credit"),
    [
        (0, 0, False, True),
        (0, 1000, False, True),  # 0 is no limit
        (2, 1, False, True),
        (2, 2, False, False),
        (2, 3, False, False),  # more than the limit: it came down from a higher one
        (2, 3, True, True),  # what needs no ack is never counted
    ],
)
def test_credit(world: World, prefetch: int, unacked: int, no_ack: bool, has_credit: bool) -> None:
    consumer = consumer_of(world, prefetch=prefetch, no_ack=no_ack)
    consumer.unacked = unacked
    assert consumer.has_credit() is has_credit


@pytest.mark.parametrize("no_ack", [False, True])
def test_no_credit_without_room_in_the_channel(world: World, no_ack: bool) -> None:
    channel = channel_of(world)
    consumer = Consumer("c", world.queue(), channel, {}, no_ack=no_ack, exclusive=False, prefetch=5)
    channel.channel_prefetch = channel.outstanding = 1
    assert not consumer.has_credit()
    channel.outstanding = 0
    assert consumer.has_credit()


# --- turns ---


def tags(consumers: Consumers, count: int) -> list[str]:
    return [consumer.tag for _ in range(count) if (consumer := consumers.next()) is not None]


@pytest.fixture
def three(world: World) -> list[Consumer]:
    return [consumer_of(world, tag, prefetch=1) for tag in "abc"]


@pytest.fixture
def consumers(three: list[Consumer]) -> Consumers:
    made = Consumers()
    for consumer in three:
        made.add(consumer)
    return made


def test_nobody_is_next_where_nobody_is() -> None:
    assert Consumers().next() is None


def test_a_single_consumer_is_always_next(three: list[Consumer]) -> None:
    consumers = Consumers()
    consumers.add(three[0])
    assert tags(consumers, 3) == ["a", "a", "a"]


def test_consumers_take_turns(consumers: Consumers) -> None:
    assert "".join(tags(consumers, 7)) == "abcabca"


def test_who_has_no_credit_is_skipped_until_activated(consumers: Consumers, three: list[Consumer]) -> None:
    three[1].unacked = 1
    assert "".join(tags(consumers, 4)) == "acac"
    three[1].unacked = 0
    assert "".join(tags(consumers, 2)) == "ac", "credit that nobody tells of is not looked for"
    consumers.activate(three[1])
    assert "".join(tags(consumers, 3)) == "acb", "who comes back is last"


def test_nobody_is_next_when_all_are_without_credit(consumers: Consumers, three: list[Consumer]) -> None:
    for consumer in three:
        consumer.unacked = 1
    assert consumers.next() is None
    assert [consumer.active for consumer in three] == [False, False, False]
    assert len(consumers.all) == 3


def test_activated_twice_has_one_turn(consumers: Consumers, three: list[Consumer]) -> None:
    consumers.activate(three[0])
    assert "".join(tags(consumers, 6)) == "abcabc"


def test_removed(consumers: Consumers, three: list[Consumer]) -> None:
    three[1].unacked = 1
    tags(consumers, 3)
    for consumer in three[:2]:  # in the ring, and out of it
        consumers.remove(consumer)
        assert consumer.cancelled
        assert not consumer.active
    assert consumers.all == [three[2]]
    assert tags(consumers, 2) == ["c", "c"]


def test_cancelled_is_never_activated_again(consumers: Consumers, three: list[Consumer]) -> None:
    consumers.remove(three[0])
    consumers.activate(three[0])
    assert "".join(tags(consumers, 4)) == "bcbc"
