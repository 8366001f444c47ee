"""Who owns exclusive queues: a connection, seen from the domain."""
# HOT. Compiled for its attributes only.

from __future__ import annotations

from typing import TYPE_CHECKING

from amqpd.broker.ports import Waiter

if TYPE_CHECKING:
    from amqpd.broker.queues.base import Queue


class Owner(Waiter):
    """One connection's property: queues that end with it. ``name`` is for logs (``127.0.0.1:4711 ->
    127.0.0.1:5672``). ``user_name`` and ``vhost_name``: once it is open."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.user_name = ""
        self.vhost_name = ""
        self.queues: dict[str, Queue] = {}

    def on_durable(self, durable: int) -> bool:
        return True

    def channel_count(self) -> int:
        """How many channels it has open."""
        return 0

    def force_close(self, reason: str) -> None:
        """The operator or a shutdown closes it (320)."""
