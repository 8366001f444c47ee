"""Topology from data, snapshots, the way back to them, and virtual hosts for one test each."""

import json
import os
import select
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from amqpd import limits
from amqpd.broker.bindings import Binding
from amqpd.broker.broker import Broker
from amqpd.broker.exchanges.delayed import DelayedExchange
from amqpd.broker.fields import Field, Table, boolean, longstr
from amqpd.broker.passwords import hash_like_rabbitmq
from amqpd.broker.permissions import Permission, TopicPermission
from amqpd.broker.policies import OPERATOR_POLICY, Policy
from amqpd.broker.ports import DELAYED, SCRATCH, SEEN, SEGMENTS
from amqpd.broker.recovery import restore
from amqpd.broker.users import User
from amqpd.broker.vhost import VirtualHost
from amqpd.broker.vhost_limits import USER_LIMITS, VHOST_LIMITS
from amqpd.errors import AmqpError
from amqpd.management.definitions.export import assemble, export
from amqpd.management.definitions.plan import InvalidDefinitions
from amqpd.store.lmdb_store import LmdbStore
from amqpd.testing import topology
from amqpd.testing.topology import Snapshot
from tests.broker.exchanges.house import send
from tests.broker.world import World, arguments
from tests.support.raw_peer import properties
from tests.support.wire import Peer, Server, check_broker, queues_of

ROOT = Path(__file__).resolve().parents[2]
TERSE: dict[str, Any] = {
    "exchanges": [{"name": "x", "type": "topic"}, {"name": "d"}],
    "queues": [{"name": "orders"}, {"name": "brief", "durable": False, "arguments": {"x-message-ttl": 5}}],
    "bindings": [{"source": "x", "destination": "orders", "routing_key": "#"}],
}


@pytest.fixture
def world() -> World:
    return World()


def told(node: Broker) -> dict[str, list[str]]:
    """What it was told, by section, in no order; without queues that the server named."""
    return {
        section: sorted(json.dumps(entry) for entry in entries if '"amq.gen-' not in json.dumps(entry))
        for section, entries in assemble(export(node)).items()
        if isinstance(entries, list)
    }


def faults(world: World, definitions: Any) -> list[str]:
    """What is wrong with definitions, of which nothing is taken."""
    before = told(world.broker)
    with pytest.raises(InvalidDefinitions) as caught:
        topology.apply(world.broker, definitions)
    assert told(world.broker) == before
    return caught.value.problems


# -- definitions --


def test_what_is_terse_is_completed(world: World) -> None:
    topology.apply(world.broker, TERSE)
    orders, brief = world.vhost.queues["orders"], world.vhost.queues["brief"]
    assert (orders.durable, orders.auto_delete, orders.arguments) == (True, False, {})
    assert (brief.durable, brief.settings.message_ttl_ms) == (False, 5)
    kinds = {name: world.vhost.exchanges[name].type_name for name in "xd"}
    assert kinds == {"x": "topic", "d": "direct"}
    assert all(world.vhost.exchanges[name].durable for name in "xd")
    assert list(world.vhost.bindings) == [Binding("x", "orders", True, "#")]
    world.turn()
    assert world.crash().vhost.queues.keys() == {"orders"}


def test_a_mapping_a_text_and_a_file_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "definitions.json"
    path.write_text(json.dumps(TERSE))
    said: list[Any] = [TERSE, MappingProxyType(TERSE), json.dumps(TERSE, indent=2), path, str(path)]
    worlds = [World() for _ in said]
    for each, definitions in zip(worlds, said, strict=True):
        topology.apply(each.broker, definitions)
        assert told(each.broker) == told(worlds[0].broker)
    assert "orders" in worlds[0].vhost.queues


def test_objects_go_to_the_virtual_host_that_is_meant(world: World) -> None:
    topology.make_vhost(world.broker, "v")
    topology.apply(world.broker, {"queues": [{"name": "here"}, {"name": "there", "vhost": "/"}]}, "v")
    assert world.broker.vhosts["v"].queues.keys() == {"here"}
    assert world.vhost.queues.keys() == {"there"}


def test_users_and_virtual_hosts_without_permissions_are_for_all(world: World) -> None:
    topology.apply(world.broker, {"vhosts": [{"name": "v"}], "users": [{"name": "alice", "password": "secret"}]})
    entered = {(each.user, each.vhost) for each in world.broker.permissions.all()}
    assert entered == {("guest", "/"), ("guest", "v"), ("alice", "/"), ("alice", "v")}
    answers: list[User | None] = []
    for password in (b"secret", b"wrong"):
        world.broker.logins.authenticate("alice", password, answers.append)
    assert answers[0] is not None, "at once: in a test a password is not scrypt's"


def test_guest_may_nothing_where_there_is_no_guest(world: World) -> None:
    world.broker.delete_user("guest")
    topology.apply(world.broker, {"vhosts": [{"name": "v"}]})
    assert "v" in world.broker.vhosts
    assert world.broker.permissions.all() == []


def test_permissions_that_are_there_are_all_there_are(world: World) -> None:
    document = {"vhosts": [{"name": "v"}], "permissions": [{"user": "guest", "write": ""}]}
    topology.apply(world.broker, document)
    assert world.broker.permissions.all() == [Permission("guest", "/", ".*", "", ".*")]


def test_all_that_is_wrong_is_named(world: World) -> None:
    found = faults(world, {"queues": [{"nam": "q"}, {"name": "p", "durable": 1}, 5], "bindings": 6, "users": [{}]})
    assert [problem.split(",")[0].split(" ")[0] for problem in found] == [
        "users[0]",
        "queues[0]",
        "queues[1]",
        "queues[2]",
        "bindings",
    ]
    found = faults(
        world, {"queues": [{"name": "q", "arguments": {"x-expires": 0}}], "exchanges": [{**XS, "type": "?"}]}
    )
    assert ["exchange 'x'" in found[0], "queue 'q'" in found[1]] == [True, True]


XS = {"name": "x"}


@pytest.mark.parametrize("definitions", ["no/such/file.json", Path("/"), "{", "[]", {"queues": {1, 2}}, "\0"])
def test_what_is_no_definitions_at_all(world: World, definitions: Any) -> None:
    (problem,) = faults(world, definitions)
    assert "cannot be read" in problem or "not JSON" in problem


def test_nothing_is_shared_with_the_mapping(world: World) -> None:
    document: dict[str, Any] = {"policies": [{"name": "p", "pattern": "", "definition": {"max-length": 5}}]}
    topology.apply(world.broker, document)
    document["policies"][0]["definition"]["max-length"] = "?"
    (policy,) = world.broker.policies.of_vhost("policy", "/")
    assert policy.definition == {"max-length": 5}
    assert document["policies"][0].keys() == {"name", "pattern", "definition"}


def test_what_is_left_out_is_in_the_log(world: World, caplog: pytest.LogCaptureFixture) -> None:
    topology.apply(world.broker, {"bindings": [{"source": "amq.topic", "destination": "odrers"}]})
    assert "odrers does not exist" in caplog.text


def test_a_broker_that_serves_takes_all_at_once(world: World) -> None:
    peer = world.server.peer(1)
    topology.apply(world.broker, {"queues": [{"name": f"q{number}"} for number in range(200)]})
    assert peer.call(1, "queue.declare", queue="q199", passive=True)["message_count"] == 0


def test_nothing_heavy_comes_with_the_module() -> None:
    code = "import sys, amqpd.testing.topology as t; print(*(m for m in sys.modules if 'definitions' in m))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout.split() == []


# -- snapshots --


def test_a_snapshot_is_a_value(world: World) -> None:
    topology.apply(world.broker, TERSE)
    first = topology.take(world.broker)
    assert topology.take(world.broker) == first
    world.vhost.remove_queue(world.vhost.queues["orders"])
    assert topology.take(world.broker) != first
    assert "orders" in first.places["/"].queues
    assert topology.take(World().broker) != first


def test_exclusive_queues_are_their_connections(world: World) -> None:
    before = topology.take(world.broker)
    world.queue("mine", exclusive=True)
    world.vhost.bind(Binding("amq.topic", "mine", True, "k"))
    assert topology.take(world.broker) == before


# -- back to them --


def furnish(world: World) -> Snapshot:
    """A broker that was told something of everything."""
    topology.apply(world.broker, TERSE)
    topology.make_vhost(world.broker, "v")
    world.broker.users.set(User("alice", hash_like_rabbitmq(b"secret", b"salt")))
    world.broker.permissions.set_topic(TopicPermission("guest", "/", "amq.topic", "a", "b"))
    world.broker.policies.set(Policy("/", "p", "orders", {"max-length": 10}))
    world.broker.limits.set(VHOST_LIMITS, "v", {"max-queues": 3})
    world.broker.parameters.set("/", "shovel", "s", 1)
    world.broker.parameters.set_global("g", 1)
    world.vhost.apply_policies()
    world.turn()
    return topology.take(world.broker)


def change_policies(world: World) -> None:
    world.broker.policies.clear("policy", "/", "p")
    world.broker.policies.set(Policy("/", "p", "brief", {"max-length": 1}))
    world.broker.policies.set(Policy("/", "o", "", {"max-length": 1}, kind=OPERATOR_POLICY))
    world.vhost.apply_policies()


def change_permissions(world: World) -> None:
    world.broker.permissions.clear("guest", "/")
    world.broker.permissions.set(Permission("guest", "v", "", "", ""))
    world.broker.permissions.set(Permission("alice", "v", "", "", ""))
    world.broker.permissions.clear_topic("guest", "/")
    world.broker.permissions.set_topic(TopicPermission("alice", "/", "amq.topic", "", ""))


def change_limits(world: World) -> None:
    world.broker.limits.clear(VHOST_LIMITS, "v")
    world.broker.limits.set(USER_LIMITS, "guest", {"max-channels": 1})


def change_parameters(world: World) -> None:
    world.broker.parameters.set("/", "shovel", "s", 2)
    world.broker.parameters.set("/", "shovel", "t", 1)
    world.broker.parameters.set_global("g", 2)
    world.broker.parameters.set_global("h", 2)


def change_users(world: World) -> None:
    world.broker.delete_user("alice")
    world.broker.users.set(User("guest", hash_like_rabbitmq(b"other", b"salt")))
    world.broker.users.set(User("bob", hash_like_rabbitmq(b"bob", b"salt")))


def redeclare(world: World) -> None:
    """A queue and an exchange under the old names, and one that will not be the old one's default."""
    world.broker.add_vhost("/", default_queue_type="quorum")
    world.vhost.remove_queue(world.vhost.queues["orders"])
    world.queue("orders", durable=False)
    world.vhost.remove_queue(world.vhost.queues["brief"])
    world.vhost.remove_exchange(world.vhost.exchanges["x"])
    world.vhost.declare_exchange("x", "fanout", durable=True, auto_delete=True, internal=False, arguments={})
    world.vhost.bind(Binding("x", "orders", True, ""))


def delete_all(world: World) -> None:
    world.broker.delete_vhost("v")
    for queue in list(world.vhost.queues.values()):
        world.vhost.remove_queue(queue)
    for name in "xd":
        world.vhost.remove_exchange(world.vhost.exchanges[name])


def add(world: World) -> None:
    world.broker.add_vhost("v", description="described", tags=["t"])
    topology.make_vhost(world.broker, "w")
    topology.apply(world.broker, {"queues": [{"name": "q"}], "exchanges": [{"name": "y"}]}, "w")
    topology.apply(world.broker, {"queues": [{"name": "q"}], "exchanges": [{"name": "y"}]})
    for binding in (
        Binding("y", "q", True, "k"),
        Binding("x", "y", False, "k"),
        Binding("x", "orders", True, "#", {"a": boolean(True)}),
    ):
        world.vhost.bind(binding)


def lose_the_default_virtual_host(world: World) -> None:
    world.broker.delete_vhost("/")


CHANGES = [
    change_policies,
    change_permissions,
    change_limits,
    change_parameters,
    change_users,
    redeclare,
    delete_all,
    add,
    lose_the_default_virtual_host,
]


@pytest.mark.parametrize("change", CHANGES)
def test_everything_is_as_it_was(world: World, change: Callable[[World], None]) -> None:
    snapshot = furnish(world)
    before = told(world.broker)
    durable = told(world.crash().broker)
    change(world)
    world.turn()
    assert topology.take(world.broker) != snapshot
    topology.reset(world.broker, snapshot)
    world.turn()
    assert topology.take(world.broker) == snapshot
    assert told(world.broker) == before
    assert told(world.crash().broker) == durable
    assert world.broker.vhosts["/"].queues["orders"].settings.max_length == 10
    assert world.broker.vhosts["/"].queues["brief"].settings.max_length is None


def test_a_queue_is_no_other_because_of_its_virtual_host(world: World) -> None:
    """The default type came after it, and is not its own."""
    world.queue("q")
    world.broker.add_vhost("/", default_queue_type="quorum")
    snapshot = topology.take(world.broker)
    world.vhost.remove_queue(world.find())
    topology.reset(world.broker, snapshot)
    assert world.find().arguments == {}
    assert world.vhost.default_queue_type == "quorum"


def test_exchanges_that_go_with_one_another(world: World) -> None:
    snapshot = topology.take(world.broker)
    for name in "ba":
        world.vhost.declare_exchange(name, "fanout", durable=True, auto_delete=True, internal=False, arguments={})
    world.vhost.bind(Binding("a", "b", False, ""))
    topology.reset(world.broker, snapshot)
    assert topology.take(world.broker) == snapshot


def test_a_snapshot_outlives_its_broker(world: World) -> None:
    snapshot = furnish(world)
    again = world.crash()
    assert again.vhost.queues.keys() == {"orders"}
    topology.reset(again.broker, snapshot)
    assert topology.take(again.broker) == snapshot


def test_where_nothing_changed_nothing_is_written(world: World) -> None:
    snapshot = furnish(world)
    topology.reset(world.broker, snapshot)
    assert world.journal.is_idle()
    queues = dict(world.vhost.queues)
    world.send("orders", b"m")
    world.turn()
    topology.reset(world.broker, snapshot)
    world.turn()
    assert world.vhost.queues == queues
    assert world.rows(SEGMENTS) == {}


def test_every_queue_is_empty(world: World) -> None:
    kinds = {"priority": arguments(max_priority=3), "quorum": arguments(queue_type="quorum"), "plain": {}}
    for name, table in kinds.items():
        world.vhost.declare_queue(name, world.owner, durable=True, exclusive=False, auto_delete=False, arguments=table)
    snapshot = topology.take(world.broker)
    peer = world.server.peer(1)
    peer.call(1, "basic.qos", prefetch_count=1)
    for name in kinds:
        world.send(name, b"1", b"2", priority=2)
        world.send(name, b"3", persistent=False)
        peer.send(1, "basic.consume", queue=name)
        peer.turn()
    assert {queue.unacked_count for queue in queues_of(world.broker)} == {1}
    topology.reset(world.broker, snapshot)
    world.turn()
    assert {(queue.ready_count, queue.unacked_count) for queue in queues_of(world.broker)} == {(0, 0)}
    assert world.rows(SEGMENTS) == {}
    assert [queue.ready_count for queue in queues_of(world.crash().broker)] == [0, 0, 0]


def test_connections_are_closed(world: World) -> None:
    snapshot = topology.take(world.broker)
    peer = world.server.peer(1)
    peer.call(1, "queue.declare", queue="mine", exclusive=True)
    topology.reset(world.broker, snapshot)
    world.turn()
    (said,) = peer.output()
    assert (said.name, said.args["reply_code"]) == ("connection.close", 320)
    assert said.args["reply_text"] == "CONNECTION_FORCED - the broker is reset"
    assert (world.broker.connections, world.vhost.queues) == ({}, {})


def test_queues_that_the_server_named_are_nobodys_then(world: World) -> None:
    """They are never in a snapshot, for nobody can declare them by name."""
    peer = world.server.peer(1)
    peer.call(1, "queue.declare", durable=True)
    snapshot = topology.take(world.broker)
    topology.reset(world.broker, snapshot)
    assert world.vhost.queues == {}


# -- connections that are kept --


def kept(world: World, snapshot: Snapshot) -> None:
    topology.reset(world.broker, snapshot, keep_connections=True)
    world.turn()


def test_a_kept_consumer_goes_on(world: World) -> None:
    """What it held is gone, and it may settle it or not."""
    queue = world.queue()
    snapshot = topology.take(world.broker)
    peer = world.server.peer(1)
    peer.call(1, "basic.qos", prefetch_count=2)
    peer.call(1, "basic.consume", queue="q")
    world.send("q", b"1", b"2", b"3")
    world.turn()
    assert [said.args["delivery_tag"] for said in peer.output()] == [1, 2]
    kept(world, snapshot)
    assert (queue.ready_count, queue.unacked_count) == (0, 0)
    peer.send(1, "basic.ack", delivery_tag=1)
    peer.send(1, "basic.nack", delivery_tag=2, multiple=True, requeue=True)
    world.send("q", b"4", b"5", b"6")
    world.turn()
    assert [said.body for said in peer.output()] == [b"4", b"5"]
    peer.send(1, "basic.ack", delivery_tag=4, multiple=True)
    world.turn()
    assert [said.body for said in peer.output()] == [b"6"]
    assert world.rows(SEGMENTS)


def test_settling_late_is_excused_for_so_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "LATE_TAGS_MAX", 2)
    world.queue()
    snapshot = topology.take(world.broker)
    peer = world.server.peer(1)
    peer.call(1, "basic.consume", queue="q")
    for _ in range(2):
        world.send("q", b"1", b"2", b"3")
        world.turn()
        kept(world, snapshot)
    assert list(peer.connection.channels[1].unacked.late) == [5, 6]


def test_a_transaction_is_forgotten(world: World) -> None:
    queue = world.queue()
    snapshot = topology.take(world.broker)
    peer = world.server.peer(1)
    peer.call(1, "tx.select")
    world.send("q", b"1", b"2")
    for _ in range(2):
        peer.send(1, "basic.get", queue="q")
    peer.send(1, "basic.ack", delivery_tag=1)
    peer.publish(1, "", "q", b"never")
    peer.turn()
    peer.output()
    kept(world, snapshot)
    assert queue.unacked_count == 0
    peer.publish(1, "", "q", b"after")
    peer.call(1, "tx.commit")
    assert queue.ready_count == 1
    assert peer.connection.channels[1].tx is not None


def test_their_own_queues_stay_empty_and_bound(world: World) -> None:
    topology.apply(world.broker, {"exchanges": [{"name": "x", "type": "x-recent-history"}]})
    snapshot = topology.take(world.broker)
    peer = world.server.peer(1)
    named = peer.call(1, "queue.declare", auto_delete=True)["queue"]
    peer.call(1, "queue.declare", queue="mine", exclusive=True)
    peer.call(1, "exchange.declare", exchange="y", type="fanout")
    for name in ("mine", named):
        for exchange in ("amq.topic", "x", "y"):
            peer.call(1, "queue.bind", queue=name, exchange=exchange, routing_key="#")
        peer.publish(1, "amq.topic", "k", b"old")
    peer.publish(1, "x", "k", b"old")
    peer.turn()
    kept(world, snapshot)
    assert world.vhost.queues.keys() == {"mine", named}
    assert {queue.ready_count for queue in world.vhost.queues.values()} == {0}
    assert {binding.source for binding in world.vhost.bindings} == {"amq.topic", "x"}
    peer.publish(1, "x", "k", b"new")
    peer.turn()
    assert [queue.ready_count for queue in world.vhost.queues.values()] == [1, 1]
    topology.reset(world.broker, snapshot)
    assert world.vhost.queues == {}


def test_what_the_snapshot_has_goes_before_what_is_theirs(world: World) -> None:
    world.queue("q")
    snapshot = topology.take(world.broker)
    world.vhost.remove_queue(world.find())
    peer = world.server.peer(1)
    peer.call(1, "queue.declare", queue="q", exclusive=True, durable=True)
    kept(world, snapshot)
    assert world.find().owner is None
    assert topology.take(world.broker) == snapshot


def test_who_has_no_user_or_virtual_host_any_more_is_closed(world: World) -> None:
    """An auto-delete queue that goes with him is made again."""
    topology.apply(world.broker, {"queues": [{"name": "q", "auto_delete": True}]})
    snapshot = topology.take(world.broker)
    peers = [world.server.peer(1) for _ in range(3)]
    peers[0].call(1, "basic.consume", queue="q")
    world.broker.users.set(User("bob", hash_like_rabbitmq(b"bob", b"salt")))
    peers[0].connection.user_name = "bob"
    world.broker.add_vhost("w")
    peers[1].connection.vhost_name = "w"
    kept(world, snapshot)
    assert [connection.name for connection in world.broker.connections] == [peers[2].connection.name]
    assert topology.take(world.broker) == snapshot


# -- exchanges with a memory --


DEDUPLICATING: Table = {"x-message-deduplication": boolean(True)}


def test_nothing_delayed_comes_after(world: World) -> None:
    flags = {"durable": True, "auto_delete": False, "internal": False}
    delayed: Table = {"x-delayed-type": longstr("fanout"), **DEDUPLICATING}
    world.vhost.declare_exchange("x", "x-delayed-message", **flags, arguments=delayed)
    queue = world.queue()
    world.vhost.bind(Binding("x", "q", True, ""))
    snapshot = topology.take(world.broker)
    for persistent in (True, False):
        send(world, b"old", x_delay=Field("I", 1000), persistent=persistent)
    world.turn()
    exchange = world.vhost.exchanges["x"]
    assert isinstance(exchange, DelayedExchange)
    assert exchange.delayed_count == 2
    topology.reset(world.broker, snapshot)
    world.turn()
    assert world.rows(DELAYED) == world.rows(SCRATCH) == {}
    send(world, b"new", x_delay=Field("I", 1000))
    world.turn()
    world.pass_ms(2000)
    assert queue.ready_count == 1


def test_no_id_is_known_and_no_history_told(world: World) -> None:
    topology.apply(
        world.broker,
        {
            "exchanges": [
                {"name": "x", "type": "fanout", "arguments": {"x-message-deduplication": True}},
                {"name": "h", "type": "x-recent-history", "auto_delete": True},
            ],
            "queues": [{"name": "q"}],
            "bindings": [
                {"source": "x", "destination": "q"},
                {"source": "h", "destination": "q"},
                {"source": "x", "destination": "h", "destination_type": "exchange"},
            ],
        },
    )
    snapshot = topology.take(world.broker)
    peer = world.server.peer(1)
    for _ in range(2):
        peer.publish(1, "x", "", b"m", properties(message_id="1", delivery_mode=2))
        peer.turn()
        assert world.vhost.queues["q"].ready_count == 1
        kept(world, snapshot)
        assert world.rows(SEEN) == {}
        assert topology.take(world.broker) == snapshot
    peer.call(1, "queue.bind", queue="q", exchange="h", routing_key="late")
    assert world.vhost.queues["q"].ready_count == 0


# -- on disk --


def settle(server: Server) -> None:
    """Turns until all is on disk."""
    server.turn()
    store = server.store
    while not server.broker.journal.is_idle():
        assert select.select([store.wake_fd()], [], [], 20.0)[0]
        os.read(store.wake_fd(), 4096)
        server.turn()


def test_what_is_reset_is_reset_on_disk(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    server = Server(store)
    restore(server.broker)
    topology.apply(server.broker, {**TERSE, "exchanges": [{"name": "x", "type": "x-recent-history"}]})
    snapshot = topology.take(server.broker)
    settle(server)
    peer = server.peer(1)
    for name in ("orders", "other"):
        peer.send(1, "queue.declare", queue=name, durable=True)
        peer.publish(1, "", name, b"m", properties(delivery_mode=2))
    settle(server)
    vhost = server.broker.vhosts["/"]
    assert vhost.queues["orders"].ready_count == 1
    topology.reset(server.broker, snapshot)
    settle(server)
    before = told(server.broker)
    store.close()
    store = LmdbStore(tmp_path)
    try:
        again = Server(store).broker
        restore(again)
        before["queues"] = [entry for entry in before["queues"] if "brief" not in entry]
        assert told(again) == before
        assert [queue.ready_count for queue in queues_of(again)] == [0]
        assert next(store.keys(SEGMENTS, b""), None) is None
    finally:
        store.close()


# -- whatever happens --


class Life:
    """A broker to which anything happens: each operation with a number that says to what."""

    def __init__(self) -> None:
        self.world = World()
        self.peer: Peer | None = None

    @property
    def vhost(self) -> VirtualHost:
        return self.world.broker.vhosts["/"]

    def do(self, operations: list[tuple[str, int]]) -> None:
        for name, number in operations:
            try:
                getattr(self, name)(number)
            except AmqpError:
                pass  # it is not to be had now
            self.world.turn()

    def declare_queue(self, n: int) -> None:
        tables = [{}, arguments(max_priority=3), arguments(queue_type="quorum"), arguments(message_ttl=1000)]
        flags = {"durable": n % 2 == 0 or n % 4 == 2, "auto_delete": n % 5 == 0 and n % 4 != 2}
        self.vhost.declare_queue("abc"[n % 3], self.world.owner, exclusive=False, **flags, arguments=tables[n % 4])

    def delete_queue(self, n: int) -> None:
        self.vhost.delete_queue("abc"[n % 3], self.world.owner, if_unused=False, if_empty=False)

    def declare_exchange(self, n: int) -> None:
        kinds = ["direct", "fanout", "topic", "x-delayed-message", "x-recent-history"]
        table: Table = {"x-delayed-type": longstr("fanout")} if n % 5 == 3 else {}
        flags = {"durable": n % 2 == 0, "auto_delete": n % 3 == 1, "internal": False}
        extra = DEDUPLICATING if n > 5 else {}
        self.vhost.declare_exchange("xyz"[n % 3], kinds[n % 5], **flags, arguments={**table, **extra})

    def delete_exchange(self, n: int) -> None:
        self.vhost.delete_exchange("xyz"[n % 3], if_unused=False)

    def bind(self, n: int) -> None:
        source, destination = ["x", "y", "z", "amq.fanout"][n % 4], "abcxyz"[n % 6]
        to_queue = destination in "abc"
        if source in self.vhost.exchanges and destination in (self.vhost.queues if to_queue else self.vhost.exchanges):
            self.vhost.bind(Binding(source, destination, to_queue, "#" if n % 2 else "k"))

    def unbind(self, n: int) -> None:
        bindings = list(self.vhost.bindings)
        if bindings:
            self.vhost.unbind(bindings[n % len(bindings)])

    def publish(self, n: int) -> None:
        props: dict[str, Any] = {"delivery_mode": 1 + n % 2, "message_id": str(n % 2)}
        if n % 3 == 0:
            props["headers"] = {"x-delay": 500}
        exchange = ["", "x", "y", "z", "amq.fanout"][n % 5]
        if exchange in self.vhost.exchanges:
            self.open().publish(1, exchange, "abck"[n % 4], b"m", properties(**props))

    def set_policy(self, n: int) -> None:
        definitions: list[dict[str, Any]] = [{"max-length": 1}, {"message-ttl": 100}, {"dead-letter-exchange": "x"}]
        self.world.broker.policies.set(Policy("/", "pq"[n % 2], "ab"[n % 2], definitions[n % 3]))
        self.vhost.apply_policies()

    def change_registries(self, n: int) -> None:
        node = self.world.broker
        node.limits.set(USER_LIMITS, "guest", {"max-channels": 100 + n})
        node.parameters.set("/", "shovel", "st"[n % 2], n)
        node.parameters.set_global("gh"[n % 2], n)
        node.permissions.set(Permission("alice", "v", str(n), "", ""))
        node.permissions.set_topic(TopicPermission("alice", "/", "xy"[n % 2], "", ""))

    def clear_registries(self, n: int) -> None:
        node = self.world.broker
        node.limits.clear(USER_LIMITS, "guest")
        node.permissions.clear_user("alice")
        node.parameters.clear_vhost("/")
        node.policies.clear_vhost("/")
        self.vhost.apply_policies()

    def change_users(self, n: int) -> None:
        name = ["alice", "bob"][n % 2]
        if self.world.broker.users.find(name) is None:
            self.world.broker.users.set(User(name, hash_like_rabbitmq(b"%d" % n, b"salt")))
        else:
            self.world.broker.delete_user(name)

    def begin_anew(self, n: int) -> None:
        self.world.broker.delete_vhost("/")
        topology.make_vhost(self.world.broker, "/")

    def make_vhost(self, n: int) -> None:
        topology.make_vhost(self.world.broker, "vw"[n % 2])
        topology.apply(self.world.broker, TERSE, "vw"[n % 2])

    def drop_vhost(self, n: int) -> None:
        topology.drop_vhost(self.world.broker, "vw"[n % 2])

    def consume(self, n: int) -> None:
        if self.is_free(n):
            self.open().send(1, "basic.consume", queue="abc"[n % 3], no_ack=n % 2 == 0)

    def get(self, n: int) -> None:
        if self.is_free(n):
            self.open().send(1, "basic.get", queue="abc"[n % 3])

    def is_free(self, n: int) -> bool:
        queue = self.vhost.queues.get("abc"[n % 3])
        return queue is not None and queue.owner is None

    def own(self, n: int) -> None:
        """An exclusive queue, or one that the server names, and a binding."""
        name = self.open().call(1, "queue.declare", exclusive=n % 2 == 0)["queue"]
        self.open().call(1, "queue.bind", queue=name, exchange="amq.fanout")

    def trade(self, n: int) -> None:
        if self.open().connection.channels[1].confirms is None:
            self.open().call(1, "tx.select")

    def hang_up(self, n: int) -> None:
        if self.peer is not None:
            self.peer.hang_up()

    def pass_ms(self, n: int) -> None:
        self.world.pass_ms(50 * n)

    def open(self) -> Peer:
        if self.peer is None or self.peer.is_gone or 1 not in self.peer.connection.channels:
            self.peer = self.world.server.peer(1)
        self.peer.take_bytes()
        return self.peer


NAMES = sorted(
    name for name in vars(Life) if not name.startswith("_") and name not in ("do", "open", "is_free", "vhost")
)
operations = st.lists(st.tuples(st.sampled_from(NAMES), st.integers(0, 11)), max_size=25)


@settings(max_examples=60)
@given(before=operations, after=operations, keep=st.booleans())
@example(before=[("change_registries", 0)], after=[("change_users", 0)], keep=True)
@example(before=[("own", 1)], after=[("begin_anew", 0)], keep=False)
def test_whatever_happens_the_way_back_leads_there(
    before: list[tuple[str, int]], after: list[tuple[str, int]], keep: bool
) -> None:
    life = Life()
    life.do(before)
    snapshot, was, durable = topology.take(life.world.broker), told(life.world.broker), told(life.world.crash().broker)
    life.do(after)
    topology.reset(life.world.broker, snapshot, keep_connections=keep)
    check_broker(life.world.broker)
    life.world.turn()
    is_now = told(life.world.broker)
    if not keep:
        assert not any(queue.name.startswith("amq.") for queue in queues_of(life.world.broker))
        assert (is_now, told(life.world.crash().broker)) == (was, durable)
        assert topology.take(life.world.broker).registries == snapshot.registries
    assert [entry for section in was for entry in was[section] if entry not in is_now[section]] == []
    life.world.pass_ms(60_000)
    for queue in [*queues_of(life.world.broker), *queues_of(life.world.crash().broker)]:
        assert (queue.ready_count, queue.unacked_count) == (0, 0), queue.name


# -- virtual hosts, one a test --


def test_guest_may_do_everything_in_a_virtual_host_that_goes_with_its_connections(world: World) -> None:
    before = told(world.broker)
    topology.make_vhost(world.broker, "v")
    peers = [world.server.peer(1) for _ in range(2)]
    peers[1].connection.vhost_name = "v"
    assert world.broker.permissions.all()[1] == Permission("guest", "v", ".*", ".*", ".*")
    topology.drop_vhost(world.broker, "v")
    assert list(world.broker.connections) == [peers[0].connection]
    topology.drop_vhost(world.broker, "v")
    world.turn()
    assert told(world.broker) == told(world.crash().broker) == before


def test_a_copy_is_what_the_other_was(world: World) -> None:
    change_parameters(world)
    world.broker.add_vhost("/", description="d", tags=["t"], default_queue_type="quorum")
    world.broker.limits.set(VHOST_LIMITS, "/", {"max-queues": 3})
    world.broker.policies.set(Policy("/", "a", "amq.topic", {"alternate-exchange": "x"}))
    topology.make_vhost(world.broker, "other")
    world.broker.permissions.set(Permission("alice", "other", "", "", ""))
    world.broker.permissions.set_topic(TopicPermission("guest", "other", "amq.topic", "", ""))
    world.broker.policies.set(Policy("other", "b", "orders", {"max-length": 5}))
    snapshot = furnish(world)
    delete_all(world)
    topology.copy_vhost(world.broker, snapshot, "/", "copy")
    world.turn()
    again = topology.take(world.broker)
    assert again.places["copy"] == snapshot.places["/"]
    assert world.broker.vhosts["copy"].exchanges["amq.topic"].alternate == "x"
    assert world.broker.vhosts["copy"].queues["orders"].settings.max_length == 10
    assert of_vhost(world, "copy") == of_vhost(world, "/") == of_vhost(world.crash(), "copy")
    topology.drop_vhost(world.broker, "copy")
    topology.reset(world.broker, snapshot)
    assert topology.take(world.broker) == snapshot
    with pytest.raises(KeyError):
        topology.copy_vhost(world.broker, snapshot, "no such", "copy")


def of_vhost(world: World, name: str) -> list[str]:
    """What operators say of a virtual host, as if it had no name."""
    sections = ("vhosts", "permissions", "topic_permissions", "policies", "parameters")
    entries = [entry for section in sections for entry in told(world.broker)[section]]
    return [entry.replace(json.dumps(name), "?") for entry in entries if name in json.loads(entry).values()]
