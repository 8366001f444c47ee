"""What exchanges may ask of a message."""

from amqpd.broker.publication import Publication
from tests.broker.test_contents import content


def test_a_message_of_several_keys() -> None:
    message = Publication("e", "k", content(headers={"CC": ["a", "b"], "BCC": ["c"]}), 1, persistent=False)
    assert message.keys == ["k", "a", "b", "c"]
    assert message.find("message_id") is None
    assert message.address == b"\x01e\x01k\xce"


def test_copies_that_are_no_texts_are_no_keys() -> None:
    assert Publication("", "k", content(headers={"CC": [1, "b"], "BCC": "c"}), 1, persistent=False).keys == ["k", "b"]
