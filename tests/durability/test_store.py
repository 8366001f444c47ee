"""The store alone, killed while it commits: what was reported durable is there, and never half a batch."""

import random
import subprocess
import sys
import time
from pathlib import Path

from amqpd.broker import records
from amqpd.broker.ports import BINDINGS, META, QUEUES, SEGMENTS
from amqpd.store.lmdb_store import LmdbStore
from tests.durability.writer import TICKET, state_after
from tests.server.serving import ROOT

ROUNDS = 12


def run_and_kill(directory: Path, first_ticket: int, seconds: float) -> int:
    """The last ticket that the process called durable before it died, so long after the first one."""
    command = [sys.executable, "-m", "tests.durability.writer", str(directory), str(first_ticket)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        said = process.stdout.read(TICKET.size)
        time.sleep(seconds)
        process.kill()
        said += process.stdout.read()
    assert process.returncode == -9
    return int(TICKET.unpack(said[-TICKET.size :])[0])


def state(store: LmdbStore) -> list[dict[bytes, bytes]]:
    """All but the store's own number of the transaction."""
    found = [dict(store.scan(table, b"")) for table in (META, QUEUES, BINDINGS, SEGMENTS)]
    del found[0][records.TRANSACTION_KEY]
    return found


def test_killed_while_it_commits(tmp_path: Path) -> None:
    chance = random.Random(5)
    ticket = 0
    for _ in range(ROUNDS):
        said = run_and_kill(tmp_path, ticket + 1, chance.uniform(0.0, 0.08))
        store = LmdbStore(tmp_path, map_bytes=1 << 20)
        found = state(store)
        store.close()
        (ticket,) = TICKET.unpack(found[0][b"newest"])
        assert said <= ticket <= said + 1, "one commit at a time: only the one that ran may be more than was said"
        assert found == state_after(ticket)
    assert ticket > ROUNDS
