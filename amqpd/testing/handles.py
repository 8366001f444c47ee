"""What a test holds of a broker: its queues, connections, channels and consumers, as they are whenever it looks.

Each look is taken between two turns of the broker. What never changes is known from the start, so it can be read when
the thing itself is gone. What can be done to them: ``trouble.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, Generic, TypeVar

from amqpd.broker.consumers import Consumer
from amqpd.broker.owner import Owner
from amqpd.broker.queues.base import Queue
from amqpd.protocols.amqp091.channel import Channel
from amqpd.protocols.amqp091.connection import Connection
from amqpd.testing import peek, trouble
from amqpd.testing.errors import NoSuchQueue, NotRunning
from amqpd.testing.host import Host
from amqpd.testing.views import MessageView, UnackedMessage, plain_table

T = TypeVar("T")
S = TypeVar("S")

NAMES_MAX: Final = 20  # of what is there, in the text about what is not
CHANNEL_CLOSE_TEXT: Final = f"PRECONDITION_FAILED - {trouble.CLOSE_TEXT}"


class QueueHandle:
    """A queue by its name, whether it is there or not. Everything but ``exists`` raises NoSuchQueue while it is not."""

    def __init__(self, host: Host, name: str, vhost: str) -> None:
        self.host = host
        self.name = name
        self.vhost = vhost

    @property
    def exists(self) -> bool:
        """Whether it is there now."""
        return self.host.call(lambda: self._look() is not None)

    @property
    def ready(self) -> int:
        """How many messages wait to be delivered."""
        return self._ask(lambda queue: queue.ready_count)

    @property
    def unacked(self) -> int:
        """How many messages are delivered and not settled."""
        return self._ask(lambda queue: queue.unacked_count)

    @property
    def consumers(self) -> list[ConsumerHandle]:
        """Oldest first."""
        return self._ask(lambda queue: [ConsumerHandle(self.host, consumer) for consumer in queue.consumers.all])

    @property
    def arguments(self) -> dict[str, Any]:
        """What it was declared with (``x-message-ttl`` and the like)."""
        return self._ask(lambda queue: plain_table(queue.arguments))

    @property
    def durable(self) -> bool:
        """Whether it survives a restart."""
        return self._ask(lambda queue: queue.durable)

    @property
    def exclusive(self) -> bool:
        """Whether one connection has it to itself."""
        return self._ask(lambda queue: queue.owner is not None)

    @property
    def auto_delete(self) -> bool:
        """Whether it goes with its last consumer."""
        return self._ask(lambda queue: queue.auto_delete)

    def messages(self, limit: int = 100) -> list[MessageView]:
        """The ready ones, ``limit`` at most, in the order in which they would be delivered. Nothing happens to them."""
        return self._ask(lambda queue: peek.ready_messages(queue, limit))

    def unacked_messages(self, limit: int = 100) -> list[UnackedMessage]:
        """Those that somebody holds, ``limit`` at most, in the order in which they would be delivered again."""
        return self._ask(lambda queue: peek.unacked_messages(self.host.node, queue, limit))

    def purge(self) -> int:
        """Drop all ready messages; how many there were."""
        return self._ask(lambda queue: queue.purge())

    def cancel_consumers(self) -> None:
        """Cancel all of its consumers, as when a queue is gone (basic.cancel); what they hold stays theirs."""
        trouble.cancel_consumers(self.host, self._ask(lambda queue: queue))

    def _ask(self, question: Callable[[Queue], T]) -> T:
        return self.host.call(lambda: question(self._find()))

    def _find(self) -> Queue:
        queue = self._look()
        if queue is None:
            raise NoSuchQueue(self._absence())
        return queue

    def _look(self) -> Queue | None:
        vhost = self.host.node.find_vhost(self.vhost)
        return None if vhost is None else vhost.queues.get(self.name)

    def _absence(self) -> str:
        vhosts = self.host.node.vhosts
        if self.vhost not in vhosts:
            return f"no queue '{self.name}', for there is no vhost '{self.vhost}'; there are {_enumerated(vhosts)}"
        elsewhere = [vhost.name for vhost in vhosts.values() if self.name in vhost.queues]
        if elsewhere:
            return f"no queue '{self.name}' in vhost '{self.vhost}', but one in vhost {_enumerated(elsewhere)}"
        queues = vhosts[self.vhost].queues
        others = f"there are {_enumerated(queues)}" if queues else "there is none at all"
        return f"no queue '{self.name}' in vhost '{self.vhost}'; {others}"

    def __repr__(self) -> str:
        return f"<queue {self.name!r} in vhost {self.vhost!r}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, QueueHandle) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[int, str, str]:
        return id(self.host), self.vhost, self.name


def _enumerated(names: Iterable[str]) -> str:
    quoted = [f"'{name}'" for name in sorted(names)]
    more = len(quoted) - NAMES_MAX
    return ", ".join(quoted[:NAMES_MAX]) + (f" and {more} more" if more > 0 else "")


def _holds(host: Host, question: Callable[[], bool]) -> bool:
    """The answer; no if there is no broker any more to ask."""
    try:
        return host.call(question)
    except NotRunning:
        return False


class Handle(Generic[S]):
    """``subject`` is the broker's own object, to be touched in ``host.call`` only. Handles of the same are equal."""

    def __init__(self, host: Host, subject: S) -> None:
        self.host = host
        self.subject = subject

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Handle) and self.subject is other.subject

    def __hash__(self) -> int:
        return id(self.subject)


class ConnectionHandle(Handle[Connection]):
    """A connection of a client. ``name`` has both ends of its socket, the client's first."""

    def __init__(self, host: Host, connection: Owner) -> None:
        assert isinstance(connection, Connection)
        super().__init__(host, connection)
        self.name = connection.name
        self.user = connection.user_name
        self.vhost = connection.vhost_name

    @property
    def client_properties(self) -> dict[str, Any]:
        """What the client says of itself: product, version, capabilities."""
        return plain_table(self.subject.client_properties)

    @property
    def is_open(self) -> bool:
        """Whether neither side has closed it."""
        return _holds(self.host, lambda: self.subject in self.host.node.connections)

    @property
    def is_publisher(self) -> bool:
        """Whether it has published, so that alarms block it."""
        return self.host.call(lambda: self.subject.is_publisher)

    @property
    def channels(self) -> list[ChannelHandle]:
        """Those that are open, by number."""
        return self.host.call(
            lambda: [
                ChannelHandle(self.host, channel)
                for channel in peek.open_channels(self.host.node)
                if channel.connection is self.subject
            ]
        )

    def close(self, text: str = trouble.CLOSE_TEXT) -> None:
        """connection.close to the client: 320, with this text."""
        trouble.close_connection(self.host, self.subject, text)

    def abort(self, *, reset: bool = False) -> None:
        """Close its socket without a word; ``reset``: with a TCP reset."""
        trouble.abort_connection(self.host, self.subject, reset=reset)

    def freeze(self, seconds: float | None = None) -> None:
        """Neither read from it nor write to it for so many seconds, or until ``thaw``."""
        trouble.freeze_connection(self.host, self.subject, seconds)

    def thaw(self) -> None:
        """Go on after ``freeze``."""
        trouble.thaw_connection(self.host, self.subject)

    def __repr__(self) -> str:
        return f"<connection {self.name}>"


class ChannelHandle(Handle[Channel]):
    """A channel of a connection, by its ``number`` there."""

    def __init__(self, host: Host, channel: Channel) -> None:
        super().__init__(host, channel)
        self.number = channel.number
        self.connection = ConnectionHandle(host, channel.connection)

    @property
    def is_open(self) -> bool:
        """Whether neither side has closed it, nor its connection."""
        return _holds(self.host, lambda: self.subject in peek.open_channels(self.host.node))

    @property
    def prefetch_count(self) -> int:
        """For each consumer to come (basic.qos without global); 0 is no limit."""
        return self.host.call(lambda: self.subject.prefetch)

    @property
    def global_prefetch_count(self) -> int:
        """For all consumers of the channel together (basic.qos with global); 0 is no limit."""
        return self.host.call(lambda: self.subject.channel_prefetch)

    @property
    def unacked(self) -> int:
        """How many deliveries it has not settled."""
        return self.host.call(lambda: len(self.subject.unacked))

    @property
    def consumers(self) -> list[ConsumerHandle]:
        """Oldest first."""
        return self.host.call(
            lambda: [ConsumerHandle(self.host, consumer) for consumer in self.subject.consumers.values()]
        )

    @property
    def is_confirming(self) -> bool:
        """Whether its publishes are confirmed (confirm.select)."""
        return self.host.call(lambda: self.subject.confirms is not None)

    @property
    def is_transactional(self) -> bool:
        """Whether its publishes and acks wait for a commit (tx.select)."""
        return self.host.call(lambda: self.subject.tx is not None)

    def close(self, code: int = 406, text: str = CHANNEL_CLOSE_TEXT) -> None:
        """channel.close to the client; what the channel holds goes back to its queues."""
        trouble.close_channel(self.host, self.subject, code, text)

    def __repr__(self) -> str:
        return f"<channel {self.number} of {self.connection.name}>"


class ConsumerHandle(Handle[Consumer]):
    """A consumer. ``queue`` is the queue's name; ``prefetch_count`` 0 is no limit."""

    def __init__(self, host: Host, consumer: Consumer) -> None:
        assert isinstance(consumer.outlet, Channel)
        super().__init__(host, consumer)
        self.tag = consumer.tag
        self.queue = consumer.queue.name
        self.channel = ChannelHandle(host, consumer.outlet)
        self.no_ack = consumer.no_ack
        self.exclusive = consumer.exclusive
        self.prefetch_count = consumer.prefetch
        self.priority = consumer.priority
        self.arguments = plain_table(consumer.arguments)

    @property
    def unacked(self) -> int:
        """How many messages it holds."""
        return self.host.call(lambda: self.subject.unacked)

    def cancel(self) -> None:
        """basic.cancel to the client, as when the queue is gone; what the consumer holds stays its own."""
        trouble.cancel_consumer(self.host, self.subject)

    def __repr__(self) -> str:
        return f"<consumer {self.tag!r} of queue {self.queue!r} on {self.channel!r}>"
