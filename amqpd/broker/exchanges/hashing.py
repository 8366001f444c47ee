"""Hashes that spread messages over bindings: the same at every start and in every broker."""

import hashlib
from typing import Final

from amqpd.broker import tables

HASH_MAX: Final = 1 << 64  # what ``hash64`` stays below


def hash64(text: str, seed: bytes = b"") -> int:
    """64 bits of ``text``; another ``seed`` gives bits that have nothing to do with them."""
    return int.from_bytes(hashlib.blake2b(tables.bytes_of(text), digest_size=8, key=seed).digest(), "big")
