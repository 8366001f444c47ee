"""Delayed messages, SIGKILL in between: each comes, not before its time, and twice only if told."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.durability.home import Home, confirm_up_to
from tests.support.raw_peer import RawPeer, properties


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    made = Home(tmp_path)
    yield made
    made.end()


@pytest.fixture
def peer(home: Home) -> RawPeer:
    """Confirming, with an exchange that delays on the way to ``q``."""
    first = home.start()
    first.call(1, "confirm.select")
    arguments = {"x-delayed-type": "direct"}
    first.call(1, "exchange.declare", exchange="later", type="x-delayed-message", durable=True, arguments=arguments)
    first.call(1, "queue.declare", queue="q", durable=True)
    first.call(1, "queue.bind", queue="q", exchange="later", routing_key="k")
    return first


def publish(peer: RawPeer, body: bytes, delay_ms: int) -> None:
    peer.publish(1, "later", "k", body, properties(delivery_mode=2, headers={"x-delay": delay_ms}))


def test_due_while_the_broker_was_away(home: Home, peer: RawPeer) -> None:
    bodies = [b"%d" % number for number in range(50)]
    for body in bodies:
        publish(peer, body, 200)
    publish(peer, b"not yet", 3_600_000)
    confirm_up_to(peer, 51)
    peer = home.kill_and_start()
    peer.call(1, "basic.consume", queue="q", no_ack=True)
    assert sorted(peer.expect_deliver(1).body for _ in bodies) == sorted(bodies)
    peer.expect_nothing(50)


def test_due_after_the_start(home: Home, peer: RawPeer) -> None:
    """At the time that was asked for, not that time after the start."""
    due = time.time() + 2
    publish(peer, b"a", 2000)
    confirm_up_to(peer, 1)
    peer = home.kill_and_start()
    peer.call(1, "basic.consume", queue="q", no_ack=True)
    peer.expect_deliver(1, b"a")
    assert due - 0.1 <= time.time()


def test_killed_among_deliveries(home: Home, peer: RawPeer) -> None:
    bodies = [b"%d" % number for number in range(300)]
    for number, body in enumerate(bodies):
        publish(peer, body, 100 + number)
    confirm_up_to(peer, 300)
    peer.call(1, "basic.consume", queue="q", consumer_tag="c")
    read = {content.body for content in peer.expect_delivers(1, bodies[:50], redelivered=False)}
    peer = home.kill_and_start()
    peer.call(1, "basic.consume", queue="q", no_ack=True)
    again = [peer.expect_deliver(1) for _ in bodies]
    assert sorted(content.body for content in again) == sorted(bodies)
    assert [content.body for content in again if content.body in read and not content.method["redelivered"]] == []
