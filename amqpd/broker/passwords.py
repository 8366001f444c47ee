"""Passwords as they are kept: salted digests, never the words themselves. Pure functions: a salt comes as an argument.

Users that are made here get scrypt (RFC 7914), which costs whoever guesses as much as it costs us; so ``hash_password``
and ``is_right`` may take 50 ms, and are not for the event loop. Users that come with a definitions file of RabbitMQ
bring one of its own digests, which are fast.
"""

import base64
import functools
import hashlib
import hmac
from typing import Final, NamedTuple

SCRYPT: Final = "scrypt"
RABBIT_SHA256: Final = "rabbit_password_hashing_sha256"
# RabbitMQ's names: a salt of four bytes, then the digest of salt and password.
_DIGESTS: Final = {
    RABBIT_SHA256: "sha256",
    "rabbit_password_hashing_sha512": "sha512",
    "rabbit_password_hashing_md5": "md5",
}
_RABBIT_SALT_BYTES: Final = 4
# 16 MiB and about 40 ms: the parameters that RFC 7914's authors give for logins of people who wait.
_LOG_N: Final = 14
_BLOCK_SIZE: Final = 8
_PARALLEL: Final = 1
_KEY_BYTES: Final = 32
_MEMORY_MAX_BYTES: Final = 64 << 20  # of one check, whatever parameters a hash says that it has
_SCRYPT_MAX_CHARS: Final = 512


class InvalidHash(ValueError):
    """No hash of a password, or one by a way that is not known."""


class PasswordHash(NamedTuple):
    """What is kept of a password. ``text`` is base64 for RabbitMQ's algorithms, and describes itself for scrypt."""

    algorithm: str
    text: str

    @property
    def is_slow(self) -> bool:
        """Whether looking takes longer than a turn may."""
        return self.algorithm == SCRYPT


NO_PASSWORD: Final = PasswordHash(RABBIT_SHA256, "")  # as RabbitMQ keeps users that may not log in with one


def read_hash(algorithm: str, text: str) -> PasswordHash:
    """A hash that comes from elsewhere. Raises InvalidHash."""
    if algorithm == SCRYPT:
        _read_scrypt(text)
    elif algorithm in _DIGESTS:
        _read_rabbit(algorithm, text)
    else:
        raise InvalidHash(f"unknown hashing algorithm '{algorithm}'")
    return PasswordHash(algorithm, text)


def hash_password(password: bytes, salt: bytes) -> PasswordHash:
    """What to keep of a new password; slow on purpose. An empty one lets nobody in, as with RabbitMQ."""
    if not password:
        return NO_PASSWORD
    key = _scrypt(password, salt, _LOG_N, _BLOCK_SIZE, _PARALLEL)
    parameters = f"ln={_LOG_N},r={_BLOCK_SIZE},p={_PARALLEL}"
    return PasswordHash(SCRYPT, f"$scrypt${parameters}${_encode(salt)}${_encode(key)}")


def hash_like_rabbitmq(password: bytes, salt: bytes) -> PasswordHash:
    """RabbitMQ's salted SHA-256: fast, so only for what is no secret."""
    salt = salt[:_RABBIT_SALT_BYTES]
    return PasswordHash(RABBIT_SHA256, _encode(salt + hashlib.sha256(salt + password).digest()))


def is_right(kept: PasswordHash, password: bytes) -> bool:
    """Whether ``kept`` is of ``password``. Slow or not, it takes as long for a wrong one."""
    if not password or not kept.text:
        return False
    if kept.algorithm == SCRYPT:
        log_n, block_size, parallel, salt, key = _read_scrypt(kept.text)
        return hmac.compare_digest(_scrypt(password, salt, log_n, block_size, parallel), key)
    salt, key = _read_rabbit(kept.algorithm, kept.text)
    digest = hashlib.new(_DIGESTS[kept.algorithm], salt + password, usedforsecurity=False).digest()
    return hmac.compare_digest(digest, key)


def _scrypt(password: bytes, salt: bytes, log_n: int, block_size: int, parallel: int) -> bytes:
    return hashlib.scrypt(
        password,
        salt=salt,
        n=1 << log_n,
        r=block_size,
        p=parallel,
        maxmem=_MEMORY_MAX_BYTES + (1 << 20),
        dklen=_KEY_BYTES,
    )


def _read_scrypt(text: str) -> tuple[int, int, int, bytes, bytes]:
    """log2 of n, r, p, salt and key. Raises InvalidHash."""
    try:
        empty, name, parameters, salt, key = text[:_SCRYPT_MAX_CHARS].split("$")
        numbers = dict(part.split("=") for part in parameters.split(","))
        log_n, block_size, parallel = (int(numbers[letter]) for letter in ("ln", "r", "p"))
        found = (log_n, block_size, parallel, _decode(salt), _decode(key))
    except (ValueError, KeyError) as error:
        raise InvalidHash("no hash of scrypt: $scrypt$ln=N,r=N,p=N$salt$key is one") from error
    if empty or name != SCRYPT or len(found[4]) != _KEY_BYTES or min(log_n, block_size, parallel) < 1:
        raise InvalidHash("no hash of scrypt: $scrypt$ln=N,r=N,p=N$salt$key is one, with a key of 32 bytes")
    if log_n > 30 or parallel > 16 or (128 * block_size << log_n) > _MEMORY_MAX_BYTES:
        raise InvalidHash(f"a hash that takes more than {_MEMORY_MAX_BYTES >> 20} MiB to check, or 16 times as long")
    return found


@functools.lru_cache(maxsize=256)
def _read_rabbit(algorithm: str, text: str) -> tuple[bytes, bytes]:
    """Salt and digest; both empty for the user without a password. Raises InvalidHash."""
    try:
        data = _decode(text)
    except ValueError as error:
        raise InvalidHash("a password hash of RabbitMQ's is base64") from error
    expected = _RABBIT_SALT_BYTES + hashlib.new(_DIGESTS[algorithm], usedforsecurity=False).digest_size
    if len(data) not in (0, expected):
        raise InvalidHash(f"a password hash by {algorithm} has {expected} bytes, this one {len(data)}")
    return data[:_RABBIT_SALT_BYTES], data[_RABBIT_SALT_BYTES:]


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
