"""What is told of deaths, and which cycles end. When messages die: ``queues/test_base.py``; against RabbitMQ:
``tests/conformance/test_dead_letters.py``.
"""

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.broker import contents, tables
from amqpd.broker.bindings import Binding
from amqpd.broker.dead_letter import COUNT_MAX, dead_publication, deaths_of, ends_cycle
from amqpd.broker.fields import Field, Table, longstr
from amqpd.broker.message import BLIND, Message
from amqpd.broker.publication import Publication
from amqpd.broker.queues.classic import ClassicQueue
from tests.broker.test_contents import ALL, content, props_of
from tests.broker.world import World, arguments

NOW_S: Final = 1_700_000_000


@pytest.fixture(scope="module")
def queue() -> ClassicQueue:
    return World().queue()


def message_of(queue: ClassicQueue, exchange: str = "e", key: str = "k", *, channel: int = 1, **props: Any) -> Message:
    address = tables.write_shortstr(exchange) + tables.write_shortstr(key) + b"\xce"
    return Message(content(**props), address, channel, queue, stored=False)


def die(message: Message, queue: str = "q", reason: str = "expired", key: str | None = None) -> Publication:
    return dead_publication(message, queue, reason, "dlx", key, NOW_S)


def again(queue: ClassicQueue, dead: Publication) -> Message:
    """What was dead, as a message of another queue."""
    return Message(dead.content, dead.address, dead.channel, queue, stored=False)


# --- what is told ---


def test_a_first_death(queue: ClassicQueue) -> None:
    dead = die(message_of(queue, headers={"a": 1}))
    assert (dead.exchange, dead.routing_key, dead.address) == ("dlx", "k", b"\x03dlx\x01k\xce")
    (death,) = deaths_of(dead)
    assert death == {
        "count": Field("l", 1),
        "reason": longstr("expired"),
        "queue": longstr("q"),
        "time": Field("T", NOW_S),
        "exchange": longstr("e"),
        "routing-keys": Field("A", [longstr("k")]),
    }
    told = {name: field.value for name, field in dead.headers.items() if name != "x-death"}
    assert told == {
        "a": 1,
        **{f"x-{which}-death-queue": "q" for which in ("first", "last")},
        **{f"x-{which}-death-reason": "expired" for which in ("first", "last")},
        **{f"x-{which}-death-exchange": "e" for which in ("first", "last")},
    }


def test_everything_else_is_as_it_was(queue: ClassicQueue) -> None:
    dead = die(message_of(queue, **ALL))
    before, after = ({**props_of(each)} for each in (content(**ALL), dead.content))
    assert before.pop("expiration") == "60000"
    headers = after.pop("headers")
    assert isinstance(headers, dict)
    assert headers.items() >= before.pop("headers").items()  # type: ignore[attr-defined]
    assert after == before
    assert dead.content.endswith(content()[-12:])
    assert dead.persistent


def test_its_own_time_is_over_and_told(queue: ClassicQueue) -> None:
    """Else it would expire again where it goes."""
    dead = die(message_of(queue, expiration="5"))
    assert deaths_of(dead)[0]["original-expiration"] == longstr("5")
    assert (dead.find("expiration"), dead.ttl_ms) == (None, -1)


def test_another_key(queue: ClassicQueue) -> None:
    message = message_of(queue, headers={"CC": ["c"]})
    assert die(message).keys == ["k", "c"]
    assert deaths_of(die(message))[0]["routing-keys"] == Field("A", [longstr("k"), longstr("c")])
    other = die(message, key="dead")
    assert (other.keys, "CC" in other.headers) == (["dead"], False)
    assert deaths_of(other)[0]["routing-keys"] == Field("A", [longstr("k"), longstr("c")])


def test_blind_copies_stay_blind(queue: ClassicQueue) -> None:
    message = message_of(queue, channel=1 | BLIND, headers={"BCC": ["b"]})
    dead = die(message)
    assert dead.keys == ["k", "b"], "as the first time"
    assert "BCC" not in contents.read_headers(dead.shown())
    assert deaths_of(dead)[0]["routing-keys"] == Field("A", [longstr("k")]), "which nobody is told of"
    other = die(message, key="dead")
    assert (other.keys, other.channel, "BCC" in other.headers) == (["dead"], 1, False)


def test_the_same_death_again_is_counted(queue: ClassicQueue) -> None:
    dead = die(message_of(queue))
    for _ in range(2):
        dead = die(again(queue, dead))
    (death,) = deaths_of(dead)
    assert death["count"] == Field("l", 3)
    assert death["exchange"] == longstr("e"), "of the first time"


def test_another_death_comes_first(queue: ClassicQueue) -> None:
    dead = die(message_of(queue), "a", "rejected")
    dead = die(again(queue, dead), "b", "expired")
    dead = die(again(queue, dead), "b", "maxlen")
    dead = die(again(queue, dead), "a", "rejected")
    told = [tuple(death[name].value for name in ("queue", "reason", "count")) for death in deaths_of(dead)]
    assert told == [("a", "rejected", 2), ("b", "maxlen", 1), ("b", "expired", 1)]
    ends = {which: dead.headers[f"x-{which}-death-queue"].value for which in ("first", "last")}
    assert ends == {"first": "a", "last": "a"}
    assert dead.headers["x-first-death-exchange"] == longstr("e")
    assert dead.headers["x-last-death-exchange"] == longstr("dlx")


def test_names_that_are_no_utf_8_pass(queue: ClassicQueue) -> None:
    dead = die(message_of(queue, "e\udcff", "k\udcfe"), "q\udcfd")
    assert deaths_of(dead)[0]["queue"].value == "q\udcfd"
    assert dead.address == b"\x03dlx\x02k\xfe\xce"
    assert len(deaths_of(die(again(queue, dead), "q\udcfd"))) == 1


def test_counts_have_an_end(queue: ClassicQueue) -> None:
    death = {"queue": longstr("q"), "reason": longstr("expired"), "count": Field("l", COUNT_MAX)}
    content_ = contents.with_headers(content(), {"x-death": Field("A", [Field("F", death)])})
    dead = die(Message(content_, b"\x01e\x01k\xce", 1, queue, stored=False))
    assert deaths_of(dead)[0]["count"] == Field("l", COUNT_MAX)


values: st.SearchStrategy[Field] = st.recursive(
    st.one_of(
        st.sampled_from(["expired", "rejected", "q", "r", ""]).map(longstr),
        st.binary(max_size=3).map(lambda value: Field("x", value)),
        st.integers(-5, 5).map(lambda value: Field("l", value)),
        st.booleans().map(lambda value: Field("t", value)),
        st.just(Field("V", None)),
        st.just(Field("d", 0.5)),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: Field("A", items)),
        st.dictionaries(st.sampled_from(["queue", "reason", "count", "time", "x"]), inner, max_size=3).map(
            lambda items: Field("F", items)
        ),
    ),
    max_leaves=6,
)
entries = st.fixed_dictionaries(
    {"queue": st.sampled_from(["q", "r"]).map(longstr), "reason": st.sampled_from(["expired", "rejected"]).map(longstr)}
).map(lambda entry: Field("F", entry))


@given(deaths=st.one_of(values, st.lists(st.one_of(entries, values), max_size=4).map(lambda items: Field("A", items))))
def test_whatever_a_client_says_of_deaths_is_no_trouble(queue: ClassicQueue, deaths: Field) -> None:
    """It may write these headers itself: nothing raises, the newest death is told, and what is written can be read."""
    headers: Table = {"x-death": deaths, "CC": deaths}
    message = Message(contents.with_headers(content(), headers), b"\x01e\x01k\xce", 1, queue, stored=False)
    dead = die(message)
    newest = deaths_of(Publication("", "", dead.content, 1, persistent=False))[0]
    assert (newest["queue"], newest["reason"]) == (longstr("q"), longstr("expired"))
    ends_cycle("q", dead, "expired")


# --- cycles ---


def dead_with(*deaths: tuple[str, str]) -> Publication:
    """A message that died of these, newest first: (queue, reason)."""
    told = [Field("F", {"queue": longstr(queue), "reason": longstr(reason)}) for queue, reason in deaths]
    return Publication("", "", contents.with_headers(content(), {"x-death": Field("A", told)}), 1, persistent=False)


@pytest.mark.parametrize(
    ("deaths", "reason", "ends"),
    [
        ([("q", "expired")], "expired", True),
        ([("q", "maxlen")], "maxlen", True),
        ([("r", "expired")], "expired", False),
        ([("r", "expired"), ("q", "expired")], "expired", True),
        ([("r", "expired"), ("q", "rejected")], "expired", False),
        ([("r", "rejected"), ("q", "expired")], "expired", False),
        ([("q", "expired"), ("r", "rejected")], "expired", True),  # that was before
        ([("q", "expired")], "rejected", False),  # a consumer's will
        ([], "expired", False),
    ],
)
def test_a_cycle_ends_where_nobody_but_the_broker_turns_it(
    deaths: list[tuple[str, str]], reason: str, ends: bool
) -> None:
    assert ends_cycle("q", dead_with(*deaths), reason) is ends


@given(
    deaths=st.lists(st.tuples(st.sampled_from("qrs"), st.sampled_from(["expired", "maxlen", "rejected"])), max_size=5),
    reason=st.sampled_from(["expired", "maxlen", "delivery_limit", "rejected"]),
)
def test_any_cycle(deaths: list[tuple[str, str]], reason: str) -> None:
    """Plainly: the queue is among the deaths, and from there on up to now nothing was rejected."""
    queues = [queue for queue, _ in deaths]
    since = deaths[: queues.index("q") + 1] if "q" in queues else []
    plain = reason != "rejected" and bool(since) and all(each != "rejected" for _, each in since)
    assert ends_cycle("q", dead_with(*deaths), reason) is plain


# --- through exchanges ---


@pytest.fixture
def world() -> World:
    made = World()
    made.vhost.declare_exchange("dlx", "fanout", durable=True, auto_delete=False, internal=False, arguments={})
    return made


def buried(world: World, name: str, *sources: str) -> ClassicQueue:
    """A queue that gets what is dead."""
    queue = world.queue(name)
    for source in sources or ("dlx",):
        world.vhost.bind(Binding(source, name, True, ""))
    return queue


def test_a_dead_letter_is_routed_as_any_message(world: World) -> None:
    for name in ("a", "b"):
        buried(world, name)
    world.queue(arguments=arguments(dead_letter_exchange="dlx", message_ttl=10))
    world.send("q", b"1")
    world.pass_ms(20)
    assert (world.received("a"), world.received("b")) == ([b"1"], [b"1"])


def test_a_dead_letter_without_a_queue_is_gone(world: World) -> None:
    queue = world.queue(arguments=arguments(dead_letter_exchange="dlx", message_ttl=10))
    world.send("q", b"1")
    world.pass_ms(20)
    assert (queue.ready_count, queue.unacked_count) == (0, 0)


def test_a_dead_letter_may_expire_in_its_turn(world: World) -> None:
    world.queue("end")
    world.queue("b", arguments=arguments(dead_letter_exchange="", dead_letter_routing_key="end", message_ttl=10))
    world.queue("q", arguments=arguments(dead_letter_exchange="", dead_letter_routing_key="b", message_ttl=10))
    world.send("q", b"1")
    world.pass_ms(11)
    assert world.find("b").ready_count == 1
    world.pass_ms(11)
    assert world.received("end") == [b"1"]


def test_a_cycle_of_queues_comes_to_an_end(world: World) -> None:
    for name, other in ("qr", "rs", "sq"):
        words = arguments(dead_letter_exchange="", dead_letter_routing_key=other, message_ttl=10)
        world.queue(name, arguments=words)
    world.send("q", b"1")
    found = []
    for _ in range(4):
        found.append([name for name in "qrs" if world.find(name).ready_count])
        world.pass_ms(11)
    assert found == [["q"], ["r"], ["s"], []]
    assert world.broker.turn.timers.next_ms() == 0, "nothing waits any more"


def test_a_queue_that_buries_in_itself_ends_at_once(world: World) -> None:
    world.queue(arguments=arguments(dead_letter_exchange="", dead_letter_routing_key="q", max_length=1))
    world.send("q", b"1", b"2", b"3")
    world.turn()
    assert world.received() == [b"3"]


def test_what_is_rejected_goes_round(world: World) -> None:
    queue = world.queue(arguments=arguments(dead_letter_exchange="", dead_letter_routing_key="q"))
    world.send("q", b"1")
    for _ in range(3):
        queue.reject(world.take(queue))
        world.turn()
    message = world.take(queue)
    (death,) = deaths_of(Publication("", "", message.content, 1, persistent=False))
    assert death["count"] == Field("l", 3)


def test_a_full_grave_drops_or_refuses(world: World) -> None:
    for name, overflow in (("a", "drop-head"), ("b", "reject-publish")):
        world.queue(name, arguments=arguments(max_length=1, overflow=overflow))
        world.vhost.bind(Binding("dlx", name, True, ""))
    world.queue(arguments=arguments(dead_letter_exchange="dlx", message_ttl=10))
    world.send("q", b"1", b"2")
    world.pass_ms(20)
    assert (world.received("a"), world.received("b")) == ([b"2"], [b"1"])


def test_a_key_that_is_too_long_for_the_wire_is_no_trouble(world: World) -> None:
    """x-dead-letter-routing-key is a long string."""
    world.queue("grave")
    world.vhost.bind(Binding("dlx", "grave", True, ""))
    queue = world.queue(
        arguments=arguments(dead_letter_exchange="dlx", dead_letter_routing_key="k" * 300, message_ttl=10)
    )
    world.send("q", b"1")
    world.pass_ms(20)
    assert queue.ready_count == 0


@pytest.mark.parametrize("is_refused", [True, False])
def test_a_chain_of_queues_that_refuse_is_walked_not_climbed(world: World, is_refused: bool) -> None:
    """Each buries in the next one, and all are full: the stack does not grow with them."""
    overflow = "reject-publish-dlx" if is_refused else "reject-publish"
    names = [f"q{number}" for number in range(300)]
    for name, other in zip(names, [*names[1:], "end"], strict=True):
        words = {"dead_letter_exchange": "", "dead_letter_routing_key": other, "overflow": overflow}
        world.queue(name, arguments=arguments(max_length=0 if is_refused else 1, message_ttl=10, **words))
    world.queue("end")
    if is_refused:
        world.send("q0", b"x")
        assert world.received("end") == [b"x"]
        return
    peer = world.server.peer(1)
    peer.call(1, "basic.qos", prefetch_count=1)
    for name in names:
        peer.send(1, "basic.consume", queue=name)
        world.send(name, b"1")
    world.turn()
    for name in names:
        world.send(name, b"2")
    peer.send(1, "basic.ack", delivery_tag=0, multiple=True)  # they may have credit: each is asked once more
    world.pass_ms(20)
    assert world.find("q0").ready_count == 0


def test_a_dead_letter_that_is_due_at_once_finds_who_is_ready() -> None:
    """Its queue is looked at in the turn of the death: in the next one, it would be too late."""
    world = World()
    world.queue("grave", durable=False, arguments=arguments(message_ttl=0))
    to_grave = {"x-dead-letter-exchange": longstr(""), "x-dead-letter-routing-key": longstr("grave")}
    world.queue("q", durable=False, arguments={**arguments(message_ttl=0), **to_grave})
    peer = world.server.peer(1)
    peer.call(1, "basic.consume", queue="grave", no_ack=True)
    peer.publish(1, "", "q", b"a")
    clock = iter(range(1, 1000))
    while world.broker.turn.begin(next(clock) / 1000) or world.server.turn_once():
        pass
    assert [said.body for said in peer.output()] == [b"a"]
