from collections import Counter

import pytest

from amqpd.broker.bindings import Binding
from amqpd.broker.exchanges import consistent_hash
from amqpd.broker.exchanges.consistent_hash import PAGES, SLOTS, ConsistentHashExchange
from amqpd.broker.fields import Field, Table, longstr
from amqpd.errors import PreconditionFailed
from tests.broker.exchanges.published import published

KEYS = [f"key-{number}" for number in range(8_000)]


@pytest.fixture
def few_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Filled in a moment."""
    monkeypatch.setattr(consistent_hash, "PAGES", 64)


quickly = pytest.mark.usefixtures("few_pages")


def exchange_of(weights: dict[str, str], arguments: Table | None = None) -> ConsistentHashExchange:
    exchange = ConsistentHashExchange("x", arguments=arguments)
    for queue, weight in weights.items():
        exchange.add(Binding("x", queue, True, weight))
    return exchange


def choose(exchange: ConsistentHashExchange, key: str = "", headers: Table | None = None, **properties: str) -> str:
    (binding,) = exchange.match(key, published(key, headers, properties=properties))
    return binding.destination


def owners(exchange: ConsistentHashExchange) -> dict[str, str]:
    return {key: next(iter(exchange.match(key, None))).destination for key in KEYS}


def test_every_key_has_one_queue_and_always_the_same() -> None:
    exchange = exchange_of({"a": "1", "b": "1"})
    keys = KEYS[:6]
    first = [choose(exchange, key) for key in keys]
    assert [choose(exchange, key) for key in keys] == first
    other = exchange_of({"b": "1", "a": "1"})
    assert [choose(other, key) for key in keys] == first, "the order of bindings makes no difference"
    assert first == ["a", "a", "b", "a", "b", "b"], "nor does another start of the broker"


def test_all_slots_shared_out() -> None:
    exchange = exchange_of({f"q{number}": "1" for number in range(20)})
    owners = Counter(binding.destination for page in range(0, PAGES, 16) for binding in exchange._owners(page).values())
    slots = PAGES // 16 * SLOTS
    assert sum(owners.values()) == slots
    assert all(abs(count - slots / 20) < slots / 100 for count in owners.values()), owners


@quickly
def test_equal_weights_get_equal_shares() -> None:
    counts = Counter(owners(exchange_of({f"q{number}": "1" for number in range(10)})).values())
    assert len(counts) == 10
    assert all(abs(count - 800) < 100 for count in counts.values()), counts


@quickly
def test_shares_follow_weights() -> None:
    counts = Counter(owners(exchange_of({"a": "1", "b": "2", "c": "5"})).values())
    assert [round(counts[queue] / 1000) for queue in "abc"] == [1, 2, 5]


@quickly
def test_a_queue_that_goes_moves_its_share_only() -> None:
    exchange = exchange_of(dict.fromkeys("abcde", "10"))
    before = owners(exchange)
    exchange.remove(Binding("x", "c", True, "10"))
    exchange.remove(Binding("x", "c", True, "10"))
    after = owners(exchange)
    assert {key for key in KEYS if before[key] != after[key]} == {key for key in KEYS if before[key] == "c"}
    assert min(Counter(after[key] for key in KEYS if before[key] == "c").values()) > 250, "shared among all"


@quickly
def test_a_queue_that_comes_takes_its_share_only() -> None:
    exchange = exchange_of(dict.fromkeys("abcd", "1"))
    before = owners(exchange)
    exchange.add(Binding("x", "e", True, "1"))
    after = owners(exchange)
    assert {after[key] for key in KEYS if before[key] != after[key]} == {"e"}


def test_no_bindings_no_queue() -> None:
    assert list(exchange_of({}).match("k", None)) == []


@quickly
def test_a_huge_weight_costs_nothing() -> None:
    exchange = exchange_of({"a": "1", "b": "9" * 250})
    assert set(owners(exchange).values()) == {"b"}
    assert all(len(owners) == SLOTS for owners in exchange._pages.values())


@quickly
def test_a_queue_bound_twice_has_the_larger_weight() -> None:
    exchange = exchange_of({"a": "3", "b": "3"})
    before = owners(exchange)
    exchange.add(Binding("x", "a", True, "1"))
    assert owners(exchange) == before


@quickly
def test_a_queue_and_an_exchange_of_one_name_are_two() -> None:
    exchange = exchange_of({"a": "1"})
    exchange.add(Binding("x", "a", False, "1"))
    chosen = Counter(next(iter(exchange.match(key, None))).to_queue for key in KEYS)
    assert abs(chosen[True] - chosen[False]) < 400


def test_hash_of_a_header() -> None:
    exchange = exchange_of(dict.fromkeys("abcdefgh", "1"), {"hash-header": longstr("h")})
    assert exchange.uses_message
    by_text = {choose(exchange, key, {"h": longstr("same")}) for key in KEYS[:20]}
    assert len(by_text) == 1
    assert len({choose(exchange, "k", {"h": longstr(text)}) for text in KEYS[:100]}) == 8
    assert choose(exchange, "k", {"h": Field("I", 7)}) == choose(exchange, "k", {"h": Field("l", 7)})
    assert len({choose(exchange, key, headers) for key in KEYS[:20] for headers in ({}, {"g": longstr(key)})}) == 1


@pytest.mark.parametrize("hashed", ["correlation_id", "message_id"])
def test_hash_of_a_property(hashed: str) -> None:
    exchange = exchange_of(dict.fromkeys("abcdefgh", "1"), {"hash-property": longstr(hashed)})
    assert exchange.uses_message
    assert len({choose(exchange, key, None, **{hashed: "same"}) for key in KEYS[:20]}) == 1
    assert len({choose(exchange, "k", None, **{hashed: text}) for text in KEYS[:100]}) == 8
    assert len({choose(exchange, key) for key in KEYS[:20]}) == 1, "without it, all go the same way"


def test_the_routing_key_needs_no_message() -> None:
    assert not exchange_of({}).uses_message
    assert not exchange_of({}).uses_keys


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            {"hash-header": longstr("h"), "hash-property": longstr("message_id")},
            "hash-header and hash-property are mutually exclusive",
        ),
        ({"hash-property": longstr("reply_to")}, "Unsupported property: reply_to"),
        ({"hash-property": Field("I", 5)}, "Unsupported property: 5"),
        ({"hash-header": Field("I", 5)}, "Invalid argument 5, 'hash-header' must be a string"),
    ],
)
def test_arguments_that_make_no_sense(arguments: Table, text: str) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        ConsistentHashExchange.check_arguments(arguments)
    assert caught.value.text == text


@pytest.mark.parametrize("hashed", ["correlation_id", "message_id", "timestamp"])
def test_arguments_that_do(hashed: str) -> None:
    ConsistentHashExchange.check_arguments({"hash-property": longstr(hashed)})
    ConsistentHashExchange.check_arguments({"hash-header": longstr("")})
    ConsistentHashExchange.check_arguments({})


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("abc", 'The binding key must be an integer: <<"abc">>'),
        ("", "The binding key must be an integer: <<>>"),
        (" 5", 'The binding key must be an integer: <<" 5">>'),
        ("1_0", 'The binding key must be an integer: <<"1_0">>'),
        ("1.5", 'The binding key must be an integer: <<"1.5">>'),
        ("٣", 'The binding key must be an integer: <<"٣">>'),
        ("0", "The binding key must be greater than 0"),
        ("-1", "The binding key must be greater than 0"),
    ],
)
def test_binding_keys_that_are_no_weight(key: str, text: str) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        ConsistentHashExchange("x").check_binding(key, {})
    assert caught.value.text == text


@pytest.mark.parametrize("key", ["1", "+5", "007", "99999"])
def test_binding_keys_that_are(key: str) -> None:
    ConsistentHashExchange("x").check_binding(key, {})
