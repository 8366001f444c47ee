"""What the client knows of its channels: which deliveries are not settled, which publishes not confirmed, who consumes.

All of it comes from frames that the broker sent, so two brokers that have said the same are asked the same next.
"""

import struct
from dataclasses import dataclass, field

from tests.support.raw_peer import BASIC, CONTENT_HEADER, METHOD, Content, Frame, Method


@dataclass(slots=True)
class Channel:
    """One channel, from channel.open to its end."""

    unsettled: list[int] = field(default_factory=list)  # delivery tags
    undone_by_rollback: list[int] = field(default_factory=list)
    consumers: dict[str, tuple[str, bool]] = field(default_factory=dict)  # tag -> queue, no_ack
    cancelling: set[str] = field(default_factory=set)
    is_confirming: bool = False
    is_transactional: bool = False
    is_committing: bool = False
    published: int = 0
    unconfirmed: set[int] = field(default_factory=set)
    parts: list[Frame] = field(default_factory=list)  # of a content that is not whole yet
    method: Method | None = None  # of that content
    get_is_no_ack: bool = False

    def publishes(self, count: int) -> None:
        """So many publishes go out."""
        if self.is_confirming:
            self.unconfirmed.update(range(self.published + 1, self.published + 1 + count))
            self.published += count

    def confirms(self, method: Method) -> list[int]:
        """Which publishes a basic.ack or basic.nack of the broker settles, in order."""
        tag = int(method["delivery_tag"])
        if not method["multiple"]:
            settled = [tag]
        else:
            settled = sorted(number for number in self.unconfirmed if number <= tag or tag == 0)
        self.unconfirmed.difference_update(settled)
        return settled

    def settles(self, tag: int, *, multiple: bool) -> None:
        """The client acks or rejects."""
        gone = [each for each in self.unsettled if each == tag or (multiple and (each <= tag or tag == 0))]
        self.unsettled = [each for each in self.unsettled if each not in gone]
        if self.is_transactional:
            self.undone_by_rollback += gone

    def rolls_back(self) -> None:
        self.unsettled = sorted({*self.unsettled, *self.undone_by_rollback})
        self.undone_by_rollback = []

    def takes(self, content: Content) -> None:
        """A delivery, or what a get found."""
        name = content.method.name
        if name == "basic.return":
            return
        if name == "basic.get-ok":
            no_ack = self.get_is_no_ack
        else:
            _, no_ack = self.consumers.get(content.method["consumer_tag"], ("", False))
        if not no_ack:
            self.unsettled.append(content.tag)

    def assemble(self, frame: Frame) -> Content | None:
        """Add a frame to the content that comes in; the content when that was the last."""
        assert self.method is not None, f"a content frame without a method: {frame}"
        self.parts.append(frame)
        header, *bodies = self.parts
        class_id, _, size = struct.unpack_from(">HHQ", header.payload)
        assert (header.kind, class_id) == (CONTENT_HEADER, BASIC), f"not a content header: {header}"
        assert all(part.kind != METHOD for part in bodies), f"a method inside a content: {bodies}"
        if sum(len(part.payload) for part in bodies) < size:
            return None
        body = b"".join(part.payload for part in bodies)
        content = Content(self.method, header.payload[12:], body, tuple(len(part.payload) for part in bodies))
        self.method, self.parts = None, []
        return content
