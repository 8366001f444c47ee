"""Writes down everything that happens to orders."""

from __future__ import annotations

import pika
from pika.adapters.blocking_connection import BlockingChannel

from interop.embedding.pika_orders.consumer import Consumer
from interop.embedding.topology import AUDIT


class AuditLog(Consumer):
    """``lines`` has (routing key, body) of every message to the exchange of orders."""

    def __init__(self, parameters: pika.ConnectionParameters) -> None:
        super().__init__(parameters, AUDIT, self._on_event, prefetch_count=100)
        self.lines: list[tuple[str, bytes]] = []

    def _on_event(
        self,
        channel: BlockingChannel,
        method: pika.spec.Basic.Deliver,
        _properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        self.lines.append((method.routing_key, body))
        channel.basic_ack(method.delivery_tag)
