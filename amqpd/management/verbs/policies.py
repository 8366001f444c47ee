"""Verbs of policies and operator policies."""

import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from amqpd.broker.policies import OPERATOR_POLICY, POLICY, InvalidPolicy, NoSuchPolicy, Policy
from amqpd.management.node import Node
from amqpd.management.requests import Done, Listing, Misused, Refused, Request, Result

_WORDS: Final = {POLICY: "policy", OPERATOR_POLICY: "operator policy"}
_COLUMNS: Final = ["vhost", "name", "pattern", "apply-to", "definition", "priority"]


def set_policy(node: Node, request: Request, kind: str) -> Done:
    """A policy, in the place of the one of this name if there is one; it applies at once."""
    vhost = node.vhost(request.text("vhost"))
    name = request.text("name")
    try:
        policy = Policy(
            vhost.name,
            name,
            request.text("pattern"),
            parse_object("definition", request.text("definition")),
            request.whole("priority", 0),
            request.text("apply_to", "all"),
            kind,
        )
    except InvalidPolicy as error:
        raise Refused(f"{_WORDS[kind]} '{name}' cannot be set: {error}") from error
    ticket = node.broker.policies.set(policy)
    vhost.apply_policies()
    return Done(ticket=ticket)


def clear_policy(node: Node, request: Request, kind: str) -> Done:
    """It applies no more, at once."""
    vhost = node.vhost(request.text("vhost"))
    name = request.text("name")
    try:
        ticket = node.broker.policies.clear(kind, vhost.name, name)
    except NoSuchPolicy as error:
        raise Refused(f"{_WORDS[kind]} '{name}' does not exist in virtual host '{vhost.name}'") from error
    vhost.apply_policies()
    return Done(ticket=ticket)


def list_policies(node: Node, request: Request, kind: str) -> Listing:
    """In the order in which they are asked whether they apply."""
    vhost = node.vhost(request.text("vhost"))
    rows = (
        [policy.vhost, policy.name, policy.pattern, policy.apply_to, policy.definition, policy.priority]
        for policy in node.broker.policies.of_vhost(kind, vhost.name)
    )
    return Listing(_COLUMNS, rows)


def parse_object(name: str, text: str) -> dict[str, Any]:
    """The object of JSON that an operator wrote. Raises Misused."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Misused(f'{name} is not JSON: {error}; it is an object like {{"max-length": 100}}') from None
    if not isinstance(value, dict):
        raise Misused(f'{name} must be an object of JSON like {{"max-length": 100}}, this is {text[:60]}')
    return value


def _of(kind: str, verb: Callable[[Node, Request, str], Result]) -> Callable[[Node, Request], Result]:
    return lambda node, request: verb(node, request, kind)


VERBS: Final[Mapping[str, Callable[[Node, Request], Result]]] = {
    "set_policy": _of(POLICY, set_policy),
    "clear_policy": _of(POLICY, clear_policy),
    "list_policies": _of(POLICY, list_policies),
    "set_operator_policy": _of(OPERATOR_POLICY, set_policy),
    "clear_operator_policy": _of(OPERATOR_POLICY, clear_policy),
    "list_operator_policies": _of(OPERATOR_POLICY, list_policies),
}
