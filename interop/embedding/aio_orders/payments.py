"""Takes the money for orders. What fails is tried again after a while, and laid aside after the last try."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aio_pika import DeliveryMode, Message
from aio_pika.abc import AbstractIncomingMessage, AbstractRobustChannel, AbstractRobustConnection

from interop.embedding.aio_orders.shop import declare
from interop.embedding.order import Order, PaymentFailed
from interop.embedding.topology import DEAD, GIVEN_UP, ORDERS, PAID, PAYMENTS, TRIES, tries

Charge = Callable[[Order], Awaitable[None]]  # asks the bank for the money; raises PaymentFailed


class PaymentWorker:
    """Charges orders, ``prefetch_count`` at a time. The connection brings it back after whatever happens."""

    def __init__(self, channel: AbstractRobustChannel, charge: Charge) -> None:
        self._channel = channel
        self._charge = charge

    @classmethod
    async def start(
        cls, connection: AbstractRobustConnection, charge: Charge, *, prefetch_count: int = 1
    ) -> PaymentWorker:
        """Runs until the connection is closed."""
        channel = connection.channel()
        await channel.initialize()
        await declare(channel)
        await channel.set_qos(prefetch_count=prefetch_count)
        worker = cls(channel, charge)
        queue = await channel.declare_queue(PAYMENTS, passive=True)
        await queue.consume(worker._on_order)
        return worker

    async def _on_order(self, message: AbstractIncomingMessage) -> None:
        """Cancelled when the channel is lost: then the order comes again."""
        try:
            await self._charge(Order.from_json(message.body))
        except (ValueError, PaymentFailed) as error:
            if tries(message.headers) + 1 < TRIES:
                await message.reject(requeue=False)  # to the retry queue
                return
            await self._lay_aside(message, error)
        else:
            await self._say(PAID, message)
        await message.ack()  # last: what is lost before comes again

    async def _say(self, routing_key: str, message: AbstractIncomingMessage) -> None:
        exchange = await self._channel.get_exchange(ORDERS, ensure=False)
        await exchange.publish(Message(message.body, delivery_mode=DeliveryMode.PERSISTENT), routing_key)

    async def _lay_aside(self, message: AbstractIncomingMessage, error: Exception) -> None:
        await self._say(GIVEN_UP, message)
        headers = {**message.headers, "error": str(error)}
        await self._channel.default_exchange.publish(
            Message(message.body, headers=headers, delivery_mode=DeliveryMode.PERSISTENT), DEAD
        )
