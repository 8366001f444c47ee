"""Direct reply-to (RabbitMQ): a channel that asks, and the answers that it gets without a queue of its own.

A request names a pseudo-queue in reply_to; what travels is a name of the channel, to which anybody may publish through
the default exchange. Answers are never stored, take no delivery tag, and know no prefetch.
"""
# HOT. `deliver` runs once an answer.   Limits: OUTBOX_STOP_BYTES; answers beyond it are dropped.

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from amqpd import limits
from amqpd.broker import contents, tables
from amqpd.broker.ports import Asker
from amqpd.errors import PreconditionFailed
from amqpd.protocols.amqp091 import hot_codec

if TYPE_CHECKING:
    from amqpd.protocols.amqp091.channel import Channel

REPLY_QUEUE: Final = "amq.rabbitmq.reply-to"  # the pseudo-queue


class Answers(Asker):
    """Of one channel. ``name`` and ``tag`` are "" while it has no consumer for them."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.name = ""
        self.tag = ""

    def begin(self, tag: str) -> None:
        """Answers go to the consumer ``tag`` from now on."""
        connection = self.channel.connection
        self.tag = tag
        self.name = f"{REPLY_QUEUE}.{connection.broker.ids.unique()}.{self.channel.number}"
        connection.vhost.askers[self.name] = self

    def end(self) -> None:
        """Whoever answers now answers nobody."""
        if self.name:
            self.channel.connection.vhost.askers.pop(self.name, None)
            self.name = self.tag = ""
            self.channel.answers = Answers(self.channel)  # this one may be remembered in routes

    def request(self, content: bytes) -> bytes:
        """``content`` as it travels: with this channel's name in reply_to, if it had the pseudo-queue's there.

        Raises PreconditionFailed when nobody waits for an answer here.
        """
        if contents.find_property(content, "reply_to") != REPLY_QUEUE:
            return content
        if not self.name:
            raise PreconditionFailed("fast reply consumer does not exist")
        return contents.with_property(content, "reply_to", self.name)

    def answer(self, address: bytes, content: bytes, channel: int) -> None:
        asking = self.channel
        if not self.name or asking.is_closing or asking.outbox.size >= limits.OUTBOX_STOP_BYTES:
            return
        prefix = hot_codec.deliver_prefix(asking.number, tables.bytes_of(self.tag), len(address))
        asking.outbox.write_delivery(prefix, asking.next_tag, False, address, asking.frames(content, channel))
