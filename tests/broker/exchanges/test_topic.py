import functools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.topic import TopicExchange
from amqpd.broker.exchanges.trie import Node

PATTERNS = [
    "", "*", "#", ".", "*.*", "a", "a.", ".a", "a.#", "#.a", "a.*", "*.a", "#.#", "*.#", "#.*", "a..b", "a.*.b",
    "a.#.b", "**", "a*", "a#", "##", "#.#.a", ".#", "#.", "é.*",
]  # fmt: skip

# What RabbitMQ 3.10.8 routed to queues bound by these patterns.
MATCHED = {
    "": ["", "#", "#.#"],
    ".": ["#", ".", "*.*", "#.#", "*.#", "#.*", ".#", "#."],
    "..": ["#", "#.#", "*.#", "#.*", ".#", "#."],
    "a": ["*", "#", "a", "a.#", "#.a", "#.#", "*.#", "#.*", "#.#.a"],
    "a.": ["#", "*.*", "a.", "a.#", "a.*", "#.#", "*.#", "#.*", "#."],
    ".a": ["#", "*.*", ".a", "#.a", "*.a", "#.#", "*.#", "#.*", "#.#.a", ".#"],
    "a.a": ["#", "*.*", "a.#", "#.a", "a.*", "*.a", "#.#", "*.#", "#.*", "#.#.a"],
    "a..b": ["#", "a.#", "#.#", "*.#", "#.*", "a..b", "a.*.b", "a.#.b"],
    "a.b": ["#", "*.*", "a.#", "a.*", "#.#", "*.#", "#.*", "a.#.b"],
    "*": ["*", "#", "#.#", "*.#", "#.*"],
    "#": ["*", "#", "#.#", "*.#", "#.*"],
    "**": ["*", "#", "#.#", "*.#", "#.*", "**"],
    "a*": ["*", "#", "#.#", "*.#", "#.*", "a*"],
    "##": ["*", "#", "#.#", "*.#", "#.*", "##"],
    "a.*": ["#", "*.*", "a.#", "a.*", "#.#", "*.#", "#.*"],
    "a.#": ["#", "*.*", "a.#", "a.*", "#.#", "*.#", "#.*"],
    "é.x": ["#", "*.*", "#.#", "*.#", "#.*", "é.*"],
    "ax": ["*", "#", "#.#", "*.#", "#.*"],
    "*.*": ["#", "*.*", "#.#", "*.#", "#.*"],
}

words = st.sampled_from(["a", "b", "", "*", "#", "ab"])
keys = st.lists(words, max_size=6).map(".".join)
patterns = st.lists(st.sampled_from(["a", "b", "", "*", "*", "#", "#", "ab"]), max_size=6).map(".".join)


def bind(exchange: TopicExchange, pattern: str, queue: str = "q") -> Binding:
    binding = Binding(exchange.name, queue, True, pattern)
    exchange.add(binding)
    return binding


def matched(exchange: TopicExchange, key: str) -> list[str]:
    return [binding.key for binding in exchange.match(key, None)]


def is_match(pattern: str, key: str) -> bool:
    """The standard's sentence, word for word."""

    @functools.cache
    def rest(at_pattern: int, at_word: int) -> bool:
        if at_pattern == len(pattern_words):
            return at_word == len(key_words)
        expected = pattern_words[at_pattern]
        if expected == "#":
            return any(rest(at_pattern + 1, later) for later in range(at_word, len(key_words) + 1))
        return at_word < len(key_words) and expected in ("*", key_words[at_word]) and rest(at_pattern + 1, at_word + 1)

    pattern_words = pattern.split(".") if pattern else []
    key_words = key.split(".") if key else []
    return rest(0, 0)


@pytest.mark.parametrize("key", MATCHED)
def test_matches_as_rabbitmq_does(key: str) -> None:
    exchange = TopicExchange("x")
    for pattern in PATTERNS:
        bind(exchange, pattern)
    assert sorted(matched(exchange, key)) == sorted(MATCHED[key])


@given(st.lists(patterns, max_size=12, unique=True), keys)
def test_matches_as_the_model_each_binding_once(bound: list[str], key: str) -> None:
    exchange = TopicExchange("x")
    for pattern in bound:
        bind(exchange, pattern)
    assert sorted(matched(exchange, key)) == sorted(pattern for pattern in bound if is_match(pattern, key))


@given(st.lists(patterns, max_size=12, unique=True), st.data())
def test_unbinding_leaves_what_never_binding_leaves(bound: list[str], data: st.DataObject) -> None:
    exchange, expected = TopicExchange("x"), TopicExchange("x")
    removed = data.draw(st.lists(st.sampled_from(bound), unique=True)) if bound else []
    for pattern in bound:
        bind(exchange, pattern)
    for pattern in removed:
        exchange.remove(Binding("x", "q", True, pattern))
    for pattern in bound:
        if pattern not in removed:
            bind(expected, pattern)
    assert shape(exchange._root) == shape(expected._root)


def shape(node: Node) -> tuple[object, ...]:
    children = {word: shape(child) for word, child in node.children.items()}
    wildcards = [None if child is None else shape(child) for child in (node.one, node.many)]
    return {binding.key for binding in node.bindings}, children, wildcards


def test_removing_what_is_not_there_changes_nothing() -> None:
    exchange = TopicExchange("x")
    bind(exchange, "a.b.c")
    for pattern in ("a.b", "a.b.c.d", "a", "", "x.y", "#"):
        exchange.remove(Binding("x", "q", True, pattern))
    exchange.remove(Binding("x", "other", True, "a.b.c"))
    assert matched(exchange, "a.b.c") == ["a.b.c"]


def test_empty_pattern_can_be_unbound() -> None:
    exchange = TopicExchange("x")
    binding = bind(exchange, "")
    exchange.remove(binding)
    assert matched(exchange, "") == []


def test_patterns_that_mean_the_same_are_bindings_of_their_own() -> None:
    exchange = TopicExchange("x")
    bind(exchange, "a.#.#.b")
    bind(exchange, "a.#.b")
    assert sorted(matched(exchange, "a.x.b")) == ["a.#.#.b", "a.#.b"]
    exchange.remove(Binding("x", "q", True, "a.#.b"))
    assert matched(exchange, "a.x.b") == ["a.#.#.b"]


def test_queues_of_one_pattern_in_order_of_binding() -> None:
    exchange = TopicExchange("x")
    for queue in ("c", "a", "b", "a"):
        bind(exchange, "k.*", queue)
    assert [binding.destination for binding in exchange.match("k.1", None)] == ["c", "a", "b"]
