"""Dead letters: why messages die, where they go then, and what their headers tell ("Dead Letter Exchanges")."""

import time
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from tests.conformance.conftest import Connect, Name
from tests.conformance.graves import Death, Grave, assert_died, entries, get_soon, last_death, queue_with, times
from tests.support.raw_peer import TIMEOUT_S, RawPeer, Typed, decode_properties, properties

FAR: dict[str, Any] = {"x-message-ttl": 20}


@pytest.fixture
def grave(peer: RawPeer, name: Name) -> Grave:
    return Grave(peer, name("grave"))


@pytest.fixture
def queue(peer: RawPeer, name: Name, grave: Grave) -> str:
    """Whose dead letters go to the grave."""
    return queue_with(peer, name, grave.arguments)


def reject(peer: RawPeer, queue: str, body: bytes | None = None) -> None:
    peer.send(1, "basic.reject", delivery_tag=peer.get(1, queue, body).tag)


def publish_and_reject(peer: RawPeer, queue: str, **props: Any) -> None:
    peer.publish(1, "", queue, b"a", properties(**props))
    reject(peer, queue, b"a")


# -- why and how --


def test_rejected(peer: RawPeer, grave: Grave, queue: str) -> None:
    publish_and_reject(peer, queue)
    content = grave.expect(b"a")
    assert_died(content, Death(queue, "rejected"))
    assert content.method["exchange"] == ""
    assert content.method["routing_key"] == grave.queue


@pytest.mark.parametrize("multiple", [False, True])
def test_nacked(peer: RawPeer, grave: Grave, queue: str, multiple: bool) -> None:
    peer.publish_all(1, queue, [b"a", b"b", b"c"])
    last = [peer.get(1, queue).tag for _ in range(3)][-1]
    peer.send(1, "basic.nack", delivery_tag=last, multiple=multiple)
    for content in grave.expect_all(*([b"a", b"b", b"c"] if multiple else [b"c"])):
        assert_died(content, Death(queue, "rejected"))


def test_expired(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = queue_with(peer, name, grave.arguments | FAR)
    peer.publish(1, "", queue, b"a")
    assert_died(grave.expect(b"a"), Death(queue, "expired"))


def test_too_many(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = queue_with(peer, name, grave.arguments | {"x-max-length": 1})
    peer.publish_all(1, queue, [b"a", b"b"])
    assert_died(grave.expect(b"a"), Death(queue, "maxlen"))


def test_what_is_requeued_acked_purged_or_deleted_is_no_dead_letter(peer: RawPeer, grave: Grave, queue: str) -> None:
    peer.publish_all(1, queue, [b"acked", b"requeued", b"purged", b"deleted", b"held"])
    peer.send(1, "basic.ack", delivery_tag=peer.get(1, queue, b"acked").tag)
    peer.send(1, "basic.nack", delivery_tag=peer.get(1, queue, b"requeued").tag, requeue=True)
    assert peer.call(1, "queue.purge", queue=queue)["message_count"] == 4
    peer.publish_all(1, queue, [b"held", b"deleted"])
    held = peer.get(1, queue, b"held")
    assert peer.call(1, "queue.delete", queue=queue)["message_count"] == 1
    peer.send(1, "basic.reject", delivery_tag=held.tag)
    peer.publish(1, "", grave.queue, b"last")
    grave.expect(b"last")


def test_the_end_of_an_exclusive_or_auto_delete_queue_is_no_death(
    peer: RawPeer, connect: Connect, name: Name, grave: Grave
) -> None:
    other = connect()
    exclusive, passing = name("exclusive"), name("passing")
    other.call(1, "queue.declare", queue=exclusive, exclusive=True, arguments=grave.arguments)
    other.call(1, "queue.declare", queue=passing, auto_delete=True, arguments=grave.arguments)
    for queue in (exclusive, passing):
        other.publish_all(1, queue, [b"held", b"ready"])
        get_soon(other, queue)  # the auto-delete queue goes with this consumer
    other.close()
    peer.publish(1, "", grave.queue, b"last")
    grave.expect(b"last")


def test_rejects_in_a_transaction(peer: RawPeer, grave: Grave, queue: str) -> None:
    peer.publish_all(1, queue, [b"a", b"b"])
    peer.call(1, "tx.select")
    for end in ("tx.rollback", "tx.commit"):
        tag = peer.get(1, queue).tag
        peer.send(1, "basic.reject", delivery_tag=tag)
        peer.publish(1, "", grave.queue, b"published")
        peer.expect_nothing(10)
        peer.call(1, end)
    assert {grave.expect().body for _ in range(2)} == {b"b", b"published"}


# -- headers --


def test_properties_stay_but_the_expiration(peer: RawPeer, grave: Grave, queue: str) -> None:
    others: dict[str, Any] = {
        "content_type": "text/plain",
        "delivery_mode": 2,
        "priority": 3,
        "correlation_id": "c",
        "reply_to": "r",
        "message_id": "m",
        "timestamp": 1,
        "user_id": "guest",
        "app_id": "app",
    }
    publish_and_reject(peer, queue, expiration="0099999", **others)
    assert_died(grave.expect(b"a"), Death(queue, "rejected", expiration="0099999"), **others)


def test_headers_stay_and_are_sorted(peer: RawPeer, grave: Grave, queue: str) -> None:
    headers = {"z": 1, "B": 2, "a": {"z": 1, "a": [{"z": Typed("b", 1), "a": None}]}, "aa": b"x", "": "empty"}
    publish_and_reject(peer, queue, headers=headers)
    assert_died(grave.expect(b"a"), Death(queue, "rejected"), headers=headers)


def test_time_is_now_in_seconds(peer: RawPeer, grave: Grave, queue: str) -> None:
    before = int(time.time())
    publish_and_reject(peer, queue)
    (died_at,) = times(grave.expect(b"a"))
    assert before - 1 <= died_at <= time.time() + 1


def test_the_exchange_that_was_published_to_is_told(peer: RawPeer, grave: Grave, queue: str) -> None:
    peer.call(1, "queue.bind", queue=queue, exchange="amq.direct", routing_key="k")
    peer.publish(1, "amq.direct", "k", b"a")
    reject(peer, queue)
    assert_died(grave.expect(b"a"), Death(queue, "rejected", exchange="amq.direct", keys=("k",)))


def test_routing_keys_are_told_with_cc_without_bcc(peer: RawPeer, grave: Grave, queue: str) -> None:
    peer.publish(1, "", "nope", b"a", properties(headers={"CC": ["cc", queue], "BCC": ["bcc"]}))
    reject(peer, queue)
    assert_died(grave.expect(b"a"), Death(queue, "rejected", keys=("nope", "cc", queue)))


def test_a_routing_key_for_dead_letters_removes_cc(peer: RawPeer, grave: Grave, queue: str) -> None:
    peer.publish(1, "", queue, b"a", properties(headers={"CC": [], "other": 1}))
    reject(peer, queue)
    assert_died(grave.expect(b"a"), Death(queue, "rejected"), headers={"other": 1})


def test_without_one_keys_and_cc_route_again(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue, key, cc = queue_with(peer, name, {"x-dead-letter-exchange": "amq.direct"}), name("k"), name("cc")
    peer.call(1, "queue.bind", queue=grave.queue, exchange="amq.direct", routing_key=cc)
    peer.publish(1, "", key, b"a", properties(headers={"CC": [cc, queue], "BCC": ["bcc"]}))
    reject(peer, queue)
    content = grave.expect(b"a")
    assert_died(content, Death(queue, "rejected", keys=(key, cc, queue)), headers={"CC": [cc, queue]})
    assert (content.method["exchange"], content.method["routing_key"]) == ("amq.direct", key)


def test_an_empty_routing_key_is_one(peer: RawPeer, name: Name, grave: Grave) -> None:
    exchange = name("x")
    peer.call(1, "exchange.declare", exchange=exchange, type="direct")
    peer.call(1, "queue.bind", queue=grave.queue, exchange=exchange, routing_key="")
    queue = queue_with(peer, name, {"x-dead-letter-exchange": exchange, "x-dead-letter-routing-key": ""})
    publish_and_reject(peer, queue)
    assert grave.expect(b"a").method["routing_key"] == ""


@pytest.mark.amqpd_only("x-last-death-* came with RabbitMQ 4")
def test_the_last_death_is_told(peer: RawPeer, name: Name, grave: Grave) -> None:
    second = queue_with(peer, name, grave.arguments)
    first = queue_with(peer, name, {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": second} | FAR)
    peer.publish(1, "", first, b"a")
    content = get_soon(peer, second)
    assert last_death(content) == told_last(first, "expired")
    peer.send(1, "basic.reject", delivery_tag=content.tag)
    assert last_death(grave.expect(b"a")) == told_last(second, "rejected")


def told_last(queue: str, reason: str) -> dict[str, str]:
    return {"x-last-death-exchange": "", "x-last-death-queue": queue, "x-last-death-reason": reason}


# -- several deaths --


def test_each_queue_adds_an_entry_in_front(peer: RawPeer, name: Name, grave: Grave) -> None:
    second = queue_with(peer, name, grave.arguments)
    first = queue_with(peer, name, {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": second})
    peer.publish(1, "", first, b"a", properties(expiration="20", headers={"own": 1}))
    content = get_soon(peer, second)
    assert_died(content, Death(first, "expired", expiration="20"), headers={"own": 1})
    peer.send(1, "basic.reject", delivery_tag=content.tag)
    deaths = (Death(second, "rejected"), Death(first, "expired", expiration="20"))
    assert_died(grave.expect(b"a"), *deaths, headers={"own": 1})


def test_other_reasons_are_other_entries(peer: RawPeer, name: Name, grave: Grave) -> None:
    """A queue that a message comes back to."""
    queue = queue_with(peer, name, grave.arguments | {"x-max-length": 1})
    peer.publish_all(1, queue, [b"a", b"b"])
    content = grave.expect(b"a")
    assert peer.take_all(1, queue) == [b"b"]
    peer.publish(1, "", queue, b"a", content.properties)
    reject(peer, queue)
    assert_died(grave.expect(b"a"), Death(queue, "rejected"), Death(queue, "maxlen"))


def test_the_same_death_again_counts(peer: RawPeer, name: Name) -> None:
    """And keeps the expiration that the message had when it died first."""
    there, back = name("there"), name("back")
    for queue, other in ((there, back), (back, there)):
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": other}
        peer.call(1, "queue.declare", queue=queue, arguments=arguments)
    peer.publish(1, "", there, b"a", properties(expiration="3600000"))
    first = Death(there, "rejected", expiration="3600000")
    peer.send(1, "basic.reject", delivery_tag=get_soon(peer, there).tag)
    for count in (1, 2, 3):
        here = get_soon(peer, back)
        before = [Death(back, "rejected", count=count - 1)] if count > 1 else []
        assert_died(here, replace(first, count=count), *before, first=first)
        peer.send(1, "basic.reject", delivery_tag=here.tag)
        here = get_soon(peer, there)
        assert_died(here, Death(back, "rejected", count=count), replace(first, count=count))
        peer.send(1, "basic.reject", delivery_tag=here.tag)


@pytest.mark.amqpd_only("RabbitMQ 3.10 turns around the entries that are there already when a third one comes")
def test_entries_are_in_the_order_of_the_last_deaths(peer: RawPeer, name: Name, grave: Grave) -> None:
    queues = [grave.queue, name("d"), name("c"), name("b"), name("a")]
    for target, queue in pairwise(queues):
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": target, "x-message-ttl": 5}
        peer.call(1, "queue.declare", queue=queue, arguments=arguments)
    peer.publish(1, "", queues[-1], b"a")
    assert_died(grave.expect(b"a"), *(Death(queue, "expired") for queue in queues[1:]))


# -- headers that the client made --


@pytest.mark.parametrize("kind", ["l", "I", "b", "u"])
def test_an_entry_of_the_client_counts_on(peer: RawPeer, grave: Grave, queue: str, kind: str) -> None:
    """Its time is that of the first death; ``x-first-death-*`` are the client's business then."""
    entry = {"count": Typed(kind, 5), "queue": queue, "reason": "rejected", "time": Typed("T", 7)}
    publish_and_reject(peer, queue, headers={"x-death": [entry]})
    content = grave.expect(b"a")
    headers = {"x-death": [entry | {"count": Typed("l", 6)}]} | last_death(content)
    assert content.properties == properties(headers=headers)


def test_entries_of_the_client_stay(peer: RawPeer, grave: Grave, queue: str) -> None:
    entry = {"zz": {"b": 1, "a": 2}, "queue": "other", "reason": "rejected"}
    publish_and_reject(peer, queue, headers={"x-death": [entry], "x-first-death-queue": "mine"})
    content = grave.expect(b"a")
    assert entries(content)[1:] == [entry]
    assert entries(content)[0]["queue"] == queue
    assert decode_properties(content.properties)["headers"]["x-first-death-queue"] == "mine"


@pytest.mark.parametrize("value", ["text", 5, None, {"queue": "q"}, [], b"x"])
def test_a_header_of_the_client_that_is_no_list_of_deaths(
    peer: RawPeer, grave: Grave, queue: str, value: object
) -> None:
    publish_and_reject(peer, queue, headers={"x-death": value})
    (entry,) = entries(grave.expect(b"a"))
    assert (entry["queue"], entry["reason"], entry["count"]) == (queue, "rejected", 1)


@pytest.mark.parametrize("value", [["text"], [[], 5], [{}, "text"]])
@pytest.mark.amqpd_only("the queue of RabbitMQ 3.10 ends with an error, and the message is gone")
def test_entries_of_the_client_that_are_no_tables(peer: RawPeer, grave: Grave, queue: str, value: list[object]) -> None:
    publish_and_reject(peer, queue, headers={"x-death": value})
    entry = entries(grave.expect(b"a"))[0]
    assert (entry["queue"], entry["reason"], entry["count"]) == (queue, "rejected", 1)


@pytest.mark.parametrize("count", ["7", None, 1.5, {}])
@pytest.mark.amqpd_only("the queue of RabbitMQ 3.10 ends with an error, and the message is gone")
def test_a_count_of_the_client_that_is_no_number(peer: RawPeer, grave: Grave, queue: str, count: object) -> None:
    publish_and_reject(peer, queue, headers={"x-death": [{"queue": queue, "reason": "rejected", "count": count}]})
    entry = entries(grave.expect(b"a"))[0]
    assert (entry["queue"], entry["reason"]) == (queue, "rejected")
    assert isinstance(entry["count"], int)


@pytest.mark.amqpd_only("the count of RabbitMQ 3.10 goes on at the other end of its 64 bits")
def test_a_count_at_its_end(peer: RawPeer, grave: Grave, queue: str) -> None:
    entry = {"queue": queue, "reason": "rejected", "count": Typed("l", 2**63 - 1)}
    publish_and_reject(peer, queue, headers={"x-death": [entry]})
    assert entries(grave.expect(b"a"))[0]["count"] == 2**63 - 1


def test_first_death_headers_of_the_client_are_replaced(peer: RawPeer, grave: Grave, queue: str) -> None:
    publish_and_reject(peer, queue, headers={"x-first-death-queue": "mine", "x-first-death-reason": 7})
    assert_died(grave.expect(b"a"), Death(queue, "rejected"))


# -- where to --


def test_a_missing_exchange_drops(peer: RawPeer, name: Name, grave: Grave) -> None:
    """Looked for at each death: it may come and go."""
    exchange = name("x")
    queue = queue_with(peer, name, {"x-dead-letter-exchange": exchange})
    publish_and_reject(peer, queue)
    for _ in range(2):
        peer.call(1, "exchange.declare", exchange=exchange, type="fanout")
        peer.call(1, "queue.bind", queue=grave.queue, exchange=exchange)
        peer.publish(1, "", queue, b"b")
        reject(peer, queue, b"b")
        assert grave.expect(b"b").method["exchange"] == exchange
        peer.call(1, "exchange.delete", exchange=exchange)
        publish_and_reject(peer, queue)
    peer.get_empty(1, queue)


def test_what_finds_no_queue_is_dropped(peer: RawPeer, name: Name) -> None:
    """And not returned, though it was mandatory."""
    queue = queue_with(peer, name, {"x-dead-letter-exchange": "amq.direct"})
    peer.publish(1, "", queue, b"a", mandatory=True)
    reject(peer, queue)
    peer.get_empty(1, queue)
    peer.expect_nothing(10)


def test_an_internal_exchange_and_an_alternate_one(peer: RawPeer, name: Name, grave: Grave) -> None:
    inner, outer = name("inner"), name("outer")
    peer.call(1, "exchange.declare", exchange=inner, type="fanout", internal=True)
    peer.call(1, "queue.bind", queue=grave.queue, exchange=inner)
    peer.call(
        1, "exchange.declare", exchange=outer, type="direct", internal=True, arguments={"alternate-exchange": inner}
    )
    queue = queue_with(peer, name, {"x-dead-letter-exchange": outer})
    publish_and_reject(peer, queue)
    assert grave.expect(b"a").method["exchange"] == outer


def test_to_several_queues(peer: RawPeer, name: Name, grave: Grave) -> None:
    exchange, also = name("x"), queue_with(peer, name, {})
    peer.call(1, "exchange.declare", exchange=exchange, type="fanout")
    for target in (grave.queue, also):
        peer.call(1, "queue.bind", queue=target, exchange=exchange)
    queue = queue_with(peer, name, {"x-dead-letter-exchange": exchange})
    publish_and_reject(peer, queue)
    for content in (grave.expect(b"a"), get_soon(peer, also)):
        assert_died(content, Death(queue, "rejected"))


def test_headers_of_the_death_route(peer: RawPeer, name: Name, grave: Grave) -> None:
    queue = queue_with(peer, name, {"x-dead-letter-exchange": "amq.headers"})
    arguments = {"x-match": "all-with-x", "x-first-death-reason": "rejected", "x-first-death-queue": queue}
    peer.call(1, "queue.bind", queue=grave.queue, exchange="amq.headers", arguments=arguments)
    publish_and_reject(peer, queue)
    grave.expect(b"a")


def test_the_limits_of_the_next_queue_hold(peer: RawPeer, name: Name, grave: Grave) -> None:
    """One publish that pushes a message out of each of a chain of queues."""
    target = grave.arguments
    queues = []
    for _ in range(3):
        queues.append(queue_with(peer, name, target | {"x-max-length": 1}))
        target = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": queues[-1]}
    peer.publish_all(1, queues[-1], [b"1", b"2", b"3", b"4"])
    grave.expect(b"1")
    for queue, body in zip(queues, [b"2", b"3", b"4"], strict=True):
        assert get_soon(peer, queue).body == body


def test_the_dead_do_not_wait_for_room(peer: RawPeer, name: Name) -> None:
    """A queue that refuses publishes refuses dead letters too; nobody is told."""
    full = queue_with(peer, name, {"x-max-length": 1, "x-overflow": "reject-publish"})
    queue = queue_with(peer, name, {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": full})
    peer.publish_all(1, queue, [b"a", b"b"])
    reject(peer, queue, b"a")
    reject(peer, queue, b"b")
    peer.get_empty(1, queue)
    assert get_soon(peer, full).body == b"a"
    peer.get_empty(1, full)


# -- cycles --


@pytest.mark.parametrize("limit", [{"x-message-ttl": 5}, {"x-max-length": 0}])
def test_a_queue_that_is_its_own_grave_drops(peer: RawPeer, name: Name, limit: dict[str, int]) -> None:
    queue = queue_with(peer, name, {"x-dead-letter-exchange": ""} | limit)
    peer.publish(1, "", queue, b"a")
    wait_until_empty(peer, queue)


def test_what_is_rejected_comes_back_to_its_own_grave(peer: RawPeer, name: Name) -> None:
    queue = queue_with(peer, name, {"x-dead-letter-exchange": ""})
    peer.publish(1, "", queue, b"a")
    for count in (1, 2, 3):
        reject(peer, queue, b"a")
        content = get_soon(peer, queue)
        assert_died(content, Death(queue, "rejected", count=count))
        peer.send(1, "basic.nack", delivery_tag=content.tag, requeue=True)


def test_a_cycle_of_two_without_a_reject_drops(peer: RawPeer, name: Name) -> None:
    there, back = name("there"), name("back")
    for queue, other in ((there, back), (back, there)):
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": other, "x-message-ttl": 10}
        peer.call(1, "queue.declare", queue=queue, arguments=arguments)
    peer.publish(1, "", there, b"a")
    wait_until_empty(peer, there, back)


def test_a_cycle_with_a_reject_goes_on(peer: RawPeer, name: Name) -> None:
    """The usual way to try again later."""
    work, wait = name("work"), name("wait")
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": wait}
    peer.call(1, "queue.declare", queue=work, arguments=arguments)
    arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": work}
    peer.call(1, "queue.declare", queue=wait, arguments=arguments | FAR)
    peer.publish(1, "", work, b"a")
    for count in (1, 2, 3, 4):
        content = get_soon(peer, work)
        peer.send(1, "basic.reject", delivery_tag=content.tag)
        if count > 1:
            waited, worked = Death(wait, "expired", count=count - 1), Death(work, "rejected", count=count - 1)
            assert_died(content, waited, worked)


@pytest.mark.amqpd_only("RabbitMQ 3.10 reads its entries in the wrong order, and drops")
def test_a_long_cycle_with_a_reject_goes_on(peer: RawPeer, name: Name) -> None:
    queues = [name("a"), name("b"), name("c")]
    for queue, target in zip(queues, [*queues[1:], queues[0]], strict=True):
        arguments = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": target}
        peer.call(1, "queue.declare", queue=queue, arguments=arguments | ({} if queue == queues[2] else FAR))
    peer.publish(1, "", queues[0], b"a")
    for _ in range(3):
        peer.send(1, "basic.reject", delivery_tag=get_soon(peer, queues[2]).tag)


def test_only_the_queue_of_the_cycle_is_left_out(peer: RawPeer, name: Name, grave: Grave) -> None:
    exchange = name("x")
    peer.call(1, "exchange.declare", exchange=exchange, type="fanout")
    queue = queue_with(peer, name, {"x-dead-letter-exchange": exchange} | FAR)
    for target in (queue, grave.queue):
        peer.call(1, "queue.bind", queue=target, exchange=exchange)
    peer.publish(1, "", queue, b"a")
    assert_died(grave.expect(b"a"), Death(queue, "expired"))
    peer.get_empty(1, queue)


@pytest.mark.parametrize(
    ("deaths", "arrives"),
    [
        (["grave expired"], False),
        (["grave maxlen"], False),
        (["grave delivery_limit"], False),
        (["grave rejected"], True),
        (["other expired"], True),
        (["other expired", "grave expired"], False),
        (["other rejected"], True),
    ],
)
def test_deaths_of_the_client_make_cycles_too(
    peer: RawPeer, name: Name, grave: Grave, deaths: list[str], arrives: bool
) -> None:
    queue = queue_with(peer, name, grave.arguments | FAR)
    split = [death.replace("grave", grave.queue).split() for death in deaths]
    made = [{"queue": where, "reason": reason, "count": Typed("l", 1)} for where, reason in split]
    peer.publish(1, "", queue, b"a", properties(headers={"x-death": made}))
    peer.publish(1, "", queue, b"b")
    grave.expect_all(*([b"a", b"b"] if arrives else [b"b"]))


def test_no_death_is_in_the_way_of_a_publish(peer: RawPeer, queue: str) -> None:
    made = [{"queue": queue, "reason": "expired", "count": Typed("l", 1)}]
    peer.publish(1, "", queue, b"a", properties(headers={"x-death": made}))
    peer.get(1, queue, b"a")


def wait_until_empty(peer: RawPeer, *queues: str) -> None:
    """Nothing is ready in any of them, twice in a row."""
    deadline = time.monotonic() + TIMEOUT_S
    quiet = 0
    while quiet < 2:
        counts = [peer.call(1, "queue.declare", queue=queue, passive=True)["message_count"] for queue in queues]
        quiet = 0 if any(counts) else quiet + 1
        assert time.monotonic() < deadline, f"still {counts} messages in {queues}"
        time.sleep(0.02)
