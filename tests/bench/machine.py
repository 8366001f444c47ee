"""What the figures were taken on and of: processor, memory, kernel, file system, Python, commit."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path
from typing import Final

REPOSITORY: Final = Path(__file__).resolve().parents[2]


def describe(data_directory: Path) -> dict[str, str]:
    processor = _first(r"model name\s*: (.+)", "/proc/cpuinfo")
    memory_kib = _first(r"MemTotal:\s*(\d+)", "/proc/meminfo", "0")
    system = _first(r'PRETTY_NAME="(.+)"', "/etc/os-release")
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": commit(),
        "CPU": f"{os.cpu_count()} cores, {processor}",
        "memory": f"{int(memory_kib) / (1 << 20):.0f} GiB",
        "system": f"{system}, Linux {platform.release()}",
        "data directories on": _file_system(data_directory),
        "Python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def commit() -> str:
    """The commit, and whether what was measured is more than that."""
    name = git("rev-parse", "--short", "HEAD")
    if not name:
        return "none yet"
    return f"{name} with uncommitted changes" if git("status", "--porcelain", "--", "amqpd", "pyproject.toml") else name


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else ""


def _first(pattern: str, path: str, otherwise: str = "unknown") -> str:
    found = re.search(pattern, Path(path).read_text())
    return found.group(1).strip() if found else otherwise


def _file_system(directory: Path) -> str:
    """The type of the innermost mount that holds the directory; tmpfs would make every fsync free."""
    mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    holding = [(point, kind) for point, kind in mounts if directory.resolve().is_relative_to(point)]
    return max(holding, key=lambda mount: len(mount[0]))[1] if holding else "unknown"
