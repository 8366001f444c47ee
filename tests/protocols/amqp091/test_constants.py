"""The numbers against pamqp's, which were generated from the standard."""

from pamqp import commands
from pamqp import constants as standard

from amqpd.protocols.amqp091 import codec, constants
from tests.support.raw_peer import METHODS

METHOD_NUMBERS = {
    name: value
    for name, value in vars(constants).items()
    if isinstance(value, int) and value > 0xFFFF and name.isupper()
}


def test_frame_types_and_end() -> None:
    assert constants.FRAME_METHOD == standard.FRAME_METHOD
    assert constants.FRAME_HEADER == standard.FRAME_HEADER
    assert constants.FRAME_BODY == standard.FRAME_BODY
    assert constants.FRAME_HEARTBEAT == standard.FRAME_HEARTBEAT
    assert constants.FRAME_END == standard.FRAME_END
    assert constants.CLASS_BASIC == commands.Basic.frame_id


def test_protocol_header_and_heartbeat() -> None:
    assert constants.PROTOCOL_HEADER == b"AMQP" + bytes([0, *standard.VERSION])
    assert constants.PROTOCOL_HEADER in constants.ACCEPTED_HEADERS
    assert all(len(header) == 8 for header in constants.ACCEPTED_HEADERS)
    assert codec.frame(constants.FRAME_HEARTBEAT, 0, b"") == constants.HEARTBEAT_FRAME


def test_every_method_has_the_standards_number() -> None:
    assert len(METHOD_NUMBERS) > 40
    by_name = {name: class_id << 16 | method_id for name, (class_id, method_id, _) in METHODS.items()}
    for name, value in METHOD_NUMBERS.items():
        class_name, method_name = name.split("_", 1)
        assert by_name[f"{class_name.lower()}.{method_name.lower().replace('_', '-')}"] == value


def test_every_method_has_a_schema_of_its_name() -> None:
    for name, value in METHOD_NUMBERS.items():
        schema = codec.find_schema(value)
        assert schema is not None
        assert schema.name == name.lower().replace("_", ".", 1).replace("_", "-")
