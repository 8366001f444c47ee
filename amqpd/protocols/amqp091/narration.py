"""A stream of AMQP 0-9-1 bytes in words: a line a frame, for people who look for a fault between client and broker.

Owns how a frame is told, and what is never told: passwords, and bodies unless they are asked for. Takes whatever comes:
what it cannot read it says so, and bytes that are no frames end the telling. Lines are bounded, whatever they are of.
"""

from typing import Any, Final

from amqpd import limits
from amqpd.broker import contents
from amqpd.broker.fields import Field
from amqpd.broker.tables import MalformedTable
from amqpd.protocols.amqp091 import codec
from amqpd.protocols.amqp091.constants import FRAME_BODY, FRAME_END, FRAME_HEADER, FRAME_HEARTBEAT, FRAME_METHOD

SECRETS: Final = {("connection.start-ok", "response"), ("connection.secure-ok", "response")} | {
    ("connection.update-secret", "new_secret")
}
PROTOCOL_HEADER: Final = b"AMQP"
LINE_MAX_CHARS: Final = 2000


class Narrator:
    """One direction of one connection. ``body_bytes``: how much of each body frame is shown."""

    def __init__(self, body_bytes: int = 0) -> None:
        self._body_bytes = body_bytes
        self._held = b""
        self._is_first = True
        self._is_lost = False

    def tell(self, data: bytes) -> list[str]:
        """The lines of all frames that are whole with ``data``."""
        if self._is_lost:
            return []
        self._held += data
        lines: list[str] = []
        while (line := self._next()) is not None:
            lines.append(line if len(line) <= LINE_MAX_CHARS else f"{line[: LINE_MAX_CHARS - 3]}...")
        return lines

    def _next(self) -> str | None:
        held = self._held
        if self._is_lost or len(held) < 8:
            return None
        if self._is_first and held.startswith(PROTOCOL_HEADER):
            self._held = held[8:]
            self._is_first = False
            return f"protocol header {'.'.join(str(octet) for octet in held[5:8])}"
        self._is_first = False
        size = int.from_bytes(held[3:7], "big")
        if size > limits.NARRATED_FRAME_MAX_BYTES or (len(held) >= size + 8 and held[size + 7] != FRAME_END):
            self._is_lost = True
            self._held = b""
            return f"these bytes are no frame; nothing is told from here on: {held[:8].hex(' ')}"
        if len(held) < size + 8:
            return None
        frame, self._held = held[: size + 8], held[size + 8 :]
        return self._tell_frame(frame[0], int.from_bytes(frame[1:3], "big"), frame)

    def _tell_frame(self, kind: int, channel: int, frame: bytes) -> str:
        payload = frame[7:-1]
        if kind == FRAME_METHOD:
            return f"{channel} {_tell_method(payload)}"
        if kind == FRAME_HEADER:
            return f"{channel} header {_tell_header(frame)}"
        if kind == FRAME_BODY:
            shown = f" {payload[: self._body_bytes]!r}" if self._body_bytes else ""
            return f"{channel} body {len(payload)} bytes{shown}"
        if kind == FRAME_HEARTBEAT:
            return f"{channel} heartbeat"
        return f"{channel} frame of unknown type {kind}, {len(payload)} bytes"


def _tell_method(payload: bytes) -> str:
    number = int.from_bytes(payload[:4], "big")
    schema = codec.find_schema(number)
    if schema is None:
        return f"unknown method {number >> 16}.{number & 0xFFFF}, {len(payload)} bytes"
    try:
        method = codec.decode(schema, payload, 4)
    except codec.MalformedMethod as error:
        return f"{schema.name} malformed: {error}"
    words = [
        f"{name}={'***' if (schema.name, name) in SECRETS else _tell_value(value)}"
        for name, value in method.arguments.items()
        if value not in (False, "", b"", 0, {}) and name != "ticket"
    ]
    return " ".join([schema.name, *words])


def _tell_header(frame: bytes) -> str:
    try:
        size = contents.body_size(frame)
        words = [f"{size} bytes"]
        for name in contents.PROPERTY_FLAGS:
            if name == "headers":
                if headers := contents.read_headers(frame):
                    words.append(f"headers={_tell_value(headers)}")
            elif (text := contents.find_property(frame, name)) is not None:
                words.append(f"{name}={text!r}")
    except (IndexError, MalformedTable) as error:
        return f"malformed: {error}"
    return " ".join(words)


def _tell_value(value: Any) -> str:
    if isinstance(value, Field):
        return _tell_value(value.value)
    if isinstance(value, dict):
        return f"{{{', '.join(f'{name}: {_tell_value(item)}' for name, item in value.items())}}}"
    if isinstance(value, list):
        return f"[{', '.join(map(_tell_value, value))}]"
    if isinstance(value, bytes):
        return _tell_bytes(value)
    return repr(value)


def _tell_bytes(value: bytes) -> str:
    """As text where it is one."""
    try:
        return repr(value.decode())
    except UnicodeDecodeError:
        return repr(value)
