"""``properties`` against a plain decoder of property lists and ``tables.read_table``.

The same verdict and the same facts for sound, damaged and random bytes; nothing raised, nothing read behind the end.
"""

from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amqpd import limits
from amqpd.broker import tables
from amqpd.broker.properties import (
    BAD_MODE,
    DELIVERY_MODE_MASK,
    HAS_EXPIRATION,
    HAS_HEADERS,
    HAS_REPLY_TO,
    HAS_USER_ID,
    MALFORMED,
    PRIORITY_SHIFT,
    check_table,
    find_headers,
    find_property,
    find_user_id,
    read_facts,
)
from tests.support.raw_peer import PROPERTIES, Typed, properties, table

FLAGS: Final = [(1 << (15 - position), name, domain) for position, (name, domain) in enumerate(PROPERTIES)]
WIDTHS: Final = {"octet": 1, "longlong": 8}
PRESENCE: Final = {0x2000: HAS_HEADERS, 0x0200: HAS_REPLY_TO, 0x0100: HAS_EXPIRATION, 0x0010: HAS_USER_ID}
# What lies behind the end must not matter.
REMAINDERS: Final = (b"", b"\x00" * 40, b"\xff" * 40, b"\x01aV" * 12, b"V" * 40)


class Malformed(Exception):
    """No property list."""


def plain_positions(data: bytes) -> dict[int, int]:
    """Where each property of the list, which must be all of ``data``, begins. Raises Malformed."""
    if len(data) < 2:
        raise Malformed("no flags")
    flags = int.from_bytes(data[:2], "big")
    if flags & 1:
        raise Malformed("more flags")
    positions = {}
    position = 2
    for flag, _, domain in FLAGS:
        if not flags & flag:
            continue
        positions[flag] = position
        if domain == "table":
            try:
                _, position = tables.read_table(data, position)
            except tables.MalformedTable as error:
                raise Malformed(str(error)) from error
        elif domain == "shortstr":
            if position >= len(data):
                raise Malformed("no length")
            position += 1 + data[position]
        else:
            position += WIDTHS[domain]
        if position > len(data):
            raise Malformed("cut short")
    if position != len(data):
        raise Malformed("octets left")
    return positions


def plain_facts(data: bytes) -> int:
    try:
        positions = plain_positions(data)
    except Malformed:
        return MALFORMED
    facts = 0
    if 0x1000 in positions:
        mode = data[positions[0x1000]]
        facts |= mode | (0 if mode in (1, 2) else BAD_MODE)
    if 0x0800 in positions:
        facts |= data[positions[0x0800]] << PRIORITY_SHIFT
    return facts | sum(fact for flag, fact in PRESENCE.items() if flag in positions)


def plain_table(data: bytes) -> int:
    try:
        return tables.read_table(data, 0)[1]
    except tables.MalformedTable:
        return MALFORMED


def check(data: bytes, before: bytes = b"\xaa\xbb") -> int:
    """The verdict on a list, wherever it lies; the positions of its parts if it is sound."""
    facts = plain_facts(data)
    start = len(before)
    for remainder in REMAINDERS:
        whole = before + data + remainder
        assert read_facts(whole, start, start + len(data)) == facts
        if facts != MALFORMED:
            positions = plain_positions(data)
            for flag, _, _ in FLAGS:
                found = find_property(whole, start, flag)
                assert found == (positions[flag] + start if flag in positions else MALFORMED)
            assert (find_headers(whole, start) != MALFORMED) == bool(facts & HAS_HEADERS)
            assert (find_user_id(whole, start) != MALFORMED) == bool(facts & HAS_USER_ID)
    return facts


def check_one_table(data: bytes, before: bytes = b"\xaa") -> int:
    """The position behind the table at the start of ``data``."""
    end = plain_table(data)
    expected = end if end == MALFORMED else end + len(before)
    for remainder in REMAINDERS:
        assert check_table(before + data + remainder, len(before), len(before) + len(data)) == expected
    return end


# -- strategies --

texts = st.text(max_size=5)
leaves = st.one_of(
    st.booleans().map(lambda value: Typed("t", value)),
    st.sampled_from("bBsuIilT").map(lambda kind: Typed(kind, 1)),
    st.sampled_from("fd").map(lambda kind: Typed(kind, 1.5)),
    st.binary(max_size=5).map(lambda value: Typed("x", value)),
    texts.map(lambda value: Typed("S", value)),
    st.just(Typed("D", (1, 2))),
    st.just(Typed("V", None)),
)
values: st.SearchStrategy[Typed] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda items: Typed("A", items)),
        st.dictionaries(texts, inner, max_size=3).map(lambda items: Typed("F", items)),
    ),
    max_leaves=8,
)
headers = st.dictionaries(texts, values, max_size=4)
BY_DOMAIN: Final[dict[str, st.SearchStrategy[Any]]] = {
    "shortstr": texts,
    "octet": st.integers(0, 255),
    "longlong": st.integers(0, 2**64 - 1),
    "table": headers,
}
sound = st.fixed_dictionaries({}, optional={name: BY_DOMAIN[domain] for name, domain in PROPERTIES}).map(
    lambda chosen: properties(**chosen)
)


@st.composite
def damaged(draw: st.DrawFn, source: st.SearchStrategy[bytes]) -> bytes:
    """Bytes with a few of them changed, gone or added."""
    data = bytearray(draw(source))
    for _ in range(draw(st.integers(1, 3))):
        place = draw(st.integers(0, len(data)))
        match draw(st.integers(0, 3)):
            case 0 if place < len(data):
                data[place] = draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF, 0x41, 0x46, 0x53, 0x56]))
            case 1:
                data[place:place] = draw(st.binary(max_size=5))
            case 2:
                del data[place : place + draw(st.integers(1, 4))]
            case _:
                del data[place:]
    return bytes(data)


# -- property lists --


@settings(max_examples=300)
@given(sound)
def test_sound_lists(data: bytes) -> None:
    assert check(data) != MALFORMED


@settings(max_examples=500)
@given(damaged(sound))
def test_damaged_lists(data: bytes) -> None:
    check(data)


@settings(max_examples=500)
@given(st.binary(max_size=40))
def test_random_lists(data: bytes) -> None:
    check(data)


@settings(max_examples=300)
@given(st.integers(0, 0xFFFF), st.binary(max_size=60))
def test_any_flags(flags: int, rest: bytes) -> None:
    check(flags.to_bytes(2, "big") + rest)


EVERYTHING: Final = properties(
    content_type="a",
    content_encoding="b",
    headers={"k": [1, {"n": None}, "s"]},
    delivery_mode=2,
    priority=9,
    correlation_id="c",
    reply_to="d",
    expiration="e",
    message_id="f",
    timestamp=10,
    type="g",
    user_id="h",
    app_id="i",
    cluster_id="j",
)


def test_every_length_of_a_full_list() -> None:
    for size in range(len(EVERYTHING)):
        assert check(EVERYTHING[:size]) == MALFORMED
    assert check(EVERYTHING) == 2 | HAS_HEADERS | HAS_USER_ID | HAS_REPLY_TO | HAS_EXPIRATION | 9 << PRIORITY_SHIFT
    assert check(EVERYTHING + b"\x00") == MALFORMED


def test_every_octet_of_a_full_list_changed() -> None:
    for place in range(len(EVERYTHING)):
        for octet in (0, 1, 0x7F, 0x80, 0xFE, 0xFF, EVERYTHING[place] + 1 & 0xFF, EVERYTHING[place] - 1 & 0xFF):
            check(EVERYTHING[:place] + bytes([octet]) + EVERYTHING[place + 1 :])


def test_delivery_modes() -> None:
    for mode in range(256):
        facts = check(b"\x10\x00" + bytes([mode]))
        assert facts & DELIVERY_MODE_MASK == mode
        assert bool(facts & BAD_MODE) == (mode not in (1, 2))


def test_priorities() -> None:
    for priority in range(256):
        assert check(b"\x08\x00" + bytes([priority])) == priority << PRIORITY_SHIFT


def test_the_reserved_flag_means_nothing() -> None:
    assert check(b"\x00\x02") == 0
    assert check(b"\x10\x02\x02") == 2


# -- tables --


@settings(max_examples=300)
@given(headers)
def test_sound_tables(given_: dict[str, Any]) -> None:
    data = table(given_)
    assert check_one_table(data) == len(data)
    assert check_one_table(data + b"more") == len(data)


@settings(max_examples=500)
@given(damaged(headers.map(table)))
def test_damaged_tables(data: bytes) -> None:
    check_one_table(data)


@settings(max_examples=500)
@given(st.binary(max_size=40))
def test_random_tables(data: bytes) -> None:
    check_one_table(data)
    check_one_table(len(data).to_bytes(4, "big") + data)


@pytest.mark.parametrize("width", [0, 1, 2, 4, 5, 8])
@pytest.mark.parametrize("filling", [b"\x00", b"\x01", b"\xff"])
def test_every_kind_with_every_width(width: int, filling: bytes) -> None:
    for kind in range(256):
        inner = b"\x01k" + bytes([kind]) + filling * width
        check_one_table(len(inner).to_bytes(4, "big") + inner)


def nest(depth: int, kind: str) -> bytes:
    """``depth`` tables or arrays in the table."""
    inner = b""
    for _ in range(depth):
        name = b"" if kind == "A" else b"\x00"
        inner = name + kind.encode() + len(inner).to_bytes(4, "big") + inner
    if kind == "A":
        inner = b"\x00" + inner
    return len(inner).to_bytes(4, "big") + inner


@pytest.mark.parametrize("kind", "FA")
def test_depth(kind: str) -> None:
    for depth in (1, 2, limits.TABLE_DEPTH_MAX - 1):
        assert check_one_table(nest(depth, kind)) != MALFORMED
    for depth in (limits.TABLE_DEPTH_MAX, limits.TABLE_DEPTH_MAX + 1, 5000):
        assert check_one_table(nest(depth, kind)) == MALFORMED


@pytest.mark.parametrize("extra", [0, 1])
def test_items(extra: int) -> None:
    voids = b"V" * (limits.TABLE_ITEMS_MAX - 1 + extra)
    inner = b"\x00A" + len(voids).to_bytes(4, "big") + voids
    end = check_one_table(len(inner).to_bytes(4, "big") + inner)
    assert (end == MALFORMED) == bool(extra)


@pytest.mark.parametrize("size", [2**31 - 1, 2**31, 2**32 - 1])
def test_sizes_beyond_everything(size: int) -> None:
    claimed = size.to_bytes(4, "big")
    assert check_one_table(claimed + b"\x01aV") == MALFORMED
    for kind in b"SxFA":
        inner = b"\x00" + bytes([kind]) + claimed + b"abc"
        assert check_one_table(len(inner).to_bytes(4, "big") + inner) == MALFORMED


@pytest.mark.parametrize(("start", "end"), [(-1, 10), (0, 0), (0, 3), (8, 10), (9, 4)])
def test_no_room_for_a_size(start: int, end: int) -> None:
    assert check_table(b"\x00" * 10, start, end) == MALFORMED


@pytest.mark.parametrize(("start", "end"), [(0, 0), (0, 1), (3, 2), (9, 10)])
def test_no_room_for_flags(start: int, end: int) -> None:
    assert read_facts(b"\x00" * 10, start, end) == MALFORMED
