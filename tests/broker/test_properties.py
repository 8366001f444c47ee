"""Property lists by example. That they are read as a plain decoder reads them: tests/twins/test_properties.py."""

import pytest

from amqpd.broker.properties import (
    BAD_MODE,
    HAS_EXPIRATION,
    HAS_HEADERS,
    HAS_REPLY_TO,
    HAS_USER_ID,
    MALFORMED,
    PRIORITY_SHIFT,
    check_table,
    find_headers,
    find_property,
    find_user_id,
    read_facts,
)
from tests.protocols.amqp091.dialogue import closes, names, one
from tests.support.raw_peer import properties, table
from tests.support.wire import Server


def facts(data: bytes) -> int:
    return read_facts(data, 0, len(data))


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (properties(), 0),
        (properties(delivery_mode=1), 1),
        (properties(delivery_mode=2), 2),
        (properties(delivery_mode=0), BAD_MODE),
        (properties(delivery_mode=3), 3 | BAD_MODE),
        (properties(headers={}), HAS_HEADERS),
        (properties(headers={"a": 1}, delivery_mode=2, user_id="u"), 2 | HAS_HEADERS | HAS_USER_ID),
        (properties(content_type="t", timestamp=2**64 - 1, cluster_id="c"), 0),
        (properties(priority=0), 0),
        (properties(priority=9, delivery_mode=2), 9 << PRIORITY_SHIFT | 2),
        (properties(priority=255), 255 << PRIORITY_SHIFT),
        (properties(reply_to="r"), HAS_REPLY_TO),
        (properties(expiration="", message_id="m"), HAS_EXPIRATION),
        (b"\x00\x01\x00\x00", MALFORMED),
        (b"\x00", MALFORMED),
        (b"\x10\x00", MALFORMED),
        (b"\x80\x00\x02x", MALFORMED),
        (properties() + b"x", MALFORMED),
    ],
)
def test_facts(data: bytes, found: int) -> None:
    assert facts(data) == found


def test_positions() -> None:
    data = properties(content_type="t", headers={"a": 1}, priority=9, timestamp=1, user_id="u", app_id="a")
    assert data[find_headers(data, 0) :].startswith(table({"a": 1}))
    assert data[find_user_id(data, 0) :].startswith(b"\x01u\x01a")
    assert find_property(data, 0, 0x8000) == 2
    assert find_property(data, 0, 0x0400) == MALFORMED
    assert find_user_id(properties(app_id="a"), 0) == MALFORMED


def test_tables() -> None:
    data = b"xx" + table({"a": [1, {"b": None}]}) + b"yy"
    assert check_table(data, 2, len(data)) == len(data) - 2
    assert check_table(data, 2, len(data) - 3) == MALFORMED
    assert check_table(data, 3, len(data)) == MALFORMED


@pytest.mark.parametrize("exchange", ["", "amq.headers"])
@pytest.mark.parametrize(
    ("props", "code"),
    [
        (properties(delivery_mode=3), 406),
        (properties(user_id="root"), 406),
        (properties(user_id="guest"), 0),
        (properties(user_id=""), 406),
        (b"\x20\x00\x00\x00\x00\x05\x01", 501),
    ],
)
def test_what_is_refused_for_its_properties(exchange: str, props: bytes, code: int) -> None:
    peer = Server().peer(1)
    peer.publish(1, exchange, "nowhere", b"x", props, mandatory=True)
    said = one(peer)
    if code:
        assert closes(said)[1] == code
    else:
        assert said.name == "basic.return"


def test_headers_decide_message_by_message() -> None:
    """One route is remembered for all of them."""
    peer = Server().peer(1)
    peer.call(1, "queue.declare", queue="q")
    peer.call(1, "queue.bind", queue="q", exchange="amq.headers", arguments={"n": 1})
    for headers, told in (({"n": 1}, []), ({"n": 2}, ["basic.return"]), ({"n": 1, "m": [None]}, [])):
        peer.publish(1, "amq.headers", "", b"x", properties(headers=headers), mandatory=True)
        assert names(peer) == told
    peer.publish(1, "amq.headers", "", b"x", mandatory=True)
    assert names(peer) == ["basic.return"]
    (route,) = peer.connection.routes.values()
    assert route.by_message
