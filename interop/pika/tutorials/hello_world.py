"""Hello world: one producer, one consumer, one queue reached through the default exchange."""

from __future__ import annotations

import pika

from interop.pika.asynchronous import Reply, Stage, ask
from interop.pika.blocking import Signal, open_channel, run_parties
from interop.pika.program import main
from interop.pika.scenario import Inbox, Transcript, Tutorial

QUEUE = "interop.hello"
GREETING = "Good morning, broker!"


def describe(deliver: pika.spec.Basic.Deliver, _properties: pika.BasicProperties, body: bytes) -> str:
    """All that the broker says about the delivery."""
    return (
        f"received {body.decode()!r} as delivery {deliver.delivery_tag}, exchange {deliver.exchange!r},"
        f" routing key {deliver.routing_key!r}, redelivered {deliver.redelivered}"
    )


def blocking(url: str, transcript: Transcript) -> None:
    """Producer and consumer in a thread each."""
    is_declared = Signal("the consumer has declared the queue")

    def produce() -> None:
        with open_channel(url) as channel:
            is_declared.wait()
            channel.queue_declare(QUEUE)  # the same again is no error
            channel.basic_publish("", QUEUE, GREETING.encode())
            transcript.say("producer", f"published {GREETING!r}")

    def consume() -> None:
        with open_channel(url) as channel:
            declared = channel.queue_declare(QUEUE).method
            transcript.say("consumer", f"declared {declared.queue}, {declared.message_count} ready")
            is_declared.give()
            inbox = Inbox(transcript, "consumer", channel.stop_consuming, expected_count=1, describe=describe)
            channel.basic_consume(QUEUE, inbox, auto_ack=True)
            channel.start_consuming()
            deleted = channel.queue_delete(QUEUE, if_unused=True, if_empty=True).method
            transcript.say("consumer", f"deleted {QUEUE} with {deleted.message_count} ready")

    run_parties(produce, consume)


async def asynchronous(stage: Stage) -> None:
    """Producer and consumer on a connection each."""
    transcript = stage.transcript
    async with stage.open_channel() as consumer, stage.open_channel() as producer:
        declared = (await ask(consumer.queue_declare, QUEUE)).method
        transcript.say("consumer", f"declared {declared.queue}, {declared.message_count} ready")
        is_full = Reply()
        inbox = Inbox(transcript, "consumer", is_full, expected_count=1, describe=describe)
        consuming = (await ask(consumer.basic_consume, QUEUE, inbox, auto_ack=True)).method

        await ask(producer.queue_declare, QUEUE)
        producer.basic_publish("", QUEUE, GREETING.encode())
        transcript.say("producer", f"published {GREETING!r}")

        await is_full
        await ask(consumer.basic_cancel, consuming.consumer_tag)
        deleted = (await ask(consumer.queue_delete, QUEUE, if_unused=True, if_empty=True)).method
        transcript.say("consumer", f"deleted {QUEUE} with {deleted.message_count} ready")


TUTORIAL = Tutorial(("producer", "consumer"), blocking, asynchronous, queues=(QUEUE,))

if __name__ == "__main__":
    main(TUTORIAL)
