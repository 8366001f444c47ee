"""What rows say of themselves."""

import pytest

from amqpd.broker import records
from amqpd.broker.ports import ACKS, BINDINGS, EXCHANGES, META, QUEUES, STATES, TABLES
from amqpd.broker.queues.segments import own_key
from amqpd.store.proofs import is_near, is_sealed, is_segment, is_segment_key, near_name, table_of
from tests.store import wrecks


@pytest.mark.parametrize(
    ("table", "key", "body"),
    [
        (META, records.SCHEMA_KEY, b"2"),
        (META, records.NEXT_QUEUE_KEY, b"7"),
        (EXCHANGES, bytes(24), b'{"name":"x","type":"topic"}'),
        (QUEUES, bytes(24), b'{"name":"q","id":1}'),
        (BINDINGS, bytes(24), b'{"source":"x"}'),
        (ACKS, bytes(12), b"\x01"),
        (STATES, bytes(4), b"\x01" * 8),
        (-1, bytes(24), b"[1]"),
        (-1, bytes(24), b"{no JSON"),
        (-1, bytes(5), b"2"),
        (-1, b"", b"2"),
    ],
)
def test_a_sealed_row_is_of_one_table(table: int, key: bytes, body: bytes) -> None:
    value = records.seal(key, body)
    assert is_sealed(key, value)
    assert table_of(key, value) == table
    assert table_of(key, value[:-1] + b"\x00") == -1


def test_segments() -> None:
    _, key, value = wrecks.segment(1, 5, b"content")
    assert is_segment_key(key)
    assert is_segment(key, value)
    assert own_key(value) == key
    assert not is_segment_key(key[:-1])
    assert not is_segment(key, value[:-1])
    assert not is_segment(key[:-1], value)


def test_names_with_a_flipped_bit() -> None:
    for name in TABLES:
        assert near_name(name.encode()) == name
        assert near_name(bytes([name.encode()[0] ^ 4]) + name.encode()[1:]) == name
    assert near_name(b"streams") == "streams"
    assert near_name(b"\xff") == "\\xff"


def test_what_is_near_differs_in_one_bit_at_most() -> None:
    assert is_near(b"name", b"name")
    assert is_near(b"name", b"nime")
    assert not is_near(b"name", b"nbme")
    assert not is_near(b"name", b"\0name")
