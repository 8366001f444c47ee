"""The topic exchange: binding keys are patterns of words.

Owns what the words of a pattern mean; ``trie.py`` finds those that a key fits. Rules: AMQP 0-9-1 section 3.1.3.3: words
are split by ".", ``*`` is one word, ``#`` zero or more; RabbitMQ: empty words count, but the empty key has no word at
all, so ``*`` does not match it; ``*`` and ``#`` are wildcards only as a whole word of a binding key, and mere words in
a routing key.

RabbitMQ 4.3.5 forbids more than two ``#`` in a binding key; here any number of them is harmless (``trie.py``).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Unpack

from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.base import Exchange, Properties
from amqpd.broker.exchanges.trie import Node, match
from amqpd.broker.publication import Publication


class TopicExchange(Exchange):
    """Routes to the bindings whose pattern matches the routing key."""

    type_name = "topic"

    def __init__(self, name: str, **properties: Unpack[Properties]) -> None:
        super().__init__(name, **properties)
        self._root = Node()

    def match(self, routing_key: str, message: Publication | None) -> Iterable[Binding]:
        """The bindings whose pattern the words of the key fit."""
        return match(self._root, _words(routing_key))

    def _insert(self, binding: Binding) -> None:
        node = self._root
        for word in _pattern(binding.key):
            node = node.find(word) or node.make(word)
        node.bindings[binding] = None

    def _discard(self, binding: Binding) -> None:
        words = _pattern(binding.key)
        path = [self._root]
        for word in words:
            child = path[-1].find(word)
            if child is None:
                return
            path.append(child)
        path[-1].bindings.pop(binding, None)
        # Prune from the leaf up to the first node that is still of use.
        while words and path[-1].is_useless():
            path.pop()
            path[-1].drop(words.pop())


def _words(key: str) -> list[str]:
    return key.split(".") if key else []


def _pattern(key: str) -> list[str]:
    """The words of a binding key, without the ``#`` that directly follow another: they mean the same."""
    pattern: list[str] = []
    for word in _words(key):
        if word != "#" or pattern[-1:] != ["#"]:
            pattern.append(word)
    return pattern
