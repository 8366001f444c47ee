"""Where a broker is and who asks: amqp URIs (RabbitMQ URI Specification)."""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from amqpd.perf.plan import PlanError

HOST: Final = "127.0.0.1"
PORT: Final = 5672
GUEST: Final = "guest"


@dataclass(frozen=True, slots=True)
class Address:
    """What a URI says; the password is in no text of it."""

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    vhost: str

    def __str__(self) -> str:
        return f"{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"


def parse(uri: str) -> Address:
    """``amqp://user:password@host:port/vhost``, each part but the first may be left out. Raises PlanError.

    Without a path the virtual host is ``/``; so it is with a bare slash, as most people mean it.
    """
    complaint = f"--uri: {without_password(uri)!r} is not amqp://user:password@host:port/vhost"
    try:
        parts = urlsplit(uri)
        port = parts.port or PORT
    except ValueError:
        raise PlanError(complaint) from None
    if parts.scheme == "amqps":
        raise PlanError("--uri: amqps is not spoken here; amqpd perf speaks without TLS only")
    if parts.scheme != "amqp" or "/" in parts.path[1:] or parts.query or parts.fragment:
        raise PlanError(complaint)
    return Address(
        parts.hostname or HOST,
        port,
        GUEST if parts.username is None else unquote(parts.username),
        GUEST if parts.password is None else unquote(parts.password),
        unquote(parts.path[1:]) or "/",
    )


def without_password(uri: str) -> str:
    """A URI as it may be shown."""
    start, at, rest = uri.rpartition("@")
    if not at:
        return uri
    scheme, slashes, login = start.partition("//")
    return f"{scheme}{slashes}{login.partition(':')[0]}:***@{rest}" if slashes else f"***@{rest}"
