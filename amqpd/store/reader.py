"""The reader: one thread that reads values for the loop, so that a page that is not in memory stops no turn."""

import threading
from collections import deque
from collections.abc import Callable

from amqpd.broker.ports import StoreFailed

Wanted = list[tuple[int, bytes]]
Values = list[bytes | None]


class Reader:
    """``read`` gets the values at (table, key), in this object's thread; ``wake`` is called when some are there.

    The thread starts with the first fetch: most brokers never have a queue beyond its window.
    """

    def __init__(self, read: Callable[[Wanted], Values], wake: Callable[[], None]) -> None:
        self._read = read
        self._wake = wake
        self._work: deque[tuple[int, Wanted]] = deque()
        self._done: deque[tuple[int, Values]] = deque()
        self._is_closing = False
        self._wanted = threading.Condition()
        self._failure: BaseException | None = None
        self._thread: threading.Thread | None = None

    def fetch(self, number: int, wanted: Wanted) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="amqpd-reader", daemon=True)
            self._thread.start()
        with self._wanted:
            self._work.append((number, wanted))
            self._wanted.notify()

    def fetched(self) -> list[tuple[int, Values]]:
        """What is there. Raises StoreFailed when reading failed."""
        if self._failure is not None:
            raise StoreFailed(f"the store cannot be read: {self._failure}") from self._failure
        done = []
        while self._done:
            done.append(self._done.popleft())
        return done

    def close(self) -> None:
        """Wait for the read that runs, then end the thread."""
        with self._wanted:
            self._is_closing = True
            self._wanted.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while True:
            with self._wanted:
                while not self._work and not self._is_closing:
                    self._wanted.wait()
                if self._is_closing:
                    return
                number, wanted = self._work.popleft()
            try:
                values = self._read(wanted)
            except Exception as error:  # noqa: BLE001 - the edge of a thread: the loop is told, and stops the broker
                self._failure = error
                self._wake()
                return
            self._done.append((number, values))
            self._wake()
