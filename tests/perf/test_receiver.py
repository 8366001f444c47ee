"""A stream is the same frames however it is cut."""

from amqpd.perf.producer import Producer
from amqpd.perf.receiver import Receiver
from tests.perf.spoken import NOW, RUN, said

FRAMES = [said("connection.blocked", reason="full"), said("connection.unblocked"), said("connection.close-ok")]


def receiver() -> Receiver:
    return Producer(0, RUN, window=0, limit=0, publishes=[])


def test_every_way_to_cut_two_frames() -> None:
    stream = b"".join(FRAMES[:2])
    for at in range(len(stream) + 1):
        one = receiver()
        one.receive(stream[:at], NOW)
        one.receive(stream[at:], NOW)
        assert (one.others, one.rest) == (FRAMES[:2], b""), at


def test_octet_by_octet() -> None:
    one = receiver()
    for octet in b"".join(FRAMES):
        one.receive(bytes([octet]), NOW)
    assert (one.others, one.rest) == (FRAMES, b"")


def test_what_is_not_whole_is_kept() -> None:
    one = receiver()
    one.receive(FRAMES[0] + FRAMES[1][:-1], NOW)
    assert (one.others, one.rest) == (FRAMES[:1], FRAMES[1][:-1])
