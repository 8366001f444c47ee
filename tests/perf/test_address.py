"""What URIs mean, and which do not."""

import pytest

from amqpd.perf import address
from amqpd.perf.address import Address
from amqpd.perf.plan import PlanError

LOCAL = Address("127.0.0.1", 5672, "guest", "guest", "/")


@pytest.mark.parametrize("uri", ["amqp://", "amqp://127.0.0.1", "amqp://guest:guest@127.0.0.1:5672/%2F", "amqp:///"])
def test_what_is_left_out_is_the_broker_of_this_machine(uri: str) -> None:
    assert address.parse(uri) == LOCAL


def test_every_part() -> None:
    said = address.parse("amqp://us%65r:p%40ss@broker.example:5673/my%2Fvhost")
    assert said == Address("broker.example", 5673, "user", "p@ss", "my/vhost")
    assert str(said) == "broker.example:5673"


def test_ipv6() -> None:
    assert str(address.parse("amqp://[::1]")) == "[::1]:5672"


def test_an_empty_password_is_one() -> None:
    assert address.parse("amqp://user:@host").password == ""


@pytest.mark.parametrize(
    "uri",
    ["", "5672", "localhost:5672", "http://localhost", "amqp://h:x/", "amqp://h/a/b", "amqp://h/?heartbeat=5"],
)
def test_what_is_no_address_is_said(uri: str) -> None:
    with pytest.raises(PlanError, match=r"^--uri: .* is not amqp://user:password@host:port/vhost$"):
        address.parse(uri)


def test_tls_is_not_pretended() -> None:
    with pytest.raises(PlanError, match="without TLS"):
        address.parse("amqps://host")


def test_passwords_are_never_shown() -> None:
    assert address.without_password("amqp://user:secret@host/") == "amqp://user:***@host/"
    assert address.without_password("user:secret@host") == "***@host"
    assert "secret" not in repr(address.parse("amqp://user:secret@host"))
    with pytest.raises(PlanError) as told:
        address.parse("amqp://user:secret@host:x")
    assert "secret" not in str(told.value)
