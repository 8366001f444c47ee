"""The recorder as a shared object, and the environment that preloads it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("shim.c")
COMPILER: Final = shutil.which("gcc") or shutil.which("cc")


def why_not() -> str:
    """Why nothing can be recorded here; empty when it can."""
    if sys.platform != "linux":
        return "the recorder is for Linux's dynamic linker"
    return "" if COMPILER else "there is no C compiler"


def build(directory: Path) -> Path:
    """Compile it into ``directory``."""
    assert COMPILER is not None, why_not()
    made = directory / "shim.so"
    flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    subprocess.run([COMPILER, *flags, "-o", str(made), str(SOURCE), "-ldl", "-lpthread"], check=True)
    return made


def environ(shim: Path, log: Path, root: Path, skip: str = "") -> dict[str, str]:
    """What a process must find in its environment for that what it does below ``root`` is recorded in ``log``."""
    preloaded = [str(shim), *filter(None, [os.environ.get("LD_PRELOAD")])]
    return {
        "LD_PRELOAD": ":".join(preloaded),
        "DISK_LOG": str(log),
        "DISK_ROOT": str(root.resolve()),
        "DISK_SKIP": skip,
    }
