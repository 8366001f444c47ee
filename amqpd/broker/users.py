"""Accounts: who there is, with what password and which tags. Whether somebody is who he says: ``logins.py``; what one
may do: ``permissions.py``.

A broker that was never told otherwise has one user, guest, as a fresh RabbitMQ has it.
"""

from dataclasses import dataclass
from typing import Any, Final

from amqpd import limits
from amqpd.broker import passwords, records
from amqpd.broker.journal import Journal
from amqpd.broker.passwords import PasswordHash
from amqpd.broker.ports import ENTITIES, THERE


class InvalidUser(ValueError):
    """What no user can be called, or tagged with."""


class NoSuchUser(LookupError):
    """There is no user of that name."""


@dataclass(frozen=True, slots=True)
class User:
    """An account. Raises InvalidUser when made with a name or tags that will not do."""

    name: str
    password: PasswordHash
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name:
            raise InvalidUser("user cannot be empty string")
        _check_text("user name", self.name)
        for tag in self.tags:
            _check_text("tag", tag)
            if not tag or "," in tag or tag != tag.strip():
                raise InvalidUser(f"tag {tag!r} is empty, has a comma, or blanks around it")
        if len(self.tags) > limits.USER_TAGS_MAX:
            raise InvalidUser(f"{len(self.tags)} tags are more than {limits.USER_TAGS_MAX}")


def _check_text(what: str, text: str) -> None:
    try:
        size = len(text.encode())
    except UnicodeEncodeError as error:
        raise InvalidUser(f"{what} {text!r} is no Unicode text") from error
    if size > limits.SHORTSTR_MAX_BYTES:
        raise InvalidUser(f"{what} of {size} bytes is longer than {limits.SHORTSTR_MAX_BYTES}")
    if not text.isprintable():
        raise InvalidUser(f"{what} {text!r} has characters that cannot be seen")


# The password is no secret, so its digest needs no salt of its own, and a login costs nothing.
GUEST: Final = User("guest", passwords.hash_like_rabbitmq(b"guest", b"salt"), ("administrator",))


class Users:
    """The accounts by name."""

    KINDS: Final = ("user", "users")

    def __init__(self, journal: Journal) -> None:
        self.journal = journal
        self._by_name = {GUEST.name: GUEST}
        self._is_stored = False  # guest is not, before somebody changes a user

    def restore(self, fact: dict[str, Any]) -> None:
        """Take what the store holds: a user, or the mark that says that it holds all of them."""
        if not self._is_stored:
            self._is_stored = True
            self._by_name.clear()
        if fact["kind"] == "user":
            kept = PasswordHash(fact["hashing_algorithm"], fact["password_hash"])
            self._by_name[fact["name"]] = User(fact["name"], kept, tuple(fact["tags"]))

    def find(self, name: str) -> User | None:
        return self._by_name.get(name)

    def get(self, name: str) -> User:
        """Raises NoSuchUser."""
        user = self._by_name.get(name)
        if user is None:
            raise NoSuchUser(f"user '{name}' does not exist")
        return user

    def all(self) -> list[User]:
        """Every user, by name."""
        return [self._by_name[name] for name in sorted(self._by_name)]

    def set(self, user: User) -> int:
        """Add ``user``, or change the one of this name to it; the ticket that holds that."""
        self._begin()
        self._by_name[user.name] = user
        return self._write(user)

    def delete(self, name: str) -> int:
        """The ticket that holds it. Raises NoSuchUser. What else knows the user is ``Broker.delete_user``'s."""
        self.get(name)
        self._begin()
        del self._by_name[name]
        return self.journal.delete(THERE | ENTITIES, records.entity_key("user", name))

    def _begin(self) -> None:
        """Before the first change: what holds from now on is in the store, so that a deleted guest does not return."""
        if not self._is_stored:
            self._is_stored = True
            self.journal.put(ENTITIES, *records.entity_row("users", (), {}))
            for user in self._by_name.values():
                self._write(user)

    def _write(self, user: User) -> int:
        fact = {
            "name": user.name,
            "hashing_algorithm": user.password.algorithm,
            "password_hash": user.password.text,
            "tags": list(user.tags),
        }
        return self.journal.put(ENTITIES, *records.entity_row("user", (user.name,), fact))
