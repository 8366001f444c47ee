import base64
import hashlib

import pytest

from amqpd.broker import passwords
from amqpd.broker.passwords import NO_PASSWORD, InvalidHash, PasswordHash, hash_password, is_right, read_hash

SALT = b"0123456789abcdef"
DOCUMENTED = "kI3GCqW5JLMJa4iX1lo7X4D6XbYqlLgxIs30+P6tENUV2POR"  # the example of RabbitMQ's guide to passwords


def rabbit_hash(digest: str, password: bytes) -> str:
    return base64.b64encode(b"salt" + hashlib.new(digest, b"salt" + password).digest()).decode()


def test_hash_says_how_it_was_made() -> None:
    kept = hash_password(b"secret", SALT)
    assert kept.algorithm == "scrypt"
    assert kept.text.startswith("$scrypt$ln=14,r=8,p=1$MDEyMzQ1Njc4OWFiY2RlZg==$")
    assert "secret" not in kept.text
    assert read_hash(kept.algorithm, kept.text) == kept


def test_only_the_right_password_is_right() -> None:
    kept = hash_password("pässword".encode(), SALT)
    assert is_right(kept, "pässword".encode())
    assert not is_right(kept, b"password")
    assert not is_right(kept, b"")
    assert kept != hash_password("pässword".encode(), SALT[::-1])


def test_key_is_that_of_the_standard() -> None:
    """RFC 7914, 12: the second vector, of which 32 bytes are kept."""
    key = bytes.fromhex("fdbabe1c9d3472007856e7190d01e9fe7c6ad7cbc8237830e77376634b373162")
    text = f"$scrypt$ln=10,r=8,p=16${base64.b64encode(b'NaCl').decode()}${base64.b64encode(key).decode()}"
    assert is_right(read_hash("scrypt", text), b"password")


def test_hash_of_rabbitmq() -> None:
    kept = read_hash("rabbit_password_hashing_sha256", DOCUMENTED)
    assert is_right(kept, b"test12")
    assert not is_right(kept, b"test123")
    assert not kept.is_slow


@pytest.mark.parametrize("digest", ["sha256", "sha512", "md5"])
def test_every_digest_of_rabbitmq(digest: str) -> None:
    kept = read_hash(f"rabbit_password_hashing_{digest}", rabbit_hash(digest, b"secret"))
    assert is_right(kept, b"secret")
    assert not is_right(kept, b"Secret")


def test_made_like_rabbitmq() -> None:
    kept = passwords.hash_like_rabbitmq(b"guest", SALT)
    assert base64.b64decode(kept.text) == b"0123" + hashlib.sha256(b"0123guest").digest()
    assert is_right(kept, b"guest")


def test_no_password_is_never_right() -> None:
    assert hash_password(b"", SALT) == NO_PASSWORD
    assert not is_right(NO_PASSWORD, b"")
    assert not is_right(NO_PASSWORD, b"x")
    assert read_hash(NO_PASSWORD.algorithm, "") == NO_PASSWORD
    assert not is_right(PasswordHash("rabbit_password_hashing_sha256", rabbit_hash("sha256", b"")), b"")


KEY = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    ("algorithm", "text", "why"),
    [
        ("rot13", "x", "unknown hashing algorithm 'rot13'"),
        ("rabbit_password_hashing_sha256", "not base64", "is base64"),
        ("rabbit_password_hashing_sha256", "é", "is base64"),
        ("rabbit_password_hashing_sha256", "AAAA", "has 36 bytes, this one 3"),
        ("rabbit_password_hashing_sha512", KEY, "has 68 bytes, this one 32"),
        ("scrypt", "", "no hash of scrypt"),
        ("scrypt", "$scrypt$ln=14,r=8,p=1$AAAA$AAAA", "a key of 32 bytes"),
        ("scrypt", f"$scrypt$ln=14,r=8$AAAA${KEY}", "no hash of scrypt"),
        ("scrypt", f"$scrypt$ln=x,r=8,p=1$AAAA${KEY}", "no hash of scrypt"),
        ("scrypt", f"$bcrypt$ln=14,r=8,p=1$AAAA${KEY}", "no hash of scrypt"),
        ("scrypt", f"$scrypt$ln=0,r=8,p=1$AAAA${KEY}", "no hash of scrypt"),
        ("scrypt", f"$scrypt$ln=99999999,r=8,p=1$AAAA${KEY}", "takes more than 64 MiB"),
        ("scrypt", f"$scrypt$ln=20,r=8,p=1$AAAA${KEY}", "takes more than 64 MiB"),
        ("scrypt", f"$scrypt$ln=14,r=8,p=9999$AAAA${KEY}", "or 16 times as long"),
        ("scrypt", "$" * 10_000, "no hash of scrypt"),
    ],
)
def test_what_is_no_hash(algorithm: str, text: str, why: str) -> None:
    with pytest.raises(InvalidHash) as caught:
        read_hash(algorithm, text)
    assert why in str(caught.value)


def test_the_most_expensive_hash_that_is_taken_can_be_checked() -> None:
    kept = read_hash("scrypt", f"$scrypt$ln=16,r=8,p=1$AAAA${KEY}")
    assert not is_right(kept, b"secret")
