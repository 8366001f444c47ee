"""Durable topology as values of the store: pure functions between facts and bytes, and the schema's version.

Values are JSON, so that a person can read them with any LMDB tool; keys are digests of the names. Messages are not here
(``queues/segments.py``).
"""

import base64
import hashlib
import json
from typing import Any, Final

from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.base import Exchange
from amqpd.broker.fields import Field, Table
from amqpd.broker.queues.base import Queue

SCHEMA_VERSION: Final = 1
SCHEMA_KEY: Final = b"schema"
NEXT_QUEUE_KEY: Final = b"next-queue-id"


def encode(value: object) -> bytes:
    """As compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()


def decode(value: bytes) -> Any:
    """From JSON."""
    return json.loads(value)


def name_key(vhost: str, name: str) -> bytes:
    """The key of an exchange or queue: LMDB bounds keys at 511 bytes, two names may be longer, so a digest of them."""
    return _digest(encode([vhost, name]))


def binding_key(vhost: str, binding: Binding) -> bytes:
    """LMDB bounds keys at 511 bytes and a binding is named by three names and its arguments: a digest of them."""
    # The identity, not the arguments: the same binding may come with its arguments in another order.
    names = [vhost, binding.source, binding.destination, binding.to_queue, binding.key, repr(binding.identity)]
    return _digest(encode(names))


def _digest(identity: bytes) -> bytes:
    return hashlib.blake2b(identity, digest_size=24).digest()


def exchange_value(vhost: str, exchange: Exchange) -> bytes:
    """All of an exchange but its bindings."""
    return encode(
        {
            "vhost": vhost,
            "name": exchange.name,
            "type": exchange.type_name,
            "auto_delete": exchange.auto_delete,
            "internal": exchange.internal,
            "arguments": table_to_json(exchange.arguments),
        }
    )


def queue_value(vhost: str, queue: Queue) -> bytes:
    """All of a queue but its messages and bindings."""
    return encode(
        {
            "vhost": vhost,
            "name": queue.name,
            "id": queue.queue_id,
            "auto_delete": queue.auto_delete,
            "arguments": table_to_json(queue.arguments),
        }
    )


def binding_value(vhost: str, binding: Binding) -> bytes:
    """All of a binding."""
    return encode(
        {
            "vhost": vhost,
            "source": binding.source,
            "destination": binding.destination,
            "to_queue": binding.to_queue,
            "key": binding.key,
            "arguments": table_to_json(binding.arguments),
        }
    )


def table_to_json(table: Table) -> list[list[Any]]:
    """``[[name, kind, value], ...]`` in the table's order, from which ``table_from_json`` makes the same table."""
    return [[name, field.kind, _value_to_json(field)] for name, field in table.items()]


def table_from_json(rows: list[list[Any]]) -> Table:
    """The table that ``table_to_json`` was given."""
    return {name: Field(kind, _value_from_json(kind, value)) for name, kind, value in rows}


def _value_to_json(field: Field) -> Any:
    value = field.value
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, dict):
        return table_to_json(value)
    if isinstance(value, list):
        return [[item.kind, _value_to_json(item)] for item in value]
    return value


def _value_from_json(kind: str, value: Any) -> Any:
    match kind:
        case "x":
            return base64.b64decode(value)
        case "F":
            return table_from_json(value)
        case "A":
            return [Field(inner, _value_from_json(inner, item)) for inner, item in value]
        case "D":
            return tuple(value)
    return value
