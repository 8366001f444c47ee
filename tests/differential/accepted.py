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
    """A difference that ends the comparison: patterns of the operation, and of each line that only one broker said.

    ``before``: each is found in an operation that came before.
    """

    name: str
    reason: str
    operation: str
    amqpd: str
    rabbitmq: str
    check: Callable[[Lines, Lines], bool] = anything
    before: tuple[str, ...] = ()

    def explains(self, operation: str, amqpd: Lines, rabbitmq: Lines, before: Lines) -> bool:
        return (
            re.search(self.operation, operation) is not None
            and bool(amqpd or rabbitmq)
            and all(re.search(self.amqpd, line) for line in amqpd)
            and all(re.search(self.rabbitmq, line) for line in rabbitmq)
            and self.check(amqpd, rabbitmq)
            and all(any(re.search(pattern, line) for line in before) for pattern in self.before)
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
        operation=r"queue\.declare\(",  # with another value, or without it
        amqpd=r"PRECONDITION_FAILED - inequivalent arg 'x-(unknown|queue-mode|dead-letter-strategy|delivery-limit)'",
        rabbitmq=r"queue\.declare-ok",
    ),
    Accepted(
        "unknown-to-quorum-queues",
        "the same with an argument that says nothing to quorum queues only",
        operation=r"queue\.declare\(.*'x-queue-type': 'quorum'",
        amqpd=r"PRECONDITION_FAILED - inequivalent arg 'x-max-priority'",
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
        "requeued-and-got",
        "the same, when what was requeued is asked for by get",
        operation=r"basic\.get\(",
        amqpd=r"basic\.get-ok\(.*redelivered=True|state ",
        rabbitmq=r"basic\.get-ok\(.*redelivered=True|state ",
        before=(
            r"basic\.consume",
            r"nack\(.*multiple=True|basic\.recover\(|close channel|drop connection|queue\.delete\(.*if_empty=True",
        ),
    ),
    Accepted(
        "delivers-while-it-closes",
        "a connection that is closed with an error: RabbitMQ ends its channels one by one, and what one gives back may"
        " still be delivered to the next",
        operation=r"",
        amqpd=r"\.0 connection\.close\(|state ",
        rabbitmq=r"\.0 connection\.close\(|basic\.deliver\(|state ",
        check=lambda amqpd, rabbitmq: _close(amqpd) == _close(rabbitmq) != "" and _connections(rabbitmq) == 1,
    ),
    Accepted(
        "rejects-and-drops-nothing",
        "a policy with a limit and reject-publish: RabbitMQ drops what is too much before it looks at the overflow",
        operation=r"set policy\(.*'max-length.*'overflow': 'reject|set policy\(.*'overflow': 'reject.*'max-length",
        amqpd=r"state ",
        rabbitmq=r"state |basic\.deliver\(.*'maxlen'",
    ),
    Accepted(
        "history-of-what-is-not-committed",
        "publishes of a transaction: RabbitMQ's plug-in remembers them before the commit, and after a rollback, too",
        operation=r"queue\.bind\(",
        amqpd=r"state |basic\.deliver\(",
        rabbitmq=r"state |basic\.deliver\(",
        before=(r"x-recent-history", r"tx\.select\(", r" publish\("),
    ),
    Accepted(
        "deaths-at-once",
        "several messages die of one operation: RabbitMQ's queues hand them on one by one, side by side with the"
        " channel, and a consumer gets each as it comes; amqpd delivers when all are there",
        operation=r"publish\(|nack\(|reject\(|tx\.commit\(|set policy\(",
        amqpd=r"basic\.deliver\(",
        rabbitmq=r"basic\.deliver\(",
        check=lambda amqpd, rabbitmq: (
            _tells_of_a_death(amqpd) and _bodies_by_looks(amqpd) == _bodies_by_looks(rabbitmq)
        ),
    ),
    Accepted(
        "death-overtakes",
        "a message goes to a quorum queue, and dies in another queue that hands it on to the same one: RabbitMQ may"
        " write the dead letter into the log of the quorum queue first",
        operation=r"basic\.get\(",
        amqpd=r"basic\.get-ok\(.*x-delivery-count",
        rabbitmq=r"basic\.get-ok\(.*x-delivery-count",
        check=lambda amqpd, rabbitmq: (
            _tells_of_a_death(amqpd) != _tells_of_a_death(rabbitmq) and _steps(amqpd) == _steps(rabbitmq)
        ),
        before=(r"'quorum'", r"dead-letter-exchange"),
    ),
    Accepted(
        "expires-at-the-head",
        "a message that expires ahead of others of less priority: RabbitMQ notices when the queue is next looked at",
        operation=r"publish\(.*'priority': [1-9]",
        amqpd=r"state |basic\.deliver\(.*'expired'",
        rabbitmq=r"state ",
    ),
    Accepted(
        "get-counts-what-expires",
        "RabbitMQ counts what has expired behind a message of a quorum queue until that is got",
        operation=r"basic\.get\(",
        amqpd=r"basic\.get-ok\(.*x-delivery-count",
        rabbitmq=r"basic\.get-ok\(.*x-delivery-count",
        check=lambda amqpd, rabbitmq: _without_count("message", amqpd) == _without_count("message", rabbitmq),
        before=(r"'quorum'", r"'expiration'|message-ttl"),
    ),
    Accepted(
        "get-is-no-consumer",
        "RabbitMQ counts a get that is not settled as a consumer of a quorum queue",
        operation=r"queue\.declare\(|'queue\.declare'",
        amqpd=r"queue\.declare-ok\(",
        rabbitmq=r"queue\.declare-ok\(",
        check=lambda amqpd, rabbitmq: _without_count("consumer", amqpd) == _without_count("consumer", rabbitmq),
    ),
)


def _close(lines: Lines) -> str:
    return next((line for line in lines if ".0 connection.close(" in line), "")


def _connections(lines: Lines) -> int:
    """How many of them heard something."""
    return len({line.split(".")[0] for line in lines if not line.startswith("state ")})


def _bodies(lines: Lines) -> Lines:
    return sorted(line.rpartition(" ")[2] for line in lines)


def _steps(lines: Lines) -> set[str]:
    """Of which operations the messages come."""
    return {body.partition(".")[0] for body in _bodies(lines)}


def _tells_of_a_death(lines: Lines) -> bool:
    return any("x-death: [F{" in line for line in lines)


def _bodies_by_looks(lines: Lines) -> dict[str, Lines]:
    """In their order, those of deliveries that look the same but for their tags."""
    bodies: dict[str, Lines] = {}
    for line in lines:
        looks, _, body = re.sub(r"delivery_tag=\d+", "", line).rpartition(" ")
        bodies.setdefault(looks, []).append(body)
    return bodies


def _without_count(noun: str, lines: Lines) -> Lines:
    return [re.sub(rf"{noun}_count=\d+", "", line) for line in lines]
