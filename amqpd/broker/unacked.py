"""The ledger of deliveries of a channel: which message went out under which delivery tag and is not settled yet.

Rules: AMQP 0-9-1, basic.ack/reject, with RabbitMQ's nack and its 406 for a tag that is unknown.
"""
# HOT. One dictionary entry a delivery, in the order of the tags. Bench: tests/bench, scenarios B, C, D.

from __future__ import annotations

from amqpd.broker.message import Message
from amqpd.errors import PreconditionFailed


class Unacked:
    """Deliveries by tag, in order."""

    def __init__(self) -> None:
        self.by_tag: dict[int, Message] = {}

    def __len__(self) -> int:
        return len(self.by_tag)

    def add(self, tag: int, message: Message) -> None:
        self.by_tag[tag] = message

    def take(self, tag: int) -> Message:
        """The delivery ``tag``, which is forgotten. Raises PreconditionFailed when there is none."""
        message = self.by_tag.pop(tag, None)
        if message is None:
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
        if tag not in self.by_tag:
            raise PreconditionFailed(f"unknown delivery tag {tag & 0xFFFFFFFFFFFFFFFF}")
        for known in self.by_tag:
            tags.append(known)
            if known == tag:
                break
        return tags

    def take_all(self) -> list[Message]:
        """Every delivery, oldest first."""
        taken = list(self.by_tag.values())
        self.by_tag.clear()
        return taken
