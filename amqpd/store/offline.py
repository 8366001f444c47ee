"""A data directory while no broker has it: the lock, and where the data file is.

For ``amqpd store``, which looks at a store or rebuilds it. Takes the same lock as a broker (``lmdb_store.py``), so that
neither can start under the other; unlike a broker it makes no directory.
"""

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

from amqpd.store.lmdb_store import DataDirectoryError, take_lock

_CANNOT_WRITE = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def hold(directory: Path) -> Iterator[Path]:
    """The data file in ``directory``, which is ours while the block runs. Raises DataDirectoryError."""
    if not directory.is_dir():
        raise DataDirectoryError(f"there is no data directory {directory}")
    data_file = directory / "store" / "data.mdb"
    if not data_file.is_file():
        hint = f"; did you mean {directory.parent}?" if (directory / "data.mdb").is_file() else ""
        raise DataDirectoryError(f"{directory} is no data directory: there is no {data_file}{hint}")
    lock = _open_lock(directory)
    try:
        if lock is not None:
            take_lock(lock, directory, "stop that one (kill {owner}), then try again")
        yield data_file
    finally:
        if lock is not None:
            os.close(lock)


def _open_lock(directory: Path) -> int | None:
    """None where nobody could write a lock file, as in a read-only snapshot: no broker can run there either."""
    path = directory / "lock"
    try:
        is_new = not path.exists()
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        if is_new and os.geteuid() == 0:
            owner = directory.stat()
            os.fchown(lock, owner.st_uid, owner.st_gid)  # or the broker, who is not root, could not lock it
        return lock
    except OSError as error:
        if error.errno not in _CANNOT_WRITE:
            raise DataDirectoryError(f"cannot lock the data directory {directory}: {error.strerror}") from error
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataDirectoryError(f"cannot lock the data directory {directory}: {error.strerror}") from error
