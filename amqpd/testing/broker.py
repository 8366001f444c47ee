"""A broker in a thread of its own, for tests whose clients block or bring their own event loop."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar

import anyio
import anyio.from_thread
import anyio.lowlevel

from amqpd.broker.ports import StoreFailed
from amqpd.testing.embedded import Embedded
from amqpd.testing.errors import WaitTimeout
from amqpd.testing.waiting import POLL_S, TIMEOUT_S, Count, Waiter, Wish

T = TypeVar("T")


class Broker(Embedded):
    """A broker that is ready when ``start`` returns or its block is entered, and gone after ``stop``; the arguments are
    those of ``Embedded``. Every method may be called from any thread.
    """

    _thread: threading.Thread | None = None

    # -- start and stop --

    def start(self) -> Self:
        """Raises StartError, and RuntimeError when it runs already."""
        self._prepare()
        self._lock = threading.RLock()  # a call and the end of the loop it is made in exclude each other
        self._is_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"amqpd:{self.port}", daemon=True)
        self._thread.start()
        self._is_up.wait()
        return self

    def stop(self) -> None:
        """Close all connections, and wait until nothing is left of it. Does nothing when it is not running. Raises
        StoreFailed when it had ended before because its store failed.
        """
        self._finish()
        self._release_port()
        self._raise_failure()

    def restart(self, *, keep_transient: bool = False) -> None:
        """Stop, and start again on the same port: what is durable survives. ``keep_transient``: so does all else, and
        only the connections are closed.
        """
        if keep_transient:
            self._close_connections()
        else:
            self._finish()
            self._hold_port()
            self.start()

    def kill(self) -> None:
        """End it as ``kill -9`` would: no farewell, and what was not handed to the store is lost. ``start`` brings it
        back on the same port; until then clients are refused.
        """
        self._prepare_to_die()
        self._finish()
        self._hold_port()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    # -- waiting --

    def wait_for(
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
        ``what`` or ``queue``. Or until ``what()`` is true, which is called in this thread. Raises WaitTimeout,
        NotRunning; TypeError if there is nothing to wait for.
        """
        wish = self._wishes.choose(what, queue, vhost, ready=ready, unacked=unacked, consumers=consumers)
        if isinstance(wish, Wish):
            self._wait(wish, timeout)
        else:
            self._poll(wish, timeout)

    def wait_idle(self, timeout: float = TIMEOUT_S) -> None:
        """Wait until nothing is under way: what consumers could have is delivered and acked, all that is to be written
        is written. Messages that nobody consumes may wait. Raises WaitTimeout, NotRunning.
        """
        self._wait(self._wishes.idleness(), timeout)

    def wait_for_consumer(
        self, queue: str, count: int = 1, *, vhost: str | None = None, timeout: float = TIMEOUT_S
    ) -> None:
        """Wait until a queue has at least so many consumers. Raises WaitTimeout, NotRunning."""
        self._wait(self._wishes.consumers(queue, vhost, count), timeout)

    def wait_for_connection(self, count: int = 1, *, timeout: float = TIMEOUT_S) -> None:
        """Wait until at least so many connections are open. Raises WaitTimeout, NotRunning."""
        self._wait(self._wishes.connections(count), timeout)

    def wait_for_published(
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
        self._wait(self._wishes.publishes(self.history, count, exchange, routing_key, vhost), timeout)

    def _wait(self, wish: Wish, timeout: float) -> None:
        is_over = threading.Event()
        waiter = Waiter(wish.is_true, is_over.set, at_rest=wish.at_rest)
        self.call(lambda: self._waiters.add(waiter))
        if not is_over.wait(timeout):
            self.call(lambda: self._waiters.drop(waiter))
        self._check(waiter, wish, timeout)

    def _timeout(self, words: str, timeout: float) -> WaitTimeout:
        error = super()._timeout(words, timeout)
        if _runs_a_loop():
            error.add_note(
                "This thread runs an event loop, which stood still meanwhile, and so did every client in it: "
                "await anyio.to_thread.run_sync(...), or asyncio.to_thread(...), or use an AsyncBroker."
            )
        return error

    def _poll(self, is_true: Callable[[], bool], timeout: float) -> None:
        ends_at = time.monotonic() + timeout
        pause = threading.Event()
        while not is_true():
            if time.monotonic() >= ends_at:
                raise self._timeout("a condition", timeout)
            pause.wait(POLL_S)

    # -- the thread --

    def call(self, act: Callable[[], T]) -> T:
        if threading.current_thread() is self._thread:
            return self._call_here(act)
        self.server  # noqa: B018 - raises NotRunning
        with self._lock:
            self.server  # noqa: B018 - it may have ended meanwhile
            return anyio.from_thread.run_sync(self._call_here, act, token=self._token)

    def _run(self) -> None:
        try:
            anyio.run(self._live)
        except StoreFailed as error:
            self._note_failure(error)
        finally:
            self._end()

    async def _live(self) -> None:
        self._token = anyio.lowlevel.current_token()
        with anyio.CancelScope() as self._scope:
            self._is_up.set()
            await self.server.run()

    def _finish(self) -> None:
        thread = self._thread
        if thread is None:
            return
        with self._lock:
            if self._server is not None:
                anyio.from_thread.run_sync(self._scope.cancel, token=self._token)
            thread.join()
            self._thread = None


def _runs_a_loop() -> bool:
    """Whether asyncio would run here, if somebody let it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True
