"""What was heard: a step for each operation, a line for each frame."""

from itertools import groupby

from tests.differential.operations import Operation


class Step:
    """One operation and what was heard of it, a line a frame."""

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        self.heard: dict[str, list[str]] = {}
        self.confirmed: dict[str, list[tuple[int, str]]] = {}

    def hears(self, place: str, line: str) -> None:
        self.heard.setdefault(place, []).append(line)

    def hears_confirms(self, place: str, numbers: list[int], verdict: str) -> None:
        self.confirmed.setdefault(place, []).extend((number, verdict) for number in numbers)

    @property
    def lines(self) -> list[str]:
        """In an order that does not depend on how frames of different channels met."""
        lines = [f"{place} {line}" for place in sorted(self.heard) for line in in_order(self.heard[place])]
        for place in sorted(self.confirmed):
            confirms = ", ".join(f"{number} {verdict}" for number, verdict in sorted(self.confirmed[place]))
            lines.append(f"{place} confirmed: {confirms}")
        return lines


Transcript = list[Step]


def in_order(lines: list[str]) -> list[str]:
    """As they were heard, but cancels that come together by name: the consumers of a queue have no order."""
    grouped = groupby(lines, lambda line: line.startswith("basic.cancel("))
    return [line for is_cancel, group in grouped for line in (sorted(group) if is_cancel else group)]
