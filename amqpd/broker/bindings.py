"""Bindings: the value, and the set of a virtual host indexed from both ends.

Owns what makes two bindings the same and how they are found by source, by destination and by the pair. Must not know
what a binding key means: that is its exchange's affair (``exchanges/``). Rules: AMQP 0-9-1, queue.bind ("a server MUST
allow ignore duplicate bindings") and RabbitMQ's exchange.bind; identity as RabbitMQ has it: source, destination, key
and arguments with the types of their values, so a signedint 1 and a long 1 make two bindings.
"""

from collections.abc import Hashable, Iterator
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

from amqpd.broker.fields import Field, Table

_Key = TypeVar("_Key", bound=Hashable)
# A set that keeps the order of insertion.
_Group: TypeAlias = "dict[Binding, None]"


@dataclass(frozen=True, slots=True)
class Binding:
    """What sends messages of one exchange on to a queue (``to_queue``) or to another exchange."""

    source: str
    destination: str
    to_queue: bool
    key: str
    # Not compared itself: a dict cannot be hashed, and 1 == True == 1.0 in it. ``identity`` stands for it.
    arguments: Table = field(default_factory=dict, compare=False)
    identity: Hashable = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "identity", _identity_of_table(self.arguments))


class Bindings:
    """All bindings of a virtual host, each once."""

    def __init__(self) -> None:
        self._count = 0
        self._by_source: dict[str, _Group] = {}
        # A queue and an exchange may have the same name, hence the flag in the key.
        self._by_destination: dict[tuple[str, bool], _Group] = {}
        self._by_pair: dict[tuple[str, str, bool], _Group] = {}

    def add(self, binding: Binding) -> bool:
        """Add it; False when it was there."""
        if binding in self:
            return False
        self._by_source.setdefault(binding.source, {})[binding] = None
        self._by_destination.setdefault((binding.destination, binding.to_queue), {})[binding] = None
        self._by_pair.setdefault(_pair(binding), {})[binding] = None
        self._count += 1
        return True

    def remove(self, binding: Binding) -> bool:
        """Remove it; False when it was not there, which is no error (RabbitMQ: unbinding is idempotent)."""
        if binding not in self:
            return False
        _discard(self._by_source, binding.source, binding)
        _discard(self._by_destination, (binding.destination, binding.to_queue), binding)
        _discard(self._by_pair, _pair(binding), binding)
        self._count -= 1
        return True

    def from_source(self, name: str) -> list[Binding]:
        """The bindings of which this exchange is the source, oldest first."""
        return list(self._by_source.get(name, ()))

    def to_destination(self, name: str, *, to_queue: bool) -> list[Binding]:
        """The bindings that lead to this queue or exchange, oldest first."""
        return list(self._by_destination.get((name, to_queue), ()))

    def between(self, source: str, destination: str, to_queue: bool) -> list[Binding]:
        """The bindings from one to the other, oldest first."""
        return list(self._by_pair.get((source, destination, to_queue), ()))

    def has_source(self, name: str) -> bool:
        """Whether this exchange is the source of any binding."""
        return name in self._by_source

    def __contains__(self, binding: Binding) -> bool:
        return binding in self._by_pair.get(_pair(binding), ())

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Binding]:
        """All of them, source by source; the set must not change meanwhile."""
        for group in self._by_source.values():
            yield from group


def _pair(binding: Binding) -> tuple[str, str, bool]:
    return binding.source, binding.destination, binding.to_queue


def _discard(index: dict[_Key, _Group], key: _Key, binding: Binding) -> None:
    group = index[key]
    del group[binding]
    if not group:
        del index[key]


def _identity_of_table(arguments: Table) -> Hashable:
    # Sorted at every depth: clients whose maps have no order (Go) could not unbind what they bound otherwise.
    return tuple((name, _identity(arguments[name])) for name in sorted(arguments))


def _identity(argument: Field) -> Hashable:
    kind, value = argument
    if isinstance(value, list):
        return kind, tuple(_identity(item) for item in value)
    if isinstance(value, dict):
        return kind, _identity_of_table(value)
    if isinstance(value, float):
        # A NaN equals nothing, so that the binding could never be removed; -0.0 equals 0.0, and must look like it.
        return kind, "nan" if value != value else value + 0.0
    return kind, value
