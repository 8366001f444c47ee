"""Verbs of permissions and topic permissions. What changes holds for connections that are open, too."""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

from amqpd.broker.patterns import InvalidPattern
from amqpd.broker.permissions import NoSuchPermission, Permission, TopicPermission
from amqpd.management.node import Node
from amqpd.management.requests import Done, Listing, Refused, Request, Result
from amqpd.management.verbs.users import find


def set_permissions(node: Node, request: Request) -> Done:
    """What a user may configure, write to and read from in a virtual host."""
    user, vhost = find(node, request.text("user")), node.vhost(request.text("vhost"))
    configure, write, read = (request.text(name) for name in ("configure", "write", "read"))
    try:
        return Done(ticket=node.broker.permissions.set(Permission(user.name, vhost.name, configure, write, read)))
    except InvalidPattern as error:
        raise Refused(f"permissions of user '{user.name}' in vhost '{vhost.name}' cannot be set: {error}") from error


def clear_permissions(node: Node, request: Request) -> Done:
    """The user may not enter the virtual host any more."""
    user, vhost = find(node, request.text("user")), node.vhost(request.text("vhost"))
    try:
        return Done(ticket=node.broker.permissions.clear(user.name, vhost.name))
    except NoSuchPermission:
        return Done()


def list_permissions(node: Node, request: Request) -> Listing:
    """Who may do what in a virtual host."""
    vhost = node.vhost(request.text("vhost"))
    given = [permission for permission in node.broker.permissions.all() if permission.vhost == vhost.name]
    return _listing(given, ["user", "configure", "write", "read"])


def list_user_permissions(node: Node, request: Request) -> Listing:
    """What a user may do where."""
    user = find(node, request.text("user"))
    given = [permission for permission in node.broker.permissions.all() if permission.user == user.name]
    return _listing(given, ["vhost", "configure", "write", "read"])


def set_topic_permissions(node: Node, request: Request) -> Done:
    """With which routing keys a user may publish to and bind to a topic exchange, which need not be there."""
    user, vhost = find(node, request.text("user")), node.vhost(request.text("vhost"))
    exchange, write, read = (request.text(name) for name in ("exchange", "write", "read"))
    try:
        return Done(
            ticket=node.broker.permissions.set_topic(TopicPermission(user.name, vhost.name, exchange, write, read))
        )
    except InvalidPattern as error:
        raise Refused(
            f"topic permissions of user '{user.name}' in vhost '{vhost.name}' cannot be set: {error}"
        ) from error


def clear_topic_permissions(node: Node, request: Request) -> Done:
    """Those with one exchange, or with all of them."""
    user, vhost = find(node, request.text("user")), node.vhost(request.text("vhost"))
    exchange = request.text("exchange", "") or None
    return Done(ticket=node.broker.permissions.clear_topic(user.name, vhost.name, exchange))


def list_topic_permissions(node: Node, request: Request) -> Listing:
    """Who may use which routing keys in a virtual host."""
    vhost = node.vhost(request.text("vhost"))
    given = [permission for permission in node.broker.permissions.all_topics() if permission.vhost == vhost.name]
    return _listing(given, ["user", "exchange", "write", "read"])


def list_user_topic_permissions(node: Node, request: Request) -> Listing:
    """Which routing keys a user may use where."""
    user = find(node, request.text("user"))
    given = [permission for permission in node.broker.permissions.all_topics() if permission.user == user.name]
    return _listing(given, ["vhost", "exchange", "write", "read"])


def _listing(given: Sequence[Permission | TopicPermission], columns: list[str]) -> Listing:
    """Attributes of each as its row."""
    return Listing(columns, ([getattr(permission, column) for column in columns] for permission in given))


VERBS: Final[Mapping[str, Callable[[Node, Request], Result]]] = {
    "set_permissions": set_permissions,
    "clear_permissions": clear_permissions,
    "list_permissions": list_permissions,
    "list_user_permissions": list_user_permissions,
    "set_topic_permissions": set_topic_permissions,
    "clear_topic_permissions": clear_topic_permissions,
    "list_topic_permissions": list_topic_permissions,
    "list_user_topic_permissions": list_user_topic_permissions,
}
