"""A broker whose publishes are seen one by one: written down, refused, or sent back, when a test asks for that.

What clients publish is meant, not what the broker itself publishes: dead letters, delayed messages, and what an
exchange remembers. While nothing watches, a message takes the same road as in any broker.
"""

from collections.abc import Callable
from typing import Protocol

from amqpd import limits
from amqpd.broker.bindings import Binding
from amqpd.broker.broker import Broker
from amqpd.broker.exchanges.base import Exchange
from amqpd.broker.ids import Ids
from amqpd.broker.logins import Answer, Logins
from amqpd.broker.ports import Store
from amqpd.broker.publication import Publication
from amqpd.broker.queues.base import Queue
from amqpd.broker.vhost import VirtualHost


class Recorder(Protocol):
    """Where publishes are written down (``history.py``)."""

    def note(self, publication: Publication, queues: tuple[str, ...], vhost: str) -> None:
        """A client has published it, and it was routed to these queues."""
        ...


class Interference:
    """What is to happen to the next ``left`` publishes: each is nacked, or finds no route."""

    def __init__(self, left: int, *, is_nack: bool) -> None:
        self.left = left
        self.is_nack = is_nack


class Watch:
    """What is to happen to the publishes of a broker. ``on_change``: what was remembered of routes is wrong."""

    def __init__(self, recorder: Recorder | None, on_change: Callable[[], None]) -> None:
        self.recorder = recorder
        self.on_change = on_change
        self.pending: list[Interference] = []  # the next publish belongs to the first of them

    def is_on(self) -> bool:
        """Whether messages have to be seen one by one."""
        return self.recorder is not None or len(self.pending) > 0

    def begin(self, interference: Interference) -> None:
        self.pending.append(interference)
        self.on_change()

    def end(self, interference: Interference) -> None:
        """Nothing happens if it is over already."""
        if interference in self.pending:
            self.pending.remove(interference)
            self.on_change()

    def take(self) -> Interference:
        """What happens to the publish in hand."""
        first = self.pending[0]
        first.left -= 1
        if first.left == 0:
            self.end(first)
        return first


class RefusableLogins(Logins):
    """Logins that fail, each as one with a wrong password does, while there is any refusal."""

    refusals = 0

    def authenticate(self, name: str, password: bytes, answer: Answer) -> None:
        if self.refusals:
            answer(None)
        else:
            super().authenticate(name, password, answer)


class ObservedVirtualHost(VirtualHost):
    """A virtual host whose publishes its broker's ``watch`` sees."""

    def __init__(self, name: str, broker: "ObservedBroker") -> None:
        super().__init__(
            name, broker.turn, broker.ids, broker.queue_numbers, broker.queue_window_bytes, broker.policies
        )
        self.watch = broker.watch
        self.is_publishing = False  # by itself: what is routed and enqueued now is no client's

    def needs_message(self, exchange: Exchange) -> bool:
        return self.watch.is_on() or super().needs_message(exchange)

    def keeps_messages(self, exchange: Exchange) -> bool:
        """In a transaction, what is to happen to a publish happens when it is committed."""
        return len(self.watch.pending) > 0 or super().keeps_messages(exchange)

    def route(self, exchange: Exchange, routing_key: str, message: Publication | None) -> list[Queue]:
        if message is None or not self.watch.pending or not self._is_of_client(message):
            return super().route(exchange, routing_key, message)
        if self.watch.take().is_nack:
            message.refused = True
            message.kept = True  # so that it is not returned as well
        return []

    def enqueue(self, message: Publication, queues: list[Queue]) -> int:
        recorder = self.watch.recorder
        if recorder is not None and self._is_of_client(message):
            recorder.note(message, tuple(queue.name for queue in queues if not queue.deleted), self.name)
        return super().enqueue(message, queues)

    def _is_of_client(self, message: Publication) -> bool:
        return not (self.is_publishing or message.is_dead)

    # -- what the broker itself publishes --

    def publish(self, message: Publication, exchange: Exchange) -> int:
        was_publishing, self.is_publishing = self.is_publishing, True
        try:
            return super().publish(message, exchange)
        finally:
            self.is_publishing = was_publishing

    def bind(self, binding: Binding) -> int:
        """An exchange may have something for who is bound to it."""
        self.is_publishing = True
        try:
            return super().bind(binding)
        finally:
            self.is_publishing = False


class ObservedBroker(Broker):
    """``recorder`` writes down all that clients publish."""

    logins: RefusableLogins

    def __init__(
        self,
        store: Store,
        ids: Ids,
        *,
        queue_window_bytes: int = limits.QUEUE_WINDOW_BYTES,
        history: Recorder | None = None,
    ) -> None:
        self.watch = Watch(history, self.forget_routes)
        super().__init__(store, ids, queue_window_bytes=queue_window_bytes)
        self.logins = RefusableLogins(self.users, ids)

    def make_vhost(self, name: str) -> ObservedVirtualHost:
        vhost = ObservedVirtualHost(name, self)
        self.vhosts[name] = vhost
        return vhost
