"""A broker that joins segments all the time: limits so low that a few messages make several segments."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest

from amqpd import limits
from amqpd.broker.queues import compaction

SMALL: Final = {
    "SEGMENT_BYTES": 400,
    "SEGMENT_SPAN": 60,
    "SMALL_SEGMENT_BYTES": 250,
    "COMPACTION_SEGMENTS": 2,
    "COMPACTION_BYTES": 600,
    "COMPACTION_STEP_BYTES": 1000,
}

# Compiled code has its limits built in.
needs_interpreter = pytest.mark.skipif(not str(compaction.__file__).endswith(".py"), reason="limits are built in here")


@contextmanager
def small_segments() -> Iterator[None]:
    """For as long as it is entered."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in SMALL.items():
            patch.setattr(limits, name, value)
        yield
