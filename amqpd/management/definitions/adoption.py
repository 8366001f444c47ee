"""Definitions in, second half: what a plan cannot do with this broker, and the doing.

All is looked at before anything is changed, so a file is imported as a whole or not at all. What is there already stays
as it is if it is a queue or an exchange, as with RabbitMQ, and is changed if it is anything else.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final

from amqpd.broker import arguments
from amqpd.broker.bindings import Binding
from amqpd.broker.broker import Broker
from amqpd.broker.exchanges.base import Exchange
from amqpd.broker.exchanges.registry import find_exchange_type
from amqpd.broker.owner import Owner
from amqpd.broker.permissions import Permission, TopicPermission
from amqpd.broker.vhost import VirtualHost
from amqpd.errors import AmqpError
from amqpd.management.definitions.plan import InvalidDefinitions, Plan, PlannedExchange, PlannedQueue
from amqpd.management.requests import Done, Steps

STEP_OBJECTS: Final = 50  # 5 ms of a turn
_OWNER: Final = Owner("definitions")


def adopt(broker: Broker, plan: Plan) -> Steps:
    """Check all of ``plan``, then do it, some in each step. Raises InvalidDefinitions with nothing done."""
    check = _Check(broker, plan)
    for number, _ in enumerate(check.run(), 1):
        if number % STEP_OBJECTS == 0:
            yield
    if check.problems:
        raise InvalidDefinitions(check.problems)
    counts: Counter[str] = Counter()
    for number, section in enumerate(_do(broker, plan, check), 1):
        counts[section] += 1
        if number % STEP_OBJECTS == 0:
            yield
    return Done({"counts": dict(counts), "skipped": check.skipped}, broker.journal.newest())


class _Check:
    """Whether a plan fits a broker."""

    def __init__(self, broker: Broker, plan: Plan) -> None:
        self.broker = broker
        self.plan = plan
        self.problems: list[str] = []
        self.skipped: list[str] = []
        self.vhosts = broker.vhosts.keys() | {vhost.name for vhost in plan.vhosts}
        self.exchanges: dict[tuple[str, str], Exchange] = {}  # those to come
        self.queues: set[tuple[str, str]] = set()
        self.bindings: list[tuple[str, Binding]] = []  # those with both ends

    def run(self) -> Iterator[None]:
        """Look at everything, one object after the other."""
        self._users()
        yield
        self._places()
        yield
        for exchange in self.plan.exchanges:
            self._exchange(exchange)
            yield
        for queue in self.plan.queues:
            self._queue(queue)
            yield
        for vhost, binding in self.plan.bindings:
            self._binding(vhost, binding)
            yield

    def _users(self) -> None:
        users = {user.name for user in self.plan.users}
        permissions: list[Permission | TopicPermission] = [*self.plan.permissions, *self.plan.topic_permissions]
        for permission in permissions:
            if permission.user not in users and self.broker.users.find(permission.user) is None:
                self.problems.append(
                    f"permissions of user '{permission.user}' in vhost '{permission.vhost}': there is no such user, "
                    "neither in the file nor here; add the user to it, or remove the permissions"
                )

    def _places(self) -> None:
        """Every virtual host that is named is there, or will be."""
        for planned in self.plan.vhosts:
            if planned.default_queue_type not in ("", arguments.CLASSIC, arguments.QUORUM):
                self.problems.append(
                    f"vhost '{planned.name}': default_queue_type {planned.default_queue_type} is not supported; "
                    "classic and quorum are"
                )
        named = [
            *((policy.vhost, f"policy '{policy.name}'") for policy in self.plan.policies),
            *((each.vhost, f"permissions of user '{each.user}'") for each in self.plan.permissions),
            *((each.vhost, f"topic permissions of user '{each.user}'") for each in self.plan.topic_permissions),
            *((each.vhost, f"parameter '{each.name}'") for each in self.plan.parameters if each.component),
            *((each.vhost, f"exchange '{each.name}'") for each in self.plan.exchanges),
            *((each.vhost, f"queue '{each.name}'") for each in self.plan.queues),
            *((vhost, f"binding from '{binding.source}'") for vhost, binding in self.plan.bindings),
        ]
        for vhost, what in named:
            if vhost not in self.vhosts:
                self.problems.append(
                    f"{what}: there is no vhost '{vhost}', neither in the file nor here; add it to the vhosts"
                )

    def _exchange(self, planned: PlannedExchange) -> None:
        if self._find_exchange(planned.vhost, planned.name) is not None:
            return
        what = f"exchange '{planned.name}' in vhost '{planned.vhost}'"
        kind = find_exchange_type(planned.type_name)
        if kind is None:
            self.problems.append(f"{what}: its type {planned.type_name} is not supported; use another, or remove it")
            return
        if not planned.name or planned.name.startswith("amq."):
            self.skipped.append(f"{what}: names that begin with amq. are the broker's own")
            return
        try:
            kind.check_arguments(planned.arguments)
            alternate = planned.arguments.get("alternate-exchange")
            if alternate is not None and alternate.kind != "S":
                raise arguments.wrong_type(alternate, "alternate-exchange", f"exchange '{planned.name}'", planned.vhost)
        except AmqpError as error:
            self.problems.append(_about(what, error))
            return
        self.exchanges[planned.vhost, planned.name] = kind(
            planned.name, durable=planned.durable, arguments=planned.arguments
        )

    def _queue(self, planned: PlannedQueue) -> None:
        if self._has_queue(planned.vhost, planned.name):
            return
        what = f"queue '{planned.name}' in vhost '{planned.vhost}'"
        if not planned.name or planned.name.startswith("amq."):
            self.skipped.append(f"{what}: names that begin with amq. are the broker's own")
            return
        try:
            arguments.check_queue(
                planned.vhost,
                planned.name,
                planned.arguments,
                durable=planned.durable,
                exclusive=False,
                auto_delete=planned.auto_delete,
            )
        except AmqpError as error:
            self.problems.append(f"{_about(what, error)}; change its arguments, or remove it")
        self.queues.add((planned.vhost, planned.name))

    def _binding(self, vhost: str, binding: Binding) -> None:
        """One of which an end is missing is left out: RabbitMQ exports bindings of internal exchanges without these."""
        what = f"binding from '{binding.source}' to '{binding.destination}' in vhost '{vhost}'"
        source = self._find_exchange(vhost, binding.source)
        if binding.to_queue:
            has_destination = self._has_queue(vhost, binding.destination)
        else:
            has_destination = self._find_exchange(vhost, binding.destination) is not None
        if source is None or not has_destination:
            self.skipped.append(f"{what}: {binding.source if source is None else binding.destination} does not exist")
            return
        try:
            source.check_binding(binding.key, binding.arguments)
        except AmqpError as error:
            self.problems.append(_about(what, error))
        self.bindings.append((vhost, binding))

    def _find_exchange(self, vhost: str, name: str) -> Exchange | None:
        there = self.broker.vhosts.get(vhost)
        found = there.exchanges.get(name) if there is not None else None
        return found or self.exchanges.get((vhost, name)) or self._predeclared(vhost, name)

    def _predeclared(self, vhost: str, name: str) -> Exchange | None:
        """Of a virtual host to come: it will have what every one has."""
        return self.broker.vhosts["/"].exchanges.get(name) if vhost in self.vhosts and name.startswith("amq.") else None

    def _has_queue(self, vhost: str, name: str) -> bool:
        there = self.broker.vhosts.get(vhost)
        return (vhost, name) in self.queues or (there is not None and name in there.queues)


def _about(what: str, error: AmqpError) -> str:
    """What is wrong with what; the texts of most errors say it."""
    return error.text if what in error.text else f"{what}: {error.text}"


def _do(broker: Broker, plan: Plan, check: _Check) -> Iterator[str]:
    """Everything, one object after the other: the section of each, once it is done."""
    for user in plan.users:
        broker.users.set(user)
        yield "users"
    for planned in plan.vhosts:
        if planned.is_described or planned.name not in broker.vhosts:
            broker.add_vhost(
                planned.name,
                description=planned.description,
                tags=planned.tags,
                default_queue_type=planned.default_queue_type,
            )
            yield "vhosts"
    for permission in plan.permissions:
        broker.permissions.set(permission)
        yield "permissions"
    for topic_permission in plan.topic_permissions:
        broker.permissions.set_topic(topic_permission)
        yield "topic_permissions"
    for parameter in plan.parameters:
        if parameter.component:
            broker.parameters.set(parameter.vhost, parameter.component, parameter.name, parameter.value)
        else:
            broker.parameters.set_global(parameter.name, parameter.value)
        yield "parameters"
    for policy in plan.policies:
        broker.policies.set(policy)
        yield "policies"
    for name in {policy.vhost for policy in plan.policies}:
        broker.vhosts[name].apply_policies()
    yield from _do_topology(broker, plan, check)
    for (kind, name), limits in plan.limits.items():  # last: they count for clients, not for what was there before
        broker.limits.set(kind, name, limits)
        yield "limits"


def _do_topology(broker: Broker, plan: Plan, check: _Check) -> Iterator[str]:
    for exchange in plan.exchanges:
        vhost = broker.vhosts[exchange.vhost]
        if exchange.name not in vhost.exchanges and (exchange.vhost, exchange.name) in check.exchanges:
            _declare_exchange(vhost, exchange)
            yield "exchanges"
    for queue in plan.queues:
        vhost = broker.vhosts[queue.vhost]
        if queue.name not in vhost.queues and (queue.vhost, queue.name) in check.queues:
            _declare_queue(vhost, queue)
            yield "queues"
    for name, binding in check.bindings:
        if binding not in broker.vhosts[name].bindings:
            broker.vhosts[name].bind(binding)
            yield "bindings"


def _declare_exchange(vhost: VirtualHost, planned: PlannedExchange) -> None:
    vhost.declare_exchange(
        planned.name,
        planned.type_name,
        durable=planned.durable,
        auto_delete=planned.auto_delete,
        internal=planned.internal,
        arguments=planned.arguments,
    )


def _declare_queue(vhost: VirtualHost, planned: PlannedQueue) -> None:
    vhost.declare_queue(
        planned.name,
        _OWNER,
        durable=planned.durable,
        exclusive=False,
        auto_delete=planned.auto_delete,
        arguments=planned.arguments,
    )
