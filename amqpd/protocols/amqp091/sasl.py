"""SASL mechanisms of connection.start: PLAIN (RFC 4616), AMQPLAIN (AMQP 0-8's own), EXTERNAL and ANONYMOUS (RFC 4422,
4505). Pure: a response in, what the client claims out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from amqpd.broker import tables

PASSWORD_MECHANISMS: Final = ("AMQPLAIN", "PLAIN")
MECHANISMS: Final = (*PASSWORD_MECHANISMS, "EXTERNAL", "ANONYMOUS")


class MalformedResponse(ValueError):
    """The response is not what the mechanism asks for."""


class Claim(NamedTuple):
    """Who the client says it is. ``password`` None: there is other proof, or none is asked for."""

    user_name: str
    password: bytes | None


class LoginRules:
    """How one may log in."""

    def __init__(
        self,
        *,
        mechanisms: tuple[str, ...] = PASSWORD_MECHANISMS,
        loopback_users: frozenset[str] = frozenset({"guest"}),
        anonymous_user: str = "",
    ) -> None:
        self.mechanisms = mechanisms
        self.loopback_users = loopback_users  # who may come from this machine only
        self.anonymous_user = anonymous_user  # whom ANONYMOUS logs in as

    def offered(self, certificate_name: str | None) -> tuple[str, ...]:
        """The mechanisms for a client with this name in its certificate; None when it came without TLS."""
        return tuple(
            name
            for name in self.mechanisms
            if (name != "EXTERNAL" or certificate_name is not None) and (name != "ANONYMOUS" or self.anonymous_user)
        )


def read_claim(mechanism: str, response: bytes, rules: LoginRules, certificate_name: str | None) -> Claim:
    """What a client claims by a mechanism that it was offered. Raises MalformedResponse."""
    if mechanism == "EXTERNAL":
        if not certificate_name:
            raise MalformedResponse("EXTERNAL: the client has no certificate, or there is no name in it")
        return Claim(certificate_name, None)
    if mechanism == "ANONYMOUS":
        return Claim(rules.anonymous_user, None)
    return _READERS[mechanism](response)


def _read_plain(response: bytes) -> Claim:
    parts = response.split(b"\0")
    if len(parts) != 3:
        raise MalformedResponse(
            "PLAIN: authorisation id, user name and password, each behind a zero octet but the first"
        )
    _, user, password = parts
    return Claim(tables.text_of(user), password)


def _read_amqplain(response: bytes) -> Claim:
    try:
        table, _ = tables.read_table(len(response).to_bytes(4, "big") + response, 0)
    except tables.MalformedTable as error:
        raise MalformedResponse(f"AMQPLAIN: {error}") from error
    login, password = table.get("LOGIN"), table.get("PASSWORD")
    if not (login and password and isinstance(login.value, str) and isinstance(password.value, str)):
        raise MalformedResponse("AMQPLAIN: a table with LOGIN and PASSWORD, both long strings")
    return Claim(login.value, tables.bytes_of(password.value))


_READERS: Final[dict[str, Callable[[bytes], Claim]]] = {"PLAIN": _read_plain, "AMQPLAIN": _read_amqplain}
