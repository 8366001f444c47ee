"""What the kernel says of memory and disk, in the files it says it in."""

import os
import sys
from pathlib import Path

import pytest

from amqpd.server.resources import free_disk_bytes, memory_bytes, release_free_memory, used_memory_bytes

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
NO_LIMIT_V1 = "9223372036854771712"
MB = 1_000_000


def machine(tmp_path: Path, files: dict[str, str]) -> Path:
    """A root directory with these files."""
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    return tmp_path


def test_own_memory_counts_and_the_store_s_map_does_not(tmp_path: Path) -> None:
    status = "Name:\tx\nVmRSS:\t  700 kB\nRssAnon:\t  100 kB\nRssFile:\t  590 kB\nRssShmem:\t   10 kB\nThreads:\t2"
    assert used_memory_bytes(machine(tmp_path, {"proc/self/status": status})) == 110 * 1024


def test_memory_that_nobody_tells(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="RssAnon"):
        used_memory_bytes(machine(tmp_path, {"proc/self/status": "VmRSS:\t 700 kB"}))
    with pytest.raises(OSError, match="No such file"):
        used_memory_bytes(tmp_path / "elsewhere")


def test_memory_of_this_process() -> None:
    before = used_memory_bytes()
    ballast = bytearray(os.urandom(1 << 16)) * 1600  # written to, so that it is resident
    assert 90 * MB < used_memory_bytes() - before < 130 * MB
    assert len(ballast) == 1600 << 16


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, MACHINE),
        ({"proc/self/cgroup": "0::/"}, MACHINE),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/memory.max": "500000000"}, 500 * MB),
        ({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/memory.max": "400000000"}, 400 * MB),
        (  # the group has none, the one above it has
            {
                "proc/self/cgroup": "0::/a/b",
                "sys/fs/cgroup/a/b/memory.max": "max",
                "sys/fs/cgroup/a/memory.max": "300000000",
            },
            300 * MB,
        ),
        (  # the smallest counts, wherever it is
            {
                "proc/self/cgroup": "0::/a/b",
                "sys/fs/cgroup/a/b/memory.max": "300000000",
                "sys/fs/cgroup/a/memory.max": "200000000",
                "sys/fs/cgroup/memory.max": "600000000",
            },
            200 * MB,
        ),
        (  # a container that is told its path outside, where that is not mounted
            {"proc/self/cgroup": "0::/docker/0123", "sys/fs/cgroup/memory.max": "250000000"},
            250 * MB,
        ),
        (  # version 1
            {
                "proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/a",
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "150000000",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": NO_LIMIT_V1,
            },
            150 * MB,
        ),
        (
            {"proc/self/cgroup": "4:memory:/a", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": NO_LIMIT_V1},
            MACHINE,
        ),
        (  # both: version 1 has the memory, version 2 is mounted beside it
            {
                "proc/self/cgroup": "4:memory:/a\n1:name=systemd:/a\n0::/a",
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "120000000",
                "sys/fs/cgroup/unified/a/memory.max": "110000000",
            },
            110 * MB,
        ),
        ({"proc/self/cgroup": "4:cpu:/a", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "1000000"}, MACHINE),
        ({"proc/self/cgroup": "0::/a:b", "sys/fs/cgroup/a:b/memory.max": "100000000"}, 100 * MB),
    ],
)
def test_the_smallest_limit_around_the_process(tmp_path: Path, files: dict[str, str], limit: int) -> None:
    assert memory_bytes(machine(tmp_path, files)) == limit


def test_limit_of_this_process() -> None:
    assert 16 * MB < memory_bytes() <= MACHINE


def test_free_disk(tmp_path: Path) -> None:
    usage = os.statvfs(tmp_path)
    assert 0 < free_disk_bytes(tmp_path) <= usage.f_blocks * usage.f_frsize
    with pytest.raises(FileNotFoundError):
        free_disk_bytes(tmp_path / "none")


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="what the C library of Linux does")
def test_released_memory_is_the_kernel_s_again() -> None:
    """Messages of a queue that was drained, with something that stays behind them: the heap does not shrink alone."""
    before = used_memory_bytes()
    messages = [bytes(1000) for _ in range(100_000)]
    stays = bytes(1000)
    messages.clear()
    release_free_memory()
    assert used_memory_bytes() - before < 20 * MB
    assert len(stays) == 1000
