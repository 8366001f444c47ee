"""Runs the parties of a scenario in threads, each with a BlockingConnection of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pika
from pika.adapters.blocking_connection import BlockingChannel

WAIT_S = 10.0


class Signal:
    """Something that one party waits for and another brings about."""

    def __init__(self, meaning: str) -> None:
        self._meaning = meaning
        self._event = threading.Event()

    def give(self) -> None:
        """Let everybody who waits go on."""
        self._event.set()

    def is_given(self) -> bool:
        """Whether it has been brought about."""
        return self._event.is_set()

    def wait(self) -> None:
        """Go on once the signal is given; fail rather than wait for ever."""
        if not self._event.wait(WAIT_S):
            raise TimeoutError(f"waited in vain until {self._meaning}")


@contextmanager
def open_channel(url: str) -> Iterator[BlockingChannel]:
    """A channel on a connection of its own; both are closed in order afterwards."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        yield connection.channel()


def run_parties(*parties: Callable[[], None]) -> None:
    """Run all at once and return when all are done; the first failure is raised here without waiting for the rest."""
    outcomes: queue.Queue[BaseException | None] = queue.Queue()

    def run(party: Callable[[], None]) -> None:
        try:
            party()
        except BaseException as error:  # handed to the main thread, which raises it
            outcomes.put(error)
        else:
            outcomes.put(None)

    for party in parties:
        threading.Thread(target=run, args=(party,), daemon=True).start()
    for _ in parties:
        error = outcomes.get()
        if error is not None:
            raise error
