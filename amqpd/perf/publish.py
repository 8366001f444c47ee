"""One publish as bytes, with a gap for the stamp: made once, sent very often."""

from dataclasses import dataclass
from typing import Final

from amqpd.perf.plan import STAMP_BYTES
from amqpd.protocols.amqp091 import codec
from amqpd.protocols.amqp091.constants import BASIC_PUBLISH, CLASS_BASIC, FRAME_BODY, FRAME_HEADER

CHANNEL: Final = 1  # every connection of a load has this one
_HAS_DELIVERY_MODE: Final = 0x1000
_OVERHEAD: Final = 8  # bytes of a frame beside its payload
_FILLER: Final = b"x"


@dataclass(frozen=True, slots=True)
class Publish:
    """``head``, 16 bytes of stamp, ``tail``: the frames of one message."""

    head: bytes
    tail: bytes
    body_size: int

    @property
    def size(self) -> int:
        return len(self.head) + STAMP_BYTES + len(self.tail)


@dataclass(frozen=True, slots=True)
class Target:
    """Where messages go, and how."""

    exchange: str
    routing_key: str
    mandatory: bool
    persistent: bool


def encode(target: Target, body_size: int, frame_max: int) -> Publish:
    """A message with a body of ``body_size`` bytes, in frames of at most ``frame_max``."""
    method = codec.method_frame(
        CHANNEL,
        BASIC_PUBLISH,
        exchange=target.exchange,
        routing_key=target.routing_key,
        mandatory=target.mandatory,
    )
    flags, properties = (_HAS_DELIVERY_MODE, b"\x02") if target.persistent else (0, b"")
    header = b"".join(
        (
            CLASS_BASIC.to_bytes(2, "big"),
            bytes(2),
            body_size.to_bytes(8, "big"),
            flags.to_bytes(2, "big"),
            properties,
        )
    )
    body = _body_frames(body_size, frame_max - _OVERHEAD)
    stamp_at = 7  # of the first body frame: type, channel, size
    return Publish(
        method + codec.frame(FRAME_HEADER, CHANNEL, header) + body[:stamp_at],
        body[stamp_at + STAMP_BYTES :],
        body_size,
    )


def _body_frames(size: int, payload_max: int) -> bytes:
    sizes = [min(payload_max, size - at) for at in range(0, size, payload_max)]
    return b"".join(codec.frame(FRAME_BODY, CHANNEL, _FILLER * size) for size in sizes)
