"""What the parts of this package share: a broker that lives in some loop, and the one way to touch it."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from amqpd.broker.broker import Broker
from amqpd.server.lifecycle import Server

T = TypeVar("T")


class Host(Protocol):
    """``Broker`` and ``AsyncBroker`` are one each. ``server`` and ``node`` are others after each restart."""

    vhost: str  # where a name is looked for when no virtual host is said

    @property
    def server(self) -> Server:
        """Raises NotRunning."""
        ...

    @property
    def node(self) -> Broker:
        """The broker itself. To be touched inside ``call`` only. Raises NotRunning."""
        ...

    def call(self, act: Callable[[], T]) -> T:
        """What ``act`` returns or raises, called on the loop's thread between two turns; then turns are run until there
        is nothing left to do, so that what ``act`` changed is sent. Raises NotRunning.
        """
        ...
