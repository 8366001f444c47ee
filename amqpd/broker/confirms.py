"""Publisher confirms of one channel: which publishes wait for which ticket, neighbours folded into one multiple ack.

Rules: RabbitMQ, "Publisher Confirms". Sequence numbers count from 1; confirms go out in their order, so that a run of
them is one frame.
"""
# HOT. `record` runs for every publish on a confirming channel; a run of publishes with one ticket is one entry.

from __future__ import annotations

from collections import deque


class Confirms:
    """Publishes that were accepted and not confirmed yet."""

    def __init__(self) -> None:
        self.last = 0  # the sequence number of the newest publish
        self.confirmed = 0  # everything up to here was confirmed
        self.run_ticket = 0  # of the newest run, which is not in `runs` yet
        self.runs: deque[tuple[int, int]] = deque()  # (last sequence number, ticket), both growing

    def record(self, ticket: int) -> None:
        """The next publish is on disk once ``ticket`` is; 0 when it needs no disk."""
        if ticket > self.run_ticket:
            if self.last > self.confirmed and (not self.runs or self.runs[-1][0] < self.last):
                self.runs.append((self.last, self.run_ticket))
            self.run_ticket = ticket
        self.last += 1

    def waiting(self) -> bool:
        return self.last > self.confirmed

    def take(self, durable: int) -> int:
        """The highest sequence number that may be confirmed now, 0 when there is no new one.

        The caller confirms everything after ``confirmed`` up to it, and then sets ``confirmed``.
        """
        if self.run_ticket <= durable:
            self.runs.clear()
            return self.last if self.last > self.confirmed else 0
        ready = 0
        while self.runs and self.runs[0][1] <= durable:
            ready = self.runs.popleft()[0]
        return ready if ready > self.confirmed else 0
