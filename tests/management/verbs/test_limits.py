import pytest

from amqpd.management.requests import Misused, Refused
from tests.management.operators import Operator


def test_limits_of_virtual_hosts(operator: Operator) -> None:
    operator.ask("set_vhost_limits", vhost="/", definition='{"max-queues": 5}')
    operator.ask("set_vhost_limits", vhost="/", definition='{"max-connections": 7}')
    assert operator.rows("list_vhost_limits", vhost="/") == [[{"max-connections": 7}]]
    assert operator.rows("list_vhost_limits", everywhere=True) == [["/", {"max-connections": 7}]]
    operator.ask("clear_vhost_limits", vhost="/")
    assert operator.rows("list_vhost_limits", vhost="/") == [[{}]]


def test_limits_of_users_add_up(operator: Operator) -> None:
    operator.ask("set_user_limits", user="guest", definition='{"max-connections": 5}')
    operator.ask("set_user_limits", user="guest", definition='{"max-channels": 7}')
    assert operator.rows("list_user_limits", user="guest") == [[{"max-connections": 5, "max-channels": 7}]]
    assert operator.columns("list_user_limits", everywhere=True) == ["user", "limits"]
    operator.ask("clear_user_limits", user="guest", limit="max-channels")
    assert operator.rows("list_user_limits", everywhere=True) == [["guest", {"max-connections": 5}]]
    operator.ask("clear_user_limits", user="guest", limit="all")
    assert operator.rows("list_user_limits", everywhere=True) == []


def test_what_is_no_limit(operator: Operator) -> None:
    with pytest.raises(Refused, match=r"^limits of '/' cannot be set: max-foo is no limit"):
        operator.ask("set_vhost_limits", vhost="/", definition='{"max-foo": 1}')
    with pytest.raises(Refused, match=r"^limits of 'guest' cannot be set: max-channels should be a number"):
        operator.ask("set_user_limits", user="guest", definition='{"max-channels": "1"}')
    with pytest.raises(Misused, match=r"^definition is not JSON"):
        operator.ask("set_vhost_limits", vhost="/", definition="x")
    with pytest.raises(Misused, match=r"^max-foo is no limit of a user: max-connections, max-channels are, and all$"):
        operator.ask("clear_user_limits", user="guest", limit="max-foo")
