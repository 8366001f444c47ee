"""How long a consumer may hold a delivery before it settles it (RabbitMQ: Delivery Acknowledgement Timeout).

Who is late is cancelled, and what it holds goes back to its queue; the channel goes on, unless it is asked for
RabbitMQ's way. Nothing is noted of a delivery: from time to time the channel's next delivery tag is, and who still
holds an earlier one when that note is old enough is late.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from amqpd.broker.timers import Deadline
from amqpd.errors import PreconditionFailed

if TYPE_CHECKING:
    from amqpd.broker.consumers import Consumer
    from amqpd.protocols.amqp091.channel import Channel

LOOKS: Final = 4  # in the time that is allowed: who is late is found out at most a quarter of it later
LOOK_MIN_MS: Final = 10
LOOK_MAX_MS: Final = 60_000


class Patience(Deadline):
    """With one consumer, for as long as it consumes."""

    def __init__(self, channel: Channel, consumer: Consumer) -> None:
        super().__init__()
        self.channel = channel
        self.consumer = consumer
        self.notes: list[tuple[int, int]] = []  # (time, next delivery tag then), oldest first

    def begin(self) -> None:
        """Look from time to time, if there is a limit now: a policy may set one, or lift it."""
        turn = self.channel.turn
        turn.timers.set(self, turn.now_ms + _interval(self._timeout_ms() or LOOK_MAX_MS))

    def _timeout_ms(self) -> int:
        timeout_ms = self.consumer.queue.settings.consumer_timeout_ms
        return self.channel.connection.tuning.consumer_timeout_ms if timeout_ms is None else timeout_ms

    def on_deadline(self, now_ms: int) -> None:
        channel, consumer = self.channel, self.consumer
        if consumer.cancelled or channel.is_closing:
            return
        timeout_ms = self._timeout_ms()
        if not timeout_ms:
            self.notes.clear()
        elif self._is_late(now_ms - timeout_ms):
            self._end(timeout_ms)
            return
        else:
            self.notes.append((now_ms, channel.next_tag))
        self.begin()

    def _is_late(self, before_ms: int) -> bool:
        """Whether it still holds what it had been given before then."""
        tag = 0
        while self.notes and self.notes[0][0] <= before_ms:
            _, tag = self.notes.pop(0)
        for known, message in self.channel.unacked.by_tag.items():
            if known >= tag:
                return False
            if message.consumer is self.consumer:
                return True
        return False

    def _end(self, timeout_ms: int) -> None:
        channel = self.channel
        if channel.connection.tuning.consumer_timeout_closes_channel:
            text = (
                f"delivery acknowledgement on channel {channel.number} timed out. Timeout value used: {timeout_ms} ms. "
                "This timeout value can be configured, see consumers doc guide to learn more"
            )
            channel.connection.close_channel(channel, PreconditionFailed(text))
        else:
            channel.cancel_late(self.consumer)


def _interval(timeout_ms: int) -> int:
    return min(max(timeout_ms // LOOKS, LOOK_MIN_MS), LOOK_MAX_MS)
