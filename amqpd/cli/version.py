"""``amqpd version``: what runs here, in the lines a bug report needs."""

import importlib.util
import platform
import sys
from importlib import metadata
from typing import Final

from amqpd import __version__

_DEPENDENCIES: Final = ("lmdb", "pamqp", "anyio")
_COMPILED_SUFFIXES: Final = (".so", ".pyd")


def show() -> int:
    """Print the versions; the process's exit code."""
    sys.stdout.write("\n".join(lines()) + "\n")  # one write, so that `| head -1` cannot break the pipe between two
    return 0


def lines() -> list[str]:
    """``amqpd`` and how it was built, Python and its platform, then each dependency."""
    built = "compiled" if is_compiled() else "pure Python"
    where = f"{platform.python_implementation()}, {platform.system()} {platform.machine()}"
    return [
        f"amqpd {__version__} ({built})",
        f"Python {platform.python_version()} ({where})",
        *(f"{name} {_version_of(name)}" for name in _DEPENDENCIES),
    ]


def is_compiled() -> bool:
    """Whether the hot modules are machine code; asked of the file, so that nothing of the broker is loaded."""
    spec = importlib.util.find_spec("amqpd.protocols.amqp091.frames")
    return spec is not None and (spec.origin or "").endswith(_COMPILED_SUFFIXES)


def _version_of(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"
