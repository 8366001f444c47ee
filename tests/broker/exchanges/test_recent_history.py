import pytest

from amqpd import limits
from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.recent_history import DEFAULT_LENGTH, RecentHistoryExchange
from amqpd.broker.fields import Field, FieldValue, boolean, longstr
from amqpd.errors import PreconditionFailed
from tests.broker.exchanges.house import bodies, bound, declare, send
from tests.broker.world import World


@pytest.fixture
def world() -> World:
    return World()


def test_a_late_binding_gets_what_came_before(world: World) -> None:
    declare(world, "x-recent-history", arguments={"x-recent-history-length": Field("I", 3)})
    early = bound(world, "early")
    for number in range(5):
        send(world, b"%d" % number, "any key", persistent=number % 2 == 0)
    late = bound(world, "late")
    send(world, b"5", "another key")
    assert bodies(world, early) == [b"0", b"1", b"2", b"3", b"4", b"5"]
    assert bodies(world, late) == [b"2", b"3", b"4", b"5"]
    assert bodies(world, bound(world, "later")) == [b"3", b"4", b"5"]


def test_a_binding_that_is_there_gets_nothing_again(world: World) -> None:
    declare(world, "x-recent-history")
    queue = bound(world)
    send(world, b"m")
    world.vhost.bind(Binding("x", "q", True, "k"))
    assert bodies(world, queue) == [b"m"]
    world.vhost.bind(Binding("x", "q", True, "another key"))
    assert bodies(world, queue) == [b"m"]


def test_twenty_are_remembered(world: World) -> None:
    declare(world, "x-recent-history")
    for number in range(DEFAULT_LENGTH + 5):
        send(world, b"%d" % number)
    assert bodies(world, bound(world)) == [b"%d" % number for number in range(5, DEFAULT_LENGTH + 5)]


def test_fewer_are_remembered_when_they_are_large(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "HISTORY_BYTES", 2500)
    exchange = declare(world, "x-recent-history")
    for number in range(5):
        send(world, b"%d" % number + b"x" * 1000)
    assert [body[:1] for body in bodies(world, bound(world))] == [b"3", b"4"]
    send(world, b"x" * 3000)
    assert isinstance(exchange, RecentHistoryExchange)
    assert (len(exchange._history), exchange._bytes) == (0, 0)


@pytest.mark.parametrize(
    ("value", "is_remembered"), [(boolean(True), False), (boolean(False), True), (longstr("true"), True)]
)
def test_a_message_may_ask_not_to_be_remembered(world: World, value: Field, is_remembered: bool) -> None:
    declare(world, "x-recent-history")
    early = bound(world, "early")
    send(world, b"m", x_recent_history_no_store=value)
    assert bodies(world, early) == [b"m"]
    assert bodies(world, bound(world, "late")) == ([b"m"] if is_remembered else [])


def test_an_exchange_that_is_bound_routes_what_came_before(world: World) -> None:
    declare(world, "x-recent-history")
    declare(world, "direct", "y")
    queue, other = bound(world, "q", "k", exchange="y"), bound(world, "other", "other key", exchange="y")
    send(world, b"m", "k")
    world.vhost.bind(Binding("x", "y", False, ""))
    assert (bodies(world, queue), bodies(world, other)) == ([b"m"], [])


def test_a_restart_forgets(world: World) -> None:
    declare(world, "x-recent-history")
    queue = bound(world)
    send(world, b"m")
    world.turn()
    world = world.crash()
    queue = world.find()
    assert bodies(world, queue) == [b"m"], "recovered bindings get nothing again"
    assert bodies(world, bound(world, "late")) == []


def test_a_message_through_another_exchange_is_remembered(world: World) -> None:
    declare(world, "x-recent-history")
    world.vhost.bind(Binding("amq.fanout", "x", False, ""))
    send(world, b"m", exchange="amq.fanout")
    assert bodies(world, bound(world)) == [b"m"]


@pytest.mark.parametrize(
    ("kind", "value", "shown"),
    [("I", 0, "0"), ("I", -1, "-1"), ("S", "5", '<<"5">>'), ("t", True, "true"), ("d", 2.5, "2.5"), ("B", 5, "5")],
)
def test_lengths_that_make_no_sense(kind: str, value: FieldValue, shown: str) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        RecentHistoryExchange.check_arguments({"x-recent-history-length": Field(kind, value)})
    assert caught.value.text == f"Invalid argument {shown}, 'x-recent-history-length' must be a positive integer"


@pytest.mark.parametrize("kind", "bsIl")
def test_lengths_that_do(kind: str) -> None:
    RecentHistoryExchange.check_arguments({"x-recent-history-length": Field(kind, 5)})
