"""The build hook: compiles the hot modules with mypyc, if the machine can.

Owns one decision, compiled wheel or pure wheel, and carries it out in a temporary directory: the source tree never sees
a shared object. Knows nothing of what the modules do; their list is ``[tool.amqpd] compiled`` in pyproject.toml. It is
not shipped. Rules: PEP 517 through hatchling's custom hooks; the compiler is ``mypyc.build.mypycify``.

``AMQPD_PURE=1`` forbids compiling, ``AMQPD_PURE=0`` demands it; unset, a missing C compiler means a pure wheel. A fault
of our own code is never a reason for a pure wheel: then the build fails.

The work that loads mypyc runs in a child, this same file as a script, because mypyc works in the current directory,
exits on errors and patches setuptools.
"""

import contextlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TOOLS = ("mypyc", "setuptools", "librt")

# How mypy reads the sources while mypyc compiles them. Third-party types are left out even where they are installed, so
# that a build in isolation and one in a developer's environment compile the same code; `python -m tests.check` is what
# checks types in full. The stubs of librt, which decide how BytesWriter compiles, come with mypy itself.
MYPYC_INI = f"""\
[mypy]
ignore_missing_imports = True
no_site_packages = True
follow_imports = silent
cache_dir = {os.devnull}
"""

PROBE_C = """\
#include <Python.h>
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "probe", NULL, -1, NULL};
PyMODINIT_FUNC PyInit_probe(void) { return PyModule_Create(&definition); }
"""


class CompileHook(BuildHookInterface[Any]):
    """Adds the compiled modules to a standard wheel, beside their sources."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it collects the files of a wheel."""
        wish = os.environ.get("AMQPD_PURE", "")
        if version == "editable":
            return say("pure", "an editable install follows the source")
        if wish == "1":
            return say("pure", "AMQPD_PURE=1")
        with contextlib.ExitStack() as stack:
            workplace = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="amqpd-build-")))
            modules = compiled_modules(Path(self.root))
            obstacle = find_obstacle(workplace)
            if obstacle and wish == "0":
                raise RuntimeError(f"amqpd: AMQPD_PURE=0 demands a compiled wheel, but {obstacle}")
            if obstacle:
                return say("pure", f"{obstacle} (slower, otherwise the same)")
            build_data["force_include"].update(compile_modules(Path(self.root), workplace, modules))
            self.leftovers = stack.pop_all()  # hatchling has yet to read the shared objects
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        return say("compiled", f"{len(modules)} modules by mypyc")

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        """Called by hatchling when the wheel is written."""
        if hasattr(self, "leftovers"):
            self.leftovers.close()


def say(kind: str, reason: str) -> None:
    """One line for the installer's log; tests/check.py looks for it."""
    print(f"amqpd: {kind} build: {reason}", flush=True)


def compiled_modules(root: Path) -> list[str]:
    """The paths listed in pyproject.toml, all of them there."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    modules: list[str] = project["tool"]["amqpd"]["compiled"]
    missing = [path for path in modules if not (root / path).is_file()]
    if missing:
        raise FileNotFoundError(f"amqpd: [tool.amqpd] compiled in pyproject.toml lists missing files: {missing}")
    return modules


def find_obstacle(workplace: Path) -> str:
    """Why this machine cannot compile an extension module; empty if it can."""
    if sys.implementation.name != "cpython":
        return f"mypyc serves CPython, not {sys.implementation.name}"
    absent = [name for name in TOOLS if importlib.util.find_spec(name) is None]
    if absent:
        raise ModuleNotFoundError(f"amqpd: build requirements are not installed: {absent} (see build-system.requires)")
    probe = run_child(workplace, "probe", capture=True)
    if probe.returncode == 0:
        return ""
    last_line = (probe.stdout.strip().splitlines() or ["no message"])[-1]
    return f"there is no working C compiler with Python headers: {textwrap.shorten(last_line, 120)}"


def compile_modules(root: Path, workplace: Path, modules: list[str]) -> dict[str, str]:
    """Compile the modules as one group; where each shared object lies -> where it goes in the wheel."""
    shutil.copytree(root / "amqpd", workplace / "amqpd", ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.pyd"))
    (workplace / "mypyc.ini").write_text(MYPYC_INI, encoding="utf-8")
    if run_child(workplace, "compile", *modules).returncode:
        raise RuntimeError("amqpd: mypyc or the C compiler refused the hot modules; its messages are above")
    built = dict(shared_objects(workplace / "lib"))
    stems = {path.split(".")[0] for path in built.values()}
    lost = [path for path in modules if path.removesuffix(".py") not in stems]
    if lost:
        raise RuntimeError(f"amqpd: compiled without a result: {lost}")
    return built


def shared_objects(library: Path) -> Iterator[tuple[str, str]]:
    """Every shared object under the directory, with its path inside the wheel."""
    for path in sorted(library.rglob("*")):
        if path.suffix in (".so", ".pyd"):
            yield str(path), path.relative_to(library).as_posix()


def run_child(workplace: Path, *arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    """Run this file as a script in the workplace; -P keeps the modules of amqpd from hiding those of the library."""
    command = [sys.executable, "-P", str(Path(__file__).resolve()), *arguments]
    output = subprocess.PIPE if capture else None
    return subprocess.run(command, cwd=workplace, check=False, text=True, stdout=output, stderr=subprocess.STDOUT)


def build_extensions(extensions: list[Any]) -> None:
    """Have setuptools compile into ``lib`` of the current directory."""
    import setuptools

    command: Any = setuptools.Distribution({"name": "amqpd", "ext_modules": extensions}).get_command_obj("build_ext")
    command.build_lib, command.build_temp = "lib", "temp"
    command.ensure_finalized()
    command.run()


def probe_in_child() -> None:
    """Compile and link the smallest extension module there is, the way mypyc's are."""
    import setuptools

    Path("probe.c").write_text(PROBE_C, encoding="utf-8")
    build_extensions([setuptools.Extension("probe", ["probe.c"])])
    shutil.rmtree("lib")


def compile_in_child(modules: list[str]) -> None:
    """Compile with mypyc, in the current directory."""
    from mypyc.build import mypycify

    options = ["--config-file", "mypyc.ini"]
    extensions = mypycify(options + modules, opt_level="3", debug_level="0", target_dir="c", group_name="amqpd")
    for extension in extensions:
        # A compiler younger than mypyc may warn of generated code; that is no reason to refuse an installation.
        extension.extra_compile_args = [flag for flag in extension.extra_compile_args if flag != "-Werror"]
    build_extensions(extensions)


if __name__ == "__main__":
    if sys.argv[1] == "probe":
        probe_in_child()
    else:
        compile_in_child(sys.argv[2:])
