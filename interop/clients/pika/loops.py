"""pika's callback API with coroutines on top: what a callback will bring is awaited, on any of pika's loops.

The adapter is the word that the command line names first. Nothing here belongs to one of them but how its loop is made
and started; a coroutine goes on within the callback that it waited for, where pika's users have their code.
"""

from __future__ import annotations

import asyncio
import inspect
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from concurrent.futures import Future
from contextlib import asynccontextmanager
from importlib import import_module
from typing import Any

import pika
from pika.spec import Basic

from interop.clients.stagehand import turns, url

ADAPTER = sys.argv[1]  # select, asyncio or tornado
MODULE = import_module(f"pika.adapters.{ADAPTER}_connection")
CONNECTION = getattr(MODULE, f"{ADAPTER.title()}Connection")
LOOPS: dict[str, Callable[[], Any]] = {
    "select": lambda: MODULE.IOLoop(),
    "asyncio": asyncio.new_event_loop,
    "tornado": lambda: MODULE.ioloop.IOLoop(),
}
LOOP = LOOPS[ADAPTER]()


class Answer(Future[Any]):
    """What a callback is going to bring."""

    def __await__(self) -> Generator[Answer, None, Any]:
        if not self.done():
            yield self
        return self.result()


class Connection:
    """pika's connection, opening; ``closed`` brings why it was closed."""

    def __init__(self, parameters: pika.URLParameters) -> None:
        self.opened = Answer()
        self.closed = Answer()
        self.pika = CONNECTION(
            parameters,
            on_open_callback=self.opened.set_result,
            on_open_error_callback=lambda _, error: self.opened.set_exception(error),
            on_close_callback=lambda _, reason: self.closed.set_result(reason),
            custom_ioloop=LOOP,
        )

    async def channel(self) -> Channel:
        opened = Answer()
        channel = Channel(self.pika.channel(on_open_callback=opened.set_result))
        channel.answers.append(opened)
        await opened
        return channel

    async def close(self) -> None:
        self.pika.close()
        await self.closed


class Channel:
    """pika's channel, whose methods are awaited: they return what their callback gets, or raise why it was closed."""

    def __init__(self, channel: Any) -> None:
        self.pika = channel
        self.answers = [Answer()]
        self._got = self.answers[0]  # of the last basic.get
        self._published: list[Answer] = []  # the first has delivery tag 1
        channel.add_on_close_callback(self._on_close)
        channel.add_callback(lambda _: self._got.set_result(None), [Basic.GetEmpty], one_shot=False)

    def __getattr__(self, name: str) -> Any:
        """A method of pika's: where its callback may be left out, it is, and awaited instead."""
        method = getattr(self.pika, name)
        callback = inspect.signature(method).parameters.get("callback")
        if callback is None or callback.default is not None:
            return method
        return lambda *arguments, **options: self._ask(method, *arguments, **options)

    def basic_get(self, queue: str, *, auto_ack: bool = False) -> Answer:
        """The method, the properties and the body; None where there is no message, which pika has no callback for."""
        self._got = self._answer()
        self.pika.basic_get(queue, lambda _, *message: self._got.set_result(message), auto_ack)
        return self._got

    def confirm_delivery(self) -> Answer:
        return self._ask(self.pika.confirm_delivery, self._on_confirm)

    def confirmed_publish(self, exchange: str, key: str, body: bytes, *properties: Any, mandatory: bool) -> Answer:
        """In confirm mode: Basic.Ack or Basic.Nack, whatever the broker says of it."""
        self.pika.basic_publish(exchange, key, body, *properties, mandatory=mandatory)
        self._published.append(self._answer())
        return self._published[-1]

    def _answer(self) -> Answer:
        self.answers.append(Answer())
        return self.answers[-1]

    def _ask(self, method: Callable[..., object], *arguments: object, **options: object) -> Answer:
        answer = self._answer()
        method(*arguments, callback=answer.set_result, **options)
        return answer

    def _on_confirm(self, frame: Any) -> None:
        last = frame.method.delivery_tag
        for answer in self._published[0 if frame.method.multiple else last - 1 : last]:
            if not answer.done():
                answer.set_result(frame.method)

    def _on_close(self, _channel: object, reason: Exception) -> None:
        for answer in self.answers:
            if not answer.done():
                answer.set_exception(reason)


async def opened(address: str = "", **options: Any) -> Connection:
    """A connection with pika's parameters."""
    parameters = pika.URLParameters(address or url())
    for name, value in options.items():
        setattr(parameters, name, value)
    connection = Connection(parameters)
    await connection.opened
    return connection


@asynccontextmanager
async def open_connection() -> AsyncIterator[Connection]:
    connection = await opened()
    try:
        yield connection
    finally:
        if connection.pika.is_open:
            await connection.close()


@asynccontextmanager
async def open_channel() -> AsyncIterator[Channel]:
    """A channel in confirm mode."""
    async with open_connection() as connection:
        channel = await connection.channel()
        await channel.confirm_delivery()
        yield channel


async def until(condition: Callable[[], bool]) -> None:
    for _ in turns(condition):
        later = Answer()
        LOOP.call_later(0.01, lambda: later.set_result(None))  # noqa: B023
        await later


def run(coroutine: Coroutine[Answer, None, None]) -> None:
    """From its start to its end, with the loop running."""
    ended = Answer()

    def go_on(_answer: object = None) -> None:
        try:
            coroutine.send(None).add_done_callback(go_on)
        except StopIteration:
            ended.set_result(None)
        except Exception as error:
            ended.set_exception(error)
        if ended.done():
            LOOP.stop()

    LOOP.call_later(0, go_on)
    LOOP.run_forever() if ADAPTER == "asyncio" else LOOP.start()
    ended.result()
