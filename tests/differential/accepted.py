"""Differences that are meant: each with its reason, and matched as narrowly as it can be.

docs/compatibility.md has a row for each, by its name. What follows an accepted difference in a sequence is not
compared: the two brokers are no longer in the same state.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

Lines = list[str]


def anything(amqpd: Lines, rabbitmq: Lines) -> bool:
    """No more is asked of the lines than the patterns ask."""
    return True


@dataclass(frozen=True, slots=True)
class Accepted:
    """A difference that ends the comparison: patterns of the operation, and of each line that only one broker said."""

    name: str
    reason: str
    operation: str
    amqpd: str
    rabbitmq: str
    check: Callable[[Lines, Lines], bool] = anything

    def explains(self, operation: str, amqpd: Lines, rabbitmq: Lines) -> bool:
        return (
            re.search(self.operation, operation) is not None
            and bool(amqpd or rabbitmq)
            and all(re.search(self.amqpd, line) for line in amqpd)
            and all(re.search(self.rabbitmq, line) for line in rabbitmq)
            and self.check(amqpd, rabbitmq)
        )


@dataclass(frozen=True, slots=True)
class Extra:
    """What amqpd says beyond RabbitMQ inside a line; taken out before lines are compared, which go on after it."""

    name: str
    reason: str
    amqpd: str


EXTRAS: Final = (
    Extra(
        "last-death",
        "headers of RabbitMQ 3.13 that 3.10 does not have: about the latest death of a message",
        amqpd=r", x-last-death-exchange: S:'[^']*', x-last-death-queue: S:'[^']*', x-last-death-reason: S:'\w+'",
    ),
)


@dataclass(frozen=True, slots=True)
class Unordered:
    """A list inside a line of either broker; its items, each a match of ``item``, are compared without their order."""

    name: str
    reason: str
    listing: str
    item: str


DEATH: Final = r"F\{count: [^}]*\}"
UNORDERED: Final = (
    Unordered(
        "death-order",
        "x-death of three entries and more: the newest first; RabbitMQ 3.10 turns the older ones round at each death",
        listing=rf"{DEATH}(, {DEATH}){{2,}}",
        item=DEATH,
    ),
)

ACCEPTED: Final = (
    Accepted(
        "unknown-argument",
        "a queue declared again with another value of an argument that says nothing to it: it may be a typing error",
        operation=r"queue\.declare\(.*'x-(unknown|queue-mode|dead-letter-strategy|delivery-limit)'",
        amqpd=r"PRECONDITION_FAILED - inequivalent arg 'x-(unknown|queue-mode|dead-letter-strategy|delivery-limit)'",
        rabbitmq=r"queue\.declare-ok",
    ),
    Accepted(
        "type-in-quotes",
        "RabbitMQ puts a type of a plug-in into two pairs of quotes",
        operation=r"exchange\.declare\(",
        amqpd=r"inequivalent arg 'type' .*'x-[\w-]+'",
        rabbitmq=r"inequivalent arg 'type' .*''x-[\w-]+''",
    ),
    Accepted(
        "requeued-by-position",
        "deliveries of two consumers of a channel that are requeued at once: RabbitMQ requeues consumer by consumer,"
        " and delivers again before all are back; amqpd delivers them in their order",
        operation=r"nack\(.*multiple=True|basic\.recover\(|close channel|drop connection",
        amqpd=r"basic\.deliver\(.*redelivered=True",
        rabbitmq=r"basic\.deliver\(.*redelivered=True",
        check=lambda amqpd, rabbitmq: _bodies(amqpd) == _bodies(rabbitmq),
    ),
    Accepted(
        "rejects-and-drops-nothing",
        "a policy with a limit and reject-publish: RabbitMQ drops what is too much before it looks at the overflow",
        operation=r"set policy\(.*'max-length.*'overflow': 'reject|set policy\(.*'overflow': 'reject.*'max-length",
        amqpd=r"state ",
        rabbitmq=r"state |basic\.deliver\(.*'maxlen'",
    ),
    Accepted(
        "history-of-exchanges",
        "an exchange bound to one that has a history: RabbitMQ's plug-in crashes",
        operation=r"exchange\.bind\(",
        amqpd=r"exchange\.bind-ok\(|basic\.deliver\(|state ",
        rabbitmq=r"\d\.0 connection\.close\(reply_code=541,|state .* gone",
    ),
    Accepted(
        "expires-at-the-head",
        "a message that expires ahead of others of less priority: RabbitMQ notices when the queue is next looked at",
        operation=r"publish\(.*'priority': [1-9]",
        amqpd=r"state |basic\.deliver\(.*'expired'",
        rabbitmq=r"state ",
    ),
    Accepted(
        "get-is-no-consumer",
        "RabbitMQ counts a get that is not settled as a consumer of a quorum queue",
        operation=r"queue\.declare\(|'queue\.declare'",
        amqpd=r"queue\.declare-ok\(",
        rabbitmq=r"queue\.declare-ok\(",
        check=lambda amqpd, rabbitmq: _uncounted(amqpd) == _uncounted(rabbitmq),
    ),
)


def _bodies(lines: Lines) -> Lines:
    return sorted(line.rpartition(" ")[2] for line in lines)


def _uncounted(lines: Lines) -> Lines:
    return [re.sub(r"consumer_count=\d+", "", line) for line in lines]
