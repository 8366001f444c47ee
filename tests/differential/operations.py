"""What a sequence is made of: operations, each on one channel of one connection, and how they read.

Names of the sequence begin with a tilde; the client puts a prefix of its own there, so that no two runs meet.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final

from tests.support.raw_peer import Typed

TILDE: Final = "~"
PRINTED: Final = re.compile(r"(\d+\.\d+) ([\w. -]+)\((.*)\)")


@dataclass(frozen=True, slots=True, repr=False)
class Operation:
    """A method of the standard by its name, or one of the verbs that ``client.VERBS`` adds."""

    verb: str
    connection: int
    channel: int
    args: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        args = ", ".join(f"{key}={value!r}" for key, value in self.args.items())
        return f"{self.connection}.{self.channel} {self.verb}({args})"


Sequence = tuple[Operation, ...]


def read_sequence(text: str) -> Sequence:
    """The operations of a sequence as it was printed; what was heard of them is indented, and left out."""
    return tuple(_read_operation(line) for line in text.splitlines() if PRINTED.match(line))


def _read_operation(line: str) -> Operation:
    place, verb, args = PRINTED.fullmatch(line).groups()  # type: ignore[union-attr]
    connection, _, channel = place.partition(".")
    return Operation(verb, int(connection), int(channel), eval(f"dict({args})", {"Typed": Typed, "dict": dict}))


def renamed(value: Any, prefix: str) -> Any:
    """The value with the prefix where the tilde was, in all strings in it."""
    if isinstance(value, str):
        return value.replace(TILDE, prefix)
    if isinstance(value, dict):
        return {renamed(key, prefix): renamed(inner, prefix) for key, inner in value.items()}
    if isinstance(value, list):
        return [renamed(inner, prefix) for inner in value]
    if isinstance(value, tuple):  # Typed, or pairs
        inner = [renamed(each, prefix) for each in value]
        return type(value)(*inner) if hasattr(value, "_fields") else tuple(inner)
    return value


SOON: Final = frozenset({"x-message-ttl", "x-expires", "expiration", "message-ttl", "expires"})
SOON_MS: Final = 10  # what lives so long or less is gone before the next operation; nothing else expires in time


def expires_soon(value: Any) -> bool:
    """Whether there is a time to live in it that ends while the sequence runs."""
    if isinstance(value, dict):
        return any(expires_soon(inner) or (key in SOON and _is_soon(inner)) for key, inner in value.items())
    if isinstance(value, list | tuple):
        return any(expires_soon(each) for each in value)
    return False


def _is_soon(value: Any) -> bool:
    text = str(value.value if isinstance(value, Typed) else value)
    return text.isdigit() and int(text) <= SOON_MS


def mentions(value: Any, word: str) -> bool:
    """Whether the word is anywhere in it."""
    if isinstance(value, dict):
        return any(mentions(inner, word) for inner in value.values())
    if isinstance(value, list | tuple):
        return any(mentions(each, word) for each in value)
    return bool(value == word)
