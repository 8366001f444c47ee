"""A consumer that comes back: when the connection is lost, when the channel is closed, when it is cancelled."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pika
from pika.adapters.blocking_connection import BlockingChannel
from pika.exceptions import AMQPError

from interop.embedding.pika_orders.topology import declare

RECONNECT_S = 0.05

OnMessage = Callable[[BlockingChannel, pika.spec.Basic.Deliver, pika.BasicProperties, bytes], None]


class Consumer:
    """Hands each message of a queue to ``on_message``, which acks it, until ``stop``. Lives in a thread of its own."""

    def __init__(
        self, parameters: pika.ConnectionParameters, queue: str, on_message: OnMessage, *, prefetch_count: int = 1
    ) -> None:
        self._parameters = parameters
        self._queue = queue
        self._on_message = on_message
        self._prefetch_count = prefetch_count
        self._is_stopping = threading.Event()
        self._consuming: tuple[pika.BlockingConnection, BlockingChannel] | None = None

    def run(self) -> None:
        """Returns after ``stop``."""
        while not self._is_stopping.is_set():
            try:
                self._consume()
            except AMQPError:
                self._is_stopping.wait(RECONNECT_S)

    def stop(self) -> None:
        """From another thread: finish the message at hand, and end."""
        self._is_stopping.set()
        consuming = self._consuming
        if consuming is not None:
            connection, channel = consuming
            try:
                connection.add_callback_threadsafe(channel.stop_consuming)
            except AMQPError:
                pass  # it is lost: run() finds out by itself

    def _consume(self) -> None:
        connection = pika.BlockingConnection(self._parameters)
        try:
            channel = connection.channel()
            declare(channel)
            channel.confirm_delivery()
            channel.basic_qos(prefetch_count=self._prefetch_count)
            channel.basic_consume(self._queue, self._on_message)
            self._consuming = connection, channel
            if not self._is_stopping.is_set():
                channel.start_consuming()
        finally:
            self._consuming = None
            if connection.is_open:
                connection.close()


C = TypeVar("C", bound=Consumer)


@contextmanager
def in_thread(consumer: C) -> Iterator[C]:
    """The consumer runs as long as the block does."""
    thread = threading.Thread(target=consumer.run, name=type(consumer).__name__)
    thread.start()
    try:
        yield consumer
    finally:
        consumer.stop()
        thread.join()
