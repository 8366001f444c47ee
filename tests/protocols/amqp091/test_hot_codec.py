"""Hand-written bytes by example. That they are ``codec``'s: tests/twins/test_hot_codec.py."""

from amqpd.protocols.amqp091 import hot_codec
from tests.support.raw_peer import content_header, decode_method, frame

ADDRESS = b"\x01e\x03key\xce"


def test_no_route() -> None:
    data = hot_codec.no_route(3, ADDRESS)
    assert data[:3] == b"\x01\x00\x03"
    assert decode_method(data[7:-1]).args == {
        "reply_code": 312,
        "reply_text": "NO_ROUTE",
        "exchange": "e",
        "routing_key": "key",
    }


def test_get_ok() -> None:
    data = hot_codec.get_ok(1, 7, True, ADDRESS, 9)
    args = decode_method(data[7:-1]).args
    assert args == {"delivery_tag": 7, "redelivered": True, "exchange": "e", "routing_key": "key", "message_count": 9}


def test_confirm() -> None:
    args = decode_method(hot_codec.confirm(1, 2**40, True)[7:-1]).args
    assert args == {"delivery_tag": 2**40, "multiple": True}


def test_deliver_prefix_is_for_addresses_of_one_length() -> None:
    prefix = hot_codec.deliver_prefix(2, b"tag", len(ADDRESS))
    args = decode_method((prefix + (5).to_bytes(8, "big") + b"\x00" + ADDRESS)[7:-1]).args
    assert (args["consumer_tag"], args["delivery_tag"], args["routing_key"]) == ("tag", 5, "key")
    assert int.from_bytes(prefix[3:7], "big") == len(prefix) - 7 + 9 + len(ADDRESS) - 1


def test_contents() -> None:
    header = content_header(10)
    content = hot_codec.content_frames(1, header, b"0123456789", 12)
    assert content == frame(2, 1, header) + frame(3, 1, b"0123") + frame(3, 1, b"4567") + frame(3, 1, b"89")
    assert hot_codec.body_of(content) == b"0123456789"
    assert hot_codec.reframe(content, 9, 100) == content.replace(b"\x00\x01\x00\x00", b"\x00\x09\x00\x00")
    smaller = hot_codec.reframe(content, 1, 11)
    assert smaller == hot_codec.content_frames(1, header, b"0123456789", 11)


def test_a_header_is_never_split() -> None:
    header = content_header(0, b"\x80\x00\xff" + b"x" * 255)
    content = frame(2, 1, header)
    assert not hot_codec.fits(content, 100)
    assert hot_codec.reframe(content, 2, 100) == frame(2, 2, header)


def test_an_endless_size_is_above_any_limit() -> None:
    assert hot_codec.ENDLESS == 2**63 - 1
