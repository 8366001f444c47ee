import pytest

from amqpd.broker.fields import longstr
from amqpd.management.requests import Refused
from tests.management.operators import Operator
from tests.support.raw_peer import properties


@pytest.fixture
def delaying(operator: Operator) -> Operator:
    operator.world.vhost.declare_exchange(
        "later",
        "x-delayed-message",
        durable=True,
        auto_delete=False,
        internal=False,
        arguments={"x-delayed-type": longstr("direct")},
    )
    peer = operator.peer(1)
    for key, delay_ms in (("b", 60_000), ("a", 30_000)):
        peer.publish(1, "later", key, b"12345", properties(headers={"x-delay": delay_ms}))
    peer.turn()
    return operator


def test_those_that_are_due_first_come_first(delaying: Operator) -> None:
    rows = delaying.rows("list_delayed", "routing_key", "body_bytes", "persistent", vhost="/", exchange="later")
    assert rows == [["a", 5, False], ["b", 5, False]]
    assert len(delaying.rows("list_delayed", vhost="/", exchange="later", limit=1)) == 1


def test_cancel(delaying: Operator) -> None:
    [[first], _] = delaying.rows("list_delayed", "id", vhost="/", exchange="later")
    delaying.ask("cancel_delayed", vhost="/", exchange="later", id=first)
    assert delaying.rows("list_delayed", "routing_key", vhost="/", exchange="later") == [["b"]]
    with pytest.raises(Refused, match=rf"^no message {first} waits at exchange 'later'"):
        delaying.ask("cancel_delayed", vhost="/", exchange="later", id=first)


def test_where_no_message_waits(operator: Operator) -> None:
    with pytest.raises(Refused, match=r"^exchange 'no' does not exist in virtual host '/'$"):
        operator.rows("list_delayed", vhost="/", exchange="no")
    with pytest.raises(Refused, match=r"^exchange 'amq.topic' is of type topic"):
        operator.rows("list_delayed", vhost="/", exchange="amq.topic")
