"""Verbs of the limits of virtual hosts and of users."""

from collections.abc import Callable, Mapping
from typing import Final

from amqpd.broker.vhost_limits import NAMES, USER_LIMITS, VHOST_LIMITS, InvalidLimit, Kind
from amqpd.management.node import Node
from amqpd.management.requests import Done, Listing, Misused, Refused, Request, Result
from amqpd.management.verbs.policies import parse_object
from amqpd.management.verbs.users import find


def set_vhost_limits(node: Node, request: Request) -> Done:
    """These, and no others."""
    vhost = node.vhost(request.text("vhost"))
    return _set(node, VHOST_LIMITS, vhost.name, request)


def set_user_limits(node: Node, request: Request) -> Done:
    """These, beside those that the user has."""
    user = find(node, request.text("user"))
    return _set(node, USER_LIMITS, user.name, request)


def clear_vhost_limits(node: Node, request: Request) -> Done:
    """All of a virtual host."""
    vhost = node.vhost(request.text("vhost"))
    return Done(ticket=node.broker.limits.clear(VHOST_LIMITS, vhost.name))


def clear_user_limits(node: Node, request: Request) -> Done:
    """One limit of a user, or all."""
    user, limit = find(node, request.text("user")), request.text("limit")
    if limit == "all":
        return Done(ticket=node.broker.limits.clear(USER_LIMITS, user.name))
    if limit not in NAMES[USER_LIMITS]:
        raise Misused(f"{limit} is no limit of a user: {', '.join(NAMES[USER_LIMITS])} are, and all")
    left = {name: value for name, value in node.broker.limits.of(USER_LIMITS, user.name).items() if name != limit}
    return Done(ticket=node.broker.limits.set(USER_LIMITS, user.name, left))


def list_vhost_limits(node: Node, request: Request) -> Listing:
    """Those of one virtual host, or of all that have some."""
    if request.flag("everywhere"):
        return _all(node, VHOST_LIMITS, "vhost")
    vhost = node.vhost(request.text("vhost"))
    return _of(node, VHOST_LIMITS, vhost.name)


def list_user_limits(node: Node, request: Request) -> Listing:
    """Those of one user, or of all that have some."""
    if request.flag("everywhere"):
        return _all(node, USER_LIMITS, "user")
    return _of(node, USER_LIMITS, find(node, request.text("user")).name)


def _set(node: Node, kind: Kind, name: str, request: Request) -> Done:
    limits = parse_object("definition", request.text("definition"))
    kept = node.broker.limits.of(kind, name) if kind == USER_LIMITS else {}
    try:
        return Done(ticket=node.broker.limits.set(kind, name, {**kept, **limits}))
    except InvalidLimit as error:
        raise Refused(f"limits of '{name}' cannot be set: {error}") from error


def _of(node: Node, kind: Kind, name: str) -> Listing:
    return Listing(["limits"], iter([[node.broker.limits.of(kind, name)]]))


def _all(node: Node, kind: Kind, column: str) -> Listing:
    return Listing([column, "limits"], ([name, limits] for name, limits in node.broker.limits.all(kind).items()))


VERBS: Final[Mapping[str, Callable[[Node, Request], Result]]] = {
    "set_vhost_limits": set_vhost_limits,
    "clear_vhost_limits": clear_vhost_limits,
    "list_vhost_limits": list_vhost_limits,
    "set_user_limits": set_user_limits,
    "clear_user_limits": clear_user_limits,
    "list_user_limits": list_user_limits,
}
