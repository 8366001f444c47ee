"""What comes over the control socket, and what a verb makes of it: a request with checked values, and kinds of answers.

Rules of the wire: ``control.py``.
"""

from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from amqpd.broker.names import fault_of


class Refused(Exception):
    """The broker does not do it: what happened, to which object, and what to do, in one line or a few."""


class Misused(Refused):
    """The request itself makes no sense: a column that does not exist, a value that is none."""


@dataclass(frozen=True, slots=True)
class Done:
    """A verb did what it was asked for. ``facts`` are the answer, which waits until ``ticket`` is durable."""

    facts: Mapping[str, Any] = field(default_factory=dict)
    ticket: int = 0


class Listing(NamedTuple):
    """Rows, made as they are sent: some in each turn, so that a long list stalls nobody."""

    columns: list[str]
    rows: Iterator[list[Any]]


class Aside(NamedTuple):
    """Something that takes too long for a turn: ``work`` runs in a thread, ``then`` in a later turn, with its result.

    ``work`` must not touch the broker.
    """

    work: Callable[[], Any]
    then: Callable[[Any], "Result"]


# Steps: each is taken in a turn of its own; what is returned is the answer.
Steps: TypeAlias = Generator[None, None, Done]
Result: TypeAlias = Done | Listing | Aside | Steps


class Request:
    """The values that came with a verb; each is asked for by name and by what it must be."""

    def __init__(self, values: Mapping[str, Any]) -> None:
        self._values = values

    def text(self, name: str, default: str | None = None) -> str:
        """A text. Raises Misused when there is none and no default either."""
        value = self._values.get(name, default)
        if not isinstance(value, str):
            raise Misused(f"{name} must be a text")
        return value

    def name(self, name: str) -> str:
        """A text that clients can say."""
        value = self.text(name)
        fault = fault_of(value)
        if fault:
            raise Misused(f"{name} {fault}")
        return value

    def whole(self, name: str, default: int, *, lowest: int | None = None) -> int:
        """A whole number."""
        value = self._values.get(name, default)
        if type(value) is not int:
            raise Misused(f"{name} must be a whole number")
        if lowest is not None and value < lowest:
            raise Misused(f"{name} must be {lowest} or more")
        return value

    def number(self, name: str, lowest: float, highest: float) -> float:
        """A number."""
        value = self._values.get(name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not lowest <= value <= highest:
            raise Misused(f"{name} must be a number from {lowest:g} to {highest:g}")
        return value

    def flag(self, name: str) -> bool:
        """Whether it was said; not saying it is no."""
        value = self._values.get(name, False)
        if not isinstance(value, bool):
            raise Misused(f"{name} must be true or false")
        return value

    def texts(self, name: str, default: list[str] | None = None) -> list[str]:
        """Texts; none when it was not said and there is no default."""
        value = self._values.get(name, default or [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise Misused(f"{name} must be a list of texts")
        return value
