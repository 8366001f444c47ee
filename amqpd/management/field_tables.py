"""Field tables as JSON and back, as RabbitMQ's tools write and read them: the types of the wire are not kept.

So what comes back is a long for every integer, a double for every fraction and a longstr for every text; whoever
compares arguments treats integers of all widths alike.
"""

from collections.abc import Mapping
from typing import Any

from amqpd.broker import tables
from amqpd.broker.fields import Field, FieldValue, Table
from amqpd.broker.names import fault_of

LONG_MAX = 2**63 - 1


class NoField(ValueError):
    """A value of JSON that a field table cannot hold."""


def to_json(table: Table) -> dict[str, Any]:
    """The values of a table by name."""
    return {name: _value_to_json(field.value) for name, field in table.items()}


def from_json(values: Mapping[str, Any]) -> Table:
    """A table of values. Raises NoField."""
    for name in values:
        fault = fault_of(name)
        if fault:
            raise NoField(f"the name {name[:60]!r} {fault}")
    return {name: _field(value) for name, value in values.items()}


def _value_to_json(value: FieldValue) -> Any:
    match value:
        case dict():
            return to_json(value)
        case list():
            return [_value_to_json(item.value) for item in value]
        case bytes():
            return tables.text_of(value)
        case (scale, unscaled):
            return unscaled / 10**scale
    return value


def _field(value: Any) -> Field:
    match value:
        case None:
            return Field("V", None)
        case bool():
            return Field("t", value)
        case int():
            if not -LONG_MAX - 1 <= value <= LONG_MAX:
                raise NoField(f"{value} is too large for an argument")
            return Field("l", value)
        case float():
            return Field("d", value)
        case str():
            return Field("S", _text(value))
        case list():
            return Field("A", [_field(item) for item in value])
        case dict():
            return Field("F", from_json(value))
    raise NoField(f"{value!r} cannot be an argument")


def _text(value: str) -> str:
    try:
        tables.bytes_of(value)
    except UnicodeEncodeError as error:
        raise NoField(f"{value[:60]!r} is no Unicode text") from error
    return value
