"""One object of a definitions file: its fields, each asked for by name and by what it must be."""

from collections.abc import Mapping
from typing import Any

from amqpd.broker.fields import Table
from amqpd.broker.names import fault_of
from amqpd.management import field_tables


class Wrong(ValueError):
    """What is wrong with an object of a definitions file, and what to do."""


class Entry:
    """``place`` says which object it is, for whoever has to mend the file: ``queue 'q' in vhost '/'``."""

    def __init__(self, noun: str, fields: Mapping[str, Any], vhost: str | None) -> None:
        self._noun = noun
        self._fields = fields
        self._vhost = vhost  # where the file does not say

    @property
    def place(self) -> str:
        name = self._fields.get("name", self._fields.get("user", self._fields.get("source", "?")))
        vhost = self._fields.get("vhost", self._vhost)
        return f"{self._noun} '{name}'" + (f" in vhost '{vhost}'" if isinstance(vhost, str) else "")

    def text(self, name: str, default: str | None = None) -> str:
        """Raises Wrong when there is none and no default either."""
        value = self._fields.get(name, default)
        if not isinstance(value, str):
            raise Wrong(f"{name} must be a text" if name in self._fields else f"{name} is missing")
        return value

    def name(self, name: str, default: str | None = None) -> str:
        """A text that clients can say."""
        value = self.text(name, default)
        fault = fault_of(value)
        if fault:
            raise Wrong(f"{name} {fault}")
        return value

    def vhost(self) -> str:
        return self.name("vhost", self._vhost)

    def flag(self, name: str) -> bool:
        """No when it is not said."""
        value = self._fields.get(name, False)
        if not isinstance(value, bool):
            raise Wrong(f"{name} must be true or false")
        return value

    def whole(self, name: str) -> int:
        """0 when it is not said."""
        value = self._fields.get(name, 0)
        if type(value) is not int:
            raise Wrong(f"{name} must be a whole number")
        return value

    def words(self, name: str) -> tuple[str, ...]:
        """A list of texts, or texts with commas between them; none when it is not said."""
        value = self._fields.get(name, [])
        words = [word.strip() for word in value.split(",")] if isinstance(value, str) else value
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            raise Wrong(f"{name} must be a list of texts")
        return tuple(word for word in words if word)

    def object(self, name: str) -> dict[str, Any]:
        """An object, or the list of pairs as which some of RabbitMQ's exports write it; empty when it is not said."""
        value = self._fields.get(name, {})
        if isinstance(value, list) and all(isinstance(pair, list) and len(pair) == 2 for pair in value):
            value = {pair[0]: pair[1] for pair in value if isinstance(pair[0], str)}
        if not isinstance(value, dict):
            raise Wrong(f"{name} must be an object")
        return value

    def table(self, name: str) -> Table:
        """Arguments."""
        try:
            return field_tables.from_json(self.object(name))
        except field_tables.NoField as error:
            raise Wrong(f"{name}: {error}") from error

    def any(self, name: str) -> Any:
        """Whatever JSON there is."""
        if name not in self._fields:
            raise Wrong(f"{name} is missing")
        return self._fields[name]

    def has(self, name: str) -> bool:
        return name in self._fields

    def inside(self, name: str) -> "Entry":
        """The object in one of its fields, or itself where there is none."""
        value = self._fields.get(name)
        return Entry(self._noun, value, self._vhost) if isinstance(value, dict) else self

    def part(self, name: str, noun: str) -> "Entry":
        """The object in a field, which says the rest of what this one is. Raises Wrong."""
        return Entry(noun, {**self.object(name), "name": self.text("name"), "vhost": self.vhost()}, None)
