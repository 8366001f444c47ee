import pytest

from amqpd import limits
from amqpd.broker.consumers import Consumer
from amqpd.broker.message import Message
from amqpd.broker.unacked import TooLate, Unacked
from amqpd.errors import PreconditionFailed
from tests.broker.world import ADDRESS, World, channel_of


@pytest.fixture
def messages() -> list[Message]:
    queue = World().queue()
    return [Message(b"%d" % number, ADDRESS, 1, queue, False) for number in range(1, 6)]


@pytest.fixture
def unacked(messages: list[Message]) -> Unacked:
    """Tags 1, 2, 3, 5, 8."""
    ledger = Unacked()
    for tag, message in zip((1, 2, 3, 5, 8), messages, strict=True):
        ledger.add(tag, message)
    return ledger


def test_each_tag_is_taken_once(unacked: Unacked, messages: list[Message]) -> None:
    assert len(unacked) == 5
    assert unacked.take(5) is messages[3]
    assert len(unacked) == 4
    with pytest.raises(PreconditionFailed, match=r"^unknown delivery tag 5$"):
        unacked.take(5)


@pytest.mark.parametrize("tag", [0, 4, 9])
def test_unknown_tag(unacked: Unacked, tag: int) -> None:
    with pytest.raises(PreconditionFailed, match=f"^unknown delivery tag {tag}$"):
        unacked.take(tag)
    assert len(unacked) == 5


def test_tags_are_unsigned_on_the_wire(unacked: Unacked) -> None:
    for take in (unacked.take, unacked.take_up_to, unacked.tags_up_to):
        with pytest.raises(PreconditionFailed, match=r"^unknown delivery tag 18446744073709551615$"):
            take(-1)


def test_multiple_takes_all_up_to_the_tag_oldest_first(unacked: Unacked, messages: list[Message]) -> None:
    assert unacked.take_up_to(3) == messages[:3]
    assert list(unacked.by_tag) == [5, 8]
    assert unacked.take_up_to(8) == messages[3:]
    assert len(unacked) == 0


def test_multiple_leaves_out_what_is_settled(unacked: Unacked, messages: list[Message]) -> None:
    unacked.take(2)
    assert unacked.take_up_to(5) == [messages[0], messages[2], messages[3]]


def test_tag_0_is_all_even_of_nothing(unacked: Unacked, messages: list[Message]) -> None:
    assert unacked.take_up_to(0) == messages
    assert unacked.take_up_to(0) == []


@pytest.mark.parametrize("tag", [4, 7, 9])
def test_multiple_must_name_a_delivery(unacked: Unacked, tag: int) -> None:
    with pytest.raises(PreconditionFailed, match=f"^unknown delivery tag {tag}$"):
        unacked.take_up_to(tag)
    assert len(unacked) == 5, "nothing is taken"


def test_tags_up_to_takes_nothing(unacked: Unacked) -> None:
    assert unacked.tags_up_to(5) == [1, 2, 3, 5]
    assert unacked.tags_up_to(0) == [1, 2, 3, 5, 8]
    assert len(unacked) == 5
    with pytest.raises(PreconditionFailed):
        unacked.tags_up_to(4)


def test_take_all(unacked: Unacked, messages: list[Message]) -> None:
    assert unacked.take_all() == messages
    assert unacked.take_all() == []


def held_by_one(ledger: Unacked, messages: list[Message]) -> Consumer:
    """Tags 2 and 5 are of one consumer."""
    world = World()
    consumer = Consumer("c", world.queue(), channel_of(world), {}, no_ack=False, exclusive=False, prefetch=0)
    for message in (messages[1], messages[3]):
        message.consumer = consumer
    return consumer


def test_who_is_too_late_settles_nothing_once(unacked: Unacked, messages: list[Message]) -> None:
    consumer = held_by_one(unacked, messages)
    assert unacked.take_late(consumer) == [messages[1], messages[3]]
    assert list(unacked.by_tag) == [1, 3, 8]
    with pytest.raises(TooLate):
        unacked.take(2)
    with pytest.raises(PreconditionFailed):
        unacked.take(2)
    assert unacked.take_up_to(5) == [messages[0], messages[2]], "up to a tag that came too late"


def test_tags_that_are_late_are_forgotten_in_the_end(unacked: Unacked, messages: list[Message]) -> None:
    consumer = held_by_one(unacked, messages)
    for tag in range(100, 100 + limits.LATE_TAGS_MAX):
        message = Message(b"", ADDRESS, 1, messages[0].queue, False)
        message.consumer = consumer
        unacked.add(tag, message)
    assert len(unacked.take_late(consumer)) == limits.LATE_TAGS_MAX + 2
    assert len(unacked.late) == limits.LATE_TAGS_MAX
    with pytest.raises(PreconditionFailed):
        unacked.take(2)
