"""A message as a queue holds it: one object, the content opaque.

The content is kept as the content frames it arrived in (header frame, body frames), because a delivery on a channel of
the same number then needs no other bytes: docs/decisions/0002. Facts the broker decides by are lifted out by
``properties.py``.
"""
# HOT. One object a message and queue; no work in the constructor.

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mypy_extensions import i64, mypyc_attr

if TYPE_CHECKING:
    from amqpd.broker.consumers import Consumer
    from amqpd.broker.queues.base import Queue
    from amqpd.broker.queues.segments import Segment


# Added to the number of a message's channel.
BLIND: Final = 0x20000  # the header BCC is in the content, and nobody may see it
MOVED: Final = 0x40000  # the broker took it out of a durable place: delivered only once that is on disk
CHANNEL_MASK: Final = 0xFFFF


@mypyc_attr(acyclic=True)  # freed by its count: the collector would look at every message there is
class Message:
    """One message in one queue.

    ``content``: content header frame and body frames, as received on channel number ``channel``, to which BLIND and
    MOVED may be added.
    ``address``: exchange and routing key as two short strings, then a frame-end octet: the tail of deliver and get-ok.
    ``position``: the queue's own ever-growing number, kept for life. ``stored``: belongs on disk (persistent, in a
    durable queue). ``settled``: acked, rejected or purged. ``segment``: where it is on disk, once its batch was sealed.
    ``consumer``: who has it unacked. ``expires_at``: microseconds since 1970, 0 for never. ``priority``: 0 to 255.
    ``returns``: how often it came back, where the queue counts that.
    """

    __slots__ = (
        "address",
        "channel",
        "consumer",
        "content",
        "expires_at",
        "position",
        "priority",
        "queue",
        "redelivered",
        "returns",
        "segment",
        "settled",
        "stored",
    )

    def __init__(self, content: bytes, address: bytes, channel: int, queue: Queue, stored: bool) -> None:
        self.content = content
        self.address = address
        self.channel = channel
        self.queue = queue
        self.stored = stored
        self.position = 0
        self.expires_at: i64 = 0
        self.priority = 0
        self.returns = 0
        self.redelivered = False
        self.settled = False
        self.segment: Segment | None = None
        self.consumer: Consumer | None = None
