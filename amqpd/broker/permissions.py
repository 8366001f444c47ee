"""What users may do in which virtual host: names that they may configure, write to and read from, as patterns; and with
which routing keys, for topic exchanges.

Rules and texts: RabbitMQ's, Access Control. A user without permissions in a virtual host may not enter it. An empty
pattern matches the empty name alone. Where there is no topic permission, every routing key is allowed.
"""

import logging
import re
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

from amqpd import limits
from amqpd.broker import records
from amqpd.broker.journal import Journal
from amqpd.broker.patterns import InvalidPattern, Pattern
from amqpd.broker.ports import ENTITIES, THERE
from amqpd.broker.users import GUEST
from amqpd.errors import AccessRefused

logger = logging.getLogger("amqpd.permissions")

Verb = Literal["configure", "write", "read"]
_VARIABLE: Final = re.compile(r"\{(username|vhost|client_id)\}")
_NOTHING: Final = "(?!)"
_DEFAULT_EXCHANGE: Final = "amq.default"  # what the exchange "" is called in patterns


class NoSuchPermission(LookupError):
    """There is none to be cleared."""


class Permission(NamedTuple):
    """Of one user in one virtual host."""

    user: str
    vhost: str
    configure: str
    write: str
    read: str


class TopicPermission(NamedTuple):
    """Of one user in one virtual host: routing keys with one topic exchange."""

    user: str
    vhost: str
    exchange: str
    write: str
    read: str


class Permissions:
    """All of them. ``on_change`` is called after each change: what was allowed before may be remembered somewhere."""

    KINDS: Final = ("permission", "topic_permission", "permissions")

    def __init__(self, journal: Journal, on_change: Callable[[], None]) -> None:
        self.journal = journal
        self.on_change = on_change
        everything = Permission(GUEST.name, "/", ".*", ".*", ".*")
        self._permissions = {(everything.user, everything.vhost): everything}
        self._topics: dict[tuple[str, str], dict[str, TopicPermission]] = {}
        self._is_stored = False  # guest's are not, before somebody changes something
        self._patterns: dict[str, Pattern] = {}

    def restore(self, fact: dict[str, Any]) -> None:
        """Take what the store holds: a permission, or the mark that says that it holds all of them."""
        if not self._is_stored:
            self._is_stored = True
            self._permissions.clear()
        fields = {name: value for name, value in fact.items() if name != "kind"}
        if fact["kind"] == "permission":
            permission = Permission(**fields)
            self._add(permission)
            for text in (permission.configure, permission.write, permission.read):
                self._pattern(text)  # now, and not when a message comes
        elif fact["kind"] == "topic_permission":
            self._add_topic(TopicPermission(**fields))

    # -- questions --

    def may_enter(self, user: str, vhost: str) -> bool:
        return (user, vhost) in self._permissions

    def check(self, user: str, vhost: str, verb: Verb, kind: str, name: str) -> None:
        """Whether ``user`` may do that with the ``kind`` (queue or exchange) called ``name``. Raises AccessRefused."""
        name = name or _DEFAULT_EXCHANGE
        permission = self._permissions.get((user, vhost))
        if permission is None or not self._pattern(getattr(permission, verb)).matches(name):
            raise AccessRefused(f"{verb} access to {kind} '{name}' in vhost '{vhost}' refused for user '{user}'")

    def check_topic(self, user: str, vhost: str, verb: Verb, exchange: str, key: str) -> None:
        """The same for a routing key of a topic exchange. Raises AccessRefused."""
        permission = self._topics.get((user, vhost), {}).get(exchange)
        if permission is not None:
            text = _expand(getattr(permission, verb), user, vhost)
            if not self._pattern(text).matches(key):
                raise AccessRefused(
                    f"{verb} access to topic '{key}' in exchange '{exchange}' in vhost '{vhost}' "
                    f"refused for user '{user}'"
                )

    def has_topic(self, user: str, vhost: str, exchange: str) -> bool:
        """Whether ``check_topic`` has anything to look at."""
        return exchange in self._topics.get((user, vhost), {})

    def _pattern(self, text: str) -> Pattern:
        pattern = self._patterns.get(text)
        if pattern is None:
            try:
                pattern = _compiled(text)
            except InvalidPattern as error:  # set by another version of amqpd
                logger.error("a permission cannot be used any more, and allows nothing: %s", error)
                pattern = Pattern(_NOTHING)
            if len(self._patterns) >= limits.PATTERNS_MAX:
                self._patterns.clear()
            self._patterns[text] = pattern
        return pattern

    # -- changes --

    def set(self, permission: Permission) -> int:
        """Give it, in the place of what the user has in that virtual host; the ticket. Raises InvalidPattern."""
        for text in (permission.configure, permission.write, permission.read):
            _compiled(text)
        self._begin()
        self._add(permission)
        self.on_change()
        return self._write(permission)

    def clear(self, user: str, vhost: str) -> int:
        """Take it back: the user may not enter any more, and who is there may do nothing. Raises NoSuchPermission."""
        if (user, vhost) not in self._permissions:
            raise NoSuchPermission(f"user '{user}' has no permissions in vhost '{vhost}'")
        self._begin()
        del self._permissions[user, vhost]
        self.on_change()
        return self.journal.delete(THERE | ENTITIES, records.entity_key("permission", user, vhost))

    def set_topic(self, permission: TopicPermission) -> int:
        """The same for one topic exchange, which need not be there. Raises InvalidPattern."""
        for text in (permission.write, permission.read):
            _compiled(_expand(text, permission.user, permission.vhost))
        self._begin()
        self._add_topic(permission)
        self.on_change()
        names = (permission.user, permission.vhost, permission.exchange)
        return self.journal.put(ENTITIES, *records.entity_row("topic_permission", names, permission._asdict()))

    def clear_topic(self, user: str, vhost: str, exchange: str | None = None) -> int:
        """Lift those of ``exchange``, or of every one; the ticket, 0 when there were none."""
        self._begin()
        topics = self._topics.get((user, vhost), {})
        ticket = 0
        for name in list(topics) if exchange is None else topics.keys() & {exchange}:
            del topics[name]
            key = records.entity_key("topic_permission", user, vhost, name)
            ticket = self.journal.delete(THERE | ENTITIES, key)
        self.on_change()
        return ticket

    def clear_user(self, user: str) -> None:
        """Forget a user that is deleted."""
        self._clear_all([place for place in self._places() if place[0] == user])

    def clear_vhost(self, vhost: str) -> None:
        """Forget a virtual host that is deleted."""
        self._clear_all([place for place in self._places() if place[1] == vhost])

    def _places(self) -> list[tuple[str, str]]:
        return list(self._permissions.keys() | self._topics.keys())

    def _clear_all(self, places: list[tuple[str, str]]) -> None:
        for user, vhost in places:
            if self.may_enter(user, vhost):
                self.clear(user, vhost)
            self.clear_topic(user, vhost)

    # -- lists --

    def all(self) -> list[Permission]:
        """Every permission, by virtual host and user."""
        return sorted(self._permissions.values(), key=lambda permission: (permission.vhost, permission.user))

    def all_topics(self) -> list[TopicPermission]:
        """Every topic permission, by virtual host, user and exchange."""
        topics = [permission for group in self._topics.values() for permission in group.values()]
        return sorted(topics, key=lambda permission: (permission.vhost, permission.user, permission.exchange))

    # -- what is kept --

    def _add(self, permission: Permission) -> None:
        self._permissions[permission.user, permission.vhost] = permission

    def _add_topic(self, permission: TopicPermission) -> None:
        self._topics.setdefault((permission.user, permission.vhost), {})[permission.exchange] = permission

    def _begin(self) -> None:
        """Before the first change: what holds from now on is in the store."""
        if not self._is_stored:
            self._is_stored = True
            self.journal.put(ENTITIES, *records.entity_row("permissions", (), {}))
            for permission in self._permissions.values():
                self._write(permission)

    def _write(self, permission: Permission) -> int:
        names = (permission.user, permission.vhost)
        return self.journal.put(ENTITIES, *records.entity_row("permission", names, permission._asdict()))


def _compiled(text: str) -> Pattern:
    """Raises InvalidPattern."""
    return Pattern(text or "^$")


def _expand(text: str, user: str, vhost: str) -> str:
    """The variables of a topic permission replaced by what they stand for, which is no pattern even if it looks like
    one. AMQP 0-9-1 has no client id, so that one stands for itself."""
    values = {"username": user, "vhost": vhost, "client_id": "{client_id}"}
    return _VARIABLE.sub(lambda found: re.escape(values[found[1]]), text)
