"""Values as RabbitMQ's texts show them: Erlang terms."""

from typing import Final

from amqpd.broker.fields import TYPE_NAMES, FieldValue


def as_term(value: FieldValue) -> str:
    """The value as an Erlang term."""
    if value is None:
        return "undefined"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _as_binary(value.encode("utf-8", "surrogateescape"))
    if isinstance(value, bytes):
        return _as_binary(value)
    if isinstance(value, tuple):
        return f"{{{value[0]},{value[1]}}}"
    if isinstance(value, list):
        return f"[{','.join(f'{{{TYPE_NAMES[kind]},{as_term(item)}}}' for kind, item in value)}]"
    if isinstance(value, dict):
        entries = (f"{{{as_term(name)},{TYPE_NAMES[kind]},{as_term(item)}}}" for name, (kind, item) in value.items())
        return f"[{','.join(entries)}]"
    return str(value)


_ESCAPES: Final = {
    0x08: "\\b", 0x09: "\\t", 0x0A: "\\n", 0x0B: "\\v", 0x0C: "\\f", 0x0D: "\\r", 0x1B: "\\e", 0x22: '\\"', 0x5C: "\\\\"
}  # fmt: skip


def _as_binary(content: bytes) -> str:
    # Erlang shows bytes as text when each is a printable Latin-1 character, else as numbers; the text is sent as bytes.
    if not content:
        return "<<>>"
    if all(byte in _ESCAPES or 32 <= byte < 127 or byte >= 160 for byte in content):
        text = b"".join(_ESCAPES[byte].encode() if byte in _ESCAPES else bytes([byte]) for byte in content)
        return f'<<"{text.decode("utf-8", "surrogateescape")}">>'
    return f"<<{','.join(map(str, content))}>>"
