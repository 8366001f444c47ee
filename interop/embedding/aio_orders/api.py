"""Where orders come in. An order counts as placed when the broker has confirmed it, and not before."""

from __future__ import annotations

import asyncio

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractRobustChannel, AbstractRobustConnection
from aio_pika.exceptions import DeliveryError, PublishError

from interop.embedding.aio_orders.shop import LOST, RECONNECT_S, declare
from interop.embedding.order import NotPlaced, Order
from interop.embedding.topology import CREATED, ORDERS

ATTEMPTS = 3


class OrderApi:
    """Publishes orders with confirms and mandatory. ``patience_s`` is how long a customer waits for an answer."""

    def __init__(self, channel: AbstractRobustChannel, patience_s: float) -> None:
        self._channel = channel
        self._patience_s = patience_s

    @classmethod
    async def open(cls, connection: AbstractRobustConnection, patience_s: float = 5.0) -> OrderApi:
        """On a channel of its own."""
        channel = connection.channel(publisher_confirms=True, on_return_raises=True)
        await channel.initialize()
        await declare(channel)
        return cls(channel, patience_s)

    async def place(self, order: Order) -> None:
        """Returns when the broker answers for the order. Raises NotPlaced; the order may have come through all the
        same, when it was the answer that got lost.
        """
        try:
            async with asyncio.timeout(self._patience_s):
                await self._try(order)
        except TimeoutError as error:
            raise NotPlaced("the broker does not answer") from error

    async def _try(self, order: Order) -> None:
        nacks = 0
        while True:
            try:
                await self._channel.ready()
                await self._publish(order)
                return
            except PublishError as error:
                raise NotPlaced("nobody takes orders") from error
            except DeliveryError as error:
                nacks += 1
                if nacks == ATTEMPTS:
                    raise NotPlaced(f"the broker did not take it, {ATTEMPTS} times") from error
            except LOST:
                await asyncio.sleep(RECONNECT_S)  # until the channel, too, knows that it is not ready

    async def _publish(self, order: Order) -> None:
        exchange = await self._channel.get_exchange(ORDERS, ensure=False)
        message = Message(
            order.to_json(),
            content_type="application/json",
            delivery_mode=DeliveryMode.PERSISTENT,
            message_id=order.number,
        )
        await exchange.publish(message, CREATED, mandatory=True)
