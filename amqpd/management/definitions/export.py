"""Definitions out: everything of a broker but its messages, as RabbitMQ's tools write it.

The format is that of ``rabbitmqctl export_definitions`` and of RabbitMQ's HTTP API, which differ in details that say
the same; where they do, the HTTP API's: objects are objects.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Final, TypeAlias

from amqpd import __version__
from amqpd.broker.bindings import Binding
from amqpd.broker.broker import Broker
from amqpd.broker.exchanges.base import Exchange
from amqpd.broker.policies import OPERATOR_POLICY, POLICY, Policy
from amqpd.broker.queues.base import Queue
from amqpd.broker.vhost import PREDECLARED_NAMES, VirtualHost
from amqpd.broker.vhost_limits import USER_LIMITS, VHOST_LIMITS
from amqpd.management import field_tables

FORMAT: Final = "3.13.7"  # the RabbitMQ that writes the same
_HEAD: Final = {
    "rabbit_version": FORMAT,
    "rabbitmq_version": FORMAT,
    "product_name": "amqpd",
    "product_version": __version__,
}


def export(broker: Broker, only: VirtualHost | None = None) -> Iterator[tuple[str, dict[str, Any]]]:
    """Everything, or what is inside of one virtual host and can be imported into any: objects with their sections.

    The first is the file without its objects; its section is "". It may be read bit by bit, while the broker goes on.
    In each section by name, so that two files of one broker can be compared.
    """
    sections = _SECTIONS if only is None else {name: _SECTIONS[name] for name in _INSIDE}
    yield "", {**_HEAD, **{name: [] for name in sections}}
    for name, section in sections.items():
        for fact in section(broker, sorted(broker.vhosts.values(), key=_name) if only is None else [only]):
            if only is not None:
                del fact["vhost"]
            yield name, fact


def assemble(objects: Iterable[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    """The file that ``export`` gave piece by piece."""
    pieces = iter(objects)
    _, definitions = next(pieces)
    for section, fact in pieces:
        definitions[section].append(fact)
    return definitions


def _name(thing: VirtualHost | Exchange | Queue) -> str:
    return thing.name


def _ends(binding: Binding) -> tuple[str, bool, str, str]:
    return binding.source, binding.to_queue, binding.destination, binding.key


_Objects: TypeAlias = Iterator[dict[str, Any]]


def _users(broker: Broker, _: list[VirtualHost]) -> _Objects:
    for user in broker.users.all():
        yield {
            "name": user.name,
            "password_hash": user.password.text,
            "hashing_algorithm": user.password.algorithm,
            "tags": list(user.tags),
            "limits": broker.limits.of(USER_LIMITS, user.name),
        }


def _vhosts(broker: Broker, vhosts: list[VirtualHost]) -> _Objects:
    for vhost in vhosts:
        metadata: dict[str, Any] = {"description": vhost.description, "tags": list(vhost.tags)}
        if vhost.default_queue_type:
            metadata["default_queue_type"] = vhost.default_queue_type
        yield {"name": vhost.name, "limits": broker.limits.of(VHOST_LIMITS, vhost.name), "metadata": metadata}


def _permissions(broker: Broker, _: list[VirtualHost]) -> _Objects:
    return (permission._asdict() for permission in broker.permissions.all())


def _topic_permissions(broker: Broker, _: list[VirtualHost]) -> _Objects:
    return (permission._asdict() for permission in broker.permissions.all_topics())


def _global_parameters(broker: Broker, _: list[VirtualHost]) -> _Objects:
    return ({"name": name, "value": value} for name, value in sorted(broker.parameters.of_all.items()))


def _parameters(broker: Broker, vhosts: list[VirtualHost]) -> _Objects:
    for vhost in vhosts:
        for policy in broker.policies.of_vhost(OPERATOR_POLICY, vhost.name):
            value = _policy(policy)
            del value["vhost"], value["name"]
            yield _parameter(vhost.name, OPERATOR_POLICY, policy.name, value)
        limits = broker.limits.of(VHOST_LIMITS, vhost.name)
        if limits:
            yield _parameter(vhost.name, "vhost-limits", "limits", limits)
        for (of_vhost, component, name), value in sorted(broker.parameters.of_vhosts.items()):
            if of_vhost == vhost.name:
                yield _parameter(vhost.name, component, name, value)


def _parameter(vhost: str, component: str, name: str, value: Any) -> dict[str, Any]:
    return {"vhost": vhost, "component": component, "name": name, "value": value}


def _policies(broker: Broker, vhosts: list[VirtualHost]) -> _Objects:
    return (_policy(policy) for vhost in vhosts for policy in broker.policies.of_vhost(POLICY, vhost.name))


def _policy(policy: Policy) -> dict[str, Any]:
    return {
        "vhost": policy.vhost,
        "name": policy.name,
        "pattern": policy.pattern,
        "apply-to": policy.apply_to,
        "definition": dict(policy.definition),
        "priority": policy.priority,
    }


def _queues(broker: Broker, vhosts: list[VirtualHost]) -> _Objects:
    for vhost in vhosts:
        for queue in sorted(vhost.queues.values(), key=_name):
            if queue.owner is None:  # an exclusive one ends with its connection
                yield {
                    "name": queue.name,
                    "vhost": vhost.name,
                    "type": queue.settings.queue_type,
                    "durable": queue.durable,
                    "auto_delete": queue.auto_delete,
                    "arguments": field_tables.to_json(queue.arguments),
                }


def _exchanges(broker: Broker, vhosts: list[VirtualHost]) -> _Objects:
    for vhost in vhosts:
        for exchange in sorted(vhost.exchanges.values(), key=_name):
            if exchange.name not in PREDECLARED_NAMES:
                yield {
                    "name": exchange.name,
                    "vhost": vhost.name,
                    "type": exchange.type_name,
                    "durable": exchange.durable,
                    "auto_delete": exchange.auto_delete,
                    "internal": exchange.internal,
                    "arguments": field_tables.to_json(exchange.arguments),
                }


def _bindings(broker: Broker, vhosts: list[VirtualHost]) -> _Objects:
    for vhost in vhosts:
        for binding in sorted(vhost.bindings, key=_ends):
            queue = vhost.queues.get(binding.destination)
            if binding.to_queue and (queue is None or queue.owner is not None):
                continue
            yield {
                "source": binding.source,
                "vhost": vhost.name,
                "destination": binding.destination,
                "destination_type": "queue" if binding.to_queue else "exchange",
                "routing_key": binding.key,
                "arguments": field_tables.to_json(binding.arguments),
            }


_SECTIONS: Final[Mapping[str, Callable[[Broker, list[VirtualHost]], _Objects]]] = {
    "users": _users,
    "vhosts": _vhosts,
    "permissions": _permissions,
    "topic_permissions": _topic_permissions,
    "parameters": _parameters,
    "global_parameters": _global_parameters,
    "policies": _policies,
    "queues": _queues,
    "exchanges": _exchanges,
    "bindings": _bindings,
}
_INSIDE: Final = ("parameters", "policies", "queues", "exchanges", "bindings")  # of a virtual host
