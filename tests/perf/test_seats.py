"""Sockets that do not block, and the methods that are not for each message."""

import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from amqpd.perf.consumer import Consumer, Tally
from amqpd.perf.ledger import Ledger
from amqpd.perf.link import BrokerError, Link, Refused
from amqpd.perf.producer import Producer
from amqpd.perf.publish import Target, encode
from amqpd.perf.seats import Room, Seat
from tests.perf.spoken import NOW, RUN, body, deliver, publishes, said
from tests.support.raw_peer import frame, method_payload

TARGET = Target("", "q", mandatory=False, persistent=False)
WAIT_S = 5.0


class Pair(Link):
    """A link to the test itself."""

    def __init__(self) -> None:
        self.socket, self.far = socket.socketpair()
        self.far.settimeout(WAIT_S)
        self.rest = b""
        self._is_lost = False


@dataclass
class World:
    """A room with one seat, and the far end of its socket."""

    room: Room
    link: Pair
    seat: Seat
    producer: Producer
    consumer: Consumer


def enter(*, is_producer: bool, rest: bytes = b"") -> World:
    room, link = Room(lambda: NOW), Pair()
    link.rest = rest
    producer = Producer(0, RUN, window=10, limit=0, publishes=[encode(TARGET, 100_000, 131_072)])
    consumer = Consumer(Tally(RUN), "q", [Ledger()], ack_every=1, limit=0, autoack=False)
    room.seat(link, producer if is_producer else consumer)
    return World(room, link, room.seats[link.socket.fileno()], producer, consumer)


@pytest.fixture
def producing() -> Iterator[World]:
    world = enter(is_producer=True)
    yield world
    world.link.far.close()
    world.room.close()


@pytest.fixture
def consuming() -> Iterator[World]:
    world = enter(is_producer=False)
    yield world
    world.link.far.close()
    world.room.close()


def test_what_the_kernel_does_not_take_is_sent_later(producing: World) -> None:
    seat, room = producing.seat, producing.room
    while not seat.unsent:
        seat.send(producing.producer.encode(10, NOW))
    received = b""
    while seat.unsent:
        received += producing.link.far.recv(1_000_000)
        room.turn(WAIT_S)
    producing.link.far.settimeout(0)
    while True:
        try:
            received += producing.link.far.recv(1_000_000)
        except BlockingIOError:
            break
    stamps = [each.stamp.sequence for each in publishes(received)]
    assert stamps == list(range(int(producing.producer.published)))


def test_confirms_arrive(producing: World) -> None:
    producing.producer.encode(1, NOW)
    producing.link.far.sendall(said("basic.ack", delivery_tag=1))
    producing.room.turn(WAIT_S)
    assert producing.producer.confirmed == 1


def test_a_confirm_of_nothing_is_the_brokers_fault(producing: World) -> None:
    producing.link.far.sendall(said("basic.ack", delivery_tag=1))
    with pytest.raises(BrokerError, match="confirms number 1 of 0 publishes"):
        producing.room.turn(WAIT_S)


def test_publishers_are_held_back_and_let_go(producing: World) -> None:
    seat = producing.seat
    seat.take(frame(1, 0, method_payload("connection.blocked", reason="low on memory")), NOW)
    assert producing.producer.allowed(NOW, 0.0) == 0
    assert seat.take_blocked_ns(NOW + 5) == 5
    seat.take(frame(1, 0, method_payload("connection.blocked", reason="low on memory")), NOW)
    seat.take(frame(1, 0, method_payload("connection.unblocked")), NOW + 7)
    assert producing.producer.allowed(NOW, 0.0) == 10
    assert (seat.blocked_ns, seat.take_blocked_ns(NOW + 9)) == (7, 0)


def test_deliveries_are_acked_at_once(consuming: World) -> None:
    consuming.link.far.sendall(deliver(1, body(0)))
    consuming.room.turn(WAIT_S)
    assert consuming.consumer.consumed == 1
    assert consuming.link.far.recv(1000) == said("basic.ack", delivery_tag=1)


def test_what_came_with_the_set_up_counts() -> None:
    world = enter(is_producer=False, rest=deliver(1, body(0)))
    assert world.consumer.consumed == 1
    world.link.far.close()
    world.room.close()


def test_a_consumer_may_leave_messages_in_the_socket(consuming: World) -> None:
    consuming.seat.read_or_not(False)
    consuming.link.far.sendall(deliver(1, body(0)))
    consuming.room.turn(0.01)
    assert consuming.consumer.consumed == 0
    consuming.seat.read_or_not(True)
    consuming.room.turn(WAIT_S)
    assert consuming.consumer.consumed == 1


def test_a_consumer_that_is_cancelled(consuming: World) -> None:
    cancel = said("basic.cancel", consumer_tag="perf")
    with pytest.raises(BrokerError, match="queue was deleted"):
        consuming.seat.take(cancel, NOW)
    assert not consuming.seat.is_answered
    consuming.seat.is_ending = True
    consuming.seat.take(cancel, NOW)
    assert consuming.seat.is_answered


@pytest.mark.parametrize("name", ["basic.cancel-ok", "basic.qos-ok"])
def test_answers(consuming: World, name: str) -> None:
    consuming.seat.take(said(name), NOW)
    assert consuming.seat.is_answered


@pytest.mark.parametrize("name", ["connection.close", "channel.close"])
def test_the_broker_closes(consuming: World, name: str) -> None:
    consuming.link.far.sendall(said(name, reply_code=320, reply_text="CONNECTION_FORCED - bye"))
    with pytest.raises(Refused, match="320 CONNECTION_FORCED - bye"):
        consuming.room.turn(WAIT_S)


def test_the_broker_is_gone(consuming: World) -> None:
    consuming.link.far.close()
    with pytest.raises(BrokerError, match="without a word"):
        consuming.room.turn(WAIT_S)


def test_the_last_words_are_heard_before_a_broken_pipe(producing: World) -> None:
    producing.link.far.sendall(said("channel.close", reply_code=404, reply_text="NOT_FOUND"))
    producing.link.far.close()
    with pytest.raises(Refused, match="404 NOT_FOUND"):
        producing.seat.send(b"anything")


def test_waits_are_short_or_long(consuming: World) -> None:
    for seconds in (0.002, 0.06):
        begun = time.monotonic()
        consuming.room.turn(seconds)
        assert time.monotonic() - begun >= seconds * 0.9
    consuming.room.turn(-1)


def test_a_farewell(consuming: World) -> None:
    consuming.link.far.sendall(frame(1, 0, method_payload("connection.close-ok")))
    consuming.room.close()
    assert consuming.link.far.recv(1000).startswith(b"\x01\0\0")
    assert consuming.link.far.recv(1000) == b""
