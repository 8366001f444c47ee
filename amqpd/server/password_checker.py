"""Looks at passwords in threads of its own, so that a storm of logins stops no message: scrypt does not hold the
interpreter's lock. The reactor hears of answers through a descriptor.
"""

import logging
import os
import threading
from collections import deque
from collections.abc import Callable

from amqpd import limits
from amqpd.broker.logins import Check, Checker
from amqpd.server.reactor import Door

logger = logging.getLogger("amqpd.server")

THREADS = max(1, min((os.cpu_count() or 1) - 1, limits.PASSWORD_THREADS_MAX))


class PasswordChecker(Checker):
    """Threads start with the first check: most brokers never know a hash that is slow."""

    def __init__(self) -> None:
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)  # readable when something is done
        self._work: deque[Check] = deque()
        self._done: deque[Check] = deque()
        self._is_closing = False
        self._wanted = threading.Condition()
        self._threads: list[threading.Thread] = []

    def begin(self, check: Check) -> None:
        with self._wanted:
            self._work.append(check)
            self._wanted.notify()
        if len(self._threads) < THREADS:
            thread = threading.Thread(target=self._run, name="amqpd-passwords", daemon=True)
            self._threads.append(thread)
            thread.start()

    def take_done(self) -> list[Check]:
        done = []
        while self._done:
            done.append(self._done.popleft())
        return done

    def close(self) -> None:
        """Wait for the checks that run; those that wait are dropped."""
        with self._wanted:
            self._is_closing = True
            self._wanted.notify_all()
        for thread in self._threads:
            thread.join()
        os.close(self.descriptor)

    def _run(self) -> None:
        while True:
            with self._wanted:
                while not self._work and not self._is_closing:
                    self._wanted.wait()
                if self._is_closing:
                    return
                check = self._work.popleft()
            try:
                check.run()
            except Exception:  # the edge of a thread: out of memory, for one; nobody is let in
                logger.exception("the password of user %r could not be looked at", check.name)
            self._done.append(check)
            os.eventfd_write(self.descriptor, 1)


class PasswordDoor(Door):
    """Has ``collect`` called when a check is done."""

    def __init__(self, descriptor: int, collect: Callable[[], None]) -> None:
        self.descriptor = descriptor
        self.collect = collect

    def on_readable(self) -> None:
        os.eventfd_read(self.descriptor)
        self.collect()
