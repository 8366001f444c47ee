"""The build hook, on a small package that has the name, the pyproject.toml and the hook of the real one."""

import re
import shutil
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

from amqpd._build import find_obstacle

ROOT = Path(__file__).resolve().parents[2]
COMPILED = ["amqpd/ports.py", "amqpd/counter.py"]
PORTS = '''
"""An interface."""

class Outlet:
    def deliver(self, body: bytes) -> int:
        raise NotImplementedError
'''
COUNTER = '''
"""Its implementation, with a dependency that a build in isolation does not have."""

from librt.strings import BytesWriter
from nowhere_to_be_found import Thing

from amqpd.ports import Outlet

class Counter(Outlet):
    def __init__(self, thing: Thing) -> None:
        self.writer = BytesWriter()

    def deliver(self, body: bytes) -> int:
        self.writer.write(body)
        return len(self.writer)
'''


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = tmp_path / "project"
    package = root / "amqpd"
    package.mkdir(parents=True)
    settings = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    settings = re.sub(r"^compiled = \[.*?\]", f"compiled = {COMPILED}", settings, flags=re.MULTILINE | re.DOTALL)
    (root / "pyproject.toml").write_text(settings, encoding="utf-8")
    (root / "README.md").write_text("# amqpd\n", encoding="utf-8")
    shutil.copy(ROOT / "LICENSE", root)
    shutil.copy(ROOT / "amqpd/__init__.py", package)
    shutil.copy(ROOT / "amqpd/_build.py", package)
    (package / "ports.py").write_text(PORTS, encoding="utf-8")
    (package / "counter.py").write_text(COUNTER, encoding="utf-8")
    return root


@pytest.fixture
def compiler(tmp_path: Path) -> None:
    workplace = tmp_path / "probe"
    workplace.mkdir()
    if obstacle := find_obstacle(workplace):
        pytest.skip(obstacle)


def build(project: Path, version: str = "standard") -> Path:
    return Path(next(WheelBuilder(str(project)).build(directory=str(project.parent / "dist"), versions=[version])))


def names(wheel: Path) -> set[str]:
    with zipfile.ZipFile(wheel) as archive:
        return {re.sub(r"\.(cpython|cp)[^/]*\.(so|pyd)$", ".so", name) for name in archive.namelist()}


def test_pure_wheel_on_request(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AMQPD_PURE", "1")
    wheel = build(project)
    assert wheel.name.endswith("-py3-none-any.whl")
    assert {name for name in names(wheel) if name.startswith("amqpd/")} == {"amqpd/__init__.py", *COMPILED}
    assert "amqpd: pure build: AMQPD_PURE=1" in capfd.readouterr().out


def test_editable_install_is_pure(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMQPD_PURE", "0")
    assert not any(name.endswith(".so") for name in names(build(project, "editable")))


@pytest.mark.usefixtures("compiler")
def test_missing_module_is_named(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AMQPD_PURE", raising=False)
    (project / "amqpd/counter.py").unlink()
    with pytest.raises(FileNotFoundError, match=r"lists missing files: \['amqpd/counter\.py'\]"):
        build(project)


@pytest.mark.parametrize(("wish", "outcome"), [("", "pure"), ("0", "error")])
def test_machine_without_compiler(
    project: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], wish: str, outcome: str
) -> None:
    monkeypatch.setenv("CC", "/nonexistent/cc")
    monkeypatch.setenv("AMQPD_PURE", wish)
    if outcome == "error":
        with pytest.raises(RuntimeError, match="demands a compiled wheel, but there is no working C compiler"):
            build(project)
    else:
        assert build(project).name.endswith("-py3-none-any.whl")
        assert "amqpd: pure build: there is no working C compiler" in capfd.readouterr().out


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_compiled_wheel(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AMQPD_PURE", raising=False)
    before = sorted(project.rglob("*"))
    wheel = build(project)
    assert "-none-any" not in wheel.name
    assert {"amqpd/ports.so", "amqpd/counter.so", "amqpd__mypyc.so", *COMPILED} <= names(wheel)
    assert sorted(project.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.usefixtures("compiler")
def test_fault_of_our_own_is_not_a_pure_wheel(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AMQPD_PURE", raising=False)
    with (project / "amqpd/counter.py").open("a", encoding="utf-8") as module:
        module.write('wrong: int = "text"\n')
    with pytest.raises(RuntimeError, match="refused the hot modules"):
        build(project)
