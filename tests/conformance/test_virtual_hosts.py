"""Virtual hosts: worlds of their own, made, limited and deleted by an operator."""

import secrets
from collections.abc import Callable, Iterator

import pytest

from interop.brokers import BrokerFailed
from tests.conformance.conftest import Control, Enter
from tests.support.raw_peer import RawPeer

Vhosts = Callable[..., str]


@pytest.fixture(scope="module")
def vhosts(control: Control) -> Iterator[Vhosts]:
    """Makes virtual hosts that guest may use, with names of their own; the same name once more is no other one."""
    made: list[str] = []

    def make(prefix: str = "v") -> str:
        vhost = f"{prefix}-{secrets.token_hex(4)}"
        control("add_vhost", vhost)
        control("set_permissions", "-p", vhost, "guest", ".*", ".*", ".*")
        made.append(vhost)
        return vhost

    yield make
    for vhost in set(made) & set(control("list_vhosts", "name").splitlines()):
        control("delete_vhost", vhost)


@pytest.fixture(scope="module")
def vhost(vhosts: Vhosts) -> str:
    """One for tests that leave nothing in it."""
    return vhosts()


def entered(peer: RawPeer) -> RawPeer:
    peer.expect(0, "connection.open-ok")
    peer.open_channel(1)
    return peer


def missing(vhost: str) -> str:
    return f"NOT_ALLOWED - vhost {vhost} not found"


def refused(vhost: str, user: str = "guest") -> str:
    return f"NOT_ALLOWED - access to vhost '{vhost}' refused for user '{user}'"


@pytest.mark.parametrize("vhost", ["nope", "", "//", "a'b", "ä☃"])
def test_one_that_is_missing(enter: Enter, vhost: str) -> None:
    enter(vhost).expect_connection_close(530, missing(vhost), "connection.open")


def test_names_are_case_sensitive(enter: Enter, vhost: str) -> None:
    enter(vhost.upper()).expect_connection_close(530, missing(vhost.upper()), "connection.open")


def test_queues_and_exchanges_belong_to_theirs(enter: Enter, vhost: str) -> None:
    here, there = entered(enter("/")), entered(enter(vhost))
    queue = there.call(1, "queue.declare", queue=f"q of {vhost}")["queue"]
    there.call(1, "exchange.declare", exchange="x", type="fanout")
    there.call(1, "queue.bind", queue=queue, exchange="x")
    text = f"NOT_FOUND - no queue '{queue}' in vhost '/'"
    here.refused(1, 404, text, "queue.declare", queue=queue, passive=True)
    text = "NOT_FOUND - no exchange 'x' in vhost '/'"
    here.refused(1, 404, text, "exchange.declare", exchange="x", passive=True)
    here.publish(1, "", queue, b"lost", mandatory=True)
    here.expect_content(1, "basic.return", b"lost")
    there.publish(1, "x", "", b"kept")
    there.get(1, queue, b"kept")
    there.call(1, "queue.delete", queue=queue)
    there.call(1, "exchange.delete", exchange="x")


def test_a_name_in_two_of_them_is_two_queues(enter: Enter, vhost: str) -> None:
    peers = [entered(enter("/")), entered(enter(vhost))]
    queue = f"both-{vhost}"
    for number, peer in enumerate(peers):
        peer.call(1, "queue.declare", queue=queue, exclusive=True, arguments={"x-max-length": number + 1})
        peer.publish(1, "", queue, b"%d" % number)
    for number, peer in enumerate(peers):
        assert peer.take_all(1, queue) == [b"%d" % number]


@pytest.mark.parametrize("exchange", ["amq.direct", "amq.fanout", "amq.topic", "amq.headers", "amq.match"])
def test_each_has_the_predeclared_exchanges(enter: Enter, vhost: str, exchange: str) -> None:
    entered(enter(vhost)).call(1, "exchange.declare", exchange=exchange, passive=True)


def test_texts_name_it(enter: Enter, vhost: str) -> None:
    peer, other = entered(enter(vhost)), entered(enter(vhost))
    queue = peer.call(1, "queue.declare", exclusive=True)["queue"]
    text = f"RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in vhost '{vhost}'. It could be"
    other.send(1, "queue.declare", queue=queue, passive=True)
    assert other.expect(1, "channel.close", reply_code=405)["reply_text"].startswith(text)
    text = f"NOT_FOUND - no exchange 'nope' in vhost '{vhost}'"
    peer.refused(1, 404, text, "exchange.declare", exchange="nope", passive=True)


def test_a_user_without_permissions_is_kept_out(control: Control, enter: Enter, vhost: str) -> None:
    user = f"u-{secrets.token_hex(4)}"
    control("add_user", user, "secret")
    try:
        enter(vhost, user, "secret").expect_connection_close(530, refused(vhost, user), "connection.open")
        enter("nope", user, "secret").expect_connection_close(530, missing("nope"), "connection.open")
        control("set_permissions", "-p", vhost, user, "^$", "^$", "^$")
        entered(enter(vhost, user, "secret"))
        enter("/", user, "secret").expect_connection_close(530, refused("/", user), "connection.open")
    finally:
        control("delete_user", user)


def test_deleting_it_closes_its_connections(control: Control, enter: Enter, vhosts: Vhosts) -> None:
    vhost = vhosts()
    inside, outside = entered(enter(vhost)), entered(enter("/"))
    queue = inside.call(1, "queue.declare", queue="q", durable=True)["queue"]
    inside.store(queue, [b"m"])
    control("delete_vhost", vhost)
    inside.expect_connection_close(320, f"CONNECTION_FORCED - vhost '{vhost}' is deleted", lingers=True)
    outside.call(1, "basic.qos")
    enter(vhost).expect_connection_close(530, missing(vhost), "connection.open")
    control("add_vhost", vhost)
    enter(vhost).expect_connection_close(530, refused(vhost), "connection.open")  # permissions went with it
    control("set_permissions", "-p", vhost, "guest", ".*", ".*", ".*")
    text = f"NOT_FOUND - no queue 'q' in vhost '{vhost}'"
    entered(enter(vhost)).refused(1, 404, text, "queue.declare", queue="q", passive=True)


def test_deleting_one_that_is_missing(control: Control) -> None:
    with pytest.raises(BrokerFailed, match="Virtual host 'nope' does not exist"):
        control("delete_vhost", "nope")


def test_it_may_have_so_many_connections(control: Control, enter: Enter, vhosts: Vhosts) -> None:
    vhost = vhosts()
    first = entered(enter(vhost))
    control("set_vhost_limits", "-p", vhost, '{"max-connections": 1}')
    full = refused(vhost) + ": connection limit (1) is reached"
    enter(vhost).expect_connection_close(530, full, "connection.open")
    entered(enter("/"))
    first.close()
    entered(enter(vhost))
    control("set_vhost_limits", "-p", vhost, '{"max-connections": 0}')
    none = refused(vhost) + ": connection limit (0) is reached"
    enter(vhost).expect_connection_close(530, none, "connection.open")
    control("set_vhost_limits", "-p", vhost, '{"max-connections": -1}')
    entered(enter(vhost))


def test_it_may_have_so_many_queues(control: Control, enter: Enter, vhosts: Vhosts) -> None:
    vhost = vhosts()
    peer = entered(enter(vhost))
    control("set_vhost_limits", "-p", vhost, '{"max-queues": 2}')

    full = f"queue limit in vhost '{vhost}' (2) is reached"
    for queue in ("a", "b", "a"):
        peer.call(1, "queue.declare", queue=queue)
    text = f"PRECONDITION_FAILED - cannot declare queue 'c': {full}"
    peer.refused(1, 406, text, "queue.declare", queue="c")
    peer.refused(1, 406, text, "queue.declare", queue="c", exclusive=True)
    peer.call(1, "queue.declare", queue="a", passive=True)
    peer.send(1, "queue.declare")
    assert peer.expect(1, "channel.close", reply_code=406)["reply_text"].endswith(full)
    peer.send(1, "channel.close-ok")
    peer.open_channel(1)
    peer.call(1, "queue.delete", queue="a")
    peer.call(1, "queue.declare", queue="c")
    control("clear_vhost_limits", "-p", vhost)
    peer.call(1, "queue.declare", queue="d")


def test_a_user_may_have_so_many_connections_and_channels(control: Control, enter: Enter) -> None:
    user = f"u-{secrets.token_hex(4)}"
    control("add_user", user, "secret")
    try:
        control("set_permissions", user, ".*", ".*", ".*")
        control("set_user_limits", user, '{"max-connections": 1, "max-channels": 2}')
        peer = entered(enter("/", user, "secret"))
        full = f"NOT_ALLOWED - connection refused for user '{user}': user connection limit (1) is reached"
        enter("/", user, "secret").expect_connection_close(530, full, "connection.open")
        peer.open_channel(2)
        peer.close_channel(1)
        peer.open_channel(3)
        peer.send(4, "channel.open")
        text = f"number of channels opened for user '{user}' has reached the maximum allowed user limit of (2)"
        peer.expect_connection_close(530, f"NOT_ALLOWED - {text}")
    finally:
        control("delete_user", user)


def test_deleting_a_user_closes_his_connections(control: Control, enter: Enter) -> None:
    user = f"u-{secrets.token_hex(4)}"
    control("add_user", user, "secret")
    control("set_permissions", user, ".*", ".*", ".*")
    peer = entered(enter("/", user, "secret"))
    control("delete_user", user)
    peer.expect_connection_close(320, f"CONNECTION_FORCED - user '{user}' is deleted", lingers=True)
