"""What a tutorial program is made of, whichever adapter runs it: its description, its transcript, its consumers.

Knows no connection and no loop. A program prints its transcript grouped by party, so the lines come in one order
although the parties run at the same time.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pika

if TYPE_CHECKING:
    from interop.pika.asynchronous import Stage

Describe = Callable[[pika.spec.Basic.Deliver, pika.BasicProperties, bytes], str]


class Transcript:
    """What each party of a scenario saw, in its own order."""

    def __init__(self, parties: tuple[str, ...]) -> None:
        self._lines: dict[str, list[str]] = {party: [] for party in parties}  # also the order of printing
        self.temporary_queues: list[str] = []  # names the broker made up: checked to be gone, never printed

    def say(self, party: str, line: str) -> None:
        """Note one line. Threads may call this at once: each appends to a list of its own."""
        self._lines[party].append(line)

    def note_temporary_queue(self, name: str) -> None:
        """Remember a server-named queue, which must not outlive its connection."""
        assert name.startswith("amq.gen-"), f"the broker named a queue {name!r}"
        self.temporary_queues.append(name)

    def take_lines(self) -> list[str]:
        """All lines, party by party."""
        return [f"{party}: {line}" for party, lines in self._lines.items() for line in lines]


@dataclass(frozen=True)
class Tutorial:
    """One program: who takes part, what it declares, and how it runs on either kind of adapter."""

    parties: tuple[str, ...]
    blocking: Callable[[str, Transcript], None]
    asynchronous: Callable[[Stage], Coroutine[Any, Any, None]]
    queues: tuple[str, ...] = ()  # names that must be gone afterwards
    exchanges: tuple[str, ...] = ()


def describe_body(_deliver: pika.spec.Basic.Deliver, _properties: pika.BasicProperties, body: bytes) -> str:
    """The plainest description of a delivery."""
    return f"received {body.decode()!r}"


class Inbox:
    """A consumer callback that notes what it receives and says when it has everything it expects."""

    def __init__(
        self,
        transcript: Transcript,
        party: str,
        on_full: Callable[[], object],
        *,
        expected_count: int,
        describe: Describe = describe_body,
        acks: bool = False,
    ) -> None:
        self._transcript = transcript
        self._party = party
        self._on_full = on_full
        self._expected_count = expected_count
        self._describe = describe
        self._acks = acks
        self.bodies: list[bytes] = []

    def __call__(
        self,
        channel: pika.channel.Channel,
        deliver: pika.spec.Basic.Deliver,
        properties: pika.BasicProperties,
        body: bytes,
    ) -> None:
        self.bodies.append(body)
        assert len(self.bodies) <= self._expected_count, f"{self._party} received more than expected: {self.bodies}"
        self._transcript.say(self._party, self._describe(deliver, properties, body))
        if self._acks:
            channel.basic_ack(deliver.delivery_tag)
        if len(self.bodies) == self._expected_count:
            self._on_full()
