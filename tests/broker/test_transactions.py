"""What a channel holds for its commit, in dialogues. Against RabbitMQ: ``tests/conformance/test_confirm_and_tx.py``."""

import pytest

from amqpd.broker.ports import SEGMENTS
from amqpd.broker.properties import HAS_EXPIRATION
from amqpd.broker.transactions import ACK, REJECT, REQUEUE, Transaction
from tests.broker.world import World, arguments
from tests.support.raw_peer import properties
from tests.support.wire import Peer

PERSISTENT = properties(delivery_mode=2)


@pytest.fixture
def world() -> World:
    made = World()
    made.queue("q")
    return made


@pytest.fixture
def peer(world: World) -> Peer:
    made = world.server.peer(1)
    made.call(1, "tx.select")
    return made


def transaction(peer: Peer) -> Transaction:
    found = peer.connection.channels[1].tx
    assert found is not None
    return found


def got(peer: Peer) -> list[tuple[bytes, bool]]:
    """Everything that is ready, taken."""
    found: list[tuple[bytes, bool]] = []
    while True:
        peer.send(1, "basic.get", queue="q")
        peer.turn()
        said = peer.output()[0]
        if said.name == "basic.get-empty":
            return found
        found.append((said.body, said.args["redelivered"]))


def test_a_publish_is_held_as_it_was_routed(world: World, peer: Peer) -> None:
    peer.publish(1, "", "q", b"a", PERSISTENT, mandatory=True)
    peer.publish(1, "", "nowhere", b"b", properties(expiration="5"))
    peer.turn()
    held = transaction(peer).publishes
    assert [([queue.name for queue in each.queues], each.mandatory, each.facts, each.ttl_ms) for each in held] == [
        (["q"], True, 2, -1),
        ([], False, HAS_EXPIRATION, 5),
    ]
    assert held[0].address == b"\x00\x01q\xce"
    assert world.find().ready_count == 0


def test_commit_carries_out_what_was_held(world: World, peer: Peer) -> None:
    for body in (b"a", b"b"):
        peer.publish(1, "", "q", body, PERSISTENT)
    peer.call(1, "tx.commit")
    assert (transaction(peer).publishes, transaction(peer).settled) == ([], [])
    assert got(peer) == [(b"a", False), (b"b", False)]


def test_commit_ok_waits_for_the_disk(world: World, peer: Peer) -> None:
    world.store.is_delaying = True
    peer.publish(1, "", "q", b"a", PERSISTENT)
    peer.send(1, "tx.commit")
    peer.turn()
    assert peer.output() == []
    world.complete()
    assert [said.name for said in peer.output()] == ["tx.commit-ok"]
    assert len(world.rows(SEGMENTS)) == 1


def test_commit_is_one_batch(world: World, peer: Peer) -> None:
    """Publishes to several queues and acks are durable together or not at all."""
    world.queue("r")
    world.publish(world.find("q"), b"old")
    world.turn()
    peer.send(1, "basic.get", queue="q")
    peer.turn()
    world.store.is_delaying = True
    peer.send(1, "basic.ack", delivery_tag=1)
    for name in "qr":
        peer.publish(1, "", name, b"new", PERSISTENT)
    peer.send(1, "tx.commit")
    peer.turn()
    before = world.crash()
    assert [before.bodies(before.find(name)) for name in "qr"] == [[b"old"], []]
    world.complete()
    after = world.crash()
    assert [len(after.bodies(after.find(name))) for name in "qr"] == [1, 1]
    assert len(world.store.waiting) == 0


def test_a_queue_that_was_deleted_meanwhile_gets_nothing(world: World, peer: Peer) -> None:
    peer.publish(1, "", "q", b"a")
    peer.turn()
    world.vhost.remove_queue(world.find())
    again = world.queue("q")
    peer.call(1, "tx.commit")
    assert again.ready_count == 0


def test_rollback_forgets_publishes_and_undoes_acks_in_order(world: World, peer: Peer) -> None:
    world.queue("q")
    for body in (b"a", b"b", b"c"):
        peer.publish(1, "", "q", body)
    peer.call(1, "tx.commit")
    assert len(got(peer)) == 3
    peer.send(1, "basic.ack", delivery_tag=2)
    peer.send(1, "basic.reject", delivery_tag=1, requeue=True)
    peer.publish(1, "", "q", b"d")
    assert [(tag, verdict) for tag, _, verdict in transaction(peer).settled] == [(2, ACK), (1, REQUEUE)]
    peer.call(1, "tx.rollback")
    assert (transaction(peer).publishes, transaction(peer).settled) == ([], [])
    assert list(peer.connection.channels[1].unacked.by_tag) == [1, 2, 3]
    assert world.find().ready_count == 0
    peer.call(1, "basic.recover", requeue=True)
    assert got(peer) == [(b"a", True), (b"b", True), (b"c", True)]


def test_settled_at_the_commit(world: World, peer: Peer) -> None:
    for body in (b"a", b"b", b"c"):
        peer.publish(1, "", "q", body)
    peer.call(1, "tx.commit")
    got(peer)
    peer.send(1, "basic.ack", delivery_tag=1)
    peer.send(1, "basic.reject", delivery_tag=3, requeue=True)
    peer.turn()
    assert (world.find().ready_count, world.find().unacked_count) == (0, 3)
    peer.call(1, "tx.commit")
    assert (world.find().ready_count, world.find().unacked_count) == (1, 1)
    assert got(peer) == [(b"c", True)]


def test_what_is_rejected_is_a_dead_letter_at_the_commit(world: World, peer: Peer) -> None:
    world.queue("grave")
    world.queue("r", arguments=arguments(dead_letter_exchange="", dead_letter_routing_key="grave"))
    world.send("r", b"a")
    peer.send(1, "basic.get", queue="r")
    peer.turn()
    peer.output()
    peer.send(1, "basic.reject", delivery_tag=1, requeue=False)
    peer.turn()
    assert [verdict for _, _, verdict in transaction(peer).settled] == [REJECT]
    assert world.find("grave").ready_count == 0
    peer.call(1, "tx.commit")
    assert (world.find("r").unacked_count, world.received("grave")) == (0, [b"a"])


def test_a_commit_that_a_full_queue_refuses_is_told_to_be_partial(world: World, peer: Peer) -> None:
    world.queue("r", arguments=arguments(max_length=1, overflow="reject-publish"))
    for name, body in (("r", b"a"), ("r", b"b"), ("q", b"c")):
        peer.publish(1, "", name, body)
    peer.send(1, "tx.commit")
    peer.turn()
    (said,) = peer.output()
    assert (said.name, said.args["reply_code"]) == ("channel.close", 406)
    assert said.args["reply_text"] == "PRECONDITION_FAILED - partial tx completion"
    assert (world.received("r"), world.received("q")) == ([b"a"], [b"c"])


@pytest.mark.parametrize("change", ["exchange.delete", "queue.unbind"])
@pytest.mark.parametrize("exchange", ["amq.headers", "amq.direct"])
def test_a_publish_goes_where_it_was_routed_whatever_is_unbound_since(world: World, exchange: str, change: str) -> None:
    """RabbitMQ: routed when it is published. Whether by a key or by its headers is no difference."""
    peer = world.server.peer(1)
    peer.call(1, "exchange.declare", exchange="x", type=exchange.removeprefix("amq."))
    peer.call(1, "queue.bind", exchange="x", queue="q", routing_key="k", arguments={"n": 1})
    peer.call(1, "tx.select")
    peer.publish(1, "x", "k", b"a", properties(headers={"n": 1}))
    if change == "exchange.delete":
        peer.call(1, change, exchange="x")
    else:
        peer.call(1, change, exchange="x", queue="q", routing_key="k", arguments={"n": 1})
    peer.call(1, "tx.commit")
    assert world.find().ready_count == 1
