"""The rules of the house that no linter knows."""

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "amqpd").rglob("*.py"))
COMPILED: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["amqpd"]["compiled"]

LINES_MAX = 500
# Module -> why it is longer.
LONG_MODULES: dict[str, str] = {
    "amqpd/protocols/amqp091/connection.py": "one state machine; handshake, liveness, publishing, codec are out",
}

# Start of a module's path -> why it may import inside a function.
LAZY_IMPORTERS = {
    "amqpd/_build.py": "mypyc and setuptools are loaded only in the child that compiles",
    "amqpd/broker/patterns.py": "most brokers have no pattern but .*, and the package takes 50 ms to import",
    "amqpd/cli/": "a command loads what it needs, so that --help and completion start at once",
}

# Modules without rules of their own: run by everything.
PARTS = {"__init__.py", "__main__.py", "_build.py", "app.py"}
# Module without a test file of its own -> what covers it.
MIRRORED_ELSEWHERE = {
    "amqpd/broker/fields.py": "tests/broker/test_records.py",  # a value without behaviour; every kind is tried there
    "amqpd/broker/message.py": "tests/broker/queues/test_classic.py",  # attributes only
    "amqpd/broker/owner.py": "tests/broker/test_vhost.py",  # attributes only
    "amqpd/broker/ports.py": "tests/store/test_conformance.py",  # declarations; the contract of stores
    "amqpd/cli/commands.py": "tests/cli/test_cli.py",  # the command line is tested as a whole
    "amqpd/cli/ctl/client.py": "tests/cli/test_ctl.py",  # as commands are: with a broker
    "amqpd/cli/ctl/command.py": "tests/cli/test_ctl.py",
    "amqpd/cli/ctl/connections.py": "tests/cli/test_ctl.py",
    "amqpd/cli/ctl/definitions.py": "tests/cli/test_ctl.py",
    "amqpd/cli/ctl/policies.py": "tests/cli/test_ctl.py",
    "amqpd/cli/ctl/registry.py": "tests/management/verbs/test_registry.py",
    "amqpd/cli/ctl/status.py": "tests/cli/test_ctl.py",
    "amqpd/cli/ctl/topology.py": "tests/cli/test_ctl.py",
    "amqpd/cli/ctl/users.py": "tests/cli/test_ctl.py",
    "amqpd/cli/main.py": "tests/cli/test_cli.py",
    "amqpd/cli/serve.py": "tests/cli/test_cli.py",
    "amqpd/cli/version.py": "tests/cli/test_cli.py",
    "amqpd/clock.py": "tests/server/test_pump.py",  # the machine's clock: heartbeats and timeouts
    "amqpd/errors.py": "tests/conformance/test_channels.py",  # names, codes and texts, as a peer sees them
    "amqpd/limits.py": "tests/docs/test_generated.py",  # numbers
    "amqpd/testing/errors.py": "tests/testing/test_embedded.py",  # names
    "amqpd/testing/host.py": "tests/testing/test_embedded.py",  # declarations
    "amqpd/process.py": "tests/server/test_start.py",  # a process is tested as one
    "amqpd/management/node.py": "tests/management/verbs/test_vhosts.py",  # attributes only
}

TOP_LEVEL = {"pyproject.toml", "README.md", "LICENSE", "amqpd", "tests", "interop", "docs"}

ISSUE_LINK = re.compile(r"https?://\S+/issues/\d+")


def source(module: str) -> str:
    return (ROOT / module).read_text(encoding="utf-8")


def lazy_imports(module: str) -> Iterator[int]:
    """The lines of imports inside functions."""
    for function in ast.walk(ast.parse(source(module))):
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from (node.lineno for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom))


@pytest.mark.parametrize("module", MODULES)
def test_module_can_be_read_in_one_sitting(module: str) -> None:
    lines = len(source(module).splitlines())
    if module in LONG_MODULES:
        assert lines > LINES_MAX, "no longer an exception: take it off the list"
    else:
        assert lines <= LINES_MAX, "split it by noun, or list it in LONG_MODULES with a reason"


@pytest.mark.parametrize("module", MODULES)
def test_module_says_what_it_owns(module: str) -> None:
    tree = ast.parse(source(module))
    assert not tree.body or ast.get_docstring(tree), "the module docstring is missing"


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_at_the_top(module: str) -> None:
    if not module.startswith(tuple(LAZY_IMPORTERS)):
        assert list(lazy_imports(module)) == [], "an import inside a function hides a dependency"


@pytest.mark.parametrize("module", MODULES)
def test_todo_names_an_issue(module: str) -> None:
    loose = [line for line in source(module).splitlines() if "TODO" in line and not ISSUE_LINK.search(line)]
    assert loose == []


@pytest.mark.parametrize("module", COMPILED)
def test_compiled_module_is_marked_hot(module: str) -> None:
    assert re.search(r"^# HOT\b", source(module), re.MULTILINE), "what is compiled opens with its `# HOT` plan"


def mirror(module: str) -> str:
    """The test file of a module: the same path under tests."""
    path = Path(module)
    return Path("tests", *path.parts[1:-1], f"test_{path.name}").as_posix()


@pytest.mark.parametrize("module", [module for module in MODULES if Path(module).name not in PARTS])
def test_module_has_its_mirror(module: str) -> None:
    has_mirror = (ROOT / mirror(module)).is_file()
    if module in MIRRORED_ELSEWHERE:
        assert not has_mirror, f"no longer an exception: {mirror(module)} is there, take it off the list"
        assert (ROOT / MIRRORED_ELSEWHERE[module]).is_file()
    else:
        assert has_mirror, f"write {mirror(module)}, or list it in MIRRORED_ELSEWHERE with what covers it"


def test_no_utils() -> None:
    assert [module for module in MODULES if Path(module).name in ("utils.py", "util.py", "helpers.py")] == []


def test_exceptions_name_modules_that_exist() -> None:
    assert set(LONG_MODULES) <= set(MODULES)
    assert set(MIRRORED_ELSEWHERE) <= set(MODULES)
    assert [start for start in LAZY_IMPORTERS if not any(module.startswith(start) for module in MODULES)] == []


def test_no_shared_objects_in_the_tree() -> None:
    assert [str(path) for pattern in ("*.so", "*.pyd") for path in (ROOT / "amqpd").rglob(pattern)] == []


def test_top_level_holds_only_what_belongs_there() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    files = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    names = {file.split("/")[0] for file in files}
    assert {name for name in names if not name.startswith(".")} - TOP_LEVEL == set()
