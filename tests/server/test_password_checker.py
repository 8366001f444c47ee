"""The threads that look at passwords: answers, wake-ups, faults, the end."""

import select
import threading
from collections.abc import Iterator

import pytest

from amqpd.broker.logins import Check
from amqpd.broker.passwords import PasswordHash, hash_like_rabbitmq
from amqpd.server.password_checker import THREADS, PasswordChecker, PasswordDoor

WAIT_S = 10.0
KEPT = hash_like_rabbitmq(b"secret", b"salt")


class HeldCheck(Check):
    """Is not done before the test says so."""

    def __init__(self, password: bytes) -> None:
        super().__init__(b"key", "ada", KEPT, password)
        self.is_asked = threading.Event()
        self.is_open = threading.Event()
        self.threads: set[str] = set()

    def run(self) -> None:
        self.is_asked.set()
        assert self.is_open.wait(WAIT_S)
        self.threads.add(threading.current_thread().name)
        super().run()


@pytest.fixture
def checker() -> Iterator[PasswordChecker]:
    made = PasswordChecker()
    yield made
    made.close()
    assert checkers() == []


def checkers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "amqpd-passwords"]


def wait_for(checker: PasswordChecker, count: int) -> list[Check]:
    """What a door gets, until there are so many."""
    done: list[Check] = []
    door = PasswordDoor(checker.descriptor, lambda: done.extend(checker.take_done()))
    while len(done) < count:
        assert select.select([checker.descriptor], [], [], WAIT_S)[0], "no news"
        door.on_readable()
    return done


def test_there_is_no_thread_before_the_first_check(checker: PasswordChecker) -> None:
    assert checkers() == []
    assert checker.take_done() == []


def test_answers(checker: PasswordChecker) -> None:
    checks = [Check(b"key", "ada", KEPT, password) for password in (b"secret", b"Secret", b"")]
    for check in checks:
        checker.begin(check)
    done = wait_for(checker, 3)
    assert sorted(map(id, done)) == sorted(map(id, checks))
    assert [check.is_right for check in checks] == [True, False, False]
    late: list[Check] = []
    door = PasswordDoor(checker.descriptor, lambda: late.extend(checker.take_done()))
    while select.select([checker.descriptor], [], [], 0.05)[0]:  # a thread may wake the loop for what was taken already
        door.on_readable()
    assert late == []


def test_runs_beside_the_loop(checker: PasswordChecker) -> None:
    check = HeldCheck(b"secret")
    checker.begin(check)
    assert check.is_asked.wait(WAIT_S)
    assert checker.take_done() == []
    check.is_open.set()
    assert wait_for(checker, 1) == [check]
    assert check.threads == {"amqpd-passwords"}


def test_threads_are_few(checker: PasswordChecker) -> None:
    for _ in range(50):
        checker.begin(Check(b"key", "ada", KEPT, b"secret"))
    assert len(checkers()) == THREADS
    assert len(wait_for(checker, 50)) == 50


def test_a_fault_lets_nobody_in(checker: PasswordChecker, caplog: pytest.LogCaptureFixture) -> None:
    broken = Check(b"key", "ada", PasswordHash("no such algorithm", "x"), b"secret")
    checker.begin(broken)
    assert wait_for(checker, 1) == [broken]
    assert not broken.is_right
    assert "the password of user 'ada' could not be looked at" in caplog.text
    checker.begin(Check(b"key", "ada", KEPT, b"secret"))
    assert [check.is_right for check in wait_for(checker, 1)] == [True]


def test_the_end_waits_for_what_runs_and_drops_the_rest() -> None:
    checker = PasswordChecker()
    held = [HeldCheck(b"secret") for _ in range(THREADS + 1)]
    for check in held:
        checker.begin(check)
    assert held[0].is_asked.wait(WAIT_S)
    closing = threading.Thread(target=checker.close)
    closing.start()
    while not checker._is_closing:
        closing.join(0.001)
    assert closing.is_alive()
    for check in held:
        check.is_open.set()
    closing.join(WAIT_S)
    assert not closing.is_alive()
    assert not held[-1].is_asked.is_set()
    assert checkers() == []
