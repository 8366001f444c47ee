import itertools
from collections import Counter

import pytest

from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.random_choice import LocalRandomExchange, RandomExchange
from tests.broker.exchanges.published import published


@pytest.fixture(params=[RandomExchange, LocalRandomExchange])
def exchange(request: pytest.FixtureRequest) -> RandomExchange:
    made: RandomExchange = request.param("x")
    return made


def chosen(exchange: RandomExchange, count: int = 6000) -> list[str]:
    return [binding.destination for _ in range(count) for binding in exchange.match("k", published("k"))]


def test_every_message_to_one_of_all(exchange: RandomExchange) -> None:
    for queue in ("a", "b", "a", "c"):
        exchange.add(Binding("x", queue, True, ""))
    found = chosen(exchange)
    assert len(found) == 6000
    assert set(found) == {"a", "b", "c"}
    assert all(abs(count - 2000) < 200 for count in Counter(found).values())
    pairs = Counter(itertools.pairwise(found))
    assert min(pairs.values()) > 500, "what comes next does not follow from what came"


def test_bindings_that_go_are_not_chosen(exchange: RandomExchange) -> None:
    bindings = [Binding("x", queue, True, "") for queue in "abc"]
    for binding in bindings:
        exchange.add(binding)
    for binding in (bindings[0], bindings[0], bindings[2]):
        exchange.remove(binding)
    assert set(chosen(exchange, 20)) == {"b"}
    exchange.remove(bindings[1])
    assert chosen(exchange, 1) == []


def test_no_answer_is_kept(exchange: RandomExchange) -> None:
    assert exchange.uses_message
    assert not exchange.uses_keys
