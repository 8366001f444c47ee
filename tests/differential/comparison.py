"""Two transcripts of one sequence: where they part, and whether that is explained."""

import re
from collections import Counter
from dataclasses import dataclass

from tests.differential.accepted import ACCEPTED, EXTRAS, Accepted
from tests.differential.transcript import Step, Transcript


@dataclass(frozen=True, slots=True)
class Difference:
    """The first step that the brokers answered differently, and what explains it, if anything does."""

    index: int
    accepted: Accepted | None


def find_difference(amqpd: Transcript, rabbitmq: Transcript) -> Difference | None:
    """The first one."""
    for index, (ours, theirs) in enumerate(zip(amqpd, rabbitmq, strict=True)):
        if _bare(ours.lines) != theirs.lines:
            return Difference(index, _find_reason(ours, theirs))
    return None


def _bare(lines: list[str]) -> list[str]:
    """Without what amqpd may say more."""
    for extra in EXTRAS:
        lines = [re.sub(extra.amqpd, "", line) for line in lines]
    return lines


def _find_reason(ours: Step, theirs: Step) -> Accepted | None:
    only_ours = list((Counter(_bare(ours.lines)) - Counter(theirs.lines)).elements())
    only_theirs = list((Counter(theirs.lines) - Counter(_bare(ours.lines))).elements())
    operation = str(ours.operation)
    return next((each for each in ACCEPTED if each.explains(operation, only_ours, only_theirs)), None)


def side_by_side(amqpd: Transcript, rabbitmq: Transcript) -> str:
    """Both transcripts, what is common once; ``-`` is what only amqpd said, ``+`` what only RabbitMQ did."""
    words = []
    for ours, theirs in zip(amqpd, rabbitmq, strict=True):
        words.append(f"{ours.operation}")
        if _bare(ours.lines) == theirs.lines:
            words += [f"      {line}" for line in ours.lines]
        else:
            words += [f"  - amqpd     {line}" for line in ours.lines]
            words += [f"  + rabbitmq  {line}" for line in theirs.lines]
    return "\n".join(words)
