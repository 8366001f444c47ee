"""What exchanges keep survives a crash: messages that wait for their time, and ids that were seen."""

import subprocess
import sys
from pathlib import Path

from tests.support.brokers import Broker, amqpd
from tests.support.raw_peer import RawPeer, properties

DELAYS_MS = range(0, 1500, 50)  # around the crash: some are over before it, some while the broker is down


def logged_in(broker: Broker) -> RawPeer:
    peer = broker.connect()
    peer.login()
    peer.open_channel(1)
    return peer


def declare(peer: RawPeer) -> None:
    arguments = {"x-delayed-type": "fanout", "x-message-deduplication": True}
    peer.call(1, "exchange.declare", exchange="x", type="x-delayed-message", durable=True, arguments=arguments)
    peer.call(1, "queue.declare", queue="q", durable=True)
    peer.call(1, "queue.bind", queue="q", exchange="x")


def publish(peer: RawPeer, delay_ms: int) -> None:
    props = properties(headers={"x-delay": delay_ms}, delivery_mode=2, message_id=f"id {delay_ms}")
    peer.publish(1, "x", "", b"%d" % delay_ms, props)


def confirmed(peer: RawPeer, count: int) -> None:
    """Wait until that many are."""
    tag = 0
    while tag < count:
        tag = peer.expect(1, "basic.ack")["delivery_tag"]


def test_confirmed_delayed_messages_and_ids_survive_a_kill(tmp_path: Path) -> None:
    with amqpd(tmp_path) as broker, logged_in(broker) as peer:
        declare(peer)
        peer.call(1, "confirm.select")
        for delay_ms in DELAYS_MS:
            publish(peer, delay_ms)
        confirmed(peer, len(DELAYS_MS))
        broker.kill()
    verify = [sys.executable, "-m", "amqpd", "store", "verify", str(tmp_path)]
    done = subprocess.run(verify, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    with amqpd(tmp_path) as broker, logged_in(broker) as peer:
        declare(peer)
        for delay_ms in DELAYS_MS:
            publish(peer, delay_ms)
        peer.call(1, "basic.consume", queue="q", no_ack=True)
        got = [int(peer.expect_deliver(1).body) for _ in DELAYS_MS]
        peer.expect_nothing()
    assert sorted(got) == list(DELAYS_MS)
    assert got == sorted(got)
