"""The ledger of deliveries of a channel: which message went out under which delivery tag and is not settled yet.

Rules: AMQP 0-9-1, basic.ack/reject, with RabbitMQ's nack and its 406 for a tag that is unknown.
"""
# HOT. One dictionary entry a delivery, in the order of the tags. Bench: tests/bench, scenarios B, C, D.

from __future__ import annotations

from typing import TYPE_CHECKING

from amqpd import limits
from amqpd.broker.message import Message
from amqpd.errors import PreconditionFailed

if TYPE_CHECKING:
    from amqpd.broker.consumers import Consumer


class TooLate(Exception):
    """The delivery went back to its queue before it was settled: whoever settles it now settles nothing."""


class Unacked:
    """Deliveries by tag, in order. ``late``: tags of those that went back because they were held for too long."""

    def __init__(self) -> None:
        self.by_tag: dict[int, Message] = {}
        self.late: dict[int, None] = {}

    def __len__(self) -> int:
        return len(self.by_tag)

    def add(self, tag: int, message: Message) -> None:
        self.by_tag[tag] = message

    def take(self, tag: int) -> Message:
        """The delivery ``tag``, which is forgotten. Raises PreconditionFailed when there is none, or TooLate."""
        message = self.by_tag.pop(tag, None)
        if message is None:
            if tag in self.late:
                del self.late[tag]
                raise TooLate
            raise PreconditionFailed(f"unknown delivery tag {tag & 0xFFFFFFFFFFFFFFFF}")
        return message

    def take_up_to(self, tag: int) -> list[Message]:
        """All deliveries up to and including ``tag``, oldest first; tag 0 is all there are.

        Raises PreconditionFailed when ``tag`` is not 0 and was never given or is settled already.
        """
        if tag == 0:
            return self.take_all()
        return [self.by_tag.pop(known) for known in self.tags_up_to(tag)]

    def tags_up_to(self, tag: int) -> list[int]:
        """The tags of ``take_up_to``, which stay; raises as it does."""
        tags: list[int] = []
        if tag == 0:
            tags.extend(self.by_tag)
            return tags
        if tag not in self.by_tag and tag not in self.late:
            raise PreconditionFailed(f"unknown delivery tag {tag & 0xFFFFFFFFFFFFFFFF}")
        for known in self.by_tag:
            if known > tag:
                break
            tags.append(known)
        return tags

    def take_late(self, consumer: Consumer) -> list[Message]:
        """Everything that ``consumer`` holds, oldest first; settling it later does nothing."""
        tags = [tag for tag, message in self.by_tag.items() if message.consumer is consumer]
        for tag in tags:
            self.late[tag] = None
        while len(self.late) > limits.LATE_TAGS_MAX:
            del self.late[next(iter(self.late))]
        return [self.by_tag.pop(tag) for tag in tags]

    def take_all(self) -> list[Message]:
        """Every delivery, oldest first."""
        taken = list(self.by_tag.values())
        self.by_tag.clear()
        return taken
