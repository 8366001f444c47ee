"""Whether somebody is who he says, and what that costs: counted in looks at slow hashes, not in time."""

from dataclasses import replace

import pytest

from amqpd import limits
from amqpd.broker import logins, passwords
from amqpd.broker.journal import Journal
from amqpd.broker.logins import Check, Checker, CheckerAtOnce, Logins
from amqpd.broker.passwords import NO_PASSWORD
from amqpd.broker.users import GUEST, User, Users
from amqpd.store.memory import MemoryStore
from tests.support.passwords import quick_hash
from tests.support.wire import CountingIds

ADA = User("ada", quick_hash(b"secret"))
BOB = User("bob", passwords.hash_like_rabbitmq(b"secret", b"salt"))
CARL = User("carl", NO_PASSWORD)


class CheckerLater(Checker):
    """Runs what is waiting when the test says so, and counts."""

    def __init__(self) -> None:
        self.waiting: list[Check] = []
        self.done: list[Check] = []
        self.slow_count = 0

    def begin(self, check: Check) -> None:
        self.waiting.append(check)

    def run(self) -> None:
        for check in self.waiting:
            assert check.kept.is_slow
            check.run()
        self.slow_count += len(self.waiting)
        self.done += self.waiting
        self.waiting = []

    def take_done(self) -> list[Check]:
        done = self.done
        self.done = []
        return done


class World:
    def __init__(self) -> None:
        self.users = Users(Journal(MemoryStore()))
        for user in (ADA, BOB, CARL):
            self.users.set(user)
        self.logins = Logins(self.users, CountingIds())
        self.checker = CheckerLater()
        self.logins.checker = self.checker
        self.answers: list[User | None] = []

    def ask(self, name: str, password: bytes) -> None:
        self.logins.authenticate(name, password, self.answers.append)

    def finish(self) -> list[User | None]:
        """All answers, once everything has run."""
        self.checker.run()
        self.logins.collect()
        answers = self.answers
        self.answers = []
        return answers


@pytest.fixture
def world() -> World:
    return World()


def test_right_password_is_looked_at_once(world: World) -> None:
    world.ask("ada", b"secret")
    assert world.answers == []
    assert world.finish() == [ADA]
    world.ask("ada", b"secret")
    assert world.answers == [ADA]
    assert world.checker.slow_count == 1


@pytest.mark.parametrize("user", [GUEST, BOB])
def test_fast_hash_is_answered_at_once(world: World, user: User) -> None:
    world.ask(user.name, b"guest" if user is GUEST else b"secret")
    assert world.answers == [user]


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("ada", b"Secret"),
        ("ada", b""),
        ("bob", b"Secret"),
        ("bob", b"\xff"),
        ("carl", b""),
        ("carl", b"secret"),
        ("nobody", b"secret"),
        ("nobody", b""),
        ("", b""),
        ("guest", b"Guest"),
        ("\udcff", b"secret"),
    ],
)
def test_every_refusal_costs_the_same(world: World, name: str, password: bytes) -> None:
    for count in (1, 2):
        world.ask(name, password)
        assert world.answers == []
        assert world.finish() == [None]
        assert world.checker.slow_count == count


def test_what_is_looked_at_for_strangers_takes_what_a_password_takes() -> None:
    made_here = passwords.hash_password(b"secret", b"salt")
    assert logins._NOBODY.text.split("$")[:3] == made_here.text.split("$")[:3]
    passwords.read_hash(logins._NOBODY.algorithm, logins._NOBODY.text)


def test_many_who_ask_the_same_wait_for_one_look(world: World) -> None:
    for _ in range(100):
        world.ask("ada", b"secret")
    assert world.finish() == [ADA] * 100
    assert world.checker.slow_count == 1


def test_who_asks_something_else_waits_for_his_own(world: World) -> None:
    for password in (b"secret", b"Secret", b"secret", b"Secret"):
        world.ask("ada", password)
    world.ask("nobody", b"secret")
    assert world.finish() == [ADA, ADA, None, None, None]
    assert world.checker.slow_count == 3


def test_changed_password_is_not_remembered(world: World) -> None:
    world.ask("ada", b"secret")
    world.finish()
    world.users.set(replace(ADA, password=quick_hash(b"other")))
    world.ask("ada", b"secret")
    assert world.finish() == [None]
    world.ask("ada", b"other")
    assert world.finish() == [world.users.get("ada")]


def test_deleted_user_is_not_remembered(world: World) -> None:
    world.ask("ada", b"secret")
    world.finish()
    world.users.delete("ada")
    world.ask("ada", b"secret")
    assert world.finish() == [None]


def test_who_is_deleted_while_his_password_is_looked_at_is_refused(world: World) -> None:
    world.ask("ada", b"secret")
    world.users.delete("ada")
    assert world.finish() == [None]


def test_who_is_changed_while_his_password_is_looked_at_is_refused(world: World) -> None:
    world.ask("ada", b"secret")
    world.users.set(replace(ADA, password=quick_hash(b"other")))
    assert world.finish() == [None]


def test_tags_that_change_meanwhile_are_the_new_ones(world: World) -> None:
    world.ask("ada", b"secret")
    changed = replace(ADA, tags=("management",))
    world.users.set(changed)
    assert world.finish() == [changed]


def test_what_is_remembered_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PASSWORDS_REMEMBERED_MAX", 1)
    world.users.set(replace(ADA, name="dora"))
    for name in ("ada", "dora", "ada"):
        world.ask(name, b"secret")
        assert world.finish() == [world.users.get(name)]
        assert len(world.logins._remembered) == 1
    assert world.checker.slow_count == 3


def test_names_and_passwords_do_not_run_into_one_another(world: World) -> None:
    world.users.set(replace(ADA, name="adas"))
    world.ask("ada", b"secret")
    world.ask("adas", b"ecret")
    assert world.finish() == [ADA, None]


def test_at_once() -> None:
    world = World()
    world.logins.checker = CheckerAtOnce()
    world.ask("ada", b"secret")
    world.ask("ada", b"Secret")
    assert world.answers == [ADA, None]
