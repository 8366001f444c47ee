"""A short run of ``tests/server/flood.py``: bounded memory, nothing lost, and others are served meanwhile."""

import sys

import pytest

from tests.server.conftest import Serve
from tests.server.flood import Flood, percentile

SECONDS = 5.0
MEMORY_MAX_BYTES = 200e6  # 70 MB were measured, however long the flood
GROWTH_MAX_BYTES = 30e6  # from the second fifth of the flood to its end


@pytest.mark.slow
@pytest.mark.parametrize("is_persistent", [False, True], ids=["transient", "persistent"])
def test_flood_of_a_queue_whose_consumer_stopped_reading(
    serve_on: Serve, data_dir: str, *, is_persistent: bool
) -> None:
    broker = serve_on("--data-dir", data_dir)
    result = Flood(broker, seconds=SECONDS, is_persistent=is_persistent).run()
    sys.stdout.write("\n".join([*result.lines(), ""]))
    assert result.sent > 10_000
    assert (result.missing, result.wrong) == (0, 0)
    assert result.peak_bytes() < MEMORY_MAX_BYTES
    early, late = result.peak_bytes(1.0, 2.0), result.peak_bytes(4.0, 5.0)
    assert late - early < GROWTH_MAX_BYTES
    assert percentile(result.declares_s, 50) < 0.05
    assert percentile(result.declares_s, 99) < 0.5  # machines are noisy; the program prints what it is
    assert percentile(result.gets_s, 99) < 0.5
