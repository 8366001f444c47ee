"""The arguments of queues and consumers: what may be said, and what comes of it together with policies.

Owns names, checks and their texts (RabbitMQ's, its ``rabbit_amqqueue`` and the pages "Optional Queue Arguments" and
"Policies"), and the merge: the smaller of two numbers, else the argument before the policy. Knows no queue.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from amqpd.broker.fields import INTEGER_KINDS, TYPE_NAMES, Field, Table
from amqpd.errors import AccessRefused, NotImplementedByBroker, PreconditionFailed

MILLISECONDS_MAX: Final = 315_360_000_000  # ten years, as RabbitMQ has it
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


_PLAIN: Final = QueueSettings()  # of most queues, and so one for all of them


class _Unfit(Exception):
    """Why an argument's value will not do, in RabbitMQ's terms."""


_Check = Callable[[Field, Table], None]


# -- checks --


def check_queue(vhost: str, name: str, arguments: Table, *, durable: bool, exclusive: bool, auto_delete: bool) -> None:
    """What no queue can be, in the order in which RabbitMQ looks: type, values of arguments, their names, properties.

    Raises PreconditionFailed, AccessRefused for a reserved name, NotImplementedByBroker for a stream.
    """
    what = f"queue '{name}' in vhost '{vhost}'"
    _check_value(what, "x-queue-type", _check_queue_type, arguments)
    kind = queue_type(arguments)
    if kind == STREAM:
        raise NotImplementedByBroker(f"{what}: x-queue-type stream is not supported")
    if kind == QUORUM and not name:
        raise PreconditionFailed("Cannot declare a server-named queue for type rabbit_quorum_queue")
    if name.startswith("amq."):
        raise AccessRefused(f"queue name '{name}' contains reserved prefix 'amq.*'")
    dead_letter_exchange = arguments.get("x-dead-letter-exchange")
    if dead_letter_exchange is not None and dead_letter_exchange.kind != "S":
        raise wrong_type(dead_letter_exchange, "x-dead-letter-exchange", f"queue '{name}'", vhost)
    for argument, check in _QUEUE_CHECKS.items():
        if argument not in _UNKNOWN[kind]:
            _check_value(what, argument, check, arguments)
    for argument in sorted(_UNKNOWN[kind] & arguments.keys()):
        raise PreconditionFailed(f"invalid arg '{argument}' for {what} of queue type rabbit_{kind}_queue")
    if kind == QUORUM:
        _check_quorum(what, durable=durable, exclusive=exclusive, auto_delete=auto_delete)


def _check_value(what: str, argument: str, check: _Check, arguments: Table) -> None:
    field = arguments.get(argument)
    if field is None:
        return
    try:
        check(field, arguments)
    except _Unfit as unfit:
        raise PreconditionFailed(f"invalid arg '{argument}' for {what}: {unfit}") from None


def _check_quorum(what: str, *, durable: bool, exclusive: bool, auto_delete: bool) -> None:
    for is_wrong, name in ((exclusive, "exclusive-owner"), (auto_delete, "auto-delete"), (not durable, "non-durable")):
        if is_wrong:
            raise PreconditionFailed(f"invalid property '{name}' for {what}")


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
    value = _integer(field)
    if value > MILLISECONDS_MAX:
        raise _Unfit(f"{{value_too_large,{value}}}")


def _check_expires(field: Field, arguments: Table) -> None:
    _check_milliseconds(field, arguments)
    if field.value == 0:
        raise _Unfit("{value_zero,0}")


def _check_priority(field: Field, arguments: Table) -> None:
    _check_not_negative(field, arguments)
    value = _integer(field)
    if value > 255:
        raise _Unfit(f"{{max_value_exceeded,{value}}}")


def _check_flag(field: Field, _: Table) -> None:
    if field.kind != "t":
        raise _Unfit(f"{{unacceptable_type,{TYPE_NAMES[field.kind]}}}")


def _check_dead_letter_key(field: Field, arguments: Table) -> None:
    if field.kind != "S":
        raise _Unfit(f"{{unacceptable_type,{TYPE_NAMES[field.kind]}}}")
    if "x-dead-letter-exchange" not in arguments:
        raise _Unfit("routing_key_but_no_dlx_defined")


def _one_of(words: Sequence[str], complaint: Callable[[str], str]) -> _Check:
    def check(field: Field, _: Table) -> None:
        if not isinstance(field.value, str):
            raise _Unfit(f"{{unacceptable_type,{TYPE_NAMES[field.kind]}}}")
        if field.value not in words:
            raise _Unfit(complaint(field.value))

    return check


def _check_queue_version(field: Field, _: Table) -> None:
    value = _integer(field)
    if value not in (1, 2):
        raise _Unfit(f"\"unsupported queue version '{value}'\"")


def _check_group_size(field: Field, arguments: Table) -> None:
    _check_not_negative(field, arguments)
    if field.value == 0:
        raise _Unfit("{value_zero,0}")


# Arguments that RabbitMQ knows, and that a type of queue does not take; what nobody knows, each takes.
_STREAM_ONLY: Final = {"x-max-age", "x-stream-max-segment-size-bytes", "x-initial-cluster-size"}
_UNKNOWN: Final = {
    CLASSIC: frozenset(
        {
            "x-delivery-limit",
            "x-dead-letter-strategy",
            "x-quorum-initial-group-size",
            "x-queue-leader-locator",
            "x-max-in-memory-length",
            "x-max-in-memory-bytes",
            *_STREAM_ONLY,
        }
    ),
    QUORUM: frozenset({"x-max-priority", "x-queue-mode", "x-queue-version", "x-queue-master-locator", *_STREAM_ONLY}),
}

_check_queue_type: Final = _one_of((CLASSIC, QUORUM, STREAM), lambda word: f"\"unsupported queue type '{word}'\"")
# In the order in which RabbitMQ looks at them.
_QUEUE_CHECKS: Final[Mapping[str, _Check]] = {
    "x-expires": _check_expires,
    "x-message-ttl": _check_milliseconds,
    "x-dead-letter-routing-key": _check_dead_letter_key,
    "x-max-length": _check_not_negative,
    "x-max-length-bytes": _check_not_negative,
    "x-max-priority": _check_priority,
    "x-overflow": _one_of(OVERFLOWS, lambda _: "invalid_overflow"),
    "x-queue-mode": _one_of(QUEUE_MODES, lambda word: f"\"unsupported queue mode '{word}'\""),
    "x-queue-version": _check_queue_version,
    "x-single-active-consumer": _check_flag,
    "x-dead-letter-strategy": _one_of(("at-most-once", "at-least-once"), lambda _: "invalid_dlx_strategy"),
    "x-queue-leader-locator": _one_of(("client-local", "balanced"), lambda _: "invalid_queue_locator_arg"),
    "x-quorum-initial-group-size": _check_group_size,
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
        numbers = [value for value in (_argument(arguments, f"x-{key}"), merged.get(key)) if isinstance(value, int)]
        if numbers:
            values[name] = min(numbers)
    if values.get("delivery_limit", 0) < 0:  # RabbitMQ 4.x: no limit
        values["delivery_limit"] = None
    for key, name in _TEXTS.items():
        text = _argument(arguments, f"x-{key}")
        text = merged.get(key) if text is None else text
        if text is not None:
            values[name] = text
    values["max_priority"] = _argument(arguments, "x-max-priority") or 0
    values["single_active_consumer"] = _argument(arguments, "x-single-active-consumer") is True
    settings = QueueSettings(**values)
    return _PLAIN if settings == _PLAIN else settings


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
