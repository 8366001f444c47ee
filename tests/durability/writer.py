"""A process that commits to an LmdbStore and says on stdout which tickets are durable. It is there to be killed.

python -m tests.durability.writer DIRECTORY FIRST_TICKET
"""

import os
import select
import struct
import sys
from pathlib import Path
from typing import Final

from amqpd.broker.ports import BINDINGS, CLEAR, META, QUEUES, SEGMENTS, Op
from amqpd.store.lmdb_store import LmdbStore

MAP_BYTES: Final = 1 << 20  # so small that it grows every other moment
TICKET: Final = struct.Struct(">Q")


def batch(ticket: int) -> list[Op]:
    """The batch of this ticket: puts in several tables, deletes, prefix deletes, now and then a large value."""
    size = 200_000 if ticket % 7 == 0 else ticket % 900
    ops: list[Op] = [
        (META, b"newest", TICKET.pack(ticket)),
        (SEGMENTS, _key(ticket), bytes([ticket % 251]) * size),
        (QUEUES, b"q%d" % (ticket % 13), TICKET.pack(ticket)),
        (BINDINGS, b"b%d" % (ticket % 17), None if ticket % 2 else TICKET.pack(ticket)),
    ]
    if ticket % 10 == 0:  # the whole decade before this one
        ops.insert(1, (CLEAR | SEGMENTS, struct.pack(">I", ticket // 10 - 1), None))
    return ops


def state_after(ticket: int) -> list[dict[bytes, bytes]]:
    """Tables META, QUEUES, BINDINGS and SEGMENTS, from the meaning of the batches, not by running them."""
    if ticket == 0:
        return [{}, {}, {}, {}]
    queues = {b"q%d" % (each % 13): TICKET.pack(each) for each in range(max(1, ticket - 12), ticket + 1)}
    bindings = {
        b"b%d" % (each % 17): TICKET.pack(each) for each in range(max(1, ticket - 16), ticket + 1) if each % 2 == 0
    }
    segments = {}
    for each in range(max(1, (ticket // 10) * 10), ticket + 1):
        segments[_key(each)] = bytes([each % 251]) * (200_000 if each % 7 == 0 else each % 900)
    return [{b"newest": TICKET.pack(ticket)}, queues, bindings, segments]


def _key(ticket: int) -> bytes:
    return struct.pack(">IQ", ticket // 10, ticket)


def main() -> None:
    """Commit until killed."""
    store = LmdbStore(Path(sys.argv[1]), map_bytes=MAP_BYTES)
    ticket = int(sys.argv[2])
    while True:
        store.commit(ticket, batch(ticket))
        while store.completed() < ticket:
            select.select([store.wake_fd()], [], [])
            os.read(store.wake_fd(), 4096)
        os.write(1, TICKET.pack(ticket))
        ticket += 1


if __name__ == "__main__":
    main()
