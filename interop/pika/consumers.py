"""The scenario that publish/subscribe, routing and topics share: consumers bind queues of their own to one exchange.

The tutorials differ in the type of the exchange and in who is bound with which key, so they are tables for this.
Every scenario begins with a message published before anybody is bound, which must reach nobody, and ends with one
that everybody is bound to get, so each consumer knows by itself when it has seen all.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import pika

from interop.pika.asynchronous import Reply, Stage, ask
from interop.pika.blocking import Signal, open_channel, run_parties
from interop.pika.scenario import Transcript, Tutorial

TOO_EARLY = "published before anybody is bound"
LAST = "that is all"
END_KEY = "end"  # everybody is bound with it, too


@dataclass(frozen=True)
class BoundConsumers:
    """An exchange, the consumers bound to it and what a producer publishes there."""

    exchange: str
    exchange_type: str
    binding_keys: dict[str, tuple[str, ...]]  # by consumer
    messages: tuple[tuple[str, str], ...]  # routing key and body, in order

    def build_tutorial(self) -> Tutorial:
        """The program of this table."""
        parties = ("producer", *self.binding_keys)
        return Tutorial(parties, self._run_blocking, self._run_asynchronous, exchanges=(self.exchange,))

    def _run_blocking(self, url: str, transcript: Transcript) -> None:
        """Every party in a thread."""
        is_declared = Signal("the producer has declared the exchange")
        is_bound = {consumer: Signal(f"{consumer} is bound and consumes") for consumer in self.binding_keys}
        is_over = {consumer: Signal(f"{consumer} has gone") for consumer in self.binding_keys}

        def produce() -> None:
            with open_channel(url) as channel:
                channel.exchange_declare(self.exchange, self.exchange_type)
                channel.basic_publish(self.exchange, END_KEY, TOO_EARLY.encode())
                channel.exchange_declare(self.exchange, passive=True)  # answered once the publish is digested
                is_declared.give()
                for signal in is_bound.values():
                    signal.wait()
                self._publish(channel, transcript)
                for signal in is_over.values():
                    signal.wait()
                channel.exchange_delete(self.exchange)
                transcript.say("producer", f"deleted {self.exchange}")

        def consume(consumer: str, keys: tuple[str, ...]) -> None:
            is_declared.wait()
            with open_channel(url) as channel:
                queue = channel.queue_declare("", exclusive=True).method.queue
                transcript.note_temporary_queue(queue)
                for key in (*keys, END_KEY):
                    channel.queue_bind(queue, self.exchange, key)
                channel.basic_consume(queue, _listen(transcript, consumer, channel.stop_consuming), auto_ack=True)
                is_bound[consumer].give()
                channel.start_consuming()
                left_count = channel.queue_declare(queue, passive=True).method.message_count
                transcript.say(consumer, f"left with {left_count} ready")
            is_over[consumer].give()

        run_parties(produce, *(partial(consume, consumer, keys) for consumer, keys in self.binding_keys.items()))

    async def _run_asynchronous(self, stage: Stage) -> None:
        """Every party on a connection of its own."""
        transcript = stage.transcript
        async with stage.open_channel() as producer:
            await ask(producer.exchange_declare, self.exchange, self.exchange_type)
            producer.basic_publish(self.exchange, END_KEY, TOO_EARLY.encode())
            await ask(producer.exchange_declare, self.exchange, passive=True)  # answered once the publish is digested
            async with AsyncExitStack() as channels:
                bound = []
                for consumer, keys in self.binding_keys.items():
                    channel = await channels.enter_async_context(stage.open_channel())
                    bound.append((consumer, await self._bind(channel, transcript, consumer, keys)))
                self._publish(producer, transcript)
                for consumer, leave in bound:
                    transcript.say(consumer, f"left with {await leave()} ready")
            await ask(producer.exchange_delete, self.exchange)
            transcript.say("producer", f"deleted {self.exchange}")

    async def _bind(
        self, channel: pika.channel.Channel, transcript: Transcript, consumer: str, keys: tuple[str, ...]
    ) -> Callable[[], Coroutine[Any, Any, int]]:
        """Bind and consume; gives the coroutine that ends with the last message and counts what is left."""
        queue = (await ask(channel.queue_declare, "", exclusive=True)).method.queue
        transcript.note_temporary_queue(queue)
        for key in (*keys, END_KEY):
            await ask(channel.queue_bind, queue, self.exchange, key)
        is_over = Reply()
        listening = _listen(transcript, consumer, is_over)
        consuming = (await ask(channel.basic_consume, queue, listening, auto_ack=True)).method

        async def leave() -> int:
            await is_over
            await ask(channel.basic_cancel, consuming.consumer_tag)
            message_count: int = (await ask(channel.queue_declare, queue, passive=True)).method.message_count
            return message_count

        return leave

    def _publish(self, channel: pika.channel.Channel, transcript: Transcript) -> None:
        for key, body in (*self.messages, (END_KEY, LAST)):
            channel.basic_publish(self.exchange, key, body.encode())
        transcript.say("producer", f"published {len(self.messages)} messages to {self.exchange_type} {self.exchange}")


def _listen(transcript: Transcript, consumer: str, on_last: Callable[[], object]) -> Callable[..., None]:
    """A consumer callback that notes every message until the last one comes."""

    def receive(
        _channel: pika.channel.Channel,
        deliver: pika.spec.Basic.Deliver,
        _properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        transcript.say(consumer, f"delivery {deliver.delivery_tag}: {body.decode()!r} for {deliver.routing_key!r}")
        if body.decode() == LAST:
            on_last()

    return receive
