import pytest

from amqpd.broker import passwords
from amqpd.management.requests import Refused
from tests.management.operators import Operator


def test_add_list_and_authenticate(operator: Operator) -> None:
    for name in ("alice", "bob"):
        operator.ask("add_user", name=name, password="secret")
    assert operator.rows("list_users") == [["alice", []], ["bob", []], ["guest", ["administrator"]]]
    users = operator.world.crash().broker.users
    alice, bob = users.get("alice").password, users.get("bob").password
    assert alice.algorithm == bob.algorithm == passwords.SCRYPT
    assert alice.text != bob.text
    operator.ask("authenticate_user", name="alice", password="secret")
    for password in ("wrong", ""):
        with pytest.raises(Refused, match=r"^user 'alice' exists, but has another password"):
            operator.ask("authenticate_user", name="alice", password=password)


def test_one_that_is_there(operator: Operator) -> None:
    with pytest.raises(Refused, match=r"^User 'guest' already exists: amqpd ctl change_password"):
        operator.ask("add_user", name="guest", password="x")


def test_one_that_cannot_be(operator: Operator) -> None:
    with pytest.raises(Refused, match=r"^User '' cannot be added: "):
        operator.ask("add_user", name="", password="x")


def test_change_and_clear_a_password(operator: Operator) -> None:
    operator.ask("change_password", name="guest", password="new")
    operator.ask("authenticate_user", name="guest", password="new")
    assert operator.rows("list_users") == [["guest", ["administrator"]]]
    operator.ask("clear_password", name="guest")
    for password in ("new", ""):
        with pytest.raises(Refused, match="another password"):
            operator.ask("authenticate_user", name="guest", password=password)


def test_tags(operator: Operator) -> None:
    operator.ask("set_user_tags", name="guest", tags=["monitoring", "management"])
    assert operator.rows("list_users") == [["guest", ["monitoring", "management"]]]
    operator.ask("set_user_tags", name="guest", tags=[])
    assert operator.rows("list_users") == [["guest", []]]
    with pytest.raises(Refused, match=r"^the tags of user 'guest' cannot be set: "):
        operator.ask("set_user_tags", name="guest", tags=["a,b"])


def test_delete(operator: Operator) -> None:
    operator.ask("delete_user", name="guest")
    assert operator.rows("list_users") == []
    assert operator.rows("list_permissions", vhost="/") == []


@pytest.mark.parametrize(
    "verb", ["change_password", "clear_password", "authenticate_user", "set_user_tags", "delete_user"]
)
def test_one_that_is_not_there(operator: Operator, verb: str) -> None:
    with pytest.raises(Refused, match=r"^User 'no' does not exist: amqpd ctl list_users shows those that do$"):
        operator.ask(verb, name="no", password="x")
