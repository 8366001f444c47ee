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
LOST: Final = re.compile(r"\b(\d+) messages? (?:are|is) lost")
ANY: Final = re.compile(r"\b(?:any|all|every|unknown) queues?\b")


@dataclass(slots=True)
class Reports:
    """Damage by what it is in. ``queues``: how many messages are said to be lost."""

    queues: dict[str, float] = field(default_factory=dict)
    names: set[str] = field(default_factory=set)  # of queues, exchanges, and bindings by where they lead to
    repaired: set[str] = field(default_factory=set)
    lines: list[str] = field(default_factory=list)
    nameless: list[str] = field(default_factory=list)  # errors that name nothing

    def excuse(self, ledger: Ledger) -> None:
        """Let the ledger know."""
        for queue, missing in self.queues.items():
            if queue in ledger.marks:
                ledger.excuse(queue, missing, may_return=True, may_lose_flags=True)
        for name in self.names:
            ledger.excuse_topology(name)

    def add(self, other: "Reports") -> None:
        """What was reported before, and this."""
        for queue, missing in other.queues.items():
            self.queues[queue] = self.queues.get(queue, 0.0) + missing
        self.names |= other.names
        self.repaired |= other.repaired
        self.lines += other.lines
        self.nameless += other.nameless

    def names_queue(self, name: str) -> bool:
        """Whether damage of this queue is reported, or its repair."""
        return name in self.names | self.repaired


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
        queues = {*QUEUE.findall(words), *self._by_number(words)}
        names = {*EXCHANGE.findall(words), *BINDING.findall(words)}
        for key in KEY.findall(words):
            if len(key) == DIGEST_DIGITS:
                names.add(self.digests.get(key, key))
            else:
                queues.add(self.queue_names.get(int(key[:8], 16), key))
        if ANY.search(words):
            queues.update(self.queues)
        if level == "warning":
            reports.repaired |= queues | names
            return
        lost = LOST.search(words)
        missing = float(lost[1]) if lost else math.inf
        for queue in queues | names:
            reports.queues[queue] = reports.queues.get(queue, 0.0) + missing
        reports.names |= queues | names
        if not queues and not names:
            reports.nameless.append(words)

    def _by_number(self, words: str) -> list[str]:
        return [self.queue_names.get(int(number), number) for number in NUMBER.findall(words)]
