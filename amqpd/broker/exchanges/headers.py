"""The headers exchange: bindings ask for headers instead of a key.

Owns what a binding asks for and when two values are equal. Must not know how headers arrive. Rules: AMQP 0-9-1 section
3.1.3.4 and RabbitMQ's extension of ``x-match`` by ``-with-x``. Values are equal as in RabbitMQ, by what they hold and
not by how they are sent: numbers of all kinds (timestamps too) by value, longstr and binary by bytes, but a bool is
no number, and inside arrays and tables the types count.
"""

from collections.abc import Hashable, Iterable
from typing import Final, NamedTuple, Unpack

from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.base import Exchange, Properties
from amqpd.broker.exchanges.terms import as_term
from amqpd.broker.fields import TYPE_NAMES, Field, Table
from amqpd.broker.publication import Publication
from amqpd.errors import PreconditionFailed

# x-match -> whether one header is enough, and whether keys that begin with "x-" count.
_MODES: Final[dict[str, tuple[bool, bool]]] = {
    "all": (False, False),
    "any": (True, False),
    "all-with-x": (False, True),
    "any-with-x": (True, True),
}


class HeadersExchange(Exchange):
    """Routes to the bindings whose arguments are found among the message's headers."""

    type_name = "headers"
    uses_message = True

    def __init__(self, name: str, **properties: Unpack[Properties]) -> None:
        super().__init__(name, **properties)
        self._wishes: dict[Binding, _Wish] = {}

    def check_binding(self, key: str, arguments: Table) -> None:
        """``x-match`` is one of four words, or absent."""
        mode = arguments.get("x-match")
        if mode is None:
            return
        if mode.kind != "S":
            kind, value = TYPE_NAMES[mode.kind], as_term(mode.value)
            raise PreconditionFailed(f"Invalid x-match field type {kind} (value {value}); expected longstr")
        if mode.value not in _MODES:
            raise PreconditionFailed(
                f"Invalid x-match field value {as_term(mode.value)}; expected all, any, all-with-x, or any-with-x"
            )

    def match(self, routing_key: str, message: Publication | None) -> Iterable[Binding]:
        """The bindings whose wish the headers grant; no headers are the same as an empty table."""
        assert message is not None
        values = {name: _comparable(header) for name, header in message.headers.items()}
        return [binding for binding, wish in self._wishes.items() if wish.is_granted_by(values)]

    def _insert(self, binding: Binding) -> None:
        self._wishes[binding] = _Wish.of(binding.arguments)

    def _discard(self, binding: Binding) -> None:
        self._wishes.pop(binding, None)


class _Wish(NamedTuple):
    """What a binding asks of headers. With nothing asked, "all" is always granted and "any" never."""

    any_is_enough: bool
    present: tuple[str, ...]  # these with any value: the binding has them as void
    equal: tuple[tuple[str, Hashable], ...]  # these with this value

    @classmethod
    def of(cls, arguments: Table) -> "_Wish":
        mode = arguments.get("x-match", Field("S", "all")).value
        any_is_enough, with_x = _MODES[mode if isinstance(mode, str) else "all"]
        asked = {
            name: argument
            for name, argument in arguments.items()
            if name != "x-match" and (with_x or not name.startswith("x-"))
        }
        return cls(
            any_is_enough,
            tuple(name for name, argument in asked.items() if argument.kind == "V"),
            tuple((name, _comparable(argument)) for name, argument in asked.items() if argument.kind != "V"),
        )

    def is_granted_by(self, values: dict[str, Hashable]) -> bool:
        if self.any_is_enough:
            return any(name in values for name in self.present) or any(
                values.get(name) == value for name, value in self.equal
            )
        return all(name in values for name in self.present) and all(
            values.get(name) == value for name, value in self.equal
        )


def _comparable(field: Field) -> Hashable:
    """A value whose ``==`` is RabbitMQ's (Erlang's ``==`` of the decoded value, its type dropped)."""
    value = field.value
    if isinstance(value, bool):
        return "bool", value
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape")
    # Lists both, in Erlang: so an empty array equals an empty table, and one with items never does.
    if isinstance(value, list):
        return "items", tuple((item.kind, _comparable(item)) for item in value)
    if isinstance(value, dict):
        # Sorted, for a table has no order. RabbitMQ compares nested tables as they were sent.
        return "items", tuple((name, value[name].kind, _comparable(value[name])) for name in sorted(value))
    return value
