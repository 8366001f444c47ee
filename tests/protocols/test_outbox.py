"""The outbox: order, count, what is copied and what goes by reference."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd import limits
from amqpd.protocols.adapter import Stage
from amqpd.protocols.outbox import Outbox
from tests.support.raw_peer import frame, method_payload


def new() -> tuple[Outbox, Stage]:
    stage = Stage()
    return Outbox(stage, 7), stage


def test_nothing_owed() -> None:
    outbox, stage = new()
    assert (outbox.size, outbox.is_touched, stage.touched) == (0, False, [])
    assert b"".join(outbox.take()) == b""


def test_writes_in_order_and_counts() -> None:
    outbox, _ = new()
    outbox.write(b"one")
    outbox.write(b"")
    outbox.write(b"two")
    assert outbox.size == 6
    assert outbox.take() == [b"onetwo"]


def test_handed_out_once() -> None:
    outbox, _ = new()
    outbox.write(b"one")
    assert b"".join(outbox.take()) == b"one"
    assert b"".join(outbox.take()) == b""


def test_tells_the_stage_once_until_taken() -> None:
    outbox, stage = new()
    outbox.write(b"a")
    outbox.write(b"b")
    outbox.touch()
    assert stage.touched == [outbox]
    outbox.take()
    assert not outbox.is_touched
    outbox.write(b"c")
    assert stage.touched == [outbox, outbox]


def test_touched_without_a_byte() -> None:
    outbox, stage = new()
    outbox.touch()
    assert stage.touched == [outbox]
    assert b"".join(outbox.take()) == b""


def test_counts_until_the_kernel_took_it() -> None:
    outbox, _ = new()
    outbox.write(b"12345")
    outbox.take()
    assert outbox.size == 5
    outbox.write(b"678")
    outbox.on_sent(5)
    assert outbox.size == 3
    outbox.take()
    outbox.on_sent(3)
    assert outbox.size == 0


PREFIX = b"prefix"
ADDRESS = b"address"


def test_delivery() -> None:
    outbox, stage = new()
    outbox.write_delivery(PREFIX, 0x0102030405060708, True, ADDRESS, b"content")
    outbox.write_delivery(PREFIX, 1, False, ADDRESS, b"")
    said = b"".join(outbox.take())
    assert said == (
        b"prefix\x01\x02\x03\x04\x05\x06\x07\x08\x01addresscontentprefix\x00\x00\x00\x00\x00\x00\x00\x01\x00address"
    )
    assert outbox.size == len(said)
    assert stage.touched == [outbox]


@pytest.mark.parametrize(("size", "pieces"), [(limits.LARGE_PIECE_BYTES - 1, 1), (limits.LARGE_PIECE_BYTES, 2)])
def test_large_contents_go_by_reference(size: int, pieces: int) -> None:
    outbox, _ = new()
    content = bytes(size)
    outbox.write_delivery(PREFIX, 1, False, ADDRESS, content)
    taken = outbox.take()
    assert len(taken) == pieces
    assert (taken[-1] is content) == (pieces == 2)
    assert sum(map(len, taken)) == outbox.size


def test_order_around_a_large_content() -> None:
    outbox, stage = new()
    large = b"L" * limits.LARGE_PIECE_BYTES
    outbox.write(b"before")
    outbox.write_delivery(b"p", 1, False, b"a", large)
    outbox.write_delivery(b"p", 2, False, b"a", large)
    outbox.write(b"after")
    head = b"p\x00\x00\x00\x00\x00\x00\x00"
    assert outbox.take() == [b"before" + head + b"\x01\x00a", large, head + b"\x02\x00a", large, b"after"]
    assert stage.touched == [outbox]
    outbox.write(b"next")
    assert outbox.take() == [b"next"]


@pytest.mark.parametrize("size", [65_536, 65_537, 300_000])
def test_a_large_buffer_is_not_kept(size: int) -> None:
    """What was taken stays what it was, whether the buffer is used again or not."""
    outbox, _ = new()
    outbox.write(b"x" * size)
    taken = outbox.take()
    outbox.write(b"y" * 10)
    assert taken == [b"x" * size]
    assert outbox.take() == [b"y" * 10]


steps = st.lists(st.one_of(st.binary(max_size=10), st.sampled_from([16_383, 16_384, 70_000]), st.none()), max_size=12)


@given(steps)
def test_any_writes(given_: list[bytes | int | None]) -> None:
    """A number is a delivery with a content of that size; None takes."""
    outbox, _ = new()
    expected = heard = b""
    for step in given_:
        if step is None:
            heard += b"".join(outbox.take())
        elif isinstance(step, int):
            outbox.write_delivery(PREFIX, step, False, ADDRESS, b"c" * step)
            expected += PREFIX + step.to_bytes(8, "big") + b"\x00" + ADDRESS + b"c" * step
        else:
            outbox.write(step)
            expected += step
        assert outbox.size == len(expected)
    assert heard + b"".join(outbox.take()) == expected


def test_a_frame_passes_unchanged() -> None:
    outbox, _ = new()
    data = frame(1, 1, method_payload("queue.declare-ok", queue="q"))
    outbox.write(data)
    assert outbox.take() == [data]
