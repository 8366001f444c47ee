"""Publisher confirms of one channel: which publishes wait for which ticket, neighbours folded into one multiple ack.

Rules: RabbitMQ, "Publisher Confirms". Sequence numbers count from 1; confirms go out in their order, so that a run of
them is one frame. What a full queue refused is told in its turn, too, with a nack.
"""
# HOT. `record` runs for every publish on a confirming channel; a run of publishes with one ticket is one entry.

from __future__ import annotations

from collections import deque


class Confirms:
    """Publishes that were accepted, or refused, and not confirmed yet."""

    def __init__(self) -> None:
        self.last = 0  # the sequence number of the newest publish
        self.confirmed = 0  # everything up to here was confirmed
        self.run_ticket = 0  # of the newest run, which is not in `runs` yet
        self.run_refused = False
        self.runs: deque[tuple[int, int, bool]] = deque()  # (last sequence number, ticket, refused)
        self.taken_refused = False  # what `take` returned last was refused

    def record(self, ticket: int, refused: bool = False) -> None:
        """The next publish is on disk once ``ticket`` is, 0 when it needs no disk; or it was refused."""
        if ticket > self.run_ticket or refused is not self.run_refused:
            if self.last > self.confirmed and (not self.runs or self.runs[-1][0] < self.last):
                self.runs.append((self.last, self.run_ticket, self.run_refused))
            self.run_ticket = max(ticket, self.run_ticket)
            self.run_refused = refused
        self.last += 1

    def waiting(self) -> bool:
        return self.last > self.confirmed

    def take(self, durable: int) -> int:
        """The sequence number up to which publishes may be told of now, with one frame; 0 when there is nothing new.

        ``taken_refused`` says what to tell. The caller tells it of everything after ``confirmed`` up to it, sets
        ``confirmed``, and asks again.
        """
        ready = self.confirmed
        refused = False
        runs = self.runs
        while runs and runs[0][1] <= durable:
            last, _, is_refused = runs[0]
            if last > self.confirmed:
                if ready > self.confirmed and is_refused is not refused:
                    break
                ready = last
                refused = is_refused
            runs.popleft()
        if not runs and self.run_ticket <= durable and self.last > ready:
            if ready == self.confirmed or self.run_refused is refused:
                ready = self.last
                refused = self.run_refused
        self.taken_refused = refused
        return ready if ready > self.confirmed else 0
