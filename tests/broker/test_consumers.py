import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from amqpd.broker.consumers import Consumer, Consumers
from tests.broker.world import World, arguments, channel_of


@pytest.fixture
def world() -> World:
    return World()


def consumer_of(
    world: World, tag: str = "c", *, no_ack: bool = False, prefetch: int = 0, priority: int = 0
) -> Consumer:
    queue = world.queue("q")
    return Consumer(
        tag, queue, channel_of(world), {}, no_ack=no_ack, exclusive=False, prefetch=prefetch, priority=priority
    )


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


# --- priorities ---


def levelled(world: World, *priorities: int) -> tuple[Consumers, dict[str, Consumer]]:
    """Consumers "a", "b", ... of these priorities, with a prefetch of one."""
    made = {
        tag: consumer_of(world, tag, prefetch=1, priority=priority)
        for tag, priority in zip("abcdef", priorities, strict=False)
    }
    consumers = Consumers()
    for consumer in made.values():
        consumers.add(consumer)
    return consumers, made


def test_the_highest_take_turns_and_nobody_else(world: World) -> None:
    consumers, _ = levelled(world, 0, 5, -3, 5)
    assert "".join(tags(consumers, 5)) == "bdbdb"


def test_without_credit_the_next_lower_ones_have_their_turn(world: World) -> None:
    consumers, made = levelled(world, 0, 5, -3, 5)
    order = ""
    while consumer := consumers.next():
        order += consumer.tag
        consumer.unacked = 1
    assert order == "bdac"
    assert consumers.active_count == 0
    for tag in "ca":
        made[tag].unacked = 0
        consumers.activate(made[tag])
    assert "".join(tags(consumers, 2)) == "aa"
    made["d"].unacked = 0
    consumers.activate(made["d"])
    assert "".join(tags(consumers, 2)) == "dd"


def test_who_leaves_a_level_leaves_the_others_alone(world: World) -> None:
    consumers, made = levelled(world, 1, 2, 1)
    consumers.remove(made["b"])
    assert "".join(tags(consumers, 3)) == "aca"
    consumers.remove(made["a"])
    consumers.remove(made["c"])
    assert consumers.next() is None
    assert (consumers.active_count, consumers.all) == (0, [])


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(
            st.sampled_from(["add", "remove", "next", "next", "next", "ack"]),
            st.integers(0, 9),
            st.integers(-1, 1),
        ),
        max_size=60,
    )
)
def test_any_steps_against_plain_rings(world: World, steps: list[tuple[str, int, int]]) -> None:
    """One list of who may have credit, in the order of their turns; the first of the highest priority is next."""
    consumers, ring, everybody = Consumers(), list[Consumer](), list[Consumer]()
    queue, channel = world.queue(), channel_of(world)
    for verb, number, priority in steps:
        chosen = everybody[number % len(everybody)] if everybody else None
        if verb == "add":
            prefetch = number % 3
            made = Consumer(
                "c", queue, channel, {}, no_ack=False, exclusive=False, prefetch=prefetch, priority=priority
            )
            consumers.add(made)
            everybody.append(made)
            ring.append(made)
        elif verb == "next":
            found = consumers.next()
            plain = None
            for level in sorted({each.priority for each in ring}, reverse=True):
                while plain is None and (kin := [each for each in ring if each.priority == level]):
                    ring.remove(kin[0])
                    if kin[0].has_credit():
                        plain = kin[0]
                        ring.append(plain)
            assert found is plain
            if found:
                found.unacked += 1
        elif chosen and verb == "remove":
            consumers.remove(chosen)
            everybody.remove(chosen)
            ring = [each for each in ring if each is not chosen]
        elif chosen and verb == "ack":
            chosen.unacked = 0
            consumers.activate(chosen)
            if chosen not in ring:
                ring.append(chosen)
        assert consumers.active_count == len(ring)
        assert [each.active for each in everybody] == [each in ring for each in everybody]
        assert consumers.all == everybody


# --- single active ---


def test_one_of_them_gets_everything_until_it_leaves(world: World) -> None:
    three = [consumer_of(world, tag) for tag in "abc"]
    consumers = Consumers(single_active=True)
    for consumer in three:
        consumers.add(consumer)
    assert "".join(tags(consumers, 3)) == "aaa"
    assert [consumer.active for consumer in three] == [True, False, False]
    consumers.remove(three[1])
    assert "".join(tags(consumers, 2)) == "aa"
    consumers.remove(three[0])
    assert "".join(tags(consumers, 2)) == "cc"
    consumers.remove(three[2])
    assert (consumers.next(), consumers.single) == (None, None)


def test_without_credit_the_single_one_is_waited_for(world: World) -> None:
    one, other = (consumer_of(world, tag, prefetch=1) for tag in "ab")
    consumers = Consumers(single_active=True)
    consumers.add(one)
    consumers.add(other)
    one.unacked = 1
    assert consumers.next() is None
    consumers.activate(other)
    assert consumers.next() is None
    one.unacked = 0
    consumers.activate(one)
    assert consumers.next() is one


def test_the_next_single_one_is_the_oldest_of_the_highest(world: World) -> None:
    made = {tag: consumer_of(world, tag, priority=priority) for tag, priority in zip("abcd", (0, 1, 5, 5), strict=True)}
    consumers = Consumers(single_active=True)
    for consumer in made.values():
        consumers.add(consumer)
    order = ""
    while consumers.single is not None:
        order += consumers.single.tag
        assert consumers.next() is consumers.single
        consumers.remove(consumers.single)
    assert order == "acdb", "whoever has it keeps it while higher ones come"


def test_what_the_single_one_had_goes_to_the_next(world: World) -> None:
    """On the wire, in order."""
    queue = world.queue(arguments=arguments(single_active_consumer=True))
    peers = [world.server.peer(1) for _ in range(3)]
    for peer in peers:
        peer.call(1, "basic.consume", queue="q", consumer_tag="c")
    world.send("q", b"1", b"2", b"3")
    world.turn()
    assert [[said.body for said in peer.output()] for peer in peers] == [[b"1", b"2", b"3"], [], []]
    peers[0].send(1, "basic.ack", delivery_tag=2)
    peers[0].turn()
    peers[0].hang_up()
    world.turn()
    told = [[(said.body, said.args["redelivered"]) for said in peer.output()] for peer in peers[1:]]
    assert told == [[(b"1", True), (b"3", True)], []]
    assert queue.unacked_count == 2
