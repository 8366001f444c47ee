import pytest

from amqpd.management.requests import Misused, Refused
from tests.management.operators import Operator

CAP = '{"max-length": 2}'


def test_a_policy_applies_at_once_and_is_gone_at_once(operator: Operator) -> None:
    queue = operator.world.queue()
    operator.world.publish(queue, b"1", b"2", b"3")
    operator.ask("set_policy", vhost="/", name="cap", pattern="^q", definition=CAP, apply_to="queues")
    assert queue.ready_count == 2
    operator.ask("clear_policy", vhost="/", name="cap")
    operator.world.publish(queue, b"4", b"5")
    operator.world.turn()
    assert queue.ready_count == 4


def test_an_operator_policy_bounds_a_policy(operator: Operator) -> None:
    queue = operator.world.queue()
    operator.ask("set_policy", vhost="/", name="p", pattern="", definition='{"max-length": 9}')
    operator.ask("set_operator_policy", vhost="/", name="o", pattern="", definition=CAP)
    assert queue.settings.max_length == 2
    operator.ask("clear_operator_policy", vhost="/", name="o")
    assert queue.settings.max_length == 9


def test_both_kinds_are_listed_with_their_columns(operator: Operator) -> None:
    operator.ask("set_policy", vhost="/", name="p", pattern="^q", definition=CAP, priority=-1, apply_to="queues")
    operator.ask("set_operator_policy", vhost="/", name="o", pattern=".*", definition=CAP)
    assert operator.columns("list_policies", vhost="/") == [
        "vhost",
        "name",
        "pattern",
        "apply-to",
        "definition",
        "priority",
    ]
    assert operator.rows("list_policies", vhost="/") == [["/", "p", "^q", "queues", {"max-length": 2}, -1]]
    assert operator.rows("list_operator_policies", vhost="/") == [["/", "o", ".*", "all", {"max-length": 2}, 0]]


def test_what_is_no_policy(operator: Operator) -> None:
    with pytest.raises(Refused, match=r"^policy 'p' cannot be set: -1 is not a valid maximum length$"):
        operator.ask("set_policy", vhost="/", name="p", pattern="", definition='{"max-length": -1}')
    with pytest.raises(Refused, match=r"^operator policy 'p' cannot be set: .* are not recognised policy settings$"):
        operator.ask("set_operator_policy", vhost="/", name="p", pattern="", definition='{"queue-mode": "lazy"}')
    with pytest.raises(Misused, match=r"^definition is not JSON: "):
        operator.ask("set_policy", vhost="/", name="p", pattern="", definition="{")
    with pytest.raises(Misused, match=r"^definition must be an object of JSON"):
        operator.ask("set_policy", vhost="/", name="p", pattern="", definition="[1]")
    assert operator.rows("list_policies", vhost="/") == []


def test_one_that_is_not_there(operator: Operator) -> None:
    with pytest.raises(Refused, match=r"^policy 'no' does not exist in virtual host '/'$"):
        operator.ask("clear_policy", vhost="/", name="no")
    with pytest.raises(Refused, match="Virtual host 'no' does not exist"):
        operator.ask("set_policy", vhost="no", name="p", pattern="", definition=CAP)
