"""Delays, and what becomes of messages that had one. How they wait: ``test_schedule.py``."""

import pytest

from amqpd.broker import contents
from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.delayed import DelayedExchange, DelayedMessage, read_delay
from amqpd.broker.fields import Field, FieldValue, Table, longstr
from amqpd.broker.message import BLIND
from amqpd.broker.ports import DELAYED, SCRATCH, SEEN
from amqpd.errors import PreconditionFailed
from tests.broker.exchanges.house import bodies, body_of, bound, declare, pass_to, send
from tests.broker.world import EPOCH_MS, World

SECOND = Field("I", 1000)


@pytest.fixture
def world() -> World:
    return World()


def delayed_exchange(
    world: World, inner: str = "direct", *, durable: bool = True, arguments: Table | None = None
) -> DelayedExchange:
    all_arguments = {"x-delayed-type": longstr(inner), **(arguments or {})}
    exchange = declare(world, "x-delayed-message", durable=durable, arguments=all_arguments)
    assert isinstance(exchange, DelayedExchange)
    return exchange


def find(world: World, name: str = "x") -> DelayedExchange:
    exchange = world.vhost.exchanges[name]
    assert isinstance(exchange, DelayedExchange)
    return exchange


@pytest.mark.parametrize("durable", [True, False])
@pytest.mark.parametrize("persistent", [True, False])
def test_a_message_comes_when_its_delay_is_over(world: World, durable: bool, persistent: bool) -> None:
    exchange = delayed_exchange(world, durable=durable)
    queue = bound(world)
    pass_to(world, 500)
    message = send(world, b"late", x_delay=SECOND, persistent=persistent)
    send(world, b"now", persistent=persistent)
    assert message.kept
    world.turn()
    is_stored = durable and persistent
    assert (len(world.rows(DELAYED)), len(world.rows(SCRATCH))) == ((1, 0) if is_stored else (0, 1))
    assert bodies(world, queue) == [b"now"]
    pass_to(world, 1499)
    assert (queue.ready_count, exchange.delayed_count) == (0, 1)
    pass_to(world, 1500)
    assert exchange.delayed_count == 0
    assert bodies(world, queue) == [b"late"]
    assert not world.rows(DELAYED) | world.rows(SCRATCH)


def test_a_late_message_is_the_one_that_was_sent_with_its_delay_negated(world: World) -> None:
    delayed_exchange(world)
    queue = bound(world)
    sent = send(world, b"late", x_delay=SECOND, other=longstr("kept"), message_id="id")
    pass_to(world, 1000)
    message = world.take(queue)
    headers = {"x-delay": Field("I", -1000), "other": longstr("kept")}
    assert contents.read_headers(message.content) == headers
    assert contents.find_property(message.content, "message_id") == "id"
    assert message.address == sent.address
    assert message.stored


def test_blind_copies_get_it_late_and_do_not_see_one_another(world: World) -> None:
    delayed_exchange(world)
    queue = bound(world, key="copy")
    send(world, b"late", x_delay=SECOND, BCC=Field("A", [longstr("copy")]))
    pass_to(world, 1000)
    assert world.take(queue).channel & BLIND


@pytest.mark.parametrize("delay", [2**31 - 1, 2**31, 2**31 + 1, 2**32 - 1])
def test_a_negated_delay_has_room(world: World, delay: int) -> None:
    delayed_exchange(world)
    queue = bound(world)
    send(world, b"late", x_delay=Field("l", delay))
    pass_to(world, delay)
    header = contents.read_headers(world.take(queue).content)["x-delay"]
    assert header == Field("I" if delay <= 2**31 else "l", -delay)


@pytest.mark.parametrize(
    ("kind", "value", "delay"),
    [
        ("I", 5, 5),
        ("b", 5, 5),
        ("B", 5, 5),
        ("l", 4294967295, 4294967295),
        ("l", 4294967296, 0),
        ("I", 0, 0),
        ("I", -5, 0),
        ("S", "5", 5),
        ("S", "+5", 5),
        ("S", "-5", 0),
        ("S", "5.5", 0),
        ("S", " 5", 0),
        ("S", "", 0),
        ("S", "9" * 20, 0),
        ("S", "abc", 0),
        ("d", 5.9, 5),
        ("f", 5.5, 5),
        ("d", 0.5, 0),
        ("d", float("nan"), 0),
        ("d", float("inf"), 0),
        ("d", 1e300, 0),
        ("t", True, 0),
        ("V", None, 0),
        ("F", {}, 0),
        ("x", b"5", 0),
        ("T", 5, 0),
    ],
)
def test_delays(kind: str, value: FieldValue, delay: int) -> None:
    assert read_delay(Field(kind, value)) == delay


def test_no_header_no_delay() -> None:
    assert read_delay(None) == 0


# --- the type inside ---


@pytest.mark.parametrize(
    ("inner", "key", "reached"),
    [("direct", "a.b", []), ("topic", "a.b", ["q"]), ("topic", "b", []), ("fanout", "any", ["q"])],
)
def test_routes_as_the_type_inside(world: World, inner: str, key: str, reached: list[str]) -> None:
    delayed_exchange(world, inner)
    queue = bound(world, key="a.*")
    send(world, b"now", key)
    send(world, b"late", key, x_delay=SECOND)
    pass_to(world, 1000)
    assert bodies(world, queue) == ([b"now", b"late"] if reached else [])


def test_bindings_when_it_is_due_count(world: World) -> None:
    delayed_exchange(world)
    early, late = bound(world, "early"), world.queue("late")
    send(world, b"m", x_delay=SECOND)
    world.vhost.unbind(Binding("x", "early", True, "k"))
    world.vhost.bind(Binding("x", "late", True, "k"))
    pass_to(world, 1000)
    assert (bodies(world, early), bodies(world, late)) == ([], [b"m"])


def test_rules_of_the_type_inside(world: World) -> None:
    exchange = delayed_exchange(world, "x-consistent-hash")
    with pytest.raises(PreconditionFailed, match="must be an integer"):
        exchange.check_binding("k", {})
    exchange.check_binding("1", {})
    assert not exchange.uses_keys
    with pytest.raises(PreconditionFailed, match="Unsupported property"):
        DelayedExchange.check_arguments(
            {"x-delayed-type": longstr("x-consistent-hash"), "hash-property": longstr("nope")}
        )


def test_history_inside_begins_when_it_is_due(world: World) -> None:
    delayed_exchange(world, "x-recent-history")
    send(world, b"late", x_delay=SECOND)
    assert bodies(world, bound(world, "before")) == []
    pass_to(world, 1000)
    assert bodies(world, bound(world, "after")) == [b"late"]


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({}, "'x-delayed-type' must be an existing exchange type"),
        ({"x-delayed-type": longstr("nope")}, "'x-delayed-type' must be an existing exchange type"),
        ({"x-delayed-type": longstr("")}, "'x-delayed-type' must be an existing exchange type"),
        ({"x-delayed-type": Field("I", 1)}, "'x-delayed-type' must be an existing exchange type"),
        ({"x-delayed-type": longstr("x-delayed-message")}, "'x-delayed-message' can't be used for 'x-delayed-type'"),
    ],
)
def test_a_type_inside_that_is_none(arguments: Table, text: str) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        DelayedExchange.check_arguments(arguments)
    assert caught.value.text == f"Invalid argument, {text}"


# --- unroutable, alternate, through other exchanges ---


def test_what_finds_no_queue_when_it_is_due_goes_to_the_alternate_or_nowhere(world: World) -> None:
    delayed_exchange(world, arguments={"alternate-exchange": longstr("amq.fanout")})
    queue = bound(world, exchange="amq.fanout")
    send(world, b"late", "nowhere", x_delay=SECOND)
    pass_to(world, 999)
    assert queue.ready_count == 0
    pass_to(world, 1000)
    assert bodies(world, queue) == [b"late"]


def test_through_another_exchange_it_waits_there(world: World) -> None:
    exchange = delayed_exchange(world, "fanout")
    queue = bound(world)
    direct = bound(world, "direct", exchange="amq.fanout")
    world.vhost.bind(Binding("amq.fanout", "x", False, ""))
    send(world, b"m", exchange="amq.fanout", x_delay=SECOND)
    assert bodies(world, direct) == [b"m"]
    assert exchange.delayed_count == 1
    pass_to(world, 1000)
    assert [body_of(content) for content, _ in world.drain(queue)] == [b"m"]
    assert direct.ready_count == 0


# --- what lasts ---


def test_waiting_messages_survive_a_crash(world: World) -> None:
    delayed_exchange(world)
    bound(world)
    for number in range(3):
        send(world, b"%d" % number, x_delay=Field("I", 1000 + number))
    send(world, b"transient", x_delay=SECOND, persistent=False)
    pass_to(world, 1000)
    world = world.crash()
    assert find(world).delayed_count == 2
    assert bodies(world, world.find()) == [b"0"]
    send(world, b"new", x_delay=Field("I", 1))
    pass_to(world, 5000)
    assert bodies(world, world.find()) == [b"1", b"new", b"2"], "numbers go on where they were"
    assert world.crash().rows(DELAYED) == {}


def test_due_and_enqueued_are_one_batch(world: World) -> None:
    delayed_exchange(world)
    bound(world)
    send(world, b"m", x_delay=SECOND)
    world.turn()
    world.store.is_delaying = True
    pass_to(world, 1000)
    before = world.crash()
    assert (before.find().ready_count, find(before).delayed_count) == (0, 1)
    world.complete()
    after = world.crash()
    assert (after.find().ready_count, find(after).delayed_count) == (1, 0)


def test_a_confirm_waits_for_what_is_stored(world: World) -> None:
    delayed_exchange(world)
    world.store.is_delaying = True
    assert send(world, b"m", x_delay=SECOND).ticket == world.journal.ticket
    assert send(world, b"m", x_delay=SECOND, persistent=False).ticket == 0
    world.store.complete()


def test_deleting_the_exchange_deletes_what_waits(world: World) -> None:
    delayed_exchange(world, "fanout")
    queue = bound(world)
    for persistent in (True, False):
        send(world, b"m", x_delay=SECOND, persistent=persistent)
    world.turn()
    world.vhost.delete_exchange("x", if_unused=False)
    world.turn()
    assert not world.rows(DELAYED) | world.rows(SCRATCH)
    delayed_exchange(world, "fanout")
    world.vhost.bind(Binding("x", "q", True, ""))
    pass_to(world, 5000)
    assert queue.ready_count == 0


def test_numbers_of_exchanges_are_their_own(world: World) -> None:
    one, other = delayed_exchange(world), declare(world, "x-delayed-message", "y", arguments=find(world).arguments)
    assert one.number != other.number
    send(world, b"one", x_delay=SECOND)
    send(world, b"other", exchange="y", x_delay=SECOND)
    world.turn()
    world = world.crash()
    assert [find(world, name).delayed_count for name in "xy"] == [1, 1]
    third = declare(world, "x-delayed-message", "z", arguments=one.arguments)
    assert third.number not in (one.number, other.number)


# --- duplicates ---


@pytest.mark.parametrize(
    ("inner", "arguments"),
    [("direct", {"x-message-deduplication": Field("t", True)}), ("x-message-deduplication", {"x-cache-size": SECOND})],
)
def test_duplicates_are_dropped_before_they_wait(world: World, inner: str, arguments: Table) -> None:
    exchange = delayed_exchange(world, inner, arguments=arguments)
    queue = bound(world)
    for _ in range(2):
        send(world, b"m", x_delay=SECOND, x_deduplication_header=longstr("id"))
    assert exchange.delayed_count == 1
    world.turn()
    assert len(world.rows(SEEN)) == 1
    pass_to(world, 1000)
    assert bodies(world, queue) == [b"m"]


# --- for operators ---


def name_of(ms: int, number: int) -> str:
    return f"{EPOCH_MS + ms}-{number}"


def test_waiting_messages_can_be_listed(world: World) -> None:
    exchange = delayed_exchange(world)
    send(world, b"third", "c", x_delay=Field("I", 3000))
    send(world, b"first", "a", x_delay=Field("I", 1000), persistent=False)
    send(world, b"second", "b", x_delay=Field("I", 2000))
    expected = [
        DelayedMessage(name_of(1000, 2), EPOCH_MS + 1000, "a", 5, False),
        DelayedMessage(name_of(2000, 3), EPOCH_MS + 2000, "b", 6, True),
        DelayedMessage(name_of(3000, 1), EPOCH_MS + 3000, "c", 5, True),
    ]
    for _ in range(2):
        assert exchange.delayed(10) == expected
        assert exchange.delayed(2) == expected[:2]
        world.turn()


@pytest.mark.parametrize("persistent", [True, False])
def test_a_waiting_message_can_be_cancelled(world: World, persistent: bool) -> None:
    exchange = delayed_exchange(world)
    queue = bound(world)
    for body in (b"one", b"other"):
        send(world, body, x_delay=SECOND, persistent=persistent)
    world.turn()
    assert exchange.cancel(name_of(1000, 1)) == (world.journal.ticket if persistent else 0)
    assert exchange.cancel(name_of(1000, 1)) is None
    pass_to(world, 1000)
    assert bodies(world, queue) == [b"other"]
    assert exchange.cancel(name_of(1000, 2)) is None


@pytest.mark.parametrize(
    "name",
    ["", "1000", "1000-", "-1", name_of(1000, 9), "x-1", f"{name_of(1000, 1)}-1", "9" * 30 + "-1", "\u0661-\u0661"],
)
def test_cancelling_what_does_not_wait(world: World, name: str) -> None:
    exchange = delayed_exchange(world)
    send(world, b"m", x_delay=SECOND)
    assert exchange.cancel(name) is None
    assert exchange.delayed_count == 1
