"""How many of an item there are: asked over the broker, answered through direct reply-to."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Mapping

from aio_pika import Message
from aio_pika.abc import AbstractIncomingMessage, AbstractRobustChannel, AbstractRobustConnection

from interop.embedding.aio_orders.shop import declare
from interop.embedding.topology import REPLY_TO, STOCK


class StockServer:
    """Answers with what is in the shelves."""

    def __init__(self, channel: AbstractRobustChannel, shelves: Mapping[str, int]) -> None:
        self._channel = channel
        self._shelves = shelves

    @classmethod
    async def start(cls, connection: AbstractRobustConnection, shelves: Mapping[str, int]) -> StockServer:
        """Runs until the connection is closed."""
        channel = connection.channel()
        await channel.initialize()
        await declare(channel)
        server = cls(channel, shelves)
        queue = await channel.declare_queue(STOCK, passive=True)
        await queue.consume(server._on_question)
        return server

    async def _on_question(self, message: AbstractIncomingMessage) -> None:
        assert message.reply_to is not None
        count = self._shelves.get(message.body.decode(), 0)
        answer = Message(str(count).encode(), correlation_id=message.correlation_id)
        await self._channel.default_exchange.publish(answer, message.reply_to, mandatory=False)
        await message.ack()


class StockClient:
    """Asks the server."""

    def __init__(self, channel: AbstractRobustChannel) -> None:
        self._channel = channel
        self._numbers = itertools.count(1)
        self._answers: dict[str, asyncio.Future[int]] = {}

    @classmethod
    async def open(cls, connection: AbstractRobustConnection) -> StockClient:
        """On a channel of its own: an answer comes on the channel of its question."""
        channel = connection.channel()
        await channel.initialize()
        client = cls(channel)
        replies = await channel.declare_queue(REPLY_TO, passive=True)
        await replies.consume(client._on_answer, no_ack=True)
        return client

    async def count(self, item: str, timeout_s: float = 5.0) -> int:
        """Raises TimeoutError when nobody answers in that time."""
        question = str(next(self._numbers))
        self._answers[question] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(timeout_s):
                message = Message(item.encode(), reply_to=REPLY_TO, correlation_id=question)
                await self._channel.ready()
                await self._channel.default_exchange.publish(message, STOCK)
                return await self._answers[question]
        finally:
            del self._answers[question]

    async def _on_answer(self, message: AbstractIncomingMessage) -> None:
        answer = self._answers.get(message.correlation_id or "")
        if answer is not None and not answer.done():
            answer.set_result(int(message.body))
