"""The property ``user_id`` (RabbitMQ's rule): who publishes says who he is, or nothing."""

import secrets
from collections.abc import Iterator

import pytest

from tests.conformance.conftest import Control, Enter
from tests.support.raw_peer import RawPeer, properties


@pytest.fixture
def queue(peer: RawPeer) -> str:
    name: str = peer.call(1, "queue.declare", exclusive=True)["queue"]
    return name


def refused(claimed: str, user: str = "guest") -> str:
    return f"PRECONDITION_FAILED - user_id property set to '{claimed}' but authenticated user was '{user}'"


@pytest.mark.parametrize("props", [{}, {"user_id": "guest"}])
def test_ones_own_name_and_none(peer: RawPeer, queue: str, props: dict[str, str]) -> None:
    sent = properties(**props)
    peer.publish(1, "", queue, b"m", sent)
    assert peer.get(1, queue, b"m").properties == sent


@pytest.mark.parametrize("claimed", ["nobody", "", "Guest", "guest ", "ä", "x" * 150])
def test_another_name_is_refused(peer: RawPeer, queue: str, claimed: str) -> None:
    peer.publish(1, "", queue, b"m", properties(user_id=claimed))
    peer.expect_channel_close(1, 406, refused(claimed), "basic.publish")
    peer.open_channel(1)
    peer.get_empty(1, queue)


def test_it_is_refused_also_where_nobody_would_see_it(peer: RawPeer) -> None:
    peer.publish(1, "", "nowhere", b"m", properties(user_id="nobody"))
    peer.expect_channel_close(1, 406, refused("nobody"), "basic.publish")
    peer.open_channel(1)
    peer.call(1, "tx.select")
    peer.publish(1, "amq.fanout", "", b"m", properties(user_id="nobody"))
    peer.expect_channel_close(1, 406, refused("nobody"), "basic.publish")


def test_each_publish_is_looked_at(peer: RawPeer, queue: str) -> None:
    """The one before, to the same queue, was fine."""
    for _ in range(3):
        peer.publish(1, "", queue, b"m", properties(user_id="guest"))
    peer.publish(1, "", queue, b"m", properties(user_id="nobody"))
    peer.expect_channel_close(1, 406, refused("nobody"), "basic.publish")
    peer.open_channel(1)
    assert peer.take_all(1, queue) == [b"m"] * 3


@pytest.fixture(scope="module")
def impersonator(control: Control) -> Iterator[str]:
    """A user with that tag; the password is ``secret``."""
    user = f"u-{secrets.token_hex(4)}"
    control("add_user", user, "secret")
    control("set_user_tags", user, "impersonator")
    control("set_permissions", user, ".*", ".*", ".*")
    yield user
    control("delete_user", user)


@pytest.mark.parametrize("claimed", ["guest", "nobody", ""])
def test_an_impersonator_may_claim_any_name(enter: Enter, impersonator: str, claimed: str) -> None:
    peer = enter("/", impersonator, "secret")
    peer.expect(0, "connection.open-ok")
    peer.open_channel(1)
    queue = peer.call(1, "queue.declare", exclusive=True)["queue"]
    sent = properties(user_id=claimed)
    peer.publish(1, "", queue, b"m", sent)
    assert peer.get(1, queue, b"m").properties == sent


def test_tags_count_from_the_next_connection_on(control: Control, enter: Enter, impersonator: str) -> None:
    control("set_user_tags", impersonator, "administrator")
    peer = enter("/", impersonator, "secret")
    peer.expect(0, "connection.open-ok")
    peer.open_channel(1)
    peer.publish(1, "", "nowhere", b"m", properties(user_id="guest"))
    peer.expect_channel_close(1, 406, refused("guest", impersonator), "basic.publish")
    peer.open_channel(1)
    control("set_user_tags", impersonator, "impersonator")
    peer.publish(1, "", "nowhere", b"m", properties(user_id="guest"))
    peer.expect_channel_close(1, 406, refused("guest", impersonator), "basic.publish")
