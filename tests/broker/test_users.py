"""Accounts, and that they are there after a restart. Logging in: test_logins.py."""

from dataclasses import replace

import pytest

from amqpd.broker import passwords, records
from amqpd.broker.journal import Journal
from amqpd.broker.passwords import NO_PASSWORD
from amqpd.broker.ports import ENTITIES
from amqpd.broker.users import GUEST, InvalidUser, NoSuchUser, User, Users
from amqpd.store.memory import MemoryStore

ADA = User("ada", passwords.hash_like_rabbitmq(b"secret", b"salt"), ("management", "impersonator"))


@pytest.fixture
def users() -> Users:
    return Users(Journal(MemoryStore()))


def restarted(users: Users) -> Users:
    """What the next start of the broker reads."""
    users.journal.seal()
    store = users.journal.store
    again = Users(Journal(store))
    for key, value in store.scan(ENTITIES, b""):
        again.restore(records.decode(key, value))
    return again


def test_first_there_is_guest(users: Users) -> None:
    assert users.all() == [GUEST]
    assert GUEST.tags == ("administrator",)
    assert passwords.is_right(GUEST.password, b"guest")
    assert users.journal.is_idle()
    assert restarted(users).all() == [GUEST]


def test_users_are_there_after_a_restart(users: Users) -> None:
    assert users.set(ADA) == users.journal.ticket
    users.set(User("böb", NO_PASSWORD))
    assert restarted(users).all() == [ADA, User("böb", NO_PASSWORD), GUEST]


def test_change(users: Users) -> None:
    users.set(ADA)
    users.set(replace(ADA, tags=("x",)))
    users.set(replace(GUEST, password=NO_PASSWORD))
    for known in (users, restarted(users)):
        assert known.get("ada").tags == ("x",)
        assert known.get("ada").password == ADA.password
        assert known.get("guest").password == NO_PASSWORD


def test_deleted_users_do_not_return(users: Users) -> None:
    users.set(ADA)
    users.delete("ada")
    assert users.delete("guest") == users.journal.ticket
    for known in (users, restarted(users)):
        assert known.all() == []
        assert known.find("guest") is None


@pytest.mark.parametrize("name", ["bob", "", "Guest"])
def test_unknown(users: Users, name: str) -> None:
    assert users.find(name) is None
    with pytest.raises(NoSuchUser, match=f"user '{name}' does not exist"):
        users.get(name)
    with pytest.raises(NoSuchUser):
        users.delete(name)
    assert users.journal.is_idle()


@pytest.mark.parametrize("name", ["ada", "ädä", "a b", ".*", "(a+)+$", "x" * 255, "é" * 127])
def test_names(name: str) -> None:
    assert User(name, NO_PASSWORD).name == name


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "cannot be empty"),
        ("x" * 256, "user name of 256 bytes is longer than 255"),
        ("é" * 128, "user name of 256 bytes"),
        ("a\nb", "cannot be seen"),
        ("\0", "cannot be seen"),
        ("\udcff", "no Unicode text"),
    ],
)
def test_bad_names(name: str, why: str) -> None:
    with pytest.raises(InvalidUser, match=why):
        User(name, NO_PASSWORD)


@pytest.mark.parametrize("tag", ["", " a", "a ", "a,b", "a\n", "\udcff", "x" * 256])
def test_bad_tags(tag: str) -> None:
    with pytest.raises(InvalidUser, match="tag"):
        User("ada", NO_PASSWORD, ("management", tag))


def test_too_many_tags() -> None:
    User("ada", NO_PASSWORD, tuple(map(str, range(64))))
    with pytest.raises(InvalidUser, match="65 tags are more than 64"):
        User("ada", NO_PASSWORD, tuple(map(str, range(65))))
