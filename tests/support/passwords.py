"""Passwords without scrypt's work, so that tests that are about something else are quick."""

import base64
import hashlib

from amqpd.broker.logins import Check, Checker
from amqpd.broker.passwords import SCRYPT, PasswordHash, read_hash


def quick_hash(password: bytes) -> PasswordHash:
    """Slow by name only: as ``passwords.hash_password`` makes it, with the least work that scrypt can do."""
    key = hashlib.scrypt(password, salt=b"salt", n=2, r=1, p=1, dklen=32)
    salt_and_key = f"{base64.b64encode(b'salt').decode()}${base64.b64encode(key).decode()}"
    return read_hash(SCRYPT, f"$scrypt$ln=1,r=1,p=1${salt_and_key}")


class CheckerOfStrangers(Checker):
    """For brokers whose users have fast hashes: what is left to look at is nobody's password, so nobody looks."""

    def __init__(self) -> None:
        self._done: list[Check] = []

    def begin(self, check: Check) -> None:
        self._done.append(check)

    def take_done(self) -> list[Check]:
        done = self._done
        self._done = []
        return done
