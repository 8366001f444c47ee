"""How much one virtual host or one user may have of what others need too: connections, queues, channels.

Rules: RabbitMQ, Virtual Host Limits and User Limits. 0 allows none; a limit below 0 is none.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from amqpd.broker import records
from amqpd.broker.journal import Journal
from amqpd.broker.ports import ENTITIES, THERE

Kind = Literal["vhost_limits", "user_limits"]
VHOST_LIMITS: Final = "vhost_limits"
USER_LIMITS: Final = "user_limits"
NAMES: Final[Mapping[Kind, tuple[str, ...]]] = {
    VHOST_LIMITS: ("max-connections", "max-queues"),
    USER_LIMITS: ("max-connections", "max-channels"),
}


class InvalidLimit(ValueError):
    """No limit is called so, or what it should be is no whole number."""


class Limits:
    """The limits of virtual hosts and of users, by the name of the one or the other."""

    KINDS: Final = (VHOST_LIMITS, USER_LIMITS)

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._limits: dict[tuple[Kind, str], dict[str, int]] = {}

    def restore(self, fact: dict[str, Any]) -> None:
        """Take what the store holds."""
        self._limits[fact["kind"], fact["name"]] = dict(fact["limits"])

    def find(self, kind: Kind, name: str, limit: str) -> int | None:
        """One limit; None when there is none."""
        value = self._limits.get((kind, name), {}).get(limit, -1)
        return value if value >= 0 else None

    def of(self, kind: Kind, name: str) -> dict[str, int]:
        """All that is set for one virtual host or user, as it was set."""
        return dict(self._limits.get((kind, name), {}))

    def all(self, kind: Kind) -> dict[str, dict[str, int]]:
        """Everyone who has limits, by name, and them."""
        return {name: dict(limits) for (found, name), limits in sorted(self._limits.items()) if found == kind}

    def set(self, kind: Kind, name: str, limits: Mapping[str, Any]) -> int:
        """These, and no others; the ticket. Raises InvalidLimit."""
        check_limits(kind, limits)
        self._limits[kind, name] = dict(limits)
        fact = {"name": name, "limits": dict(limits)}
        return self.journal.put(ENTITIES, *records.entity_row(kind, (name,), fact))

    def clear(self, kind: Kind, name: str) -> int:
        """Lift all that ``name`` has; the ticket, 0 when there were none."""
        if self._limits.pop((kind, name), None) is None:
            return 0
        return self.journal.delete(THERE | ENTITIES, records.entity_key(kind, name))


def check_limits(kind: Kind, limits: Mapping[str, Any]) -> None:
    """Whether ``kind`` can have these. Raises InvalidLimit."""
    for limit, value in limits.items():
        if limit not in NAMES[kind]:
            raise InvalidLimit(f"{limit} is no limit: {' and '.join(NAMES[kind])} are")
        if type(value) is not int:  # a bool is an int, but not a number
            raise InvalidLimit(f"{limit} should be a number, actually was {value!r}")
