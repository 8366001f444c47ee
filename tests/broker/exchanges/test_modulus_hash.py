from collections import Counter

from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges.modulus_hash import ModulusHashExchange

KEYS = [f"key-{number}" for number in range(6_000)]


def exchange_of(*queues: str) -> ModulusHashExchange:
    exchange = ModulusHashExchange("x")
    for queue in queues:
        exchange.add(Binding("x", queue, True, "ignored"))
    return exchange


def owners(exchange: ModulusHashExchange) -> list[str]:
    return [binding.destination for key in KEYS for binding in exchange.match(key, None)]


def test_each_key_has_one_queue_whatever_the_order_of_bindings() -> None:
    chosen = owners(exchange_of("a", "b", "c"))
    assert len(chosen) == len(KEYS)
    assert owners(exchange_of("c", "a", "b", "a")) == chosen
    assert all(abs(count - len(KEYS) / 3) < 300 for count in Counter(chosen).values())


def test_bindings_that_go_leave_the_others() -> None:
    exchange = exchange_of("a", "b", "c")
    for queue in ("b", "b", "nope"):
        exchange.remove(Binding("x", queue, True, "ignored"))
    assert owners(exchange) == owners(exchange_of("a", "c"))
    exchange.remove(Binding("x", "a", True, "another key"))
    assert set(owners(exchange)) == {"a", "c"}


def test_no_bindings_no_queue() -> None:
    assert list(exchange_of().match("k", None)) == []


def test_its_answers_can_be_kept_by_key() -> None:
    assert not exchange_of().uses_message
    assert not exchange_of().uses_keys
