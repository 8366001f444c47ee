from typing import Any

import pytest

from amqpd.broker.fields import Field, longstr
from amqpd.management.requests import Misused, Refused, Request
from amqpd.management.verbs.queues import COLUMNS, list_queues
from tests.management.operators import Operator


def column(operator: Operator, name: str, queue: str = "q") -> Any:
    [value] = [row[1] for row in operator.rows("list_queues", "name", name, vhost="/") if row[0] == queue]
    return value


def test_the_usual_columns(operator: Operator) -> None:
    operator.world.publish(operator.world.queue("a"), b"1", b"2")
    operator.world.queue("b", durable=False)
    assert operator.columns("list_queues", vhost="/") == ["name", "messages"]
    assert operator.rows("list_queues", vhost="/") == [["a", 2], ["b", 0]]


def test_columns_of_messages_and_consumers(operator: Operator) -> None:
    queue = operator.world.queue()
    peer = operator.peer(1)
    for _ in range(3):
        peer.publish(1, "", "q", b"12345")
    peer.send(1, "basic.get", queue="q")
    peer.turn()
    peer.send(1, "basic.qos", prefetch_count=1)
    peer.send(1, "basic.consume", queue="q", consumer_tag="c", exclusive=True)
    peer.turn()
    names = ["messages", "messages_ready", "messages_unacknowledged", "message_bytes_ready", "consumers"]
    assert operator.rows("list_queues", *names, vhost="/") == [[3, 1, 2, 5, 1]]
    assert column(operator, "exclusive_consumer_tag") == "c"
    assert queue.ready_count == 1


def test_columns_of_what_was_declared(operator: Operator) -> None:
    peer = operator.peer(1)
    peer.call(1, "queue.declare", queue="mine", exclusive=True, auto_delete=True)
    operator.world.queue(arguments={"x-queue-type": longstr("quorum"), "x-max-length": Field("I", 5)})
    names = ["type", "durable", "auto_delete", "exclusive", "owner_pid", "state"]
    assert operator.rows("list_queues", *names, vhost="/") == [
        ["classic", False, True, True, peer.connection.name, "running"],
        ["quorum", True, False, False, "", "running"],
    ]
    assert column(operator, "arguments") == {"x-queue-type": "quorum", "x-max-length": 5}


def test_columns_of_policies(operator: Operator) -> None:
    operator.world.queue()
    operator.ask("set_policy", vhost="/", name="p", pattern="q", definition='{"max-length": 9, "expires": 70000}')
    operator.ask("set_operator_policy", vhost="/", name="o", pattern="q", definition='{"max-length": 5}')
    names = ["policy", "operator_policy", "effective_policy_definition"]
    assert operator.rows("list_queues", *names, vhost="/") == [["p", "o", {"max-length": 5, "expires": 70000}]]


def test_what_ends_while_it_is_listed_is_listed_as_it_was(operator: Operator) -> None:
    peer = operator.peer(1)
    for name in ("a", "b"):
        operator.world.queue(name)
        peer.publish(1, "", name, b"1")
    peer.turn()
    listing = list_queues(operator.node, Request({"vhost": "/", "columns": list(COLUMNS)}))
    next(listing.rows)
    operator.ask("delete_queue", vhost="/", name="b")
    [row] = listing.rows
    assert dict(zip(listing.columns, row, strict=True))["name"] == "b"


def test_a_column_that_is_not_there(operator: Operator) -> None:
    with pytest.raises(Misused, match=r"^there is no column mesages; did you mean messages\?$"):
        operator.rows("list_queues", "mesages", vhost="/")


def test_a_virtual_host_that_is_not_there(operator: Operator) -> None:
    with pytest.raises(Refused, match="Virtual host 'no' does not exist"):
        operator.rows("list_queues", vhost="no")


def test_purge_leaves_what_consumers_hold(operator: Operator) -> None:
    queue = operator.world.queue()
    operator.world.publish(queue, b"1", b"2", b"3")
    held = operator.world.take(queue)
    assert operator.ask("purge_queue", vhost="/", name="q") == {"messages": 2}
    queue.requeue([held])
    assert operator.world.bodies(queue) == [b"1"]


def test_delete(operator: Operator) -> None:
    operator.world.publish(operator.world.queue(), b"1")
    assert operator.ask("delete_queue", vhost="/", name="q") == {"messages": 1}
    assert operator.rows("list_queues", vhost="/") == []
    assert operator.world.crash().vhost.queues == {}


def test_delete_of_an_exclusive_queue_cancels_its_consumer(operator: Operator) -> None:
    peer = operator.peer(1)
    peer.call(1, "queue.declare", queue="mine", exclusive=True)
    peer.call(1, "basic.consume", queue="mine", consumer_tag="c")
    operator.ask("delete_queue", vhost="/", name="mine")
    assert [said.name for said in peer.output()] == ["basic.cancel"]


def test_delete_with_a_condition(operator: Operator) -> None:
    queue = operator.world.queue()
    operator.world.publish(queue, b"1")
    with pytest.raises(Refused, match=r"^queue 'q' in virtual host '/' has 1 messages, .*: nothing was deleted$"):
        operator.ask("delete_queue", vhost="/", name="q", if_empty=True)
    peer = operator.peer(1)
    peer.call(1, "basic.qos", prefetch_count=1)
    peer.send(1, "basic.consume", queue="q")
    peer.turn()
    with pytest.raises(Refused, match=r"^queue 'q' in virtual host '/' has 1 consumers, .*: nothing was deleted$"):
        operator.ask("delete_queue", vhost="/", name="q", if_unused=True)
    peer.hang_up()
    operator.ask("purge_queue", vhost="/", name="q")
    operator.ask("delete_queue", vhost="/", name="q", if_unused=True, if_empty=True)


@pytest.mark.parametrize("verb", ["purge_queue", "delete_queue"])
def test_a_queue_that_is_not_there(operator: Operator, verb: str) -> None:
    with pytest.raises(Refused, match=r"^queue 'no' does not exist in virtual host '/'$"):
        operator.ask(verb, vhost="/", name="no")
