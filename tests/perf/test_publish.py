"""A publish with a gap for the stamp is a publish."""

import pytest

from amqpd.perf.publish import Target, encode
from tests.perf import spoken
from tests.support.raw_peer import content_header, properties

PLAIN = Target("", "q", mandatory=False, persistent=False)


@pytest.mark.parametrize("size", [16, 17, 4088, 4089, 20_000])
@pytest.mark.parametrize("frame_max", [4096, 131_072])
def test_bodies_of_any_size(size: int, frame_max: int) -> None:
    publish = encode(PLAIN, size, frame_max)
    data = publish.head + bytes(16) + publish.tail
    assert len(data) == publish.size
    assert all(len(payload) + 8 <= frame_max for _, _, payload in spoken.frames(data))
    (seen,) = spoken.publishes(data)
    assert seen.body == bytes(16) + b"x" * (size - 16)


def test_where_it_goes_and_how() -> None:
    publish = encode(Target("ex", "key", mandatory=True, persistent=True), 16, 4096)
    (seen,) = spoken.publishes(publish.head + bytes(16) + publish.tail)
    assert seen.method.name == "basic.publish"
    assert (seen.method["exchange"], seen.method["routing_key"], seen.method["mandatory"]) == ("ex", "key", True)
    assert seen.properties == content_header(16, properties(delivery_mode=2))[12:]


def test_transient_messages_have_no_properties() -> None:
    publish = encode(PLAIN, 16, 4096)
    (seen,) = spoken.publishes(publish.head + bytes(16) + publish.tail)
    assert seen.properties == b"\0\0"
    assert not seen.method["mandatory"]
