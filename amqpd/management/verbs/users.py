"""Verbs of users. Digests of passwords are slow on purpose: they are made and looked at in a thread."""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from amqpd.broker import passwords, tables
from amqpd.broker.passwords import PasswordHash
from amqpd.broker.users import InvalidUser, NoSuchUser, User
from amqpd.management.node import Node
from amqpd.management.requests import Aside, Done, Listing, Refused, Request, Result

SALT_BYTES: Final = 16


def list_users(node: Node, request: Request) -> Listing:
    """All users, by name."""
    return Listing(["user", "tags"], ([user.name, list(user.tags)] for user in node.broker.users.all()))


def add_user(node: Node, request: Request) -> Aside:
    """A user without permissions. An empty password is one that nobody has."""
    name = request.text("name")
    _check_new(node, name)

    def add(kept: PasswordHash) -> Done:
        _check_new(node, name)
        return Done(ticket=_set(node, name, kept))

    return _hashed(request, add)


def change_password(node: Node, request: Request) -> Aside:
    """A user's new password; who is logged in stays."""
    name = request.text("name")
    find(node, name)
    return _hashed(request, lambda kept: Done(ticket=node.broker.users.set(replace(find(node, name), password=kept))))


def clear_password(node: Node, request: Request) -> Done:
    """A user may not log in with a password any more."""
    user = find(node, request.text("name"))
    return Done(ticket=node.broker.users.set(replace(user, password=passwords.NO_PASSWORD)))


def authenticate_user(node: Node, request: Request) -> Aside:
    """Whether that is the user's password."""
    user = find(node, request.text("name"))
    password = tables.bytes_of(request.text("password"))

    def say(is_right: bool) -> Done:
        if not is_right:
            raise Refused(f"user '{user.name}' exists, but has another password (or none to log in with)")
        return Done()

    return Aside(lambda: passwords.is_right(user.password, password), say)


def set_user_tags(node: Node, request: Request) -> Done:
    """These tags, and no others."""
    user = find(node, request.text("name"))
    try:
        return Done(ticket=node.broker.users.set(replace(user, tags=tuple(request.texts("tags")))))
    except InvalidUser as error:
        raise Refused(f"the tags of user '{user.name}' cannot be set: {error}") from error


def delete_user(node: Node, request: Request) -> Done:
    """A user with permissions and limits."""
    user = find(node, request.text("name"))
    return Done(ticket=node.broker.delete_user(user.name))


def find(node: Node, name: str) -> User:
    """The user of this name. Raises Refused."""
    try:
        return node.broker.users.get(name)
    except NoSuchUser as error:
        raise Refused(f"User '{name}' does not exist: amqpd ctl list_users shows those that do") from error


def _hashed(request: Request, then: Callable[[PasswordHash], Done]) -> Aside:
    password = tables.bytes_of(request.text("password"))
    return Aside(lambda: passwords.hash_password(password, secrets.token_bytes(SALT_BYTES)), then)


def _check_new(node: Node, name: str) -> None:
    if node.broker.users.find(name) is not None:
        raise Refused(f"User '{name}' already exists: amqpd ctl change_password gives another password")


def _set(node: Node, name: str, kept: PasswordHash) -> int:
    try:
        return node.broker.users.set(User(name, kept))
    except InvalidUser as error:
        raise Refused(f"User '{name}' cannot be added: {error}") from error


VERBS: Final[Mapping[str, Callable[[Node, Request], Result]]] = {
    "list_users": list_users,
    "add_user": add_user,
    "change_password": change_password,
    "clear_password": clear_password,
    "authenticate_user": authenticate_user,
    "set_user_tags": set_user_tags,
    "delete_user": delete_user,
}
