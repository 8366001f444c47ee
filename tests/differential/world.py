"""The small world of a sequence: three queues, three exchanges, and how they are declared and bound at first."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from hypothesis import strategies as st

from tests.differential.features import FEATURES, OPERATOR_DEFINITIONS, POLICY_DEFINITIONS, Feature
from tests.differential.operations import Operation, Sequence, expires_soon

Draw = Callable[[st.SearchStrategy[Any]], Any]

PUBLISHING: Final = 4  # channels below are for the queue of the same number, less one
DESK: Final = 5  # the channel on which names are declared and looked after
QUEUES: Final = ("~q0", "~q1", "~q2")
EXCHANGES: Final = ("~e0", "~e1", "~e2")
TYPES: Final = ("fanout", "direct", "topic", "headers")
# RabbitMQ looks for unused quorum queues now and then, asks publishers to stop, and counts what is not acked as length.
NOT_OF_QUORUM_QUEUES: Final = frozenset({"x-expires", "x-overflow", "x-max-length", "x-max-length-bytes"})
UNKNOWN_ARGUMENTS: Final = (("x-unknown", 1), ("x-queue-mode", "lazy"), ("x-queue-mode", "some"))

flags: Final = st.booleans()
rarely: Final = st.integers(0, 15).map(lambda number: number == 15)
sometimes: Final = st.integers(0, 2).map(lambda number: number == 2)


@dataclass(frozen=True, slots=True)
class Named:
    """A queue or an exchange, and the arguments of the method that declares it."""

    name: str
    args: dict[str, Any]


@dataclass(frozen=True, slots=True)
class World:
    """What the operations of a sequence are about."""

    features: tuple[str, ...]
    queues: tuple[Named, ...]
    exchanges: tuple[Named, ...]
    declarations: Sequence

    @property
    def queue_names(self) -> tuple[str, ...]:
        return tuple(queue.name for queue in self.queues)

    @property
    def exchange_names(self) -> tuple[str, ...]:
        return tuple(exchange.name for exchange in self.exchanges)

    @property
    def headers_exchanges(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.exchanges if each.args["type"] == "headers")

    @property
    def exchanges_without_history(self) -> tuple[str, ...]:
        return tuple(each.name for each in self.exchanges if each.args["type"] != "x-recent-history")

    @property
    def arguments_to_try(self) -> tuple[tuple[str, Any], ...]:
        """Arguments with which a queue may be declared again."""
        pairs = [pair for feature in self._features for pair in feature.odd_queue_arguments]
        pairs += [pair for feature in self._features for table in feature.queue_arguments for pair in table.items()]
        return (*pairs, *UNKNOWN_ARGUMENTS)

    @property
    def _features(self) -> list[Feature]:
        return [FEATURES[name] for name in self.features if name in FEATURES]

    def policy_definitions(self, kind: str) -> list[dict[str, Any]]:
        """Parts of a policy's definition; those that expire soon only where time to live is a feature."""
        tables = OPERATOR_DEFINITIONS if kind == "operator policy" else (*OPERATOR_DEFINITIONS, *POLICY_DEFINITIONS)
        if "quorum" in self.features:
            tables = tuple(table for table in tables if not {f"x-{key}" for key in table} & NOT_OF_QUORUM_QUEUES)
        return [table for table in tables if "ttl" in self.features or not expires_soon(table)]

    def consumer_arguments(self, draw: Draw) -> dict[str, Any]:
        tables = [table for feature in self._features for table in feature.consumer_arguments]
        return draw(st.sampled_from(tables)) if tables and draw(flags) else {}

    def message_arguments(self, draw: Draw) -> dict[str, Any]:
        """What the client itself is told about a publish."""
        sizes = [size for feature in self._features for size in feature.sizes]
        return {"size": draw(st.sampled_from(sizes))} if sizes else {}

    def properties(self, draw: Draw, props: dict[str, Any]) -> dict[str, Any]:
        """Those of the features added."""
        for feature in self._features:
            if feature.odd_properties and draw(rarely):
                props |= draw(st.sampled_from(feature.odd_properties))
            elif feature.properties and draw(flags):
                props |= draw(st.sampled_from(feature.properties))
            if feature.headers and draw(flags):
                props["headers"] = {**props.get("headers", {}), **draw(st.sampled_from(feature.headers))}
        return props


@st.composite
def worlds(draw: Draw, enabled: tuple[str, ...]) -> World:
    """Each feature that is enabled is there in a third of the worlds."""
    features = tuple(name for name in enabled if name != "core" and draw(sometimes))
    if "core" not in enabled and not features:
        features = (draw(st.sampled_from(enabled)),)
    tables = [FEATURES[name] for name in features if name in FEATURES]
    queues = tuple(Named(name, _queue(draw, name, tables)) for name in QUEUES)
    exchanges = tuple(Named(name, _exchange(draw, name, tables)) for name in EXCHANGES)
    return World(features, queues, exchanges, _declarations(draw, queues, exchanges))


def _queue(draw: Draw, name: str, features: list[Feature]) -> dict[str, Any]:
    args: dict[str, Any] = {"queue": name}
    match draw(st.sampled_from(("plain", "plain", "durable", "auto_delete", "exclusive"))):
        case "plain":
            pass
        case flag:
            args[flag] = True
    arguments: dict[str, Any] = {}
    for feature in features:
        if feature.queue_arguments and draw(st.integers(0, 3)):
            arguments |= draw(st.sampled_from(feature.queue_arguments))
            args |= feature.queue_flags or {}
    if features and draw(rarely):
        pairs = [pair for feature in features for pair in feature.odd_queue_arguments]
        arguments |= dict([draw(st.sampled_from(pairs))]) if pairs else {}
    if arguments.get("x-queue-type") == "quorum":
        arguments = {key: value for key, value in arguments.items() if key not in NOT_OF_QUORUM_QUEUES}
    if arguments:
        args["arguments"] = arguments
    return args


def _exchange(draw: Draw, name: str, features: list[Feature]) -> dict[str, Any]:
    types = (*TYPES, *(kind for feature in features for kind in feature.exchange_types))
    args: dict[str, Any] = {"exchange": name, "type": draw(st.sampled_from(types))}
    if draw(rarely):
        args[draw(st.sampled_from(("internal", "auto_delete", "durable")))] = True
    tables = [table for feature in features for table in feature.exchange_arguments]
    if tables and draw(flags):
        args["arguments"] = draw(st.sampled_from(tables))
    return args


def _declarations(draw: Draw, queues: tuple[Named, ...], exchanges: tuple[Named, ...]) -> Sequence:
    """Most of the world is there from the beginning, and somehow bound."""
    operations = [
        *(Operation("exchange.declare", 0, DESK, each.args) for each in exchanges),
        *(Operation("queue.declare", 0, DESK, each.args) for each in queues),
    ]
    for queue in queues:
        for exchange in exchanges:
            key = draw(st.sampled_from(("k", "#", "k.*", "~q0")))
            args = {"queue": queue.name, "exchange": exchange.name, "routing_key": key}
            if exchange.args["type"] == "headers":
                args["arguments"] = {"h": "1"}
            operations.append(Operation("queue.bind", 0, DESK, args))
    if draw(flags):
        operations.append(Operation("confirm.select", 0, PUBLISHING))
    return tuple(operation for operation in operations if draw(st.integers(0, 9)))
