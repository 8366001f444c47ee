import logging
from typing import Any

import pytest

from amqpd.broker import records, recovery
from amqpd.broker.bindings import Binding
from amqpd.broker.fields import Field, Table, longstr, table
from amqpd.broker.ports import ACKS, BINDINGS, META, SEGMENTS, STATES
from amqpd.broker.queues.segments import SEGMENT_HEADER_BYTES, acks_value, queue_key, segment_key
from amqpd.store.memory import MemoryStore
from tests.broker.world import World

ARGUMENTS: Table = {"x-a": Field("I", 1), "x-b": Field("x", b"\xff")}


@pytest.fixture
def world() -> World:
    return World()


# --- the schema ---


def test_an_empty_store_gets_its_schema_in_the_first_batch(world: World) -> None:
    assert world.rows(META) == {records.SCHEMA_KEY: b"1"}
    assert recovery.check_schema(world.disk)


def test_a_store_that_was_never_used_has_no_schema() -> None:
    assert not recovery.check_schema(MemoryStore())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"2", r"was written by a newer amqpd \(its schema is 2, this one reads up to 1\)"),
        (b"junk", "has a schema version that cannot be read: b'junk'"),
        (b'"one"', "has a schema version that cannot be read"),
        (b"\xff" * 100, "has a schema version that cannot be read"),
    ],
)
def test_a_store_of_somebody_else_is_refused(value: bytes, reason: str) -> None:
    disk = MemoryStore()
    disk.commit(1, [(META, records.SCHEMA_KEY, value)])
    with pytest.raises(recovery.UnusableStore, match=f"^{reason}"):
        World(disk)


# --- topology ---


def test_durable_exchanges_come_back(world: World) -> None:
    for name, type_name in (("d", "direct"), ("f", "fanout"), ("t", "topic"), ("h", "headers")):
        flags = {"durable": True, "auto_delete": name == "d", "internal": name == "f"}
        world.vhost.declare_exchange(name, type_name, **flags, arguments={"alternate-exchange": longstr("a")})
    world.turn()
    vhost = world.crash().vhost
    for name, exchange in world.vhost.exchanges.items():
        twin = vhost.exchanges[name]
        assert type(twin) is type(exchange)
        flags_of = [(each.durable, each.auto_delete, each.internal) for each in (exchange, twin)]
        assert flags_of[0] == flags_of[1]
        assert twin.arguments == exchange.arguments


def test_durable_queues_come_back_empty_or_not(world: World) -> None:
    queue = world.queue("q", auto_delete=True, arguments=ARGUMENTS)
    twin = world.crash().find("q")
    assert (twin.queue_id, twin.durable, twin.auto_delete, twin.owner) == (queue.queue_id, True, True, None)
    assert twin.arguments == ARGUMENTS
    assert (twin.ready_count, twin.created) == (0, 0)
    assert twin.get() is None


def test_bindings_come_back(world: World) -> None:
    world.queue("q")
    world.vhost.declare_exchange("x", "headers", durable=True, auto_delete=False, internal=False, arguments={})
    bindings = {
        Binding("amq.topic", "q", True, "a.#"),
        Binding("amq.topic", "x", False, "#"),
        Binding("x", "q", True, "", {"x-match": longstr("any"), "h": Field("A", [table({"a": Field("d", 0.5)})])}),
    }
    for binding in bindings:
        world.vhost.bind(binding)
    world.turn()
    vhost = world.crash().vhost
    assert set(vhost.bindings) == bindings
    assert [queue.name for queue in vhost.route(vhost.exchanges["amq.topic"], "a.b", None)] == ["q"]


def test_what_is_not_durable_does_not_come_back(world: World) -> None:
    world.queue("transient", durable=False)
    world.queue("exclusive", exclusive=True)
    world.queue("kept")
    world.vhost.declare_exchange("x", "direct", durable=False, auto_delete=False, internal=False, arguments={})
    for source, name in (("amq.direct", "transient"), ("amq.direct", "exclusive"), ("x", "kept")):
        world.vhost.bind(Binding(source, name, True, "k"))
    world.turn()
    vhost = world.crash().vhost
    assert list(vhost.queues) == ["kept"]
    assert "x" not in vhost.exchanges
    assert len(vhost.bindings) == 0


@pytest.mark.parametrize(("source", "destination", "to_queue"), [("x", "q", True), ("amq.direct", "r", True)])
def test_a_binding_without_both_ends_is_left_out(world: World, source: str, destination: str, to_queue: bool) -> None:
    world.queue("q")
    binding = Binding(source, destination, to_queue, "k")
    key = records.binding_key("/", binding)
    world.journal.put(BINDINGS, key, records.binding_value("/", binding))
    world.turn()
    assert len(world.crash().vhost.bindings) == 0


def test_other_virtual_hosts_come_back(world: World) -> None:
    vhost = world.broker.add_vhost("v")
    flags: dict[str, Any] = {"durable": True, "auto_delete": False, "arguments": {}}
    vhost.declare_queue("q", world.owner, exclusive=False, **flags)
    vhost.declare_exchange("x", "direct", internal=False, **flags)
    vhost.bind(Binding("x", "q", True, "k"))
    world.turn()
    found = world.crash().broker.find_vhost("v")
    assert found is not None
    assert (list(found.queues), "x" in found.exchanges, len(found.bindings)) == (["q"], True, 1)
    assert list(world.crash().vhost.queues) == []


def test_no_queue_number_is_used_twice(world: World) -> None:
    numbers = [world.queue(name).queue_id for name in "ab"]
    world.vhost.delete_queue("b", world.owner, if_unused=False, if_empty=False)
    world.turn()
    again = world.crash()
    numbers.append(again.queue("c").queue_id)
    assert numbers == sorted(set(numbers))


# --- messages ---


def test_counts_come_from_headers_alone(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """No message is looked at: what is wrong in one is not seen before it is read."""
    queue = world.queue()
    world.publish(queue, b"1", b"2", b"3")
    world.turn()
    world.publish(queue, b"4")
    world.turn()
    assert len(world.rows(SEGMENTS)) == 2
    for key, value in world.rows(SEGMENTS).items():
        world.disk.tables[SEGMENTS][key] = value[:SEGMENT_HEADER_BYTES] + bytes(len(value) - SEGMENT_HEADER_BYTES)
    with caplog.at_level(logging.WARNING):
        twin = world.crash().find()
    assert twin.ready_count == 4
    assert (len(twin.ready), twin.memory_bytes) == (0, 0)
    assert caplog.records == []


def test_what_was_acked_is_not_counted(world: World) -> None:
    queue = world.queue()
    world.publish(queue, b"1", b"2", b"3", b"4")
    world.turn()
    taken = [world.take(queue) for _ in range(4)]
    for message in taken[1:3]:
        queue.settle(message)
    world.turn()
    again = world.crash()
    assert again.find().ready_count == 2
    assert again.bodies(again.find()) == [b"1", b"4"]


def test_positions_go_on_behind_the_last_one(world: World) -> None:
    queue = world.queue()
    world.publish(queue, b"1", b"2")
    world.turn()
    again = world.crash()
    again.publish(again.find(), b"3")
    again.turn()
    third = again.crash()
    assert third.bodies(third.find()) == [b"1", b"2", b"3"]


def test_marks_come_back(world: World) -> None:
    queue = world.queue()
    world.journal.put(STATES, queue_key(queue.queue_id), (2).to_bytes(8, "big"))
    world.publish(queue, b"1", b"2", b"3")
    world.turn()
    again = world.crash()
    assert again.drain(again.find()) == [(b"1", True), (b"2", True), (b"3", False)]


# --- what cannot be read ---


def corrupt(world: World, table: int, count: int = 1) -> None:
    """Spoil the first values of ``table``."""
    for key in sorted(world.rows(table))[:count]:
        world.disk.tables[table][key] = b"junk"


def spoilt(world: World) -> World:
    """Two segments of two messages; the second message of the first one is acked."""
    queue = world.queue()
    for bodies in ((b"1", b"2"), (b"3", b"4")):
        world.publish(queue, *bodies)
        world.turn()
    first, second = world.take(queue), world.take(queue)
    queue.settle(second)
    queue.requeue([first])
    world.turn()
    assert len(world.rows(ACKS)) == 1
    return world


@pytest.mark.parametrize("table_number", [SEGMENTS, ACKS])
def test_a_corrupt_segment_is_reported_and_the_others_come_back(
    world: World, table_number: int, caplog: pytest.LogCaptureFixture
) -> None:
    corrupt(spoilt(world), table_number)
    again = world.crash()
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "queue 'q'" in caplog.text
    assert "kept, but not delivered" in caplog.text
    assert again.find().ready_count == 2
    assert again.bodies(again.find()) == [b"3", b"4"]
    assert len(again.rows(SEGMENTS)) == 1, "what is corrupt stays where it is"


def test_a_segment_under_another_ones_key_is_corrupt(world: World, caplog: pytest.LogCaptureFixture) -> None:
    queue = world.queue()
    world.publish(queue, b"1")
    world.turn()
    (value,) = world.rows(SEGMENTS).values()
    world.disk.tables[SEGMENTS][segment_key(queue.queue_id, 5)] = value
    again = world.crash()
    assert again.bodies(again.find()) == [b"1"], "once"
    assert "a segment lies under another one's key" in caplog.text


def test_a_segment_that_is_all_acked_is_not_there(world: World) -> None:
    queue = world.queue()
    world.publish(queue, b"1", b"2")
    world.turn()
    world.disk.tables[ACKS][segment_key(queue.queue_id, 1)] = acks_value(bytearray(b"\x03"))
    assert world.crash().find().ready_count == 0


@pytest.mark.parametrize("table_number", [SEGMENTS, ACKS])
def test_nothing_is_written_over_a_corrupt_segment(world: World, table_number: int) -> None:
    """Nor may its ack map say anything about messages that come later."""
    corrupt(spoilt(world), table_number, count=2)
    kept = world.rows(table_number)
    again = world.crash()
    again.bodies(again.find())
    again.publish(again.find(), b"5", b"6", b"7")
    again.turn()
    assert kept.items() <= again.rows(table_number).items()
    third = again.crash()
    assert third.bodies(third.find()) == [b"5", b"6", b"7"]
