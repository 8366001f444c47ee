"""What is a duplicate, for how long, and what of it lasts."""

import random

import pytest

from amqpd import limits
from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.base import Exchange
from amqpd.broker.exchanges.direct import DirectExchange
from amqpd.broker.exchanges.plain_types import PLAIN_TYPES
from amqpd.broker.exchanges.seen import STALE_MAX, Seen
from amqpd.broker.fields import Field, Table, boolean, longstr
from amqpd.broker.ports import SEEN
from amqpd.errors import PreconditionFailed
from tests.broker.exchanges.house import bodies, bound, declare, pass_to, send
from tests.broker.world import World

ASKED_FOR: Table = {"x-message-deduplication": boolean(True)}


@pytest.fixture
def world() -> World:
    return World()


def deduplicating(world: World, type_name: str = "direct", *, durable: bool = True, **arguments: Field) -> Exchange:
    table = {name.replace("_", "-"): field for name, field in arguments.items()}
    return declare(world, type_name, durable=durable, arguments={**ASKED_FOR, **table})


def seen_of(exchange: Exchange) -> Seen:
    assert exchange.seen is not None
    return exchange.seen


# --- what is a duplicate ---


@pytest.mark.parametrize("type_name", [name for name in PLAIN_TYPES if name != "x-message-deduplication"])
def test_any_type_drops_duplicates_when_asked_to(world: World, type_name: str) -> None:
    exchange = deduplicating(world, type_name)
    queue = bound(world, key="1")
    results = [send(world, b"%d" % number, "1", message_id="id").kept for number in range(3)]
    assert results == [False, True, True]
    assert bodies(world, queue) == [b"0"]
    assert seen_of(exchange).dropped_count == 2
    assert world.vhost.needs_message(exchange)


@pytest.mark.parametrize("wish", [boolean(False), longstr("true"), Field("I", 1)])
def test_only_a_true_one_asks(world: World, wish: Field) -> None:
    exchange = declare(world, "direct", arguments={"x-message-deduplication": wish})
    assert exchange.seen is None
    assert not exchange.keeps_messages


def test_the_id_is_the_header_or_else_the_message_id(world: World) -> None:
    deduplicating(world)
    queue = bound(world)
    send(world, b"1", message_id="a", x_deduplication_header=longstr("b"))
    send(world, b"2", message_id="a", x_deduplication_header=longstr("c"))
    send(world, b"3", message_id="a")
    send(world, b"again", message_id="b")
    send(world, b"again", x_deduplication_header=longstr("a"))
    assert bodies(world, queue) == [b"1", b"2", b"3"]


def test_the_header_can_be_named(world: World) -> None:
    deduplicating(world, x_deduplication_header=longstr("mine"))
    queue = bound(world)
    send(world, b"1", mine=longstr("a"), x_deduplication_header=longstr("x"))
    send(world, b"2", mine=longstr("b"), x_deduplication_header=longstr("x"))
    send(world, b"again", mine=longstr("a"))
    assert bodies(world, queue) == [b"1", b"2"]


@pytest.mark.parametrize(
    ("one", "other", "is_same"),
    [
        (Field("I", 1), Field("l", 1), True),
        (Field("I", 1), longstr("1"), False),
        (longstr("a"), Field("x", b"a"), True),
        (boolean(True), longstr("true"), False),
        (Field("A", [longstr("a")]), Field("A", [longstr("a")]), True),
        (longstr("é"), longstr("e"), False),
    ],
)
def test_ids_of_any_type(world: World, one: Field, other: Field, is_same: bool) -> None:
    deduplicating(world)
    queue = bound(world)
    send(world, b"one", x_deduplication_header=one)
    send(world, b"other", x_deduplication_header=other)
    assert bodies(world, queue) == ([b"one"] if is_same else [b"one", b"other"])


def test_a_message_without_an_id_is_never_a_duplicate(world: World) -> None:
    exchange = deduplicating(world)
    queue = bound(world)
    for _ in range(3):
        send(world, b"m")
        send(world, b"m", message_id="")
    assert len(bodies(world, queue)) == 6
    assert not seen_of(exchange).ids


def test_exchanges_have_ids_of_their_own(world: World) -> None:
    deduplicating(world)
    declare(world, "direct", "y", arguments=ASKED_FOR)
    queue = bound(world)
    world.vhost.bind(Binding("y", "q", True, "k"))
    for exchange in ("x", "y", "x", "y"):
        send(world, exchange.encode(), exchange=exchange, message_id="id")
    assert bodies(world, queue) == [b"x", b"y"]


# --- only what arrived makes duplicates ---


def test_what_found_no_queue_can_come_again(world: World) -> None:
    deduplicating(world)
    assert not send(world, b"m", message_id="id").kept
    queue = bound(world)
    send(world, b"again", message_id="id")
    send(world, b"once more", message_id="id")
    assert bodies(world, queue) == [b"again"]


def test_what_was_refused_can_come_again(world: World) -> None:
    deduplicating(world)
    queue = world.queue(arguments={"x-max-length": Field("I", 1), "x-overflow": longstr("reject-publish")})
    world.vhost.bind(Binding("x", "q", True, "k"))
    send(world, b"fills it", message_id="first")
    assert send(world, b"refused", message_id="id").refused
    assert bodies(world, queue) == [b"fills it"]
    assert not send(world, b"again", message_id="id").refused
    assert send(world, b"once more", message_id="id").kept
    assert bodies(world, queue) == [b"again"]


def test_what_one_of_two_queues_refused_can_come_again(world: World) -> None:
    """The publisher was told that it was refused: the one that has it gets it twice, rather than the other never."""
    deduplicating(world)
    taking = bound(world, "taking")
    refusing = world.queue(arguments={"x-max-length": Field("I", 1), "x-overflow": longstr("reject-publish")})
    send(world, b"fills it", "q", exchange="")
    world.vhost.bind(Binding("x", "q", True, "k"))
    assert send(world, b"m", message_id="id").refused
    assert bodies(world, refusing) == [b"fills it"]
    assert not send(world, b"again", message_id="id").refused
    assert (bodies(world, refusing), bodies(world, taking)) == ([b"again"], [b"m", b"again"])


def test_a_dead_letter_may_come_again(world: World) -> None:
    deduplicating(world)
    world.queue(arguments={"x-message-ttl": Field("I", 10), "x-dead-letter-exchange": longstr("x")})
    world.vhost.bind(Binding("x", "q", True, "k"))
    retry = bound(world, "retry", "k")
    send(world, b"m", message_id="id")
    assert bodies(world, retry) == [b"m"]
    pass_to(world, 20)
    assert bodies(world, retry) == [b"m"]
    assert send(world, b"m", message_id="id").kept


# --- the window ---


def test_an_id_is_forgotten_when_its_time_is_over(world: World) -> None:
    exchange = deduplicating(world, x_cache_ttl=Field("I", 1000))
    queue = bound(world)
    pass_to(world, 500)
    send(world, b"1", message_id="id")
    pass_to(world, 1499)
    send(world, b"again", message_id="id")
    pass_to(world, 1500)
    assert not seen_of(exchange).ids
    assert not world.rows(SEEN)
    send(world, b"2", message_id="id")
    assert bodies(world, queue) == [b"1", b"2"]


def test_a_message_may_say_how_long(world: World) -> None:
    exchange = deduplicating(world, x_cache_ttl=Field("I", 1000))
    send_to = bound(world)
    send(world, b"1", message_id="short", x_cache_ttl=Field("I", 10))
    send(world, b"2", message_id="long", x_cache_ttl=Field("I", 5000))
    send(world, b"3", message_id="no sense", x_cache_ttl=Field("I", -5))
    pass_to(world, 10)
    assert len(seen_of(exchange).ids) == 2
    pass_to(world, 4999)
    assert send(world, b"again", message_id="long").kept
    pass_to(world, 5000)
    assert not seen_of(exchange).ids
    assert bodies(world, send_to) == [b"1", b"2", b"3"]


def test_without_a_time_only_newer_ids_push_old_ones_out(world: World) -> None:
    exchange = deduplicating(world, x_cache_size=Field("I", 3))
    queue = bound(world)
    for number in range(4):
        send(world, b"%d" % number, message_id=str(number))
    pass_to(world, 10**9)
    assert len(seen_of(exchange).ids) == 3
    assert len(world.rows(SEEN)) == 3
    assert [send(world, b"again", message_id=str(number)).kept for number in (3, 2, 1)] == [True, True, True]
    assert not send(world, b"again", message_id="0").kept
    assert bodies(world, queue) == [b"0", b"1", b"2", b"3", b"again"]


def test_ids_and_their_times_are_bounded_in_memory(world: World) -> None:
    exchange = deduplicating(world, x_cache_size=Field("I", 10), x_cache_ttl=Field("I", 10**6))
    bound(world, durable=False)
    for number in range(2 * STALE_MAX):
        send(world, b"m", message_id=str(number), persistent=False)
    assert len(seen_of(exchange).ids) == 10
    assert len(seen_of(exchange).times) <= 2 * 10 + STALE_MAX + 1


def test_many_ids_are_forgotten_in_steps(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "SEEN_STEP", 10)
    exchange = deduplicating(world, x_cache_ttl=Field("I", 100))
    bound(world, durable=False)
    for number in range(25):
        send(world, b"m", message_id=str(number), persistent=False)
    world.broker.turn.begin(0.1)
    assert len(seen_of(exchange).ids) == 15
    pass_to(world, 100)
    assert not seen_of(exchange).ids


# --- what lasts ---


def test_stored_ids_are_known_after_a_crash_in_their_order(world: World) -> None:
    deduplicating(world, x_cache_size=Field("I", 3))
    bound(world)
    ids = [str(number) for number in range(5)]
    random.Random(1).shuffle(ids)
    for message_id in ids:
        send(world, b"m", message_id=message_id)
        world.turn()
    world = world.crash()
    assert len(world.rows(SEEN)) == 3
    assert [send(world, b"m", message_id=message_id).kept for message_id in ids[2:]] == [True, True, True]
    send(world, b"m", message_id="new")
    assert not send(world, b"m", message_id=ids[2]).kept, "the oldest went first"


def test_time_passes_for_stored_ids_too(world: World) -> None:
    deduplicating(world, x_cache_ttl=Field("I", 1000))
    bound(world)
    send(world, b"m", message_id="id")
    world.turn()
    world = world.crash()
    pass_to(world, 999)
    assert send(world, b"m", message_id="id").kept
    pass_to(world, 1000)
    assert not world.rows(SEEN)
    assert not send(world, b"m", message_id="id").kept


def test_message_and_id_are_one_batch(world: World) -> None:
    deduplicating(world)
    bound(world)
    world.turn()
    world.store.is_delaying = True
    send(world, b"m", message_id="id")
    world.turn()
    before = world.crash()
    assert (before.find().ready_count, len(before.rows(SEEN))) == (0, 0)
    world.complete()
    after = world.crash()
    assert (after.find().ready_count, len(after.rows(SEEN))) == (1, 1)


def test_the_confirm_of_a_duplicate_waits_for_the_first(world: World) -> None:
    deduplicating(world)
    bound(world)
    world.turn()
    world.store.is_delaying = True
    first = send(world, b"m", message_id="id")
    assert send(world, b"m", message_id="id").ticket == first.ticket == world.journal.ticket
    world.turn()
    assert send(world, b"m", message_id="id").ticket == first.ticket
    world.complete()
    assert send(world, b"m", message_id="id").ticket == 0


@pytest.mark.parametrize(
    ("durable", "persistent", "persistence", "is_stored"),
    [
        (True, True, None, True),
        (True, True, "disk", True),
        (True, True, "memory", False),
        (True, False, "disk", False),
        (False, True, "disk", False),
    ],
)
def test_what_is_stored(
    world: World, durable: bool, persistent: bool, persistence: str | None, is_stored: bool
) -> None:
    declare(
        world,
        "direct",
        durable=durable,
        arguments={**ASKED_FOR, **({} if persistence is None else {"x-cache-persistence": longstr(persistence)})},
    )
    bound(world)
    send(world, b"m", message_id="id", persistent=persistent)
    assert send(world, b"m", message_id="id", persistent=persistent).kept
    world.turn()
    assert len(world.rows(SEEN)) == int(is_stored)


def test_deleting_the_exchange_deletes_its_ids(world: World) -> None:
    deduplicating(world)
    declare(world, "direct", "y", arguments=ASKED_FOR)
    bound(world)
    world.vhost.bind(Binding("y", "q", True, "k"))
    for exchange in ("x", "y"):
        send(world, b"m", exchange=exchange, message_id="id", x_cache_ttl=Field("I", 10))
    world.turn()
    assert len(world.rows(SEEN)) == 2
    world.vhost.delete_exchange("x", if_unused=False)
    world.turn()
    assert len(world.rows(SEEN)) == 1
    pass_to(world, 100)
    assert not world.rows(SEEN)


def test_a_damaged_id_is_told_and_forgotten(world: World, caplog: pytest.LogCaptureFixture) -> None:
    deduplicating(world)
    bound(world)
    for message_id in ("a", "b"):
        send(world, b"m", message_id=message_id)
    world.turn()
    world.disk.tables[SEEN][next(iter(world.rows(SEEN)))] = b"damaged"
    world = world.crash()
    assert "may come twice" in caplog.text
    assert sorted(send(world, b"m", message_id=message_id).kept for message_id in ("a", "b")) == [False, True]


# --- arguments ---


@pytest.mark.parametrize(
    ("name", "field", "text"),
    [
        ("x-cache-size", Field("I", 0), "'x-cache-size' must be an integer between 1 and 1048576"),
        ("x-cache-size", Field("l", 1048577), "'x-cache-size' must be an integer between 1 and 1048576"),
        ("x-cache-size", longstr("5"), "'x-cache-size' must be an integer between 1 and 1048576"),
        ("x-cache-ttl", Field("I", -1), "'x-cache-ttl' must be an integer between 1 and 9007199254740992"),
        ("x-cache-ttl", Field("d", 1.5), "'x-cache-ttl' must be an integer between 1 and 9007199254740992"),
        ("x-cache-persistence", longstr("ram"), "'x-cache-persistence' must be either 'memory' or 'disk'"),
    ],
)
def test_arguments_that_make_no_sense(name: str, field: Field, text: str) -> None:
    DirectExchange.check_arguments({name: field})
    with pytest.raises(PreconditionFailed) as caught:
        DirectExchange.check_arguments({**ASKED_FOR, name: field})
    assert caught.value.text == f"Invalid argument, {text}"
