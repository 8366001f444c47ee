"""Opening, closing and misusing channels."""

import pytest

from tests.conformance.conftest import Connect
from tests.support.raw_peer import BODY, RawPeer, frame

NOT_OPEN = "CHANNEL_ERROR - expected 'channel.open'"
UNIMPLEMENTED = "COMMAND_INVALID - unimplemented method"


def no_queue(queue: str) -> str:
    return f"NOT_FOUND - no queue '{queue}' in vhost '/'"


@pytest.mark.parametrize("name", ["queue.declare", "channel.close", "channel.close-ok", "basic.qos", "tx.select"])
def test_a_method_on_a_channel_that_is_not_open(peer: RawPeer, name: str) -> None:
    peer.fatal(2, 504, NOT_OPEN, name)


def test_a_publish_on_a_channel_that_is_not_open(peer: RawPeer) -> None:
    peer.publish(2, "", "x", b"body")
    peer.expect_connection_close(504, NOT_OPEN, "basic.publish")


def test_second_open(peer: RawPeer) -> None:
    peer.fatal(1, 504, "CHANNEL_ERROR - second 'channel.open' seen", "channel.open")


@pytest.mark.parametrize(
    "name",
    [
        "connection.open",
        "connection.close",
        "channel.open-ok",
        "channel.close-ok",
        "channel.flow-ok",
        "queue.declare-ok",
        "tx.select-ok",
    ],
)
def test_methods_a_client_must_not_send_on_a_channel(peer: RawPeer, name: str) -> None:
    peer.fatal(1, 503, UNIMPLEMENTED, name)


def test_more_channels_than_negotiated(connect: Connect) -> None:
    peer = connect(channel_max=3)
    peer.open_channel(2)
    peer.open_channel(3)
    peer.send(4, "channel.open")
    text = "NOT_ALLOWED - number of channels opened (3) has reached the negotiated channel_max (3)"
    peer.expect_connection_close(530, text)


def test_a_closed_channel_does_not_count(connect: Connect) -> None:
    peer = connect(channel_max=2)
    for _ in range(3):
        peer.open_channel(2)
        peer.close_channel(2)


def test_highest_channel_number(peer: RawPeer) -> None:
    peer.open_channel(2047)
    peer.call(2047, "basic.qos")


def test_close_and_open_again(peer: RawPeer) -> None:
    peer.close_channel(1)
    peer.open_channel(1)
    peer.call(1, "basic.qos")


def test_frames_are_ignored_until_close_ok(peer: RawPeer) -> None:
    peer.send(1, "queue.declare", queue="nope", passive=True)
    peer.send(1, "queue.declare", queue="nope2", passive=True)
    peer.send(1, "basic.ack", delivery_tag=7)
    peer.publish(1, "no such exchange", "x", b"body")
    peer.expect_channel_close(1, 404, no_queue("nope"), "queue.declare")
    peer.open_channel(1)
    peer.call(1, "basic.qos")


def test_a_method_after_close_ok(peer: RawPeer) -> None:
    peer.send(1, "queue.declare", queue="nope", passive=True)
    peer.expect_channel_close(1, 404, no_queue("nope"), "queue.declare")
    peer.fatal(1, 504, NOT_OPEN, "basic.qos")


def test_both_sides_close_at_once(peer: RawPeer) -> None:
    peer.send(1, "queue.declare", queue="nope", passive=True)
    peer.expect(1, "channel.close", reply_code=404)
    peer.call(1, "channel.close", reply_code=200)
    peer.send(1, "channel.close-ok")
    peer.open_channel(1)


def test_open_instead_of_close_ok(peer: RawPeer) -> None:
    peer.send(1, "queue.declare", queue="nope", passive=True)
    peer.expect(1, "channel.close", reply_code=404)
    peer.fatal(1, 504, "CHANNEL_ERROR - second 'channel.open' seen", "channel.open")


def test_a_stray_body_is_an_error_even_while_the_channel_closes(peer: RawPeer) -> None:
    peer.send(1, "queue.declare", queue="nope", passive=True)
    peer.expect(1, "channel.close", reply_code=404)
    peer.send_bytes(frame(BODY, 1, b"abc"))
    peer.expect_connection_close(505, "UNEXPECTED_FRAME - expected method frame, got non method frame instead")


def test_an_error_closes_one_channel_only(peer: RawPeer) -> None:
    peer.open_channel(2)
    peer.refused(1, 404, no_queue("nope"), "queue.declare", queue="nope", passive=True)
    peer.call(2, "basic.qos")


def test_flow(peer: RawPeer) -> None:
    peer.send(1, "channel.flow", active=True)
    peer.expect(1, "channel.flow-ok", active=True)
    peer.fatal(1, 540, "NOT_IMPLEMENTED - active=false", "channel.flow", active=False)


def test_access_request(peer: RawPeer) -> None:
    peer.send(1, "access.request", realm="/data", active=True)
    peer.expect(1, "access.request-ok", ticket=1)
