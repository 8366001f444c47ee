"""Figures of brokers that are not measured here, from another machine at another time: beside ours, never among them.

RabbitMQ was measured with them and is measured here too, so that the ratio to it is what compares.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench.results import Run

SOURCE: Final = Path(__file__).with_suffix(".json")
LAVINMQ: Final = "LavinMQ"
RABBITMQ_THERE: Final = "RabbitMQ"


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """What, where and when; ``peers`` holds a broker's version, scenarios and life cycle by its name."""

    date: str
    machine: str
    how: str
    peers: dict[str, dict[str, Any]]

    def value(self, peer: str, scenario: str, figure: str) -> float | None:
        """A figure by its name, of the life cycle where ``scenario`` is empty."""
        known = self.peers[peer]
        figures = known["scenarios"].get(scenario, {}) if scenario else known["life"]
        return Run(peer, scenario, 0, "", figures).get(figure)

    def ratio(self, scenario: str, figure: str) -> float | None:
        """How many times what LavinMQ takes RabbitMQ took there."""
        theirs, its = (self.value(peer, scenario, figure) for peer in (RABBITMQ_THERE, LAVINMQ))
        return theirs / its if theirs and its else None

    def describe(self) -> str:
        """Where the figures come from, in a paragraph."""
        peers = "; ".join(f"{peer['version']}, which {peer['confirm']}" for peer in self.peers.values())
        return f"{LAVINMQ}'s figures are of {self.date}, of another machine ({self.machine}): {self.how}. {peers}."


def load(path: Path = SOURCE) -> Elsewhere:
    """Read what the repository holds."""
    return Elsewhere(**json.loads(path.read_text()))
