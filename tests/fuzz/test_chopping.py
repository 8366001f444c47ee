"""However a stream is cut into chunks, the broker says the same bytes and ends in the same state."""

import itertools
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amqpd.broker.recovery import restore
from tests.fuzz import dialogue
from tests.support.wire import Server, assemble, method, snapshot, split_frames

ACTS = dialogue.acts()
LONGEST = max(map(len, ACTS))


def play(cuts: list[set[int]]) -> tuple[list[bytes], dict[str, Any]]:
    """What the broker answers to each act when the acts are cut at these offsets, and what is left of it all."""
    server = Server()
    restore(server.broker)
    peer = server.connect()
    answers = []
    for act, offsets in zip(ACTS, cuts, strict=True):
        edges = [0, *sorted(offset for offset in offsets if 0 < offset < len(act)), len(act)]
        for start, end in itertools.pairwise(edges):
            peer.feed(act[start:end])
        peer.turn()
        server.check()
        answers.append(peer.take_bytes())
    assert peer.is_gone
    return answers, snapshot(server.broker)


WHOLE = play([set() for _ in ACTS])


def check(cuts: list[set[int]]) -> None:
    answers, state = play(cuts)
    for act, (answer, expected) in enumerate(zip(answers, WHOLE[0], strict=True)):
        assert answer == expected, f"act {act}"
    assert state == WHOLE[1]


def test_the_dialogue_says_what_it_means_to() -> None:
    """The acts reach what they are written for: errors where they are meant, and nowhere else."""
    answers = [list(assemble(split_frames(answer))) for answer in WHOLE[0]]
    closes = [
        (act, said.channel, said.name, said.args["reply_code"])
        for act, answer in enumerate(answers)
        for said in answer
        if said.name in ("channel.close", "connection.close")
    ]
    assert closes == [(3, 3, "channel.close", 404), (5, 2, "channel.close", 406)]
    assert answers[-1][-1].name == "connection.close-ok"
    returned = [len(said.body) for said in answers[2] if said.name == "basic.return"]
    assert returned == list(dialogue.BODY_SIZES)
    sizes = list(dialogue.BODY_SIZES)
    plain = [len(said.body) for said in answers[3] if said.name == "basic.deliver" and said.channel == 1]
    direct = [size for size in sizes for size in (size, size)]
    assert plain == [2, 4, 6, 7, *direct, 10, 9000, 9000, *sizes]
    assert all(said.body == dialogue.body(len(said.body)) for answer in answers for said in answer)


def test_byte_by_byte() -> None:
    check([set(range(len(act))) for act in ACTS])


@pytest.mark.parametrize("size", [2, 3, 7, 8, 13, 22, 64, 1000, 4095, 4096, 4097])
def test_chunks_of_one_size(size: int) -> None:
    check([set(range(size, len(act), size)) for act in ACTS])


def test_one_cut_at_every_place_of_every_small_act() -> None:
    """The frames of all methods; publishes have a test of their own."""
    for number, act in enumerate(ACTS):
        if len(act) < 3000:
            for offset in range(1, len(act)):
                check([{offset} if number == other else set() for other in range(len(ACTS))])


def test_one_cut_at_every_place_of_publishes() -> None:
    parts = [
        dialogue.publish(1, "", "q", 0),
        dialogue.publish(1, "", "q", 1, dialogue.ALL_PROPERTIES),
        dialogue.publish(1, "", "q", dialogue.FRAME_MAX - 7),
        dialogue.publish(1, "", "nowhere", 3, mandatory=True),
        method(1, "basic.get", queue="q"),
        method(1, "connection.close"),
    ]
    stream = b"".join(parts)
    answers = set()
    for offset in range(len(stream)):
        server = Server()
        peer = server.peer(1, frame_max=dialogue.FRAME_MAX)
        peer.call(1, "queue.declare", queue="q")
        peer.feed(stream[:offset])
        peer.feed(stream[offset:])
        peer.turn()
        answers.add(peer.take_bytes())
    assert len(answers) == 1


def answer(stream: bytes, size: int) -> bytes:
    server = Server()
    peer = server.peer(1, 2, frame_max=dialogue.FRAME_MAX)
    peer.call(1, "queue.declare", queue="q")
    for start in range(0, len(stream), size):
        peer.feed(stream[start : start + size])
    peer.turn()
    return peer.take_bytes()


@pytest.mark.parametrize("size", [1, 2, 5])
def test_what_is_whole_is_answered_at_once(size: int) -> None:
    """However the stream was cut, and wherever it pauses: nobody waits for a frame that is there already."""
    stream = dialogue.interleaved()
    frames = dialogue.split(stream)
    for count in range(1, len(frames) + 1):
        part = b"".join(frames[:count])
        assert answer(part, size) == answer(part, len(part)), f"after {count} frames"


def test_what_is_whole_is_answered_at_once_frame_by_frame() -> None:
    frames = dialogue.split(dialogue.interleaved())
    server = Server()
    peer = server.peer(1, 2, frame_max=dialogue.FRAME_MAX)
    peer.call(1, "queue.declare", queue="q")
    heard = b""
    for count, frame in enumerate(frames, 1):
        peer.feed(frame)
        peer.turn()
        heard += peer.take_bytes()
        part = b"".join(frames[:count])
        assert heard == answer(part, len(part)), f"after {count} frames"


offsets = st.sets(st.integers(1, LONGEST), max_size=40)


@settings(max_examples=60)
@given(st.lists(offsets, min_size=len(ACTS), max_size=len(ACTS)))
def test_random_cuts(cuts: list[set[int]]) -> None:
    check(cuts)


@settings(max_examples=40)
@given(st.integers(0, 2**32), st.sampled_from([2, 5, 20, 200]))
def test_random_small_chunks(seed: int, mean: int) -> None:
    chance = random.Random(seed)
    check([{offset for offset in range(len(act)) if chance.random() < 1 / mean} for act in ACTS])
