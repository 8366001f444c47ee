"""Definitions in, first half: from JSON to a plan of what to declare, or to a list of everything that is wrong.

Takes what RabbitMQ writes, 3.8 to 4.x, by rabbitmqctl and by its HTTP API. Knows no broker: what of a plan cannot be
done with one is found in ``adoption.py``.
"""

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from amqpd.broker import passwords, tables
from amqpd.broker.bindings import Binding
from amqpd.broker.fields import Table
from amqpd.broker.passwords import InvalidHash, PasswordHash
from amqpd.broker.patterns import InvalidPattern, Pattern
from amqpd.broker.permissions import Permission, TopicPermission
from amqpd.broker.policies import OPERATOR_POLICY, POLICY, InvalidPolicy, Policy
from amqpd.broker.users import InvalidUser, User
from amqpd.broker.vhost_limits import USER_LIMITS, VHOST_LIMITS, InvalidLimit, Kind, check_limits
from amqpd.management.definitions.entry import Entry, Wrong

SALT_BYTES: Final = 16
PROBLEMS_SHOWN: Final = 20
TOPIC_VARIABLES: Final = ("{username}", "{vhost}", "{client_id}")


class InvalidDefinitions(ValueError):
    """A file that cannot be imported: a line for each object that is wrong, up to a number that one can read."""

    def __init__(self, problems: list[str]) -> None:
        shown = problems[:PROBLEMS_SHOWN]
        more = len(problems) - len(shown)
        super().__init__("\n  ".join([*shown, *([f"... and {more} more"] if more else [])]))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class PlannedVhost:
    """A virtual host. ``is_described``: the file says more of it than its name."""

    name: str
    description: str
    tags: tuple[str, ...]
    default_queue_type: str
    is_described: bool


@dataclass(frozen=True, slots=True)
class PlannedExchange:
    """An exchange, its type by name."""

    vhost: str
    name: str
    type_name: str
    durable: bool
    auto_delete: bool
    internal: bool
    arguments: Table


@dataclass(frozen=True, slots=True)
class PlannedQueue:
    """A queue."""

    vhost: str
    name: str
    durable: bool
    auto_delete: bool
    arguments: Table


@dataclass(frozen=True, slots=True)
class PlannedParameter:
    """A runtime parameter; a global one has neither virtual host nor component."""

    vhost: str
    component: str
    name: str
    value: Any


@dataclass(slots=True)
class Plan:
    """Everything that a file says, in the order in which it is to be done. All of it is valid by itself."""

    users: list[User] = field(default_factory=list)
    vhosts: list[PlannedVhost] = field(default_factory=list)
    permissions: list[Permission] = field(default_factory=list)
    topic_permissions: list[TopicPermission] = field(default_factory=list)
    limits: dict[tuple[Kind, str], Mapping[str, int]] = field(default_factory=dict)  # by whose they are
    parameters: list[PlannedParameter] = field(default_factory=list)
    policies: list[Policy] = field(default_factory=list)
    exchanges: list[PlannedExchange] = field(default_factory=list)
    queues: list[PlannedQueue] = field(default_factory=list)
    bindings: list[tuple[str, Binding]] = field(default_factory=list)  # with their virtual hosts


def read(document: object, vhost: str | None = None) -> Plan:
    """The plan of a file's JSON. ``vhost``: where the objects go that do not say it. Raises InvalidDefinitions.

    Slow where the file has passwords instead of their hashes.
    """
    if not isinstance(document, dict):
        raise InvalidDefinitions(["the file must be an object of JSON, as `rabbitmqctl export_definitions` writes it"])
    reader = _Reader(vhost)
    for section, noun, take in reader.sections():
        entries = document.get(section, [])
        if not isinstance(entries, list):
            reader.problems.append(f"{section} must be a list of objects")
            continue
        for number, fields in enumerate(entries):
            reader.take(f"{section}[{number}]", noun, fields, take)
    if reader.problems:
        raise InvalidDefinitions(reader.problems)
    return reader.plan


class _Reader:
    def __init__(self, vhost: str | None) -> None:
        self.plan = Plan()
        self.problems: list[str] = []
        self._vhost = vhost

    def sections(self) -> list[tuple[str, str, Callable[[Entry], None]]]:
        """Of a file, in the order in which they are done: name, what one object is called, who takes it."""
        return [
            ("users", "user", self._user),
            ("vhosts", "vhost", self._virtual_host),
            ("permissions", "permissions of user", self._permission),
            ("topic_permissions", "topic permissions of user", self._topic_permission),
            ("parameters", "parameter", self._parameter),
            ("global_parameters", "global parameter", self._global_parameter),
            ("policies", "policy", self._policy),
            ("exchanges", "exchange", self._exchange),
            ("queues", "queue", self._queue),
            ("bindings", "binding from", self._binding),
        ]

    def take(self, place: str, noun: str, fields: object, take: Callable[[Entry], None]) -> None:
        if not isinstance(fields, dict):
            self.problems.append(f"{place} must be an object")
            return
        entry = Entry(noun, fields, self._vhost)
        try:
            take(entry)
        except (Wrong, InvalidUser, InvalidHash, InvalidPattern, InvalidPolicy, InvalidLimit) as error:
            self.problems.append(f"{place}, {entry.place}: {error}")

    # -- one object each --

    def _user(self, entry: Entry) -> None:
        name = entry.text("name")
        self.plan.users.append(User(name, _password(entry), entry.words("tags")))
        self._limits(USER_LIMITS, name, entry.object("limits"))

    def _virtual_host(self, entry: Entry) -> None:
        name, about = entry.name("name"), entry.inside("metadata")
        queue_type = about.text("default_queue_type", "")
        self.plan.vhosts.append(
            PlannedVhost(
                name,
                about.text("description", ""),
                about.words("tags"),
                "" if queue_type == "undefined" else queue_type,
                any(about.has(word) for word in ("description", "tags", "default_queue_type")),
            )
        )
        self._limits(VHOST_LIMITS, name, entry.object("limits"))

    def _limits(self, kind: Kind, name: str, limits: Mapping[str, Any]) -> None:
        check_limits(kind, limits)
        if limits:
            self.plan.limits[kind, name] = limits

    def _permission(self, entry: Entry) -> None:
        patterns = [_pattern(entry, name) for name in ("configure", "write", "read")]
        self.plan.permissions.append(Permission(entry.text("user"), entry.vhost(), *patterns))

    def _topic_permission(self, entry: Entry) -> None:
        write, read = (_pattern(entry, name, TOPIC_VARIABLES) for name in ("write", "read"))
        user, exchange = entry.text("user"), entry.name("exchange")
        self.plan.topic_permissions.append(TopicPermission(user, entry.vhost(), exchange, write, read))

    def _parameter(self, entry: Entry) -> None:
        component, name, vhost = entry.text("component"), entry.text("name"), entry.vhost()
        if component == OPERATOR_POLICY:
            self._policy(entry.part("value", "operator policy"), OPERATOR_POLICY)
        elif component == "vhost-limits":
            self._limits(VHOST_LIMITS, vhost, entry.object("value"))
        else:
            self.plan.parameters.append(PlannedParameter(vhost, component, name, entry.any("value")))

    def _global_parameter(self, entry: Entry) -> None:
        self.plan.parameters.append(PlannedParameter("", "", entry.text("name"), entry.any("value")))

    def _policy(self, entry: Entry, kind: str = POLICY) -> None:
        self.plan.policies.append(
            Policy(
                entry.vhost(),
                entry.text("name"),
                entry.text("pattern"),
                entry.object("definition"),
                entry.whole("priority"),
                entry.text("apply-to", "all"),
                kind,
            )
        )

    def _exchange(self, entry: Entry) -> None:
        self.plan.exchanges.append(
            PlannedExchange(
                entry.vhost(),
                entry.name("name"),
                entry.text("type"),
                entry.flag("durable"),
                entry.flag("auto_delete"),
                entry.flag("internal"),
                entry.table("arguments"),
            )
        )

    def _queue(self, entry: Entry) -> None:
        self.plan.queues.append(
            PlannedQueue(
                entry.vhost(),
                entry.name("name"),
                entry.flag("durable"),
                entry.flag("auto_delete"),
                entry.table("arguments"),
            )
        )

    def _binding(self, entry: Entry) -> None:
        kind = entry.text("destination_type")
        if kind not in ("queue", "exchange"):
            raise Wrong(f"destination_type must be queue or exchange, not {kind!r}")
        binding = Binding(
            entry.name("source"),
            entry.name("destination"),
            kind == "queue",
            entry.name("routing_key", ""),
            entry.table("arguments"),
        )
        self.plan.bindings.append((entry.vhost(), binding))


def _password(entry: Entry) -> PasswordHash:
    """Its hash, or one made of the password itself."""
    if entry.has("password_hash"):
        algorithm = entry.text("hashing_algorithm", passwords.RABBIT_SHA256)
        return passwords.read_hash(algorithm, entry.text("password_hash"))
    if entry.has("password"):
        return passwords.hash_password(tables.bytes_of(entry.text("password")), secrets.token_bytes(SALT_BYTES))
    raise Wrong("it has neither password_hash nor password")


def _pattern(entry: Entry, name: str, variables: tuple[str, ...] = ()) -> str:
    """A regular expression that is one whatever its ``variables`` stand for."""
    text = bare = entry.text(name)
    for variable in variables:
        bare = bare.replace(variable, "x")
    Pattern(bare)
    return text
