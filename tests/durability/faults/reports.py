"""What the broker says about damage, read from its log. The only place that knows its words.

An error of the loggers below names what it is about: ``queue 'q'``, ``exchange 'e'``, ``binding of 'q' to 'e'``, a
queue by its number in the store where its name is lost, or a row of a table by its key. A warning says what was
repaired.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from amqpd.broker import records
from amqpd.broker.bindings import Binding
from tests.durability.ledger import Ledger

DAMAGE: Final = re.compile(
    r"^\S+ (?P<level>warning|error|critical) amqpd\.(?:recovery|queues|store)\S*: (?P<words>.*)$", re.MULTILINE
)
OTHERS: Final = re.compile(r"disk is full|cannot be written")  # of the same loggers, but not about damage
REPAIRED: Final = re.compile(r"\brepaired\b")
QUEUE: Final = re.compile(r"\bqueue '([^']*)'")
EXCHANGE: Final = re.compile(r"\bexchange '([^']*)'")
BINDING: Final = re.compile(r"\bbinding of '([^']*)'")
NUMBER: Final = re.compile(r"\bqueue (?:number )?(\d+)\b")
KEY: Final = re.compile(r"\bkey ([0-9a-f]{8,})\b")
DIGEST_DIGITS: Final = 48  # of the key of an exchange, queue or binding; others begin with the number of a queue
RETURNING: Final = re.compile(r"\bdelivered again\b")
LOST: Final = re.compile(r"\b(\d+) messages? (?:are|is) lost")
TABLE: Final = re.compile(r"\btable (\w+)\b|\blist of (tables)\b")  # of which rows are lost, nobody knows which
OF_TOPOLOGY: Final = frozenset({"meta", "exchanges", "queues", "bindings", "tables"})
OF_QUEUES: Final = frozenset({"meta", "queues", "tables", "segments", "acks", "states"})
BEHIND: Final = re.compile(r"\btransactions behind \d+ may be lost")  # anything that was done then
SUMMARY: Final = re.compile(r"data\.mdb was damaged: |^rows saved to a new store: |^and \d+ losses more")


@dataclass(slots=True)
class Reports:
    """Damage by what it is in. ``queues``: how many messages are said to be lost."""

    queues: dict[str, float] = field(default_factory=dict)
    unsure: set[str] = field(default_factory=set)  # queues of which settled messages may return
    names: set[str] = field(default_factory=set)  # of queues, exchanges, and bindings by where they lead to
    repaired: set[str] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)
    nameless: list[str] = field(default_factory=list)  # errors that name nothing
    vague: list[str] = field(default_factory=list)  # ... that name a table only

    def excuse(self, ledger: Ledger) -> None:
        """Let the ledger know."""
        for queue, missing in self.queues.items():
            if queue in ledger.marks:
                is_unsure = queue in self.unsure
                ledger.excuse(queue, missing, may_return=is_unsure, may_lose_flags=is_unsure)
        if self.unsure:
            ledger.on_restart()  # up to where messages were delivered is unknown: what was not may come flagged
        for name in self.names:
            ledger.excuse_topology(name)

    def add(self, other: "Reports") -> None:
        """What was reported before, and this."""
        for queue, missing in other.queues.items():
            self.queues[queue] = self.queues.get(queue, 0.0) + missing
        self.unsure |= other.unsure
        self.names |= other.names
        self.repaired |= other.repaired
        self.lines += other.lines
        self.nameless += other.nameless
        self.vague += other.vague

    def add_queue(self, queue: str, words: str) -> None:
        """A line of damage in it: so many messages are lost, or what was settled or delivered of it, or anything."""
        lost = LOST.search(words)
        missing = float(lost[1]) if lost else 0.0 if RETURNING.search(words) else math.inf
        self.queues[queue] = self.queues.get(queue, 0.0) + missing
        if not lost:
            self.unsure.add(queue)

    def names_queue(self, name: str) -> bool:
        """Whether damage of this queue is reported, or its repair."""
        return name in self.repaired or name in self.queues


class Reader:
    """``queue_names``: by their numbers in the store. ``bindings``: source, destination and key of all there may be."""

    def __init__(
        self,
        queue_names: Mapping[int, str],
        exchanges: Iterable[str],
        queues: Iterable[str],
        bindings: Iterable[tuple[str, str, str]],
    ) -> None:
        self.queue_names = queue_names
        self.queues = list(queues)
        self.digests = {records.name_key("/", name).hex(): name for name in (*exchanges, *self.queues)}
        for source, destination, key in bindings:
            binding = Binding(source, destination, True, key, {})
            self.digests[records.binding_key("/", binding).hex()] = destination

    def read(self, log: str) -> Reports:
        """All that is reported in ``log``."""
        reports = Reports()
        for found in DAMAGE.finditer(log):
            if not OTHERS.search(found["words"]):
                reports.lines.append(found["words"])
                self._read_line(found["words"], found["level"], reports)
        return reports

    def _read_line(self, words: str, level: str, reports: Reports) -> None:
        numbered = self._by_number(words)
        queues = {*QUEUE.findall(words), *numbered}
        names = {*EXCHANGE.findall(words), *BINDING.findall(words), *numbered}
        is_unknown = bool(BEHIND.search(words))
        for key in KEY.findall(words):
            is_digest = len(key) == DIGEST_DIGITS
            name = self.digests.get(key) if is_digest else self.queue_names.get(int(key[:8], 16))
            if name is None:
                is_unknown = True  # the key itself is damaged, and leads to no name
            else:
                queues.add(name)
                names.update((name,) if is_digest else ())
        if SUMMARY.search(words):
            return
        if level == "warning":
            reports.repaired |= queues | names
            return
        if not queues and not names:
            self._read_tables(words, queues, names, reports, is_unknown=is_unknown)
        reports.names |= names
        for queue in queues:
            reports.add_queue(queue, words)

    def _read_tables(
        self, words: str, queues: set[str], names: set[str], reports: Reports, *, is_unknown: bool
    ) -> None:
        """Of a line that names no queue: it may be about all of them."""
        tables = {name for found in TABLE.findall(words) for name in found if name}
        if is_unknown:
            tables.add("meta")
        names.update({"*"} if tables & OF_TOPOLOGY else ())
        queues.update(self.queues if tables & OF_QUEUES else ())
        (reports.vague if tables else reports.nameless).append(words)

    def _by_number(self, words: str) -> list[str]:
        return [self.queue_names.get(int(number), number) for number in NUMBER.findall(words)]
