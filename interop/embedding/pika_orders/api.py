"""Where orders come in. An order counts as placed when the broker has confirmed it, and not before."""

from __future__ import annotations

import contextlib
from types import TracebackType
from typing import Self

import pika
from pika.exceptions import AMQPConnectionError, ChannelClosed, ConnectionBlockedTimeout, NackError, UnroutableError

from interop.embedding.order import NotPlaced, Order
from interop.embedding.pika_orders.topology import declare
from interop.embedding.topology import CREATED, ORDERS

ATTEMPTS = 3


class OrderApi:
    """Publishes orders with confirms and mandatory; connects anew when the connection is lost. For one thread."""

    def __init__(self, parameters: pika.ConnectionParameters) -> None:
        self._parameters = parameters
        self._connect()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def place(self, order: Order) -> None:
        """Returns when the broker answers for the order. Raises NotPlaced; the order may have come through all the
        same, when it was the answer that got lost.
        """
        reason: Exception | None = None
        for _attempt in range(ATTEMPTS):
            try:
                self._publish(order)
                return
            except UnroutableError as error:
                raise NotPlaced("nobody takes orders") from error
            except ConnectionBlockedTimeout as error:
                raise NotPlaced("the broker takes nothing at the moment") from error
            except NackError as error:
                reason = error
            except (AMQPConnectionError, ChannelClosed) as error:
                reason = error
                self._reconnect()
        raise NotPlaced(f"the broker did not take it, {ATTEMPTS} times") from reason

    def close(self) -> None:
        """Say goodbye, if there is anybody left to say it to."""
        with contextlib.suppress(AMQPConnectionError):
            if self._connection.is_open:
                self._connection.close()

    def _publish(self, order: Order) -> None:
        properties = pika.BasicProperties(
            content_type="application/json", delivery_mode=pika.DeliveryMode.Persistent.value, message_id=order.number
        )
        if self._connection.is_closed:
            self._reconnect()
        self._channel.basic_publish(ORDERS, CREATED, order.to_json(), properties, mandatory=True)

    def _reconnect(self) -> None:
        self.close()
        try:
            self._connect()
        except AMQPConnectionError as error:
            raise NotPlaced("the broker is away") from error

    def _connect(self) -> None:
        self._connection = pika.BlockingConnection(self._parameters)
        self._channel = self._connection.channel()
        declare(self._channel)
        self._channel.confirm_delivery()
