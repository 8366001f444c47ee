"""Direct reply-to (RabbitMQ's): answers go to the channel that asked, through no queue."""

import re
from typing import Any, Final

import pytest

from tests.conformance.conftest import Connect, Name
from tests.support.brokers import Broker
from tests.support.raw_peer import RawPeer, decode_properties, properties

PSEUDO: Final = "amq.rabbitmq.reply-to"
NO_CONSUMER: Final = "PRECONDITION_FAILED - fast reply consumer does not exist"


def missing(queue: str) -> str:
    return f"NOT_FOUND - no queue '{queue}' in vhost '/'"


def await_replies(peer: RawPeer, tag: str = "replies", channel: int = 1) -> None:
    peer.send(channel, "basic.consume", queue=PSEUDO, consumer_tag=tag, no_ack=True)
    peer.expect(channel, "basic.consume-ok", consumer_tag=tag)


@pytest.fixture
def requests(server: RawPeer) -> str:
    """A queue that the server asks for requests."""
    queue: str = server.call(1, "queue.declare", exclusive=True)["queue"]
    return queue


@pytest.fixture
def server(connect: Connect) -> RawPeer:
    return connect()


def ask(peer: RawPeer, server: RawPeer, requests: str, channel: int = 1) -> str:
    """Where the server is to answer; the requester's consumer is there."""
    peer.publish(channel, "", requests, b"question", properties(reply_to=PSEUDO))
    peer.call(channel, "basic.qos")
    server.call(1, "basic.consume", queue=requests, consumer_tag="once", no_ack=True)
    asked = server.expect_deliver(1, b"question")
    server.call(1, "basic.cancel", consumer_tag="once")
    answer_to: str = decode_properties(asked.properties)["reply_to"]
    return answer_to


def test_ask_and_answer(peer: RawPeer, server: RawPeer, requests: str) -> None:
    await_replies(peer)
    answer_to = ask(peer, server, requests)
    sent = properties(correlation_id="c", headers={"a": [1, None]}, delivery_mode=2, expiration="0")
    server.publish(1, "", answer_to, b"answer", sent)
    got = peer.expect_deliver(1, b"answer", consumer_tag="replies", redelivered=False, exchange="",
                              routing_key=answer_to)  # fmt: skip
    assert got.properties == sent


def test_reply_to_is_rewritten_and_nothing_else(peer: RawPeer, requests: str, server: RawPeer) -> None:
    await_replies(peer)
    sent: dict[str, Any] = {"content_type": "t", "headers": {"a": 1}, "correlation_id": "c", "message_id": "m"}
    peer.publish(1, "", requests, b"question", properties(**sent, reply_to=PSEUDO))
    peer.call(1, "basic.qos")
    server.call(1, "basic.consume", queue=requests, no_ack=True)
    got = decode_properties(server.expect_deliver(1, b"question").properties)
    assert re.fullmatch(re.escape(PSEUDO) + r"\.[\w+/=.-]{16,200}", got.pop("reply_to"))
    assert got == sent


@pytest.mark.parametrize("reply_to", ["", "elsewhere", PSEUDO + ".abc", PSEUDO + "x", PSEUDO.upper()])
def test_other_names_are_left_alone(peer: RawPeer, reply_to: str) -> None:
    queue = peer.call(1, "queue.declare", exclusive=True)["queue"]
    sent = properties(reply_to=reply_to)
    peer.publish(1, "", queue, b"m", sent)
    await_replies(peer)
    peer.publish(1, "", queue, b"m", sent)
    for _ in range(2):
        assert peer.get(1, queue, b"m").properties == sent


def test_the_name_stays_the_same_for_a_consumer(peer: RawPeer, server: RawPeer, requests: str) -> None:
    await_replies(peer)
    assert ask(peer, server, requests) == ask(peer, server, requests)


def test_a_consumer_that_acks_is_refused(peer: RawPeer) -> None:
    text = "PRECONDITION_FAILED - reply consumer cannot acknowledge"
    peer.refused(1, 406, text, "basic.consume", queue=PSEUDO)
    await_replies(peer)
    peer.refused(1, 406, text, "basic.consume", queue=PSEUDO)


@pytest.mark.parametrize("tag", ["replies", "other", ""])
def test_a_second_consumer_of_the_channel_is_refused(peer: RawPeer, tag: str) -> None:
    await_replies(peer)
    text = "PRECONDITION_FAILED - reply consumer already set"
    peer.refused(1, 406, text, "basic.consume", queue=PSEUDO, consumer_tag=tag, no_ack=True)


def test_the_server_names_the_consumer(peer: RawPeer) -> None:
    tag = peer.call(1, "basic.consume", queue=PSEUDO, no_ack=True)["consumer_tag"]
    assert re.fullmatch(r"amq\.ctag-[A-Za-z0-9_-]{22}", tag)


def test_a_tag_of_another_consumer(peer: RawPeer) -> None:
    queue = peer.call(1, "queue.declare", exclusive=True)["queue"]
    peer.call(1, "basic.consume", queue=queue, consumer_tag="t")
    text = "NOT_ALLOWED - attempt to reuse consumer tag 't'"
    peer.fatal(1, 530, text, "basic.consume", queue=PSEUDO, consumer_tag="t", no_ack=True)


@pytest.mark.parametrize("args", [{"exclusive": True}, {"arguments": {"x-priority": "no number"}}, {"no_local": True}])
def test_other_wishes_of_the_consumer_are_not_looked_at(peer: RawPeer, args: dict[str, Any]) -> None:
    peer.call(1, "basic.consume", queue=PSEUDO, no_ack=True, **args)


@pytest.mark.parametrize("exchange", ["", "amq.direct"])
def test_asking_without_a_consumer_is_refused(peer: RawPeer, exchange: str) -> None:
    peer.publish(1, exchange, "nowhere", b"m", properties(reply_to=PSEUDO))
    peer.expect_channel_close(1, 406, NO_CONSUMER, "basic.publish")


def test_asking_through_a_missing_exchange(peer: RawPeer) -> None:
    peer.publish(1, "nope", "", b"m", properties(reply_to=PSEUDO))
    peer.expect_channel_close(1, 404, "NOT_FOUND - no exchange 'nope' in vhost '/'", "basic.publish")


def test_a_consumer_of_another_channel_does_not_help(peer: RawPeer) -> None:
    await_replies(peer)
    peer.open_channel(2)
    peer.publish(2, "", "nowhere", b"m", properties(reply_to=PSEUDO))
    peer.expect_channel_close(2, 406, NO_CONSUMER, "basic.publish")


def test_a_cancelled_consumer_does_not_help(peer: RawPeer) -> None:
    await_replies(peer)
    peer.call(1, "basic.cancel", consumer_tag="replies")
    peer.publish(1, "", "nowhere", b"m", properties(reply_to=PSEUDO))
    peer.expect_channel_close(1, 406, NO_CONSUMER, "basic.publish")


def test_channels_have_names_of_their_own(peer: RawPeer, server: RawPeer, requests: str) -> None:
    peer.open_channel(2)
    await_replies(peer, "one", 1)
    await_replies(peer, "two", 2)
    first, second = ask(peer, server, requests, 1), ask(peer, server, requests, 2)
    assert first != second
    server.publish(1, "", second, b"to two")
    server.publish(1, "", first, b"to one")
    peer.expect_deliver(1, b"to one", consumer_tag="one")
    peer.expect_deliver(2, b"to two", consumer_tag="two")


def test_answering_on_the_channel_that_asked(peer: RawPeer) -> None:
    queue = peer.call(1, "queue.declare", exclusive=True)["queue"]
    await_replies(peer)
    peer.publish(1, "", queue, b"question", properties(reply_to=PSEUDO))
    answer_to = decode_properties(peer.get(1, queue, b"question").properties)["reply_to"]
    peer.publish(1, "", answer_to, b"answer")
    peer.expect_deliver(1, b"answer", consumer_tag="replies")


def test_an_answer_uses_no_delivery_tag_up(peer: RawPeer, server: RawPeer, requests: str) -> None:
    """Nobody can ack it: it shows the tag that comes next."""
    queue = peer.call(1, "queue.declare", exclusive=True)["queue"]
    await_replies(peer)
    answer_to = ask(peer, server, requests)
    for tag in (1, 2):
        for _ in range(2):
            server.publish(1, "", answer_to, b"answer")
            peer.expect_deliver(1, b"answer", delivery_tag=tag)
        peer.publish(1, "", queue, b"m")
        peer.get(1, queue, b"m", delivery_tag=tag)
    peer.refused(1, 406, "PRECONDITION_FAILED - unknown delivery tag 3", "basic.ack", delivery_tag=3)


def test_answers_know_no_prefetch(peer: RawPeer, server: RawPeer, requests: str) -> None:
    peer.call(1, "basic.qos", prefetch_count=1, global_=True)
    peer.call(1, "basic.qos", prefetch_count=1)
    await_replies(peer)
    peer.publish(1, "", requests, b"question", properties(reply_to=PSEUDO))
    server.call(1, "basic.consume", queue=requests, no_ack=True)
    answer_to = decode_properties(server.expect_deliver(1, b"question").properties)["reply_to"]
    server.publish(1, "", answer_to, b"1")
    server.publish(1, "", answer_to, b"2")
    peer.expect_delivers(1, [b"1", b"2"])


def test_an_answer_comes_in_frames_that_the_requester_takes(connect: Connect, server: RawPeer, requests: str) -> None:
    peer = connect(frame_max=4096)
    await_replies(peer)
    server.publish(1, "", ask(peer, server, requests), bytes(100_000))
    assert max(peer.expect_deliver(1, bytes(100_000)).frame_sizes) == 4088


def test_an_answer_may_ask_back(peer: RawPeer, server: RawPeer, requests: str) -> None:
    await_replies(peer)
    await_replies(server, "back")
    server.publish(1, "", ask(peer, server, requests), b"and you?", properties(reply_to=PSEUDO))
    back = decode_properties(peer.expect_deliver(1, b"and you?").properties)["reply_to"]
    peer.publish(1, "", back, b"fine")
    server.expect_deliver(1, b"fine", consumer_tag="back")


def test_an_answer_in_a_transaction_comes_once(peer: RawPeer, server: RawPeer, requests: str) -> None:
    """At the commit; RabbitMQ sends it ahead of that."""
    await_replies(peer)
    answer_to = ask(peer, server, requests)
    server.call(1, "tx.select")
    server.publish(1, "", answer_to, b"answer")
    server.call(1, "tx.commit")
    peer.expect_deliver(1, b"answer")
    peer.expect_nothing()


def test_an_answer_is_confirmed(peer: RawPeer, server: RawPeer, requests: str) -> None:
    await_replies(peer)
    answer_to = ask(peer, server, requests)
    server.call(1, "confirm.select")
    server.publish(1, "", answer_to, b"answer")
    server.expect(1, "basic.ack", delivery_tag=1)
    peer.expect_deliver(1, b"answer")
    server.publish(1, "", answer_to + "gone", b"answer")
    server.expect(1, "basic.ack", delivery_tag=2)


def test_a_mandatory_answer_comes_and_is_returned_too(peer: RawPeer, server: RawPeer, requests: str) -> None:
    """It is in no queue, and `mandatory` is about queues."""
    await_replies(peer)
    answer_to = ask(peer, server, requests)
    server.publish(1, "", answer_to, b"answer", mandatory=True)
    peer.expect_deliver(1, b"answer")
    server.expect_content(1, "basic.return", b"answer", reply_code=312, reply_text="NO_ROUTE", exchange="",
                          routing_key=answer_to)  # fmt: skip


@pytest.mark.parametrize("key", [PSEUDO, PSEUDO + ".", PSEUDO + ".nobody", PSEUDO + ".no.body"])
def test_an_answer_to_nobody(peer: RawPeer, broker: Broker, key: str) -> None:
    if broker.kind == "rabbitmq" and key.count(".") == 4:
        pytest.skip("RabbitMQ 3.10 cannot decode such a name: 541 INTERNAL_ERROR")
    await_replies(peer)
    peer.publish(1, "", key, b"lost")
    peer.publish(1, "", key, b"m", mandatory=True)
    peer.expect_content(1, "basic.return", b"m", reply_code=312, reply_text="NO_ROUTE", routing_key=key)
    peer.expect_nothing()


@pytest.mark.parametrize("change", [lambda key: key + "x", lambda key: key[:-3] + "abc"])
def test_an_answer_to_a_name_that_was_never_given(peer: RawPeer, server: RawPeer, requests: str, change: Any) -> None:
    await_replies(peer)
    answer_to = ask(peer, server, requests)
    server.publish(1, "", change(answer_to), b"m")
    server.publish(1, "", answer_to, b"answer")
    peer.expect_deliver(1, b"answer")


def test_an_answer_goes_through_the_default_exchange_only(peer: RawPeer, server: RawPeer, requests: str) -> None:
    await_replies(peer)
    answer_to = ask(peer, server, requests)
    server.publish(1, "amq.direct", answer_to, b"lost", mandatory=True)
    server.expect_content(1, "basic.return", b"lost", exchange="amq.direct")
    peer.expect_nothing()


def gone(how: str, peer: RawPeer) -> None:
    """The requester of channel 2 goes."""
    if how == "cancelled":
        peer.call(2, "basic.cancel", consumer_tag="replies")
    elif how == "channel closed":
        peer.close_channel(2)
    else:
        peer.close()


@pytest.mark.parametrize("how", ["cancelled", "channel closed", "connection closed"])
def test_an_answer_to_who_is_gone(connect: Connect, server: RawPeer, requests: str, how: str) -> None:
    peer = connect()
    peer.open_channel(2)
    await_replies(peer, channel=2)
    answer_to = ask(peer, server, requests, 2)
    server.publish(1, "", answer_to, b"in time")
    peer.expect_deliver(2, b"in time")
    gone(how, peer)
    server.call(1, "confirm.select")
    server.publish(1, "", answer_to, b"lost")
    server.expect(1, "basic.ack", delivery_tag=1)
    server.publish(1, "", answer_to, b"m", mandatory=True)
    server.expect_content(1, "basic.return", b"m", reply_code=312, routing_key=answer_to)
    server.expect(1, "basic.ack", delivery_tag=2)
    server.refused(1, 404, missing(answer_to), "queue.declare", queue=answer_to, passive=True)


def test_cancel_and_consume_again_has_another_name(peer: RawPeer, server: RawPeer, requests: str) -> None:
    await_replies(peer, "first")
    old = ask(peer, server, requests)
    server.publish(1, "", old, b"before")
    peer.expect_deliver(1, b"before", consumer_tag="first")
    peer.call(1, "basic.cancel", consumer_tag="first")
    server.publish(1, "", old, b"lost")
    await_replies(peer, "second")
    new = ask(peer, server, requests)
    assert new != old
    server.publish(1, "", old, b"lost")
    server.publish(1, "", new, b"answer")
    peer.expect_deliver(1, b"answer", consumer_tag="second")


@pytest.mark.parametrize("waiting", [False, True])
@pytest.mark.parametrize("args", [{"passive": True}, {}, {"exclusive": True, "arguments": {"x-message-ttl": "bad"}}])
def test_the_pseudo_queue_can_be_declared_by_anyone(peer: RawPeer, waiting: bool, args: dict[str, Any]) -> None:
    if waiting:
        await_replies(peer)
    peer.send(1, "queue.declare", queue=PSEUDO, **args)
    peer.expect(1, "queue.declare-ok", queue=PSEUDO, message_count=0, consumer_count=1)


@pytest.mark.parametrize("passive", [True, False])
def test_a_requesters_name_can_be_declared_while_it_waits(
    peer: RawPeer, server: RawPeer, requests: str, passive: bool
) -> None:
    """So a server finds out whether somebody still wants the answer."""
    await_replies(peer)
    answer_to = ask(peer, server, requests)
    server.send(1, "queue.declare", queue=answer_to, passive=passive)
    server.expect(1, "queue.declare-ok", queue=answer_to, message_count=0, consumer_count=1)
    peer.call(1, "basic.cancel", consumer_tag="replies")
    server.refused(1, 404, missing(answer_to), "queue.declare", queue=answer_to, passive=passive)


@pytest.mark.parametrize("passive", [True, False])
def test_a_name_that_was_never_given_cannot_be_declared(peer: RawPeer, passive: bool) -> None:
    name = PSEUDO + ".nobody"
    peer.refused(1, 404, missing(name), "queue.declare", queue=name, passive=passive)


@pytest.mark.parametrize(
    ("method", "args"),
    [
        ("queue.purge", {}),
        ("queue.bind", {"exchange": "amq.direct", "routing_key": "k"}),
        ("basic.get", {"no_ack": True}),
    ],
)
@pytest.mark.parametrize("whose", ["nobody's", "anybody's", "mine"])
def test_there_is_no_queue(
    peer: RawPeer, server: RawPeer, requests: str, whose: str, method: str, args: dict[str, Any]
) -> None:
    await_replies(peer)
    queue = {"nobody's": PSEUDO + ".x", "anybody's": PSEUDO}.get(whose) or ask(peer, server, requests)
    server.refused(1, 404, missing(queue), method, queue=queue, **args)
    server.send(1, "queue.delete", queue=queue)
    server.expect(1, "queue.delete-ok", message_count=0)
    server.call(1, "queue.unbind", queue=queue, exchange="amq.direct", routing_key="k")


def test_another_cannot_consume_the_answers(peer: RawPeer, server: RawPeer, requests: str) -> None:
    await_replies(peer)
    answer_to = ask(peer, server, requests)
    server.refused(1, 404, missing(answer_to), "basic.consume", queue=answer_to, no_ack=True)


@pytest.mark.parametrize("header", ["CC", "BCC"])
def test_a_copy_to_a_requester(peer: RawPeer, server: RawPeer, requests: str, header: str, name: Name) -> None:
    queue = server.call(1, "queue.declare", queue=name("q"))["queue"]
    await_replies(peer)
    answer_to = ask(peer, server, requests)
    server.publish(1, "", queue, b"answer", properties(headers={header: [answer_to]}))
    got = peer.expect_deliver(1, b"answer", consumer_tag="replies", exchange="", routing_key=queue)
    assert decode_properties(got.properties)["headers"] == ({"CC": [answer_to]} if header == "CC" else {})
    server.get(1, queue, b"answer")
