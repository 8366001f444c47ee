"""Methods between bytes and arguments by name, for everything that is not per message.

pamqp has the standard's schema: which class and method ids there are, their arguments and types. The bytes are read and
written here, because pamqp refuses names that RabbitMQ takes, changes the types in tables, and bounds nothing.
"""
# HOT. Per method that is no message's: a connection costs nine of them.  Bench: tests/bench, scenario L.

from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from pamqp import base, commands

from amqpd import limits
from amqpd.broker import tables
from amqpd.errors import AmqpError, FrameError
from amqpd.protocols.amqp091.constants import (
    ACCESS_REQUEST,
    ACCESS_REQUEST_OK,
    FRAME_METHOD,
)


class MalformedMethod(ValueError):
    """The bytes do not hold the arguments that this method has."""


class Schema(NamedTuple):
    """``name`` as in ``queue.declare``; ``arguments``: (name, domain) in order of the wire."""

    method: int
    name: str
    arguments: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Method:
    """One method with its arguments: str for short strings, bytes for long ones, int, bool, or Table."""

    schema: Schema
    arguments: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.arguments[name]


def _schemas() -> dict[int, Schema]:
    schemas = {
        method: Schema(
            method,
            _dotted(command.name),
            tuple((argument, command.amqp_type(argument)) for argument in command.attributes()),
        )
        for method, command in _pamqp_commands().items()
    }
    # Not in pamqp: a class of AMQP 0-9 that old clients still use.
    schemas[ACCESS_REQUEST] = Schema(
        ACCESS_REQUEST,
        "access.request",
        (
            ("realm", "shortstr"),
            ("exclusive", "bit"),
            ("passive", "bit"),
            ("active", "bit"),
            ("write", "bit"),
            ("read", "bit"),
        ),
    )
    schemas[ACCESS_REQUEST_OK] = Schema(ACCESS_REQUEST_OK, "access.request-ok", (("ticket", "short"),))
    return schemas


def _pamqp_commands() -> dict[int, type[base.Frame]]:
    return commands.INDEX_MAPPING


def _dotted(name: str) -> str:
    """``Queue.DeclareOk`` -> ``queue.declare-ok``."""
    class_name, method_name = name.split(".")
    words = "".join(f"-{letter.lower()}" if letter.isupper() else letter for letter in method_name)
    return f"{class_name.lower()}.{words.lstrip('-')}"


SCHEMAS: Final = _schemas()
_SIZES: Final = {"octet": 1, "short": 2, "long": 4, "longlong": 8, "timestamp": 8}


def find_schema(method: int) -> Schema | None:
    """None for a method that does not exist."""
    return SCHEMAS.get(method)


def decode(schema: Schema, data: bytes, position: int) -> Method:
    """The arguments at ``position`` of ``data``, to its end. Raises MalformedMethod."""
    arguments: dict[str, Any] = {}
    bits = 0  # of the octet that the last bit was in, 0 when there is none
    try:
        for name, domain in schema.arguments:
            if domain == "bit":
                if bits in (0, 8):
                    position += 1
                    bits = 0
                arguments[name] = bool(data[position - 1] >> bits & 1)
                bits += 1
                continue
            bits = 0
            arguments[name], position = _read(domain, data, position)
    except (IndexError, tables.MalformedTable) as error:
        raise MalformedMethod(str(error)) from error
    if position != len(data):
        raise MalformedMethod("more octets than arguments")
    return Method(schema, arguments)


def _read(domain: str, data: bytes, position: int) -> tuple[Any, int]:
    if domain in _SIZES:
        end = position + _SIZES[domain]
        _check(data, end)
        return int.from_bytes(data[position:end], "big"), end
    if domain == "table":
        return tables.read_table(data, position)
    width = 1 if domain == "shortstr" else 4
    start = position + width
    _check(data, start)
    end = start + int.from_bytes(data[position:start], "big")
    _check(data, end)
    return (tables.text_of(data[start:end]) if domain == "shortstr" else data[start:end]), end


def _check(data: bytes, end: int) -> None:
    if end > len(data):
        raise MalformedMethod("an argument ends beyond its frame")


def encode(method: int, **arguments: Any) -> bytes:
    """The payload of a method frame. Arguments that are not given are 0, false or empty."""
    parts = [method.to_bytes(4, "big")]
    octet, bits = 0, 0
    for name, domain in SCHEMAS[method].arguments:
        value = arguments.pop(name, None)
        if domain == "bit":
            octet |= bool(value) << bits
            bits += 1
            continue
        if bits:
            parts.append(bytes([octet]))
            octet = bits = 0
        parts.append(_write(domain, value))
    if bits:
        parts.append(bytes([octet]))
    assert not arguments, f"{SCHEMAS[method].name} has no {', '.join(arguments)}"
    return b"".join(parts)


def _write(domain: str, value: Any) -> bytes:
    if domain in _SIZES:
        return int(value or 0).to_bytes(_SIZES[domain], "big")
    if domain == "table":
        return tables.write_table(value or {})
    if domain == "shortstr":
        return tables.write_shortstr(value or "")
    return tables.write_longstr(value or b"")


def method_frame(channel: int, method: int, **arguments: Any) -> bytes:
    """A whole method frame."""
    payload = encode(method, **arguments)
    return frame(FRAME_METHOD, channel, payload)


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    """One frame, whole."""
    return kind.to_bytes(1, "big") + channel.to_bytes(2, "big") + len(payload).to_bytes(4, "big") + payload + b"\xce"


def close_frame(channel: int, method: int, error: AmqpError, at_method: int) -> bytes:
    """channel.close or connection.close for ``error``, which came up while ``at_method`` was handled."""
    # A broken frame is nobody's method, unless the error says whose arguments they were.
    culprit = error.class_id << 16 | error.method_id if isinstance(error, FrameError) else at_method
    text = error.reply_text.encode("utf-8", "surrogateescape")[: limits.SHORTSTR_MAX_BYTES]
    return method_frame(
        channel,
        method,
        reply_code=error.reply_code,
        reply_text=text.decode("utf-8", "surrogateescape"),
        class_id=culprit >> 16,
        method_id=culprit & 0xFFFF,
    )
