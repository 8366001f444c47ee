"""Inputs by chance: some in every run of the suite, more in a full one, any number by ``python -m tests.fuzz``."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz import inputs
from tests.fuzz.inputs import LOGINS, Input
from tests.fuzz.run import Runner, Violation, check_cuts
from tests.support.raw_peer import HEADER, frame

SEED = 20_240_607


def run(first: int, count: int) -> None:
    with Runner() as runner:
        for index in range(first, first + count):
            made = inputs.make(SEED, index)
            try:
                runner.run(made, f"index {index}")
                check_cuts(made)
            except Violation as error:
                raise AssertionError(f"python -m tests.fuzz --seed {SEED} --only {index}: {error}") from error


def test_a_few_inputs_of_every_family() -> None:
    run(0, 1500)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_many_inputs_of_every_family() -> None:
    run(1500, 20_000)


def check(prefix: bytes, data: bytes, cuts: list[int]) -> None:
    size = len(prefix) + len(data)
    made = Input("hypothesis", prefix + data, sorted(cut % (size + 1) for cut in cuts), turns=set(range(0, 50, 3)))
    with Runner() as runner:
        runner.run(made)
    check_cuts(made)


CUTS = st.lists(st.integers(0, 1000), max_size=8)
PREFIXES = st.sampled_from([b"", HEADER, LOGINS[4096]])
KINDS = st.sampled_from([1, 2, 3, 8, 0])
METHOD_NUMBERS = st.sampled_from([10, 20, 40, 50, 60, 85, 90]).flatmap(
    lambda class_id: st.integers(0, 12).map(lambda tens: bytes([0, class_id, 0, tens * 10]))
)
PAYLOADS = st.one_of(st.binary(max_size=40), st.builds(bytes.__add__, METHOD_NUMBERS, st.binary(max_size=60)))
FRAMES = st.builds(frame, KINDS, st.integers(0, 3), PAYLOADS)


@settings(max_examples=150)
@given(PREFIXES, st.binary(max_size=300), CUTS)
def test_any_octets(prefix: bytes, data: bytes, cuts: list[int]) -> None:
    check(prefix, data, cuts)


@settings(max_examples=250)
@given(PREFIXES, st.lists(FRAMES, max_size=8), CUTS)
def test_any_frames(prefix: bytes, frames: list[bytes], cuts: list[int]) -> None:
    check(prefix, b"".join(frames), cuts)
