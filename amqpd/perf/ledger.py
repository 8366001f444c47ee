"""Which messages of one producer have come out of one queue: each once is right."""
# HOT. A byte a message, in pages; a page that is complete is only a number.
# Bench: docs/perf.md.
# Limits: a gap costs a page of PAGE bytes for as long as it is open.   Twin: a set, in tests/perf/test_ledger.py.

from __future__ import annotations

from typing import Final

from mypy_extensions import i64

PAGE_BITS: Final = 12
PAGE: Final = 1 << PAGE_BITS


class Ledger:
    """Sequence numbers from 0 on."""

    def __init__(self) -> None:
        self.seen: i64 = 0  # how many, each counted once
        self.number: i64 = -1  # of the page at hand
        self.page = bytearray()  # empty for one that is complete
        self.open: dict[int, bytearray] = {}  # the other pages that have begun
        self.floor: i64 = 0  # all pages below are complete
        self.complete: set[int] = set()  # those beyond a page that is not

    def note(self, sequence: i64) -> bool:
        """Whether it comes for the first time."""
        number = sequence >> PAGE_BITS
        if number != self.number:
            self.turn_to(number)
        at = sequence & (PAGE - 1)
        page = self.page
        if not page or page[at]:
            return False
        page[at] = 1
        self.seen += 1
        return True

    def turn_to(self, number: i64) -> None:
        """Put the page at hand away, and take another."""
        if self.page and self.number >= 0:
            if self.page.count(1) == PAGE:
                self.complete.add(int(self.number))
                while self.floor in self.complete:
                    self.complete.remove(int(self.floor))
                    self.floor += 1
            else:
                self.open[int(self.number)] = self.page
        self.number = number
        if self.is_complete(number):
            self.page = bytearray()
        else:
            page = self.open.pop(int(number), None)
            self.page = bytearray(PAGE) if page is None else page

    def is_complete(self, number: i64) -> bool:
        """Whether all of that page has come."""
        return 0 <= number < self.floor or number in self.complete

    def first_missing(self, sent: int) -> int | None:
        """The lowest number below ``sent`` that has not come."""
        self.turn_to(-1)
        for number in range(int(self.floor), (sent + PAGE - 1) >> PAGE_BITS):
            if not self.is_complete(number):
                at = self.open.get(number, bytearray(PAGE)).find(0)
                missing = (number << PAGE_BITS) + at
                if at >= 0 and missing < sent:
                    return missing
        return None
