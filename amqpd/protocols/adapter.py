"""What every wire protocol is to the server: bytes in, bytes out, and what it owes when.

``server/reactor.py`` drives it; ``protocols/amqp091/connection.py`` is one.
"""
# HOT. Abstract base class: the reactor calls `receive` once a chunk, through the vtable.

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from mypy_extensions import i64

from amqpd import limits
from amqpd.broker.owner import Owner

if TYPE_CHECKING:
    from amqpd.protocols.outbox import Outbox


class Stage:
    """What the adapters of one server leave for it at the end of a turn, and what they share."""

    def __init__(self) -> None:
        self.touched: list[Outbox] = []  # outboxes with bytes to write
        self.resumable: list[Adapter] = []  # adapters whose wait for a ticket is over
        self.spare_routes: i64 = limits.PUBLISH_ROUTES_SHARED_MAX  # that adapters may remember beyond their own


class Adapter(Owner):
    """One connection's protocol. Nothing here waits, and nothing raises."""

    def __init__(self, name: str, outbox: Outbox, stage: Stage) -> None:
        super().__init__(name)
        self.outbox = outbox
        self.stage = stage
        self.needed: i64 = 0  # bytes without which there is nothing to do
        self.is_reading = True  # False: it has more than it may digest now, so its socket is left alone
        self.is_publisher = False  # it published, so that back-pressure concerns it
        self.backlog_bytes = 0  # what it added to the batch `backlog_ticket`
        self.backlog_ticket = 0
        self.wants_tick = False  # the time that the last tick named has changed
        self.why = ""  # it left, for the log
        self.is_abandoned = False  # close the socket at once: there is nobody to say anything to
        self.is_finished = False  # close the socket once the outbox is written
        self.closes_second = False  # the peer has said that it closes, and is to be the first who does

    @abstractmethod
    def receive(self, chunk: bytes) -> None:
        """Whatever the peer sent."""

    @abstractmethod
    def receive_eof(self) -> None:
        """The peer is gone, or its socket failed: give back all that it held."""

    @abstractmethod
    def resume(self) -> None:
        """Go on with what ``is_reading`` False held up."""

    @abstractmethod
    def tick(self, now: float, received_at: float, sent_at: float) -> float:
        """Heartbeats and timeouts; when to be called next, in the same seconds as ``now``."""

    @abstractmethod
    def on_outbox_low(self) -> None:
        """The outbox was full and has room again."""

    @abstractmethod
    def force_close(self, reason: str) -> None:
        """The operator or a shutdown closes it (320)."""

    @abstractmethod
    def set_alarm(self, reason: str) -> None:
        """Publishers are blocked for ``reason``; "" when they are no more."""
