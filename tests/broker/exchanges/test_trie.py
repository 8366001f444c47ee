"""The work of a walk, counted in nodes: machines are noisy. What matches: ``test_topic.py``."""

import pytest

from amqpd.broker.exchanges.topic import TopicExchange
from amqpd.broker.exchanges.trie import start, step
from tests.broker.exchanges.test_topic import bind, is_match, matched


def visited(exchange: TopicExchange, key: str) -> int:
    """On how many nodes the walk stands, counted anew after each word."""
    nodes, staying = start(exchange._root)
    count = len(nodes)
    for word in key.split("."):
        nodes = step(nodes, word, staying)
        assert len(nodes) == len(set(nodes)), "each once"
        count += len(nodes)
    return count


WORDS_50 = ".".join(["a"] * 50)


@pytest.mark.parametrize(
    ("pattern", "visited_max"),
    [
        (".".join(["#"] * 50), 2 * 51),  # the root, then the one "#" that is left
        (".".join(["#", "a"] * 25), 51 * 51),  # at most every node after every word
        (".".join(["#", "*"] * 25), 51 * 51),
        (".".join(["#", "a"] * 25 + ["z"]), 51 * 52),  # fails only at the end, where backtracking would begin
    ],
)
def test_many_wildcards_cost_at_most_words_times_nodes(pattern: str, visited_max: int) -> None:
    exchange = TopicExchange("x")
    bind(exchange, pattern)
    assert matched(exchange, WORDS_50) == ([pattern] if is_match(pattern, WORDS_50) else [])
    assert 51 <= visited(exchange, WORDS_50) <= visited_max


def test_a_key_visits_few_nodes_among_100_000_bindings() -> None:
    exchange = TopicExchange("x")
    for number in range(25_000):
        for pattern in ("device.{}.state", "*.{}.alarm", "device.{}.#", "site.*.{}"):
            bind(exchange, pattern.format(number))
    assert matched(exchange, "device.777.state") == ["device.777.state", "device.777.#"]
    assert visited(exchange, "device.777.state") == 1 + 2 + 3 + 2
    assert matched(exchange, "site.x.777") == ["site.*.777"]
    assert visited(exchange, "site.x.777") == 1 + 2 + 1 + 1
    assert visited(exchange, "elsewhere.nowhere.nothing") == 1 + 1
    assert visited(exchange, ".".join(["#"] * 100)) == 1 + 1


def test_a_usual_key_visits_few_nodes_among_1_000_patterns() -> None:
    exchange = TopicExchange("x")
    for number in range(250):
        for pattern in ("orders.{}.*", "orders.{}.#", "*.{}.created", "orders.*.status{}"):
            bind(exchange, pattern.format(number))
    expected = ["*.7.created", "orders.7.#", "orders.7.*"]
    assert sorted(matched(exchange, "orders.7.created")) == expected
    assert visited(exchange, "orders.7.created") <= 12
