"""Accounts, and who may log in from where. One user for now, guest, as a fresh RabbitMQ has it: from loopback only."""

import hmac
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class User:
    """An account. ``loopback_only``: refused when the peer's address is not a loopback one."""

    name: str
    password: str
    loopback_only: bool
    tags: tuple[str, ...] = ()


class Users:
    """The accounts by name."""

    def __init__(self) -> None:
        self._by_name: dict[str, User] = {}

    def add(self, user: User) -> None:
        self._by_name[user.name] = user

    def authenticate(self, name: str, password: bytes, *, is_loopback: bool) -> User | None:
        """The user, or None: no such user, wrong password, and a place it may not come from look the same to the
        peer."""
        user = self._by_name.get(name)
        expected = user.password.encode() if user else b""
        is_right = hmac.compare_digest(expected, password)
        if user is None or not is_right or (user.loopback_only and not is_loopback):
            return None
        return user


def guest() -> User:
    """RabbitMQ's first user."""
    return User("guest", "guest", loopback_only=True, tags=("administrator",))
