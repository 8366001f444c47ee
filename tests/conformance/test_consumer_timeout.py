"""``x-consumer-timeout``: a consumer that does not settle in time is cancelled, and its messages go to others.

RabbitMQ 3.10 has one limit for all queues, looks each minute, and closes the whole channel.
"""

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conformance.conftest import Connect, Control, Enter, Name
from tests.support.brokers import Broker, amqpd
from tests.support.raw_peer import ALL_CAPABILITIES, RawPeer, Typed

SHORT_MS = 60
IN_TIME_MS = 800  # time to settle something, on a slow machine too


@pytest.fixture(autouse=True)
def _what_only_amqpd_does(broker: Broker) -> None:
    if broker.kind == "rabbitmq":
        pytest.skip("RabbitMQ knows the argument from 3.12 on, and closes the channel")


@pytest.fixture
def queue(peer: RawPeer, name: Name) -> str:
    new: str = peer.call(1, "queue.declare", queue=name("q"), arguments={"x-consumer-timeout": SHORT_MS})["queue"]
    return new


def consume(peer: RawPeer, queue: str, tag: str, channel: int = 1, **args: Any) -> None:
    peer.call(channel, "basic.consume", queue=queue, consumer_tag=tag, **args)


def test_the_consumer_is_cancelled_and_its_messages_go_back(peer: RawPeer, name: Name) -> None:
    queue = peer.call(1, "queue.declare", queue=name("q"), arguments={"x-consumer-timeout": IN_TIME_MS})["queue"]
    consume(peer, queue, "slow")
    peer.publish_all(1, queue, [b"1", b"2", b"3"])
    peer.expect_delivers(1, [b"1", b"2", b"3"], redelivered=False)
    peer.send(1, "basic.ack", delivery_tag=2)
    peer.expect(1, "basic.cancel", consumer_tag="slow", nowait=True)
    for body in (b"1", b"3"):
        peer.get(1, queue, body, redelivered=True, no_ack=True)
    peer.get_empty(1, queue)
    peer.expect_nothing()


def test_the_channel_and_its_other_consumers_go_on(peer: RawPeer, queue: str, name: Name) -> None:
    other = peer.call(1, "queue.declare", queue=name("other"))["queue"]
    consume(peer, other, "patient")
    consume(peer, queue, "slow")
    peer.publish(1, "", other, b"a")
    peer.expect_deliver(1, b"a", delivery_tag=1)
    peer.publish(1, "", queue, b"b")
    peer.expect_deliver(1, b"b", delivery_tag=2)
    peer.expect(1, "basic.cancel", consumer_tag="slow")
    peer.send(1, "basic.ack", delivery_tag=1)
    peer.publish(1, "", other, b"c")
    peer.expect_deliver(1, b"c", consumer_tag="patient", delivery_tag=3)


def test_another_consumer_gets_them(peer: RawPeer, connect: Connect, queue: str) -> None:
    slow = connect()
    consume(slow, queue, "slow")
    peer.publish(1, "", queue, b"m")
    slow.expect_deliver(1, b"m")
    consume(peer, queue, "other", no_ack=True)
    peer.expect_deliver(1, b"m", redelivered=True)
    slow.expect(1, "basic.cancel", consumer_tag="slow")


def test_settling_too_late_does_nothing(peer: RawPeer, queue: str) -> None:
    """Once: the channel goes on, and the message is another's."""
    consume(peer, queue, "slow")
    peer.publish(1, "", queue, b"m")
    peer.expect_deliver(1, b"m", delivery_tag=1)
    peer.expect(1, "basic.cancel", consumer_tag="slow")
    peer.send(1, "basic.ack", delivery_tag=1)
    peer.get(1, queue, b"m", redelivered=True)
    text = "PRECONDITION_FAILED - unknown delivery tag 1"
    peer.refused(1, 406, text, "basic.ack", delivery_tag=1)


def test_the_tag_is_free_again(peer: RawPeer, queue: str) -> None:
    consume(peer, queue, "t")
    peer.publish(1, "", queue, b"m")
    peer.expect_deliver(1, b"m")
    peer.expect(1, "basic.cancel", consumer_tag="t")
    consume(peer, queue, "t", no_ack=True)
    peer.expect_deliver(1, b"m", redelivered=True)


def test_who_did_not_ask_is_not_told(peer: RawPeer, connect: Connect, queue: str) -> None:
    slow = connect(capabilities=ALL_CAPABILITIES | {"consumer_cancel_notify": False})
    consume(slow, queue, "slow")
    peer.publish(1, "", queue, b"m")
    slow.expect_deliver(1, b"m")
    consume(peer, queue, "other", no_ack=True)
    peer.expect_deliver(1, b"m", redelivered=True)
    slow.call(1, "basic.qos")
    slow.expect_nothing()


def test_settling_in_time(peer: RawPeer, name: Name) -> None:
    """Each delivery has a time of its own: together they take longer than one may."""
    queue = peer.call(1, "queue.declare", queue=name("q"), arguments={"x-consumer-timeout": IN_TIME_MS})["queue"]
    consume(peer, queue, "t")
    for tag in (1, 2, 3, 4):
        peer.publish(1, "", queue, b"m")
        peer.expect_deliver(1, b"m", delivery_tag=tag)
        peer.expect_nothing(IN_TIME_MS * 2 // 5)
        peer.send(1, "basic.ack", delivery_tag=tag)
    peer.expect_nothing()


def test_without_acks_nothing_is_late(peer: RawPeer, queue: str) -> None:
    consume(peer, queue, "t", no_ack=True)
    peer.publish(1, "", queue, b"m")
    peer.expect_deliver(1, b"m")
    peer.expect_nothing(SHORT_MS * 2)


def test_a_second_queue_without_the_argument(peer: RawPeer, name: Name) -> None:
    queue = peer.call(1, "queue.declare", queue=name("q"))["queue"]
    consume(peer, queue, "t")
    peer.publish(1, "", queue, b"m")
    peer.expect_deliver(1, b"m")
    peer.expect_nothing(SHORT_MS * 2)


def test_a_single_active_consumer_hands_over(peer: RawPeer, name: Name) -> None:
    arguments = {"x-consumer-timeout": SHORT_MS, "x-single-active-consumer": True}
    queue = peer.call(1, "queue.declare", queue=name("q"), arguments=arguments)["queue"]
    consume(peer, queue, "slow")
    consume(peer, queue, "next", no_ack=True)
    peer.publish(1, "", queue, b"m")
    peer.expect_deliver(1, b"m", consumer_tag="slow")
    got = [peer.next_frame(1) for _ in range(4)]  # the cancel and the delivery, in either order
    assert len(got) == 4
    peer.expect_nothing()


def test_a_policy_may_say_so(enter: Enter, control: Control, name: Name) -> None:
    peer = enter()
    peer.expect(0, "connection.open-ok")
    peer.open_channel(1)
    queue = name("q")
    control("set_policy", queue, f"^{queue}$", f'{{"consumer-timeout": {SHORT_MS}}}')
    peer.call(1, "queue.declare", queue=queue)
    consume(peer, queue, "slow")
    peer.publish(1, "", queue, b"m")
    peer.expect_deliver(1, b"m")
    peer.expect(1, "basic.cancel", consumer_tag="slow")
    control("clear_policy", queue)


@pytest.fixture(scope="module")
def strict(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """amqpd with a limit for all queues, which it enforces as RabbitMQ does."""
    if broker.kind == "rabbitmq":
        pytest.skip("RabbitMQ looks each minute")
    config = tmp_path_factory.mktemp("strict") / "amqpd.toml"
    config.write_text(f"consumer_timeout_s = {SHORT_MS / 1000}\nconsumer_timeout_closes_channel = true\n")
    with amqpd(None, "--config", str(config)) as running:
        yield running


def test_a_limit_for_all_that_closes_the_channel(strict: Broker) -> None:
    with strict.connect() as peer:
        peer.login()
        peer.open_channel(1)
        queue = peer.call(1, "queue.declare", exclusive=True)["queue"]
        consume(peer, queue, "slow")
        peer.publish(1, "", queue, b"m")
        peer.expect_deliver(1, b"m")
        text = f"delivery acknowledgement on channel 1 timed out. Timeout value used: {SHORT_MS} ms."
        text += " This timeout value can be configured, see consumers doc guide to learn more"
        peer.expect_channel_close(1, 406, f"PRECONDITION_FAILED - {text}")
        peer.open_channel(1)
        peer.get(1, queue, b"m", redelivered=True)


def test_a_queue_may_have_no_limit_where_all_others_have_one(strict: Broker) -> None:
    with strict.connect() as peer:
        peer.login()
        peer.open_channel(1)
        queue = peer.call(1, "queue.declare", exclusive=True, arguments={"x-consumer-timeout": 0})["queue"]
        consume(peer, queue, "t")
        peer.publish(1, "", queue, b"m")
        peer.expect_deliver(1, b"m")
        peer.expect_nothing(SHORT_MS * 2)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (-1, "{value_negative,-1}"),
        ("1", '"expected integer, got longstr"'),
        (1.5, '"expected integer, got double"'),
        (Typed("T", 1), '"expected integer, got timestamp"'),
    ],
)
def test_values_that_are_refused(peer: RawPeer, name: Name, value: Any, why: str) -> None:
    queue = name("q")
    text = f"PRECONDITION_FAILED - invalid arg 'x-consumer-timeout' for queue '{queue}' in vhost '/': {why}"
    peer.refused(1, 406, text, "queue.declare", queue=queue, arguments={"x-consumer-timeout": value})
