"""Frames as lines of text that say all that is in them: what is compared, and what is printed.

Every value of a table is written with its wire type. What no two runs can share is replaced: the prefix of names by the
tilde, names that the server made up by a number each in the order in which they came, times of about now by ``<now>``.
"""

import re
import struct
import time
from typing import Final

from tests.differential.operations import TILDE
from tests.support.raw_peer import PROPERTIES, TABLE_NUMBERS, Content, Method

NOW_S: Final = 30  # how far from now a timestamp may be
MADE_UP: Final = re.compile(r"amq\.(?:gen|ctag)-[\w-]{22}|amq\.rabbitmq\.reply-to\.[\w+/=.@-]+")


class Wording:
    """The words of one run of one sequence."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._made_up: dict[str, str] = {}

    def say(self, text: str) -> str:
        """The text without what only this run knows."""
        text = text.replace(self._prefix, TILDE)
        return MADE_UP.sub(self._number, text) if "amq." in text else text

    def method(self, method: Method) -> str:
        args = ", ".join(f"{key}={value!r}" for key, value in method.args.items())
        return self.say(f"{method.name}({args})")

    def content(self, content: Content) -> str:
        props = ", ".join(properties(content.properties))
        return f"{self.method(content.method)} {self.say('{' + props + '}')} {content.body!r}"

    def _number(self, found: re.Match[str]) -> str:
        name = found[0]
        kind = name.split("-")[0] if not name.startswith("amq.rabbitmq") else "amq.rabbitmq.reply-to"
        return self._made_up.setdefault(name, f"<{kind} {len(self._made_up) + 1}>")


def properties(raw: bytes) -> list[str]:
    """Each property that is there as ``name=value``."""
    (flags,) = struct.unpack_from(">H", raw)
    offset, words = 2, []
    for bit, (key, kind) in enumerate(PROPERTIES):
        if not flags >> (15 - bit) & 1:
            continue
        if kind == "table":
            text, offset = _table(raw, offset)
        elif kind == "shortstr":
            end = offset + 1 + raw[offset]
            text, offset = repr(_text(raw[offset + 1 : end])), end
        else:
            size = 1 if kind == "octet" else 8
            text, offset = str(int.from_bytes(raw[offset : offset + size])), offset + size
        words.append(f"{key}={text}")
    if offset != len(raw):
        words.append(f"and {raw[offset:]!r}")
    return words


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def _table(raw: bytes, offset: int) -> tuple[str, int]:
    end = offset + 4 + int.from_bytes(raw[offset : offset + 4])
    offset += 4
    words = []
    while offset < end:
        key_end = offset + 1 + raw[offset]
        key = _text(raw[offset + 1 : key_end])
        value, offset = _value(raw, key_end)
        words.append(f"{key}: {value}")
    return "{" + ", ".join(words) + "}", end


def _value(raw: bytes, offset: int) -> tuple[str, int]:
    """A value with its type in front, and where the next one begins."""
    kind = chr(raw[offset])
    offset += 1
    if kind in TABLE_NUMBERS:
        (number,) = struct.unpack_from(TABLE_NUMBERS[kind], raw, offset)
        is_now = kind == "T" and abs(number - time.time()) < NOW_S
        return f"{kind}:{'<now>' if is_now else number}", offset + struct.calcsize(TABLE_NUMBERS[kind])
    match kind:
        case "t":
            return f"t:{raw[offset]}", offset + 1
        case "D":
            return f"D:{raw[offset : offset + 5].hex()}", offset + 5
        case "V":
            return "V", offset
        case "F":
            text, end = _table(raw, offset)
            return f"F{text}", end
        case "A":
            return _array(raw, offset)
        case _:
            end = offset + 4 + int.from_bytes(raw[offset : offset + 4])
            payload = raw[offset + 4 : end]
            return f"{kind}:{_text(payload)!r}", end


def _array(raw: bytes, offset: int) -> tuple[str, int]:
    end = offset + 4 + int.from_bytes(raw[offset : offset + 4])
    offset += 4
    words = []
    while offset < end:
        value, offset = _value(raw, offset)
        words.append(value)
    return "[" + ", ".join(words) + "]", end
