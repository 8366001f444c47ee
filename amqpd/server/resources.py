"""What the broker uses of its machine and what there is of it: memory, and room on a disk.

Owns where the kernel says so: /proc (proc(5)), control groups of both versions (the kernel's cgroup-v2 and cgroup-v1
"memory" documents), statvfs. Decides nothing: ``alarms.py`` does.
"""

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# Version 2 is mounted at its root, or beside version 1; there is no other place in use.
_GROUPS_V2: Final = ("sys/fs/cgroup", "sys/fs/cgroup/unified")
_GROUPS_V1: Final = ("sys/fs/cgroup/memory",)


def used_memory_bytes(root: Path = Path("/")) -> int:
    """Resident memory that is the broker's own: anonymous, and shared memory. Raises OSError where nobody says.

    Resident pages of files are left out. They are mostly the store's, which LMDB maps: the kernel's cache of the file,
    dropped as soon as anybody needs the room, however large the store. On a tmpfs those pages are memory for good, and
    there the kernel counts them as shared memory.
    """
    sizes = [
        int(line.split()[1]) * 1024
        for line in (root / "proc/self/status").read_text().splitlines()
        if line.startswith(("RssAnon:", "RssShmem:"))
    ]
    if not sizes:
        raise OSError("/proc/self/status has no RssAnon")
    return sum(sizes)


def memory_bytes(root: Path = Path("/")) -> int:
    """What the broker may use at most: the machine's memory, or the smallest limit of a control group around it."""
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_group_limits(root)])


def free_disk_bytes(directory: Path) -> int:
    """What a process without privileges may still write on the file system of ``directory``. Raises OSError."""
    disk = os.statvfs(directory)
    return disk.f_bavail * disk.f_frsize


def release_free_memory() -> None:
    """Give back to the kernel what the allocator keeps for later; the C library decides by itself only at the heap's
    end, so that a broker would seem full long after its queues are empty. Not every C library can."""
    ctypes = importlib.import_module("ctypes")  # needed only when memory is short
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _group_limits(root: Path) -> Iterator[int]:
    """The limits of this process's control group and of those above it, as far as they can be seen from here."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield from _limits_upwards(root, _GROUPS_V2, path, "memory.max")
        elif "memory" in controllers.split(","):
            yield from _limits_upwards(root, _GROUPS_V1, path, "memory.limit_in_bytes")


def _limits_upwards(root: Path, mounts: tuple[str, ...], path: str, file: str) -> Iterator[int]:
    """Where a container sees its own group as the root, the path leads nowhere and the root has the limit."""
    inside = Path(path.lstrip("/"))
    for mount in mounts:
        for group in (inside, *inside.parents):
            try:
                text = (root / mount / group / file).read_text().strip()
            except OSError:
                continue
            if text.isdigit():  # or "max"; version 1 has a number beyond all memory instead
                yield int(text)
