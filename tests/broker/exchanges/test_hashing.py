from amqpd.broker.exchanges.hashing import HASH_MAX, hash64


def test_hashes_are_the_same_for_ever() -> None:
    """What is bound to a hash would move with the program's version otherwise."""
    assert hash64("") == 0xE4A6A0577479B2B4
    assert hash64("key") == hash64("key", b"")
    assert hash64("key") != hash64("key", b"seed")


def test_any_text_has_one_of_64_bits() -> None:
    hashes = [hash64(text) for text in ("é", "\udcff", "\x00", "a" * 255, *map(str, range(100)))]
    assert len(set(hashes)) == len(hashes)
    assert max(hashes) < HASH_MAX
