"""Remote calls: requests name a reply queue and a correlation id; the server answers there, under that id.

The client has all its requests in flight at once. Before its first answer the server sends one under an id that
nobody asked with, which the client must drop.
"""

from __future__ import annotations

from collections.abc import Callable

import pika

from interop.pika.asynchronous import Reply, Stage, ask
from interop.pika.blocking import Signal, open_channel, run_parties
from interop.pika.program import main
from interop.pika.scenario import Transcript, Tutorial

REQUESTS = "interop.collatz"
NUMBERS = (1, 6, 7, 9, 27)
STRANGE_ID = "never asked"


def count_collatz_steps(number: int) -> int:
    """What the server computes: halve or triple-and-add-one, until one is reached."""
    step_count = 0
    while number != 1:
        number = 3 * number + 1 if number % 2 else number // 2
        step_count += 1
    return step_count


class Server:
    """Answers each request and acks it; asks for no more than one at a time."""

    def __init__(self, transcript: Transcript, on_done: Callable[[], object]) -> None:
        self._transcript = transcript
        self._on_done = on_done
        self._answered_count = 0

    def __call__(
        self,
        channel: pika.channel.Channel,
        deliver: pika.spec.Basic.Deliver,
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        if not self._answered_count:
            channel.basic_publish("", properties.reply_to, b"?", pika.BasicProperties(correlation_id=STRANGE_ID))
        answer = count_collatz_steps(int(body))
        under_id = pika.BasicProperties(correlation_id=properties.correlation_id)
        channel.basic_publish("", properties.reply_to, str(answer).encode(), under_id)
        channel.basic_ack(deliver.delivery_tag)
        self._transcript.say("server", f"answered {properties.correlation_id}: {int(body)} takes {answer} steps")
        self._answered_count += 1
        if self._answered_count == len(NUMBERS):
            self._on_done()


class Client:
    """Sends requests and matches the replies with them."""

    def __init__(self, transcript: Transcript, on_done: Callable[[], object]) -> None:
        self._transcript = transcript
        self._on_done = on_done
        self._waiting: dict[str, int] = {}  # number asked about, by correlation id

    def call_all(self, channel: pika.channel.Channel, reply_queue: str) -> None:
        """Ask about every number without waiting in between."""
        self._transcript.note_temporary_queue(reply_queue)
        for number in NUMBERS:
            correlation_id = f"call-{number}"
            self._waiting[correlation_id] = number
            properties = pika.BasicProperties(reply_to=reply_queue, correlation_id=correlation_id)
            channel.basic_publish("", REQUESTS, str(number).encode(), properties)
        self._transcript.say("client", f"asked about {', '.join(map(str, NUMBERS))}")

    def __call__(
        self,
        _channel: pika.channel.Channel,
        _deliver: pika.spec.Basic.Deliver,
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        if properties.correlation_id not in self._waiting:
            self._transcript.say("client", f"dropped a reply to {properties.correlation_id!r}")
            return
        number = self._waiting.pop(properties.correlation_id)
        self._transcript.say(
            "client", f"learned under {properties.correlation_id}: {number} takes {body.decode()} steps"
        )
        if not self._waiting:
            self._on_done()


def blocking(url: str, transcript: Transcript) -> None:
    """Server and client in a thread each."""
    is_served = Signal("the server has declared its queue")

    def serve() -> None:
        with open_channel(url) as channel:
            channel.queue_declare(REQUESTS)
            channel.basic_qos(prefetch_count=1)
            channel.basic_consume(REQUESTS, Server(transcript, channel.stop_consuming))
            is_served.give()
            channel.start_consuming()
            deleted = channel.queue_delete(REQUESTS, if_unused=True, if_empty=True).method
            transcript.say("server", f"deleted {REQUESTS} with {deleted.message_count} ready")

    def call() -> None:
        is_served.wait()
        with open_channel(url) as channel:
            reply_queue = channel.queue_declare("", exclusive=True).method.queue
            client = Client(transcript, channel.stop_consuming)
            channel.basic_consume(reply_queue, client, auto_ack=True)
            client.call_all(channel, reply_queue)
            channel.start_consuming()

    run_parties(serve, call)


async def asynchronous(stage: Stage) -> None:
    """Server and client on a connection each."""
    transcript = stage.transcript
    async with stage.open_channel() as server_channel, stage.open_channel() as client_channel:
        await ask(server_channel.queue_declare, REQUESTS)
        await ask(server_channel.basic_qos, prefetch_count=1)
        all_served, all_learned = Reply(), Reply()
        serving = (await ask(server_channel.basic_consume, REQUESTS, Server(transcript, all_served))).method

        reply_queue = (await ask(client_channel.queue_declare, "", exclusive=True)).method.queue
        client = Client(transcript, all_learned)
        await ask(client_channel.basic_consume, reply_queue, client, auto_ack=True)
        client.call_all(client_channel, reply_queue)

        await all_served
        await all_learned
        await ask(server_channel.basic_cancel, serving.consumer_tag)
        deleted = (await ask(server_channel.queue_delete, REQUESTS, if_unused=True, if_empty=True)).method
        transcript.say("server", f"deleted {REQUESTS} with {deleted.message_count} ready")


TUTORIAL = Tutorial(("client", "server"), blocking, asynchronous, queues=(REQUESTS,))

if __name__ == "__main__":
    main(TUTORIAL)
