"""Limits of virtual hosts and users: what is kept. What they do: tests/conformance/test_permissions.py."""

from typing import Any

import pytest

from amqpd.broker import records
from amqpd.broker.journal import Journal
from amqpd.broker.ports import ENTITIES
from amqpd.broker.vhost_limits import USER_LIMITS, VHOST_LIMITS, InvalidLimit, Kind, Limits
from amqpd.store.memory import MemoryStore


@pytest.fixture
def limits() -> Limits:
    return Limits(Journal(MemoryStore()))


def restarted(limits: Limits) -> Limits:
    """What the next start of the broker reads."""
    limits.journal.seal()
    store = limits.journal.store
    again = Limits(Journal(store))
    for key, value in store.scan(ENTITIES, b""):
        again.restore(records.decode(key, value))
    return again


def test_none_at_first(limits: Limits) -> None:
    assert limits.find(VHOST_LIMITS, "/", "max-queues") is None
    assert limits.of(USER_LIMITS, "guest") == {}
    assert limits.all(VHOST_LIMITS) == {}


def test_limits_are_there_after_a_restart(limits: Limits) -> None:
    assert limits.set(VHOST_LIMITS, "/", {"max-queues": 0, "max-connections": 5}) == limits.journal.ticket
    limits.set(USER_LIMITS, "/", {"max-channels": 7})
    for known in (limits, restarted(limits)):
        assert known.find(VHOST_LIMITS, "/", "max-queues") == 0
        assert known.find(VHOST_LIMITS, "/", "max-connections") == 5
        assert known.find(VHOST_LIMITS, "v", "max-connections") is None
        assert known.find(USER_LIMITS, "/", "max-channels") == 7
        assert known.find(USER_LIMITS, "/", "max-connections") is None
        assert known.all(USER_LIMITS) == {"/": {"max-channels": 7}}


def test_below_zero_is_none(limits: Limits) -> None:
    limits.set(VHOST_LIMITS, "/", {"max-queues": -1})
    assert limits.find(VHOST_LIMITS, "/", "max-queues") is None
    assert limits.of(VHOST_LIMITS, "/") == {"max-queues": -1}


def test_set_again_replaces_all(limits: Limits) -> None:
    limits.set(VHOST_LIMITS, "/", {"max-queues": 1, "max-connections": 5})
    limits.set(VHOST_LIMITS, "/", {"max-queues": 2})
    assert restarted(limits).of(VHOST_LIMITS, "/") == {"max-queues": 2}


def test_cleared(limits: Limits) -> None:
    limits.set(VHOST_LIMITS, "/", {"max-queues": 1})
    assert limits.clear(VHOST_LIMITS, "/") == limits.journal.ticket
    assert limits.find(VHOST_LIMITS, "/", "max-queues") is None
    assert restarted(limits).all(VHOST_LIMITS) == {}
    assert limits.clear(VHOST_LIMITS, "/") == 0


@pytest.mark.parametrize(
    ("kind", "values", "why"),
    [
        (VHOST_LIMITS, {"max-channels": 1}, "max-channels is no limit: max-connections and max-queues are"),
        (USER_LIMITS, {"max-queues": 1}, "max-queues is no limit: max-connections and max-channels are"),
        (VHOST_LIMITS, {"max-queues": "1"}, "max-queues should be a number, actually was '1'"),
        (VHOST_LIMITS, {"max-queues": True}, "should be a number"),
        (VHOST_LIMITS, {"max-queues": 1.5}, "should be a number"),
        (VHOST_LIMITS, {"max-queues": 1, "": 1}, "is no limit"),
    ],
)
def test_what_is_no_limit(limits: Limits, kind: Kind, values: dict[str, Any], why: str) -> None:
    limits.set(kind, "/", {"max-connections": 3})
    with pytest.raises(InvalidLimit, match=why):
        limits.set(kind, "/", values)
    assert limits.of(kind, "/") == {"max-connections": 3}
