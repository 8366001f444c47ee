"""Time, as an argument."""

import time
from typing import Protocol


class Clock(Protocol):
    """Seconds that only grow."""

    def now(self) -> float:
        """Seconds since some moment in the past."""
        ...


class SystemClock:
    """The machine's."""

    def now(self) -> float:
        return time.monotonic()
