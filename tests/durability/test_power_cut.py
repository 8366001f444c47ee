"""A few power cuts under load: nothing that was confirmed is lost, and a store that does not sync is found out."""

from pathlib import Path

import pytest

from tests.durability.campaign import Campaign
from tests.durability.disk import shim
from tests.durability.faults.power_cut import PowerCut
from tests.durability.lab import Laboratory

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(shim.why_not()), reason=shim.why_not() or "it can be built")]


def cut(
    directory: Path, seed: int, cycles: int, *, images: int, until_broken: bool = False, **environ: str
) -> Laboratory:
    laboratory = Laboratory(Campaign(directory, seed, environ=environ, load_s=0.4), [PowerCut(images)])
    laboratory.run(cycles, is_impatient=until_broken)
    return laboratory


def test_power_cuts_break_no_promise(tmp_path: Path) -> None:
    laboratory = cut(tmp_path, 2, 3, images=3)
    ledger = laboratory.campaign.ledger
    assert ledger.is_clean, laboratory.table()
    assert laboratory.complaints() == []
    assert ledger.counts["power cuts"] > 3
    assert ledger.counts["confirmed"] > 300


def test_a_store_that_does_not_sync_is_found_out(tmp_path: Path) -> None:
    laboratory = cut(tmp_path, 1, 5, images=2, until_broken=True, AMQPD_DURABILITY="write")
    assert laboratory.first_broken, laboratory.table()
    assert "cuts that broke a promise" in laboratory.table()


def test_a_run_without_any_uncertainty_is_complained_about() -> None:
    fault = PowerCut()
    assert fault.complaint(4) == ""
    assert fault.complaint(5) != ""
