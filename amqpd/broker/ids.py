"""Names that the server makes up, and numbers for queues in the store."""

import base64
import secrets
from typing import Protocol


class Ids(Protocol):
    """Chance, as an argument: tests pass their own."""

    def unique(self) -> str:
        """22 characters of ``A-Z a-z 0-9 - _``, never the same twice."""
        ...


class RandomIds:
    """128 random bits, as RabbitMQ's ``amq.gen-`` and ``amq.ctag-`` names have them."""

    def unique(self) -> str:
        return base64.urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")


class QueueNumbers:
    """The next number for a queue in the store; one counter for all virtual hosts, and none is used twice."""

    def __init__(self) -> None:
        self.next = 1

    def take(self) -> int:
        self.next += 1
        return self.next - 1
