"""A sequence that fails, made small: operations are left out, then arguments, as long as it still fails.

Hypothesis could do this, too; but it changes what it draws, while here only the brokers' answers decide, and a sequence
of thirty operations is small after some fifty runs.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from tests.differential.operations import Operation, Sequence

Fails = Callable[[Sequence], bool]


def shrink(sequence: Sequence, fails: Fails) -> Sequence:
    """The smallest that was found; it fails, too."""
    before: Sequence = ()
    while sequence != before:
        before = sequence
        sequence = _without_operations(sequence, fails)
        sequence = _with_less_in_it(sequence, fails)
    return sequence


def _without_operations(sequence: Sequence, fails: Fails) -> Sequence:
    """Half of it left out, then a quarter, and so on down to single operations; from the end, which has the effects."""
    size = len(sequence) // 2
    while size:
        at = len(sequence) - size
        while at >= 0:
            shorter = sequence[:at] + sequence[at + size :]
            if fails(shorter):
                sequence = shorter
            at -= size
        size //= 2
    return sequence


def _with_less_in_it(sequence: Sequence, fails: Fails) -> Sequence:
    for index in range(len(sequence)):
        for args in _simpler(sequence[index].args):
            simpler = replace(sequence[index], args=args)
            if simpler != sequence[index] and fails(_with(sequence, index, simpler)):
                return _with_less_in_it(_with(sequence, index, simpler), fails)
    return sequence


def _with(sequence: Sequence, index: int, operation: Operation) -> Sequence:
    return (*sequence[:index], operation, *sequence[index + 1 :])


def _simpler(args: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The same without one of its parts, at any depth."""
    for key, value in args.items():
        if value is False or key in ("properties", "headers", "arguments", "size", "mandatory"):
            yield {other: args[other] for other in args if other != key}
        elif key == "count" and value > 1:
            yield {**args, key: value - 1}
        if isinstance(value, dict):
            for part in value:
                yield {**args, key: {other: value[other] for other in value if other != part}}
            for simpler in _simpler(value):
                yield {**args, key: simpler}
