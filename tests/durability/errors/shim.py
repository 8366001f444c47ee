"""The failing disk as a shared object, and the switch with which it is told what to do."""

import mmap
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Final

SOURCE: Final = Path(__file__).with_name("shim.c")
COMPILER: Final = shutil.which("gcc") or shutil.which("cc")
DATA_FILE: Final = "store/data.mdb"

# What may fail.
WRITE: Final = 1  # of pages
META: Final = 2  # of one of the two first pages, which end a commit
SYNC: Final = 4
ROOM: Final = 8  # an allocation, with which one asks whether there is room

FIELDS: Final = ("mask", "error", "let", "times", "partial", "stale", "hits", "calls")
LAYOUT: Final = struct.Struct(f"={len(FIELDS)}i")
FOR_EVER: Final = -1


def why_not() -> str:
    """Why nothing can be made to fail here; "" when it can."""
    if sys.platform != "linux":
        return "the failing disk is for Linux's dynamic linker"
    return "" if COMPILER else "there is no C compiler"


def build(directory: Path) -> Path:
    """Compile it into ``directory``, unless it is there."""
    made = directory / "errors.so"
    if not made.exists():
        assert COMPILER is not None
        flags = ["-O2", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        subprocess.run([COMPILER, *flags, "-o", str(made), str(SOURCE), "-ldl", "-lpthread"], check=True)
    return made


class Switch:
    """Tells one disk what is to fail, from the next call on; a broker runs with ``environ``."""

    def __init__(self, directory: Path, *, disk: Path | None = None) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        path = directory / "errors.control"
        path.write_bytes(bytes(LAYOUT.size))
        with path.open("r+b") as file:
            self.map = mmap.mmap(file.fileno(), LAYOUT.size)
        self.environ = {
            "LD_PRELOAD": str(build(directory)),
            "ERRORS_CONTROL": str(path),
            "ERRORS_FILE": DATA_FILE,
        }
        if disk is not None:
            self.environ["ERRORS_DISK"] = str(disk)

    def fail(
        self,
        mask: int,
        error: int,
        *,
        let: int = 0,
        times: int = FOR_EVER,
        is_partial: bool = False,
        is_stale: bool = False,
    ) -> None:
        """From now on: ``let`` calls of those in ``mask`` pass, then ``times`` fail with ``error``."""
        self.set("mask", 0)
        values = {"error": error, "let": let, "times": times, "partial": is_partial, "stale": is_stale}
        for name, value in values.items():
            self.set(name, int(value))
        self.set("mask", mask)

    def heal(self) -> None:
        self.set("mask", 0)

    @property
    def hits(self) -> int:
        """Calls that have failed."""
        return int(LAYOUT.unpack(self.map[:])[FIELDS.index("hits")])

    def set(self, name: str, value: int) -> None:
        at = FIELDS.index(name) * 4
        self.map[at : at + 4] = struct.pack("=i", value)
