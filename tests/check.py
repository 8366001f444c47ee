"""The one command that says whether the tree is sound: ``python -m tests.check``, the same in CI.

Static checks, then all tests twice: on the source as it lies here, and on the wheel whose hot modules mypyc compiled.
Every static check runs even if one before it failed; the tests run only if all passed.
"""

import argparse
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
CHECKED = [name for name in ("amqpd", "tests", "interop") if any((ROOT / name).rglob("*.py"))]
# What tests read beside the package; copied next to the compiled one.
COMPANIONS = ("tests", "interop", "docs", "README.md", "pyproject.toml")
# They ask about the source tree, not about the package.
SOURCE_ONLY = ("tests/test_tidy.py", "tests/packaging")
WORKERS_MAX = 4
BUILD_MODULES = ("hatchling", "mypyc", "mypy_extensions", "librt", "setuptools")
# Which file the interpreter takes for a module that is always compiled.
WHICH_FRAMES = "import amqpd.protocols.amqp091.frames as frames; print(frames.__file__)"


@dataclass
class Report:
    """What has been run so far."""

    rows: list[tuple[str, str, float]] = field(default_factory=list)
    closing_lines: list[str] = field(default_factory=list)
    failed: bool = False

    def add(self, name: str, outcome: str, seconds: float = 0.0) -> None:
        """Note and print one step."""
        self.rows.append((name, outcome, seconds))
        self.failed = self.failed or outcome == "FAILED"
        print(f"{name:<32} {outcome} ({seconds:.1f} s)", flush=True)


def main() -> int:
    """Run the check; 0 if all is well."""
    options = parse_options()
    report = Report()
    run_steps(options, report)
    print("\n-- summary --")
    for name, outcome, seconds in report.rows:
        print(f"{name:<32} {seconds:7.1f} s  {outcome}")
    for line in report.closing_lines:
        print(line)
    return 1 if report.failed else 0


def parse_options() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.check", description="Check the tree.")
    parser.add_argument("--fix", action="store_true", help="format, and fix what ruff can fix, instead of complaining")
    parser.add_argument("--quick", action="store_true", help="no slow tests, no compiled run")
    parser.add_argument("--compiled-only", action="store_true", help="only the tests on the compiled wheel")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    return parser.parse_args()


def run_steps(options: argparse.Namespace, report: Report) -> None:
    """Cheapest first; stop where going on would only repeat the news."""
    if not options.compiled_only:
        check_statically(report, fix=options.fix)
        if report.failed:
            return
        selection = ["-m", "not slow"] if options.quick else []
        run_tests(report, "tests", ROOT, [*selection, *options.pytest])
    if not options.quick and not report.failed:
        run_compiled_tests(report, options.pytest)


def check_statically(report: Report, *, fix: bool) -> None:
    """Everything that reads the code without running it."""
    ruff = [sys.executable, "-m", "ruff"]
    if fix:
        run(report, "ruff check --fix", [*ruff, "check", "--fix", *CHECKED])
        run(report, "ruff format", [*ruff, "format", *CHECKED])
    else:
        run(report, "ruff format --check", [*ruff, "format", "--check", *CHECKED])
        run(report, "ruff check", [*ruff, "check", *CHECKED])
    run(report, "mypy", [sys.executable, "-m", "mypy", *CHECKED])
    lint_imports = "from importlinter.cli import lint_imports_command; lint_imports_command()"
    run(report, "import contracts", [sys.executable, "-c", lint_imports])


def run(report: Report, name: str, command: list[str]) -> str:
    """Run one step at the root; its output is shown if it fails, and returned."""
    started = time.monotonic()
    done = subprocess.run(
        command, cwd=ROOT, check=False, text=True, encoding="utf-8", stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    if done.returncode:
        print(done.stdout, flush=True)
    report.add(name, "FAILED" if done.returncode else "ok", time.monotonic() - started)
    return done.stdout


def run_tests(report: Report, name: str, directory: Path, arguments: list[str]) -> None:
    """Run pytest in a directory, on the amqpd that lies there; show its output as it comes."""
    started = time.monotonic()
    command = [sys.executable, "-m", "pytest", "-q", *workers(), *arguments]
    lines: list[str] = []
    with subprocess.Popen(
        command, cwd=directory, env=environment(directory), text=True, encoding="utf-8", stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
            lines.append(line.rstrip())
    report.add(name, "FAILED" if process.returncode else "ok", time.monotonic() - started)
    closing = [line for line in lines if re.search(r"\bin \d+(\.\d+)?s\b", line)]
    report.closing_lines += [f"{name}: {line}" for line in closing[-1:]]


def workers() -> list[str]:
    """One a core, four at most; the tests of a file stay together, and share its brokers.

    xdist would put files of few tests last; one that takes minutes is to begin first (tests/interop/conftest.py).
    """
    count = min(len(os.sched_getaffinity(0)), WORKERS_MAX)
    return ["-n", str(count), "--dist", "loadfile", "--no-loadscope-reorder"] if count > 1 else []


def environment(directory: Path) -> dict[str, str]:
    """The environment in which children, too, import amqpd from the directory."""
    return {**os.environ, "PYTHONPATH": str(directory)}


def run_compiled_tests(report: Report, arguments: list[str]) -> None:
    """Build the compiled wheel, unpack it with the tests beside it, run them there."""
    with tempfile.TemporaryDirectory(prefix="amqpd-compiled-") as name:
        directory = Path(name) / "tree"
        wheel = build_wheel(report, Path(name))
        if wheel is None:
            return
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(directory)
        for companion in COMPANIONS:
            copy_companion(companion, directory)
        if not is_compiled(report, directory):
            return
        ignored = [f"--ignore={path}" for path in SOURCE_ONLY]
        run_tests(report, "tests, compiled", directory, [*ignored, *arguments])


def build_wheel(report: Report, directory: Path) -> Path | None:
    """A compiled wheel; None if the build failed, or if there is no C compiler."""
    command = [sys.executable, "-m", "pip", "wheel", "--verbose", "--no-deps", "--wheel-dir", str(directory), "."]
    if all(importlib.util.find_spec(module) for module in BUILD_MODULES):
        command.insert(4, "--no-build-isolation")
    output = run(report, "build of the compiled wheel", command)
    if report.failed:
        return None
    pure = re.search(r"amqpd: pure build: (.*)", output)
    if pure:
        report.add("tests, compiled", f"skipped: {pure[1]}")
        return None
    return next(directory.glob("*.whl"))


def copy_companion(name: str, directory: Path) -> None:
    """Copy a file or folder of the checkout, if it is there."""
    if (ROOT / name).is_dir():
        shutil.copytree(ROOT / name, directory / name, ignore=shutil.ignore_patterns("__pycache__"))
    elif (ROOT / name).exists():
        shutil.copy(ROOT / name, directory / name)


def is_compiled(report: Report, directory: Path) -> bool:
    """Whether children started in the directory import the compiled modules."""
    command = [sys.executable, "-c", WHICH_FRAMES]
    done = subprocess.run(
        command, cwd=directory, env=environment(directory), check=False, text=True, capture_output=True
    )
    found = Path(done.stdout.strip())
    if found.suffix in (".so", ".pyd") and found.is_relative_to(directory.resolve()):
        return True
    print(f"expected a compiled module under {directory}, found {found}\n{done.stderr}")
    report.add("compiled modules are imported", "FAILED")
    return False


if __name__ == "__main__":
    sys.exit(main())
