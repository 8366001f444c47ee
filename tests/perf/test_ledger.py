"""A ledger knows what a set of numbers knows."""

from hypothesis import given
from hypothesis import strategies as st

from amqpd.perf.ledger import PAGE, Ledger


@given(st.lists(st.integers(0, 5 * PAGE)), st.integers(0, 5 * PAGE))
def test_a_ledger_is_a_set(numbers: list[int], sent: int) -> None:
    ledger, twin = Ledger(), set[int]()
    for number in numbers:
        assert ledger.note(number) == (number not in twin)
        twin.add(number)
    assert ledger.seen == len(twin)
    missing = (number for number in range(sent) if number not in twin)
    assert ledger.first_missing(sent) == next(missing, None)


def test_complete_pages_are_only_numbers() -> None:
    ledger = Ledger()
    for number in range(3 * PAGE + 1):
        assert ledger.note(number)
    assert (ledger.floor, ledger.complete, ledger.open) == (3, set(), {})
    assert not ledger.note(5)
    assert not ledger.note(3 * PAGE)
    assert ledger.first_missing(3 * PAGE + 1) is None
    assert ledger.first_missing(3 * PAGE + 2) == 3 * PAGE + 1


def test_a_gap_is_found_and_can_close() -> None:
    ledger = Ledger()
    for number in range(2 * PAGE):
        if number != 7:
            ledger.note(number)
    assert ledger.first_missing(2 * PAGE) == 7
    ledger.turn_to(-1)
    assert (ledger.floor, ledger.complete, list(ledger.open)) == (0, {1}, [0])
    assert not ledger.note(PAGE + 3)
    assert ledger.note(7)
    ledger.turn_to(-1)
    assert (ledger.floor, ledger.complete, ledger.open) == (2, set(), {})
    assert ledger.first_missing(2 * PAGE) is None
