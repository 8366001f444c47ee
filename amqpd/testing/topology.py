"""The topology of a broker in a test: put in from data, looked at as a whole, and put back between tests.

Owns what a snapshot holds, and the way back to it: by the broker's own calls, so that what changes is in the journal as
if clients and operators had done it. Knows no threads: everything here is called between two turns (``Host.call``).
"""

import importlib
import json
import logging
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, NamedTuple, TypeAlias, TypeVar

from amqpd import limits
from amqpd.broker import passwords, tables
from amqpd.broker.bindings import Binding
from amqpd.broker.broker import Broker
from amqpd.broker.exchanges.base import Exchange
from amqpd.broker.fields import Table
from amqpd.broker.owner import Owner
from amqpd.broker.permissions import Permission, TopicPermission
from amqpd.broker.policies import Policy
from amqpd.broker.queues.base import Queue
from amqpd.broker.users import GUEST, User
from amqpd.broker.vhost import PREDECLARED_NAMES, VirtualHost
from amqpd.broker.vhost_limits import USER_LIMITS, VHOST_LIMITS, Kind
from amqpd.protocols.amqp091.channel import Channel
from amqpd.protocols.amqp091.connection import Connection

logger = logging.getLogger("amqpd.testing")

K = TypeVar("K")
V = TypeVar("V")
Definitions: TypeAlias = Mapping[str, Any] | os.PathLike[str] | str

EVERYTHING: Final = {"configure": ".*", "write": ".*", "read": ".*"}
# What an object of a section is, where it does not say it; the reader has defaults for what is not here.
DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "permissions": EVERYTHING,
    "exchanges": {"type": "direct", "durable": True},
    "queues": {"durable": True},
    "bindings": {"destination_type": "queue"},
}
CLOSE_TEXT: Final = "the broker is reset"
_OWNER: Final = Owner("reset")
_LIMITS: Final[tuple[Kind, ...]] = (VHOST_LIMITS, USER_LIMITS)


# -- definitions --


def apply(node: Broker, definitions: Definitions, vhost: str = "/") -> None:
    """Have ``node`` take definitions as RabbitMQ exports them, all or none: a mapping, JSON text, or a file's path.

    They may be terse, ``{"queues": [{"name": "orders"}]}``: then objects are in ``vhost``, exchanges are direct,
    exchanges and queues durable, and destinations of bindings queues. Without a section ``permissions`` each user in
    them may do everything, and so may guest in each virtual host in them. What RabbitMQ would leave out, such as a
    binding to nothing, is named in the log. Raises InvalidDefinitions, which names all that is wrong.
    """
    plan = importlib.import_module("amqpd.management.definitions.plan")  # 8 ms that only a test with some pays
    adoption = importlib.import_module("amqpd.management.definitions.adoption")
    document = _parse(definitions)
    if isinstance(document, dict):
        _fill(document, node, vhost)
    steps = adoption.adopt(node, plan.read(document, vhost))
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            for what in stop.value.facts["skipped"]:
                logger.warning("left out of the definitions: %s", what)
            return


def _parse(definitions: Definitions) -> Any:
    """Their JSON; of a mapping, too, so that the broker shares nothing with it. A text that is no object is a path."""
    file = importlib.import_module("amqpd.management.definitions.file")
    try:
        if isinstance(definitions, Mapping):
            text = json.dumps(dict(definitions))
        elif isinstance(definitions, str) and definitions.lstrip().startswith("{"):
            text = definitions
        else:
            text = Path(definitions).read_text(encoding="utf-8")
    except (OSError, TypeError, ValueError) as error:
        raise file.InvalidDefinitions([f"they cannot be read: {error}"]) from error
    return file.parse(text)


def _fill(document: dict[str, Any], node: Broker, vhost: str) -> None:
    """Say in a document what a terse one leaves out."""
    if "permissions" not in document:
        users, vhosts = _names(document, "users"), _names(document, "vhosts")
        pairs = [(user, place) for user in users for place in (vhost, *vhosts)]
        if node.users.find(GUEST.name) is not None:
            pairs += [(GUEST.name, place) for place in vhosts]
        document["permissions"] = [{"user": user, "vhost": place} for user, place in pairs]
    for section, defaults in DEFAULTS.items():
        for entry in _entries(document, section):
            entry.update({**defaults, **entry})
    for user in _entries(document, "users"):
        password = user.get("password")
        if isinstance(password, str) and "password_hash" not in user:  # a test's is no secret: no 40 ms for scrypt
            kept = passwords.hash_like_rabbitmq(tables.bytes_of(password), b"salt")
            user.update(password_hash=kept.text, hashing_algorithm=kept.algorithm)


def _entries(document: dict[str, Any], section: str) -> list[dict[str, Any]]:
    """The objects of a section; what else is there is for the reader to complain of."""
    entries = document.get(section)
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []


def _names(document: dict[str, Any], section: str) -> list[str]:
    return [entry["name"] for entry in _entries(document, section) if isinstance(entry.get("name"), str)]


# -- snapshots --


class DeclaredExchange(NamedTuple):
    """What an exchange was declared with."""

    type_name: str
    durable: bool
    auto_delete: bool
    internal: bool
    arguments: Table


class DeclaredQueue(NamedTuple):
    """What a queue was declared with."""

    durable: bool
    auto_delete: bool
    arguments: Table


class Place(NamedTuple):
    """A virtual host, without what is its connections': queues that are exclusive, and those that the server named."""

    description: str
    tags: tuple[str, ...]
    default_queue_type: str
    exchanges: dict[str, DeclaredExchange]
    queues: dict[str, DeclaredQueue]
    bindings: tuple[Binding, ...]


class Registries(NamedTuple):
    """What operators say, each thing by its names."""

    users: dict[str, User]
    permissions: dict[tuple[str, str], Permission]
    topic_permissions: dict[tuple[str, str, str], TopicPermission]
    policies: dict[tuple[str, str, str], Policy]
    limits: dict[tuple[Kind, str], dict[str, int]]
    parameters: dict[tuple[str, str, str], Any]
    global_parameters: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a broker was told: everything but messages and connections.

    It holds nothing of the broker itself, and can be given back to the one that comes after a restart.
    """

    places: dict[str, Place]  # by virtual host
    registries: Registries


def take(node: Broker) -> Snapshot:
    """What ``node`` is like now."""
    return Snapshot({name: _look_at(vhost) for name, vhost in node.vhosts.items()}, _registries(node))


def _registries(node: Broker) -> Registries:
    permissions, policies = node.permissions, node.policies
    groups = [policies.of_vhost(kind, vhost) for kind in policies.KINDS for vhost in node.vhosts]
    return Registries(
        users=_users(node),
        permissions={(each.user, each.vhost): each for each in permissions.all()},
        topic_permissions={(each.user, each.vhost, each.exchange): each for each in permissions.all_topics()},
        policies={(each.kind, each.vhost, each.name): each for group in groups for each in group},
        limits={(kind, name): found for kind in _LIMITS for name, found in node.limits.all(kind).items()},
        parameters=dict(node.parameters.of_vhosts),
        global_parameters=dict(node.parameters.of_all),
    )


def _users(node: Broker) -> dict[str, User]:
    return {user.name: user for user in node.users.all()}


def _look_at(vhost: VirtualHost) -> Place:
    exchanges, queues = vhost.exchanges, vhost.queues
    theirs = {name for name, queue in queues.items() if _is_theirs(queue)}
    return Place(
        vhost.description,
        vhost.tags,
        vhost.default_queue_type,
        {name: _declared_exchange(exchanges[name]) for name in exchanges if name not in PREDECLARED_NAMES},
        {name: _declared_queue(queues[name]) for name in queues if name not in theirs},
        tuple([each for each in vhost.bindings if not (each.to_queue and each.destination in theirs)]),
    )


def _is_theirs(queue: Queue) -> bool:
    """Names of the server's begin with amq., and nobody can declare them again."""
    return queue.owner is not None or queue.name.startswith("amq.")


def _declared_exchange(exchange: Exchange) -> DeclaredExchange:
    flags = exchange.durable, exchange.auto_delete, exchange.internal
    return DeclaredExchange(exchange.type_name, *flags, exchange.arguments)


def _declared_queue(queue: Queue) -> DeclaredQueue:
    return DeclaredQueue(queue.durable, queue.auto_delete, queue.arguments)


# -- the way back --


def reset(node: Broker, snapshot: Snapshot, *, keep_connections: bool = False) -> None:
    """Make ``node`` what it was when ``snapshot`` was taken, all queues empty, no exchange with a memory.

    Connections are closed (320). Those that are kept lose what they have unacked, and what a transaction holds; their
    exclusive queues and, in their virtual hosts, queues named by the server stay, empty, with their bindings. A
    connection whose user or virtual host is not in the snapshot is closed nevertheless.
    """
    for connection in list(node.connections):
        if not keep_connections:
            connection.force_close(CLOSE_TEXT)
        elif isinstance(connection, Connection):
            for channel in connection.channels.values():
                _drop_deliveries(channel)
    _mend_vhosts(node, snapshot)
    _mend_registries(node, snapshot.registries)
    kept = {connection.vhost_name for connection in node.connections}
    for name, vhost in node.vhosts.items():
        if name not in kept:
            for queue in [queue for queue in vhost.queues.values() if _is_theirs(queue)]:
                vhost.remove_queue(queue)
        wanted = snapshot.places[name]
        if _look_at(vhost) != wanted or any(exchange.keeps_messages for exchange in vhost.exchanges.values()):
            _mend_place(vhost, wanted)
        for queue in vhost.queues.values():
            if queue.ready_count:
                queue.purge()


def _drop_deliveries(channel: Channel) -> None:
    """As if it had acked all it has. When the client settles one of them later nothing happens."""
    if channel.tx is not None:
        channel.rollback()
    transaction, channel.tx = channel.tx, None  # now, and not when it commits
    late = channel.unacked.late
    late.update(dict.fromkeys(channel.unacked.by_tag))
    while len(late) > limits.LATE_TAGS_MAX:
        del late[next(iter(late))]
    channel.ack_multiple(0)
    channel.tx = transaction


def _mend_vhosts(node: Broker, snapshot: Snapshot) -> None:
    for name in node.vhosts.keys() - snapshot.places.keys():
        node.delete_vhost(name)
    for name, wanted in snapshot.places.items():
        vhost = node.vhosts.get(name)
        if vhost is None or (vhost.description, vhost.tags, vhost.default_queue_type) != wanted[:3]:
            description, tags, queue_type = wanted[:3]
            node.add_vhost(name, description=description, tags=tags, default_queue_type=queue_type)


def _mend_registries(node: Broker, wanted: Registries) -> None:
    """What operators say. Users first: what they may do goes with them."""
    _mend_entries(_users(node), wanted.users, node.delete_user, lambda _, user: node.users.set(user))
    now = _registries(node)
    permissions, policies, parameters = node.permissions, node.policies, node.parameters
    _mend_entries(
        now.permissions,
        wanted.permissions,
        lambda place: permissions.clear(*place),
        lambda _, permission: permissions.set(permission),
    )
    _mend_entries(
        now.topic_permissions,
        wanted.topic_permissions,
        lambda place: permissions.clear_topic(*place),
        lambda _, permission: permissions.set_topic(permission),
    )
    _mend_entries(
        now.limits,
        wanted.limits,
        lambda whose: node.limits.clear(*whose),
        lambda whose, limits: node.limits.set(*whose, limits),
    )
    _mend_entries(
        now.parameters,
        wanted.parameters,
        lambda names: parameters.clear(*names),
        lambda names, value: parameters.set(*names, value),
    )
    _mend_entries(now.global_parameters, wanted.global_parameters, parameters.clear_global, parameters.set_global)
    _mend_entries(
        now.policies, wanted.policies, lambda names: policies.clear(*names), lambda _, policy: policies.set(policy)
    )
    if now.policies != wanted.policies:
        for vhost in node.vhosts.values():
            vhost.apply_policies()


def _mend_entries(
    now: dict[K, V], wanted: dict[K, V], remove: Callable[[K], object], put: Callable[[K, V], object]
) -> None:
    for key in now.keys() - wanted.keys():
        remove(key)
    for key, value in wanted.items():
        if key not in now or now[key] != value:
            put(key, value)


def _mend_place(vhost: VirtualHost, wanted: Place) -> None:
    """Remove what is neither wanted nor a connection's, then make what is missing."""
    staying = {queue.name for queue in vhost.queues.values() if _is_theirs(queue)} - wanted.queues.keys()
    also = [binding for binding in vhost.bindings if binding.to_queue and binding.destination in staying]
    bindings = dict.fromkeys([*wanted.bindings, *also])
    for exchange in list(vhost.exchanges.values()):
        if not _is_right(exchange, wanted) and exchange.name in vhost.exchanges:  # it may have gone with another
            vhost.remove_exchange(exchange)
    for queue in list(vhost.queues.values()):
        is_right = queue.owner is None and _declared_queue(queue) == wanted.queues.get(queue.name)
        if not is_right and queue.name not in staying:
            vhost.remove_queue(queue)
    for binding in list(vhost.bindings):
        if binding not in bindings:
            vhost.unbind(binding)
    _make_missing(vhost, wanted, bindings)


def _is_right(exchange: Exchange, wanted: Place) -> bool:
    """What keeps something of messages is made anew, whatever that is: delayed ones, ids, a history."""
    if exchange.name in PREDECLARED_NAMES:
        return True
    return not exchange.keeps_messages and _declared_exchange(exchange) == wanted.exchanges.get(exchange.name)


def _make_missing(vhost: VirtualHost, wanted: Place, bindings: Iterable[Binding]) -> None:
    queue_type, vhost.default_queue_type = vhost.default_queue_type, ""  # queues have the one they were declared with
    for name, exchange in wanted.exchanges.items():
        if name not in vhost.exchanges:
            vhost.declare_exchange(name, **exchange._asdict())
    for name, queue in wanted.queues.items():
        if name not in vhost.queues:
            vhost.declare_queue(name, _OWNER, exclusive=False, **queue._asdict())
    vhost.default_queue_type = queue_type
    for binding in bindings:
        if binding.source in vhost.exchanges:
            vhost.bind(binding)


# -- virtual hosts, one a test --


def make_vhost(node: Broker, name: str) -> None:
    """A virtual host in which guest may do everything."""
    node.add_vhost(name)
    node.permissions.set(Permission(GUEST.name, name, **EVERYTHING))


def copy_vhost(node: Broker, snapshot: Snapshot, source: str, name: str) -> None:
    """A virtual host that is what ``source`` was when the snapshot was taken: with all that is in it, and for all who
    may enter it. Raises KeyError when there was none."""
    place, told = snapshot.places[source], snapshot.registries
    node.add_vhost(name, description=place.description, tags=place.tags, default_queue_type=place.default_queue_type)
    for permission in told.permissions.values():
        if permission.vhost == source:
            node.permissions.set(permission._replace(vhost=name))
    for topic_permission in told.topic_permissions.values():
        if topic_permission.vhost == source:
            node.permissions.set_topic(topic_permission._replace(vhost=name))
    for policy in told.policies.values():
        if policy.vhost == source:
            node.policies.set(replace(policy, vhost=name))
    for (vhost, component, parameter), value in told.parameters.items():
        if vhost == source:
            node.parameters.set(name, component, parameter, value)
    if (VHOST_LIMITS, source) in told.limits:
        node.limits.set(VHOST_LIMITS, name, told.limits[VHOST_LIMITS, source])
    node.vhosts[name].apply_policies()
    _make_missing(node.vhosts[name], place, place.bindings)


def drop_vhost(node: Broker, name: str) -> None:
    """Delete a virtual host with all that is in it, and close its connections (320). It need not be there any more."""
    if name in node.vhosts:
        node.delete_vhost(name)
