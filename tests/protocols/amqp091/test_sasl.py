"""PLAIN and AMQPLAIN: what makes a response, and what does not."""

import pytest

from amqpd.protocols.amqp091 import sasl
from tests.support.raw_peer import Typed, table


def test_mechanisms_as_rabbitmq_lists_them() -> None:
    assert sasl.MECHANISMS == ("AMQPLAIN", "PLAIN")


@pytest.mark.parametrize(
    ("response", "user", "password"),
    [
        (b"\x00guest\x00secret", "guest", b"secret"),
        (b"someone\x00guest\x00secret", "guest", b"secret"),  # the authorisation id is not looked at
        (b"\x00\x00", "", b""),
        (b"\x00guest\x00", "guest", b""),
        ("\x00gäst\x00gehéim".encode(), "gäst", "gehéim".encode()),
        (b"\x00\xff\x00\xfe", "\udcff", b"\xfe"),
    ],
)
def test_plain(response: bytes, user: str, password: bytes) -> None:
    assert sasl.read_response("PLAIN", response) == (user, password)


@pytest.mark.parametrize("response", [b"", b"guest", b"guest\x00guest", b"\x00guest\x00gue\x00st", b"\x00\x00\x00\x00"])
def test_malformed_plain(response: bytes) -> None:
    with pytest.raises(sasl.MalformedResponse, match="PLAIN"):
        sasl.read_response("PLAIN", response)


@pytest.mark.parametrize(
    ("entries", "user", "password"),
    [
        ({"LOGIN": "guest", "PASSWORD": "secret"}, "guest", b"secret"),
        ({"PASSWORD": "", "other": [1, None], "LOGIN": ""}, "", b""),
        ({"LOGIN": "\udcff", "PASSWORD": "\udcfe"}, "\udcff", b"\xfe"),
    ],
)
def test_amqplain(entries: dict[str, object], user: str, password: bytes) -> None:
    assert sasl.read_response("AMQPLAIN", table(entries)[4:]) == (user, password)


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"\x00guest\x00guest",
        table({"LOGIN": "guest"})[4:],
        table({"PASSWORD": "guest"})[4:],
        table({"login": "guest", "password": "guest"})[4:],
        table({"LOGIN": 1, "PASSWORD": "guest"})[4:],
        table({"LOGIN": "guest", "PASSWORD": None})[4:],
        table({"LOGIN": "guest", "PASSWORD": Typed("x", b"guest")})[4:],
        table({"LOGIN": "guest", "PASSWORD": "guest"})[4:-1],
        table({"LOGIN": "guest", "PASSWORD": "guest"}),  # with its length: a table that begins with an empty name
    ],
)
def test_malformed_amqplain(response: bytes) -> None:
    with pytest.raises(sasl.MalformedResponse, match="AMQPLAIN"):
        sasl.read_response("AMQPLAIN", response)
