"""Bugs that the laboratory must find: ``python -m tests.durability.planted`` says how many cycles it needs for each.

A bug is planted in a copy of the tree, as ``tests/mutants`` does it, and the laboratory runs there with the fault that
should bring it to light. Exit code 1 when one is not found within ``CYCLES_MAX`` cycles.
"""
# ruff: noqa: T201 - a program, it prints

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.durability.faults.pages import VALUES
from tests.durability.ledger import KINDS
from tests.mutants.__main__ import apply, copy_tree
from tests.mutants.table import Mutant

CYCLES_MAX: Final = 50
TIMEOUT_S: Final = 240.0
TESTS: Final = ("tests/durability/test_planted.py",)
ALL_BUT_FAILURES: Final = frozenset(KINDS) - {"broker failed"}  # a bug that ends the broker is found by anything


@dataclass(frozen=True, slots=True)
class Bug:
    """What is broken, and the fault that shows it. ``aim``: where flips go when it has to be quick."""

    mutant: Mutant
    fault: str
    kinds: frozenset[str] = ALL_BUT_FAILURES  # of broken promises, one of which must be seen
    aim: str = ""


BUGS: Final = (
    Bug(
        Mutant(
            "confirm before commit",
            "amqpd/store/committer.py",
            "            self._work.append((ticket, ops))\n",
            "            self._work.insert(0, (ticket, ops))\n"
            "            self._completed = ticket\n"
            "            self.wake()\n",
            TESTS,
        ),
        "kill",
    ),
    Bug(
        Mutant(
            "ack written before segment",
            "amqpd/store/lmdb_store.py",
            "        if len(scratch) < len(ops):\n",
            "        acks = [op[0] == 5 or (op[0] == 4 and op[2] is None) for op in ops]\n"
            "        if any(acks):\n"
            "            self._main.write([op for op, is_ack in zip(ops, acks, strict=True) if is_ack])\n"
            "            ops = [op for op, is_ack in zip(ops, acks, strict=True) if not is_ack]\n"
            "        if len(scratch) < len(ops):\n",
            TESTS,
        ),
        "fail-point",
    ),
    Bug(
        Mutant(
            "meta not checksummed",
            "amqpd/broker/records.py",
            '    if not body or zlib.crc32(body, zlib.crc32(key)) != int.from_bytes(value[:4], "big"):\n',
            "    if not body:\n",
            TESTS,
        ),
        "flip",
        frozenset(KINDS),  # some of what it does is that the broker cannot start
        VALUES,
    ),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """``cycles``: how many it took; 0: it was not found, and ``words`` say what the laboratory said."""

    cycles: int
    words: str
    seconds: float


def find(bug: Bug, seed: int, *, is_aimed: bool = False) -> Finding:
    """Plant it, and let the laboratory look for it; ``is_aimed``: tell it where."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="amqpd-planted-") as name:
        tree = copy_tree(Path(name))
        apply(bug.mutant, tree)
        output = run_laboratory(bug, tree, seed, is_aimed=is_aimed)
    seconds = time.monotonic() - began
    found = re.search(r"^first seen in cycle (\d+): (.*)$", output, re.MULTILINE)
    if found is None or not bug.kinds & set(found[2].split("; ")):
        return Finding(0, output[-3000:], seconds)
    return Finding(int(found[1]), found[2], seconds)


def run_laboratory(bug: Bug, tree: Path, seed: int, *, is_aimed: bool) -> str:
    """What it says when it runs with the amqpd of the tree, interpreted."""
    command = [sys.executable, "-m", "tests.durability.lab", "--until-broken", "--directory", str(tree / "lab")]
    command += ["--fault", bug.fault, "--cycles", str(CYCLES_MAX), "--seed", str(seed)]
    if is_aimed and bug.aim:
        command += ["--aim", bug.aim]
    environment = {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        command, cwd=tree, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    ) as process:
        try:
            return process.communicate(timeout=TIMEOUT_S)[0]
        except subprocess.TimeoutExpired:
            process.kill()
            return f"took longer than {TIMEOUT_S:.0f} s"


def main() -> int:
    """The program."""
    parser = argparse.ArgumentParser(prog="python -m tests.durability.planted", description=__doc__)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(f"seed {options.seed}\n{'bug':<32}{'fault':<14}{'cycles':>7}{'seconds':>9}  broken promises")
    findings = []
    for bug in BUGS:
        finding = find(bug, options.seed)
        findings.append(finding)
        cycles = str(finding.cycles) if finding.cycles else "NOT FOUND"
        print(f"{bug.mutant.name:<32}{bug.fault:<14}{cycles:>7}{finding.seconds:>9.1f}  {finding.words}", flush=True)
    return 0 if all(finding.cycles for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
