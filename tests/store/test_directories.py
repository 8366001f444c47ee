"""Directories that a crash left, and those that must outlast one."""

import os
from pathlib import Path

import pytest

from amqpd.store import directories


def test_what_is_removed_goes_with_all_that_is_in_it(tmp_path: Path) -> None:
    left = tmp_path / "left"
    (left / "deeper").mkdir(parents=True)
    (left / "deeper" / "data.mdb").write_bytes(b"half")
    directories.remove(left)
    assert list(tmp_path.iterdir()) == []
    directories.remove(left)


def test_every_directory_is_synced_and_closed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a").mkdir()
    synced: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    open_before = os.listdir("/proc/self/fd")
    directories.sync(tmp_path, tmp_path / "a")
    assert synced == [str(tmp_path), str(tmp_path / "a")]
    assert len(os.listdir("/proc/self/fd")) == len(open_before)
