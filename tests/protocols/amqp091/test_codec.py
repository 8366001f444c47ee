"""Methods between bytes and arguments: as pamqp has them where it is faithful, as the tests' own encoder everywhere."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pamqp import commands
from pamqp import frame as pamqp_frame

from amqpd.broker.fields import Field, Table
from amqpd.errors import AmqpError, FrameError, NotFound
from amqpd.protocols.amqp091 import codec
from amqpd.protocols.amqp091.constants import BASIC_ACK, CHANNEL_CLOSE, QUEUE_DECLARE
from tests.support.raw_peer import METHODS, NAMES, decode_method, frame, method_payload

COMMANDS: dict[int, Any] = dict(commands.INDEX_MAPPING)
# Arguments of no meaning any more: pamqp wants them to be this.
RESERVED: dict[str, Any] = {
    "ticket": 0,
    "capabilities": "",
    "known_hosts": "",
    "cluster_id": "",
    "insist": False,
    "out_of_band": "0",
    "channel_id": "0",
}
letters = st.text("abcXYZ019-_.:@#,/+ ", max_size=20)
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "bit": st.booleans(),
    "octet": st.integers(0, 2**8 - 1),
    "short": st.integers(0, 2**16 - 1),
    "long": st.integers(0, 2**32 - 1),
    "longlong": st.integers(0, 2**63 - 1),  # pamqp has it signed
    "shortstr": letters,
    "longstr": letters,
}
plain_tables: st.SearchStrategy[dict[str, Any]] = st.recursive(
    st.dictionaries(letters, st.one_of(st.booleans(), letters, st.none(), st.integers(-128, 127)), max_size=3),
    lambda inner: st.dictionaries(letters, inner, max_size=3),
    max_leaves=6,
)


def fields(plain: dict[str, Any]) -> Table:
    """A table as pamqp writes it: names sorted, the narrowest kinds."""
    return {name: field(plain[name]) for name in sorted(plain)}


def field(value: Any) -> Field:
    if isinstance(value, dict):
        return Field("F", fields(value))
    if isinstance(value, bool):
        return Field("t", value)
    if value is None:
        return Field("V", None)
    return Field("b", value) if isinstance(value, int) else Field("S", value)


def ours(domain: str, value: Any) -> Any:
    """The value as codec has it."""
    if domain == "table":
        return fields(value)
    return value.encode() if domain == "longstr" else value


@pytest.mark.parametrize("number", COMMANDS, ids=[command.name for command in COMMANDS.values()])
@settings(max_examples=15)
@given(data=st.data())
def test_as_pamqp_has_it(number: int, data: st.DataObject) -> None:
    schema = codec.SCHEMAS[number]
    command = COMMANDS[number].__new__(COMMANDS[number])
    given_: dict[str, Any] = {}
    for name, domain in schema.arguments:
        if name in RESERVED:
            value = RESERVED[name]
        else:
            value = data.draw(plain_tables if domain == "table" else SCALARS[domain])
        setattr(command, name, value)
        given_[name] = ours(domain, value)
    theirs = pamqp_frame.marshal(command, 3)
    assert codec.method_frame(3, number, **given_) == theirs
    decoded = codec.decode(schema, theirs[7:-1], 4)
    assert decoded.schema is schema
    assert decoded.arguments == given_


def test_every_method_of_pamqp_and_access() -> None:
    assert {*COMMANDS, 0x001E000A, 0x001E000B} == set(codec.SCHEMAS)
    for (class_id, method_id), name in NAMES.items():
        schema = codec.find_schema(class_id << 16 | method_id)
        assert schema is not None
        assert schema.name == name
        domains = [argument.split(":")[1] for argument in METHODS[name][2].split()]
        assert [domain for _, domain in schema.arguments] == domains


FILLED: dict[str, Any] = {
    "octet": 1,
    "short": 2**16 - 1,
    "long": 2**32 - 1,
    "longlong": 2**64 - 1,
    "bit": True,
    "shortstr": "\udcffé",
    "longstr": b"\xff\x00",
    "table": {"a": {"b": [None, "d"]}},
}


@pytest.mark.parametrize("filled", [False, True])
@pytest.mark.parametrize("name", METHODS)
def test_as_the_tests_have_it(name: str, filled: bool) -> None:
    class_id, method_id, signature = METHODS[name]
    number = class_id << 16 | method_id
    schema = codec.SCHEMAS[number]
    domains = [argument.split(":") for argument in signature.split()]
    payload = method_payload(name, **{key: FILLED[kind] for key, kind in domains} if filled else {})
    decoded = codec.decode(schema, payload, 4)
    assert codec.encode(number, **decoded.arguments) == payload
    if not filled:
        assert codec.encode(number) == payload
    assert codec.method_frame(65535, number, **decoded.arguments) == frame(1, 65535, payload)
    if "table" not in signature:
        assert [decoded[key] for key, _ in schema.arguments] == [
            FILLED[kind] if filled else _zero(kind) for _, kind in domains
        ]
    assert decode_method(payload).name == schema.name


def _zero(kind: str) -> Any:
    return {"bit": False, "shortstr": "", "longstr": b""}.get(kind, 0)


def test_no_such_method() -> None:
    assert codec.find_schema(0) is None
    assert codec.find_schema(0x00630001) is None


def test_arguments_by_name() -> None:
    payload = method_payload("queue.declare", queue="q", durable=True, nowait=True)
    decoded = codec.decode(codec.SCHEMAS[QUEUE_DECLARE], payload, 4)
    assert decoded["queue"] == "q"
    assert [name for name, value in decoded.arguments.items() if value is True] == ["durable", "nowait"]
    with pytest.raises(KeyError):
        decoded["nonsense"]


def test_an_argument_that_does_not_exist() -> None:
    with pytest.raises(AssertionError, match=r"queue.declare-ok has no nonsense"):
        codec.encode(QUEUE_DECLARE + 1, nonsense=1)


@pytest.mark.parametrize("name", METHODS)
def test_every_shorter_and_longer_payload_is_malformed(name: str) -> None:
    class_id, method_id, signature = METHODS[name]
    schema = codec.SCHEMAS[class_id << 16 | method_id]
    domains = [argument.split(":") for argument in signature.split()]
    payload = method_payload(name, **{key: FILLED[kind] for key, kind in domains})
    for size in range(4, len(payload)):
        with pytest.raises(codec.MalformedMethod):
            codec.decode(schema, payload[:size], 4)
    with pytest.raises(codec.MalformedMethod, match="more octets"):
        codec.decode(schema, payload + b"\x00", 4)


def test_bits_beyond_the_arguments_are_ignored() -> None:
    payload = method_payload("basic.ack", delivery_tag=5, multiple=True)
    decoded = codec.decode(codec.SCHEMAS[BASIC_ACK], payload[:-1] + b"\xff", 4)
    assert decoded.arguments == {"delivery_tag": 5, "multiple": True}


def test_a_table_that_is_none() -> None:
    payload = method_payload("queue.declare")[:-4] + b"\x00\x00\x00\x03\x01aZ"
    with pytest.raises(codec.MalformedMethod, match="unknown field type 'Z'"):
        codec.decode(codec.SCHEMAS[QUEUE_DECLARE], payload, 4)


@pytest.mark.parametrize("kind", [1, 2, 3, 8])
def test_frame(kind: int) -> None:
    assert codec.frame(kind, 513, b"payload") == frame(kind, 513, b"payload")
    assert codec.frame(kind, 0, b"") == frame(kind, 0, b"")


def closed(error: AmqpError, at_method: int) -> dict[str, Any]:
    """The arguments of the close frame of an error."""
    data = codec.close_frame(1, CHANNEL_CLOSE, error, at_method)
    assert data[:3] == b"\x01\x00\x01"
    return decode_method(data[7:-1]).args


def test_close_frame_names_the_culprit() -> None:
    assert closed(NotFound("no queue 'q'"), QUEUE_DECLARE) == {
        "reply_code": 404,
        "reply_text": "NOT_FOUND - no queue 'q'",
        "class_id": 50,
        "method_id": 10,
    }


def test_close_frame_of_a_broken_frame_names_nobody() -> None:
    args = closed(FrameError("broken"), QUEUE_DECLARE)
    assert (args["reply_code"], args["class_id"], args["method_id"]) == (501, 0, 0)
    args = closed(FrameError("broken", class_id=60, method_id=80), QUEUE_DECLARE)
    assert (args["class_id"], args["method_id"]) == (60, 80)


@pytest.mark.parametrize("letter", ["x", "é", "\udcff"])
def test_close_frame_cuts_long_texts(letter: str) -> None:
    """At 255 octets, if need be in the middle of a letter."""
    text = closed(NotFound(letter * 300), 0)["reply_text"]
    octets = text.encode("utf-8", "surrogateescape")
    assert octets == ("NOT_FOUND - " + letter * 300).encode("utf-8", "surrogateescape")[:255]
