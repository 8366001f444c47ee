"""The tests' own honesty: ``python -m tests.mutants [--name NAME...]``.

Breaks one rule of the broker at a time, in a copy of the tree, and runs the tests that must notice. Before that all
these tests must pass on a copy that is not broken. Exit status 1 if a mutant survives.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.mutants.table import MUTANTS, Mutant

ROOT: Final = Path(__file__).resolve().parent.parent.parent
COPIED: Final = ("amqpd", "interop", "tests", "pyproject.toml")
TIMEOUT_S: Final = 120.0
PASSED: Final = 0
FAILED: Final = 1  # what pytest says of tests that failed; anything else is a fault of the run
ARGUMENTS: Final = ("-x", "-q", "--tb=line", "-rfE", "-p", "no:cacheprovider", "--timeout=60")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a mutant."""

    name: str
    is_caught: bool
    by: str
    seconds: float


def main() -> int:
    """All mutants or the named ones; 0 if each was caught."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description="Do the tests notice broken rules?")
    parser.add_argument("--name", nargs="+", metavar="NAME", help="only mutants whose names contain one of these")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="how many at a time")
    options = parser.parse_args()
    chosen = [mutant for mutant in MUTANTS if not options.name or any(name in mutant.name for name in options.name)]
    if not chosen:
        parser.error("no such mutant")
    started = time.monotonic()
    complaint = check_unbroken(chosen)
    if complaint:
        say(f"the tests fail on the tree as it is:\n{complaint}")
        return 1
    say(f"{'mutant':<56} {'seconds':>7}  caught by")
    with ThreadPoolExecutor(options.jobs) as pool:
        outcomes = []
        for outcome in pool.map(try_mutant, chosen):
            say(f"{outcome.name:<56} {outcome.seconds:7.1f}  {outcome.by}")
            outcomes.append(outcome)
    survivors = [outcome for outcome in outcomes if not outcome.is_caught]
    say(f"{len(outcomes) - len(survivors)} of {len(outcomes)} caught in {time.monotonic() - started:.0f} s")
    return 1 if survivors else 0


def check_unbroken(chosen: Sequence[Mutant]) -> str:
    """What the tests of these mutants say of a tree that is not broken; "" when they pass."""
    with tempfile.TemporaryDirectory(prefix="amqpd-mutant-") as name:
        tree = copy_tree(Path(name))
        status, output = run_tests(tree, sorted({path for mutant in chosen for path in mutant.tests}))
    return "" if status == PASSED else output


def try_mutant(mutant: Mutant) -> Outcome:
    """Break a copy, run the tests."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="amqpd-mutant-") as name:
        tree = copy_tree(Path(name))
        apply(mutant, tree)
        status, output = run_tests(tree, mutant.tests)
    seconds = time.monotonic() - started
    if status == FAILED:
        found = re.search(r"^(?:FAILED|ERROR) (\S+?)(?:\[.*)?(?: - .*)?$", output, re.MULTILINE)
        return Outcome(mutant.name, True, found[1] if found else "a test", seconds)
    if status == PASSED:
        return Outcome(mutant.name, False, "SURVIVED", seconds)
    return Outcome(mutant.name, False, f"BROKEN RUN: pytest ended with {status}: {output[-300:]}", seconds)


def copy_tree(directory: Path) -> Path:
    """A copy of what the tests need."""
    ignored = shutil.ignore_patterns("__pycache__", ".*")
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, directory / name, ignore=ignored)
        else:
            shutil.copy(source, directory / name)
    return directory


def occurrences(mutant: Mutant, tree: Path = ROOT) -> int:
    """How often the text that a mutant replaces is in its file."""
    return (tree / mutant.file).read_text(encoding="utf-8").count(mutant.old)


def apply(mutant: Mutant, tree: Path) -> None:
    """Break the rule in this tree. Raises ValueError when the text is not there exactly once."""
    count = occurrences(mutant, tree)
    if count != 1:
        raise ValueError(f"{mutant.name}: {mutant.file} has the text {count} times, not once: {mutant.old!r}")
    path = tree / mutant.file
    path.write_text(path.read_text(encoding="utf-8").replace(mutant.old, mutant.new), encoding="utf-8")


def run_tests(tree: Path, paths: Sequence[str]) -> tuple[int, str]:
    """pytest on these paths, with the amqpd of the tree, interpreted: its exit status and output."""
    command = [sys.executable, "-m", "pytest", *ARGUMENTS, *paths]
    # Nothing of our own environment: whatever PYTHONPATH names, it is not the mutant.
    environment = {"PATH": os.defpath, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = subprocess.run(
            command,
            cwd=tree,
            env=environment,
            check=False,
            text=True,
            encoding="utf-8",
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return -1, f"took longer than {TIMEOUT_S:.0f} s"
    return done.returncode, done.stdout


def say(text: str) -> None:
    """A line, now."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
