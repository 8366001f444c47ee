"""What happens to messages on a channel: confirms and their disk, credit and room, tags, transactions, damage."""

import logging
from typing import Any

import pytest

from amqpd import limits
from amqpd.broker.ports import QUARANTINE, SEGMENTS
from amqpd.broker.recovery import restore
from amqpd.store.memory import MemoryStore
from tests.protocols.amqp091.dialogue import PERSISTENT, closes, names, one, slow_server
from tests.support import wire
from tests.support.raw_peer import decode_properties, properties
from tests.support.wire import DelayedStore, Peer, Server, method


def confirming() -> tuple[Server, DelayedStore, Peer]:
    """Channel 1 confirms, "d" is durable and "q" is not; the store is slow from now on."""
    server, store = slow_server()
    peer = server.peer(1, 2)
    peer.call(1, "queue.declare", queue="d", durable=True)
    peer.call(1, "queue.declare", queue="q")
    peer.call(1, "confirm.select")
    store.is_delaying = True
    return server, store, peer


def confirmed(peer: Peer) -> list[tuple[int, bool]]:
    """Confirms since the last look: tag, multiple."""
    peer.turn()
    said = peer.output()
    assert [each.name for each in said] == ["basic.ack"] * len(said)
    return [(each.args["delivery_tag"], each.args["multiple"]) for each in said]


# -- confirms --


def test_no_confirm_before_the_disk_has_it() -> None:
    _, store, peer = confirming()
    peer.publish(1, "", "d", b"x", PERSISTENT)
    assert confirmed(peer) == []
    assert confirmed(peer) == []
    assert store.complete()
    assert confirmed(peer) == [(1, False)]


@pytest.mark.parametrize(
    ("queue", "props"), [("q", PERSISTENT), ("d", b"\x00\x00"), ("d", b"\x10\x00\x01"), ("nowhere", PERSISTENT)]
)
def test_what_needs_no_disk_is_confirmed_at_the_end_of_its_turn(queue: str, props: bytes) -> None:
    _, store, peer = confirming()
    peer.publish(1, "", queue, b"x", props)
    assert peer.output() == []
    assert confirmed(peer) == [(1, False)]
    assert not store.waiting


def test_a_run_is_one_multiple_ack() -> None:
    _, store, peer = confirming()
    for _ in range(5):
        peer.publish(1, "", "d", b"x", PERSISTENT)
    assert confirmed(peer) == []
    store.complete()
    assert confirmed(peer) == [(5, True)]


def test_a_confirm_waits_for_its_own_batch() -> None:
    _, store, peer = confirming()
    peer.publish(1, "", "d", b"first batch", PERSISTENT)
    peer.turn()
    peer.publish(1, "", "d", b"second batch", PERSISTENT)
    peer.publish(1, "", "d", b"second batch", PERSISTENT)
    assert confirmed(peer) == []
    store.complete()
    assert confirmed(peer) == [(1, False)]
    store.complete()
    assert confirmed(peer) == [(3, True)]


def test_confirms_keep_the_order_of_publishes() -> None:
    """What needs no disk waits behind what does."""
    _, store, peer = confirming()
    peer.publish(1, "", "q", b"1")
    peer.publish(1, "", "d", b"2", PERSISTENT)
    peer.publish(1, "", "q", b"3")
    assert confirmed(peer) in ([], [(1, False)])
    store.complete()
    (last,) = confirmed(peer)
    assert last[0] == 3


def test_both_copies_must_be_on_disk() -> None:
    _, store, peer = confirming()
    peer.feed(method(2, "queue.bind", queue="d", exchange="amq.fanout", nowait=True))
    peer.feed(method(2, "queue.bind", queue="q", exchange="amq.fanout", nowait=True))
    peer.publish(1, "amq.fanout", "", b"x", PERSISTENT)
    assert confirmed(peer) == []
    store.complete()
    assert confirmed(peer) == [(1, False)]


def test_the_return_comes_before_its_confirm() -> None:
    _, _, peer = confirming()
    peer.publish(1, "", "nowhere", b"x", PERSISTENT, mandatory=True)
    assert names(peer) == ["basic.return", "basic.ack"]
    peer.publish(1, "", "q", b"x")
    peer.publish(1, "", "nowhere", b"x", mandatory=True)
    assert names(peer) == ["basic.return", "basic.ack"]


def test_channels_confirm_by_themselves() -> None:
    _, store, peer = confirming()
    peer.call(2, "confirm.select")
    peer.publish(1, "", "d", b"x", PERSISTENT)
    peer.publish(2, "", "q", b"x")
    peer.turn()
    assert [(said.channel, said.args["delivery_tag"]) for said in peer.output()] == [(2, 1)]
    store.complete()
    peer.turn()
    assert [(said.channel, said.args["delivery_tag"]) for said in peer.output()] == [(1, 1)]


@pytest.mark.parametrize("end", ["channel.close", "channel error", "connection error", "hang up"])
def test_nothing_is_confirmed_after_the_end(end: str) -> None:
    _, store, peer = confirming()
    peer.publish(1, "", "d", b"x", PERSISTENT)
    peer.turn()
    match end:
        case "channel.close":
            peer.call(1, "channel.close")
        case "channel error":
            peer.send(1, "basic.ack", delivery_tag=9)
            assert names(peer) == ["channel.close"]
        case "connection error":
            peer.send(1, "channel.open")
            assert names(peer) == ["connection.close"]
        case _:
            peer.hang_up()
    store.complete()
    assert names(peer) == []


def test_confirm_select_again_goes_on_counting() -> None:
    _, _, peer = confirming()
    peer.publish(1, "", "q", b"x")
    peer.turn()
    peer.take_bytes()
    peer.call(1, "confirm.select")
    peer.publish(1, "", "q", b"x")
    assert confirmed(peer) == [(2, False)]


def test_a_refused_publish_is_not_confirmed() -> None:
    _, _, peer = confirming()
    peer.publish(1, "", "q", b"x")
    peer.publish(1, "", "q", b"x", properties(user_id="root"))
    text = "PRECONDITION_FAILED - user_id property set to 'root' but authenticated user was 'guest'"
    assert closes(one(peer)) == ("channel.close", 406, text, 60, 40)


# -- deliveries --


def consuming(count: int, size: int = 1, *, no_ack: bool = False, prefetch: int = 0) -> tuple[Server, Peer]:
    """A consumer "c" on channel 1 of a queue with ``count`` messages, whose bodies begin with their number."""
    server = Server()
    publisher = server.peer(1)
    publisher.call(1, "queue.declare", queue="q")
    for number in range(count):
        publisher.publish(1, "", "q", b"%d" % number + bytes(size))
    server.turn()
    peer = server.peer(1, 2)
    if prefetch:
        peer.call(1, "basic.qos", prefetch_count=prefetch)
    peer.feed(method(1, "basic.consume", queue="q", consumer_tag="c", no_ack=no_ack))
    return server, peer


def test_deliveries_stop_while_the_outbox_is_full() -> None:
    """And go on when the peer has read."""
    server, peer = consuming(100, 50_000, no_ack=True)
    outbox = peer.connection.outbox
    server.broker.turn.finish()
    assert limits.OUTBOX_HIGH_BYTES <= outbox.size < limits.OUTBOX_HIGH_BYTES + 60_000
    assert outbox.is_starved
    size = outbox.size
    server.broker.turn.finish()
    assert outbox.size == size
    peer.turn()
    said = peer.output()
    assert [each.name for each in said] == ["basic.consume-ok"] + ["basic.deliver"] * 100
    assert [each.args["delivery_tag"] for each in said[1:]] == list(range(1, 101))


def test_a_full_outbox_does_not_stop_other_consumers() -> None:
    server, peer = consuming(0, no_ack=True)
    other = server.peer(1)
    other.feed(method(1, "basic.consume", queue="q", consumer_tag="o", no_ack=True))
    server.turn()
    for _ in range(100):
        other.publish(1, "", "q", bytes(50_000))
    peer.connection.outbox.write(bytes(limits.OUTBOX_HIGH_BYTES))
    server.broker.turn.finish()
    assert peer.connection.outbox.is_starved
    assert peer.connection.outbox.size == limits.OUTBOX_HIGH_BYTES
    assert other.connection.outbox.is_starved
    assert ready(server) == 100 - (limits.OUTBOX_HIGH_BYTES // 50_000 + 1)


@pytest.mark.parametrize("prefetch", [1, 2, 7])
def test_prefetch(prefetch: int) -> None:
    _, peer = consuming(20, prefetch=prefetch)
    peer.turn()
    assert [said.args.get("delivery_tag") for said in peer.output()] == [None, *range(1, prefetch + 1)]
    peer.send(1, "basic.ack", delivery_tag=1)
    assert names(peer) == ["basic.deliver"]
    peer.send(1, "basic.ack", delivery_tag=0, multiple=True)
    assert names(peer) == ["basic.deliver"] * prefetch


def test_prefetch_of_the_channel_counts_all_its_consumers() -> None:
    server = Server()
    peer = server.peer(1)
    for queue in ("a", "b"):
        peer.call(1, "queue.declare", queue=queue)
        for _ in range(5):
            peer.publish(1, "", queue, b"x")
    peer.call(1, "basic.qos", prefetch_count=3, global_=True)
    peer.feed(method(1, "basic.consume", queue="a") + method(1, "basic.consume", queue="b"))
    assert names(peer).count("basic.deliver") == 3
    channel = peer.connection.channels[1]
    assert (channel.outstanding, channel.is_full) == (3, True)
    peer.send(1, "basic.ack", delivery_tag=2, multiple=True)
    assert names(peer) == ["basic.deliver"] * 2
    server.check()


def ready(server: Server) -> int:
    return server.broker.vhosts["/"].queues["q"].ready_count


@pytest.mark.parametrize("requeue", [True, False])
def test_reject_gives_credit(requeue: bool) -> None:
    server, peer = consuming(3, prefetch=1)
    peer.turn()
    peer.take_bytes()
    peer.send(1, "basic.reject", delivery_tag=1, requeue=requeue)
    said = one(peer)
    assert said.args["redelivered"] is requeue
    assert said.body[:1] == (b"0" if requeue else b"1")
    assert ready(server) == (2 if requeue else 1)


def test_requeued_messages_go_to_their_places() -> None:
    _, peer = consuming(0)
    peer.feed(method(1, "basic.cancel", consumer_tag="c"))
    for number in range(6):
        peer.publish(1, "", "q", b"%d" % number)
    peer.feed(method(2, "basic.get", queue="q") * 4)
    peer.turn()
    peer.take_bytes()
    peer.send(2, "basic.nack", delivery_tag=3, requeue=True)
    peer.send(2, "basic.reject", delivery_tag=1, requeue=True)
    peer.feed(method(1, "basic.get", queue="q") * 5)
    peer.turn()
    got = [(said.body, said.args.get("redelivered")) for said in peer.output()]
    assert got == [(b"0", True), (b"2", True), (b"4", False), (b"5", False), (b"", None)]


def test_recover_redelivers_all_in_order() -> None:
    _, peer = consuming(4, prefetch=4)
    peer.turn()
    peer.take_bytes()
    peer.send(1, "basic.ack", delivery_tag=2)
    peer.send(1, "basic.recover", requeue=True)
    peer.turn()
    said = peer.output()
    assert [(each.name, each.body[:1]) for each in said] == [
        ("basic.recover-ok", b""),
        ("basic.deliver", b"0"),
        ("basic.deliver", b"2"),
        ("basic.deliver", b"3"),
    ]
    assert [each.args["redelivered"] for each in said[1:]] == [True] * 3
    assert [each.args["delivery_tag"] for each in said[1:]] == [5, 6, 7]


def test_ack_multiple_takes_up_to_its_tag() -> None:
    server, peer = consuming(5)
    peer.turn()
    peer.take_bytes()
    unacked = peer.connection.channels[1].unacked
    peer.send(1, "basic.ack", delivery_tag=3, multiple=True)
    assert list(unacked.by_tag) == [4, 5]
    peer.send(1, "basic.ack", delivery_tag=0, multiple=True)
    assert len(unacked) == 0
    assert server.broker.vhosts["/"].queues["q"].unacked_count == 0


@pytest.mark.parametrize("name", ["basic.ack", "basic.nack", "basic.reject"])
@pytest.mark.parametrize("tag", [0, 9, 2**63, 2**64 - 1])
def test_unknown_tags(name: str, tag: int) -> None:
    _, peer = consuming(1)
    peer.turn()
    peer.take_bytes()
    peer.send(1, name, delivery_tag=tag)
    said = one(peer)
    assert closes(said)[1:3] == (406, f"PRECONDITION_FAILED - unknown delivery tag {tag}")


@pytest.mark.parametrize("name", ["basic.ack", "basic.nack"])
def test_unknown_tags_multiple(name: str) -> None:
    server, peer = consuming(2)
    peer.turn()
    peer.take_bytes()
    peer.send(1, name, delivery_tag=3, multiple=True)
    assert closes(one(peer))[1] == 406
    assert ready(server) == 2, "nothing was settled, all goes back"


# -- contents for other channels and frame sizes --


@pytest.mark.parametrize("size", [0, 1, 4088, 4089, 20_000])
@pytest.mark.parametrize(("old", "new"), [(1, 1), (1, 2), (2, 1)])
@pytest.mark.parametrize(("frame_max", "frame_max_there"), [(131_072, 4096), (4096, 131_072), (4096, 4096)])
def test_contents_suit_who_gets_them(size: int, old: int, new: int, frame_max: int, frame_max_there: int) -> None:
    server = Server()
    publisher = server.peer(1, 2, frame_max=frame_max)
    getter = server.peer(1, 2, frame_max=frame_max_there)
    getter.call(1, "queue.declare", queue="q")
    body = bytes(number % 251 for number in range(size))
    publisher.publish(old, "", "q", body, PERSISTENT)
    getter.send(new, "basic.get", queue="q")
    getter.turn()
    data = getter.take_bytes()
    assert all(len(each.payload) + 8 <= frame_max_there for each in wire.split_frames(data))
    (said,) = wire.assemble(wire.split_frames(data))
    assert (said.channel, said.properties, said.body) == (new, PERSISTENT, body)


def test_addresses_of_different_lengths_to_one_consumer() -> None:
    _, peer = consuming(0)
    peer.feed(
        method(1, "queue.bind", queue="q", exchange="amq.topic", routing_key="#")
        + method(1, "queue.bind", queue="q", exchange="amq.fanout")
    )
    peer.turn()
    peer.take_bytes()
    addresses = [("amq.topic", "a"), ("amq.topic", "a" * 255), ("amq.fanout", ""), ("", "q"), ("amq.topic", "b")]
    for exchange, key in addresses:
        peer.publish(1, exchange, key, b"x")
    peer.turn()
    assert [(said.args["exchange"], said.args["routing_key"]) for said in peer.output()] == addresses


# -- transactions --


def transaction(count: int = 4) -> tuple[Server, Peer]:
    """Channel 1 has tx and ``count`` unacked deliveries."""
    server, peer = consuming(count)
    peer.turn()
    peer.take_bytes()
    peer.call(1, "tx.select")
    return server, peer


def test_rollback_restores_acks_in_their_order() -> None:
    server, peer = transaction()
    peer.send(1, "basic.ack", delivery_tag=3)
    peer.send(1, "basic.ack", delivery_tag=1)
    assert list(peer.connection.channels[1].unacked.by_tag) == [2, 4]
    peer.call(1, "tx.rollback")
    assert list(peer.connection.channels[1].unacked.by_tag) == [1, 2, 3, 4]
    peer.send(1, "basic.ack", delivery_tag=2, multiple=True)
    peer.call(1, "tx.commit")
    peer.hang_up()
    server.turn()
    assert ready(server) == 2


def test_commit_settles_once() -> None:
    server, peer = transaction()
    peer.send(1, "basic.ack", delivery_tag=2, multiple=True)
    peer.send(1, "basic.nack", delivery_tag=3, requeue=True)
    peer.send(1, "basic.reject", delivery_tag=4, requeue=False)
    queue = server.broker.vhosts["/"].queues["q"]
    peer.turn()
    assert queue.unacked_count == 4
    peer.send(1, "tx.commit")
    peer.turn()
    said = peer.output()
    assert [(each.name, each.body[:1]) for each in said] == [("tx.commit-ok", b""), ("basic.deliver", b"2")]
    assert queue.unacked_count == 1
    server.check()


def test_a_tag_twice_in_a_transaction() -> None:
    _, peer = transaction()
    peer.send(1, "basic.ack", delivery_tag=1)
    peer.send(1, "basic.ack", delivery_tag=1)
    assert closes(one(peer))[1] == 406


@pytest.mark.parametrize("end", ["channel.close", "error", "hang up"])
def test_the_end_rolls_back(end: str) -> None:
    server, peer = transaction()
    peer.publish(1, "", "q", b"never")
    peer.send(1, "basic.ack", delivery_tag=2, multiple=True)
    match end:
        case "channel.close":
            peer.call(1, "channel.close")
        case "error":
            peer.send(1, "basic.ack", delivery_tag=99)
        case _:
            peer.hang_up()
    server.turn()
    assert ready(server) == 4


def test_commit_returns_before_it_answers() -> None:
    server = Server()
    peer = server.peer(1)
    peer.call(1, "tx.select")
    peer.publish(1, "", "nowhere", b"x", mandatory=True)
    assert names(peer) == []
    peer.send(1, "tx.commit")
    assert names(peer) == ["basic.return", "tx.commit-ok"]


def test_a_queue_deleted_before_the_commit() -> None:
    """Routed when it came, returned when there is nobody any more."""
    server = Server()
    peer = server.peer(1, 2)
    peer.call(1, "tx.select")
    peer.call(2, "queue.declare", queue="q")
    peer.publish(1, "", "q", b"x", mandatory=True)
    peer.call(2, "queue.delete", queue="q")
    peer.send(1, "tx.commit")
    assert names(peer) == ["basic.return", "tx.commit-ok"]


# -- what cannot be read is not delivered --


def stored(count: int) -> MemoryStore:
    """A store with messages "0", "1" and so on, each in a segment of its own."""
    store = MemoryStore()
    server = Server(store)
    restore(server.broker)
    peer = server.peer(1)
    peer.call(1, "queue.declare", queue="d", durable=True)
    for number in range(count):
        peer.publish(1, "", "d", b"%d" % number, PERSISTENT)
        peer.turn()
    return again(store)


def again(store: MemoryStore) -> MemoryStore:
    """The same data, opened by a new process."""
    reopened = MemoryStore()
    reopened.tables = store.tables
    return reopened


def test_messages_come_back_from_the_store() -> None:
    server = Server(stored(3))
    restore(server.broker)
    peer = server.peer(1)
    peer.feed(method(1, "basic.get", queue="d", no_ack=True) * 4)
    peer.turn()
    assert [said.body for said in peer.output()] == [b"0", b"1", b"2", b""]


def test_a_corrupt_segment_is_not_delivered(caplog: pytest.LogCaptureFixture) -> None:
    """What comes before and behind it is; its bytes are put away as they were found."""
    store = stored(3)
    segments = store.tables[SEGMENTS]
    victim = sorted(segments)[1]
    damaged = bytearray(segments[victim])
    damaged[-2] ^= 1  # the last octet of the body
    segments[victim] = bytes(damaged)
    server = Server(store)
    restore(server.broker)
    peer = server.peer(1)
    with caplog.at_level(logging.ERROR, "amqpd"):
        peer.feed(method(1, "basic.get", queue="d", no_ack=True) * 3)
        peer.turn()
    assert [said.body for said in peer.output()] == [b"0", b"2", b""]
    assert "checksum" in caplog.text
    assert store.tables[QUARANTINE] == {victim: damaged}
    assert segments == {}


def test_exclusive_queues_end_with_their_connection() -> None:
    server = Server()
    peer = server.peer(1)
    for durable in (False, True):
        peer.call(1, "queue.declare", queue=f"mine {durable}", exclusive=True, durable=durable)
    peer.call(1, "channel.close")
    queues: dict[str, Any] = dict(server.broker.vhosts["/"].queues)
    assert len(queues) == 2, "the channel is not the owner"
    peer.hang_up()
    server.turn()
    assert not server.broker.vhosts["/"].queues
    wire.check_left(server)


# --- what others are not to see, and what they are told ---


def test_blind_copies_are_kept_from_everybody() -> None:
    peer = Server().peer(1)
    for queue in ("q", "r"):
        peer.call(1, "queue.declare", queue=queue)
    peer.publish(1, "", "q", b"x", properties(headers={"BCC": ["r"], "a": 1}))
    for queue in ("q", "r"):
        peer.send(1, "basic.get", queue=queue)
        peer.turn()
        (said,) = peer.output()
        assert decode_properties(said.properties) == {"headers": {"a": 1}}
        assert said.body == b"x"


def test_an_answer_may_be_one_of_several_copies() -> None:
    peer = Server().peer(1, 2)
    peer.call(1, "queue.declare", queue="q")
    peer.call(1, "basic.consume", queue="amq.rabbitmq.reply-to", consumer_tag="r", no_ack=True)
    (name,) = peer.connection.vhost.askers
    peer.publish(2, "", "q", b"x", properties(headers={"CC": [name]}))
    peer.turn()
    (said,) = peer.output()
    assert (said.channel, said.name, said.args["consumer_tag"], said.body) == (1, "basic.deliver", "r", b"x")
    assert peer.call(1, "queue.purge", queue="q")["message_count"] == 1
