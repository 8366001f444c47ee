"""The committer: order, wake-ups, waiting for room, the end of the promise, the end."""

import errno
import fcntl
import logging
import os
import select
import threading
import time
from collections.abc import Callable, Iterator

import lmdb
import pytest

from amqpd.broker.ports import META, Op, StoreFailed
from amqpd.store import committer as committer_module
from amqpd.store.committer import Committer

OPS: list[Op] = [(META, b"k", b"v")]
WAIT_S = 10.0


class Disk:
    """Writes that a test lets through, one by one or all; ``errors`` are raised first."""

    def __init__(self) -> None:
        self.written: list[list[Op]] = []
        self.errors: list[Exception] = []
        self.tries = 0
        self.is_open = threading.Event()
        self.is_open.set()
        self.threads: set[str] = set()
        self.tidied: list[int] = []  # behind how many batches

    def tidy(self) -> None:
        self.threads.add(threading.current_thread().name)
        self.tidied.append(len(self.written))

    def write(self, ops: list[Op]) -> None:
        assert self.is_open.wait(WAIT_S)
        self.threads.add(threading.current_thread().name)
        self.tries += 1
        if self.errors:
            raise self.errors.pop(0)
        self.written.append(ops)


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def committer(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> Iterator[Committer]:
    monkeypatch.setattr(committer_module, "RETRY_S", 0.01)
    made = Committer(disk.write, is_no_room, disk.tidy)
    yield made
    disk.is_open.set()
    made.close()


def wait(committer: Committer, condition: Callable[[], object]) -> None:
    """Until the condition holds; each news from the committer is a reason to look again."""
    while not condition():
        assert select.select([committer.wake_fd], [], [], WAIT_S)[0], "no news"
        os.read(committer.wake_fd, 4096)


class NoRoom(Exception):
    """What this disk raises when it is full."""


def is_no_room(error: Exception) -> bool:
    return isinstance(error, NoRoom)


def test_writes_in_its_own_thread(committer: Committer, disk: Disk) -> None:
    committer.submit(1, OPS)
    wait(committer, lambda: committer.completed() == 1)
    assert disk.written == [OPS]
    assert disk.threads == {"amqpd-committer"}


def test_not_completed_before_it_is_written(committer: Committer, disk: Disk) -> None:
    disk.is_open.clear()
    committer.submit(1, OPS)
    assert select.select([committer.wake_fd], [], [], 0.05)[0] == []
    assert committer.completed() == 0
    disk.is_open.set()
    wait(committer, lambda: committer.completed() == 1)


def test_no_operations_no_write(committer: Committer, disk: Disk) -> None:
    committer.submit(4, [])
    assert committer.completed() == 4
    assert disk.tries == 0


def test_many_in_order(committer: Committer, disk: Disk) -> None:
    batches: list[list[Op]] = [[(META, b"k", b"%d" % each)] for each in range(500)]
    for ticket, batch in enumerate(batches, 1):
        committer.submit(ticket, batch)
        wait(committer, lambda ticket=ticket: committer.completed() == ticket)  # type: ignore[misc]
    assert disk.written == batches


def test_news_that_nobody_reads(committer: Committer, disk: Disk) -> None:
    """The pipe is full, and the work goes on."""
    fcntl.fcntl(committer.wake_fd, fcntl.F_SETPIPE_SZ, 4096)
    for ticket in range(1, 4200):
        committer.submit(ticket, OPS)
        while committer.completed() < ticket:
            select.select([], [], [], 0)  # the other thread's turn
    assert len(disk.written) == 4199
    assert len(os.read(committer.wake_fd, 8192)) == 4096


class Said(logging.Handler):
    """The levels of what a logger said, whatever other handlers there are."""

    def __init__(self) -> None:
        super().__init__()
        self.levels: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.levels.append(record.levelname)


@pytest.fixture
def said() -> Iterator[Said]:
    logger = logging.getLogger("amqpd.store")
    handler, level = Said(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)


def test_full_disk_is_tried_again(committer: Committer, disk: Disk, said: Said) -> None:
    disk.errors = [NoRoom("no room")] * 3
    disk.is_open.clear()
    committer.submit(1, OPS)
    disk.is_open.set()
    wait(committer, lambda: committer.completed() == 1)
    assert disk.tries == 4
    assert committer.alarm == ""
    assert said.levels == ["ERROR", "INFO"], "once each, however many tries"


def test_alarm_is_up_while_the_disk_is_full(committer: Committer, disk: Disk) -> None:
    disk.errors = [NoRoom("no room")] * 1_000_000
    committer.submit(1, OPS)
    wait(committer, lambda: committer.alarm)
    assert committer.alarm == "low on disk"
    assert committer.completed() == 0
    disk.errors = []
    wait(committer, lambda: committer.completed() == 1)
    assert committer.alarm == ""


@pytest.mark.parametrize(
    "error", [lmdb.CorruptedError("page"), OSError(errno.EROFS, "read-only"), ValueError("a fault of ours")]
)
def test_any_other_error_ends_the_promise(committer: Committer, disk: Disk, error: Exception) -> None:
    disk.errors = [error]
    committer.submit(1, OPS)
    assert select.select([committer.wake_fd], [], [], WAIT_S)[0], "the loop must learn of it"
    for _ in range(2):
        with pytest.raises(StoreFailed, match="the store cannot be written: ") as caught:
            committer.completed()
        assert caught.value.__cause__ is error
    assert disk.tries == 1


def test_close_waits_for_the_write_that_runs(disk: Disk) -> None:
    committer = Committer(disk.write, is_no_room, disk.tidy)
    disk.is_open.clear()
    committer.submit(1, OPS)
    threading.Timer(0.05, disk.is_open.set).start()
    committer.close()
    assert disk.written == [OPS]


def test_close_does_not_wait_for_room(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer_module, "RETRY_S", 3600.0)
    disk.errors = [NoRoom("no room")] * 1_000_000
    committer = Committer(disk.write, is_no_room, disk.tidy)
    committer.submit(1, OPS)
    wait(committer, lambda: committer.alarm)
    committer.close()
    assert disk.written == []


def test_close_after_a_failure(disk: Disk) -> None:
    disk.errors = [OSError(errno.EIO, "broken")]
    committer = Committer(disk.write, is_no_room, disk.tidy)
    committer.submit(1, OPS)
    assert select.select([committer.wake_fd], [], [], WAIT_S)[0]
    before = len(os.listdir("/proc/self/fd"))
    committer.close()
    assert len(os.listdir("/proc/self/fd")) == before - 2


# -- tidying up --


def test_tidies_up_once_when_there_was_nothing_to_do_for_a_while(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer_module, "TIDY_AFTER_S", 0.01)
    committer = Committer(disk.write, is_no_room, disk.tidy)
    for ticket in (1, 2):
        committer.submit(ticket, OPS)
        wait(committer, lambda ticket=ticket: committer.completed() == ticket)  # type: ignore[misc]
        until = time.monotonic() + WAIT_S
        while len(disk.tidied) < ticket:
            assert time.monotonic() < until, "it never tidies up"
            select.select([], [], [], 0.001)
    select.select([], [], [], 0.05)  # long enough for more
    committer.close()
    assert disk.tidied == [1, 2], "once a rest"
    assert disk.threads == {"amqpd-committer"}


def test_tidies_up_after_so_many_batches_without_a_rest(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer_module, "TIDY_AFTER_S", 3600.0)
    monkeypatch.setattr(committer_module, "TIDY_AFTER_BATCHES", 5)
    committer = Committer(disk.write, is_no_room, disk.tidy)
    for ticket in range(1, 13):
        committer.submit(ticket, OPS)
        wait(committer, lambda ticket=ticket: committer.completed() == ticket)  # type: ignore[misc]
    committer.close()
    assert disk.tidied[:2] == [5, 10]


def test_what_fails_while_tidying_up_ends_the_promise(disk: Disk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(committer_module, "TIDY_AFTER_S", 0.01)

    def fail() -> None:
        raise OSError(errno.EIO, "broken")

    committer = Committer(disk.write, is_no_room, fail)
    committer.submit(1, OPS)
    with pytest.raises(StoreFailed, match="broken"):
        wait(committer, lambda: committer.completed() > 1)
    committer.close()
