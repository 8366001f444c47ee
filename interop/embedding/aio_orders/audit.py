"""Writes down everything that happens to orders."""

from __future__ import annotations

from aio_pika.abc import AbstractIncomingMessage, AbstractRobustConnection

from interop.embedding.aio_orders.shop import declare
from interop.embedding.topology import AUDIT


class AuditLog:
    """``lines`` has (routing key, body) of every message to the exchange of orders."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, bytes]] = []

    @classmethod
    async def start(cls, connection: AbstractRobustConnection) -> AuditLog:
        """Runs until the connection is closed."""
        channel = connection.channel()
        await channel.initialize()
        await declare(channel)
        await channel.set_qos(prefetch_count=100)
        log = cls()
        queue = await channel.declare_queue(AUDIT, passive=True)
        await queue.consume(log._on_event)
        return log

    async def _on_event(self, message: AbstractIncomingMessage) -> None:
        assert message.routing_key is not None
        self.lines.append((message.routing_key, message.body))
        await message.ack()
