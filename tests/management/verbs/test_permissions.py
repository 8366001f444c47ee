import pytest

from amqpd.management.requests import Refused
from tests.management.operators import Operator


@pytest.fixture
def alice(operator: Operator) -> Operator:
    operator.ask("add_user", name="alice", password="")
    return operator


def test_set_list_and_clear(alice: Operator) -> None:
    alice.ask("set_permissions", user="alice", vhost="/", configure="^a", write=".*", read="")
    assert alice.rows("list_permissions", vhost="/") == [["alice", "^a", ".*", ""], ["guest", ".*", ".*", ".*"]]
    assert alice.rows("list_user_permissions", user="alice") == [["/", "^a", ".*", ""]]
    alice.ask("clear_permissions", user="alice", vhost="/")
    alice.ask("clear_permissions", user="alice", vhost="/")
    assert alice.rows("list_user_permissions", user="alice") == []


def test_topic_permissions(alice: Operator) -> None:
    for exchange in ("amq.topic", "x"):
        alice.ask("set_topic_permissions", user="alice", vhost="/", exchange=exchange, write="^{username}", read="")
    assert alice.rows("list_topic_permissions", vhost="/")[0] == ["alice", "amq.topic", "^{username}", ""]
    assert alice.rows("list_user_topic_permissions", user="alice")[1] == ["/", "x", "^{username}", ""]
    alice.ask("clear_topic_permissions", user="alice", vhost="/", exchange="x")
    assert len(alice.rows("list_topic_permissions", vhost="/")) == 1
    alice.ask("clear_topic_permissions", user="alice", vhost="/")
    assert alice.rows("list_topic_permissions", vhost="/") == []


def test_patterns_that_are_none(alice: Operator) -> None:
    with pytest.raises(Refused, match=r"^permissions of user 'alice' in vhost '/' cannot be set: "):
        alice.ask("set_permissions", user="alice", vhost="/", configure="(", write="", read="")
    with pytest.raises(Refused, match=r"^topic permissions of user 'alice' in vhost '/' cannot be set: "):
        alice.ask("set_topic_permissions", user="alice", vhost="/", exchange="x", write="(", read="")


def test_who_or_what_is_not_there(alice: Operator) -> None:
    with pytest.raises(Refused, match="User 'no' does not exist"):
        alice.ask("set_permissions", user="no", vhost="/", configure="", write="", read="")
    with pytest.raises(Refused, match="Virtual host 'no' does not exist"):
        alice.ask("set_permissions", user="alice", vhost="no", configure="", write="", read="")
    with pytest.raises(Refused, match="User 'no' does not exist"):
        alice.rows("list_user_permissions", user="no")
