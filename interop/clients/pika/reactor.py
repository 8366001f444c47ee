"""pika's TwistedProtocolConnection: how one is opened, opened again after its end, and what its log says."""
# mypy: disable-error-code="import-not-found, import-untyped, misc, attr-defined"

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pika
from pika.adapters.twisted_connection import TwistedProtocolConnection
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.protocol import ReconnectingClientFactory
from twisted.internet.task import deferLater

from interop.clients.stagehand import HOST, PORT, turns, url


def make_protocol(address: str = "", **options: Any) -> Any:
    parameters = pika.URLParameters(address or url())
    for name, value in options.items():
        setattr(parameters, name, value)
    return TwistedProtocolConnection(parameters)


async def opened(address: str = "", **options: Any) -> Any:
    connection = await connectProtocol(TCP4ClientEndpoint(reactor, HOST, PORT), make_protocol(address, **options))
    await connection.ready
    return connection


@asynccontextmanager
async def open_connection() -> AsyncIterator[Any]:
    connection = await opened()
    try:
        yield connection
    finally:
        if not connection.is_closed:
            await connection.close()


@asynccontextmanager
async def open_channel() -> AsyncIterator[Any]:
    """A channel in confirm mode: what publishing returns fires when the broker has the message."""
    async with open_connection() as connection:
        channel = await connection.channel()
        await channel.confirm_delivery()
        yield channel


class Factory(ReconnectingClientFactory):
    """As Twisted has it: a protocol for each connection, and after its end another attempt."""

    initialDelay = 0.1  # noqa: N815

    def __init__(self, on_ready: Callable[[Any], Coroutine[Any, Any, None]]) -> None:
        self.on_ready = on_ready

    def buildProtocol(self, _address: object) -> Any:  # noqa: N802
        self.resetDelay()
        connection = make_protocol()
        connection.ready.addCallback(lambda _: Deferred.fromCoroutine(self.on_ready(connection)))
        connection.ready.addErrback(lambda failure: print("lost:", repr(failure.value)))
        return connection


async def until(condition: Callable[[], bool]) -> None:
    for _ in turns(condition):
        await deferLater(reactor, 0.01, lambda: None)


@contextmanager
def logged(*words: str) -> Iterator[None]:
    """Why a connection was closed this adapter drops: its users find it in pika's log, and nowhere else."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("pika")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    yield
    logger.setLevel(logging.WARNING)
    logger.removeHandler(handler)
    assert any(all(word in line for word in words) for line in lines), f"nothing of {words} in {lines[-20:]}"


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """From its start to its end, with the reactor running."""
    failures: list[Any] = []

    def start() -> None:
        ended = Deferred.fromCoroutine(coroutine)
        ended.addErrback(failures.append)
        ended.addBoth(lambda _: reactor.stop())

    reactor.callWhenRunning(start)
    reactor.run()
    for failure in failures:
        failure.raiseException()
