"""Whether a second declaration asks for what is there already (AMQP 0-9-1: exchange.declare and queue.declare,
"equivalent").

Texts: RabbitMQ's, and the order in which it looks. Of an exchange the alternate must be the same, of a queue every
``x-`` argument; integers of any width are equal when their values are.
"""

from collections.abc import Iterable
from typing import Final

from amqpd.broker.arguments import CLASSIC, QUORUM
from amqpd.broker.exchanges.base import Exchange
from amqpd.broker.fields import INTEGER_KINDS, TYPE_NAMES, Field, Table
from amqpd.broker.queues.base import Queue
from amqpd.errors import PreconditionFailed

# The arguments of each type of queue, in the order in which they are compared; others come last, by name.
_IN_ORDER: Final[dict[str, tuple[str, ...]]] = {
    CLASSIC: (
        "x-expires",
        "x-message-ttl",
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-priority",
        "x-overflow",
        "x-queue-mode",
        "x-queue-version",
        "x-single-active-consumer",
        "x-queue-type",
        "x-queue-master-locator",
    ),
    QUORUM: (
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-dead-letter-strategy",
        "x-expires",
        "x-max-length",
        "x-max-length-bytes",
        "x-max-in-memory-length",
        "x-max-in-memory-bytes",
        "x-overflow",
        "x-single-active-consumer",
        "x-queue-type",
        "x-quorum-initial-group-size",
        "x-delivery-limit",
        "x-message-ttl",
        "x-queue-leader-locator",
    ),
}


def check_exchange(
    vhost: str, current: Exchange, type_name: str, durable: bool, auto_delete: bool, internal: bool, arguments: Table
) -> None:
    """Raises PreconditionFailed at the first difference."""
    what = f"exchange '{current.name}' in vhost '{vhost}'"
    if current.type_name != type_name:
        raise PreconditionFailed(
            f"inequivalent arg 'type' for {what}: received '{type_name}' but current is '{current.type_name}'"
        )
    _check_flag("durable", what, durable, current.durable)
    _check_flag("auto_delete", what, auto_delete, current.auto_delete)
    _check_flag("internal", what, internal, current.internal)
    _check_arguments(what, ("alternate-exchange",), arguments, current.arguments)


def check_queue(vhost: str, current: Queue, durable: bool, auto_delete: bool, arguments: Table) -> None:
    """Raises PreconditionFailed at the first difference."""
    what = f"queue '{current.name}' in vhost '{vhost}'"
    _check_flag("durable", what, durable, current.durable)
    _check_flag("auto_delete", what, auto_delete, current.auto_delete)
    known = _IN_ORDER[current.settings.queue_type]
    others = {name for name in {**arguments, **current.arguments} if name.startswith("x-")} - {*known}
    _check_arguments(what, (*known, *sorted(others)), arguments, current.arguments)


def _check_flag(name: str, what: str, received: bool, current: bool) -> None:
    if received != current:
        raise PreconditionFailed(
            f"inequivalent arg '{name}' for {what}: received '{_word(received)}' but current is '{_word(current)}'"
        )


def _word(flag: bool) -> str:
    return "true" if flag else "false"


def _check_arguments(what: str, names: Iterable[str], received: Table, current: Table) -> None:
    for name in names:
        one, other = received.get(name), current.get(name)
        if _is_same(one, other) or (name == "x-queue-type" and _is_classic(one) and _is_classic(other)):
            continue
        if one is not None and other is not None:
            raise PreconditionFailed(
                f"inequivalent arg '{name}' for {what}: received '{_render(one)}' but current is '{_render(other)}'"
            )
        raise PreconditionFailed(
            f"inequivalent arg '{name}' for {what}: received {_describe(one)} but current is {_describe(other)}"
        )


def _is_classic(queue_type: Field | None) -> bool:
    """No ``x-queue-type`` is the classic one."""
    return queue_type is None or queue_type.value == "classic"


def _is_same(one: Field | None, other: Field | None) -> bool:
    if one is None or other is None:
        return one is other
    if one.kind in INTEGER_KINDS and other.kind in INTEGER_KINDS:
        return one.value == other.value
    return one == other


def _describe(field: Field | None) -> str:
    if field is None:
        return "none"
    return f"the value '{_render(field)}' of type '{TYPE_NAMES[field.kind]}'"


def _render(field: Field) -> str:
    if isinstance(field.value, bool):
        return _word(field.value)
    return str(field.value)
