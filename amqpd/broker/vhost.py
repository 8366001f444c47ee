"""One virtual host: its exchanges, queues and bindings, and the standard's rules for declaring, binding and deleting
them.

Knows nothing of frames or disks: durable changes go to the journal as operations, and every method that makes one says
which ticket holds it. Rules: AMQP 0-9-1, classes exchange and queue; texts: RabbitMQ's.
"""

from collections import deque

from amqpd.broker import arguments as queue_arguments
from amqpd.broker import equivalence, records
from amqpd.broker.arguments import QueueSettings
from amqpd.broker.bindings import Binding, Bindings
from amqpd.broker.consumers import Consumer
from amqpd.broker.dead_letter import dead_publication, ends_cycle
from amqpd.broker.exchanges.base import Exchange
from amqpd.broker.exchanges.registry import find_exchange_type
from amqpd.broker.fields import Table, longstr
from amqpd.broker.ids import Ids, QueueNumbers
from amqpd.broker.message import MOVED, Message
from amqpd.broker.owner import Owner
from amqpd.broker.policies import EXCHANGE, OPERATOR_POLICY, POLICY, Policies, Policy
from amqpd.broker.ports import BINDINGS, EXCHANGES, META, QUEUES, THERE, Asker, Home
from amqpd.broker.publication import Publication
from amqpd.broker.queues.base import Declared, Queue
from amqpd.broker.queues.classic import ClassicQueue
from amqpd.broker.queues.priority import PriorityQueue
from amqpd.broker.routing import keeps_messages, needs_message, route_keys
from amqpd.broker.tables import bytes_of
from amqpd.broker.turn import Turn
from amqpd.errors import (
    AccessRefused,
    CommandInvalid,
    NotFound,
    NotImplementedByBroker,
    PreconditionFailed,
    ResourceLocked,
)
from amqpd.limits import SHORTSTR_MAX_BYTES

PREDECLARED = (
    ("", "direct", False),
    ("amq.direct", "direct", False),
    ("amq.fanout", "fanout", False),
    ("amq.topic", "topic", False),
    ("amq.headers", "headers", False),
    ("amq.match", "headers", False),
    ("amq.rabbitmq.trace", "topic", True),
)
PREDECLARED_NAMES = frozenset(name for name, _, _ in PREDECLARED)


class VirtualHost(Home):
    """``version`` grows with every change that may alter a routing decision: whoever remembers one compares it."""

    def __init__(
        self,
        name: str,
        turn: Turn,
        ids: Ids,
        numbers: QueueNumbers,
        queue_window_bytes: int,
        policies: Policies,
    ) -> None:
        self.name = name
        self.description = ""
        self.tags: tuple[str, ...] = ()
        self.default_queue_type = ""  # "" is classic
        self.policies = policies
        self.turn = turn
        self.journal = turn.journal
        self.ids = ids
        self.queue_window_bytes = queue_window_bytes
        self.version = 0
        self.numbers = numbers
        self.exchanges: dict[str, Exchange] = {}
        self.queues: dict[str, Queue] = {}
        self.bindings = Bindings()
        self.dead: deque[tuple[Queue, Message, str]] = deque()  # to be buried, the one in hand first
        self.askers: dict[str, Asker] = {}  # by the name under which each waits for answers (direct reply-to)
        self.exchange_tickets: dict[str, int] = {}  # of durable exchanges: the ticket that holds the declaration
        for exchange_name, type_name, internal in PREDECLARED:
            exchange_type = find_exchange_type(type_name)
            assert exchange_type is not None
            self.exchanges[exchange_name] = exchange_type(exchange_name, durable=True, internal=internal)

    # -- exchanges --

    def get_exchange(self, name: str) -> Exchange:
        """Raises NotFound."""
        exchange = self.exchanges.get(name)
        if exchange is None:
            raise NotFound(f"no exchange '{name}' in vhost '{self.name}'")
        return exchange

    def check_exchange_type(self, type_name: str) -> type[Exchange]:
        """Raises CommandInvalid for a type that does not exist."""
        exchange_type = find_exchange_type(type_name)
        if exchange_type is None:
            raise CommandInvalid(f"{'unknown' if type_name else 'invalid'} exchange type '{type_name}'")
        return exchange_type

    def declare_exchange(
        self, name: str, type_name: str, *, durable: bool, auto_delete: bool, internal: bool, arguments: Table
    ) -> int:
        """Make the exchange, or check that the one there is the same; the ticket that holds it."""
        exchange_type = self.check_exchange_type(type_name)
        current = self.exchanges.get(name)
        if current is not None:
            equivalence.check_exchange(
                self.name, current, exchange_type.type_name, durable, auto_delete, internal, arguments
            )
            return self.exchange_tickets.get(name, 0)
        if name.startswith("amq."):
            raise AccessRefused(f"exchange name '{name}' contains reserved prefix 'amq.*'")
        alternate = arguments.get("alternate-exchange")
        if alternate is not None and alternate.kind != "S":
            raise queue_arguments.wrong_type(alternate, "alternate-exchange", f"exchange '{name}'", self.name)
        exchange_type.check_arguments(arguments)
        exchange = exchange_type(name, durable=durable, auto_delete=auto_delete, internal=internal, arguments=arguments)
        self.exchanges[name] = exchange
        self._apply_policy(exchange)
        exchange.start(self)
        self.version += 1
        if not durable:
            return 0
        ticket = self.journal.put(EXCHANGES, *records.exchange_row(self.name, exchange))
        self.exchange_tickets[name] = ticket
        return ticket

    def delete_exchange(self, name: str, *, if_unused: bool) -> int:
        """Delete it with its bindings; deleting one that is not there is fine. The ticket that holds the deletion."""
        if name.startswith("amq."):
            raise AccessRefused(f"deletion of system exchange '{name}' in vhost '{self.name}' not allowed")
        exchange = self.exchanges.get(name)
        if exchange is None:
            return self.journal.newest()  # somebody's deletion may be on its way to the disk
        if if_unused and self.bindings.has_source(name):
            raise PreconditionFailed(f"exchange '{name}' in vhost '{self.name}' in use")
        return self.remove_exchange(exchange)

    def remove_exchange(self, exchange: Exchange) -> int:
        """Delete without a question; the ticket."""
        del self.exchanges[exchange.name]
        exchange.on_deleted()
        self.exchange_tickets.pop(exchange.name, None)
        self.version += 1
        ticket = 0
        if exchange.durable and exchange.name not in PREDECLARED_NAMES:
            ticket = self.journal.delete(THERE | EXCHANGES, records.name_key(self.name, exchange.name))
        for binding in self.bindings.from_source(exchange.name):
            self._forget_binding(binding, exchange)
        self._remove_bindings_to(exchange.name, to_queue=False)
        return ticket

    # -- bindings --

    def bind(self, binding: Binding) -> int:
        """Add a binding between things that exist; adding it again is fine. The ticket that holds it."""
        source = self.exchanges[binding.source]
        source.check_binding(binding.key, binding.arguments)
        if not self.bindings.add(binding):
            return self.journal.newest() if self._is_durable(binding) else 0
        source.add(binding)
        self.version += 1
        source.on_bound(binding)
        if not self._is_durable(binding):
            return 0
        return self.journal.put(BINDINGS, *records.binding_row(self.name, binding))

    def unbind(self, binding: Binding) -> int:
        """Remove a binding; removing one that is not there is fine. The ticket that holds the removal."""
        source = self.exchanges.get(binding.source)
        if source is None or not self.bindings.remove(binding):
            return self.journal.newest()
        source.remove(binding)
        self.version += 1
        ticket = 0
        if self._is_durable(binding):
            ticket = self.journal.delete(THERE | BINDINGS, records.binding_key(self.name, binding))
        self._auto_delete_exchange(source)
        return ticket

    def _is_durable(self, binding: Binding) -> bool:
        """A binding survives a restart when both of its ends do."""
        source = self.exchanges.get(binding.source)
        if source is None or not source.durable:
            return False
        if binding.to_queue:
            queue = self.queues.get(binding.destination)
            return queue is not None and queue.on_disk
        destination = self.exchanges.get(binding.destination)
        return destination is not None and destination.durable

    def _forget_binding(self, binding: Binding, source: Exchange) -> None:
        self.bindings.remove(binding)
        source.remove(binding)
        if source.durable:  # the other end may be gone already; deleting what was never stored is harmless
            self.journal.delete(BINDINGS, records.binding_key(self.name, binding))

    def _remove_bindings_to(self, name: str, *, to_queue: bool) -> None:
        sources: dict[str, Exchange] = {}
        for binding in self.bindings.to_destination(name, to_queue=to_queue):
            source = self.exchanges[binding.source]
            self._forget_binding(binding, source)
            sources[source.name] = source
        for source in sources.values():
            self._auto_delete_exchange(source)

    def _auto_delete_exchange(self, exchange: Exchange) -> None:
        """An auto-delete exchange goes with the last binding that it is the source of."""
        if exchange.auto_delete and not self.bindings.has_source(exchange.name) and exchange.name in self.exchanges:
            self.remove_exchange(exchange)

    # -- queues --

    def get_queue(self, name: str, owner: Owner) -> Queue:
        """The queue, for a use by ``owner``. Raises NotFound and ResourceLocked."""
        queue = self.queues.get(name)
        if queue is None:
            raise NotFound(f"no queue '{name}' in vhost '{self.name}'")
        self._check_owner(queue, owner)
        return queue

    def _check_owner(self, queue: Queue, owner: Owner) -> None:
        if queue.owner is not None and queue.owner is not owner:
            raise self._locked(queue)

    def _locked(self, queue: Queue) -> ResourceLocked:
        return ResourceLocked(
            f"cannot obtain exclusive access to locked queue '{queue.name}' in vhost '{self.name}'. "
            "It could be originally declared on another connection or the exclusive property value does not match that "
            "of the original declaration."
        )

    def declare_queue(
        self, name: str, owner: Owner, *, durable: bool, exclusive: bool, auto_delete: bool, arguments: Table
    ) -> Queue:
        """Make the queue, or check that the one there is the same. ``name`` "" has the server choose one."""
        if self.default_queue_type and "x-queue-type" not in arguments and durable and not (exclusive or auto_delete):
            arguments = {**arguments, "x-queue-type": longstr(self.default_queue_type)}
        current = self.queues.get(name)
        if current is not None:
            self._check_owner(current, owner)
            if exclusive != (current.owner is not None):
                raise self._locked(current)
            if exclusive:  # such a queue is never durable, whatever was asked for
                durable = current.durable
            equivalence.check_queue(self.name, current, durable, auto_delete, arguments)
            return current
        queue_arguments.check_queue(
            self.name, name, arguments, durable=durable, exclusive=exclusive, auto_delete=auto_delete
        )
        queue = self.make_queue(
            name or "amq.gen-" + self.ids.unique(),
            self.take_number(),
            arguments,
            durable=durable,
            auto_delete=auto_delete,
            owner=owner if exclusive else None,
        )
        self.queues[queue.name] = queue
        self.version += 1
        if exclusive:
            owner.queues[queue.name] = queue
        queue.created = self.save_queue(queue)
        return queue

    def make_queue(
        self, name: str, number: int, arguments: Table, *, durable: bool, auto_delete: bool, owner: Owner | None
    ) -> ClassicQueue | PriorityQueue:
        """A queue of the kind that its arguments ask for, not yet one of this virtual host's."""
        policies = self._policies_of(name, arguments)
        settings = self._settings(arguments, policies)
        kind = PriorityQueue if settings.max_priority else ClassicQueue
        declared = Declared(name, arguments, settings, durable=durable, auto_delete=auto_delete, owner=owner)
        queue = kind(declared, number, self.turn, self.queue_window_bytes, self)
        queue.policies = policies
        return queue

    def take_number(self) -> int:
        return self.numbers.take()

    def save_queue(self, queue: Queue) -> int:
        if not queue.on_disk:
            return 0
        self.journal.put(META, *records.row(records.NEXT_QUEUE_KEY, self.numbers.next))
        return self.journal.put(QUEUES, *records.queue_row(self.name, queue))

    def expire_queue(self, queue: Queue) -> None:
        self.remove_queue(queue)

    def delete_queue(self, name: str, owner: Owner, *, if_unused: bool, if_empty: bool) -> tuple[int, int]:
        """Delete it with its messages and bindings: (ready messages dropped, ticket). One that is not there is fine."""
        queue = self.queues.get(name)
        if queue is None:
            return 0, self.journal.newest()
        self._check_owner(queue, owner)
        queue.catch_up()
        if queue.settings.queue_type == queue_arguments.QUORUM and (if_unused or if_empty):
            raise NotImplementedByBroker(
                f"cannot delete queue '{name}' in vhost '{self.name}'. queue.delete operations with "
                f"{'if-unused' if if_unused else 'if-empty'} flag set are not supported by quorum queues"
            )
        if if_empty and queue.ready_count > 0:
            raise PreconditionFailed(f"queue '{name}' in vhost '{self.name}' not empty")
        if if_unused and queue.consumers.all:
            raise PreconditionFailed(f"queue '{name}' in vhost '{self.name}' in use")
        count = queue.ready_count
        return count, self.remove_queue(queue)

    def remove_queue(self, queue: Queue) -> int:
        """Delete without a question; the ticket."""
        del self.queues[queue.name]
        queue.drop_deadlines()
        self.version += 1
        if queue.owner is not None:
            queue.owner.queues.pop(queue.name, None)
        if queue.on_disk:
            self.journal.delete(THERE | QUEUES, records.name_key(self.name, queue.name))
        queue.on_deleted()
        self._remove_bindings_to(queue.name, to_queue=True)
        for consumer in list(queue.consumers.all):
            queue.consumers.remove(consumer)
            consumer.outlet.on_consumer_cancelled(consumer)
        return self.journal.ticket if queue.on_disk else 0

    # -- consumers --

    def add_consumer(self, consumer: Consumer) -> None:
        """Raises AccessRefused when an exclusive consumer and another one would meet."""
        queue = consumer.queue
        others = queue.consumers.all
        if queue.settings.queue_type == queue_arguments.QUORUM:
            consumer.exclusive = False
        is_single = queue.consumers.single_active
        if (others and (consumer.exclusive or others[0].exclusive)) or (consumer.exclusive and is_single):
            raise AccessRefused(f"queue '{queue.name}' in vhost '{self.name}' in exclusive use")
        queue.catch_up()
        queue.add_consumer(consumer)

    def remove_consumer(self, consumer: Consumer) -> None:
        """The consumer cancels or its channel ends. An auto-delete queue goes with its last one."""
        queue = consumer.queue
        if consumer.cancelled:
            return
        queue.remove_consumer(consumer)
        if queue.auto_delete and not queue.consumers.all and not queue.deleted:
            self.remove_queue(queue)

    # -- policies --

    def apply_policies(self) -> None:
        """A policy has changed: each queue and exchange follows the one that applies to it now."""
        for queue in self.queues.values():
            policies = self._policies_of(queue.name, queue.arguments)
            if policies[0] is queue.policies[0] and policies[1] is queue.policies[1]:
                continue
            queue.policies = policies
            settings = self._settings(queue.arguments, policies)
            if settings != queue.settings:
                queue.apply(settings)
        for exchange in self.exchanges.values():
            self._apply_policy(exchange)
        self.version += 1

    def _policies_of(self, name: str, arguments: Table) -> tuple[Policy | None, Policy | None]:
        """The policy and the operator policy that apply to a queue."""
        kind = queue_arguments.queue_type(arguments)
        return (
            self.policies.match(POLICY, self.name, kind, name),
            self.policies.match(OPERATOR_POLICY, self.name, kind, name),
        )

    def _settings(self, arguments: Table, policies: tuple[Policy | None, Policy | None]) -> QueueSettings:
        policy, operator_policy = policies
        return queue_arguments.effective(
            arguments,
            policy.definition if policy else {},
            operator_policy.definition if operator_policy else {},
        )

    def _apply_policy(self, exchange: Exchange) -> None:
        policy = self.policies.match(POLICY, self.name, EXCHANGE, exchange.name)
        exchange.policy = dict(policy.definition) if policy else {}

    # -- routing --

    def route(self, exchange: Exchange, routing_key: str, message: Publication | None) -> list[Queue]:
        """The queues that a message reaches, each once."""
        queues = self.queues
        keys = [routing_key] if message is None else message.keys
        return [queues[name] for name in route_keys(self.exchanges, queues, exchange, keys, message)]

    def needs_message(self, exchange: Exchange) -> bool:
        """Whether ``route`` needs the message itself, and so may not be remembered by key."""
        return needs_message(self.exchanges, exchange)

    def keeps_messages(self, exchange: Exchange) -> bool:
        """Whether asking for a message's route has an effect, and so may not be done before it is meant."""
        return keeps_messages(self.exchanges, exchange)

    # -- what the broker itself publishes --

    def publish(self, message: Publication, exchange: Exchange) -> int:
        """Route a message and enqueue it; the ticket that holds it."""
        return self.enqueue(message, self.route(exchange, message.routing_key, message))

    def enqueue(self, message: Publication, queues: list[Queue]) -> int:
        """Put a message into each of these queues that takes it; the ticket that holds it, 0 when it needs no disk."""
        ticket = message.ticket
        is_taken = message.kept
        refused: list[Message] = []
        priority, ttl_ms = int(message.find("priority") or 0), message.ttl_ms
        for queue in queues:
            if queue.deleted:
                continue
            stored = queue.on_disk and (message.persistent or queue.stores_all)
            channel = message.channel | MOVED if message.moved and stored else message.channel & ~MOVED
            entry = Message(message.content, message.address, channel, queue, stored)
            if queue.refuses(message.content):
                refused.append(entry)
                continue
            is_taken = True
            entry.priority = priority
            queue.expire_after(entry, ttl_ms)
            queue.enqueue(entry)
            if stored:
                ticket = self.journal.ticket
        for entry in refused:
            message.refused = True
            entry.queue.refuse(entry)
        if is_taken and not message.refused:
            message.on_enqueued()
        return ticket

    def dead_letter(self, queue: Queue, message: Message, reason: str) -> None:
        # One death may bring the next one about, at once: a list is walked, where calls would climb on each other.
        self.dead.append((queue, message, reason))
        if len(self.dead) > 1:
            return
        try:
            while self.dead:
                self._bury(*self.dead[0])
                self.dead.popleft()
        finally:
            self.dead.clear()

    def _bury(self, queue: Queue, message: Message, reason: str) -> None:
        name, key = queue.settings.dead_letter_exchange, queue.settings.dead_letter_routing_key
        exchange = None if name is None else self.exchanges.get(name)
        if name is None or exchange is None or (key is not None and len(bytes_of(key)) > SHORTSTR_MAX_BYTES):
            return
        dead = dead_publication(message, queue.name, reason, name, key, self.turn.now_ms // 1000)
        dead.moved = message.stored
        queues = self.route(exchange, dead.routing_key, dead)
        self.enqueue(dead, [each for each in queues if not ends_cycle(each.name, dead, reason)])
