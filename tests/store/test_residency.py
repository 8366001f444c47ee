"""Memory that only mirrors the file is given back."""

import mmap
from pathlib import Path

from amqpd.store.residency import RELEASE_EVERY_BYTES, Residency

SIZE = 8 * 1024 * 1024


def resident_bytes(path: Path) -> int:
    """What of maps of ``path`` is in this process's memory."""
    is_ours, size = False, 0
    for line in Path("/proc/self/smaps").read_text(encoding="utf-8", errors="replace").splitlines():
        if "-" in line.split(" ", 1)[0]:
            is_ours = line.endswith(str(path))
        elif is_ours and line.startswith("Rss:"):
            size += int(line.split()[1]) * 1024
    return size


def test_what_was_read_is_let_go_after_so_much(tmp_path: Path) -> None:
    path = tmp_path / "data.mdb"
    path.write_bytes(bytes(range(256)) * (SIZE // 256))
    residency = Residency(path)
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        before = bytes(view)
        assert resident_bytes(path) >= SIZE
        residency.touched(RELEASE_EVERY_BYTES - 1)
        assert resident_bytes(path) >= SIZE, "not yet"
        residency.touched(1)
        assert resident_bytes(path) == 0
        assert bytes(view) == before, "it comes back from the file"


def test_a_file_that_is_not_mapped_is_no_fault(tmp_path: Path) -> None:
    Residency(tmp_path / "none").release()
