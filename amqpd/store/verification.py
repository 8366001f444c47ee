"""Whether a data file is good: its structure, every checksum, and whether its rows fit together.

Reads bytes and lets nothing map the file, so no damage can end the process. Says of each problem where it is and what
the broker will do about it; changes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from amqpd.broker import records
from amqpd.broker.ports import ACKS, BINDINGS, EXCHANGES, META, QUARANTINE, QUEUES, SEGMENTS, STATES, TABLES
from amqpd.broker.queues.segments import CorruptSegment, own_key, read_acks_key, read_segment, read_segment_key
from amqpd.broker.vhost import PREDECLARED
from amqpd.store import integrity
from amqpd.store.inspection import read_schema
from amqpd.store.proofs import is_segment
from amqpd.store.tables import Damage, NotAStore, Row, Tables, open_tables

SALVAGED: Final = "the broker saves what it can read at its next start, and keeps the damaged file"
REPAIRED: Final = "it is one flipped bit, which the broker repairs at its next start"
QUARANTINED: Final = "the broker puts it in quarantine, logs it, and goes on with the rest"
REMOVED: Final = "the broker removes it at its next start, and logs it"
KEPT: Final = "the broker keeps it, but delivers nothing of it"
PASSED_OVER: Final = "the broker passes over it"
REFUSED: Final = "the broker does not start with it"
REPAIRED_KEY: Final = "the value knows its key, so the broker repairs it at its next start"
AGAIN: Final = "the broker delivers all messages of the segment again, and logs it"
CORRECTED: Final = "the broker corrects it at its next start"
MISTAKEN: Final = "the broker cannot deal with that; this is a bug, please report it"
MARKED: Final = "the broker delivers all that waits as redelivered"
TWICE: Final = "the broker delivers them twice"
SHARED: Final = "messages of the two queues may be mixed up"

FACTS: Final[dict[int, set[str]]] = {  # of a record of each table
    EXCHANGES: {"vhost", "name"},
    QUEUES: {"vhost", "name", "id"},
    BINDINGS: {"vhost", "source", "destination", "to_queue"},
}
PREDECLARED_NAMES: Final = frozenset(name for name, _, _ in PREDECLARED)


@dataclass(frozen=True, slots=True)
class Problem:
    """Where it is, what it is, and what the broker will do."""

    where: str
    what: str
    consequence: str


@dataclass(slots=True)
class Verdict:
    """What was found good, in counts, and what was not."""

    problems: list[Problem] = field(default_factory=list)
    exchanges: int = 0
    queues: int = 0
    bindings: int = 0
    segments: int = 0
    messages: int = 0
    bytes: int = 0
    quarantined: int = 0


def verify(data_file: Path, on_progress: Callable[[int, int], None]) -> Verdict:
    """Look at all of a data file that nobody writes; ``on_progress`` is told bytes of messages read, and of how many.

    Raises OSError.
    """
    verdict = Verdict()
    for words in integrity.check(data_file):
        verdict.problems.append(Problem("structure of the file", words, SALVAGED))
    try:
        with open_tables(data_file) as tables:
            _Verification(tables, verdict).run(on_progress)
    except NotAStore as error:
        if not verdict.problems:
            verdict.problems.append(Problem("structure of the file", str(error), SALVAGED))
    return verdict


class _Verification:
    """One pass through all tables, those first that name what is in the others."""

    def __init__(self, tables: Tables, verdict: Verdict) -> None:
        self.tables = tables
        self.verdict = verdict
        self.queues: dict[int, str] = {}  # number -> how it is called here
        self.ends: set[tuple[str, str, bool]] = set()  # virtual host, name, whether it is a queue
        self.acks: dict[bytes, bytes] = {}  # queue number and first position -> bit map

    def run(self, on_progress: Callable[[int, int], None]) -> None:
        schema = read_schema(self.tables)
        for name in self.tables.trees.keys() - set(TABLES):
            self._problem("structure of the file", f"it has a table {name!r}, which should not be there", SALVAGED)
        if schema not in (None, records.SCHEMA_VERSION):
            words = f"it is {schema}, and this amqpd reads {records.SCHEMA_VERSION}: no more can be verified"
            self._problem("schema", words, REFUSED)
        else:
            self._exchanges()
            self._queues()
            self._meta()
            self._bindings()
            self._states()
            self._acks()
            self._segments(on_progress)
            self.verdict.quarantined = sum(1 for _ in self._rows(QUARANTINE))
        for damage in dict.fromkeys(self.tables.damage):
            self._problem(*self._damage(damage), SALVAGED)

    def _problem(self, where: str, what: str, consequence: str) -> None:
        self.verdict.problems.append(Problem(where, what, consequence))

    def _rows(self, table: int) -> list[Row]:
        return list(self.tables.rows(TABLES[table]))

    def _queue(self, queue_id: int) -> str:
        return self.queues.get(queue_id, f"queue number {queue_id}, which is not declared")

    def _damage(self, damage: Damage) -> tuple[str, str]:
        """Where it is, and what is lost behind a page."""
        where = f"page {damage.page} of {damage.tree.label}"
        if damage.tree.name not in (TABLES[SEGMENTS], TABLES[ACKS]) or len(damage.first) < 12:
            return where, damage.reason
        queue_id, position = read_acks_key(damage.first)
        until = ""
        if len(damage.end) >= 12:
            end_id, end = read_acks_key(damage.end)
            until = f" to {end - 1}" if end_id == queue_id else f" to {self._queue(end_id)}, position {end - 1}"
        return where, f"{damage.reason}: {self._queue(queue_id)}, {damage.tree.name} from position {position}{until}"

    # -- topology --

    def _unseal(self, row: Row, where: str, beyond_repair: str = QUARANTINED) -> tuple[bytes, bytes] | None:
        """Key and body of a sealed row as they were written, or None; and a problem, unless they are so still."""
        value = self.tables.value(row) or b""
        try:
            return row.key, records.unseal(row.key, value)
        except records.CorruptRecord as error:
            mended = records.repair(row.key, value)
            self._problem(where, str(error), beyond_repair if mended is None else REPAIRED)
            return mended

    def _facts(self, table: int) -> list[dict[str, Any]]:
        """The records of a table, those that are good."""
        facts = []
        for row in self._rows(table):
            sealed = self._unseal(row, f"record {row.key.hex()} of the table {TABLES[table]}")
            fact = None if sealed is None else records.parse(sealed[1])
            if fact is not None and not fact.keys() >= FACTS[table]:
                self._problem(f"record {row.key.hex()} of the table {TABLES[table]}", "it is incomplete", MISTAKEN)
            elif fact is not None:
                facts.append(fact)
        return facts

    def _exchanges(self) -> None:
        for fact in self._facts(EXCHANGES):
            self.ends.add((fact["vhost"], fact["name"], False))
            self.verdict.exchanges += 1

    def _queues(self) -> None:
        for fact in self._facts(QUEUES):
            name = f"queue {fact['name']!r} in virtual host {fact['vhost']!r}"
            self.ends.add((fact["vhost"], fact["name"], True))
            self.verdict.queues += 1
            for number in records.queue_numbers(fact):
                if number in self.queues:
                    self._problem(name, f"it has the same number as {self.queues[number]}", SHARED)
                else:
                    self.queues[number] = name

    def _meta(self) -> None:
        facts = {}
        rows = self._rows(META)
        if rows and records.SCHEMA_KEY not in {row.key for row in rows}:
            self._problem("schema", "its version is not there", CORRECTED)
        for row in rows:
            sealed = self._unseal(row, f"record {row.key.decode(errors='replace')!r} of the table meta")
            if sealed is not None:
                facts[sealed[0]] = records.parse(sealed[1])
        number = facts.get(records.NEXT_QUEUE_KEY, max(self.queues, default=0) + 1)
        if number <= max(self.queues, default=0):
            self._problem("meta", f"the next queue would get the number {number}, which is taken", CORRECTED)

    def _bindings(self) -> None:
        for fact in self._facts(BINDINGS):
            vhost, source, destination = fact["vhost"], fact["source"], fact["destination"]
            where = f"binding of {source!r} to {destination!r} in virtual host {vhost!r}"
            self.verdict.bindings += 1
            if source not in PREDECLARED_NAMES and (vhost, source, False) not in self.ends:
                self._problem(where, "its source is not there", REMOVED)
            is_predeclared = not fact["to_queue"] and destination in PREDECLARED_NAMES
            if not is_predeclared and (vhost, destination, fact["to_queue"]) not in self.ends:
                self._problem(where, "its destination is not there", REMOVED)

    # -- messages --

    def _states(self) -> None:
        for row in self._rows(STATES):
            queue_id = int.from_bytes(row.key[:4], "big")
            where = f"{self._queue(queue_id)}, mark of what was delivered"
            if self._unseal(row, where, MARKED) is not None and queue_id not in self.queues:
                self._problem(where, "it is of no queue", MARKED)

    def _acks(self) -> None:
        for row in self._rows(ACKS):
            queue_id, first = read_acks_key(row.key)
            sealed = self._unseal(row, f"{self._queue(queue_id)}, acks from position {first}", AGAIN)
            if sealed is not None:
                self.acks[sealed[0]] = sealed[1]

    def _segments(self, on_progress: Callable[[int, int], None]) -> None:
        rows = self._rows(SEGMENTS)
        total = sum(row.size for row in rows)
        done = 0
        last_queue, last_positions = -1, [0]
        for row in rows:
            on_progress(done, total)
            done += row.size
            queue_id, positions = self._segment(row)
            if not positions:
                continue
            if queue_id == last_queue and not set(positions).isdisjoint(last_positions):
                self._problem(
                    f"{self._queue(queue_id)}, segment {positions[0]}-{positions[-1]}",
                    f"some of its positions are in the segment {last_positions[0]}-{last_positions[-1]} too",
                    TWICE,
                )
            last_queue, last_positions = queue_id, positions
        on_progress(total, total)
        for key in self.acks:
            queue_id, first = read_acks_key(key)
            self._problem(f"{self._queue(queue_id)}, acks from position {first}", "they are of no segment", REMOVED)

    def _segment(self, row: Row) -> tuple[int, list[int]]:
        """Check a segment with its acks; queue number and positions of its records."""
        queue_id, first = read_acks_key(row.key)
        value = self.tables.value(row)
        try:
            queue_id, first, last, count, _ = read_segment_key(row.key)
        except CorruptSegment as error:
            where = f"{self._queue(queue_id)}, segment from position {first}"
            knows_key = value is not None and is_segment(own_key(value), value)
            self._problem(where, str(error), REPAIRED_KEY if knows_key else QUARANTINED)
            return queue_id, []
        where = f"{self._queue(queue_id)}, segment {first}-{last}"
        settled = self.acks.pop(row.key[:12], b"")
        try:
            positions = [record[0] for record in read_segment(row.key, value)]
        except CorruptSegment as error:
            waiting = count - int.from_bytes(settled, "big").bit_count()
            self._problem(where, f"{error}: {waiting:,} messages", QUARANTINED)
            return queue_id, []
        except (IndexError, ValueError):  # the checksum holds, and it is none
            self._problem(where, "its messages end too early", MISTAKEN)
            return queue_id, []
        if queue_id not in self.queues:
            self._problem(where, f"it is of no queue: {count:,} messages", KEPT)
        self._check_positions(where, positions, (first, last, count), settled)
        self.verdict.segments += 1
        self.verdict.messages += count - int.from_bytes(settled, "big").bit_count()
        self.verdict.bytes += row.size
        return queue_id, positions

    def _check_positions(self, where: str, positions: list[int], front: tuple[int, int, int], settled: bytes) -> None:
        first, last, count = front
        if positions != sorted({first, *positions, last}) or len(positions) != count:
            self._problem(where, "its key says otherwise than its messages", MISTAKEN)
        elif settled and len(settled) != (last - first) // 8 + 1:
            self._problem(where, "its acks are of a segment of another size", AGAIN)
        elif not _positions_of(first, settled) <= set(positions):
            self._problem(where, "its acks are of other messages", MISTAKEN)
        elif len(_positions_of(first, settled)) == count:
            self._problem(where, "all of its messages are acked, and it is still there", PASSED_OVER)


def _positions_of(first: int, settled: bytes) -> set[int]:
    return {first + bit for bit in range(len(settled) * 8) if settled[bit >> 3] >> (bit & 7) & 1}
