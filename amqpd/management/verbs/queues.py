"""Verbs of queues. Columns: rabbitmqctl's, as far as they mean something here."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

from amqpd.broker.arguments import merge_policies
from amqpd.broker.policies import OPERATOR_POLICY, POLICY, Policy
from amqpd.broker.queues.base import Queue
from amqpd.broker.vhost import VirtualHost
from amqpd.management import field_tables
from amqpd.management.columns import Columns, listing
from amqpd.management.node import Node
from amqpd.management.requests import Done, Listing, Refused, Request, Result


class _Entry(NamedTuple):
    vhost: VirtualHost
    queue: Queue

    def policy(self, kind: str = POLICY) -> Policy | None:
        return self.vhost.policies.match(kind, self.vhost.name, self.queue.settings.queue_type, self.queue.name)

    def definition(self, kind: str) -> Mapping[str, Any]:
        policy = self.policy(kind)
        return policy.definition if policy else {}


def _name_of(policy: Policy | None) -> str:
    return policy.name if policy else ""


def _exclusive_tag(queue: Queue) -> str:
    return next((consumer.tag for consumer in queue.consumers.all if consumer.exclusive), "")


COLUMNS: Final[Columns[_Entry]] = {
    "name": lambda entry: entry.queue.name,
    "vhost": lambda entry: entry.vhost.name,
    "type": lambda entry: entry.queue.settings.queue_type,
    "durable": lambda entry: entry.queue.durable,
    "auto_delete": lambda entry: entry.queue.auto_delete,
    "exclusive": lambda entry: entry.queue.owner is not None,
    "owner_pid": lambda entry: entry.queue.owner.name if entry.queue.owner else "",
    "arguments": lambda entry: field_tables.to_json(entry.queue.arguments),
    "policy": lambda entry: _name_of(entry.policy()),
    "operator_policy": lambda entry: _name_of(entry.policy(OPERATOR_POLICY)),
    "effective_policy_definition": lambda entry: merge_policies(
        entry.definition(POLICY), entry.definition(OPERATOR_POLICY)
    ),
    "messages": lambda entry: entry.queue.ready_count + entry.queue.unacked_count,
    "messages_ready": lambda entry: entry.queue.ready_count,
    "messages_unacknowledged": lambda entry: entry.queue.unacked_count,
    "message_bytes_ready": lambda entry: entry.queue.count_bytes(),
    "consumers": lambda entry: len(entry.queue.consumers.all),
    "exclusive_consumer_tag": lambda entry: _exclusive_tag(entry.queue),
    "state": lambda entry: "running",
}
USUAL: Final = ["name", "messages"]


def list_queues(node: Node, request: Request) -> Listing:
    """The queues of a virtual host."""
    vhost = node.vhost(request.text("vhost"))
    return listing(request, COLUMNS, USUAL, [_Entry(vhost, queue) for queue in vhost.queues.values()])


def purge_queue(node: Node, request: Request) -> Done:
    """Drop what is ready; what consumers hold stays theirs."""
    _, queue = _find(node, request)
    count = queue.purge()
    return Done({"messages": count}, node.broker.journal.newest())


def delete_queue(node: Node, request: Request) -> Done:
    """A queue with its messages and bindings; its consumers are told."""
    vhost, queue = _find(node, request)
    if request.flag("if_empty") and queue.ready_count:
        raise Refused(
            f"queue '{queue.name}' in virtual host '{vhost.name}' has {queue.ready_count} messages, "
            "and --if-empty was given: nothing was deleted"
        )
    if request.flag("if_unused") and queue.consumers.all:
        raise Refused(
            f"queue '{queue.name}' in virtual host '{vhost.name}' has {len(queue.consumers.all)} consumers, "
            "and --if-unused was given: nothing was deleted"
        )
    count = queue.ready_count
    return Done({"messages": count}, vhost.remove_queue(queue))


def _find(node: Node, request: Request) -> _Entry:
    vhost = node.vhost(request.text("vhost"))
    name = request.text("name")
    queue = vhost.queues.get(name)
    if queue is None:
        raise Refused(f"queue '{name}' does not exist in virtual host '{vhost.name}'")
    return _Entry(vhost, queue)


VERBS: Final[Mapping[str, Callable[[Node, Request], Result]]] = {
    "list_queues": list_queues,
    "purge_queue": purge_queue,
    "delete_queue": delete_queue,
}
