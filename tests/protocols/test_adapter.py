"""What every adapter promises the server, by the one there is: AMQP 0-9-1."""

import pytest

from amqpd.broker.owner import Owner
from amqpd.broker.ports import Waiter
from amqpd.protocols.adapter import Adapter, Stage
from tests.support import wire
from tests.support.raw_peer import HEADER
from tests.support.wire import Peer, Server, login, method

STAGES = {
    "nothing said": b"",
    "half a header": HEADER[:4],
    "header": HEADER,
    "logged in": login(),
    "open channels": login(1, 2),
    "busy": login(1)
    + method(1, "queue.declare", queue="q", exclusive=True)
    + method(1, "basic.consume", queue="q")
    + wire.publish(1, "", "q", b"x"),
    "half a frame": login(1) + method(1, "queue.declare", queue="q")[:-3],
    "half a content": login(1) + method(1, "basic.publish", routing_key="q"),
    "closing": login(1) + method(1, "channel.open"),
    "closed": login(1) + method(0, "connection.close"),
    "deaf": b"GET / HTTP/1.1\r\n\r\n",
}


def at(stage: str) -> tuple[Server, Peer, Adapter]:
    server = Server()
    peer = server.connect()
    adapter: Adapter = peer.connection
    if STAGES[stage]:
        adapter.receive(STAGES[stage])
    return server, peer, adapter


def test_stage_is_empty_at_first() -> None:
    stage = Stage()
    assert (stage.touched, stage.resumable) == ([], [])


def test_a_new_adapter() -> None:
    server, peer, adapter = at("nothing said")
    assert isinstance(adapter, Owner)
    assert isinstance(adapter, Waiter)
    assert adapter.name == "peer 1"
    assert adapter.stage is server.stage
    assert adapter.outbox is peer.connection.outbox
    assert adapter.is_reading
    flags = (adapter.is_publisher, adapter.wants_tick, adapter.is_abandoned, adapter.is_finished)
    assert flags == (False, False, False, False)
    assert adapter.why == ""
    assert adapter.queues == {}


@pytest.mark.parametrize("stage", STAGES)
def test_the_end_of_the_stream(stage: str) -> None:
    """Any time, and twice: everything is given back, and nothing is said any more."""
    server, peer, adapter = at(stage)
    server.turn()
    peer.is_gone = True
    server.peers.clear()
    adapter.receive_eof()
    adapter.receive_eof()
    assert adapter.why
    server.turn()
    wire.check_left(server)
    adapter.outbox.take()
    adapter.receive(HEADER)
    adapter.receive(method(0, "connection.close-ok"))
    adapter.set_alarm("low on disk")
    adapter.resume()
    adapter.on_outbox_low()
    adapter.force_close("shutdown")
    server.turn()
    assert b"".join(adapter.outbox.take()) == b""


@pytest.mark.parametrize("stage", STAGES)
def test_ticks_name_a_later_time_or_end_it(stage: str) -> None:
    _, _, adapter = at(stage)
    now = 0.0
    for _ in range(100):
        next_at = adapter.tick(now, 0.0, 0.0)
        if adapter.is_finished:
            break
        assert next_at > now
        now = next_at
    adapter.tick(now + 1000.0, 0.0, 0.0)


@pytest.mark.parametrize("stage", STAGES)
def test_resume_without_a_reason(stage: str) -> None:
    server, _, adapter = at(stage)
    before = (adapter.is_reading, adapter.is_finished)
    server.turn_once()
    adapter.resume()
    adapter.on_outbox_low()
    server.turn()
    assert (adapter.is_reading, adapter.is_finished) == before


@pytest.mark.parametrize("stage", STAGES)
def test_force_close(stage: str) -> None:
    """Who knows us is told, who does not is dropped; what is ending already ends as it was going to."""
    server, peer, adapter = at(stage)
    server.turn()
    peer.take_bytes()
    adapter.force_close("shutdown")
    server.turn()
    said = peer.output() if stage not in ("deaf",) else []
    if stage in ("logged in", "open channels", "busy", "half a frame", "half a content"):
        assert [(each.name, each.args["reply_code"]) for each in said] == [("connection.close", 320)]
        assert said[0].args["reply_text"] == "CONNECTION_FORCED - shutdown"
        assert (said[0].args["class_id"], said[0].args["method_id"]) == (0, 0)
        peer.send(0, "connection.close-ok")
        server.turn()
        assert peer.is_gone
    elif stage in ("nothing said", "half a header", "header"):
        assert said == []
        assert adapter.is_abandoned
        assert adapter.why == "shutdown"
    else:
        assert said == []
        assert not adapter.is_abandoned
