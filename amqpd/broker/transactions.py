"""tx: publishes and acks of a channel, held until commit (AMQP 0-9-1, class tx; RabbitMQ: acks undone by a rollback
are not redelivered).
"""
# HOT. Compiled for its attributes only.

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from amqpd.broker.message import Message
    from amqpd.broker.queues.base import Queue


class HeldPublish:
    """A publish that waits for tx.commit, routed when it came."""

    def __init__(self, queues: list[Queue], content: bytes, address: bytes, mandatory: bool, persistent: bool) -> None:
        self.queues = queues
        self.content = content
        self.address = address
        self.mandatory = mandatory
        self.persistent = persistent


class Transaction:
    """What happened since the last commit or rollback, in order."""

    def __init__(self) -> None:
        self.publishes: list[HeldPublish] = []
        self.settled: list[tuple[int, Message, bool]] = []  # (delivery tag, message, to be requeued)
