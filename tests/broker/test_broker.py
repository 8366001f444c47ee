from typing import Any

import pytest

from amqpd.broker import records
from amqpd.broker.bindings import Binding
from amqpd.broker.broker import Broker
from amqpd.broker.passwords import hash_like_rabbitmq
from amqpd.broker.permissions import Permission, TopicPermission
from amqpd.broker.ports import BINDINGS, ENTITIES, EXCHANGES, QUEUES, STATES
from amqpd.broker.queues.segments import queue_key
from amqpd.broker.records import unseal
from amqpd.broker.users import NoSuchUser, User
from amqpd.broker.vhost_limits import USER_LIMITS, VHOST_LIMITS
from amqpd.store.memory import MemoryStore
from tests.broker.world import World
from tests.support.wire import CountingIds


def test_a_new_broker_has_the_default_virtual_host_and_guest() -> None:
    broker = Broker(MemoryStore(), CountingIds())
    assert list(broker.vhosts) == ["/"]
    assert broker.users.find("guest") is not None
    assert broker.permissions.may_enter("guest", "/")


def test_virtual_hosts_by_name() -> None:
    broker = Broker(MemoryStore(), CountingIds())
    assert broker.find_vhost("v") is None
    vhost = broker.make_vhost("v")
    assert broker.find_vhost("v") is vhost
    assert broker.find_vhost("/") is not vhost


def test_virtual_hosts_are_apart_but_share_queue_numbers() -> None:
    world = World()
    queue = world.queue()
    other = world.broker.make_vhost("v")
    flags = {"durable": True, "exclusive": False, "auto_delete": False}
    twin = other.declare_queue("q", world.owner, **flags, arguments={})
    world.turn()
    assert twin is not queue
    assert twin.queue_id != queue.queue_id
    assert len(world.rows(QUEUES)) == 2


def test_a_virtual_host_is_described_and_stored() -> None:
    world = World()
    world.store.is_delaying = True
    ticket = world.broker.add_vhost("v", description="d", tags=["t"], default_queue_type="quorum")
    assert ticket == world.journal.ticket
    vhost = world.broker.vhosts["v"]
    assert (vhost.description, vhost.tags, vhost.default_queue_type) == ("d", ("t",), "quorum")
    world.turn()
    world.complete()
    key, value = records.entity_row("vhost", ["v"], {"name": "v", "description": "d", "tags": ["t"]})
    assert records.decode(key, world.rows(ENTITIES)[key]).items() >= records.decode(key, value).items()
    assert world.broker.add_vhost("v", description="e") == world.journal.ticket
    assert world.broker.vhosts["v"] is vhost, "it is described anew, and what is in it stays"
    assert (vhost.description, vhost.tags, vhost.default_queue_type) == ("e", (), "")


def test_a_fresh_store_has_the_default_virtual_host() -> None:
    key = records.entity_key("vhost", "/")
    assert records.decode(key, World().rows(ENTITIES)[key])["name"] == "/"


def test_connections_end_with_their_virtual_host() -> None:
    world = World()
    world.broker.add_vhost("v")
    peers = [world.server.peer(1) for _ in range(2)]
    peers[0].connection.vhost_name = "v"
    for peer in peers:
        world.broker.connections.setdefault(peer.connection)
    world.broker.delete_vhost("v")
    world.turn()
    (said,) = peers[0].output()
    assert (said.name, said.args["reply_code"]) == ("connection.close", 320)
    assert said.args["reply_text"] == "CONNECTION_FORCED - vhost 'v' is deleted"
    assert peers[1].output() == []


def test_a_virtual_host_goes_with_all_that_is_in_it() -> None:
    """Also with exchanges that go with one another."""
    world = World()
    world.broker.add_vhost("v")
    vhost = world.broker.vhosts["v"]
    flags: dict[str, Any] = {"durable": True, "arguments": {}}
    queue = vhost.declare_queue("q", world.owner, exclusive=False, auto_delete=False, **flags)
    for name, auto_delete in (("b", False), ("a", True), ("c", True)):
        vhost.declare_exchange(name, "fanout", auto_delete=auto_delete, internal=False, **flags)
    for binding in (Binding("a", "b", False, ""), Binding("c", "q", True, ""), Binding("b", "a", False, "")):
        vhost.bind(binding)
    world.turn()
    before = len(world.rows(ENTITIES))
    world.broker.delete_vhost("v")
    world.turn()
    assert queue.deleted
    assert (vhost.queues, vhost.exchanges, len(vhost.bindings)) == ({}, {}, 0)
    assert [world.rows(table) for table in (QUEUES, EXCHANGES, BINDINGS)] == [{}] * 3
    assert len(world.rows(ENTITIES)) == before - 1
    with pytest.raises(KeyError):
        world.broker.delete_vhost("v")


def test_forgotten_routes_are_those_of_all() -> None:
    broker = Broker(MemoryStore(), CountingIds())
    broker.make_vhost("v")
    before = {name: vhost.version for name, vhost in broker.vhosts.items()}
    broker.forget_routes()
    assert all(vhost.version > before[name] for name, vhost in broker.vhosts.items())


def test_windows_are_as_the_broker_was_told() -> None:
    assert World(window_bytes=4096).queue().window_bytes == 4096


def test_forgotten_is_every_message_of_every_queue() -> None:
    world = World()
    world.publish(world.queue("a"), b"1")
    priorities = world.priorities("b")
    world.send("b", b"2", priority=3)
    world.turn()
    world.broker.forget()
    assert not world.find("a").ready
    assert [len(part.ready) for part in priorities.parts.values()] == [0]


def test_stop_notes_what_was_delivered_of_every_queue() -> None:
    world = World()
    for name, taken in (("a", 1), ("b", 2)):
        queue = world.queue(name)
        world.publish(queue, b"1", b"2", b"3")
        for _ in range(taken):
            world.take(queue)
    world.broker.stop()
    assert not world.journal.is_idle(), "the caller seals it"
    world.turn()
    keys = [queue_key(world.find(name).queue_id) for name in "ab"]
    marks = [unseal(key, world.rows(STATES)[key]) for key in keys]
    assert marks == [(1).to_bytes(8, "big"), (2).to_bytes(8, "big")]


def governed() -> World:
    """ada and guest may enter "/" and "v", with limits."""
    world = World()
    broker = world.broker
    broker.add_vhost("v")
    broker.users.set(User("ada", hash_like_rabbitmq(b"secret", b"salt"), ("management",)))
    for user in ("ada", "guest"):
        for vhost in ("/", "v"):
            broker.permissions.set(Permission(user, vhost, ".*", ".*", ".*"))
            broker.permissions.set_topic(TopicPermission(user, vhost, "amq.topic", "", ""))
    broker.limits.set(USER_LIMITS, "ada", {"max-channels": 5})
    broker.limits.set(VHOST_LIMITS, "v", {"max-queues": 7})
    world.turn()
    return world


def access(world: World) -> tuple[set[str], set[tuple[str, str]], set[tuple[str, str]], int]:
    """Users, who may enter where, who has topic permissions where, and how many have limits."""
    broker = world.broker
    return (
        {user.name for user in broker.users.all()},
        {(each.user, each.vhost) for each in broker.permissions.all()},
        {(each.user, each.vhost) for each in broker.permissions.all_topics()},
        len(broker.limits.all(USER_LIMITS)) + len(broker.limits.all(VHOST_LIMITS)),
    )


def test_users_permissions_and_limits_come_back() -> None:
    world = governed()
    everywhere = {("ada", "/"), ("ada", "v"), ("guest", "/"), ("guest", "v")}
    assert access(world) == access(world.crash()) == ({"ada", "guest"}, everywhere, everywhere, 2)


def test_deleted_user_leaves_nothing() -> None:
    world = governed()
    world.broker.delete_user("ada")
    world.turn()
    left = {("guest", "/"), ("guest", "v")}
    assert access(world) == access(world.crash()) == ({"guest"}, left, left, 1)


def test_deleted_virtual_host_leaves_no_permission() -> None:
    world = governed()
    world.broker.delete_vhost("v")
    world.turn()
    left = {("ada", "/"), ("guest", "/")}
    assert access(world) == access(world.crash()) == ({"ada", "guest"}, left, left, 1)


def test_unknown_user_is_not_deleted() -> None:
    world = governed()
    with pytest.raises(NoSuchUser):
        world.broker.delete_user("bob")
    assert world.journal.is_idle()
