"""Messages as a test sees them: every property and every type of field as a plain value."""

from dataclasses import FrozenInstanceError
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from amqpd.broker import contents, tables
from amqpd.broker.fields import Field, longstr
from amqpd.broker.message import BLIND, Message
from amqpd.testing.views import (
    MessageProperties,
    plain_table,
    read_properties,
    view_published,
    view_ready,
    view_unacked,
)
from tests.broker.world import World, content_of
from tests.support.raw_peer import Typed

EVERYTHING: dict[str, Any] = {
    "content_type": "text/plain",
    "content_encoding": "utf-8",
    "headers": {"a": 1},
    "delivery_mode": 2,
    "priority": 7,
    "correlation_id": "c",
    "reply_to": "r",
    "expiration": "60000",
    "message_id": "m",
    "timestamp": 1_700_000_000,
    "type": "t",
    "user_id": "guest",
    "app_id": "app",
}


def message(content: bytes, exchange: str = "", routing_key: str = "q", channel: int = 1) -> Message:
    address = tables.write_shortstr(exchange) + tables.write_shortstr(routing_key) + b"\xce"
    return Message(content, address, channel, World().queue(), False)


def value_of(kind: str, value: Any) -> Any:
    """What becomes of one header of this type."""
    return read_properties(content_of(b"", headers={"h": Typed(kind, value)})).headers["h"]


# --- properties ---


def test_every_property() -> None:
    expected = {**EVERYTHING, "timestamp": datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC)}
    assert read_properties(content_of(b"", **EVERYTHING)) == MessageProperties(**expected)


@pytest.mark.parametrize("name", EVERYTHING)
def test_each_property_alone(name: str) -> None:
    found = read_properties(content_of(b"", **{name: EVERYTHING[name]}))
    everything = read_properties(content_of(b"", **EVERYTHING))
    assert found == MessageProperties(**{name: getattr(everything, name)})


def test_no_property() -> None:
    assert read_properties(content_of(b"")) == MessageProperties()
    assert MessageProperties().headers == {}


def test_properties_show_what_they_have() -> None:
    assert repr(MessageProperties()) == "MessageProperties()"
    found = MessageProperties(priority=0, headers={"a": 1}, type="")
    assert repr(found) == "MessageProperties(headers={'a': 1}, priority=0, type='')"


def test_a_property_that_nobody_uses_is_not_shown() -> None:
    assert read_properties(content_of(b"", cluster_id="c", app_id="a")) == MessageProperties(app_id="a")


def test_a_timestamp_that_no_datetime_can_be_is_a_number() -> None:
    assert read_properties(content_of(b"", timestamp=1_700_000_000_000)).timestamp == 1_700_000_000_000


# --- field tables ---


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        ("t", True, True),
        ("b", -5, -5),
        ("B", 200, 200),
        ("s", -300, -300),
        ("u", 60_000, 60_000),
        ("I", -70_000, -70_000),
        ("l", -(1 << 62), -(1 << 62)),
        ("f", 0.5, 0.5),
        ("d", 0.1, 0.1),
        ("D", (2, 314), Decimal("3.14")),
        ("D", (1, -15), Decimal("-1.5")),
        ("D", (255, 1), Decimal("1e-255")),
        ("S", "grün", "grün"),
        ("S", b"\xff\xfe", b"\xff\xfe"),
        ("x", b"text", b"text"),
        ("T", 0, datetime(1970, 1, 1, tzinfo=UTC)),
        ("T", 1 << 62, 1 << 62),
        ("V", None, None),
        ("A", [1, "two", [b"three"]], [1, "two", [b"three"]]),
        ("F", {"a": {"b": [True]}}, {"a": {"b": [True]}}),
        ("A", [Typed("T", 60), {"d": Typed("D", (0, 7))}], [datetime(1970, 1, 1, 0, 1, tzinfo=UTC), {"d": Decimal(7)}]),
    ],
)
def test_each_type_of_field(kind: str, value: Any, expected: Any) -> None:
    found = value_of(kind, value)
    assert found == expected
    assert type(found) is type(expected)


def test_a_table_by_name() -> None:
    assert plain_table({"x-max-length": Field("l", 5), "x-queue-type": longstr("classic")}) == {
        "x-max-length": 5,
        "x-queue-type": "classic",
    }


# --- messages ---


def test_a_message_that_is_ready() -> None:
    found = view_ready(message(content_of(b"body", headers={"a": 1}), "orders", "new.eu"))
    assert (found.body, found.exchange, found.routing_key, found.redelivered) == (b"body", "orders", "new.eu", False)
    assert found.headers == found.properties.headers == {"a": 1}


def test_a_message_that_came_back() -> None:
    again = message(content_of(b""))
    again.redelivered = True
    assert view_ready(again).redelivered


@pytest.mark.parametrize("size", [0, 1, 131_064, 131_065, 300_000])
def test_a_body_is_in_one_piece(size: int) -> None:
    assert view_ready(message(content_of(b"x" * size))).body == b"x" * size


def test_how_often_it_came_back_is_shown_as_consumers_see_it() -> None:
    again = message(content_of(b"", headers={"a": 1}))
    again.returns = 2
    assert view_ready(again).headers == {"a": 1, "x-delivery-count": 2}


def test_blind_copies_are_not_shown() -> None:
    content = content_of(b"body", headers={"BCC": ["secret"], "CC": ["open"]}, app_id="a")
    assert view_ready(message(content, channel=1 | BLIND)).headers == {"CC": ["open"]}
    assert contents.read_headers(content)["BCC"], "the message itself is as it was"


def test_a_message_that_somebody_holds() -> None:
    found = view_unacked(message(content_of(b"body")), delivery_tag=3, channel=1, connection="a -> b")
    assert (found.delivery_tag, found.consumer_tag, found.channel, found.connection) == (3, None, 1, "a -> b")
    assert found.body == b"body"


def test_a_message_that_was_published() -> None:
    found = view_published(content_of(b"body", app_id="a"), "orders", "new", ("q1", "q2"), "/")
    assert (found.body, found.exchange, found.routing_key) == (b"body", "orders", "new")
    assert (found.queues, found.vhost, found.properties.app_id) == (("q1", "q2"), "/", "a")
    assert not found.redelivered


def test_json() -> None:
    assert view_ready(message(content_of('{"naïve": [1, null]}'.encode()))).json() == {"naïve": [1, None]}
    with pytest.raises(ValueError, match="Expecting value"):
        view_ready(message(content_of(b"text"))).json()


def test_what_was_seen_stays() -> None:
    found = view_ready(message(content_of(b"body")))
    with pytest.raises(FrozenInstanceError):
        found.body = b""  # type: ignore[misc] # that is what is tested
    assert found == view_ready(message(content_of(b"body")))
