"""What a load runs on: queues, their bindings, and the exchange; and which producer's messages belong into which queue.

Declares through a link, and takes away what it made as auto-delete would.
"""

import secrets
from dataclasses import dataclass
from typing import Final

from amqpd.perf.link import BrokerError, Link, Refused
from amqpd.perf.plan import Plan
from amqpd.perf.publish import Target
from amqpd.protocols.amqp091.constants import EXCHANGE_DECLARE, QUEUE_BIND, QUEUE_DECLARE, QUEUE_DELETE

TYPES_TO_ALL: Final = ("fanout", "headers")  # of the latter: bindings without headers match everything
TYPES_BY_KEY: Final = ("direct", "topic")
STANDARD_TYPES: Final = TYPES_BY_KEY + TYPES_TO_ALL


@dataclass(slots=True)
class Queue:
    """One queue of the load; ``is_ours``: nobody else had messages or consumers there when the load began."""

    name: str
    routing_key: str
    is_ours: bool = False


class Topology:
    """The queues of a plan, in order; consumers and producers go round them."""

    def __init__(self, plan: Plan, control: Link) -> None:
        self._plan = plan
        self._control = control
        self._key = f"{plan.run_id}-{secrets.token_hex(4)}" if plan.routing_key is None else plan.routing_key
        self.queues: list[Queue] = []

    def declare(self) -> None:
        """Make what is not there. Raises Refused when it is there but different."""
        plan = self._plan
        if plan.exchange and not plan.predeclared:
            self._control.call(
                EXCHANGE_DECLARE, "exchange.declare-ok", exchange=plan.exchange, exchange_type=plan.exchange_type
            )
        for name in plan.queues or [""] * plan.consumers:
            key = self._key if plan.routing_key is not None or not name else name
            queue = Queue(name, key)
            if not plan.predeclared:
                self._declare(queue)
            self.queues.append(queue)

    def _declare(self, queue: Queue) -> None:
        plan = self._plan
        there = self._control.call(
            QUEUE_DECLARE,
            "queue.declare-ok",
            queue=queue.name,
            durable=plan.persistent,
            auto_delete=plan.auto_delete,
            arguments=plan.queue_table(),
        )
        queue.name = there["queue"]
        queue.is_ours = there["message_count"] == there["consumer_count"] == 0
        if plan.exchange_name:
            self._control.call(
                QUEUE_BIND,
                "queue.bind-ok",
                queue=queue.name,
                exchange=plan.exchange_name,
                routing_key=queue.routing_key,
            )

    def target(self, producer: int) -> Target:
        """Where a producer publishes."""
        plan = self._plan
        key = self.queues[producer % len(self.queues)].routing_key if self.queues else plan.routing_key or ""
        return Target(plan.exchange_name, key, plan.mandatory, plan.persistent)

    def queue_of(self, consumer: int) -> int:
        """The index of the queue that a consumer consumes from."""
        return consumer % len(self.queues)

    def reaches(self, producer: int, queue: Queue) -> bool:
        """Whether all messages of the producer go into the queue; else none does."""
        plan = self._plan
        return plan.exchange_type in TYPES_TO_ALL or self.target(producer).routing_key == queue.routing_key

    def doubt(self) -> str:
        """Why nobody can tell what should be in the queues; empty if one can."""
        plan = self._plan
        if plan.predeclared:
            return "--predeclared: others may publish and consume there"
        if plan.exchange_type not in STANDARD_TYPES:
            return f"nobody knows where an exchange of type {plan.exchange_type} puts a message"
        if plan.limiting_argument:
            return f"the broker may drop messages by {plan.limiting_argument}"
        if not all(queue.is_ours for queue in self.queues):
            return "there were messages or consumers in the queue before"
        return "" if self.queues else "there is no queue to look at"

    @property
    def is_to_be_removed(self) -> bool:
        """Whether auto-delete would remove all queues in the end: they had consumers, and only ours."""
        plan = self._plan
        return plan.auto_delete and plan.consumers > 0 and all(queue.is_ours for queue in self.queues)

    @property
    def is_kept(self) -> bool:
        """Whether the queues outlast their consumers."""
        return not self._plan.auto_delete or self._plan.predeclared or not self._plan.consumers

    def count(self) -> list[int]:
        """How many messages wait in each queue. Raises Refused when one is gone."""
        counts = []
        for queue in self.queues:
            there = self._control.call(QUEUE_DECLARE, "queue.declare-ok", queue=queue.name, passive=True)
            counts.append(there["message_count"])
        return counts

    def remove(self) -> list[int]:
        """Delete the queues; how many messages there were in each."""
        counts = []
        for queue in self.queues:
            done = self._control.call(QUEUE_DELETE, "queue.delete-ok", queue=queue.name)
            counts.append(done["message_count"])
            queue.is_ours = False
        return counts


def hint(error: BrokerError) -> str:
    """What to do about a topology that the broker refuses, to be said behind the error."""
    if isinstance(error, Refused) and error.code == 406:
        return "; --predeclared uses it as it is"
    return ""
