"""Contents as a message keeps them, read and changed: the content header frame, then body frames.

Plain, for the few messages whose header the broker itself must read or write: those with CC, with a reply address, dead
letters, delayed ones. All others pass through untouched (docs/decisions/0002). Layout of the header frame: 1 type |
2 channel | 4 size | payload (``properties.py``) | frame end.
"""

from collections.abc import Mapping
from typing import Final

from amqpd.broker import properties, tables
from amqpd.broker.fields import Field, Table

HEADERS: Final = 0x2000
DELIVERY_MODE: Final = 0x1000
PRIORITY: Final = 0x0800
TIMESTAMP: Final = 0x0040
PROPERTY_FLAGS: Final = {
    "content_type": 0x8000,
    "content_encoding": 0x4000,
    "headers": HEADERS,
    "delivery_mode": DELIVERY_MODE,
    "priority": PRIORITY,
    "correlation_id": 0x0400,
    "reply_to": 0x0200,
    "expiration": 0x0100,
    "message_id": 0x0080,
    "timestamp": TIMESTAMP,
    "type": 0x0020,
    "user_id": 0x0010,
    "app_id": 0x0008,
    "cluster_id": 0x0004,
}
_FLAGS_AT: Final = 19  # 7 of the frame, 2 class, 2 weight, 8 body size
_FIXED_SIZES: Final = {DELIVERY_MODE: 1, PRIORITY: 1, TIMESTAMP: 8}


def body_size(content: bytes) -> int:
    """What the header announced."""
    return int.from_bytes(content[11:19], "big")


def read_headers(content: bytes) -> Table:
    """The headers table; empty when there is none."""
    start = properties.find_headers(content, _FLAGS_AT)
    return {} if start < 0 else tables.read_table(content, start)[0]


def find_property(content: bytes, name: str) -> str | None:
    """A property as text, numbers in decimal; None when it is not there. Not for the headers."""
    flag = PROPERTY_FLAGS[name]
    start = properties.find_property(content, _FLAGS_AT, flag)
    if start < 0:
        return None
    if flag in _FIXED_SIZES:
        return str(int.from_bytes(content[start : start + _FIXED_SIZES[flag]], "big"))
    return tables.text_of(content[start + 1 : start + 1 + content[start]])


def with_headers(content: bytes, headers: Table, **others: str | None) -> bytes:
    """The same content with these headers, and with other short strings, None for without."""
    changes = {
        PROPERTY_FLAGS[name]: None if text is None else tables.write_shortstr(text) for name, text in others.items()
    }
    return _rewrite(content, {HEADERS: tables.write_table(headers), **changes})


def with_property(content: bytes, name: str, text: str | None) -> bytes:
    """The same content with another short string, None for without."""
    return _rewrite(content, {PROPERTY_FLAGS[name]: _shortstr(text)})


def with_delivery_count(content: bytes, count: int) -> bytes:
    """The same content with the header that says how often it came back (RabbitMQ: x-delivery-count)."""
    headers = {**read_headers(content), "x-delivery-count": Field("l", count)}
    return with_headers(content, dict(sorted(headers.items())))


def without_blind_copies(content: bytes) -> bytes:
    """The same content without the header BCC."""
    return with_headers(content, {name: field for name, field in read_headers(content).items() if name != "BCC"})


def _shortstr(text: str | None) -> bytes | None:
    return None if text is None else tables.write_shortstr(text)


def _rewrite(content: bytes, changes: Mapping[int, bytes | None]) -> bytes:
    """The same content with some properties as these bytes instead, None for without."""
    values: dict[int, bytes] = {flag: content[start:end] for flag, (start, end) in _places(content).items()}
    for flag, value in changes.items():
        if value is None:
            values.pop(flag, None)
        else:
            values[flag] = value
    flags = sum(values)
    payload = content[7:_FLAGS_AT] + flags.to_bytes(2, "big") + b"".join(values[flag] for flag in sorted(values)[::-1])
    header_end = 8 + int.from_bytes(content[3:7], "big")
    return content[:3] + len(payload).to_bytes(4, "big") + payload + b"\xce" + content[header_end:]


def _places(content: bytes) -> dict[int, tuple[int, int]]:
    """Where each property is, by its flag, in order; the list was checked when it came."""
    flags = int.from_bytes(content[_FLAGS_AT : _FLAGS_AT + 2], "big")
    places: dict[int, tuple[int, int]] = {}
    start = _FLAGS_AT + 2
    for flag in PROPERTY_FLAGS.values():
        if flags & flag:
            size = _FIXED_SIZES.get(flag, 0)
            if flag == HEADERS:
                size = 4 + int.from_bytes(content[start : start + 4], "big")
            end = start + (size or 1 + content[start])
            places[flag] = (start, end)
            start = end
    return places
