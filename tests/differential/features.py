"""What RabbitMQ adds to the standard, a feature each: the arguments, properties and headers that switch it on.

Times to live are of two kinds, so that nothing depends on how quick a broker is: as good as none
(``operations.SOON_MS``), and longer than any sequence.
"""

from dataclasses import dataclass
from typing import Any, Final

from tests.support.raw_peer import Typed

Table = dict[str, Any]
Pairs = tuple[tuple[str, Any], ...]

FAR_MS: Final = 600_000


@dataclass(frozen=True, slots=True)
class Feature:
    """What a sequence that has it may use; each tuple is drawn from. ``odd_*``: what a broker may refuse."""

    queue_arguments: tuple[Table, ...] = ()
    odd_queue_arguments: Pairs = ()
    queue_flags: Table | None = None  # what its queues must be
    exchange_arguments: tuple[Table, ...] = ()
    exchange_types: tuple[str, ...] = ()
    consumer_arguments: tuple[Table, ...] = ()
    properties: tuple[Table, ...] = ()
    odd_properties: tuple[Table, ...] = ()
    headers: tuple[Table, ...] = ()
    sizes: tuple[int, ...] = ()  # of bodies


FEATURES: Final[dict[str, Feature]] = {
    "ttl": Feature(
        queue_arguments=(
            {"x-message-ttl": 1},
            {"x-message-ttl": 0},
            {"x-message-ttl": FAR_MS},
            {"x-message-ttl": Typed("l", 1)},
        ),
        odd_queue_arguments=(
            ("x-message-ttl", -1),
            ("x-message-ttl", "1"),
            ("x-message-ttl", Typed("l", FAR_MS)),
            ("x-message-ttl", Typed("l", 1 << 60)),
            ("x-message-ttl", 1.5),
        ),
        properties=({"expiration": "1"}, {"expiration": "0"}, {"expiration": str(FAR_MS)}),
        odd_properties=(
            {"expiration": "abc"},
            {"expiration": "-1"},
            {"expiration": ""},
            {"expiration": "1.5"},
            {"expiration": "1 "},
            {"expiration": "99999999999999"},
        ),
    ),
    "expires": Feature(
        queue_arguments=({"x-expires": 6}, {"x-expires": FAR_MS}),
        odd_queue_arguments=(
            ("x-expires", 0),
            ("x-expires", -1),
            ("x-expires", "6"),
            ("x-expires", Typed("l", 1 << 60)),
        ),
    ),
    "length": Feature(
        queue_arguments=(
            {"x-max-length": 2},
            {"x-max-length": 1, "x-overflow": "drop-head"},
            {"x-max-length": 2, "x-overflow": "reject-publish"},
            {"x-max-length": 1, "x-overflow": "reject-publish-dlx"},
            {"x-max-length-bytes": 20},
            {"x-max-length-bytes": 12, "x-overflow": "reject-publish"},
            {"x-max-length": 3, "x-max-length-bytes": 30},
            {"x-max-length": 0},
        ),
        odd_queue_arguments=(
            ("x-max-length", -1),
            ("x-max-length", "1"),
            ("x-max-length-bytes", -1),
            ("x-overflow", "some"),
            ("x-overflow", 1),
            ("x-overflow", "drop-head"),
            ("x-max-length", Typed("s", 2)),
        ),
        sizes=(5, 12, 25),
    ),
    "deadletter": Feature(
        queue_arguments=(
            {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "~q1"},
            {"x-dead-letter-exchange": "~e0"},
            {"x-dead-letter-exchange": "~e0", "x-dead-letter-routing-key": "k"},
            {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "~q0"},
            {"x-dead-letter-exchange": "~e1", "x-dead-letter-routing-key": "k.l"},
            {"x-dead-letter-exchange": ""},
            {"x-dead-letter-exchange": "~e9"},
        ),
        odd_queue_arguments=(
            ("x-dead-letter-routing-key", "k"),
            ("x-dead-letter-exchange", 1),
            ("x-dead-letter-exchange", "~e1"),
            ("x-dead-letter-strategy", "at-most-once"),
            ("x-dead-letter-strategy", "some"),
        ),
        headers=({"x-death": "forged"}, {"x-death": []}, {"x-first-death-queue": "forged"}),
    ),
    "quorum": Feature(
        queue_arguments=(
            {"x-queue-type": "quorum"},
            {"x-queue-type": "quorum", "x-delivery-limit": 1},
            {"x-queue-type": "quorum", "x-delivery-limit": 0},
        ),
        odd_queue_arguments=(
            ("x-queue-type", "classic"),
            ("x-queue-type", "some"),
            ("x-queue-type", 1),
            ("x-delivery-limit", "1"),
        ),
        queue_flags={"durable": True, "exclusive": False, "auto_delete": False},
    ),
    "priority": Feature(
        queue_arguments=({"x-max-priority": 3}, {"x-max-priority": 1}),
        odd_queue_arguments=(
            ("x-max-priority", 0),
            ("x-max-priority", 255),
            ("x-max-priority", 256),
            ("x-max-priority", -1),
            ("x-max-priority", "3"),
            ("x-max-priority", Typed("b", 3)),
        ),
        properties=(
            {"priority": 1},
            {"priority": 2},
            {"priority": 3},
            {"priority": 9},
            {"priority": 0},
            {"priority": 255},
        ),
    ),
    "consumerpriority": Feature(
        consumer_arguments=({"x-priority": 1}, {"x-priority": -1}, {"x-priority": 5}, {"x-priority": "a"}),
    ),
    "singleactive": Feature(
        queue_arguments=({"x-single-active-consumer": True}, {"x-single-active-consumer": False}),
        odd_queue_arguments=(("x-single-active-consumer", "true"), ("x-single-active-consumer", 1)),
    ),
    "alternate": Feature(
        exchange_arguments=(
            {"alternate-exchange": "~e1"},
            {"alternate-exchange": "~e0"},
            {"alternate-exchange": "~e9"},
            {"alternate-exchange": "amq.fanout"},
            {"alternate-exchange": ""},
            {"alternate-exchange": 1},
        ),
    ),
    "history": Feature(
        exchange_types=("x-recent-history",),
        exchange_arguments=(
            {"x-recent-history-length": 2},
            {"x-recent-history-length": 0},
            {"x-recent-history-length": "a"},
        ),
        headers=({"x-recent-history-no-store": True}, {"x-recent-history-no-store": False}),
    ),
    "cc": Feature(
        headers=(
            {"CC": ["~q0"]},
            {"CC": ["~q1", "k"]},
            {"BCC": ["~q0"]},
            {"BCC": ["~q1", "k.l"], "CC": ["~q0"], "h": "1"},
            {"CC": "~q0"},
            {"CC": [1]},
            {"CC": []},
            {"BCC": "~q0"},
        ),
    ),
    "userid": Feature(
        properties=({"user_id": "guest"},),
        odd_properties=({"user_id": "other"}, {"user_id": ""}),
    ),
}

# What a policy may say; an operator's policy only the first ones.
OPERATOR_DEFINITIONS: Final[tuple[Table, ...]] = (
    {"max-length": 1},
    {"max-length": 2},
    {"max-length-bytes": 12},
    {"message-ttl": 1},
    {"message-ttl": FAR_MS},
    {"expires": FAR_MS},
)
POLICY_DEFINITIONS: Final[tuple[Table, ...]] = (
    {"dead-letter-exchange": "", "dead-letter-routing-key": "~q1"},
    {"dead-letter-exchange": "~e0"},
    {"alternate-exchange": "~e1"},
    {"overflow": "drop-head"},
    {"overflow": "reject-publish"},
    {"overflow": "reject-publish-dlx"},
    {"delivery-limit": 1},
)


def feature_names() -> tuple[str, ...]:
    return ("core", "tx", "replyto", "policy", *FEATURES)
