"""One heap of deadlines for all that happens by time alone: expiry of messages and queues, delays, consumer timeouts.

Owns when, not what. A deadline that is set anew makes the earlier entry stale; stale entries are dropped when they come
to the top, and all at once when they are most of the heap.
"""
# HOT. Compiled for its attributes; `run` costs a comparison a turn while nothing is due.

from __future__ import annotations

import heapq
from abc import abstractmethod

from mypy_extensions import mypyc_attr

from amqpd import limits

Entry = tuple[int, int, "Deadline"]


@mypyc_attr(allow_interpreted_subclasses=True)
class Deadline:
    """Something to be done at a time. ``due_ms`` 0: not set."""

    def __init__(self) -> None:
        self.due_ms = 0

    @abstractmethod
    def on_deadline(self, now_ms: int) -> None:
        """The time has come. Work that is much is done in steps: set the deadline anew for the rest."""


class Timers:
    """All deadlines of a broker, in milliseconds since 1970."""

    def __init__(self) -> None:
        self.heap: list[Entry] = []
        self.count = 0
        self.live = 0

    def set(self, deadline: Deadline, at_ms: int) -> None:
        """Call ``deadline.on_deadline`` at ``at_ms`` and not at the time set before."""
        if deadline.due_ms == at_ms:
            return
        if not deadline.due_ms:
            self.live += 1
        deadline.due_ms = at_ms
        self.count += 1
        heapq.heappush(self.heap, (at_ms, self.count, deadline))
        if len(self.heap) > 2 * self.live + limits.STALE_TIMERS_MAX:
            self._sweep()

    def clear(self, deadline: Deadline) -> None:
        """Do not call it."""
        if deadline.due_ms:
            deadline.due_ms = 0
            self.live -= 1

    def next_ms(self) -> int:
        """When the first is due; 0 when there is none."""
        heap = self.heap
        while heap and heap[0][2].due_ms != heap[0][0]:
            heapq.heappop(heap)
        return heap[0][0] if heap else 0

    def run(self, now_ms: int) -> bool:
        """Call those that are due now, not those that they set. False when there was none."""
        due: list[Deadline] = []
        heap = self.heap
        while heap and heap[0][0] <= now_ms:
            at_ms, _, deadline = heapq.heappop(heap)
            if deadline.due_ms == at_ms:
                self.clear(deadline)
                due.append(deadline)
        for deadline in due:
            deadline.on_deadline(now_ms)
        return len(due) > 0

    def _sweep(self) -> None:
        entries: dict[Deadline, Entry] = {}
        for entry in self.heap:
            if entry[2].due_ms == entry[0]:
                entries[entry[2]] = entry
        self.heap = list(entries.values())
        heapq.heapify(self.heap)
