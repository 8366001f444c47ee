"""Direct reply-to inside; what clients see of it is in tests/conformance/test_reply_to.py."""

from amqpd import limits
from tests.support.raw_peer import decode_properties, properties
from tests.support.wire import Server

PSEUDO = "amq.rabbitmq.reply-to"


def test_a_name_lives_as_long_as_its_consumer() -> None:
    server = Server()
    peer = server.peer(1)
    askers = server.broker.vhosts["/"].askers
    peer.call(1, "basic.consume", queue=PSEUDO, consumer_tag="t", no_ack=True)
    assert len(askers) == 1
    peer.call(1, "basic.cancel", consumer_tag="t")
    assert askers == {}
    peer.call(1, "basic.consume", queue=PSEUDO, no_ack=True)
    peer.hang_up()
    assert askers == {}


def test_who_does_not_read_loses_answers_and_nothing_grows() -> None:
    server = Server()
    asking, other = server.peer(1), server.peer(1)
    asking.call(1, "basic.consume", queue=PSEUDO, no_ack=True)
    other.call(1, "queue.declare", queue="q")
    asking.publish(1, "", "q", b"question", properties(reply_to=PSEUDO))
    asking.turn()
    other.send(1, "basic.get", queue="q", no_ack=True)
    other.turn()
    (question,) = other.output()
    name = decode_properties(question.properties)["reply_to"]
    asking.connection.outbox.size += limits.OUTBOX_STOP_BYTES
    other.publish(1, "", name, b"lost")
    other.turn()
    asking.connection.outbox.size -= limits.OUTBOX_STOP_BYTES
    other.publish(1, "", name, b"answer")
    other.turn()
    assert [said.body for said in asking.output()] == [b"answer"]
