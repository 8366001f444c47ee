"""Durable topology as values of the store: pure functions between facts and bytes, and the schema's version.

Values are JSON behind a CRC-32 of key and value, so that a person can read them with any LMDB tool and no flipped bit
passes for a name; keys are digests of the names. Messages are not here (``queues/segments.py``).
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from amqpd.broker.bindings import Binding
from amqpd.broker.fields import Field, Table
from amqpd.broker.queues.base import Queue

if TYPE_CHECKING:
    from amqpd.broker.exchanges.base import Exchange

SCHEMA_VERSION: Final = 3  # 2 had fewer tables
SCHEMA_KEY: Final = b"schema"
NEXT_QUEUE_KEY: Final = b"next-queue-id"
TRANSACTION_KEY: Final = b"transaction"  # the number of the store's newest transaction, in it
CLAIM_MAX_BYTES: Final = 200
REPAIR_MAX_BYTES: Final = 2048  # 20 ms of trying

_to_json: Final = json.JSONEncoder(separators=(",", ":")).encode  # dumps would make one each time


class CorruptRecord(Exception):
    """A value does not have the checksum it was written with under its key."""


def seal(key: bytes, body: bytes) -> bytes:
    """The value that holds ``body`` under ``key``."""
    return zlib.crc32(body, zlib.crc32(key)).to_bytes(4, "big") + body


def unseal(key: bytes, value: bytes) -> bytes:
    """What ``seal`` was given. Raises CorruptRecord."""
    body = value[4:]
    if not body or zlib.crc32(body, zlib.crc32(key)) != int.from_bytes(value[:4], "big"):
        raise CorruptRecord("the checksum of a record does not hold")
    return body


def repair(key: bytes, value: bytes) -> tuple[bytes, bytes] | None:
    """Key and body as they were written, when one bit of key or value was flipped since; None if that is not all.

    CRC-32 tells any single flipped bit of so short a text from all others, and from two.
    """
    if len(value) > REPAIR_MAX_BYTES:
        return None
    spoilt = bytearray(key + value)
    for bit in range(len(spoilt) * 8):
        spoilt[bit >> 3] ^= 1 << (bit & 7)
        mended = bytes(spoilt[: len(key)])
        try:
            return mended, unseal(mended, bytes(spoilt[len(key) :]))
        except CorruptRecord:
            spoilt[bit >> 3] ^= 1 << (bit & 7)
    return None


def claim(value: bytes) -> str:
    """What a damaged record says it is, for a person: its text may be what was spoilt; "" when it says nothing."""
    text = value[4 : 4 + CLAIM_MAX_BYTES].decode("ascii", "replace")
    return f", it says {text!r}" if text.startswith("{") else ""


def encode(value: object) -> bytes:
    """As compact JSON."""
    return _to_json(value).encode()


def parse(body: bytes) -> Any:
    """From JSON."""
    return json.loads(body)


def decode(key: bytes, value: bytes) -> Any:
    """The fact in a sealed value. Raises CorruptRecord."""
    return parse(unseal(key, value))


def name_key(vhost: str, name: str) -> bytes:
    """The key of an exchange or queue: LMDB bounds keys at 511 bytes, two names may be longer, so a digest of them."""
    return _digest(encode([vhost, name]))


def entity_key(kind: str, *names: str) -> bytes:
    """The key of what is in the table of entities: a digest of its kind and of the names that tell it from others."""
    return _digest(encode([kind, *names]))


def entity_row(kind: str, names: Sequence[str], fact: dict[str, Any]) -> tuple[bytes, bytes]:
    """Key and value of an entity; ``kind`` is among the value's fields, for whoever reads all of them."""
    return row(entity_key(kind, *names), {"kind": kind, **fact})


def binding_key(vhost: str, binding: Binding) -> bytes:
    """LMDB bounds keys at 511 bytes and a binding is named by three names and its arguments: a digest of them."""
    # The identity, not the arguments: the same binding may come with its arguments in another order.
    names = [vhost, binding.source, binding.destination, binding.to_queue, binding.key, repr(binding.identity)]
    return _digest(encode(names))


def _digest(identity: bytes) -> bytes:
    return hashlib.blake2b(identity, digest_size=24).digest()


def row(key: bytes, fact: object) -> tuple[bytes, bytes]:
    """``key`` and the value that holds ``fact`` under it."""
    return key, seal(key, encode(fact))


def exchange_row(vhost: str, exchange: Exchange) -> tuple[bytes, bytes]:
    """All of an exchange but its bindings: key and value."""
    fact: dict[str, Any] = {
        "vhost": vhost,
        "name": exchange.name,
        "type": exchange.type_name,
        "auto_delete": exchange.auto_delete,
        "internal": exchange.internal,
        "arguments": table_to_json(exchange.arguments),
    }
    if exchange.number:
        fact["number"] = exchange.number
    return row(name_key(vhost, exchange.name), fact)


def queue_row(vhost: str, queue: Queue) -> tuple[bytes, bytes]:
    """All of a queue but its messages and bindings: key and value."""
    fact: dict[str, Any] = {
        "vhost": vhost,
        "name": queue.name,
        "id": queue.queue_id,
        "auto_delete": queue.auto_delete,
        "arguments": table_to_json(queue.arguments),
    }
    if parts := queue.part_numbers():
        fact["parts"] = {str(priority): number for priority, number in parts.items()}
    return row(name_key(vhost, queue.name), fact)


def queue_numbers(fact: dict[str, Any]) -> list[int]:
    """All numbers under which a queue keeps messages, by its row: its own, and those of its parts."""
    return [fact["id"], *fact.get("parts", {}).values()]


def binding_row(vhost: str, binding: Binding) -> tuple[bytes, bytes]:
    """All of a binding: key and value."""
    return row(
        binding_key(vhost, binding),
        {
            "vhost": vhost,
            "source": binding.source,
            "destination": binding.destination,
            "to_queue": binding.to_queue,
            "key": binding.key,
            "arguments": table_to_json(binding.arguments),
        },
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
