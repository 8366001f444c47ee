"""Two transcripts of one sequence: where they part, and whether that is explained."""

import re
from collections import Counter
from dataclasses import dataclass
from functools import partial

from tests.differential.accepted import ACCEPTED, EXTRAS, UNORDERED, Accepted
from tests.differential.transcript import Step, Transcript


@dataclass(frozen=True, slots=True)
class Difference:
    """The first step that the brokers answered differently, and what explains it, if anything does."""

    index: int
    accepted: Accepted | None


def find_difference(amqpd: Transcript, rabbitmq: Transcript) -> Difference | None:
    """The first one."""
    for index, (ours, theirs) in enumerate(zip(amqpd, rabbitmq, strict=True)):
        if _bare(ours) != _bare(theirs):
            before = [str(step.operation) for step in amqpd[:index]]
            return Difference(index, _find_reason(ours, theirs, before))
    return None


def _bare(step: Step) -> list[str]:
    """The lines without what amqpd may say more, and with what has no order in one."""
    lines = step.lines
    for extra in EXTRAS:
        lines = [re.sub(extra.amqpd, "", line) for line in lines]
    for each in UNORDERED:
        lines = [re.sub(each.listing, partial(_sorted, each.item), line) for line in lines]
    return lines


def _sorted(item: str, found: re.Match[str]) -> str:
    return ", ".join(sorted(match[0] for match in re.finditer(item, found[0])))


def _find_reason(ours: Step, theirs: Step, before: list[str]) -> Accepted | None:
    bare_ours, bare_theirs = Counter(_bare(ours)), Counter(_bare(theirs))
    only_ours = list((bare_ours - bare_theirs).elements())
    only_theirs = list((bare_theirs - bare_ours).elements())
    operation = str(ours.operation)
    return next((each for each in ACCEPTED if each.explains(operation, only_ours, only_theirs, before)), None)


def side_by_side(amqpd: Transcript, rabbitmq: Transcript) -> str:
    """Both transcripts, what is common once; ``-`` is what only amqpd said, ``+`` what only RabbitMQ did."""
    words = []
    for ours, theirs in zip(amqpd, rabbitmq, strict=True):
        words.append(f"{ours.operation}")
        if _bare(ours) == _bare(theirs):
            words += [f"      {line}" for line in ours.lines]
        else:
            words += [f"  - amqpd     {line}" for line in ours.lines]
            words += [f"  + rabbitmq  {line}" for line in theirs.lines]
    return "\n".join(words)
