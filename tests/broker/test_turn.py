import pytest

from amqpd import limits
from amqpd.broker.timers import Deadline
from tests.support.raw_peer import properties
from tests.support.wire import DelayedStore, Peer, Server

PERSISTENT = properties(delivery_mode=2)


@pytest.fixture
def store() -> DelayedStore:
    made = DelayedStore()
    made.is_delaying = False
    return made


@pytest.fixture
def peer(store: DelayedStore) -> Peer:
    """Confirms on channel 1; queues "kept" (durable) and "brief"."""
    made = Server(store).peer(1, 2)
    made.call(1, "queue.declare", queue="kept", durable=True)
    made.call(1, "queue.declare", queue="brief")
    made.call(1, "confirm.select")
    return made


def names(peer: Peer) -> list[str]:
    return [said.name for said in peer.output()]


def test_deliveries_come_before_confirms(peer: Peer) -> None:
    peer.call(1, "basic.consume", queue="brief")
    peer.publish(1, "", "brief", b"a")
    assert not peer.sent, "nothing happens before the end of the turn"
    peer.turn()
    assert names(peer) == ["basic.deliver", "basic.ack"]


def test_a_confirm_waits_for_its_batch(peer: Peer, store: DelayedStore) -> None:
    store.is_delaying = True
    peer.publish(1, "", "kept", b"a", PERSISTENT)
    peer.turn()
    assert names(peer) == []
    store.complete()
    peer.turn()
    assert names(peer) == ["basic.ack"]


def test_a_confirm_that_needs_no_disk_waits_for_none(peer: Peer, store: DelayedStore) -> None:
    store.is_delaying = True
    peer.send(2, "queue.declare", queue="other", durable=True)
    peer.turn()
    assert store.waiting
    other = peer.server.peer(1)
    other.call(1, "confirm.select")
    other.publish(1, "", "brief", b"a", PERSISTENT)
    other.turn()
    assert names(other) == ["basic.ack"]


def test_a_store_that_completes_at_once_needs_no_second_turn(peer: Peer) -> None:
    peer.call(1, "basic.consume", queue="kept")
    for body in (b"a", b"b"):
        peer.publish(1, "", "kept", body, PERSISTENT)
        assert not peer.server.broker.turn.finish()
    peer.server.turn_once()
    assert sorted(names(peer)) == ["basic.ack", "basic.ack", "basic.deliver", "basic.deliver"]
    assert peer.server.broker.journal.is_idle()


def test_one_batch_a_turn_for_all_connections(peer: Peer, store: DelayedStore) -> None:
    store.is_delaying = True
    peers = [peer, peer.server.peer(1), peer.server.peer(1)]
    for each in peers:
        each.publish(1, "", "kept", b"x", PERSISTENT)
    peer.turn()
    assert len(store.waiting) == 1
    store.complete()
    peer.turn()
    assert peer.server.broker.journal.is_idle()


def test_a_long_queue_stops_at_its_bound_and_wants_another_turn(peer: Peer) -> None:
    extra = 10
    for _ in range(limits.TURN_DELIVERIES + extra):
        peer.publish(2, "", "brief", b"x")
    peer.publish(2, "", "kept", b"x")
    peer.turn()
    for queue in ("brief", "kept"):
        peer.send(2, "basic.consume", queue=queue, no_ack=True, consumer_tag=queue)
    assert peer.server.turn_once()
    delivered = [said.args["consumer_tag"] for said in peer.output() if said.name == "basic.deliver"]
    assert delivered.count("brief") == limits.TURN_DELIVERIES
    assert delivered.count("kept") == 1, "others have their turn all the same"
    assert not peer.server.turn_once()
    assert len(peer.output()) == extra


def test_a_queue_is_noted_once_a_turn(peer: Peer) -> None:
    for _ in range(3):
        peer.publish(1, "", "brief", b"x")
    turn = peer.server.broker.turn
    assert [queue.name for queue in turn.dirty] == ["brief"]
    assert len(turn.confirming) == 1
    peer.turn()
    assert (len(turn.dirty), len(turn.confirming)) == (0, 0)


class Nothing(Deadline):
    """Nothing is to be done."""

    def on_deadline(self, now_ms: int) -> None:
        pass


def test_when_the_clock_will_say_that_something_is_due() -> None:
    turn = Server().broker.turn
    assert turn.next_timer() < 0
    turn.epoch_ms = 1_000_000
    turn.timers.set(Nothing(), 1_002_500)
    assert turn.next_timer() == 2.5
    assert not turn.begin(2.4)
    assert (turn.now_ms, turn.now_us) == (1_002_400, 1_002_400_000)
