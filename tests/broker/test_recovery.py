import logging
from typing import Any

import pytest

from amqpd.broker import records, recovery
from amqpd.broker.arguments import QueueSettings
from amqpd.broker.bindings import Binding
from amqpd.broker.fields import Field, Table, longstr, table
from amqpd.broker.policies import Policy
from amqpd.broker.ports import (
    ACKS,
    BINDINGS,
    DELAYED,
    ENTITIES,
    EXCHANGES,
    META,
    QUARANTINE,
    QUEUES,
    SEEN,
    SEGMENTS,
    STATES,
    TABLES,
)
from amqpd.broker.publication import Publication
from amqpd.broker.queues.segments import acks_key, queue_key, read_segment_key
from amqpd.store.memory import MemoryStore
from tests.broker.exchanges.published import published
from tests.broker.world import World, arguments, content_of
from tests.support.wire import DelayedStore, Server, take_head

ARGUMENTS: Table = {"x-a": Field("I", 1), "x-b": Field("x", b"\xff")}


@pytest.fixture
def world() -> World:
    return World()


# --- the schema ---


def test_an_empty_store_gets_its_schema_in_the_first_batch(world: World) -> None:
    assert world.rows(META) == dict([records.row(records.SCHEMA_KEY, records.SCHEMA_VERSION)])
    assert recovery.check_schema(world.disk)


def test_a_store_that_was_never_used_has_no_schema() -> None:
    assert not recovery.check_schema(MemoryStore())


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"1", r"was written by an amqpd from before its first release \(schema 1\)"),
        (
            records.row(records.SCHEMA_KEY, 4)[1],
            r"was written by a newer amqpd \(its schema is 4, this one reads up to 3\)",
        ),
    ],
)
def test_a_store_of_another_version_is_refused(value: bytes, reason: str) -> None:
    disk = MemoryStore()
    disk.commit(1, [(META, records.SCHEMA_KEY, value)])
    with pytest.raises(recovery.UnusableStore, match=f"^{reason}$"):
        World(disk)


@pytest.mark.parametrize("value", [b"junk", b'"one"', b"\xff" * 100, None])
def test_a_schema_that_is_lost_costs_nothing_else(
    world: World, value: bytes | None, caplog: pytest.LogCaptureFixture
) -> None:
    """Such a store is not an empty one."""
    world.publish(world.queue(), b"1")
    world.turn()
    if value is None:
        del world.disk.tables[META][records.SCHEMA_KEY]
    else:
        world.disk.tables[META][records.SCHEMA_KEY] = value
    again = world.crash()
    assert "the store's schema version is lost: taken for 3" in caplog.text
    assert again.rows(META)[records.SCHEMA_KEY] == records.row(records.SCHEMA_KEY, records.SCHEMA_VERSION)[1]
    assert list(again.rows(QUARANTINE).values()) == ([] if value is None else [value])
    other = again.queue("other")
    assert other.queue_id != again.find("q").queue_id
    assert again.bodies(again.find("q")) == [b"1"]


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
    assert twin.hold_ticket() == 0
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
    found = vhost.route(vhost.exchanges["amq.topic"], "a.b", published("a.b", exchange="amq.topic"))
    assert [queue.name for queue in found] == ["q"]


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
def test_a_binding_without_both_ends_is_removed(
    world: World, source: str, destination: str, to_queue: bool, caplog: pytest.LogCaptureFixture
) -> None:
    world.queue("q")
    world.journal.put(BINDINGS, *records.binding_row("/", Binding(source, destination, to_queue, "k")))
    world.turn()
    again = world.crash()
    assert len(again.vhost.bindings) == 0
    assert again.rows(BINDINGS) == {}
    words = f"binding of '{destination}' to '{source}' with key 'k': one end of it is lost: it is removed"
    assert [record.getMessage() for record in caplog.records] == [words]


def test_other_virtual_hosts_come_back(world: World) -> None:
    world.broker.add_vhost("v")
    vhost = world.broker.vhosts["v"]
    flags: dict[str, Any] = {"durable": True, "auto_delete": False, "arguments": {}}
    vhost.declare_queue("q", world.owner, exclusive=False, **flags)
    vhost.declare_exchange("x", "direct", internal=False, **flags)
    vhost.bind(Binding("x", "q", True, "k"))
    world.turn()
    found = world.crash().broker.find_vhost("v")
    assert found is not None
    assert (list(found.queues), "x" in found.exchanges, len(found.bindings)) == (["q"], True, 1)
    assert list(world.crash().vhost.queues) == []


def test_virtual_hosts_come_back_as_they_were_described(world: World) -> None:
    world.broker.add_vhost("v", description="of tests", tags=["a", "b"], default_queue_type="quorum")
    world.broker.add_vhost("w")
    world.broker.add_vhost("w", description="described later")
    world.turn()
    found = world.crash().broker.vhosts
    assert {name: (each.description, each.tags, each.default_queue_type) for name, each in found.items()} == {
        "/": ("", (), ""),
        "v": ("of tests", ("a", "b"), "quorum"),
        "w": ("described later", (), ""),
    }


@pytest.mark.parametrize("name", ["/", "v"])
def test_a_virtual_host_that_was_deleted_stays_away(world: World, name: str) -> None:
    world.broker.add_vhost("v")
    for vhost in world.broker.vhosts.values():
        vhost.declare_queue("q", world.owner, durable=True, exclusive=False, auto_delete=False, arguments={})
        vhost.bind(Binding("amq.topic", "q", True, "#"))
        vhost.publish(Publication("", "q", content_of(b"1", delivery_mode=2), 1, persistent=True), vhost.exchanges[""])
    world.turn()
    world.broker.delete_vhost(name)
    world.turn()
    disk = MemoryStore()
    disk.tables = [dict(rows) for rows in world.disk.tables]
    server = Server(DelayedStore(disk))
    recovery.restore(server.broker)
    (left,) = server.broker.vhosts.values()
    assert left.name == ({"/", "v"} - {name}).pop()
    assert (left.queues["q"].ready_count, len(left.bindings)) == (1, 1)
    assert [len(world.rows(table)) for table in (QUEUES, BINDINGS, SEGMENTS)] == [1] * 3


def test_an_older_store_has_the_default_virtual_host(world: World) -> None:
    """Schema 2 knew of no others, and had no row for it."""
    world.disk.tables[ENTITIES] = {}
    world.disk.tables[META] = dict([records.row(records.SCHEMA_KEY, 2)])
    again = world.crash()
    again.broker.add_vhost("v")
    again.turn()
    third = again.crash()
    assert set(third.broker.vhosts) == {"/", "v"}
    third.broker.delete_vhost("/")
    third.turn()
    assert third.rows(META)[records.SCHEMA_KEY] == records.row(records.SCHEMA_KEY, records.SCHEMA_VERSION)[1]


def test_no_queue_number_is_used_twice(world: World) -> None:
    numbers = [world.queue(name).queue_id for name in "ab"]
    world.vhost.delete_queue("b", world.owner, if_unused=False, if_empty=False)
    world.turn()
    again = world.crash()
    numbers.append(again.queue("c").queue_id)
    assert numbers == sorted(set(numbers))


# --- messages ---


def test_counts_come_from_keys_alone(world: World, caplog: pytest.LogCaptureFixture) -> None:
    """No message is looked at: what is wrong in one is not seen before it is read."""
    queue = world.queue()
    world.publish(queue, b"1", b"2", b"3")
    world.turn()
    world.publish(queue, b"4")
    world.turn()
    assert len(world.rows(SEGMENTS)) == 2
    for key in world.rows(SEGMENTS):
        world.disk.tables[SEGMENTS][key] = b""
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
    key = queue_key(queue.queue_id)
    world.journal.put(STATES, key, records.seal(key, (2).to_bytes(8, "big")))
    world.publish(queue, b"1", b"2", b"3")
    world.turn()
    again = world.crash()
    assert again.drain(again.find()) == [(b"1", True), (b"2", True), (b"3", False)]


# --- messages that expire ---


def test_what_expired_while_nobody_was_there_is_dropped_without_a_consumer(world: World) -> None:
    world.queue(arguments=arguments(message_ttl=50))
    world.queue("grave")
    world.queue("r", arguments=arguments(dead_letter_exchange="", dead_letter_routing_key="grave"))
    for name in "qr":
        world.send(name, b"1", b"2", expiration="50")
        world.send(name, b"3", expiration="90")
    world.turn()
    world.now_ms += 60
    again = world.crash()
    assert [again.find(name).ready_count for name in ("q", "r", "grave")] == [0, 1, 2], "50 is the queue's, too"
    again.pass_ms(40)
    assert [again.find(name).ready_count for name in ("q", "r", "grave")] == [0, 0, 3]
    assert again.received("grave") == [b"1", b"2", b"3"]
    assert again.rows(SEGMENTS) == {}


def test_times_go_on_where_they_were(world: World) -> None:
    world.queue(arguments=arguments(message_ttl=100))
    world.send("q", b"1")
    world.pass_ms(60)
    again = world.crash()
    again.pass_ms(39)
    assert again.find().ready_count == 1
    again.pass_ms(2)
    assert again.find().ready_count == 0


def test_what_expires_no_more_keeps_its_time(world: World) -> None:
    """A message has its time from when it came, whatever the queue's is now."""
    queue = world.queue()
    queue.apply(QueueSettings(message_ttl_ms=100))
    world.send("q", b"1")
    world.turn()
    again = world.crash()
    assert again.find().ttl_ms == -1
    again.pass_ms(101)
    assert again.find().ready_count == 0


def test_nothing_is_read_of_a_queue_without_times(world: World) -> None:
    """A start of a million messages stays quick."""
    world.queue()
    world.send("q", b"1", b"2")
    world.turn()
    again = world.crash()
    assert (len(again.find().ready), again.journal.fetch_number) == (0, 0)


def test_a_queue_that_was_full_is_full(world: World) -> None:
    world.queue(arguments=arguments(max_length=2, overflow="reject-publish"))
    world.send("q", b"1", b"2", b"3")
    world.turn()
    again = world.crash()
    again.send("q", b"4")
    assert again.received() == [b"1", b"2"]


def test_a_limit_that_came_with_a_policy_since_counts_at_once(world: World) -> None:
    world.queue()
    world.send("q", *[b"%d" % number for number in range(5)])
    world.broker.policies.set(Policy("/", "p", "q", {"max-length": 2}))
    world.turn()
    again = world.crash()
    assert again.find().ready_count == 2
    assert again.received() == [b"3", b"4"]


# --- damage ---


def flipped(octets: bytes, bit: int) -> bytes:
    spoilt = bytearray(octets)
    spoilt[bit // 8] ^= 1 << bit % 8
    return bytes(spoilt)


def full() -> World:
    """A row in every table: exchanges, a binding, two queues; of "q" two segments, the second of four is acked."""
    world = World()
    world.vhost.declare_exchange("x", "topic", durable=True, auto_delete=False, internal=False, arguments=ARGUMENTS)
    queue = world.queue("q", arguments=ARGUMENTS)
    world.vhost.bind(Binding("x", "q", True, "#"))
    world.queue("z")
    for bodies in ((b"1", b"2"), (b"3", b"4")):
        world.publish(queue, *bodies)
        world.turn()
    first, second = world.take(queue), world.take(queue)
    queue.settle(second)
    queue.requeue([first])
    world.turn()
    assert all(world.rows(table) for table in (META, EXCHANGES, QUEUES, BINDINGS, SEGMENTS, ACKS, STATES))
    return world


def check_full(world: World) -> None:
    """All of it is there."""
    assert set(world.vhost.queues) == {"q", "z"}
    assert world.vhost.exchanges["x"].arguments == ARGUMENTS
    assert set(world.vhost.bindings) == {Binding("x", "q", True, "#")}
    assert [queue.name for queue in world.vhost.route(world.vhost.exchanges["x"], "a.b", None)] == ["q"]
    assert world.queue("another").queue_id == 3
    # What was delivered: up to the mark, which is far ahead.
    assert world.drain(world.find("q")) == [(b"1", True), (b"3", True), (b"4", True)]


RECORDS = (META, EXCHANGES, QUEUES, BINDINGS, ACKS, STATES)


@pytest.mark.parametrize("table", RECORDS, ids=[TABLES[table] for table in RECORDS])
def test_every_flipped_bit_of_a_record_is_repaired(table: int, caplog: pytest.LogCaptureFixture) -> None:
    world = full()
    rows = world.rows(table)
    for key, value in rows.items():
        for bit in range(0, len(key + value) * 8, 5 if len(value) > 20 else 1):
            caplog.clear()
            both = flipped(key + value, bit)
            damaged = {**rows, both[: len(key)]: both[len(key) :]}
            if both[: len(key)] != key:
                del damaged[key]
            world.disk.tables[table] = damaged
            again = world.crash()
            assert again.rows(table) == rows or table == META
            assert again.rows(table).items() >= rows.items()
            assert again.rows(QUARANTINE) == {}
            assert [record.levelname for record in caplog.records] == ["WARNING"]
            assert f"{TABLES[table]}: a record with one flipped bit was repaired" in caplog.text
            check_full(again)


@pytest.mark.parametrize("table", RECORDS, ids=[TABLES[table] for table in RECORDS])
def test_a_record_beyond_repair_is_put_away_and_told(table: int, caplog: pytest.LogCaptureFixture) -> None:
    world = full()
    for key in world.rows(table):
        world.disk.tables[table][key] = b"junk"
    damaged = world.rows(table)
    again = world.crash()
    assert again.rows(QUARANTINE) == damaged
    assert not any(value == b"junk" for value in again.rows(table).values())
    told = [record.getMessage() for record in caplog.records if "in quarantine" in record.getMessage()]
    assert len(told) == len(damaged)
    assert all(text.startswith(f"{TABLES[table]}: the checksum of a record does not hold") for text in told)
    caplog.clear()
    third = again.crash()
    assert "in quarantine" not in caplog.text, "it is told once"
    assert third.rows(QUARANTINE) == damaged


def test_a_lost_ack_map_brings_messages_back(world: World) -> None:
    """Delivered before, all of them."""
    world = full()
    (key,) = world.rows(ACKS)
    world.disk.tables[ACKS][key] = b"junk"
    again = world.crash()
    assert again.find().ready_count == 4
    assert again.drain(again.find()) == [(b"%d" % number, True) for number in range(1, 5)]
    assert (again.rows(SEGMENTS), again.rows(ACKS)) == ({}, {})


def test_an_ack_map_of_another_size_is_none(caplog: pytest.LogCaptureFixture) -> None:
    world = full()
    (key,) = world.rows(ACKS)
    world.disk.tables[ACKS][key] = records.seal(key, b"\x01\x01")
    again = world.crash()
    words = "queue 'q': which messages of segment 1-2 were acked is lost: all of them are delivered again"
    assert words in caplog.text
    assert again.find().ready_count == 4


def test_acks_of_a_segment_that_is_gone_are_told_and_removed(caplog: pytest.LogCaptureFixture) -> None:
    world = full()
    key = acks_key(world.find().queue_id, 1000)
    world.disk.tables[ACKS][key] = records.seal(key, b"\x01")
    again = world.crash()
    assert "acks of a segment at 1000, which is not there" in caplog.text
    assert key not in again.rows(ACKS)
    assert again.find().next_position > 1000, "no ack may ever say anything about a message that comes later"
    check_full(again)


@pytest.mark.parametrize("is_spoilt", [True, False])
def test_a_lost_mark_is_everywhere_and_stays_there(is_spoilt: bool) -> None:
    """Start after start: whatever may have been delivered is told to be, once too often if need be."""
    world = full()
    (key,) = world.rows(STATES)
    if is_spoilt:
        world.disk.tables[STATES][key] = b"junk"
    else:
        del world.disk.tables[STATES][key]
        world.disk.tables[STATES][b"\x70\x71\x72\x73"] = b"junk"
    again = world.crash()
    assert again.take(again.find()).redelivered
    third = again.crash()
    taken = third.drain(third.find())
    assert taken == [(b"1", True), (b"3", True), (b"4", True)]


# --- damaged segments ---


def segment_at(world: World, first: int) -> bytes:
    (key,) = [key for key in world.rows(SEGMENTS) if read_segment_key(key)[1] == first]
    return key


def test_every_flipped_bit_of_a_segments_key_is_repaired(caplog: pytest.LogCaptureFixture) -> None:
    """The value knows its key."""
    world = full()
    rows = world.rows(SEGMENTS)
    key = segment_at(world, 1)
    for bit in range(0, len(key) * 8, 3):
        caplog.clear()
        world.disk.tables[SEGMENTS] = {**rows, flipped(key, bit): rows[key]}
        del world.disk.tables[SEGMENTS][key]
        again = world.crash()
        assert again.rows(SEGMENTS) == rows
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "segment 1-2 of queue 1: its damaged key was repaired" in caplog.text
        check_full(again)


def test_who_waits_for_a_segment_whose_key_is_repaired_gets_it() -> None:
    """It is not read before it is on disk under its own key, and then at once."""
    world = full()
    key = segment_at(world, 1)
    value = world.disk.tables[SEGMENTS].pop(key)
    world.disk.tables[SEGMENTS][flipped(key, 255)] = value
    disk = MemoryStore()
    disk.tables = [dict(rows) for rows in world.disk.tables]
    store = DelayedStore(disk)
    server = Server(store)
    recovery.restore(server.broker)
    peer = server.peer(1)
    peer.call(1, "basic.consume", queue="q", no_ack=True)
    while store.complete():
        server.turn()
        server.check()
    assert server.broker.vhosts["/"].queues["q"].ready_count == 0


def test_a_segment_that_names_nobody_is_put_away(caplog: pytest.LogCaptureFixture) -> None:
    world = full()
    key = segment_at(world, 1)
    value = flipped(world.disk.tables[SEGMENTS].pop(key), 500)
    world.disk.tables[SEGMENTS][flipped(key, 255)] = value
    again = world.crash()
    assert "it is in quarantine" in caplog.text
    assert again.rows(QUARANTINE) == {flipped(key, 255): value}
    assert again.drain(again.find()) == [(b"3", True), (b"4", True)]


def test_a_segment_under_another_ones_key_is_put_away(caplog: pytest.LogCaptureFixture) -> None:
    world = full()
    key = segment_at(world, 3)
    value = world.rows(SEGMENTS)[segment_at(world, 1)]
    world.disk.tables[SEGMENTS][key] = value
    again = world.crash()
    assert again.take(again.find()).content == b"1"
    assert take_head(again.server, again.find()) is None, "once"
    again.turn()
    words = "queue 'q': segment 3-4 lies under another one's key: 2 messages are lost to this queue"
    assert words in caplog.text
    assert again.rows(QUARANTINE) == {key: value}


def test_a_segment_that_is_all_acked_is_not_there(world: World) -> None:
    queue = world.queue()
    world.publish(queue, b"1", b"2")
    world.turn()
    key = acks_key(queue.queue_id, 1)
    world.disk.tables[ACKS][key] = records.seal(key, b"\x03")
    assert world.crash().find().ready_count == 0


def test_nothing_is_written_over_what_is_in_quarantine() -> None:
    world = full()
    for key in world.rows(SEGMENTS):
        world.disk.tables[SEGMENTS][key] = b"junk"
    damaged = world.rows(SEGMENTS)
    again = world.crash()
    assert take_head(again.server, again.find()) is None
    again.publish(again.find(), b"5", b"6", b"7")
    again.turn()
    assert again.rows(QUARANTINE) == damaged
    third = again.crash()
    assert third.bodies(third.find()) == [b"5", b"6", b"7"]


# --- orphans ---


def test_messages_of_a_queue_without_a_name_are_kept_and_told(caplog: pytest.LogCaptureFixture) -> None:
    world = full()
    kept = [world.rows(table) for table in (SEGMENTS, ACKS)]
    world.disk.tables[QUEUES] = {}
    again = world.crash()
    assert again.vhost.queues == {}
    assert "queue number 1 has lost its name: its messages, up to 4, are kept, but not delivered" in caplog.text
    queue = again.queue("q")
    again.publish(queue, b"5")
    again.turn()
    third = again.crash()
    assert third.bodies(third.find()) == [b"5"]
    assert [third.rows(table) for table in (SEGMENTS, ACKS)] == kept


@pytest.mark.parametrize("table", [DELAYED, SEEN])
def test_what_an_exchange_without_a_name_kept_is_nobody_elses(
    world: World, table: int, caplog: pytest.LogCaptureFixture
) -> None:
    for number in (0, 900, 901, (1 << 32) - 1):
        key = number.to_bytes(4, "big") + bytes(16 if table == DELAYED else 12)
        world.disk.tables[table][key] = records.seal(key, bytes(16)) if number in (900, 901) else b"junk"
    world = world.crash()
    for number in (900, 901):
        assert f"exchange number {number} has lost its name: its rows of {TABLES[table]} are kept" in caplog.text
    assert len(world.rows(table)) == 2
    assert list(world.rows(QUARANTINE).values()) == [b"junk", b"junk"]
    assert world.broker.queue_numbers.next == 902


@pytest.mark.parametrize("is_spoilt", [True, False])
@pytest.mark.parametrize("table", [QUEUES, SEGMENTS, ACKS, STATES])
def test_a_lost_queue_number_is_above_all_that_are_known(world: World, table: int, is_spoilt: bool) -> None:
    """Whatever knows of a queue: its name, its messages, its acks, its mark."""
    world.broker.queue_numbers.next = 900
    queue = world.queue()
    world.publish(queue, b"1", b"2")
    world.turn()
    queue.settle(world.take(queue))
    world.turn()
    for other in {QUEUES, SEGMENTS, ACKS, STATES} - {table}:
        world.disk.tables[other] = {}
    assert len(world.rows(table)) == 1
    if is_spoilt:
        world.disk.tables[META][records.NEXT_QUEUE_KEY] = b"junk"
    else:
        del world.disk.tables[META][records.NEXT_QUEUE_KEY]
    again = world.crash()
    assert again.queue("new").queue_id == 901
    assert again.crash().queue("newer").queue_id == 902


def test_a_row_under_a_flipped_key_gives_way_to_one_that_was_written_since() -> None:
    """A key that flips while the broker runs: the next acks of the segment are written under the true one."""
    world = World()
    queue = world.queue()
    world.publish(queue, b"1", b"2", b"3")
    world.turn()
    key = acks_key(queue.queue_id, 1)
    spoilt = bytes([key[0] ^ 1]) + key[1:]
    world.disk.tables[ACKS][spoilt] = records.seal(key, b"\x01")
    world.disk.tables[ACKS][key] = records.seal(key, b"\x03")
    again = World(world.disk)
    assert again.find().ready_count == 1
    assert list(again.rows(ACKS)) == [key]
