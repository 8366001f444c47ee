"""The topic exchange: binding keys are patterns of words.

Owns the trie of patterns and the walk through it. Rules: AMQP 0-9-1 section 3.1.3.3: words are split by ".", ``*`` is
one word, ``#`` zero or more; RabbitMQ: empty words count, but the empty key has no word at all, so ``*`` does not match
it; ``*`` and ``#`` are wildcards only as a whole word of a binding key, and mere words in a routing key.

Bounds: a walk holds the set of nodes it may stand on after each word, never a path to them, so its work is at most
words x nodes, whatever the patterns. (Backtracking is exponential in the count of ``#``; RabbitMQ 4.3.5 forbids more
than two of them in a key for that reason, CVE-2026-67419. Here they are harmless.)
"""

from __future__ import annotations

from collections.abc import Iterable

from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.base import Exchange
from amqpd.broker.fields import Table
from amqpd.broker.publication import Publication


class TopicExchange(Exchange):
    """Routes to the bindings whose pattern matches the routing key."""

    type_name = "topic"

    def __init__(
        self,
        name: str,
        *,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Table | None = None,
    ) -> None:
        super().__init__(name, durable=durable, auto_delete=auto_delete, internal=internal, arguments=arguments)
        self._root = Node()

    def match(self, routing_key: str, message: Publication | None) -> Iterable[Binding]:
        """The bindings at the nodes where the last word leaves the walk."""
        root = self._root
        staying = {} if root.many is None else {root.many: None}
        nodes = [root, *staying]
        for word in _words(routing_key):
            nodes = step(nodes, word, staying)
            if not nodes:
                return ()
        if len(nodes) == 1:
            return nodes[0].bindings
        found: list[Binding] = []
        for node in nodes:
            if node.bindings:
                found.extend(node.bindings)
        return found

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


class Node:
    """A place in the trie: the patterns that begin with the words on the way here."""

    __slots__ = ("bindings", "children", "many", "one")

    def __init__(self) -> None:
        self.children: dict[str, Node] = {}  # by word
        self.one: Node | None = None  # behind "*"
        self.many: Node | None = None  # behind "#"
        self.bindings: dict[Binding, None] = {}  # the patterns that end here

    def find(self, word: str) -> Node | None:
        """What is behind this word of a pattern."""
        if word == "*":
            return self.one
        return self.many if word == "#" else self.children.get(word)

    def make(self, word: str) -> Node:
        """A place behind this word of a pattern, where there is none."""
        node = Node()
        if word == "*":
            self.one = node
        elif word == "#":
            self.many = node
        else:
            self.children[word] = node
        return node

    def drop(self, word: str) -> None:
        """Forget what is behind this word of a pattern."""
        if word == "*":
            self.one = None
        elif word == "#":
            self.many = None
        else:
            del self.children[word]

    def is_useless(self) -> bool:
        """Whether no pattern ends here or goes on."""
        return not (self.bindings or self.children or self.one or self.many)


def step(nodes: list[Node], word: str, staying: dict[Node, None]) -> list[Node]:
    """Where the walk may stand after ``word``, each node once: one parent leads to it.

    A node behind "#" is also where it was: once the walk is there, it stays for any word, hence ``staying``, which
    grows.
    """
    reached: list[Node] = []
    for node in nodes:
        child = node.children.get(word)
        if child is not None:
            reached.append(child)
            if child.many is not None:
                staying[child.many] = None
        child = node.one
        if child is not None:
            reached.append(child)
            if child.many is not None:
                staying[child.many] = None
    reached += staying
    return reached


def _words(key: str) -> list[str]:
    return key.split(".") if key else []


def _pattern(key: str) -> list[str]:
    """The words of a binding key, without the ``#`` that directly follow another: they mean the same."""
    pattern: list[str] = []
    for word in _words(key):
        if word != "#" or pattern[-1:] != ["#"]:
            pattern.append(word)
    return pattern
