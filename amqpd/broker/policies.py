"""Policies and operator policies: what operators say about all queues and exchanges of which the names match.

Owns which policy applies to a name; what a policy may say is in ``policy_keys.py``, and what comes of it together with
a queue's own arguments in ``arguments.py``. Knows no queue: who changes a policy has the virtual host apply it.
Rules: RabbitMQ, Policies. Of several that match, the one with the highest priority applies, alone.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from amqpd.broker import records
from amqpd.broker.journal import Journal
from amqpd.broker.patterns import InvalidPattern, Pattern
from amqpd.broker.policy_keys import FOREIGN_KEYS, InvalidDefinition, check_definition
from amqpd.broker.ports import ENTITIES, THERE

logger = logging.getLogger("amqpd.policies")

POLICY: Final = "policy"
OPERATOR_POLICY: Final = "operator_policy"
EXCHANGE: Final = "exchange"  # beside the types of queues, a kind of thing that a policy may be for

_APPLIES_TO: Final[Mapping[str, frozenset[str]]] = {
    "queues": frozenset(("classic", "quorum", "stream")),
    "classic_queues": frozenset(("classic",)),
    "quorum_queues": frozenset(("quorum",)),
    "streams": frozenset(("stream",)),
    "exchanges": frozenset((EXCHANGE,)),
    "all": frozenset(("classic", "quorum", "stream", EXCHANGE)),
}


class InvalidPolicy(ValueError):
    """What is wrong with a policy, in RabbitMQ's words."""


class NoSuchPolicy(LookupError):
    """There is no policy of that name."""


@dataclass(frozen=True, slots=True)
class Policy:
    """One of them. Raises InvalidPolicy when made of what will not do."""

    vhost: str
    name: str
    pattern: str
    definition: Mapping[str, Any]
    priority: int = 0
    apply_to: str = "all"
    kind: str = POLICY
    compiled: Pattern = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.apply_to not in _APPLIES_TO:
            *most, last = (f"'{word}'" for word in _APPLIES_TO)
            raise InvalidPolicy(
                f"apply-to '{self.apply_to}' unrecognised; should be one of: {', '.join(most)}, or {last}"
            )
        try:
            object.__setattr__(self, "compiled", Pattern(self.pattern))
            check_definition(self.definition, operator=self.kind == OPERATOR_POLICY)
        except InvalidPattern as error:
            why = str(error).removeprefix(f"invalid pattern {self.pattern!r}: ")
            raise InvalidPolicy(f"pattern should be regular expression but is invalid: {why}") from error
        except InvalidDefinition as error:
            raise InvalidPolicy(str(error)) from error

    def is_for(self, thing: str, name: str) -> bool:
        """Whether it applies to a queue of the type ``thing``, or to an EXCHANGE, of this name."""
        return (
            thing in _APPLIES_TO[self.apply_to]
            and not self.definition.keys() & FOREIGN_KEYS[thing]
            and self.compiled.matches(name)
        )


class Policies:
    """All policies of all virtual hosts, of both kinds."""

    KINDS: Final = (POLICY, OPERATOR_POLICY)

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        # By kind and virtual host, in the order in which they are asked: highest priority first.
        self._groups: dict[tuple[str, str], list[Policy]] = {}

    def restore(self, fact: dict[str, Any]) -> None:
        """Take a policy that the store holds."""
        try:
            self._add(Policy(**fact))
        except InvalidPolicy as error:
            words = "%s %r of virtual host %r cannot be used any more and is left out: %s"
            logger.error(words, fact["kind"], fact["name"], fact["vhost"], error)

    def set(self, policy: Policy) -> int:
        """Add it, in the place of the one of this name if there is one; the ticket that holds it."""
        self._add(policy)
        fact = {
            "vhost": policy.vhost,
            "name": policy.name,
            "pattern": policy.pattern,
            "definition": dict(policy.definition),
            "priority": policy.priority,
            "apply_to": policy.apply_to,
        }
        return self.journal.put(ENTITIES, *records.entity_row(policy.kind, (policy.vhost, policy.name), fact))

    def clear(self, kind: str, vhost: str, name: str) -> int:
        """Remove it; the ticket that holds the removal. Raises NoSuchPolicy."""
        policy = self.find(kind, vhost, name)
        if policy is None:
            raise NoSuchPolicy("Parameter does not exist")
        self._groups[kind, vhost].remove(policy)
        return self.journal.delete(THERE | ENTITIES, records.entity_key(kind, vhost, name))

    def clear_vhost(self, vhost: str) -> None:
        """Forget a virtual host that is deleted."""
        for kind in self.KINDS:
            for policy in self.of_vhost(kind, vhost):
                self.clear(kind, vhost, policy.name)

    def find(self, kind: str, vhost: str, name: str) -> Policy | None:
        """The policy of this name."""
        return next((policy for policy in self._groups.get((kind, vhost), ()) if policy.name == name), None)

    def of_vhost(self, kind: str, vhost: str) -> list[Policy]:
        """All of a kind, in the order in which they are asked."""
        return list(self._groups.get((kind, vhost), ()))

    def match(self, kind: str, vhost: str, thing: str, name: str) -> Policy | None:
        """The one that applies to a queue of type ``thing``, or to an EXCHANGE, of this name."""
        return next((policy for policy in self._groups.get((kind, vhost), ()) if policy.is_for(thing, name)), None)

    def _add(self, policy: Policy) -> None:
        group = self._groups.setdefault((policy.kind, policy.vhost), [])
        group[:] = [other for other in group if other.name != policy.name]
        group.append(policy)
        group.sort(key=lambda policy: (-policy.priority, policy.name))
