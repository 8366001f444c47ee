"""The topic exchange: binding keys are patterns of words.

Owns the trie of patterns and the walk through it. Rules: AMQP 0-9-1 section 3.1.3.3: words are split by ".", ``*`` is
one word, ``#`` zero or more; RabbitMQ: empty words count, but the empty key has no word at all, so ``*`` does not match
it; ``*`` and ``#`` are wildcards only as a whole word of a binding key, and mere words in a routing key.

Bounds: a walk holds the set of nodes it may stand on after each word, never a path to them, so its work is at most
words x nodes, whatever the patterns. (Backtracking is exponential in the count of ``#``; RabbitMQ 4.3.5 forbids more
than two of them in a key for that reason, CVE-2026-67419. Here they are harmless.)
"""

from collections.abc import Iterable, Iterator

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
        self._root = Node(repeats=False)

    def match(self, routing_key: str, message: Publication | None) -> Iterable[Binding]:
        """The bindings at the nodes where the last word leaves the walk."""
        nodes: dict[Node, None] = {}
        for nodes in self.walk(routing_key):
            if not nodes:
                return ()
        return [binding for node in nodes for binding in node.bindings]

    def walk(self, routing_key: str) -> "Iterator[dict[Node, None]]":
        """The nodes the walk may stand on: at the start, then after each word of the key."""
        nodes: dict[Node, None] = {}
        _enter(self._root, nodes)
        yield nodes
        for word in _words(routing_key):
            nodes = _step(nodes, word)
            yield nodes

    def _insert(self, binding: Binding) -> None:
        node = self._root
        for word in _pattern(binding.key):
            child = node.children.get(word)
            if child is None:
                child = node.children[word] = Node(repeats=word == "#")
            node = child
        node.bindings[binding] = None

    def _discard(self, binding: Binding) -> None:
        words = _pattern(binding.key)
        path = [self._root]
        for word in words:
            child = path[-1].children.get(word)
            if child is None:
                return
            path.append(child)
        path[-1].bindings.pop(binding, None)
        # Prune from the leaf up to the first node that is still of use.
        while words and not path[-1].bindings and not path[-1].children:
            path.pop()
            del path[-1].children[words.pop()]


class Node:
    """A place in the trie: the patterns that begin with the words on the way here."""

    __slots__ = ("bindings", "children", "repeats")

    def __init__(self, *, repeats: bool) -> None:
        self.children: dict[str, Node] = {}  # by word, wildcards under their own sign
        self.bindings: dict[Binding, None] = {}  # the patterns that end here
        self.repeats = repeats  # reached by "#": stays where it is for any word


def _step(nodes: dict[Node, None], word: str) -> dict[Node, None]:
    reached: dict[Node, None] = {}
    for node in nodes:
        if node.repeats:
            reached[node] = None
        # A routing key's own "*" or "#" finds the wildcard twice; the dict makes it one.
        for edge in (word, "*"):
            child = node.children.get(edge)
            if child is not None:
                _enter(child, reached)
    return reached


def _enter(node: Node, nodes: dict[Node, None]) -> None:
    """Stand on this node, and so on the ``#`` that may follow, which needs no word. It is one: see ``_pattern``."""
    nodes[node] = None
    follower = node.children.get("#")
    if follower is not None:
        nodes[follower] = None


def _words(key: str) -> list[str]:
    return key.split(".") if key else []


def _pattern(key: str) -> list[str]:
    """The words of a binding key, without the ``#`` that directly follow another: they mean the same."""
    pattern: list[str] = []
    for word in _words(key):
        if word != "#" or pattern[-1:] != ["#"]:
            pattern.append(word)
    return pattern
