"""Every mutant still applies. Whether tests notice it is what ``python -m tests.mutants`` asks, run by hand."""

import ast
from pathlib import Path

import pytest

from tests.mutants.__main__ import ROOT, apply, occurrences
from tests.mutants.table import MUTANTS, Mutant

every_mutant = pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
# Where only the compiled package lies beside the tests there is no source to break.
needs_source = pytest.mark.skipif(not (ROOT / "amqpd").is_dir(), reason="no source here")


@needs_source
@every_mutant
def test_the_text_is_there_once(mutant: Mutant) -> None:
    assert occurrences(mutant) == 1, f"{mutant.file} has changed: {mutant.old!r}"


@needs_source
@every_mutant
def test_it_is_python_that_differs(mutant: Mutant, tmp_path: Path) -> None:
    target = tmp_path / mutant.file
    target.parent.mkdir(parents=True)
    source = (ROOT / mutant.file).read_text(encoding="utf-8")
    target.write_text(source, encoding="utf-8")
    apply(mutant, tmp_path)
    broken = target.read_text(encoding="utf-8")
    assert ast.dump(ast.parse(broken)) != ast.dump(ast.parse(source))


@needs_source
def test_a_text_that_is_gone_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file.py").write_text("a = 1\na = 1\n")
    for old in ("b = 1", "a = 1"):
        with pytest.raises(ValueError, match="not once"):
            apply(Mutant("none", "file.py", old, "", ()), tmp_path)


@every_mutant
def test_its_tests_exist(mutant: Mutant) -> None:
    assert mutant.tests
    for path in mutant.tests:
        assert (ROOT / path.split("::")[0]).exists()


def test_names_are_unique() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
