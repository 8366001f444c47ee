"""Consumers that hold deliveries for too long; time is moved by hand."""

from typing import Any

import pytest

from amqpd.broker.policies import Policy
from amqpd.protocols.amqp091.handshake import Tuning
from tests.support.wire import Peer, Server


def consume(peer: Peer, **arguments: Any) -> None:
    peer.call(1, "queue.declare", queue="q", arguments=arguments)
    peer.call(1, "basic.consume", queue="q", consumer_tag="c")
    peer.publish(1, "", "q", b"m")
    assert names(peer) == ["basic.deliver"]


def names(peer: Peer) -> list[str]:
    peer.turn()
    return [said.name for said in peer.output()]


def pass_time(server: Server, ms: int) -> None:
    for _ in range(ms // 10):
        server.broker.turn.begin(server.broker.turn.now_ms / 1000 + 0.0101)
        server.turn()


def test_late_after_the_time_and_not_before() -> None:
    server = Server()
    peer = server.peer(1)
    consume(peer, **{"x-consumer-timeout": 1000})
    pass_time(server, 900)
    assert names(peer) == []
    pass_time(server, 600)
    assert names(peer) == ["basic.cancel"]
    queue = server.broker.vhosts["/"].queues["q"]
    assert (queue.ready_count, queue.unacked_count) == (1, 0)


def test_a_limit_for_all_queues_and_rabbitmq_s_way() -> None:
    server = Server(tuning=Tuning(consumer_timeout_ms=1000, consumer_timeout_closes_channel=True))
    peer = server.peer(1)
    consume(peer)
    pass_time(server, 1500)
    (close,) = peer.output()
    assert close.name == "channel.close"
    assert close.args["reply_code"] == 406
    assert close.args["reply_text"].startswith(
        "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out. Timeout value used: 1000 ms."
    )


def test_a_policy_sets_a_limit_for_who_consumes_already() -> None:
    server = Server()
    peer = server.peer(1)
    consume(peer)
    server.broker.policies.set(Policy("/", "p", "^q$", {"consumer-timeout": 1000}))
    server.broker.vhosts["/"].apply_policies()
    pass_time(server, 130_000)
    assert names(peer) == ["basic.cancel"]


@pytest.mark.parametrize("multiple", [False, True])
def test_settling_too_late_does_nothing_once(multiple: bool) -> None:
    server = Server()
    peer = server.peer(1)
    consume(peer, **{"x-consumer-timeout": 100})
    pass_time(server, 300)
    names(peer)
    peer.send(1, "basic.ack", delivery_tag=1, multiple=multiple)
    assert names(peer) == []
