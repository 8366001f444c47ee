"""SASL mechanisms of connection.start: PLAIN (RFC 4616) and AMQPLAIN (AMQP 0-8's own). Pure: a response in,
credentials out.
"""

from typing import Final

from amqpd.broker import tables

MECHANISMS: Final = ("AMQPLAIN", "PLAIN")


class MalformedResponse(ValueError):
    """The response is not what the mechanism asks for."""


def read_response(mechanism: str, response: bytes) -> tuple[str, bytes]:
    """User name and password. Raises MalformedResponse."""
    return _read_plain(response) if mechanism == "PLAIN" else _read_amqplain(response)


def _read_plain(response: bytes) -> tuple[str, bytes]:
    parts = response.split(b"\0")
    if len(parts) != 3:
        raise MalformedResponse(
            "PLAIN: authorisation id, user name and password, each behind a zero octet but the first"
        )
    _, user, password = parts
    return tables.text_of(user), password


def _read_amqplain(response: bytes) -> tuple[str, bytes]:
    try:
        table, _ = tables.read_table(len(response).to_bytes(4, "big") + response, 0)
    except tables.MalformedTable as error:
        raise MalformedResponse(f"AMQPLAIN: {error}") from error
    login, password = table.get("LOGIN"), table.get("PASSWORD")
    if not (login and password and isinstance(login.value, str) and isinstance(password.value, str)):
        raise MalformedResponse("AMQPLAIN: a table with LOGIN and PASSWORD, both long strings")
    return login.value, tables.bytes_of(password.value)
