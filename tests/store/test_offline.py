"""The data directory while no broker has it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from amqpd.store.lmdb_store import DataDirectoryError, LmdbStore
from amqpd.store.offline import hold
from tests.store.data_files import schema, write

ROOT = Path(__file__).resolve().parents[2]


def refusal(directory: Path) -> str:
    with pytest.raises(DataDirectoryError) as caught, hold(directory):
        pass
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_no_broker_can_start_meanwhile(tmp_path: Path) -> None:
    data_file = write(tmp_path, schema())
    with hold(tmp_path) as held:
        assert held == data_file
        with pytest.raises(DataDirectoryError, match=f"in use by another amqpd .process {os.getpid()}."):
            LmdbStore(tmp_path)
    LmdbStore(tmp_path).close()


def test_a_broker_that_runs_is_named_with_what_to_do(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path)
    for _ in range(2):
        assert refusal(tmp_path) == (
            f"the data directory {tmp_path} is in use by another amqpd (process {os.getpid()}): "
            f"stop that one (kill {os.getpid()}), then try again"
        )
    store.close()
    before = len(os.listdir("/proc/self/fd"))
    with hold(tmp_path):
        pass
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_is_no_data_directory_is_left_as_it_is(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none") == f"there is no data directory {tmp_path / 'none'}"
    (tmp_path / "other").mkdir()
    assert refusal(tmp_path / "other").startswith(f"{tmp_path / 'other'} is no data directory: there is no ")
    assert list((tmp_path / "other").iterdir()) == []
    write(tmp_path / "data", schema())
    assert refusal(tmp_path / "data" / "store").endswith(f"did you mean {tmp_path / 'data'}?")


def test_a_backup_without_a_lock_file(tmp_path: Path) -> None:
    write(tmp_path, schema())
    (tmp_path / "lock").unlink()
    with hold(tmp_path):
        assert (tmp_path / "lock").read_text() == f"{os.getpid()}\n"


READ_ONLY = """
import os, sys
from pathlib import Path
from amqpd.store.offline import hold
if os.geteuid() == 0:
    os.setuid(65534)
with hold(Path(sys.argv[1])) as data_file:
    print(data_file.exists())
"""


@pytest.mark.parametrize("has_lock", [True, False])
def test_a_directory_that_can_only_be_read(tmp_path: Path, has_lock: bool) -> None:
    data_file = write(tmp_path, schema())
    if not has_lock:
        (tmp_path / "lock").unlink()
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o555 if path.is_dir() else 0o444)
    for parent in tmp_path.parents:
        if re.search("pytest-of", str(parent)):
            parent.chmod(0o755)
    done = subprocess.run([sys.executable, "-c", READ_ONLY, str(tmp_path)], cwd=ROOT, check=False, capture_output=True)
    for path in (tmp_path, *tmp_path.rglob("*")):
        path.chmod(0o755)
    assert (done.stdout, done.stderr) == (b"True\n", b"")
    assert data_file.exists()
