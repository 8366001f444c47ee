"""tx: publishes and acks of a channel, held until commit (AMQP 0-9-1, class tx; RabbitMQ: acks undone by a rollback
are not redelivered).
"""
# HOT. Compiled for its attributes only.

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64

if TYPE_CHECKING:
    from amqpd.broker.message import Message
    from amqpd.broker.ports import Asker
    from amqpd.broker.publication import Publication
    from amqpd.broker.queues.base import Queue

# What a delivery was settled with.
ACK: Final = 0
REQUEUE: Final = 1
REJECT: Final = 2


class HeldPublish:
    """A publish that waits for tx.commit. ``queues``: where it goes, unless ``message`` has to be asked then.
    ``asker``: who waits for it as an answer.
    """

    def __init__(
        self,
        queues: list[Queue],
        message: Publication | None,
        asker: Asker | None,
        content: bytes,
        address: bytes,
        mandatory: bool,
        facts: i64,
        ttl_ms: i64,
    ) -> None:
        self.queues = queues
        self.message = message
        self.asker = asker
        self.content = content
        self.address = address
        self.mandatory = mandatory
        self.facts = facts
        self.ttl_ms = ttl_ms


class Transaction:
    """What happened since the last commit or rollback, in order."""

    def __init__(self) -> None:
        self.publishes: list[HeldPublish] = []
        self.settled: list[tuple[int, Message, int]] = []  # (delivery tag, message, what it was settled with)
