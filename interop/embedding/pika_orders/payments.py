"""Takes the money for orders. What fails is tried again after a while, and laid aside after the last try."""

from __future__ import annotations

from collections.abc import Callable

import pika
from pika.adapters.blocking_connection import BlockingChannel

from interop.embedding.order import Order, PaymentFailed
from interop.embedding.pika_orders.consumer import Consumer
from interop.embedding.topology import DEAD, GIVEN_UP, ORDERS, PAID, PAYMENTS, TRIES, tries

Charge = Callable[[Order], None]  # asks the bank for the money; raises PaymentFailed


class PaymentWorker(Consumer):
    """Charges one order after the other; ``prefetch_count`` orders are with it at a time."""

    def __init__(self, parameters: pika.ConnectionParameters, charge: Charge, *, prefetch_count: int = 1) -> None:
        super().__init__(parameters, PAYMENTS, self._on_order, prefetch_count=prefetch_count)
        self._charge = charge

    def _on_order(
        self,
        channel: BlockingChannel,
        method: pika.spec.Basic.Deliver,
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        try:
            self._charge(Order.from_json(body))
        except (ValueError, PaymentFailed) as error:
            if tries(properties.headers) + 1 < TRIES:
                channel.basic_reject(method.delivery_tag, requeue=False)  # to the retry queue
                return
            self._lay_aside(channel, properties, body, error)
        else:
            channel.basic_publish(ORDERS, PAID, body, properties)
        channel.basic_ack(method.delivery_tag)  # last: what is lost before comes again

    def _lay_aside(
        self, channel: BlockingChannel, properties: pika.BasicProperties, body: bytes, error: Exception
    ) -> None:
        channel.basic_publish(ORDERS, GIVEN_UP, body, properties)
        headers = {**(properties.headers or {}), "error": str(error)}
        channel.basic_publish("", DEAD, body, pika.BasicProperties(delivery_mode=2, headers=headers))
