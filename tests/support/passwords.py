"""Hashes of passwords that are slow by name only, so that tests of logins are quick."""

import base64
import hashlib

from amqpd.broker.passwords import SCRYPT, PasswordHash, read_hash


def quick_hash(password: bytes) -> PasswordHash:
    """As ``passwords.hash_password`` makes it, with the least work that scrypt can do."""
    key = hashlib.scrypt(password, salt=b"salt", n=2, r=1, p=1, dklen=32)
    salt_and_key = f"{base64.b64encode(b'salt').decode()}${base64.b64encode(key).decode()}"
    return read_hash(SCRYPT, f"$scrypt$ln=1,r=1,p=1${salt_and_key}")
