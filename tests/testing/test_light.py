"""What is not imported: by who uses a broker in a test, and by who does not."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The command line and its dependencies, test frameworks, clients, a store on disk, loops that are not asked for.
STRANGERS = {"typer", "pydantic", "starlette", "rich", "click", "pytest", "pika", "aio_pika", "celery", "trio", "lmdb"}

UNUSED = """
import sys

def test_nothing(pytestconfig):
    assert pytestconfig.getini("amqpd_leaks") == "warn", "the plugin is not loaded"
    print("loaded", *sys.modules)
"""


def run(*arguments: str, cwd: Path = ROOT) -> str:
    """What a Python of ours prints, to which a warning is an error."""
    command = [sys.executable, "-W", "error", *arguments]
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def packages(modules: list[str]) -> set[str]:
    return {module.partition(".")[0] for module in modules}


@pytest.mark.parametrize(
    "program",
    [
        "import amqpd.testing",
        "from amqpd.testing import Broker; Broker().start().stop()",
        "import asyncio\nfrom amqpd.testing import AsyncBroker\nasync def main():\n async with AsyncBroker(): pass\n"
        "asyncio.run(main())",
    ],
    ids=["package", "Broker", "AsyncBroker"],
)
def test_a_broker_brings_no_strangers(program: str) -> None:
    loaded = run("-c", f"{program}\nimport sys; print(*sys.modules)").split()
    assert "amqpd.testing" in loaded
    assert packages(loaded) & STRANGERS == set()


def test_the_package_alone_is_nothing_but_names() -> None:
    loaded = run("-c", "import amqpd.testing, sys; print(*sys.modules)").split()
    assert {module for module in loaded if module.startswith("amqpd")} == {"amqpd", "amqpd.testing"}
    assert packages(loaded) & {"anyio", "asyncio", "lmdb", "pamqp", "threading"} == set()


def test_pytest_with_the_plugin_unused_loads_no_broker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor what a broker is made of. The plugin is found by its entry point; others, which may load some of it for
    themselves, are left out.
    """
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    (tmp_path / "test_unused.py").write_text(UNUSED)
    shown = run("-m", "pytest", "-q", "-s", "-p", "no:cacheprovider", "-p", "amqpd", cwd=tmp_path)
    loaded = next(line for line in shown.splitlines() if "loaded " in line).split()
    ours = {module for module in loaded if module.startswith("amqpd")}
    assert ours == {"amqpd", "amqpd.testing", "amqpd.testing.pytest_plugin"}
    assert packages(loaded) & {"anyio", "pamqp", "asyncio", *STRANGERS - {"pytest"}} == set()
