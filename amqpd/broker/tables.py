"""Field tables between bytes and typed fields, both ways the same bytes (AMQP 0-9-1, 4.2.5.5 with RabbitMQ's errata).

Bounded in depth and in number of fields: a table of a few bytes may otherwise ask for any amount of work (zero-width
elements, nesting).
"""
# HOT. Per method with a table, and per message that is routed by its headers.  Bench: tests/bench, scenario L.

import struct
from collections.abc import Callable
from typing import Final

from amqpd import limits
from amqpd.broker.fields import Field, FieldValue, Table


class MalformedTable(ValueError):
    """The bytes are no field table, or one beyond the bounds."""


class _Reader:
    """A cursor over the bytes of one table and all that it holds."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data = data
        self.position = position
        self.fields_left = limits.TABLE_ITEMS_MAX

    def take(self, size: int) -> bytes:
        end = self.position + size
        if end > len(self.data):
            raise MalformedTable("a field ends beyond its table")
        taken = self.data[self.position : end]
        self.position = end
        return taken

    def number(self, size: int, signed: bool) -> int:
        return int.from_bytes(self.take(size), "big", signed=signed)

    def end_of(self, size: int) -> int:
        end = self.position + size
        if end > len(self.data):
            raise MalformedTable("a field ends beyond its table")
        return end

    def count_field(self) -> None:
        self.fields_left -= 1
        if self.fields_left < 0:
            raise MalformedTable(f"more than {limits.TABLE_ITEMS_MAX} fields")


def read_table(data: bytes, position: int) -> tuple[Table, int]:
    """The table at ``position`` (its length first) and the position after it. Raises MalformedTable."""
    reader = _Reader(data, position)
    return _read_table(reader, limits.TABLE_DEPTH_MAX), reader.position


def _read_table(reader: _Reader, depth: int) -> Table:
    if depth == 0:
        raise MalformedTable(f"nested deeper than {limits.TABLE_DEPTH_MAX}")
    end = reader.end_of(reader.number(4, signed=False))
    table: Table = {}
    while reader.position < end:
        reader.count_field()
        name = text_of(reader.take(reader.number(1, signed=False)))
        table[name] = _read_field(reader, depth)
    if reader.position != end:
        raise MalformedTable("a field ends beyond its table")
    return table


def _read_array(reader: _Reader, depth: int) -> list[Field]:
    if depth == 0:
        raise MalformedTable(f"nested deeper than {limits.TABLE_DEPTH_MAX}")
    end = reader.end_of(reader.number(4, signed=False))
    items: list[Field] = []
    while reader.position < end:
        reader.count_field()
        items.append(_read_field(reader, depth))
    if reader.position != end:
        raise MalformedTable("a field ends beyond its array")
    return items


_INTEGERS: Final[dict[str, tuple[int, bool]]] = {
    "b": (1, True),
    "B": (1, False),
    "s": (2, True),
    "u": (2, False),
    "I": (4, True),
    "i": (4, False),
    "l": (8, True),
    "T": (8, False),
}


def _read_field(reader: _Reader, depth: int) -> Field:
    kind = chr(reader.number(1, signed=False))
    if kind == "L":  # py-amqp's letter for what goes beyond 32 bits; RabbitMQ gives it back as the other
        kind = "l"
    if kind in _INTEGERS:
        size, signed = _INTEGERS[kind]
        return Field(kind, reader.number(size, signed))
    value: FieldValue
    match kind:
        case "S":
            value = text_of(reader.take(reader.number(4, signed=False)))
        case "x":
            value = reader.take(reader.number(4, signed=False))
        case "t":
            value = reader.number(1, signed=False) != 0
        case "F":
            value = _read_table(reader, depth - 1)
        case "A":
            value = _read_array(reader, depth - 1)
        case "V":
            value = None
        case "D":
            value = (reader.number(1, signed=False), reader.number(4, signed=False))
        case "f":
            (value,) = struct.unpack(">f", reader.take(4))
        case "d":
            (value,) = struct.unpack(">d", reader.take(8))
        case _:
            raise MalformedTable(f"unknown field type {kind!r}")
    return Field(kind, value)


def write_table(table: Table) -> bytes:
    """The table with its length first."""
    body = b"".join(write_shortstr(name) + _write_field(field) for name, field in table.items())
    return len(body).to_bytes(4, "big") + body


def _write_field(field: Field) -> bytes:
    kind, value = field
    return kind.encode() + _WRITERS[kind](value)


def write_shortstr(text: str) -> bytes:
    """A short string with its length."""
    data = bytes_of(text)
    return len(data).to_bytes(1, "big") + data


def write_longstr(data: bytes) -> bytes:
    """A long string with its length."""
    return len(data).to_bytes(4, "big") + data


def text_of(data: bytes) -> str:
    """Names are UTF-8 by convention only: other bytes become lone surrogates, and come back from them."""
    return data.decode("utf-8", "surrogateescape")


def bytes_of(text: str) -> bytes:
    """The bytes that ``text_of`` was given."""
    return text.encode("utf-8", "surrogateescape")


def _write_array(items: list[Field]) -> bytes:
    return write_longstr(b"".join(_write_field(item) for item in items))


_Writer = Callable[..., bytes]
_WRITERS: Final[dict[str, _Writer]] = {
    "t": lambda value: bytes([bool(value)]),
    "S": lambda value: write_longstr(bytes_of(value)),
    "x": write_longstr,
    "F": write_table,
    "A": _write_array,
    "V": lambda value: b"",
    "D": lambda value: value[0].to_bytes(1, "big") + value[1].to_bytes(4, "big"),
    "f": lambda value: struct.pack(">f", value),
    "d": lambda value: struct.pack(">d", value),
}


def _integer_writer(size: int, signed: bool) -> _Writer:
    return lambda value: value.to_bytes(size, "big", signed=signed)


for _kind, (_size, _signed) in _INTEGERS.items():
    _WRITERS[_kind] = _integer_writer(_size, _signed)
