"""The committer: one thread that writes batches, one transaction and one fsync each, and reports their tickets.

A full disk is waited out: the batch is tried again until there is room, meanwhile ``alarm`` says why nothing is
confirmed. Any other failure of the disk ends the promise, and so the broker: ``completed`` raises StoreFailed.
"""

import logging
import os
import threading
from collections.abc import Callable
from typing import Final

from amqpd.broker.ports import Op, StoreFailed

logger = logging.getLogger("amqpd.store")

TIDY_AFTER_S: Final = 1.0
TIDY_AFTER_BATCHES: Final = 65_536
RETRY_S: Final = 0.5  # between tries while the disk is full


class Committer:
    """``write`` makes a list of operations durable, in this object's thread, and raises when it cannot.

    ``is_full_disk`` says whether such an error only means that there is no room now. ``tidy`` runs in the thread when
    there was nothing to write for a while since the last batch, and after so many batches.
    """

    def __init__(
        self,
        write: Callable[[list[Op]], None],
        is_full_disk: Callable[[Exception], bool],
        tidy: Callable[[], None],
    ) -> None:
        self._write = write
        self._is_full_disk = is_full_disk
        self._tidy = tidy
        self._untidy = 0  # batches since
        self._work: list[tuple[int, list[Op]]] = []
        self._is_closing = False
        self._wanted = threading.Condition()
        self._completed = 0
        self._failure: BaseException | None = None
        self.alarm = ""
        self.wake_fd, self._wake_write_fd = os.pipe()
        os.set_blocking(self.wake_fd, False)
        os.set_blocking(self._wake_write_fd, False)
        self._thread = threading.Thread(target=self._run, name="amqpd-committer", daemon=True)
        self._thread.start()

    def submit(self, ticket: int, ops: list[Op]) -> None:
        """Begin; the one before is completed. A batch without operations is durable already."""
        if not ops:
            self._completed = ticket
            return
        with self._wanted:
            self._work.append((ticket, ops))
            self._wanted.notify()

    def completed(self) -> int:
        if self._failure is not None:
            raise StoreFailed(f"the store cannot be written: {self._failure}") from self._failure
        return self._completed

    def close(self) -> None:
        """Wait for the batch that runs, then end the thread."""
        with self._wanted:
            self._is_closing = True
            self._wanted.notify()
        self._thread.join()
        os.close(self.wake_fd)
        os.close(self._wake_write_fd)

    def _run(self) -> None:
        try:
            while (batch := self._next()) is not None:
                ticket, ops = batch
                self._write_until_done(ops)
                self._completed = ticket
                self.wake()
        except Exception as error:  # noqa: BLE001 - the edge of a thread: the loop is told, and stops the broker
            self._failure = error
            self.wake()

    def _next(self) -> tuple[int, list[Op]] | None:
        """The next batch; None when there will be none. Tidies up while there is time."""
        while True:
            with self._wanted:
                if not self._work and not self._is_closing:
                    self._wanted.wait(TIDY_AFTER_S if self._untidy else None)
                if self._work and self._untidy < TIDY_AFTER_BATCHES:
                    self._untidy += 1
                    return self._work.pop()
                if self._is_closing and not self._work:
                    return None
            if self._untidy:
                self._untidy = 0
                self._tidy()

    def _write_until_done(self, ops: list[Op]) -> None:
        while True:
            try:
                self._write(ops)
            except Exception as error:
                if not self._is_full_disk(error):
                    raise
                if not self.alarm:
                    logger.error("the disk is full (%s): publishers wait until there is room", error)
                    self.alarm = "low on disk"
                    self.wake()
                with self._wanted:
                    if self._is_closing:
                        raise
                    self._wanted.wait(RETRY_S)
            else:
                if self.alarm:
                    logger.info("the disk has room again: publishers go on")
                    self.alarm = ""
                return

    def wake(self) -> None:
        """Make ``wake_fd`` readable; from any thread."""
        try:
            os.write(self._wake_write_fd, b"\0")
        except BlockingIOError:
            pass  # it is awake already
