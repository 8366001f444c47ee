"""Which policy applies to what, and that policies are there after a restart."""

from typing import Any

import pytest

from amqpd.broker import records
from amqpd.broker.journal import Journal
from amqpd.broker.policies import EXCHANGE, OPERATOR_POLICY, POLICY, InvalidPolicy, NoSuchPolicy, Policies, Policy
from amqpd.broker.ports import ENTITIES
from amqpd.store.memory import MemoryStore

CAP: dict[str, Any] = {"max-length": 10}


@pytest.fixture
def policies() -> Policies:
    return Policies(Journal(MemoryStore()))


def restarted(policies: Policies) -> Policies:
    """What the next start of the broker reads."""
    policies.journal.seal()
    store = policies.journal.store
    again = Policies(Journal(store))
    for key, value in store.scan(ENTITIES, b""):
        again.restore(records.decode(key, value))
    return again


def name_of(policy: Policy | None) -> str | None:
    return None if policy is None else policy.name


def test_the_highest_priority_applies_alone(policies: Policies) -> None:
    policies.set(Policy("/", "low", "^orders", CAP, 1))
    policies.set(Policy("/", "high", "s$", CAP, 2))
    policies.set(Policy("/", "negative", "", CAP, -1))
    assert name_of(policies.match(POLICY, "/", "classic", "orders")) == "high"
    assert name_of(policies.match(POLICY, "/", "classic", "orders.eu")) == "low"
    assert name_of(policies.match(POLICY, "/", "classic", "mail")) == "negative"


def test_of_equal_priorities_the_first_by_name_applies(policies: Policies) -> None:
    policies.set(Policy("/", "b", ".*", CAP))
    policies.set(Policy("/", "a", ".*", CAP))
    assert name_of(policies.match(POLICY, "/", "classic", "q")) == "a"


def test_virtual_hosts_and_kinds_have_policies_of_their_own(policies: Policies) -> None:
    policies.set(Policy("/", "p", ".*", CAP))
    policies.set(Policy("/", "o", ".*", CAP, kind=OPERATOR_POLICY))
    assert policies.match(POLICY, "other", "classic", "q") is None
    assert name_of(policies.match(OPERATOR_POLICY, "/", "classic", "q")) == "o"
    assert name_of(policies.match(POLICY, "/", "classic", "q")) == "p"


@pytest.mark.parametrize(
    ("apply_to", "things"),
    [
        ("all", ["classic", "quorum", EXCHANGE]),
        ("queues", ["classic", "quorum"]),
        ("classic_queues", ["classic"]),
        ("quorum_queues", ["quorum"]),
        ("streams", []),
        ("exchanges", [EXCHANGE]),
    ],
)
def test_what_a_policy_is_for(policies: Policies, apply_to: str, things: list[str]) -> None:
    policies.set(Policy("/", "p", ".*", CAP, apply_to=apply_to))
    assert [thing for thing in ("classic", "quorum", EXCHANGE) if policies.match(POLICY, "/", thing, "q")] == things


def test_a_policy_with_a_key_for_other_queues_does_not_apply_at_all(policies: Policies) -> None:
    policies.set(Policy("/", "limit", ".*", {"delivery-limit": 3, "max-length": 10}, 1))
    policies.set(Policy("/", "cap", ".*", CAP))
    assert name_of(policies.match(POLICY, "/", "classic", "q")) == "cap"
    assert name_of(policies.match(POLICY, "/", "quorum", "q")) == "limit"


def test_a_policy_of_the_same_name_is_replaced(policies: Policies) -> None:
    policies.set(Policy("/", "p", "^a", CAP))
    policies.set(Policy("/", "p", "^b", CAP))
    assert policies.match(POLICY, "/", "classic", "a") is None
    assert [policy.pattern for policy in policies.of_vhost(POLICY, "/")] == ["^b"]
    assert [policy.pattern for policy in restarted(policies).of_vhost(POLICY, "/")] == ["^b"]


def test_policies_are_there_after_a_restart(policies: Policies) -> None:
    given = [
        Policy("/", "p", "^é", {"dead-letter-exchange": "x", "ha-mode": "nodes", "ha-params": ["a"]}, -3, "queues"),
        Policy("/", "p", ".*", CAP, 4, "all", OPERATOR_POLICY),
        Policy("other", "p", ".*", CAP),
    ]
    for policy in given:
        policies.set(policy)
    again = restarted(policies)
    assert [again.find(policy.kind, policy.vhost, policy.name) for policy in given] == given


def test_a_cleared_policy_is_gone(policies: Policies) -> None:
    policies.set(Policy("/", "p", ".*", CAP))
    policies.set(Policy("/", "p", ".*", CAP, kind=OPERATOR_POLICY))
    policies.clear(POLICY, "/", "p")
    assert policies.match(POLICY, "/", "classic", "q") is None
    assert policies.match(OPERATOR_POLICY, "/", "classic", "q") is not None
    assert restarted(policies).of_vhost(POLICY, "/") == []
    with pytest.raises(NoSuchPolicy, match="Parameter does not exist"):
        policies.clear(POLICY, "/", "p")


def test_a_deleted_virtual_host_takes_its_policies_along(policies: Policies) -> None:
    for vhost in ("/", "gone"):
        policies.set(Policy(vhost, "p", ".*", CAP))
        policies.set(Policy(vhost, "o", ".*", CAP, kind=OPERATOR_POLICY))
    policies.clear_vhost("gone")
    again = restarted(policies)
    assert [again.of_vhost(kind, "gone") for kind in Policies.KINDS] == [[], []]
    assert [len(again.of_vhost(kind, "/")) for kind in Policies.KINDS] == [1, 1]


def test_what_cannot_be_a_policy() -> None:
    with pytest.raises(InvalidPolicy, match=r"^apply-to 'x' unrecognised; should be one of: 'queues', "):
        Policy("/", "p", ".*", CAP, apply_to="x")
    with pytest.raises(InvalidPolicy, match=r"^pattern should be regular expression but is invalid: missing \)"):
        Policy("/", "p", "(", CAP)
    with pytest.raises(InvalidPolicy, match=r"^0 is not a valid queue expiry$"):
        Policy("/", "p", "", {"expires": 0})
    with pytest.raises(InvalidPolicy, match=r"are not recognised policy settings$"):
        Policy("/", "p", "", {"dead-letter-exchange": "x"}, kind=OPERATOR_POLICY)


def test_a_stored_policy_that_cannot_be_used_any_more_is_told(
    policies: Policies, caplog: pytest.LogCaptureFixture
) -> None:
    fact = {"kind": POLICY, "vhost": "/", "name": "p", "pattern": "", "definition": {"x": 1}}
    policies.restore({**fact, "priority": 0, "apply_to": "all"})
    assert policies.of_vhost(POLICY, "/") == []
    assert "policy 'p' of virtual host '/' cannot be used any more and is left out" in caplog.text
