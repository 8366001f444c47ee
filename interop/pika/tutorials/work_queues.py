"""Work queues: persistent tasks in a durable queue, shared by two workers that acknowledge what they have done.

First in turns: without a prefetch limit the workers are served alternately. Then fairly: with a prefetch count of one,
a worker stuck in its first task gets no other, its colleague does the rest, and when the stuck worker loses its
connection its unacked task is redelivered to the colleague.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pika

from interop.pika.asynchronous import Reply, Stage, ask
from interop.pika.blocking import Signal, open_channel, run_parties
from interop.pika.program import main
from interop.pika.scenario import Inbox, Transcript, Tutorial

QUEUE = "interop.tasks"
TURNS = [f"turn {number}" for number in range(1, 7)]
TASKS = [f"task {number}" for number in range(1, 7)]
PERSISTENT = pika.BasicProperties(delivery_mode=2, content_type="text/plain")


def describe(deliver: pika.spec.Basic.Deliver, properties: pika.BasicProperties, body: bytes) -> str:
    """The task and how it came."""
    how = "again" if deliver.redelivered else "for the first time"
    return (
        f"delivery {deliver.delivery_tag}: {body.decode()!r} {how},"
        f" delivery mode {properties.delivery_mode}, {properties.content_type}"
    )


def blocking(url: str, transcript: Transcript) -> None:
    """Producer and workers in a thread each, both parts one after the other."""
    with open_channel(url) as channel:
        channel.queue_declare(QUEUE, durable=True)
    _take_turns(url, transcript)
    _share_fairly(url, transcript)


def _take_turns(url: str, transcript: Transcript) -> None:
    first_waits, second_waits = Signal("the first worker consumes"), Signal("the second worker consumes")

    def produce() -> None:
        with open_channel(url) as channel:
            second_waits.wait()
            publish(channel, TURNS)

    def work(worker: str, is_waiting: Signal) -> None:
        with open_channel(url) as channel:
            inbox = _open_inbox(transcript, worker, channel.stop_consuming, len(TURNS) // 2)
            channel.basic_consume(QUEUE, inbox)
            is_waiting.give()
            channel.start_consuming()

    def work_second() -> None:
        first_waits.wait()
        work("second", second_waits)

    run_parties(produce, lambda: work("first", first_waits), work_second)


def _share_fairly(url: str, transcript: Transcript) -> None:
    first_is_stuck = Signal("the first worker has got a task")
    rest_is_done = Signal("the second worker has done the other tasks")

    def produce() -> None:
        with open_channel(url) as channel:
            publish(channel, TASKS)
        transcript.say("producer", f"published {len(TURNS)} turns and {len(TASKS)} tasks")

    def get_stuck() -> None:
        with open_channel(url) as channel:
            channel.basic_qos(prefetch_count=1)
            inbox = _open_inbox(transcript, "first", first_is_stuck.give, 1, acks=False)
            channel.basic_consume(QUEUE, inbox)
            while not rest_is_done.is_given():
                channel.connection.process_data_events(time_limit=0.05)
        transcript.say("first", "lost its connection, task unacked")

    def do_the_rest() -> None:
        first_is_stuck.wait()
        with open_channel(url) as channel:
            channel.basic_qos(prefetch_count=1)
            channel.basic_consume(QUEUE, _open_inbox(transcript, "second", channel.stop_consuming, len(TASKS) - 1))
            channel.start_consuming()
            rest_is_done.give()
            channel.basic_consume(QUEUE, _open_inbox(transcript, "second", channel.stop_consuming, 1))
            channel.start_consuming()
            deleted = channel.queue_delete(QUEUE, if_unused=True, if_empty=True).method
            transcript.say("second", f"deleted {QUEUE} with {deleted.message_count} ready")

    run_parties(produce, get_stuck, do_the_rest)


async def asynchronous(stage: Stage) -> None:
    """Producer and workers on a connection each."""
    transcript = stage.transcript
    async with stage.open_channel() as producer:
        await ask(producer.queue_declare, QUEUE, durable=True)
        async with stage.open_channel() as first, stage.open_channel() as second:
            finish_first = await _start(first, transcript, "first", len(TURNS) // 2)
            finish_second = await _start(second, transcript, "second", len(TURNS) // 2)
            publish(producer, TURNS)
            await finish_first()
            await finish_second()

        async with stage.open_channel() as second:
            await ask(second.basic_qos, prefetch_count=1)
            async with stage.open_channel() as first:
                await ask(first.basic_qos, prefetch_count=1)
                publish(producer, TASKS)
                transcript.say("producer", f"published {len(TURNS)} turns and {len(TASKS)} tasks")
                first_is_stuck = Reply()
                await ask(first.basic_consume, QUEUE, _open_inbox(transcript, "first", first_is_stuck, 1, acks=False))
                await first_is_stuck
                await (await _start(second, transcript, "second", len(TASKS) - 1))()
            transcript.say("first", "lost its connection, task unacked")
            await (await _start(second, transcript, "second", 1))()
            deleted = (await ask(second.queue_delete, QUEUE, if_unused=True, if_empty=True)).method
            transcript.say("second", f"deleted {QUEUE} with {deleted.message_count} ready")


async def _start(
    channel: pika.channel.Channel, transcript: Transcript, worker: str, count: int
) -> Callable[[], Coroutine[Any, Any, None]]:
    """Make a worker consume; gives the coroutine that waits until it has done so many tasks and cancels."""
    is_done = Reply()
    consuming = (await ask(channel.basic_consume, QUEUE, _open_inbox(transcript, worker, is_done, count))).method

    async def finish() -> None:
        await is_done
        await ask(channel.basic_cancel, consuming.consumer_tag)

    return finish


def publish(channel: pika.channel.Channel, tasks: list[str]) -> None:
    """Publish persistent messages through the default exchange."""
    for task in tasks:
        channel.basic_publish("", QUEUE, task.encode(), PERSISTENT)


def _open_inbox(
    transcript: Transcript, worker: str, on_full: Callable[[], object], expected_count: int, *, acks: bool = True
) -> Inbox:
    return Inbox(transcript, worker, on_full, expected_count=expected_count, describe=describe, acks=acks)


TUTORIAL = Tutorial(("producer", "first", "second"), blocking, asynchronous, queues=(QUEUE,))

if __name__ == "__main__":
    main(TUTORIAL)
