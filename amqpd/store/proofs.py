"""What proves a row of the store: its table can be told from key and value alone, so no tree need lead to it."""

import contextlib
from typing import Final

from amqpd.broker import records
from amqpd.broker.ports import ACKS, BINDINGS, DELAYED, ENTITIES, EXCHANGES, META, QUEUES, SEEN, STATES, TABLES
from amqpd.broker.queues.segments import (
    CorruptSegment,
    check_segment,
    read_segment_key,
)

META_KEYS: Final = (records.SCHEMA_KEY, records.NEXT_QUEUE_KEY, records.TRANSACTION_KEY)
NAME_KEY_BYTES: Final = 24
# The sizes of keys of sealed rows. Those of the topology share one, their fields tell them apart.
SEALED_KEY_BYTES: Final = {
    12: ACKS,
    4: STATES,
    20: DELAYED,
    16: SEEN,
    NAME_KEY_BYTES: -1,
    **{len(key): META for key in META_KEYS},
}
FIELDS: Final = {"kind": ENTITIES, "type": EXCHANGES, "id": QUEUES, "source": BINDINGS}  # the first that is there


def table_of(key: bytes, value: bytes) -> int:
    """The table of a sealed row; -1 when the seal does not hold."""
    if not is_sealed(key, value):
        return -1
    if key in META_KEYS:
        return META
    if len(key) in SEALED_KEY_BYTES and len(key) != NAME_KEY_BYTES:
        return SEALED_KEY_BYTES[len(key)]
    with contextlib.suppress(ValueError):
        fact = records.parse(value[4:])
        if isinstance(fact, dict):
            return next((table for field, table in FIELDS.items() if field in fact), -1)
    return -1


def is_sealed(key: bytes, value: bytes) -> bool:
    """Whether ``value`` was sealed under ``key``."""
    try:
        records.unseal(key, value)
    except records.CorruptRecord:
        return False
    return True


def is_segment_key(key: bytes) -> bool:
    """Whether ``key`` has its checksum."""
    try:
        read_segment_key(key)
    except CorruptSegment:
        return False
    return True


def is_segment(key: bytes, value: bytes) -> bool:
    """Whether ``value`` is the segment that was written under ``key``."""
    try:
        check_segment(key, value)
    except CorruptSegment:
        return False
    return True


def near_name(key: bytes) -> str:
    """The table whose name has at most one flipped bit; what it says, when there is none."""
    return next((name for name in TABLES if is_near(key, name.encode())), key.decode("ascii", "backslashreplace"))


def is_near(one: bytes, other: bytes) -> bool:
    """Whether they differ in one bit at most."""
    difference = int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
    return len(one) == len(other) and difference.bit_count() <= 1
