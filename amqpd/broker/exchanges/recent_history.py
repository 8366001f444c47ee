"""The recent history exchange: to every binding, and what came before to those that come late.

Owns the last messages, ``x-recent-history-length`` of them, or fewer when they are large (``limits.HISTORY_BYTES``).
They are in memory only, as RabbitMQ has them: a restart forgets them, for a durable exchange too. A message with the
header ``x-recent-history-no-store`` is not remembered. Rules and texts: RabbitMQ's plug-in of that name.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Unpack

from amqpd import limits
from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.base import Properties
from amqpd.broker.exchanges.fanout import FanoutExchange
from amqpd.broker.exchanges.terms import as_term
from amqpd.broker.fields import Table
from amqpd.errors import PreconditionFailed

if TYPE_CHECKING:
    from amqpd.broker.publication import Publication
    from amqpd.broker.vhost import VirtualHost

LENGTH: Final = "x-recent-history-length"
DEFAULT_LENGTH: Final = 20
_KINDS: Final = "bsIl"  # RabbitMQ: byte, short, signedint, long


class RecentHistoryExchange(FanoutExchange):
    """Routes to all of its bindings, and remembers."""

    type_name = "x-recent-history"

    def __init__(self, name: str, **properties: Unpack[Properties]) -> None:
        super().__init__(name, **properties)
        length = self.arguments.get(LENGTH)
        self._length = length.value if length is not None and isinstance(length.value, int) else DEFAULT_LENGTH
        self._history: deque[Publication] = deque()
        self._bytes = 0  # of their contents
        self._vhost: VirtualHost | None = None

    @classmethod
    def check_arguments(cls, arguments: Table) -> None:
        """A length is a whole number above 0."""
        super().check_arguments(arguments)
        length = arguments.get(LENGTH)
        if length is None:
            return
        if length.kind not in _KINDS or not isinstance(length.value, int) or length.value < 1:
            raise PreconditionFailed(f"Invalid argument {as_term(length.value)}, '{LENGTH}' must be a positive integer")

    def start(self, vhost: VirtualHost) -> None:
        super().start(vhost)
        self._vhost = vhost

    @property
    def keeps_messages(self) -> bool:
        return True

    def keep(self, message: Publication) -> bool:
        """Remember it, and let it go on."""
        if super().keep(message):
            return True
        no_store = message.headers.get("x-recent-history-no-store")
        if no_store is None or no_store.value is not True:
            self._history.append(message)
            self._bytes += len(message.content)
            while len(self._history) > self._length or self._bytes > limits.HISTORY_BYTES:
                self._bytes -= len(self._history.popleft().content)
        return False

    def on_bound(self, binding: Binding) -> None:
        """What is remembered goes to the new one, the oldest first."""
        assert self._vhost is not None
        for message in list(self._history):  # what it sends itself is remembered once more
            if binding.to_queue:
                self._vhost.enqueue(message, [self._vhost.queues[binding.destination]])
            else:
                self._vhost.publish(message, self._vhost.exchanges[binding.destination])
