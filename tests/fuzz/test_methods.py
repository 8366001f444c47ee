"""Every method of the standard, cut short at every place and made longer: always 501, never our own fault."""

import pytest

from amqpd.protocols.amqp091.codec import SCHEMAS
from tests.fuzz.inputs import Input
from tests.fuzz.run import Runner
from tests.support.raw_peer import HEADER, METHODS, frame, method_payload
from tests.support.wire import login

LOGGED_IN = login(1)
FILLED = {
    "octet": 1,
    "short": 2,
    "long": 3,
    "longlong": 4,
    "bit": False,
    "shortstr": "name",
    "longstr": b"long",
    "table": {"a": 1, "b": {"c": [None, "d"]}},
}
CODES = {405, 404, 406, 403, 501, 503, 504, 505, 530, 540}


def full(name: str) -> bytes:
    arguments = dict(field.split(":") for field in METHODS[name][2].split())
    return method_payload(name, **{key: FILLED[kind] for key, kind in arguments.items()})


def answer(data: bytes) -> list[int]:
    with Runner() as runner:
        return runner.run(Input("methods", data, turns={0}))


def test_the_table_is_complete() -> None:
    assert {class_id << 16 | method_id for class_id, method_id, _ in METHODS.values()} == set(SCHEMAS)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("channel", [0, 1, 2], ids=["channel 0", "open channel", "closed channel"])
def test_truncated(name: str, channel: int) -> None:
    payload = full(name)
    for size in range(len(payload)):
        assert answer(LOGGED_IN + frame(1, channel, payload[:size])) == [501], f"{size} of {len(payload)} octets"


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("channel", [0, 1, 2], ids=["channel 0", "open channel", "closed channel"])
def test_extended(name: str, channel: int) -> None:
    for rest in (b"\x00", b"\xff", b"\x00" * 100):
        assert answer(LOGGED_IN + frame(1, channel, full(name) + rest)) == [501]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("channel", [0, 1, 2], ids=["channel 0", "open channel", "closed channel"])
def test_filled_with_anything(name: str, channel: int) -> None:
    """Whatever it means, it is answered or refused for a reason of the standard."""
    assert CODES.issuperset(answer(LOGGED_IN + frame(1, channel, full(name))))


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("channel", [0, 1])
def test_before_login(name: str, channel: int) -> None:
    payload = full(name)
    for size in range(len(payload) + 1):
        codes = answer(HEADER + frame(1, channel, payload[:size]))
        assert codes in ([], [501], [503], [505])
