"""tx: publishes and acks of a channel, held until commit (AMQP 0-9-1, class tx; RabbitMQ: acks undone by a rollback are not redelivered)."""

# HOT. Compiled for its attributes only.

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from amqpd.broker.message import Message

PublishT = TypeVar("PublishT")


@dataclass(slots=True)
class Transaction(Generic[PublishT]):
    """What happened since the last commit or rollback, in order."""

    publishes: list[PublishT] = field(default_factory=list)
    settled: list[tuple[int, Message, bool]] = field(default_factory=list)  # (delivery tag, message, to be requeued)
