import pytest

from amqpd.broker.names import fault_of


@pytest.mark.parametrize("name", ["", "plain", "ü" * 127, "x" * 255, "bytes \udcff"])
def test_names_that_clients_can_say(name: str) -> None:
    assert fault_of(name) == ""


def test_names_that_no_client_can_say() -> None:
    assert fault_of("x" * 256) == fault_of("ü" * 128) == "is longer than 255 bytes"
    assert fault_of("\ud800") == "is no Unicode text"
