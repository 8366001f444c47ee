"""What of a file's uncertain changes a disk may hold: the choice, as pieces to write and a size.

The unit is a sector of 512 octets: it has the contents of one moment since the last sync, never a mix of two. Within
that everything is possible: writes lost, torn at sectors or pages, written in another order than they were asked for, a
file shorter than what was written to it, or as long and with noise in place of what is lost. Only cutting a file short
is taken to happen in order with all else that is done to it.
"""

from collections.abc import Iterable, Iterator
from enum import Enum
from random import Random
from typing import Final, NamedTuple

from tests.durability.disk.history import Change

SECTOR: Final = 512
PAGE: Final = 4096


class Fate(Enum):
    """What becomes of the changes that are not certain to be on disk."""

    LOST = "all lost"
    LAST = "only the last write kept"
    ONE_LOST = "one write lost"
    TORN = "each write kept, lost, torn or mixed"
    KEPT = "all kept"


class Piece(NamedTuple):
    """Octets of the file. Without any it is cut short there, and long again afterwards."""

    at: int
    data: bytes


class Outcome(NamedTuple):
    """What is on disk: the pieces, one after the other, then the size."""

    pieces: list[Piece]
    size: int


class Tail:
    """The changes of a file from the first uncertain one on; ``size`` is that of the file before them."""

    def __init__(self, size: int, changes: list[Change], certain: Iterable[int]) -> None:
        self.size = size
        self.changes = changes
        self.certain = frozenset(certain)  # indices
        self.uncertain = [index for index in range(len(changes)) if index not in self.certain]
        self.sizes = [size]  # after so many changes
        for change in changes:
            self.sizes.append(change.size_after(self.sizes[-1]))

    def outcome(self, fate: Fate, chance: Random) -> Outcome:
        is_shortened = any(after < before for before, after in zip(self.sizes, self.sizes[1:], strict=False))
        if fate == Fate.KEPT or not self.uncertain:
            return self._first(len(self.changes))
        if is_shortened:
            least = max(self.certain, default=-1) + 1
            return self._first(least if fate in (Fate.LOST, Fate.LAST) else chance.randint(least, len(self.changes)))
        kept = self._kept(fate, chance)
        return Outcome(list(self._pieces(kept)), self._size(set(kept.values()), fate, chance))

    def _first(self, count: int) -> Outcome:
        pieces = []
        for change, size in zip(self.changes[:count], self.sizes[1:], strict=False):
            if change.size is None:
                pieces += [Piece(change.at, change.data)] if change.data else []
            elif not change.is_growth:
                pieces.append(Piece(size, b""))
        return Outcome(pieces, self.sizes[count])

    def _kept(self, fate: Fate, chance: Random) -> dict[int, int]:
        """Of each sector the last change that it has seen: it has seen those before, too."""
        writes = [index for index in self.uncertain if self.changes[index].data]
        last = writes[-1] if writes else -1
        one = chance.choice(writes) if writes else -1
        kept: dict[int, int] = {}
        for index, change in enumerate(self.changes):
            sectors: Iterable[int] = sectors_of(change)
            if index in self.uncertain:
                if fate == Fate.TORN:
                    sectors = torn(sectors_of(change), chance)
                elif (index == one) if fate == Fate.ONE_LOST else (fate == Fate.LOST or index != last):
                    continue
            kept.update(dict.fromkeys(sectors, index))
        return kept

    def _size(self, seen: set[int], fate: Fate, chance: Random) -> int:
        """Anything that the file's size was, or was about to be, or in between."""
        size = self.size
        certain = size
        for index, change in enumerate(self.changes):
            if index in self.certain:
                certain = change.size_after(certain)
            if index in self.certain or index in seen:
                size = change.size_after(size)
        if fate in (Fate.LOST, Fate.LAST):
            return size
        longest = self.sizes[-1]
        return chance.choice((size, size, longest, certain, chance.randint(certain, longest)))

    def _pieces(self, kept: dict[int, int]) -> Iterator[Piece]:
        """The writes in order, each where its sectors have seen it, neighbours as one."""
        for index, change in enumerate(self.changes):
            begin = end = change.at
            for sector in sectors_of(change):
                last = min((sector + 1) * SECTOR, change.at + len(change.data))
                if kept.get(sector, -1) >= index:
                    end = last
                    continue
                if end > begin:
                    yield Piece(begin, change.data[begin - change.at : end - change.at])
                begin = end = last
            if end > begin:
                yield Piece(begin, change.data[begin - change.at : end - change.at])


def sectors_of(change: Change) -> range:
    """Those that a write touches."""
    if not change.data:
        return range(0)
    return range(change.at // SECTOR, -(-(change.at + len(change.data)) // SECTOR))


def torn(sectors: range, chance: Random) -> list[int]:
    """Those of a write that reach the disk."""
    unit = chance.choice((SECTOR, PAGE)) // SECTOR
    how = chance.choice(("kept", "lost", "head", "tail", "mixed"))
    if how == "kept" or not sectors:
        return list(sectors)
    if how == "lost":
        return []
    first, last = sectors[0] // unit, sectors[-1] // unit
    if how == "mixed":
        share = chance.choice((0.1, 0.5, 0.9))
        units = {each for each in range(first, last + 1) if chance.random() < share}
        return [sector for sector in sectors if sector // unit in units]
    edge = chance.randint(first, last + 1)
    return [sector for sector in sectors if (sector // unit < edge) == (how == "head")]
