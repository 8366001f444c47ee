"""What exchanges may ask of a message."""

from typing import Any

import pytest

from amqpd.broker import contents
from amqpd.broker.exchanges.direct import DirectExchange
from amqpd.broker.fields import longstr
from amqpd.broker.message import BLIND
from amqpd.broker.publication import Publication, copies, received
from amqpd.errors import PreconditionFailed
from tests.broker.test_contents import content, props_of
from tests.broker.world import World, arguments


def test_a_message_of_several_keys() -> None:
    message = Publication("e", "k", content(headers={"CC": ["a", "b"], "BCC": ["c"]}), 1, persistent=False)
    assert message.keys == ["k", "a", "b", "c"]
    assert message.find("message_id") is None
    assert message.address == b"\x01e\x01k\xce"


def test_copies_that_are_no_texts_are_no_keys() -> None:
    assert Publication("", "k", content(headers={"CC": [1, "b"], "BCC": "c"}), 1, persistent=False).keys == ["k", "b"]


def of_client(**props: Any) -> Publication:
    return received("e", "k", content(**props), 3, persistent=False)


def test_properties_are_read_when_one_asks() -> None:
    message = of_client(headers={"a": "b"}, expiration="15", priority=7)
    assert message.headers == {"a": longstr("b")}
    assert (message.find("priority"), message.ttl_ms) == ("7", 15)
    plain = of_client()
    assert (plain.headers, plain.find("priority"), plain.ttl_ms) == ({}, None, -1)


def test_blind_copies_are_seen_by_nobody_else() -> None:
    """And who gets one does not see the others."""
    message = of_client(headers={"CC": ["c"], "BCC": ["b"], "a": 1}, type="t")
    assert message.keys == ["k", "c", "b"]
    assert message.channel == 3 | BLIND
    assert props_of(message.shown()) == {"headers": {"CC": ["c"], "a": 1}, "type": "t"}
    open_one = of_client(headers={"CC": ["c"]})
    assert (open_one.channel, open_one.shown()) == (3, open_one.content)


@pytest.mark.parametrize("name", ["CC", "BCC"])
@pytest.mark.parametrize(("value", "kind"), [("a", "longstr"), (1, "signedint"), (None, "void"), ({}, "table")])
def test_copies_are_a_list(name: str, value: object, kind: str) -> None:
    with pytest.raises(
        PreconditionFailed, match=rf'^invalid message: {{unacceptable_type_in_header,"{name}",{kind}}}$'
    ):
        of_client(headers={name: value})


def test_without_headers_there_are_no_copies() -> None:
    assert copies({}) == []
    assert copies(contents.read_headers(content(headers={"cc": ["a"]}))) == []


class Noting(DirectExchange):
    """It remembers what it was told of."""

    def __init__(self) -> None:
        super().__init__("x")
        self.noted: list[Publication] = []

    def note(self, message: Publication) -> None:
        self.noted.append(message)


@pytest.mark.parametrize(
    ("key", "kept", "taken"), [("nowhere", False, False), ("nowhere", True, True), ("q", False, True)]
)
def test_whoever_let_it_pass_is_told_once_it_is_kept(key: str, kept: bool, taken: bool) -> None:
    """Deduplication: what no queue took may come again."""
    world, exchange = World(), Noting()
    world.queue("q")
    message = Publication("", key, content(), 1, persistent=False)
    message.passed.append(exchange)
    message.kept = kept
    world.vhost.publish(message, world.vhost.exchanges[""])
    assert exchange.noted == [message] * taken


def test_what_is_refused_is_not_kept() -> None:
    world, exchange = World(), Noting()
    world.queue("q", arguments=arguments(max_length=0, overflow="reject-publish"))
    message = Publication("", "q", content(), 1, persistent=False)
    message.passed.append(exchange)
    world.vhost.publish(message, world.vhost.exchanges[""])
    assert message.refused
    assert exchange.noted == []
