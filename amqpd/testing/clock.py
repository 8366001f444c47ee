"""A clock that stands still until somebody moves it."""

from typing import Final

from amqpd.clock import SystemClock

STARTED_AT_S: Final = 1000.0  # any moment but 0, which means "not set" to some timers


class ManualClock:
    """A ``Clock`` for tests. It begins at the machine's date, so that timestamps look like those of today."""

    def __init__(self) -> None:
        machine = SystemClock()
        self._now = STARTED_AT_S
        self._epoch = machine.epoch() + machine.now() - STARTED_AT_S

    def now(self) -> float:
        return self._now

    def epoch(self) -> float:
        return self._epoch

    def move_to(self, now: float) -> None:
        """Never backwards: an earlier time is no move at all."""
        self._now = max(self._now, now)
