"""Field tables with their wire types kept, so that what a client declared can be compared and given back unchanged.

Owns the value; knows nothing of bytes (``tables.py`` reads and writes them). Types: AMQP 0-9-1
section 4.2.5.5 with RabbitMQ's errata (``t b B s u I i l f d D S A T F V x``); names: RabbitMQ's, as its error texts
have them.
"""

from typing import Final, NamedTuple, TypeAlias

FieldValue: TypeAlias = "bool | int | float | str | bytes | tuple[int, int] | list[Field] | dict[str, Field] | None"


class Field(NamedTuple):
    """One typed value.

    ``kind`` is the wire's type letter. ``value`` is bool for ``t``; int for ``b B s u I i l T``; float for ``f d``;
    (scale, unscaled) for ``D``; str for ``S`` (UTF-8, bytes outside it as lone surrogates); bytes for ``x``;
    a list of Field for ``A``; a dict of Field for ``F``; None for ``V``.
    """

    kind: str
    value: FieldValue


Table: TypeAlias = dict[str, Field]

TYPE_NAMES: Final[dict[str, str]] = {
    "t": "bool",
    "b": "byte",
    "B": "unsignedbyte",
    "s": "short",
    "u": "unsignedshort",
    "I": "signedint",
    "i": "unsignedint",
    "l": "long",
    "f": "float",
    "d": "double",
    "D": "decimal",
    "S": "longstr",
    "A": "array",
    "T": "timestamp",
    "F": "table",
    "V": "void",
    "x": "binary",
}

INTEGER_KINDS: Final = frozenset("bBsuIil")


def longstr(text: str) -> Field:
    """A text field."""
    return Field("S", text)


def boolean(value: bool) -> Field:
    """A flag."""
    return Field("t", value)


def table(value: Table) -> Field:
    """A nested table."""
    return Field("F", value)
