"""Acks are lost however the bytes are chopped, and nothing else is."""

import socket
from collections.abc import Iterator

import pytest

from amqpd.protocols.amqp091.constants import HEARTBEAT_FRAME
from amqpd.testing.acks import AckFilter, FilteredSocket
from tests.support.raw_peer import BODY, CONTENT_HEADER, HEARTBEAT, content_header, frame
from tests.support.wire import method

ACK = method(1, "basic.ack", delivery_tag=1)
NACK = method(1, "basic.nack", delivery_tag=2)
ACK_ALL = method(2, "basic.ack", delivery_tag=0, multiple=True)
QOS = method(1, "basic.qos", prefetch_count=1)
CONTENT = frame(CONTENT_HEADER, 1, content_header(len(ACK))) + frame(BODY, 1, ACK)  # a body that looks like one
SHORT = frame(1, 1, b"\0\0")  # not a method, whatever its type says
BEAT = frame(HEARTBEAT, 0, b"")
STREAM = QOS + ACK + CONTENT + ACK_ALL + BEAT + SHORT + NACK + ACK
LEFT = QOS + BEAT + CONTENT + BEAT + BEAT + SHORT + NACK + BEAT


def chopped(data: bytes, size: int) -> Iterator[bytes]:
    return (data[at : at + size] for at in range(0, len(data), size))


@pytest.mark.parametrize("size", [1, 2, 7, 8, 10, 11, 12, 21, 22, 1000])
def test_acks_become_heartbeats(size: int) -> None:
    acks = AckFilter()
    acks.droppers = 1
    assert b"".join(acks.feed(chunk) for chunk in chopped(STREAM, size)) == LEFT
    assert BEAT == HEARTBEAT_FRAME


@pytest.mark.parametrize("size", [1, 11, 1000])
def test_nothing_is_lost_while_nobody_drops(size: int) -> None:
    acks = AckFilter()
    assert b"".join(acks.feed(chunk) for chunk in chopped(STREAM, size)) == STREAM


def test_nothing_is_held_back_that_is_no_ack() -> None:
    """What is wrong is told at once."""
    acks = AckFilter()
    assert [acks.feed(each) for each in (SHORT, BEAT, QOS)] == [SHORT, BEAT, QOS]


def test_from_the_first_octet_on() -> None:
    acks = AckFilter(8)
    acks.droppers = 1
    assert acks.feed(b"AMQP\0") + acks.feed(b"\0\x09\x01" + ACK + QOS) == b"AMQP\0\0\x09\x01" + BEAT + QOS


@pytest.mark.parametrize("seen", range(len(ACK + QOS) + 1))
def test_from_the_middle_of_a_frame_on(seen: int) -> None:
    """The connection has the beginning of a frame: it must get all of the rest."""
    stream = ACK + QOS + ACK + QOS
    acks = AckFilter()
    acks.pass_by(stream[:seen])
    acks.droppers = 1
    left = b"".join(acks.feed(chunk) for chunk in chopped(stream[seen:], 3))
    first = BEAT if seen == 0 else ACK
    assert stream[:seen] + left == first + QOS + BEAT + QOS


def test_to_the_middle_of_a_frame() -> None:
    acks = AckFilter()
    acks.droppers = 1
    assert acks.feed(ACK[:15]) == BEAT
    acks.droppers = 0
    assert acks.feed(ACK[15:] + ACK) == ACK


def test_a_socket_has_nothing_to_read_when_all_was_dropped() -> None:
    ours, theirs = socket.socketpair()
    acks = AckFilter()
    acks.droppers = 1
    key = ours.fileno()
    with FilteredSocket(ours, acks) as filtered, theirs:
        assert filtered.fileno() == key
        theirs.sendall(ACK[:12])
        assert filtered.recv(100) == BEAT
        theirs.sendall(ACK[12:])
        with pytest.raises(BlockingIOError):
            filtered.recv(100)
        theirs.sendall(QOS)
        assert filtered.recv(100) == QOS
        theirs.close()
        assert filtered.recv(100) == b""
