"""The laboratory finds what was planted: a judge that never convicts is none."""

import ast
import shutil
from pathlib import Path

import pytest

from amqpd.broker import journal
from tests.durability.planted import BUGS, CYCLES_MAX, Bug, find
from tests.mutants.__main__ import ROOT, apply, occurrences

every_bug = pytest.mark.parametrize("bug", BUGS, ids=[bug.mutant.name for bug in BUGS])
# Where only the compiled package lies beside the tests there is no source to break.
needs_source = pytest.mark.skipif(not str(journal.__file__).endswith(".py"), reason="no source here")


@needs_source
@every_bug
def test_it_can_be_planted(bug: Bug, tmp_path: Path) -> None:
    assert occurrences(bug.mutant) == 1, f"{bug.mutant.file} has changed: {bug.mutant.old!r}"
    target = tmp_path / bug.mutant.file
    target.parent.mkdir(parents=True)
    shutil.copy(ROOT / bug.mutant.file, target)
    apply(bug.mutant, tmp_path)
    ast.parse(target.read_text(encoding="utf-8"))


@needs_source
@pytest.mark.slow
@pytest.mark.timeout(300)
@every_bug
def test_it_is_found(bug: Bug) -> None:
    finding = find(bug, seed=1, is_aimed=True)
    assert 0 < finding.cycles <= CYCLES_MAX, finding.words
