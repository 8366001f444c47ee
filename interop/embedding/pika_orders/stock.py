"""How many of an item there are: asked over the broker, answered through direct reply-to."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import pika
from pika.adapters.blocking_connection import BlockingChannel

from interop.embedding.pika_orders.consumer import Consumer
from interop.embedding.topology import REPLY_TO, STOCK


class StockServer(Consumer):
    """Answers with what is in the shelves."""

    def __init__(self, parameters: pika.ConnectionParameters, shelves: Mapping[str, int]) -> None:
        super().__init__(parameters, STOCK, self._on_question)
        self._shelves = shelves

    def _on_question(
        self,
        channel: BlockingChannel,
        method: pika.spec.Basic.Deliver,
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        count = self._shelves.get(body.decode(), 0)
        answer = pika.BasicProperties(correlation_id=properties.correlation_id)
        channel.basic_publish("", properties.reply_to, str(count).encode(), answer)
        channel.basic_ack(method.delivery_tag)


class StockClient:
    """Asks the server. For one thread."""

    def __init__(self, parameters: pika.ConnectionParameters) -> None:
        self._connection = pika.BlockingConnection(parameters)
        self._channel = self._connection.channel()
        self._channel.basic_consume(REPLY_TO, self._on_answer, auto_ack=True)
        self._numbers = itertools.count(1)
        self._answers: dict[str, int] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def count(self, item: str, timeout: float = 5.0) -> int:
        """Raises TimeoutError when nobody answers in that time."""
        question = str(next(self._numbers))
        properties = pika.BasicProperties(reply_to=REPLY_TO, correlation_id=question)
        self._channel.basic_publish("", STOCK, item.encode(), properties)
        self._connection.process_data_events(timeout)
        try:
            return self._answers.pop(question)
        except KeyError:
            raise TimeoutError(f"nobody knows how many {item} there are") from None

    def _on_answer(self, _channel: Any, _method: Any, properties: pika.BasicProperties, body: bytes) -> None:
        self._answers[properties.correlation_id] = int(body)
