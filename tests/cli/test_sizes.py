import pytest

from amqpd.cli.sizes import size


@pytest.mark.parametrize(
    ("count", "words"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "1.0 KiB"), (1024**2, "1.0 MiB"), (1500 * 1024**3, "1.5 TiB")],
)
def test_sizes(count: int, words: str) -> None:
    assert size(count) == words
