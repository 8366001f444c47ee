"""Publisher confirms: one message at a time, in batches, and asynchronously, with returns among them.

A BlockingConnection waits for the confirm of each publish itself, so with that adapter whoever wants several messages
in flight publishes on several connections (`Lanes`). The callback adapters keep account of outstanding delivery tags
(`Ledger`). Both end with the same outcomes.
"""

from __future__ import annotations

import queue
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from typing import NamedTuple

import pika
from pika.adapters.blocking_connection import BlockingChannel

from interop.pika.asynchronous import Reply, Stage, ask
from interop.pika.blocking import open_channel
from interop.pika.program import main
from interop.pika.scenario import Transcript, Tutorial

QUEUE = "interop.confirmed"
EXCHANGE = "interop.confirming"
BINDING_KEY = "bound"
NOWHERE = "interop.nowhere"


class Single(NamedTuple):
    """A message to publish alone."""

    exchange: str
    routing_key: str
    body: str
    mandatory: bool = True
    is_stored: bool = False


# A confirm says that the broker took charge of a message, whether it found a queue or not.
SINGLES = [
    *(Single("", QUEUE, f"single {number}", is_stored=True) for number in range(1, 5)),
    Single("", NOWHERE, "to nowhere"),
    Single("", NOWHERE, "to nowhere, which is all right", mandatory=False),
    Single(EXCHANGE, BINDING_KEY, "through an exchange", is_stored=True),
    Single(EXCHANGE, NOWHERE, "past its bindings"),
]
BATCHES = [[f"batch {batch} message {number}" for number in range(1, 6)] for batch in range(1, 4)]
STREAM = [f"stream {number}" for number in range(1, 41)]
STORED = sorted(
    [*(single.body for single in SINGLES if single.is_stored), *(body for batch in BATCHES for body in batch), *STREAM]
)
PERSISTENT = pika.BasicProperties(delivery_mode=2)
CONFIRMED, REJECTED = "confirmed", "rejected"
LANE_COUNT = 5
PARTIES = ("one by one", "in batches", "asynchronously", "queue")


def blocking(url: str, transcript: Transcript) -> None:
    """The three ways one after the other, the last two over several connections."""
    with open_channel(url) as channel:
        channel.queue_declare(QUEUE, durable=True)
        channel.exchange_declare(EXCHANGE, "direct", durable=True)
        channel.queue_bind(QUEUE, EXCHANGE, BINDING_KEY)
        channel.confirm_delivery()
        for single in SINGLES:
            transcript.say("one by one", f"{single.body}: {_publish_and_wait(channel, single)}")
    with _open_lanes(url) as publish:
        for number, batch in enumerate(BATCHES, 1):
            futures = [publish(body) for body in batch]
            wait(futures)
            transcript.say("in batches", f"batch {number}: {describe_outcomes(Counter(f.result() for f in futures))}")
    outcomes: Counter[str] = Counter()
    with _open_lanes(url) as publish:
        for body in STREAM:
            publish(body).add_done_callback(lambda future: outcomes.update([future.result()]))
    transcript.say("asynchronously", f"{len(STREAM)} published, {describe_outcomes(outcomes)}")

    with open_channel(url) as channel:
        bodies: list[str] = []
        for _deliver, _properties, stored in channel.consume(QUEUE, auto_ack=True):
            bodies.append(stored.decode())
            if len(bodies) == len(STORED):
                break
        assert channel.cancel() == 0, "more was stored than published"
        assert sorted(bodies) == STORED, f"stored {sorted(bodies)}"
        left_count = channel.queue_delete(QUEUE, if_unused=True, if_empty=True).method.message_count
        channel.exchange_delete(EXCHANGE, if_unused=True)
        _say_stored(transcript, left_count)


def describe_outcomes(outcomes: Counter[str]) -> str:
    """How many of each."""
    return f"{outcomes[CONFIRMED]} confirmed, {outcomes[REJECTED]} rejected, {outcomes.total()} in all"


def describe_return(returned: pika.spec.Basic.Return, body: bytes) -> str:
    """What the broker says about a mandatory message without a queue."""
    address = f"exchange {returned.exchange!r}, routing key {returned.routing_key!r}"
    reply = f"{returned.reply_code} {returned.reply_text}"
    return f"returned with {reply}, {address} and body {body.decode()!r}, then {CONFIRMED}"


def _say_stored(transcript: Transcript, left_count: int) -> None:
    transcript.say("queue", f"held the {len(STORED)} routed messages, each once; deleted with {left_count} ready")


def _publish_and_wait(channel: BlockingChannel, single: Single) -> str:
    try:
        channel.basic_publish(
            single.exchange, single.routing_key, single.body.encode(), PERSISTENT, mandatory=single.mandatory
        )
    except pika.exceptions.UnroutableError as error:
        returned = error.messages[0]
        return describe_return(returned.method, returned.body)
    except pika.exceptions.NackError:
        return REJECTED
    return CONFIRMED


@contextmanager
def _open_lanes(url: str) -> Iterator[Callable[[str], Future[str]]]:
    """Confirming channels on several connections, each used by one thread at a time; left when all is settled."""
    idle: queue.SimpleQueue[BlockingChannel] = queue.SimpleQueue()

    def publish(body: str) -> str:
        channel = idle.get()
        try:
            return _publish_and_wait(channel, Single("", QUEUE, body))
        finally:
            idle.put(channel)

    with ExitStack() as lanes:
        for _ in range(LANE_COUNT):
            channel = lanes.enter_context(open_channel(url))
            channel.confirm_delivery()
            idle.put(channel)
        with ThreadPoolExecutor(LANE_COUNT) as threads:
            yield lambda body: threads.submit(publish, body)


class Ledger:
    """The publishes of one channel that the broker has not answered yet, by delivery tag."""

    def __init__(self, channel: pika.channel.Channel) -> None:
        self._channel = channel
        self._next_tag = 1
        self._outstanding: set[int] = set()
        self._settled: Reply | None = None
        self.outcomes: Counter[str] = Counter()  # since the last settle()
        self.returns: list[str] = []

    async def open(self) -> Ledger:
        """Put the channel into confirm mode."""
        self._channel.add_on_return_callback(self._on_return)
        await ask(self._channel.confirm_delivery, self._on_outcome)
        return self

    def publish(self, single: Single) -> None:
        """Publish and note that an answer is due."""
        self._outstanding.add(self._next_tag)
        self._next_tag += 1
        self._channel.basic_publish(
            single.exchange, single.routing_key, single.body.encode(), PERSISTENT, mandatory=single.mandatory
        )

    async def settle(self) -> Counter[str]:
        """Wait until nothing is outstanding; what became of the publishes since the last time."""
        if self._outstanding:
            self._settled = Reply()
            await self._settled
        outcomes, self.outcomes = self.outcomes, Counter()
        return outcomes

    def _on_outcome(self, frame: pika.frame.Method[pika.spec.Basic.Ack | pika.spec.Basic.Nack]) -> None:
        tag = frame.method.delivery_tag
        settled = {each for each in self._outstanding if each <= tag} if frame.method.multiple else {tag}
        assert settled <= self._outstanding, f"answer to {sorted(settled - self._outstanding)}, not outstanding"
        self._outstanding -= settled
        self.outcomes[CONFIRMED if isinstance(frame.method, pika.spec.Basic.Ack) else REJECTED] += len(settled)
        if self._settled is not None and not self._outstanding:
            done, self._settled = self._settled, None
            done()

    def _on_return(
        self,
        _channel: pika.channel.Channel,
        returned: pika.spec.Basic.Return,
        _properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        assert self._outstanding, "a return must come before the confirm"
        self.returns.append(describe_return(returned, body))


async def asynchronous(stage: Stage) -> None:
    """The three ways one after the other on one confirming channel."""
    transcript = stage.transcript
    async with stage.open_channel() as channel:
        await ask(channel.queue_declare, QUEUE, durable=True)
        await ask(channel.exchange_declare, EXCHANGE, "direct", durable=True)
        await ask(channel.queue_bind, QUEUE, EXCHANGE, BINDING_KEY)
        ledger = await Ledger(channel).open()
        for single in SINGLES:
            ledger.publish(single)
            outcomes = await ledger.settle()
            assert outcomes.total() == 1, f"one publish, outcomes {outcomes}"
            outcome = ledger.returns.pop() if ledger.returns else next(iter(outcomes))
            transcript.say("one by one", f"{single.body}: {outcome}")
        for number, batch in enumerate(BATCHES, 1):
            for body in batch:
                ledger.publish(Single("", QUEUE, body))
            transcript.say("in batches", f"batch {number}: {describe_outcomes(await ledger.settle())}")
        for body in STREAM:
            ledger.publish(Single("", QUEUE, body))
        transcript.say("asynchronously", f"{len(STREAM)} published, {describe_outcomes(await ledger.settle())}")

    async with stage.open_channel() as channel:
        bodies: list[str] = []
        all_received = Reply()

        def receive(
            _channel: pika.channel.Channel,
            _deliver: pika.spec.Basic.Deliver,
            _properties: pika.BasicProperties,
            body: bytes,
        ) -> None:
            bodies.append(body.decode())
            if len(bodies) == len(STORED):
                all_received()

        consuming = (await ask(channel.basic_consume, QUEUE, receive, auto_ack=True)).method
        await all_received
        await ask(channel.basic_cancel, consuming.consumer_tag)
        assert sorted(bodies) == STORED, f"stored {sorted(bodies)}"
        deleted = (await ask(channel.queue_delete, QUEUE, if_unused=True, if_empty=True)).method
        await ask(channel.exchange_delete, EXCHANGE, if_unused=True)
        _say_stored(transcript, deleted.message_count)


TUTORIAL = Tutorial(PARTIES, blocking, asynchronous, queues=(QUEUE,), exchanges=(EXCHANGE,))

if __name__ == "__main__":
    main(TUTORIAL)
