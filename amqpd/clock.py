"""Time, as an argument."""

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds that only grow."""

    def now(self) -> float:
        """Seconds since some moment in the past."""
        ...

    def epoch(self) -> float:
        """That moment, in seconds since 1970."""
        ...


class SystemClock:
    """The machine's. Its date is read once: when it is put right, what was to happen in an hour still does."""

    def __init__(self) -> None:
        self._epoch = time.time() - time.monotonic()

    def now(self) -> float:
        return time.monotonic()

    def epoch(self) -> float:
        return self._epoch
