"""Data files to damage: a store like ours, and where in its file what lies."""

import random
import struct
from pathlib import Path
from typing import Final

import lmdb

from amqpd.broker import records
from amqpd.broker.ports import (
    ACKS,
    BINDINGS,
    DELAYED,
    ENTITIES,
    EXCHANGES,
    META,
    QUARANTINE,
    QUEUES,
    SEEN,
    SEGMENTS,
    STATES,
    TABLES,
    Op,
)
from amqpd.broker.queues.segments import SegmentWriter, acks_key, queue_key
from amqpd.store.environment import Environment

PAGE: Final = 4096
NO_PAGE: Final = 2**64 - 1

Rows = dict[tuple[int, bytes], bytes]
Spans = dict[str, list[tuple[int, int]]]  # kind -> places and sizes


def segment(queue_id: int, first: int, content: bytes) -> tuple[int, bytes, bytes]:
    writer = SegmentWriter()
    for position in (first, first + 1):
        writer.add(position, 1, b"address", content)
    key = writer.segment(1, False).key(queue_id)
    return SEGMENTS, key, writer.value(key)


def topology() -> list[Op]:
    ops: list[Op] = [(META, *records.row(records.SCHEMA_KEY, records.SCHEMA_VERSION))]
    ops.append((META, *records.row(records.NEXT_QUEUE_KEY, 4)))
    for number in range(1, 4):
        name = f"q{number}"
        fact = {"vhost": "/", "name": name, "id": number, "auto_delete": False, "arguments": []}
        ops.append((QUEUES, *records.row(records.name_key("/", name), fact)))
        ops.append((EXCHANGES, *records.row(records.name_key("/", f"x{number}"), {"name": f"x{number}", "type": "t"})))
        ops.append((BINDINGS, *records.row(records.name_key("/", f"b{number}"), {"source": f"x{number}"})))
        ops.append((STATES, queue_key(number), records.seal(queue_key(number), number.to_bytes(8, "big"))))
        ops.append((ENTITIES, *records.entity_row("vhost", [f"v{number}"], {"name": f"v{number}"})))
        for table, size in ((DELAYED, 20), (SEEN, 16)):
            ops.append((table, *records.row(number.to_bytes(size, "big"), number)))
    return ops


def make(directory: Path, batches: int = 60, seed: int = 1) -> tuple[Path, Rows]:
    """A store with rows of all kinds, some of them deleted since; its data file and its rows."""
    chance = random.Random(seed)
    rows: Rows = {}
    environment = Environment(directory / "store", 1 << 24, sync=False)
    live: list[tuple[bytes, bytes]] = []
    for number in range(batches):
        ops: list[Op] = topology() if number == 0 else [(QUARANTINE, b"old" + bytes([number % 3]), chance.randbytes(9))]
        for first in range(8 * number, 8 * number + 8, 2):
            op = segment(chance.randint(1, 3), first, chance.randbytes(chance.choice((20, 300, 2000, 9000))))
            acks = acks_key(int.from_bytes(op[1][:4], "big"), first)
            ops += [op, (ACKS, acks, records.seal(acks, b"\x01"))]
            live.append((op[1], acks))
        while len(live) > 80:
            for table, key in zip((SEGMENTS, ACKS), live.pop(chance.randrange(len(live))), strict=True):
                ops.append((table, key, None))
        environment.write(ops)
    environment.close()
    data_file = directory / "store" / "data.mdb"
    return data_file, rows | read(data_file)


def read(data_file: Path) -> Rows:
    """All rows but the number of the transaction."""
    rows: Rows = {}
    environment = lmdb.open(str(data_file.parent), max_dbs=len(TABLES), lib_version=0, readonly=True, lock=False)
    for table, name in enumerate(TABLES):
        with environment.begin(db=environment.open_db(name.encode(), create=False)) as transaction:
            rows |= {(table, bytes(key)): bytes(value) for key, value in transaction.cursor()}
    environment.close()
    rows.pop((META, records.TRANSACTION_KEY), None)
    return rows


def metas(data: bytes) -> tuple[int, int]:
    """Where the older and the newer meta page begin."""
    first, second = (struct.unpack_from("=Q", data, place + 144)[0] for place in (0, PAGE))
    return (0, PAGE) if first < second else (PAGE, 0)


def spans(data: bytes) -> Spans:
    """Where what lies, of the newest transaction. An independent reading of the format."""
    found: Spans = {}
    place = metas(data)[1]
    free, main = struct.unpack_from("=Q", data, place + 80)[0], struct.unpack_from("=Q", data, place + 128)[0]
    _walk(data, free, "free", found)
    _walk(data, main, "main", found)
    return found


def _walk(data: bytes, root: int, tree: str, found: Spans) -> None:
    def note(kind: str, at: int, size: int) -> None:
        found.setdefault(f"{tree} {kind}", []).append((at, size))

    if root == NO_PAGE:
        return
    page = root * PAGE
    flags, lower = struct.unpack_from("=HH", data, page + 10)
    kind = "branch" if flags & 1 else "leaf"
    note(f"{kind} page", page, PAGE)
    note(f"{kind} head", page + 10, 6)
    note(f"{kind} number", page, 8)
    note(f"{kind} pointers", page + 16, lower - 16)
    for (pointer,) in struct.iter_unpack("=H", data[page + 16 : page + lower]):
        at = page + pointer
        low, high, node_flags, key_bytes = struct.unpack_from("=HHHH", data, at)
        value = at + 8 + key_bytes
        note(f"{kind} key", at + 8, key_bytes)
        note(f"{kind} flags", at + 4, 2)
        if flags & 1:
            note("child", at, 4)
            _walk(data, low | high << 16 | node_flags << 32, tree, found)
        elif node_flags & 1:
            note("large pointer", value, 8)
            first = struct.unpack_from("=Q", data, value)[0] * PAGE
            note("large head", first + 10, 6)
            note("large value", first + 16, low | high << 16)
        elif node_flags & 2:
            note("record", value, 48)
            _walk(data, struct.unpack_from("=Q", data, value + 40)[0], data[at + 8 : value].decode(), found)
        else:
            note("value", value, low | high << 16)


def flip(data_file: Path, data: bytes, at: int, bit: int) -> None:
    spoilt = bytearray(data)
    spoilt[at] ^= 1 << bit
    data_file.write_bytes(spoilt)
