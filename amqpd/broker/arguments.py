"""The arguments of queues and consumers: what may be said, and what comes of it together with policies.

Owns names, checks and their texts (RabbitMQ's, its ``rabbit_amqqueue`` and the pages "Optional Queue Arguments" and
"Policies"), and the merge: the smaller of two numbers, else the argument before the policy. Knows no queue.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from amqpd.broker.fields import INTEGER_KINDS, TYPE_NAMES, Field, Table
from amqpd.errors import NotImplementedByBroker, PreconditionFailed

MILLISECONDS_MAX: Final = 0xFFFFFFFF  # RabbitMQ: what an Erlang timer takes
CLASSIC: Final = "classic"
QUORUM: Final = "quorum"
STREAM: Final = "stream"
QUORUM_DELIVERY_LIMIT: Final = 20  # RabbitMQ 4.0

OVERFLOWS: Final = ("drop-head", "reject-publish", "reject-publish-dlx")
QUEUE_MODES: Final = ("default", "lazy")


@dataclass(frozen=True, slots=True)
class QueueSettings:
    """What a queue does, whoever said so. None: nobody did. Times in milliseconds, sizes in bytes of bodies."""

    queue_type: str = CLASSIC
    message_ttl_ms: int | None = None
    expires_ms: int | None = None
    max_length: int | None = None
    max_length_bytes: int | None = None
    overflow: str = "drop-head"
    dead_letter_exchange: str | None = None
    dead_letter_routing_key: str | None = None
    max_priority: int = 0  # 0: all messages are equal
    single_active_consumer: bool = False
    delivery_limit: int | None = None
    consumer_timeout_ms: int | None = None


class _Unfit(Exception):
    """Why an argument's value will not do, in RabbitMQ's terms."""


# -- checks --


def check_queue(vhost: str, name: str, arguments: Table) -> None:
    """Raises PreconditionFailed for a value that makes no sense, NotImplementedByBroker for a stream."""
    for argument, check in _QUEUE_CHECKS.items():
        field = arguments.get(argument)
        if field is None:
            continue
        try:
            check(field, arguments)
        except _Unfit as unfit:
            raise PreconditionFailed(
                f"invalid arg '{argument}' for queue '{name}' in vhost '{vhost}': {unfit}"
            ) from None
    for argument in ("x-dead-letter-exchange", "x-dead-letter-routing-key"):
        field = arguments.get(argument)
        if field is not None and field.kind != "S":
            raise wrong_type(field, argument, f"queue '{name}'", vhost)
    if queue_type(arguments) == STREAM:
        raise NotImplementedByBroker(f"queue '{name}' in vhost '{vhost}': x-queue-type stream is not supported")


def wrong_type(field: Field, argument: str, of: str, vhost: str) -> PreconditionFailed:
    """The error for an argument that must be text."""
    return PreconditionFailed(
        f"invalid type '{TYPE_NAMES[field.kind]}' for arg '{argument}' in {of} in vhost '{vhost}'"
    )


def queue_type(arguments: Table) -> str:
    """What ``x-queue-type`` says, classic when it says nothing."""
    field = arguments.get("x-queue-type")
    return field.value if field is not None and isinstance(field.value, str) else CLASSIC


def consumer_priority(queue: str, vhost: str, arguments: Table) -> int:
    """``x-priority`` of a consumer, 0 when absent. Raises PreconditionFailed."""
    field = arguments.get("x-priority")
    if field is None:
        return 0
    try:
        return _integer(field)
    except _Unfit as unfit:
        raise PreconditionFailed(f"invalid arg 'x-priority' for queue '{queue}' in vhost '{vhost}': {unfit}") from None


def parse_expiration(text: str) -> int:
    """A message's ``expiration`` in milliseconds. Raises PreconditionFailed."""
    digits = text[1:] if text[:1] in ("+", "-") else text
    count = len(digits) - len(digits.lstrip("0123456789"))
    if count == 0:
        raise PreconditionFailed(f"invalid expiration '{text}': no_integer")
    rest = digits[count:]
    if rest:
        raise PreconditionFailed(f"invalid expiration '{text}': {{leftover_string,\"{rest}\"}}")
    value = int(text)
    if value < 0:
        raise PreconditionFailed(f"invalid expiration '{text}': {{value_negative,{value}}}")
    if value > MILLISECONDS_MAX:
        raise PreconditionFailed(f"invalid expiration '{text}': {{value_too_large,{value}}}")
    return value


def _integer(field: Field) -> int:
    if field.kind not in INTEGER_KINDS or not isinstance(field.value, int):
        raise _Unfit(f'"expected integer, got {TYPE_NAMES[field.kind]}"')
    return field.value


def _check_not_negative(field: Field, _: Table) -> None:
    value = _integer(field)
    if value < 0:
        raise _Unfit(f"{{value_negative,{value}}}")


def _check_milliseconds(field: Field, arguments: Table) -> None:
    _check_not_negative(field, arguments)
    if _integer(field) > MILLISECONDS_MAX:
        raise _Unfit(f"{{value_too_large,{field.value}}}")


def _check_expires(field: Field, arguments: Table) -> None:
    _check_milliseconds(field, arguments)
    if field.value == 0:
        raise _Unfit("{value_zero,0}")


def _check_priority(field: Field, arguments: Table) -> None:
    _check_not_negative(field, arguments)
    if _integer(field) > 255:
        raise _Unfit(f"{{max_value_exceeded,{field.value}}}")


def _check_flag(field: Field, _: Table) -> None:
    if field.kind != "t":
        raise _Unfit(f"{{unacceptable_type,{TYPE_NAMES[field.kind]}}}")


def _check_dead_letter_key(_: Field, arguments: Table) -> None:
    if "x-dead-letter-exchange" not in arguments:
        raise _Unfit("routing_key_but_no_dlx_defined")


def _one_of(words: Iterable[str], complaint: Callable[[str], str]) -> Callable[[Field, Table], None]:
    def check(field: Field, _: Table) -> None:
        if field.kind != "S":
            raise _Unfit(f"{{unacceptable_type,{TYPE_NAMES[field.kind]}}}")
        if field.value not in words:
            raise _Unfit(complaint(str(field.value)))

    return check


# In the order in which RabbitMQ looks at them.
_QUEUE_CHECKS: Final[Mapping[str, Callable[[Field, Table], None]]] = {
    "x-queue-type": _one_of((CLASSIC, QUORUM, STREAM), lambda word: f"\"unsupported queue type '{word}'\""),
    "x-expires": _check_expires,
    "x-message-ttl": _check_milliseconds,
    "x-dead-letter-routing-key": _check_dead_letter_key,
    "x-max-length": _check_not_negative,
    "x-max-length-bytes": _check_not_negative,
    "x-max-priority": _check_priority,
    "x-overflow": _one_of(OVERFLOWS, lambda _: "invalid_overflow"),
    "x-queue-mode": _one_of(QUEUE_MODES, lambda word: f"\"unsupported queue mode '{word}'\""),
    "x-single-active-consumer": _check_flag,
    "x-delivery-limit": _check_not_negative,
    "x-consumer-timeout": _check_milliseconds,
}

# -- what comes of it --

_NUMBERS: Final = {
    "message-ttl": "message_ttl_ms",
    "expires": "expires_ms",
    "max-length": "max_length",
    "max-length-bytes": "max_length_bytes",
    "delivery-limit": "delivery_limit",
    "consumer-timeout": "consumer_timeout_ms",
}
_TEXTS: Final = {
    "overflow": "overflow",
    "dead-letter-exchange": "dead_letter_exchange",
    "dead-letter-routing-key": "dead_letter_routing_key",
}


def effective(arguments: Table, policy: Mapping[str, Any], operator_policy: Mapping[str, Any]) -> QueueSettings:
    """What the arguments and the definitions of the two policies that apply to a queue make together."""
    merged = merge_policies(policy, operator_policy)
    values: dict[str, Any] = {"queue_type": queue_type(arguments)}
    if values["queue_type"] == QUORUM:
        values["delivery_limit"] = QUORUM_DELIVERY_LIMIT
    for key, name in _NUMBERS.items():
        numbers = [value for value in (_argument(arguments, f"x-{key}"), merged.get(key)) if value is not None]
        if numbers:
            values[name] = min(numbers)
    for key, name in _TEXTS.items():
        text = _argument(arguments, f"x-{key}")
        text = merged.get(key) if text is None else text
        if text is not None:
            values[name] = text
    values["max_priority"] = _argument(arguments, "x-max-priority") or 0
    values["single_active_consumer"] = _argument(arguments, "x-single-active-consumer") is True
    return QueueSettings(**values)


def merge_policies(policy: Mapping[str, Any], operator_policy: Mapping[str, Any]) -> dict[str, Any]:
    """One definition of two: the smaller number, else the operator's word."""
    merged = {**policy, **operator_policy}
    for key in policy.keys() & operator_policy.keys():
        if key in _NUMBERS:
            merged[key] = min(policy[key], operator_policy[key])
    return merged


def _argument(arguments: Table, name: str) -> Any:
    field = arguments.get(name)
    return None if field is None else field.value
