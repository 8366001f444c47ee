"""Runs one scenario, written once, over pika's two callback adapters: SelectConnection and AsyncioConnection.

The parties of a scenario are connections on one loop. Deliveries, confirms and returns reach them as plain pika
callbacks; the steps between them stand in a script, a coroutine that awaits `Reply` objects, which are themselves
callbacks. No asyncio feature is used, so the script runs on pika's own select loop as well:

    async with stage.open_channel() as channel:
        declared = await ask(channel.queue_declare, "q")        # passes callback=, resumes when it is called
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Coroutine, Generator
from contextlib import asynccontextmanager
from typing import Any

import pika
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.select_connection import IOLoop, SelectConnection

from interop.pika.scenario import Transcript

SCRIPT_TIMEOUT_S = 15.0


class Reply:
    """A callback that a script can await. Called with one argument, it gives that; with several, the tuple."""

    def __init__(self) -> None:
        self._is_given = False
        self._value: Any = None
        self._resume: Callable[[], None] | None = None

    def __call__(self, *values: Any) -> None:
        assert not self._is_given, "a reply came twice"
        self._is_given = True
        self._value = values[0] if len(values) == 1 else values
        if self._resume is not None:
            self._resume()

    def __await__(self) -> Generator[Reply, None, Any]:
        if not self._is_given:
            yield self
        return self._value

    def when_given(self, resume: Callable[[], None]) -> None:
        """Called by the stage when a script waits for this reply."""
        self._resume = resume


async def ask(method: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a method of a pika channel that answers through `callback` and wait for the answer."""
    reply = Reply()
    method(*args, callback=reply, **options)
    return await reply


class Loop(ABC):
    """What differs between the two adapters."""

    @abstractmethod
    def connect(self, url: str, **callbacks: Callable[..., None]) -> Any:
        """Begin to open a connection on this loop."""

    @abstractmethod
    def run(self, timeout_s: float, on_timeout: Callable[[], None], on_error: Callable[[BaseException], None]) -> None:
        """Run until stop() is called; errors that callbacks raise go to `on_error`."""

    @abstractmethod
    def stop(self) -> None:
        """Make run() return soon."""


class SelectLoop(Loop):
    """pika's own loop."""

    def __init__(self) -> None:
        self._loop = IOLoop()

    def connect(self, url: str, **callbacks: Callable[..., None]) -> Any:
        return SelectConnection(pika.URLParameters(url), custom_ioloop=self._loop, **callbacks)

    def run(self, timeout_s: float, on_timeout: Callable[[], None], on_error: Callable[[BaseException], None]) -> None:
        self._loop.call_later(timeout_s, on_timeout)
        try:
            self._loop.start()
        except Exception as error:  # the loop lets errors of callbacks through; asyncio reports them instead
            on_error(error)
        finally:
            self._loop.close()

    def stop(self) -> None:
        self._loop.stop()


class AsyncioLoop(Loop):
    """The standard library's loop."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    def connect(self, url: str, **callbacks: Callable[..., None]) -> Any:
        return AsyncioConnection(pika.URLParameters(url), custom_ioloop=self._loop, **callbacks)

    def run(self, timeout_s: float, on_timeout: Callable[[], None], on_error: Callable[[BaseException], None]) -> None:
        def report(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
            on_error(context.get("exception") or RuntimeError(context["message"]))

        self._loop.set_exception_handler(report)
        self._loop.call_later(timeout_s, on_timeout)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    def stop(self) -> None:
        self._loop.stop()


LOOPS: dict[str, type[Loop]] = {"select": SelectLoop, "asyncio": AsyncioLoop}


class Stage:
    """One loop, the connections opened on it, and the script that drives them."""

    def __init__(self, loop: Loop, url: str, transcript: Transcript) -> None:
        self.transcript = transcript
        self._loop = loop
        self._url = url
        self._closing: dict[Any, Reply] = {}  # connections that the script asked to close
        self._open_count = 0
        self._error: BaseException | None = None  # the first one ends the run
        self._script: Coroutine[Any, Any, None] | None = None

    def run(self, scenario: Callable[[Stage], Coroutine[Any, Any, None]]) -> None:
        """Play the scenario to its end, or raise the first thing that went wrong."""
        self._script = scenario(self)
        self._advance()
        self._loop.run(SCRIPT_TIMEOUT_S, lambda: self._fail(TimeoutError("the script got stuck")), self._fail)
        if self._error is not None:
            raise self._error
        assert self._open_count == 0, f"{self._open_count} connections were left open"

    @asynccontextmanager
    async def open_channel(self) -> AsyncIterator[pika.channel.Channel]:
        """A channel on a connection of its own; the connection is closed afterwards, unless the script failed."""
        connection = await self._connect()
        opened = Reply()
        channel = connection.channel(on_open_callback=opened)
        await opened
        channel.add_on_close_callback(self._on_channel_closed)
        yield channel
        await self._close(connection)

    async def _connect(self) -> Any:
        opened = Reply()
        self._loop.connect(
            self._url,
            on_open_callback=opened,
            on_open_error_callback=lambda _connection, error: self._fail(error),
            on_close_callback=self._on_connection_closed,
        )
        connection = await opened
        self._open_count += 1
        return connection

    async def _close(self, connection: Any) -> None:
        self._closing[connection] = Reply()
        connection.close()
        await self._closing[connection]

    def _on_connection_closed(self, connection: Any, reason: BaseException) -> None:
        self._open_count -= 1
        if connection not in self._closing or not isinstance(reason, pika.exceptions.ConnectionClosedByClient):
            self._fail(reason)
            return
        self._closing[connection](reason)

    def _on_channel_closed(self, _channel: Any, reason: BaseException) -> None:
        if not isinstance(reason, pika.exceptions.ChannelClosedByClient | pika.exceptions.ConnectionClosedByClient):
            self._fail(reason)

    def _advance(self) -> None:
        """Let the script run to its next unanswered reply."""
        assert self._script is not None, "no script is running"
        try:
            awaited: Reply = self._script.send(None)
        except StopIteration:
            self._loop.stop()
        except Exception as error:
            self._fail(error)
        else:
            awaited.when_given(self._advance)

    def _fail(self, error: BaseException) -> None:
        if self._error is None:
            self._error = error
        self._loop.stop()
