from collections.abc import Callable
from typing import Any

import pytest

from amqpd.broker.bindings import Binding
from amqpd.broker.consumers import Consumer
from amqpd.broker.fields import Field, Table, boolean, longstr, table
from amqpd.broker.message import Message
from amqpd.broker.owner import Owner
from amqpd.broker.policies import OPERATOR_POLICY, POLICY, Policy
from amqpd.broker.ports import BINDINGS, EXCHANGES, QUEUES
from amqpd.broker.publication import Publication
from amqpd.broker.queues.base import Queue
from amqpd.broker.queues.classic import ClassicQueue
from amqpd.broker.queues.priority import PriorityQueue
from amqpd.broker.vhost import VirtualHost
from amqpd.errors import (
    AccessRefused,
    CommandInvalid,
    NotFound,
    NotImplementedByBroker,
    PreconditionFailed,
    ResourceLocked,
)
from tests.broker.world import ADDRESS, World, arguments, channel_of, content_of

STRANGER = Owner("another connection")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def vhost(world: World) -> VirtualHost:
    return world.vhost


def declare_exchange(vhost: VirtualHost, name: str, type_name: str = "direct", **flags: Any) -> int:
    flags = {"durable": False, "auto_delete": False, "internal": False, "arguments": {}, **flags}
    return vhost.declare_exchange(name, type_name, **flags)


def declare_queue(world: World, name: str, owner: Owner | None = None, **flags: Any) -> Queue:
    flags = {"durable": False, "exclusive": False, "auto_delete": False, "arguments": {}, **flags}
    return world.vhost.declare_queue(name, owner or world.owner, **flags)


def consume(world: World, name: str, *, exclusive: bool = False) -> Consumer:
    queue = world.vhost.queues[name]
    consumer = Consumer("c", queue, channel_of(world), {}, no_ack=False, exclusive=exclusive, prefetch=0)
    world.vhost.add_consumer(consumer)
    return consumer


def to_queue(source: str, name: str, key: str = "", arguments: Table | None = None) -> Binding:
    return Binding(source, name, True, key, arguments or {})


# --- exchanges ---


def test_predeclared_exchanges(vhost: VirtualHost) -> None:
    found = {name: exchange.type_name for name, exchange in vhost.exchanges.items()}
    assert found == {
        "": "direct",
        "amq.direct": "direct",
        "amq.fanout": "fanout",
        "amq.topic": "topic",
        "amq.headers": "headers",
        "amq.match": "headers",
        "amq.rabbitmq.trace": "topic",
    }
    assert all(exchange.durable and not exchange.auto_delete for exchange in vhost.exchanges.values())
    assert [name for name, exchange in vhost.exchanges.items() if exchange.internal] == ["amq.rabbitmq.trace"]


def test_get_exchange(vhost: VirtualHost) -> None:
    assert vhost.get_exchange("amq.topic").name == "amq.topic"
    with pytest.raises(NotFound, match=r"^no exchange 'x' in vhost '/'$"):
        vhost.get_exchange("x")


@pytest.mark.parametrize(
    ("type_name", "text"), [("x-y", "unknown exchange type 'x-y'"), ("", "invalid exchange type ''")]
)
def test_exchange_of_no_known_type(vhost: VirtualHost, type_name: str, text: str) -> None:
    with pytest.raises(CommandInvalid, match=f"^{text}$"):
        declare_exchange(vhost, "x", type_name)
    with pytest.raises(CommandInvalid):
        declare_exchange(vhost, "amq.direct", type_name)


def test_exchange_name_is_reserved(vhost: VirtualHost) -> None:
    with pytest.raises(AccessRefused, match=r"^exchange name 'amq\.x' contains reserved prefix 'amq\.\*'$"):
        declare_exchange(vhost, "amq.x")
    declare_exchange(vhost, "amqx")


def test_alternate_exchange_is_a_text(vhost: VirtualHost) -> None:
    with pytest.raises(
        PreconditionFailed,
        match=r"^invalid type 'bool' for arg 'alternate-exchange' in exchange 'x' in vhost '/'$",
    ):
        declare_exchange(vhost, "x", arguments={"alternate-exchange": boolean(True)})
    assert "x" not in vhost.exchanges
    declare_exchange(vhost, "x", arguments={"alternate-exchange": longstr("y")})


def test_exchange_declared_again(vhost: VirtualHost) -> None:
    declare_exchange(vhost, "x")
    first = vhost.exchanges["x"]
    assert declare_exchange(vhost, "x") == 0
    assert vhost.exchanges["x"] is first
    assert declare_exchange(vhost, "amq.direct", durable=True) == 0, "reserved names may be declared as they are"
    with pytest.raises(PreconditionFailed, match=r"^inequivalent arg 'type' for exchange 'x'"):
        declare_exchange(vhost, "x", "fanout")


def test_tickets_of_exchanges(world: World, vhost: VirtualHost) -> None:
    world.store.is_delaying = True
    assert declare_exchange(vhost, "brief") == 0
    ticket = declare_exchange(vhost, "kept", durable=True)
    assert ticket == world.journal.ticket
    world.turn()
    assert declare_exchange(vhost, "kept", durable=True) == ticket, "the one who asks again must wait as well"
    world.complete()
    assert len(world.rows(EXCHANGES)) == 1
    assert vhost.delete_exchange("brief", if_unused=False) == 0
    assert vhost.delete_exchange("kept", if_unused=False) == world.journal.ticket
    world.turn()
    world.complete()
    assert world.rows(EXCHANGES) == {}


def test_delete_exchange(vhost: VirtualHost) -> None:
    assert vhost.delete_exchange("x", if_unused=True) == 0
    with pytest.raises(AccessRefused, match=r"^deletion of system exchange 'amq\.direct' in vhost '/' not allowed$"):
        vhost.delete_exchange("amq.direct", if_unused=False)
    declare_exchange(vhost, "x")
    vhost.delete_exchange("x", if_unused=True)
    assert "x" not in vhost.exchanges


def test_exchange_in_use(world: World, vhost: VirtualHost) -> None:
    declare_exchange(vhost, "x")
    declare_exchange(vhost, "y")
    vhost.bind(Binding("x", "y", False, "k"))
    with pytest.raises(PreconditionFailed, match=r"^exchange 'x' in vhost '/' in use$"):
        vhost.delete_exchange("x", if_unused=True)
    vhost.delete_exchange("y", if_unused=True)  # bindings to it are no use of it
    assert len(vhost.bindings) == 0
    vhost.delete_exchange("x", if_unused=True)


def test_bindings_go_with_their_exchange(world: World, vhost: VirtualHost) -> None:
    world.queue("q")
    for name in "xyz":
        declare_exchange(vhost, name, durable=True)
    for binding in (to_queue("y", "q"), Binding("x", "y", False, ""), Binding("y", "z", False, ""), to_queue("z", "q")):
        vhost.bind(binding)
    world.turn()
    vhost.delete_exchange("y", if_unused=False)
    world.turn()
    assert list(vhost.bindings) == [to_queue("z", "q")]
    assert len(world.rows(BINDINGS)) == 1
    assert vhost.route(vhost.exchanges["x"], "", None) == []


# --- auto-delete exchanges ---


def test_auto_delete_exchange_goes_with_its_last_binding(world: World, vhost: VirtualHost) -> None:
    declare_exchange(vhost, "x", auto_delete=True)
    declare_queue(world, "q")
    for key in "ab":
        vhost.bind(to_queue("x", "q", key))
    vhost.unbind(to_queue("x", "q", "a"))
    assert "x" in vhost.exchanges
    vhost.unbind(to_queue("x", "q", "b"))
    assert "x" not in vhost.exchanges


def test_auto_delete_exchange_goes_with_its_last_queue(world: World, vhost: VirtualHost) -> None:
    declare_exchange(vhost, "x", auto_delete=True, durable=True)
    world.queue("q")
    for key in "ab":
        vhost.bind(to_queue("x", "q", key))
    vhost.delete_queue("q", world.owner, if_unused=False, if_empty=False)
    world.turn()
    assert "x" not in vhost.exchanges
    assert (world.rows(EXCHANGES), world.rows(BINDINGS)) == ({}, {})


def test_auto_delete_goes_on_along_bindings(vhost: VirtualHost) -> None:
    for name in "abc":
        declare_exchange(vhost, name, auto_delete=True)
    vhost.bind(Binding("a", "b", False, ""))
    vhost.bind(Binding("b", "c", False, ""))
    vhost.delete_exchange("c", if_unused=False)
    assert not {"a", "b", "c"} & set(vhost.exchanges)


def test_auto_delete_in_a_circle(vhost: VirtualHost) -> None:
    for name in "ab":
        declare_exchange(vhost, name, auto_delete=True)
    for source, destination in ("ab", "ba", "aa"):
        vhost.bind(Binding(source, destination, False, ""))
    vhost.delete_exchange("a", if_unused=False)
    assert not {"a", "b"} & set(vhost.exchanges)
    assert len(vhost.bindings) == 0


def test_auto_delete_exchange_that_nothing_was_bound_to_stays(vhost: VirtualHost) -> None:
    declare_exchange(vhost, "x", auto_delete=True)
    vhost.unbind(to_queue("x", "q"))
    assert "x" in vhost.exchanges


# --- bindings ---


def test_bound_once(world: World, vhost: VirtualHost) -> None:
    queue = declare_queue(world, "q")
    for _ in range(2):
        assert vhost.bind(to_queue("amq.direct", "q", "k")) == 0
    assert len(vhost.bindings) == 1
    assert vhost.route(vhost.exchanges["amq.direct"], "k", None) == [queue]


def test_a_binding_may_be_refused_by_its_exchange(world: World, vhost: VirtualHost) -> None:
    declare_queue(world, "q")
    with pytest.raises(PreconditionFailed):
        vhost.bind(to_queue("amq.headers", "q", "", {"x-match": longstr("some")}))
    assert len(vhost.bindings) == 0


def test_tickets_of_bindings(world: World, vhost: VirtualHost) -> None:
    world.queue("q")
    world.store.is_delaying = True
    binding = to_queue("amq.direct", "q", "k")
    ticket = vhost.bind(binding)
    assert ticket == world.journal.ticket
    assert vhost.bind(binding) == ticket, "the one who asks again must wait as well"
    world.turn()
    world.complete()
    assert vhost.bind(binding) == 0
    assert len(world.rows(BINDINGS)) == 1
    assert vhost.unbind(binding) == world.journal.ticket
    world.turn()
    world.complete()
    assert world.rows(BINDINGS) == {}


@pytest.mark.parametrize("ends", ["transient queue", "exclusive queue", "transient source", "transient destination"])
def test_a_binding_is_durable_when_both_ends_are(world: World, vhost: VirtualHost, ends: str) -> None:
    declare_exchange(vhost, "transient")
    declare_queue(world, "transient")
    declare_queue(world, "exclusive", durable=True, exclusive=True)
    world.queue("kept")
    binding = {
        "transient queue": to_queue("amq.direct", "transient"),
        "exclusive queue": to_queue("amq.direct", "exclusive"),
        "transient source": to_queue("transient", "kept"),
        "transient destination": Binding("amq.direct", "transient", False, ""),
    }[ends]
    assert vhost.bind(binding) == 0
    assert vhost.unbind(binding) == 0
    assert vhost.bind(Binding("amq.direct", "amq.fanout", False, "")) > 0


def test_unbind_what_is_not_there(world: World, vhost: VirtualHost) -> None:
    declare_queue(world, "q")
    for source in ("amq.direct", "x"):
        assert vhost.unbind(to_queue(source, "q")) == 0


def test_who_finds_nothing_to_delete_waits_for_the_one_who_deleted_it(world: World, vhost: VirtualHost) -> None:
    world.queue("q")
    binding = to_queue("amq.direct", "q", "k")
    vhost.bind(binding)
    declare_exchange(vhost, "x", durable=True)
    world.turn()
    world.store.is_delaying = True
    assert vhost.unbind(binding) == vhost.unbind(binding) == world.journal.ticket
    assert vhost.delete_exchange("x", if_unused=False) == vhost.delete_exchange("x", if_unused=False)
    deleted = [vhost.delete_queue("q", world.owner, if_unused=False, if_empty=False) for _ in range(2)]
    assert deleted == [(0, world.journal.ticket)] * 2


NESTED = {"n": table({"a": longstr("1"), "b": Field("A", [table({"c": longstr("2"), "d": longstr("3")})])})}
NESTED_TURNED = {"n": table({"b": Field("A", [table({"d": longstr("3"), "c": longstr("2")})]), "a": longstr("1")})}


@pytest.mark.parametrize(
    ("bound", "unbound"),
    [
        ({"a": longstr("1"), "b": longstr("2")}, {"b": longstr("2"), "a": longstr("1")}),
        (NESTED, NESTED_TURNED),
        ({"a": Field("d", float("nan"))}, {"a": Field("d", float("nan"))}),
        ({"a": Field("d", 0.0)}, {"a": Field("d", -0.0)}),
    ],
    ids=["order", "order within", "nan", "zeros"],
)
def test_unbound_is_unbound_for_good_however_the_arguments_are_written(
    world: World, vhost: VirtualHost, bound: Table, unbound: Table
) -> None:
    world.queue("q")
    vhost.bind(to_queue("amq.direct", "q", "k", bound))
    world.turn()
    vhost.unbind(to_queue("amq.direct", "q", "k", unbound))
    world.turn()
    assert len(vhost.bindings) == 0
    assert len(world.crash().vhost.bindings) == 0


# --- queues ---


def test_get_queue(world: World, vhost: VirtualHost) -> None:
    queue = declare_queue(world, "q")
    assert vhost.get_queue("q", STRANGER) is queue
    with pytest.raises(NotFound, match=r"^no queue 'r' in vhost '/'$"):
        vhost.get_queue("r", world.owner)


def test_declared_again(world: World) -> None:
    queue = declare_queue(world, "q")
    assert declare_queue(world, "q", STRANGER) is queue
    with pytest.raises(PreconditionFailed, match=r"^inequivalent arg 'durable' for queue 'q'"):
        declare_queue(world, "q", durable=True)


def test_the_server_chooses_a_name(world: World) -> None:
    names = {declare_queue(world, "").name for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("amq.gen-") and len(name) == 30 for name in names)


def test_queue_name_is_reserved(world: World) -> None:
    with pytest.raises(AccessRefused, match=r"^queue name 'amq\.q' contains reserved prefix 'amq\.\*'$"):
        declare_queue(world, "amq.q")
    declare_queue(world, "amqq")


LOCKED = "^cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could be originally declared on another"


def test_exclusive_queue_is_its_connections_own(world: World, vhost: VirtualHost) -> None:
    queue = declare_queue(world, "q", exclusive=True)
    assert world.owner.queues == {"q": queue}
    assert declare_queue(world, "q", exclusive=True) is queue
    assert vhost.get_queue("q", world.owner) is queue
    with pytest.raises(ResourceLocked, match=LOCKED):
        vhost.get_queue("q", STRANGER)
    with pytest.raises(ResourceLocked, match=LOCKED):
        declare_queue(world, "q", STRANGER, exclusive=True)
    with pytest.raises(ResourceLocked, match=LOCKED):
        vhost.delete_queue("q", STRANGER, if_unused=False, if_empty=False)
    vhost.delete_queue("q", world.owner, if_unused=False, if_empty=False)
    assert world.owner.queues == {}


@pytest.mark.parametrize("exclusive", [False, True])
def test_exclusive_or_not_is_no_matter_of_taste(world: World, exclusive: bool) -> None:
    declare_queue(world, "q", exclusive=exclusive)
    with pytest.raises(ResourceLocked, match=LOCKED):
        declare_queue(world, "q", exclusive=not exclusive)


def test_tickets_of_queues(world: World, vhost: VirtualHost) -> None:
    world.store.is_delaying = True
    assert declare_queue(world, "brief").created == 0
    assert declare_queue(world, "own", durable=True, exclusive=True).created == 0
    queue = declare_queue(world, "kept", durable=True)
    assert queue.created == world.journal.ticket
    world.turn()
    world.complete()
    assert len(world.rows(QUEUES)) == 1
    for name in ("brief", "own"):
        assert vhost.delete_queue(name, world.owner, if_unused=False, if_empty=False) == (0, 0)
    world.turn()
    world.store.complete()
    world.turn()
    _, ticket = vhost.delete_queue("kept", world.owner, if_unused=False, if_empty=False)
    assert ticket == world.journal.ticket
    world.turn()
    world.complete()
    assert world.rows(QUEUES) == {}


def test_delete_queue(world: World, vhost: VirtualHost) -> None:
    assert vhost.delete_queue("q", world.owner, if_unused=True, if_empty=True) == (0, 0)
    queue = declare_queue(world, "q")
    vhost.bind(to_queue("amq.direct", "q", "k"))
    for body in (b"1", b"2"):
        queue.enqueue(Message(body, ADDRESS, 1, queue, False))
    with pytest.raises(PreconditionFailed, match=r"^queue 'q' in vhost '/' not empty$"):
        vhost.delete_queue("q", world.owner, if_unused=False, if_empty=True)
    assert vhost.delete_queue("q", world.owner, if_unused=True, if_empty=False) == (2, 0)
    assert queue.deleted
    assert (vhost.queues, len(vhost.bindings)) == ({}, 0)


def test_queue_in_use(world: World, vhost: VirtualHost) -> None:
    declare_queue(world, "q")
    consumer = consume(world, "q")
    with pytest.raises(PreconditionFailed, match=r"^queue 'q' in vhost '/' in use$"):
        vhost.delete_queue("q", world.owner, if_unused=True, if_empty=False)
    vhost.remove_consumer(consumer)
    vhost.delete_queue("q", world.owner, if_unused=True, if_empty=False)


def test_consumers_are_told_when_their_queue_is_deleted(world: World) -> None:
    peers = [world.server.peer(1) for _ in range(2)]
    peers[0].call(1, "queue.declare", queue="q")
    for peer in peers:
        peer.call(1, "basic.consume", queue="q", consumer_tag="c")
    world.vhost.delete_queue("q", world.owner, if_unused=False, if_empty=False)
    world.turn()
    for peer in peers:
        assert [(said.name, said.args["consumer_tag"]) for said in peer.output()] == [("basic.cancel", "c")]


def test_a_queue_is_of_the_type_that_is_asked_for(world: World) -> None:
    plain = declare_queue(world, "a", durable=True)
    levels = declare_queue(world, "b", arguments=arguments(max_priority=3))
    quorum = declare_queue(world, "c", durable=True, arguments=arguments(queue_type="quorum"))
    assert [type(queue) for queue in (plain, levels, quorum)] == [ClassicQueue, PriorityQueue, ClassicQueue]
    assert [queue.settings.queue_type for queue in (plain, levels, quorum)] == ["classic", "classic", "quorum"]
    with pytest.raises(PreconditionFailed, match="x-queue-type"):
        declare_queue(world, "d", arguments=arguments(queue_type="other"))
    assert "d" not in world.vhost.queues


def test_queues_are_of_the_default_type_where_they_can_be(world: World, vhost: VirtualHost) -> None:
    vhost.default_queue_type = "quorum"
    queues = [
        declare_queue(world, "a", durable=True),
        declare_queue(world, "b"),
        declare_queue(world, "c", durable=True, exclusive=True),
        declare_queue(world, "d", durable=True, auto_delete=True),
        declare_queue(world, "e", durable=True, arguments=arguments(queue_type="classic")),
    ]
    assert [queue.settings.queue_type for queue in queues] == ["quorum", *["classic"] * 4]
    assert declare_queue(world, "a", durable=True) is queues[0], "as it was asked for"


@pytest.mark.parametrize("flag", ["if_unused", "if_empty"])
def test_quorum_queues_are_deleted_without_a_question(world: World, vhost: VirtualHost, flag: str) -> None:
    declare_queue(world, "q", durable=True, arguments=arguments(queue_type="quorum"))
    with pytest.raises(NotImplementedByBroker, match=rf"{flag.replace('_', '-')} flag set are not supported by quorum"):
        vhost.delete_queue("q", world.owner, **{"if_unused": False, "if_empty": False, flag: True})
    vhost.delete_queue("q", world.owner, if_unused=False, if_empty=False)


# --- policies ---


def test_policies_apply_to_what_is_there_and_to_what_comes(world: World, vhost: VirtualHost) -> None:
    queue = declare_queue(world, "q", arguments=arguments(message_ttl=50))
    world.broker.policies.set(Policy("/", "p", "^q", {"message-ttl": 20, "max-length": 5}))
    world.broker.policies.set(Policy("/", "p", "^q", {"max-length": 3}, kind=OPERATOR_POLICY))
    version = vhost.version
    vhost.apply_policies()
    assert vhost.version > version
    for each in (queue, declare_queue(world, "q2"), declare_queue(world, "other")):
        applies = each.name.startswith("q")
        assert each.settings.message_ttl_ms == (20 if applies else None)
        assert each.settings.max_length == (3 if applies else None)
    world.broker.policies.clear(POLICY, "/", "p")
    vhost.apply_policies()
    assert (queue.settings.message_ttl_ms, queue.settings.max_length) == (50, 3)


def test_a_policy_may_name_an_alternate_exchange(world: World, vhost: VirtualHost) -> None:
    declare_exchange(vhost, "x")
    declare_exchange(vhost, "y", "fanout")
    queue = declare_queue(world, "q")
    vhost.bind(to_queue("y", "q"))
    assert vhost.route(vhost.exchanges["x"], "k", None) == []
    world.broker.policies.set(Policy("/", "p", "x", {"alternate-exchange": "y"}))
    vhost.apply_policies()
    assert vhost.route(vhost.exchanges["x"], "k", None) == [queue]


# --- consumers ---


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True), (True, True)])
def test_an_exclusive_consumer_is_alone(world: World, vhost: VirtualHost, first: bool, second: bool) -> None:
    declare_queue(world, "q")
    consumer = consume(world, "q", exclusive=first)
    with pytest.raises(AccessRefused, match=r"^queue 'q' in vhost '/' in exclusive use$"):
        consume(world, "q", exclusive=second)
    vhost.remove_consumer(consumer)
    consume(world, "q", exclusive=second)


def test_shared_consumers(world: World, vhost: VirtualHost) -> None:
    queue = declare_queue(world, "q")
    consumers = [consume(world, "q") for _ in range(3)]
    assert queue.consumers.all == consumers


def test_auto_delete_queue_goes_with_its_last_consumer(world: World, vhost: VirtualHost) -> None:
    declare_queue(world, "q", auto_delete=True)
    consumers = [consume(world, "q") for _ in range(2)]
    vhost.remove_consumer(consumers[0])
    assert "q" in vhost.queues
    vhost.remove_consumer(consumers[1])
    assert "q" not in vhost.queues


def test_removed_twice_is_removed(world: World, vhost: VirtualHost) -> None:
    declare_queue(world, "q", auto_delete=True)
    consumer = consume(world, "q")
    for _ in range(2):
        vhost.remove_consumer(consumer)
    assert "q" not in vhost.queues


def test_where_one_consumer_is_active_none_is_exclusive(world: World, vhost: VirtualHost) -> None:
    declare_queue(world, "q", arguments=arguments(single_active_consumer=True))
    with pytest.raises(AccessRefused, match=r"^queue 'q' in vhost '/' in exclusive use$"):
        consume(world, "q", exclusive=True)
    consume(world, "q")
    consume(world, "q")


# --- what the broker publishes itself ---


def test_one_message_for_each_queue(world: World, vhost: VirtualHost) -> None:
    kept, brief = world.queue("kept"), declare_queue(world, "brief")
    for queue in (kept, brief):
        vhost.bind(to_queue("amq.fanout", queue.name))
    world.turn()
    world.store.is_delaying = True
    message = Publication("amq.fanout", "", content_of(b"x", priority=4, expiration="50"), 1, persistent=True)
    assert vhost.publish(message, vhost.exchanges["amq.fanout"]) == world.journal.ticket
    for queue in (kept, brief):
        head = queue.head()
        assert head is not None
        assert (head.priority, head.address, head.expires_at > 0) == (4, b"\x0aamq.fanout\x00\xce", True)
        assert head.stored is (queue is kept)
    transient = Publication("", "kept", content_of(b"x"), 1, persistent=False)
    assert vhost.publish(transient, vhost.exchanges[""]) == 0, "needs no disk"


def test_what_a_quorum_queue_has_is_stored(world: World, vhost: VirtualHost) -> None:
    """Persistent or not, as RabbitMQ's do."""
    world.queue("q", arguments=arguments(queue_type="quorum"))
    world.send("q", b"x", persistent=False)
    world.turn()
    assert world.crash().received() == [b"x"]


# --- routing ---


def test_route_gives_each_queue_once(world: World, vhost: VirtualHost) -> None:
    queues = [declare_queue(world, name) for name in "qr"]
    for name in "qr":
        vhost.bind(to_queue("amq.topic", name, "#"))
        vhost.bind(to_queue("amq.topic", name, "a.*"))
    assert vhost.route(vhost.exchanges["amq.topic"], "a.b", None) == queues
    assert vhost.route(vhost.exchanges[""], "r", None) == queues[1:]


def test_headers_are_asked_for_where_they_decide(vhost: VirtualHost) -> None:
    assert vhost.needs_message(vhost.exchanges["amq.headers"])
    assert not vhost.needs_message(vhost.exchanges["amq.topic"])
    vhost.bind(Binding("amq.topic", "amq.headers", False, "#"))
    assert vhost.needs_message(vhost.exchanges["amq.topic"])


def test_version_grows_with_whatever_may_change_a_route(world: World, vhost: VirtualHost) -> None:
    declare_queue(world, "q")
    declare_exchange(vhost, "x")
    binding = to_queue("x", "q")
    steps: list[Callable[[], object]] = [
        lambda: vhost.bind(binding),
        lambda: vhost.unbind(binding),
        lambda: vhost.delete_exchange("x", if_unused=False),
        lambda: declare_exchange(vhost, "x"),
        lambda: vhost.delete_queue("q", world.owner, if_unused=False, if_empty=False),
        lambda: declare_queue(world, "q"),
    ]
    for step in steps:
        before = vhost.version
        step()
        assert vhost.version > before
    before = vhost.version
    declare_queue(world, "q")
    declare_exchange(vhost, "x")
    vhost.unbind(binding)
    assert vhost.version == before, "nothing changed: what is remembered stays right"
