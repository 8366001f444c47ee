"""A broker in the running event loop, asyncio's or trio's: for tests whose client lives in the same loop."""

from __future__ import annotations

import asyncio
import importlib
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

import anyio
import anyio.lowlevel

from amqpd.broker.ports import StoreFailed
from amqpd.testing.embedded import Embedded
from amqpd.testing.waiting import POLL_S, TIMEOUT_S, Count, Waiter, Wish

T = TypeVar("T")


class AsyncBroker(Embedded):
    """A broker that is ready when its block is entered, and gone when it is left; the arguments are those of
    ``Embedded``. What waits is awaited, the rest is called as it is. It belongs to the loop that it was started in.
    """

    _task: asyncio.Task[None] | None = None  # asyncio forgets tasks that nobody refers to

    # -- start and stop --

    async def start(self) -> Self:
        """Raises StartError, and RuntimeError when it runs already."""
        self._prepare()
        self._thread_id = threading.get_ident()
        self._is_up, self._is_down = anyio.Event(), anyio.Event()
        self._spawn()
        await self._is_up.wait()
        return self

    async def stop(self) -> None:
        """Close all connections, and wait until nothing is left of it. Does nothing when it is not running. Raises
        StoreFailed when it had ended before because its store failed.
        """
        await self._finish()
        self._release_port()
        self._raise_failure()

    async def restart(self, *, keep_transient: bool = False) -> None:
        """Stop, and start again on the same port: what is durable survives. ``keep_transient``: so does all else, and
        only the connections are closed.
        """
        if keep_transient:
            self._close_connections()
        else:
            await self._finish()
            self._hold_port()
            await self.start()

    async def kill(self) -> None:
        """End it as ``kill -9`` would: no farewell, and what was not handed to the store is lost. ``start`` brings it
        back on the same port; until then clients are refused.
        """
        self._prepare_to_die()
        await self._finish()
        self._hold_port()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    # -- waiting --

    async def wait_for(
        self,
        what: str | Callable[[], bool] | None = None,
        *,
        queue: str | None = None,
        ready: Count | None = None,
        unacked: Count | None = None,
        consumers: Count | None = None,
        vhost: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> None:
        """Wait until a queue exists and has such counts, each a number or what is true of the number: the queue is
        ``what`` or ``queue``. Or until ``what()`` is true, which is called between two awaits. Raises WaitTimeout,
        NotRunning; TypeError if there is nothing to wait for.
        """
        wish = self._wishes.choose(what, queue, vhost, ready=ready, unacked=unacked, consumers=consumers)
        if isinstance(wish, Wish):
            await self._wait(wish, timeout)
        else:
            await self._poll(wish, timeout)

    async def wait_idle(self, timeout: float = TIMEOUT_S) -> None:
        """Wait until nothing is under way: what consumers could have is delivered and acked, all that is to be written
        is written. Messages that nobody consumes may wait. Raises WaitTimeout, NotRunning.
        """
        await self._wait(self._wishes.idleness(), timeout)

    async def wait_for_consumer(
        self, queue: str, count: int = 1, *, vhost: str | None = None, timeout: float = TIMEOUT_S
    ) -> None:
        """Wait until a queue has at least so many consumers. Raises WaitTimeout, NotRunning."""
        await self._wait(self._wishes.consumers(queue, vhost, count), timeout)

    async def wait_for_connection(self, count: int = 1, *, timeout: float = TIMEOUT_S) -> None:
        """Wait until at least so many connections are open. Raises WaitTimeout, NotRunning."""
        await self._wait(self._wishes.connections(count), timeout)

    async def wait_for_published(
        self,
        count: int = 1,
        *,
        exchange: str | None = None,
        routing_key: str | None = None,
        vhost: str | None = None,
        timeout: float = TIMEOUT_S,
    ) -> None:
        """Wait until at least so many messages of ``published`` are there. Raises WaitTimeout, NotRunning, and
        RuntimeError without ``record``.
        """
        await self._wait(self._wishes.publishes(self.history, count, exchange, routing_key, vhost), timeout)

    async def _wait(self, wish: Wish, timeout: float) -> None:
        is_over = anyio.Event()
        waiter = Waiter(wish.is_true, is_over.set, at_rest=wish.at_rest)
        self.call(lambda: self._waiters.add(waiter))
        try:
            with anyio.move_on_after(timeout):
                await is_over.wait()
        finally:
            self._waiters.drop(waiter)
        self._check(waiter, wish, timeout)

    async def _poll(self, is_true: Callable[[], bool], timeout: float) -> None:
        with anyio.move_on_after(timeout):
            while not is_true():  # noqa: ASYNC110 - nobody tells when it changes
                await anyio.sleep(POLL_S)
            return
        raise self._timeout("a condition", timeout)

    # -- the task --

    def call(self, act: Callable[[], T]) -> T:
        self.server  # noqa: B018 - raises NotRunning
        if threading.get_ident() != self._thread_id:
            raise RuntimeError("an AsyncBroker belongs to the thread of its event loop; a Broker is for any thread")
        return self._call_here(act)

    def _spawn(self) -> None:
        """A task beside those of the caller: a fixture may start in one and stop in another."""
        loop = anyio.lowlevel.current_token().native_token
        if isinstance(loop, asyncio.AbstractEventLoop):
            self._task = loop.create_task(self._live(), name=f"amqpd:{self.port}")
        else:
            importlib.import_module("trio").lowlevel.spawn_system_task(self._live)

    async def _live(self) -> None:
        try:
            with anyio.CancelScope() as self._scope:
                self._is_up.set()
                await self.server.run()
        except StoreFailed as error:
            self._note_failure(error)
        finally:
            self._end()
            self._is_down.set()

    async def _finish(self) -> None:
        if self._server is not None:
            self._scope.cancel()
            with anyio.CancelScope(shield=True):
                await self._is_down.wait()
