"""Alarms: what runs short, memory or disk, and why publishers wait for it (RabbitMQ: connection.blocked).

Owns when an alarm is raised and when it is over, how often to look, and what the log says of it. Measures nothing
itself (``resources.py`` does, and tests have figures of their own), and knows no connection: ``lifecycle.py`` hands the
reason to the reactor.
"""

import logging
import math
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

logger = logging.getLogger("amqpd.server")

SAMPLE_S: Final = 1.0  # between looks, far from a limit and during an alarm
SAMPLE_MIN_S: Final = 0.1  # between looks, close to a limit
FILL_BYTES_PER_S: Final = 500_000_000  # nothing fills faster: so soon a limit may be reached
MARGIN: Final = 0.05  # of a limit: so far on its good side an alarm is over, or it would come and go all the time
MARGIN_MAX_BYTES: Final = 64_000_000  # which is far enough, however large the limit
NAMES: Final = ("disk", "memory")  # in the words and the order of RabbitMQ: "low on disk & memory"


def _nothing() -> None:
    """What most resources do to relieve themselves."""


class Resource(NamedTuple):
    """Something that may run short."""

    name: str  # one of NAMES
    limit_bytes: int
    is_ceiling: bool  # True: so much may be used at most; False: so much has to be free at least
    measure: Callable[[], int]  # what is used, or free; OSError when nobody knows
    setting: str  # where the limit comes from, for the log
    advice: str  # what an operator can do
    relieve: Callable[[], None] = _nothing  # called while the alarm is up; may help

    def room(self, amount: int) -> int:
        """How far ``amount`` is on the good side of the limit."""
        return self.limit_bytes - amount if self.is_ceiling else amount - self.limit_bytes

    @property
    def margin_bytes(self) -> int:
        return int(min(self.limit_bytes * MARGIN, MARGIN_MAX_BYTES))

    def figures(self, amount: int) -> str:
        """How it stands, for the log."""
        what = "used" if self.is_ceiling else "free"
        return f"{_megabytes(amount)} {what}, the limit is {_megabytes(self.limit_bytes)} ({self.setting})"

    @property
    def way_out(self) -> str:
        """When the alarm is over, for the log."""
        if self.is_ceiling:
            return f"no more than {_megabytes(self.limit_bytes - self.margin_bytes)} are used"
        return f"{_megabytes(self.limit_bytes + self.margin_bytes)} are free"


class Alarms:
    """All alarms of one server: those of its ``resources``, and the store's own about a disk that is full already."""

    def __init__(self, resources: Sequence[Resource], store_alarm: Callable[[], str], now: float) -> None:
        self._alarms = [_Alarm(resource) for resource in resources]
        self._store_alarm = store_alarm
        self._next_at = now

    def tick(self, now: float) -> float:
        """Look again if it is time to; when to be called next. Costs nothing per message: only time brings it about."""
        if now >= self._next_at:
            self._next_at = now + min((alarm.sample() for alarm in self._alarms), default=math.inf)
        return self._next_at

    def set_limit(self, name: str, limit_bytes: int, setting: str) -> bool:
        """Give a resource another limit, from the next look on, which is at once. False when it is not watched."""
        for alarm in self._alarms:
            if alarm.resource.name == name:
                alarm.resource = alarm.resource._replace(limit_bytes=limit_bytes, setting=setting)
                self._next_at = -math.inf
                return True
        return False

    def reason(self) -> str:
        """Why publishers have to wait, as connection.blocked says it; "" when they need not."""
        low = {alarm.resource.name for alarm in self._alarms if alarm.is_raised}
        if self._store_alarm():
            low.add("disk")
        return f"low on {' & '.join(name for name in NAMES if name in low)}" if low else ""


class _Alarm:
    """One resource, and whether it is short."""

    def __init__(self, resource: Resource) -> None:
        self.resource = resource
        self.is_raised = False
        self._is_blind = False  # it could not be measured, and that is in the log

    def sample(self) -> float:
        """Look; the seconds until the next look."""
        resource = self.resource
        amount = self._measure()
        if amount is None:
            return SAMPLE_S
        room = resource.room(amount)
        if self.is_raised:
            if room >= resource.margin_bytes:
                self._clear(amount)
        elif room < 0:
            self._raise(amount)
        if self.is_raised:
            resource.relieve()
            return SAMPLE_S
        return min(max(room / FILL_BYTES_PER_S, SAMPLE_MIN_S), SAMPLE_S)

    def _measure(self) -> int | None:
        try:
            amount = self.resource.measure()
        except OSError as error:
            if not self._is_blind:
                state = "stays up" if self.is_raised else "cannot be raised"
                logger.warning("%s cannot be measured (%s): its alarm %s", self.resource.name, error, state)
            self._is_blind = True
            return None
        self._is_blind = False
        return amount

    def _raise(self, amount: int) -> None:
        self.is_raised = True
        resource = self.resource
        words = "low on %s: %s; publishers are blocked until %s: %s"
        logger.warning(words, resource.name, resource.figures(amount), resource.way_out, resource.advice)

    def _clear(self, amount: int) -> None:
        self.is_raised = False
        logger.info("enough %s again: %s; publishers go on", self.resource.name, self.resource.figures(amount))


def _megabytes(amount: int) -> str:
    return f"{amount / 1_000_000:,.1f} MB"
