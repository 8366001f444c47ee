"""The reader: order, its thread, wake-ups, failures, the end. What it reads for the broker: ``test_conformance.py``."""

import threading
from collections.abc import Iterator

import pytest

from amqpd.broker.ports import SEGMENTS, StoreFailed
from amqpd.store.reader import Reader, Values, Wanted

WAIT_S = 10.0
WANTED: Wanted = [(SEGMENTS, b"a"), (SEGMENTS, b"b")]


class Disk:
    """Answers with the keys; ``is_open`` lets reads through."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.is_open = threading.Event()
        self.is_open.set()
        self.is_asked = threading.Event()
        self.threads: set[str] = set()
        self.news = threading.Semaphore(0)

    def read(self, wanted: Wanted) -> Values:
        self.is_asked.set()
        assert self.is_open.wait(WAIT_S)
        self.threads.add(threading.current_thread().name)
        if self.error is not None:
            raise self.error
        return [key for _, key in wanted]

    def wake(self) -> None:
        self.news.release()

    def wait(self, count: int = 1) -> None:
        for _ in range(count):
            assert self.news.acquire(timeout=WAIT_S), "no news"


@pytest.fixture
def disk() -> Disk:
    return Disk()


@pytest.fixture
def reader(disk: Disk) -> Iterator[Reader]:
    made = Reader(disk.read, disk.wake)
    yield made
    disk.is_open.set()
    made.close()
    assert readers() == []


def readers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "amqpd-reader"]


def test_there_is_no_thread_before_the_first_fetch(reader: Reader, disk: Disk) -> None:
    assert readers() == []
    assert reader.fetched() == []
    reader.fetch(1, WANTED)
    disk.wait()
    assert readers() == ["amqpd-reader"]
    assert disk.threads == {"amqpd-reader"}


def test_what_is_read_is_told_once(reader: Reader, disk: Disk) -> None:
    reader.fetch(7, WANTED)
    disk.wait()
    assert reader.fetched() == [(7, [b"a", b"b"])]
    assert reader.fetched() == []


def test_asking_does_not_wait(reader: Reader, disk: Disk) -> None:
    disk.is_open.clear()
    for number in range(100):
        reader.fetch(number, WANTED)
    assert reader.fetched() == []
    disk.is_open.set()
    disk.wait(100)
    assert [number for number, _ in reader.fetched()] == list(range(100))


def test_a_failure_is_told_and_told_again(reader: Reader, disk: Disk) -> None:
    disk.error = OSError(5, "Input/output error")
    reader.fetch(1, WANTED)
    disk.wait()
    for _ in range(2):
        with pytest.raises(StoreFailed, match=r"^the store cannot be read: .*Input/output error") as caught:
            reader.fetched()
        assert caught.value.__cause__ is disk.error
    reader.fetch(2, WANTED)
    with pytest.raises(StoreFailed):
        reader.fetched()


def test_close_without_a_fetch(disk: Disk) -> None:
    Reader(disk.read, disk.wake).close()


def test_close_waits_for_the_read_that_runs_and_for_no_other(disk: Disk) -> None:
    reader = Reader(disk.read, disk.wake)
    disk.is_open.clear()
    for number in (1, 2, 3):
        reader.fetch(number, WANTED)
    assert disk.is_asked.wait(WAIT_S)
    threading.Timer(0.05, disk.is_open.set).start()
    reader.close()
    assert readers() == []
    assert [number for number, _ in reader.fetched()] == [1]


def test_close_after_a_failure(disk: Disk) -> None:
    disk.error = OSError(5, "broken")
    reader = Reader(disk.read, disk.wake)
    reader.fetch(1, WANTED)
    disk.wait()
    reader.close()
    assert readers() == []
