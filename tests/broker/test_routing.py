from collections.abc import Iterable

import pytest

from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.base import Exchange
from amqpd.broker.exchanges.fanout import FanoutExchange
from amqpd.broker.exchanges.registry import EXCHANGE_TYPES
from amqpd.broker.fields import Table, longstr
from amqpd.broker.publication import Publication
from amqpd.broker.routing import needs_message, route_keys
from tests.broker.exchanges.published import published


class World:
    """Exchanges as a virtual host holds them, and all queues that were ever bound or named."""

    def __init__(self) -> None:
        self.exchanges: dict[str, Exchange] = {"": EXCHANGE_TYPES["direct"]("")}
        self.queues: set[str] = set()

    def exchange(self, name: str, type_name: str = "direct", *, alternate: str | None = None) -> None:
        arguments = {} if alternate is None else {"alternate-exchange": longstr(alternate)}
        self.exchanges[name] = EXCHANGE_TYPES[type_name](name, arguments=arguments)

    def queue(self, source: str, name: str, key: str = "", arguments: Table | None = None) -> None:
        self.queues.add(name)
        self.exchanges[source].add(Binding(source, name, True, key, arguments or {}))

    def bind(self, source: str, destination: str, key: str = "", arguments: Table | None = None) -> None:
        self.exchanges[source].add(Binding(source, destination, False, key, arguments or {}))

    def route(self, source: str, key: str = "", headers: Table | None = None) -> list[str]:
        return route_keys(self.exchanges, self.queues, self.exchanges[source], [key], published(key, headers))

    def route_keys(self, source: str, keys: Iterable[str]) -> list[str]:
        return route_keys(self.exchanges, self.queues, self.exchanges[source], list(keys), None)

    def needs_message(self, source: str) -> bool:
        return needs_message(self.exchanges, self.exchanges[source])


@pytest.fixture
def world() -> World:
    return World()


def test_default_exchange_routes_to_the_queue_named_by_the_key(world: World) -> None:
    world.queues = {"q", "r", ""}
    assert world.route("", "q") == ["q"]
    assert world.route("", "nope") == []
    assert world.route_keys("", ["r", "nope", "q", "r"]) == ["r", "q"]


def test_each_queue_once_in_the_order_of_bindings(world: World) -> None:
    world.exchange("x", "topic")
    world.queue("x", "b", "k")
    world.queue("x", "a", "k")
    world.queue("x", "b", "*")
    assert world.route("x", "k") == ["b", "a"]
    assert world.route("x", "other") == ["b"]


def test_queue_that_is_gone_is_not_reached(world: World) -> None:
    world.exchange("x", "fanout")
    world.queue("x", "q")
    world.queue("x", "r")
    world.queues.remove("q")
    assert world.route("x") == ["r"]


def test_headers_reach_the_exchange(world: World) -> None:
    world.exchange("x", "headers")
    world.queue("x", "q", "", {"a": longstr("1")})
    assert world.route("x", "", {"a": longstr("1")}) == ["q"]
    assert world.route("x", "", {"a": longstr("2")}) == []


# --- exchange to exchange ---


def test_through_exchanges_with_the_same_key_and_headers(world: World) -> None:
    world.exchange("x", "direct")
    world.exchange("y", "topic")
    world.exchange("z", "headers")
    world.bind("x", "y", "a.b")
    world.bind("y", "z", "a.*")
    world.queue("z", "q", "", {"h": longstr("1")})
    world.queue("y", "r", "c.#")
    assert world.route("x", "a.b", {"h": longstr("1")}) == ["q"]
    assert world.route("x", "a.b", {"h": longstr("2")}) == []
    assert world.route("x", "a.c", {"h": longstr("1")}) == []


def test_nearest_queues_come_first_and_once(world: World) -> None:
    world.exchange("x", "fanout")
    world.exchange("y", "fanout")
    world.bind("x", "y")
    world.queue("y", "far")
    world.queue("y", "near")
    world.queue("x", "near")
    assert world.route("x") == ["near", "far"]


def test_cycles_end(world: World) -> None:
    for name in ("x", "y"):
        world.exchange(name, "fanout")
        world.queue(name, f"q-{name}")
    world.bind("x", "y")
    world.bind("y", "x")
    world.bind("x", "x")
    assert world.route("x") == ["q-x", "q-y"]
    assert world.route("y") == ["q-y", "q-x"]


def test_an_exchange_is_asked_once_however_many_ways_lead_to_it(world: World) -> None:
    # Doubling at every level would make 2**40 visits of this ladder.
    for level in range(40):
        for side in "ab":
            world.exchange(f"{level}{side}", "fanout")
    for level in range(39):
        for side in "ab":
            for next_side in "ab":
                world.bind(f"{level}{side}", f"{level + 1}{next_side}")
    world.queue("39a", "q")
    assert world.route("0a") == ["q"]


def test_binding_to_an_exchange_that_is_gone_leads_nowhere(world: World) -> None:
    world.exchange("x", "fanout")
    world.bind("x", "gone")
    world.queue("x", "q")
    assert world.route("x") == ["q"]


def test_queue_and_exchange_of_one_name_are_two(world: World) -> None:
    world.exchange("x", "fanout")
    world.exchange("same", "fanout")
    world.queue("same", "behind")
    world.queues.add("same")
    world.bind("x", "same")
    assert world.route("x") == ["behind"]


# --- alternate exchanges; all as RabbitMQ 3.10.8 does ---


def test_alternate_gets_only_what_finds_nothing(world: World) -> None:
    world.exchange("x", alternate="spare")
    world.exchange("spare", "fanout")
    world.queue("spare", "lost")
    world.queue("x", "q", "k")
    assert world.route("x", "k") == ["q"]
    assert world.route("x", "other") == ["lost"]


def test_alternates_chain(world: World) -> None:
    world.exchange("x", alternate="y")
    world.exchange("y", alternate="z")
    world.exchange("z", "fanout")
    world.queue("z", "q")
    assert world.route("x", "k") == ["q"]


@pytest.mark.parametrize("alternate", ["x", "y", "missing"])
def test_alternates_that_lead_nowhere(world: World, alternate: str) -> None:
    world.exchange("x", alternate=alternate)
    world.exchange("y", alternate="x")
    assert world.route("x", "k") == []


def test_alternate_of_an_exchange_behind_another_is_used(world: World) -> None:
    world.exchange("x", alternate="spare-x")
    world.exchange("y", alternate="spare-y")
    for name in ("spare-x", "spare-y"):
        world.exchange(name, "fanout")
        world.queue(name, f"q-{name}")
    world.bind("x", "y", "k")
    assert world.route("x", "k") == ["q-spare-y"]


def test_match_that_ends_in_a_blind_alley_still_keeps_from_the_alternate(world: World) -> None:
    world.exchange("x", alternate="spare")
    world.exchange("spare", "fanout")
    world.queue("spare", "lost")
    world.exchange("empty")
    world.bind("x", "empty", "k")
    assert world.route("x", "k") == []
    assert world.route("x", "other") == ["lost"]


def test_alternate_that_was_visited_is_not_asked_again(world: World) -> None:
    world.exchange("x", "fanout")
    world.exchange("y", alternate="x")
    world.bind("x", "y")
    world.queue("x", "q")
    assert world.route("x", "k") == ["q"]
    assert world.route("y", "k") == ["q"]


def test_default_exchange_as_alternate_routes_nothing(world: World) -> None:
    world.exchange("x", alternate="")
    world.queues.add("q")
    assert world.route("x", "q") == []


# --- several keys (CC, BCC) ---


def test_several_keys_reach_the_union(world: World) -> None:
    world.exchange("x")
    world.queue("x", "q", "a")
    world.queue("x", "r", "b")
    world.queue("x", "r", "a")
    assert world.route_keys("x", ["b", "a"]) == ["r", "q"]


def test_alternate_only_when_no_key_finds_anything(world: World) -> None:
    world.exchange("x", alternate="spare")
    world.exchange("spare", "fanout")
    world.queue("spare", "lost")
    world.queue("x", "q", "k")
    assert world.route_keys("x", ["k", "no"]) == ["q"]
    assert world.route_keys("x", ["no", "k"]) == ["q"]
    assert world.route_keys("x", ["no", "neither"]) == ["lost"]


# --- what may be kept by key ---


def test_needs_message_where_a_headers_exchange_is_in_reach(world: World) -> None:
    world.exchange("h", "headers")
    world.exchange("bound", "fanout")
    world.bind("bound", "middle")
    world.exchange("middle", alternate="h")
    world.exchange("alone", "topic")
    world.bind("alone", "alone", "#")
    world.queue("alone", "h", "#")  # a queue that happens to be called so
    world.exchange("loop", alternate="loop")
    world.exchange("missing", alternate="nowhere")
    needing = [name for name in world.exchanges if world.needs_message(name)]
    assert sorted(needing) == ["bound", "h", "middle"]


def test_needs_message_no_more_after_unbinding(world: World) -> None:
    world.exchange("h", "headers")
    world.exchange("x", "fanout")
    world.bind("x", "h")
    assert world.needs_message("x")
    world.exchanges["x"].remove(Binding("x", "h", False, ""))
    assert not world.needs_message("x")


# --- types that look at the message as a whole ---


class Keeper(FanoutExchange):
    """Takes what says so."""

    type_name = "keeper"

    @property
    def keeps_messages(self) -> bool:
        return True

    def keep(self, message: Publication) -> bool:
        return "keep" in message.headers


def test_what_an_exchange_keeps_goes_no_further(world: World) -> None:
    world.exchange("x", "fanout")
    world.exchanges["k"] = Keeper("k", arguments={"alternate-exchange": longstr("ae")})
    world.exchange("ae", "fanout")
    world.bind("x", "k")
    for source in ("x", "k", "ae"):
        world.queue(source, f"of {source}")
    passing = published()
    kept = published(headers={"keep": longstr("")})
    assert route_keys(world.exchanges, world.queues, world.exchanges["x"], [""], passing) == ["of x", "of k"]
    assert not passing.kept
    assert route_keys(world.exchanges, world.queues, world.exchanges["x"], [""], kept) == ["of x"]
    assert kept.kept
    assert world.needs_message("x")


@pytest.mark.parametrize("type_name", ["x-consistent-hash", "x-modulus-hash", "x-random"])
def test_one_of_several_queues_gets_a_message_of_several_keys(world: World, type_name: str) -> None:
    world.exchange("x", type_name)
    for number in range(20):
        world.queue("x", f"q{number}", "1")
    keys = [str(number) for number in range(20)]
    found = route_keys(world.exchanges, world.queues, world.exchanges["x"], keys, published())
    assert len(found) == 1
    if type_name != "x-random":
        assert found == world.route("x", "0"), "the first key decides"
