"""What is offered to whom; what makes a response, and what does not."""

import pytest

from amqpd.protocols.amqp091 import sasl
from amqpd.protocols.amqp091.sasl import Claim, LoginRules
from tests.support.raw_peer import Typed, table


def read(mechanism: str, response: bytes) -> Claim:
    return sasl.read_claim(mechanism, response, LoginRules(), None)


@pytest.mark.parametrize("certificate_name", [None, "", "ada"])
def test_mechanisms_as_rabbitmq_lists_them(certificate_name: str | None) -> None:
    assert LoginRules().offered(certificate_name) == ("AMQPLAIN", "PLAIN")


def test_external_is_offered_over_tls_only() -> None:
    rules = LoginRules(mechanisms=("PLAIN", "EXTERNAL"))
    assert rules.offered(None) == ("PLAIN",)
    assert rules.offered("") == ("PLAIN", "EXTERNAL")  # as RabbitMQ does: why it cannot come in is said later
    assert rules.offered("ada") == ("PLAIN", "EXTERNAL")


def test_anonymous_is_offered_where_it_is_somebody() -> None:
    assert LoginRules(mechanisms=("ANONYMOUS",)).offered(None) == ()
    assert LoginRules(mechanisms=("ANONYMOUS",), anonymous_user="nobody").offered(None) == ("ANONYMOUS",)


def test_external() -> None:
    rules = LoginRules(mechanisms=("EXTERNAL",))
    for response in (b"", b"bob", b"\x00bob\x00secret"):
        assert sasl.read_claim("EXTERNAL", response, rules, "ada") == ("ada", None)
    for certificate_name in (None, ""):
        with pytest.raises(sasl.MalformedResponse, match="no certificate"):
            sasl.read_claim("EXTERNAL", b"", rules, certificate_name)


def test_anonymous() -> None:
    rules = LoginRules(mechanisms=("ANONYMOUS",), anonymous_user="nobody")
    for response in (b"", b"ada@example.org", b"\xff\x00"):
        assert sasl.read_claim("ANONYMOUS", response, rules, None) == ("nobody", None)


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
    assert read("PLAIN", response) == (user, password)


@pytest.mark.parametrize("response", [b"", b"guest", b"guest\x00guest", b"\x00guest\x00gue\x00st", b"\x00\x00\x00\x00"])
def test_malformed_plain(response: bytes) -> None:
    with pytest.raises(sasl.MalformedResponse, match="PLAIN"):
        read("PLAIN", response)


@pytest.mark.parametrize(
    ("entries", "user", "password"),
    [
        ({"LOGIN": "guest", "PASSWORD": "secret"}, "guest", b"secret"),
        ({"PASSWORD": "", "other": [1, None], "LOGIN": ""}, "", b""),
        ({"LOGIN": "\udcff", "PASSWORD": "\udcfe"}, "\udcff", b"\xfe"),
    ],
)
def test_amqplain(entries: dict[str, object], user: str, password: bytes) -> None:
    assert read("AMQPLAIN", table(entries)[4:]) == (user, password)


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
        read("AMQPLAIN", response)
