import pytest

from amqpd.broker.users import User, Users, guest

ADA = User("ada", "pässword", loopback_only=False)


@pytest.fixture
def users() -> Users:
    made = Users()
    made.add(guest())
    made.add(ADA)
    return made


def test_right_password(users: Users) -> None:
    assert users.authenticate("ada", "pässword".encode(), is_loopback=False) is ADA
    assert users.authenticate("ada", "pässword".encode(), is_loopback=True) is ADA


@pytest.mark.parametrize(
    ("name", "password"),
    [("ada", b""), ("ada", b"password"), ("ada", "pässword".encode("latin-1")), ("ada", b"\xff"), ("guest", b"Guest")],
)
def test_wrong_password(users: Users, name: str, password: bytes) -> None:
    assert users.authenticate(name, password, is_loopback=True) is None


@pytest.mark.parametrize("password", [b"", b"guest"])
def test_unknown_user(users: Users, password: bytes) -> None:
    for name in ("bob", "", "Guest"):
        assert users.authenticate(name, password, is_loopback=True) is None


def test_guest_comes_from_loopback_only(users: Users) -> None:
    user = users.authenticate("guest", b"guest", is_loopback=True)
    assert user == guest()
    assert users.authenticate("guest", b"guest", is_loopback=False) is None


def test_guest_is_an_administrator() -> None:
    assert guest().tags == ("administrator",)


def test_added_again_is_replaced(users: Users) -> None:
    users.add(User("ada", "new", loopback_only=False))
    assert users.authenticate("ada", "pässword".encode(), is_loopback=True) is None
    assert users.authenticate("ada", b"new", is_loopback=True) is not None
