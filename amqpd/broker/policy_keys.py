"""What a policy may say: its keys, what their values may be, and which kinds of queue cannot follow which key.

Rules and texts: RabbitMQ's, of its 3.13. Keys without effect here (mirroring, where a queue's leader is, streams) are
checked like the others, so that definitions of a RabbitMQ keep their meaning on the way through.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from amqpd.broker.arguments import OVERFLOWS, QUEUE_MODES
from amqpd.broker.names import fault_of


class InvalidDefinition(ValueError):
    """What is wrong with a definition, in RabbitMQ's words."""


def check_definition(definition: object, *, operator: bool = False) -> None:
    """Raises InvalidDefinition. An operator policy has fewer keys."""
    if not isinstance(definition, dict):
        raise InvalidDefinition(f"definition must be a dictionary: {erlang(definition)}")
    if not definition:
        raise InvalidDefinition("no policy provided")
    known = OPERATOR_KEYS if operator else KEYS
    for key in sorted(definition.keys() & known):
        complaint = _CHECKS[key](definition[key])
        if complaint:
            raise InvalidDefinition(complaint)
    _check_mirroring(definition)
    unknown = ",".join(f"{{{erlang(key)},{erlang(definition[key])}}}" for key in sorted(definition.keys() - known))
    if unknown:
        raise InvalidDefinition(f"[{unknown}] are not recognised policy settings")


def erlang(value: object) -> str:
    """A value of JSON as RabbitMQ shows it."""
    match value:
        case None | bool():
            return str(value).lower() if value is not None else "null"
        case str():
            return f'<<"{value}">>'
        case list():
            return f"[{','.join(map(erlang, value))}]"
        case dict():
            return f"#{{{','.join(f'{erlang(key)} => {erlang(item)}' for key, item in value.items())}}}"
    return str(value)


# -- checks: each returns what is wrong with a value, "" when nothing is --

_Check = Callable[[Any], str]

_AGE: Final = re.compile(r"[0-9]+[YMDhms]")


def _whole(lowest: int, noun: str, highest: int | None = None) -> _Check:
    def check(value: object) -> str:
        fits = type(value) is int and value >= lowest and (highest is None or value <= highest)
        return "" if fits else f"{erlang(value)} is not a valid {noun}"

    return check


def _name(noun: str) -> _Check:
    def check(value: object) -> str:
        fits = isinstance(value, str) and not fault_of(value)
        return "" if fits else f"{erlang(value)} is not a valid {noun}"

    return check


def _one_of(values: tuple[object, ...], noun: str, link: str = " is not a valid ") -> _Check:
    return lambda value: "" if _is_among(value, values) else f"{erlang(value)}{link}{noun}"


def _is_among(value: object, values: tuple[object, ...]) -> bool:
    return any(type(value) is type(other) and value == other for other in values)


def _age(value: object) -> str:
    fits = isinstance(value, str) and _AGE.fullmatch(value) is not None
    return "" if fits else f"{erlang(value)} is not a valid max age"


def _anything(_: object) -> str:
    return ""


def _check_mirroring(definition: Mapping[str, Any]) -> None:
    """The ``ha-`` keys make sense together only."""
    mode, params = definition.get("ha-mode"), definition.get("ha-params")
    if mode is None:
        if definition.keys() & _MIRRORING:
            raise InvalidDefinition(
                "ha-mode must be specified to specify ha-params, ha-sync-mode or ha-promote-on-shutdown"
            )
        return
    complaint = _check_mode(mode, params)
    if complaint:
        raise InvalidDefinition(complaint)


def _check_mode(mode: object, params: object) -> str:
    given = "none" if params is None else erlang(params)
    if mode == "all":
        return "" if params is None else 'ha-mode="all" does not take parameters'
    if mode == "exactly":
        fits = type(params) is int and params > 0
        return "" if fits else f'ha-mode="exactly" takes an integer, {given} given'
    if mode == "nodes":
        if params == []:
            return 'ha-mode="nodes" list must be non-empty'
        fits = isinstance(params, list) and all(isinstance(node, str) for node in params)
        return "" if fits else f'ha-mode="nodes" takes a list of strings, {given} given'
    return f"{erlang(mode)} is not a valid ha-mode value"


def _promotion(key: str) -> _Check:
    return _got(key, ("always", "when-synced"))


def _got(key: str, words: tuple[str, str]) -> _Check:
    allowed = " or ".join(f'"{word}"' for word in words)
    return lambda value: "" if value in words else f"{key} must be {allowed}, got {erlang(value)}"


def _batch_size(value: object) -> str:
    if type(value) is int and value > 0:
        return ""
    return f"ha-sync-batch-size takes an integer greater than 0, {erlang(value)} given"


_MIRRORING: Final[Mapping[str, _Check]] = {
    "ha-params": _anything,
    "ha-sync-mode": _got("ha-sync-mode", ("manual", "automatic")),
    "ha-promote-on-shutdown": _promotion("ha-promote-on-shutdown"),
    "ha-promote-on-failure": _promotion("ha-promote-on-failure"),
    "ha-sync-batch-size": _batch_size,
}
_STREAMS: Final[Mapping[str, _Check]] = {
    "max-age": _age,
    "stream-max-segment-size-bytes": _whole(0, "segment size"),
    "stream-filter-size-bytes": _whole(16, "filter size. Valid range is 16-255", 255),
    "initial-cluster-size": _whole(0, "cluster size"),
}
_CHECKS: Final[Mapping[str, _Check]] = {
    "message-ttl": _whole(0, "message TTL"),
    "expires": _whole(1, "queue expiry"),
    "max-length": _whole(0, "maximum length"),
    "max-length-bytes": _whole(0, "maximum length in bytes"),
    "overflow": _one_of(OVERFLOWS, "overflow value"),
    "dead-letter-exchange": _name("dead letter exchange name"),
    "dead-letter-routing-key": _name("dead letter routing key"),
    "dead-letter-strategy": _one_of(("at-most-once", "at-least-once"), "dead letter strategy"),
    "delivery-limit": _whole(0, "delivery limit"),
    "consumer-timeout": _whole(0, "consumer timeout"),
    "alternate-exchange": _name("alternate exchange name"),
    "queue-mode": _one_of(QUEUE_MODES, "queue-mode value"),
    "queue-version": _one_of((1, 2), "queue-version value"),
    "max-in-memory-length": _whole(0, "maximum memory in bytes"),
    "max-in-memory-bytes": _whole(0, "maximum memory in bytes"),
    "queue-leader-locator": _one_of(
        ("client-local", "balanced", "random", "least-leaders"), "queue leader locator value"
    ),
    "queue-master-locator": _one_of(
        ("client-local", "random", "min-masters"), "queue-master-locator value", link=" invalid "
    ),
    "ha-mode": _anything,
    **_MIRRORING,
    **_STREAMS,
}

KEYS: Final = frozenset(_CHECKS)
OPERATOR_KEYS: Final = frozenset(
    (
        "message-ttl",
        "expires",
        "max-length",
        "max-length-bytes",
        "overflow",
        "delivery-limit",
        "queue-version",
        "max-in-memory-length",
        "max-in-memory-bytes",
    )
)

# A policy that has a key which a kind of queue cannot follow is not for queues of that kind, whatever else it says.
FOREIGN_KEYS: Final[Mapping[str, frozenset[str]]] = {
    "classic": frozenset((*_STREAMS, "delivery-limit", "dead-letter-strategy")),
    "quorum": frozenset((*_STREAMS, *_MIRRORING, "ha-mode", "queue-mode", "queue-master-locator")),
    "stream": KEYS - {*_STREAMS, "max-length-bytes", "queue-leader-locator", "queue-version"},
    "exchange": frozenset(),
}
