"""The property list of a content header: checked in place, and the facts that the broker decides by (AMQP 0-9-1,
2.3.5.2 and 1.8).

The bytes themselves pass through untouched. Layout of a header payload: 2 class | 2 weight | 8 body size | 2 flags |
properties.
"""
# HOT. One walk over the property list of each message; the two commonest lists (empty; delivery mode only) are
# answered in frames.py.
# Limits: TABLE_DEPTH_MAX, TABLE_ITEMS_MAX.   Twin: tables.read_table through `read_headers`;
# tests/twins/test_properties.py.

from __future__ import annotations

from typing import Final

from librt.strings import read_i16_be, read_i32_be
from mypy_extensions import i64

from amqpd import limits

MALFORMED: Final = -1
DELIVERY_MODE_MASK: Final = 0xFF
HAS_USER_ID: Final = 0x100
HAS_HEADERS: Final = 0x200
BAD_MODE: Final = 0x400  # a delivery mode other than 1 and 2 was given
HAS_EXPIRATION: Final = 0x800
HAS_REPLY_TO: Final = 0x1000
PRIORITY_SHIFT: Final = 16  # the priority, 0 when there is none, in the eight bits from here on

_CONTENT_TYPE: Final = 0x8000
_CONTENT_ENCODING: Final = 0x4000
_HEADERS: Final = 0x2000
_DELIVERY_MODE: Final = 0x1000
_PRIORITY: Final = 0x0800
_REPLY_TO: Final = 0x0200
_EXPIRATION: Final = 0x0100
_TIMESTAMP: Final = 0x0040
_USER_ID: Final = 0x0010
_CONTINUED: Final = 0x0001


def read_facts(data: bytes, start: i64, end: i64) -> i64:
    """The facts of the property list at ``start`` (its flags) that must end at ``end``; MALFORMED when it does not."""
    if end - start < 2:
        return MALFORMED
    flags: i64 = int(read_i16_be(data, start)) & 0xFFFF
    if flags & _CONTINUED:
        return MALFORMED
    p: i64 = start + 2
    facts: i64 = 0
    if flags & _CONTENT_TYPE:
        p = _skip_short(data, p, end)
    if flags & _CONTENT_ENCODING:
        p = _skip_short(data, p, end)
    if flags & _HEADERS:
        p = check_table(data, p, end)
        facts |= HAS_HEADERS
    if p < 0:
        return MALFORMED
    if flags & _DELIVERY_MODE:
        if p >= end:
            return MALFORMED
        mode: i64 = data[p]
        facts |= mode
        if mode != 1 and mode != 2:
            facts |= BAD_MODE
        p += 1
    if flags & _PRIORITY:
        if p >= end:
            return MALFORMED
        facts |= i64(data[p]) << PRIORITY_SHIFT
        p += 1
    bit: i64 = 0x0400
    while bit > 0x0002:
        if flags & bit:
            if bit == _TIMESTAMP:
                p += 8
            else:
                p = _skip_short(data, p, end)
                if p < 0:
                    return MALFORMED
        bit >>= 1
    if flags & _USER_ID:
        facts |= HAS_USER_ID
    if flags & _EXPIRATION:
        facts |= HAS_EXPIRATION
    if flags & _REPLY_TO:
        facts |= HAS_REPLY_TO
    return facts if p == end else MALFORMED


def _skip_short(data: bytes, p: i64, end: i64) -> i64:
    """The position after a short string, negative when there is none."""
    if p < 0 or p >= end:
        return MALFORMED
    p += i64(data[p]) + 1
    return p if p <= end else MALFORMED


def find_property(data: bytes, start: i64, flag: i64) -> i64:
    """Where the property ``flag`` of a well-formed list at ``start`` is, MALFORMED when it is not there."""
    flags: i64 = int(read_i16_be(data, start)) & 0xFFFF
    if not flags & flag:
        return MALFORMED
    p: i64 = start + 2
    bit: i64 = 0x8000
    while bit != flag:
        if flags & bit:
            if bit == _HEADERS:
                p += 4 + int(read_i32_be(data, p))
            elif bit == _DELIVERY_MODE or bit == _PRIORITY:
                p += 1
            elif bit == _TIMESTAMP:
                p += 8
            else:
                p += i64(data[p]) + 1
        bit >>= 1
    return p


def find_headers(data: bytes, start: i64) -> i64:
    """Where the headers table is."""
    return find_property(data, start, _HEADERS)


def find_user_id(data: bytes, start: i64) -> i64:
    """Where the user id is."""
    return find_property(data, start, _USER_ID)


def check_table(data: bytes, p: i64, end: i64) -> i64:
    """The position after the well-formed table at ``p``, MALFORMED when there is none before ``end``.

    Walks without recursion and without objects but one list: of where each open table or array ends.
    """
    if p < 0 or end - p < 4:
        return MALFORMED
    size: int = read_i32_be(data, p)
    p += 4
    if size < 0 or size > end - p:
        return MALFORMED
    limit: i64 = p + size  # of the innermost table or array
    named = True  # whether that is a table
    outer: list[int] = []  # what is open around it: end * 2 + (1 for a table)
    left: i64 = limits.TABLE_ITEMS_MAX
    while True:
        while p == limit:
            if not outer:
                return p
            packed = outer.pop()
            limit = packed >> 1
            named = packed & 1 == 1
        left -= 1
        if left < 0:
            return MALFORMED
        if named:
            p += 1 + i64(data[p])
            if p >= limit:
                return MALFORMED
        kind: i64 = i64(data[p])
        p += 1
        if kind == 0x53 or kind == 0x78:  # S x
            if limit - p < 4:
                return MALFORMED
            size = read_i32_be(data, p)
            p += 4
            if size < 0 or size > limit - p:
                return MALFORMED
            p += size
        elif kind == 0x49 or kind == 0x69 or kind == 0x66:  # I i f
            p += 4
        elif kind == 0x6C or kind == 0x4C or kind == 0x54 or kind == 0x64:  # l L T d
            p += 8
        elif kind == 0x74 or kind == 0x62 or kind == 0x42:  # t b B
            p += 1
        elif kind == 0x73 or kind == 0x75:  # s u
            p += 2
        elif kind == 0x44:  # D
            p += 5
        elif kind == 0x46 or kind == 0x41:  # F A
            if limit - p < 4 or len(outer) + 2 > limits.TABLE_DEPTH_MAX:
                return MALFORMED
            size = read_i32_be(data, p)
            p += 4
            if size < 0 or size > limit - p:
                return MALFORMED
            outer.append(int(limit) * 2 + (1 if named else 0))
            limit = p + size
            named = kind == 0x46
        elif kind != 0x56:  # V
            return MALFORMED
        if p > limit:
            return MALFORMED
