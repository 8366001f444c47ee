"""A valid dialogue that uses about everything a peer may say, as acts: bytes, between which the peer waits for answers.

Delivery tags are known beforehand, because the broker gives them in order. ``FRAME_MAX`` is small, so that bodies come
in many frames.
"""

from typing import Final

from tests.support import raw_peer, wire
from tests.support.raw_peer import Typed, properties
from tests.support.wire import login, method

FRAME_MAX: Final = 4096
HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"
PERSISTENT: Final = properties(delivery_mode=2)
ALL_PROPERTIES: Final = properties(
    content_type="text/plain",
    content_encoding="utf-8",
    headers={"n": 1, "s": "x", "a": [1, None, 2.5], "t": {"inner": True}, "d": Typed("D", (2, 314))},
    delivery_mode=1,
    priority=4,
    correlation_id="c",
    reply_to="r",
    expiration="60000",
    message_id="m",
    timestamp=1_700_000_000,
    type="t",
    user_id="guest",
    app_id="a",
    cluster_id="",
)
# Empty, small, one frame to the brim, one octet more, several frames to the brim, many.
BODY_SIZES: Final = (0, 1, 100, FRAME_MAX - 8, FRAME_MAX - 7, 2 * (FRAME_MAX - 8), 20_000)


_PATTERN: Final = bytes(n * 31 % 251 for n in range(251)) * 100


def body(size: int) -> bytes:
    """A body that is not the same everywhere."""
    return _PATTERN[:size]


def publish(
    channel: int, exchange: str, key: str, size: int, props: bytes = b"\x00\x00", *, mandatory: bool = False
) -> bytes:
    return wire.publish(channel, exchange, key, body(size), props, mandatory=mandatory, frame_max=FRAME_MAX)


def topology() -> bytes:
    """Exchanges of all types, queues of all kinds, bindings, some of it durable, some asked for without an answer."""
    return b"".join(
        [
            method(1, "exchange.declare", exchange="f", type="fanout"),
            method(1, "exchange.declare", exchange="t", type="topic", durable=True),
            method(1, "exchange.declare", exchange="h", type="headers", auto_delete=True),
            method(1, "exchange.declare", exchange="d", type="direct", nowait=True),
            publish(1, "", "plain", 2),
            method(1, "queue.declare", queue="plain"),
            publish(1, "", "plain", 2),
            publish(1, "f", "", 3),
            method(1, "queue.declare", queue="durable", durable=True),
            method(1, "queue.declare", queue="mine", exclusive=True),
            method(1, "queue.declare", queue="brief", auto_delete=True, nowait=True),
            method(1, "queue.declare", arguments={"x-max-length": 10}),
            publish(1, "f", "", 3),
            method(1, "queue.bind", queue="plain", exchange="f"),
            publish(1, "f", "", 4),
            method(1, "queue.bind", queue="durable", exchange="t", routing_key="a.#.b"),
            publish(1, "t", "a.b", 5),
            method(1, "queue.bind", queue="brief", exchange="h", arguments={"x-match": "any", "n": 1}, nowait=True),
            method(1, "exchange.bind", destination="f", source="t", routing_key="*.c"),
            publish(1, "t", "x.c", 6),
            publish(1, "f", "", 7),
            method(1, "queue.unbind", queue="plain", exchange="f"),
            publish(1, "f", "", 8),
            method(1, "queue.bind", queue="plain", exchange="f"),
            publish(1, "h", "", 9, ALL_PROPERTIES),
        ]
    )


def publishes() -> bytes:
    """Bodies of many sizes, persistent and not, confirmed, returned, in a transaction; channels interleaved."""
    parts = [method(2, "confirm.select"), method(3, "tx.select")]
    for size in BODY_SIZES:
        parts += [
            publish(1, "", "plain", size),
            publish(2, "", "durable", size, PERSISTENT),
            publish(2, "f", "nobody", size, ALL_PROPERTIES),
            publish(2, "", "nowhere", size, mandatory=True),
            publish(3, "", "plain", size, PERSISTENT),
        ]
    one, *content = split(publish(1, "", "plain", 9000))
    parts += [one, method(2, "basic.qos", prefetch_count=7), content[0], publish(2, "", "plain", 10), *content[1:]]
    parts += [one, HEARTBEAT, *content]
    return b"".join([*parts, method(3, "tx.commit"), publish(3, "", "plain", 11), method(3, "tx.rollback")])


def split(frames: bytes) -> list[bytes]:
    """Each frame by itself."""
    parts = []
    while frames:
        size = 8 + int.from_bytes(frames[3:7], "big")
        parts.append(frames[:size])
        frames = frames[size:]
    return parts


def consuming() -> bytes:
    return b"".join(
        [
            method(1, "basic.consume", queue="plain", consumer_tag="all", no_ack=True),
            method(2, "basic.consume", queue="durable", consumer_tag="some"),
            method(1, "basic.consume", queue="mine", exclusive=True),
            method(3, "basic.get", queue="brief"),
            method(3, "basic.get", queue="nothing.here.yet"),
        ]
    )


def settling() -> bytes:
    """Channel 2 has eight deliveries, seven of which are unacked."""
    return b"".join(
        [
            method(3, "channel.close-ok"),
            method(3, "channel.open"),
            method(2, "basic.ack", delivery_tag=1),
            method(2, "basic.ack", delivery_tag=3, multiple=True),
            method(2, "basic.nack", delivery_tag=5, multiple=True, requeue=True),
            method(2, "basic.reject", delivery_tag=6, requeue=False),
            method(2, "basic.recover", requeue=True),
            method(3, "basic.get", queue="durable"),
        ]
    )


def ending() -> bytes:
    return b"".join(
        [
            method(2, "basic.cancel", consumer_tag="some"),
            method(1, "queue.purge", queue="durable"),
            method(1, "queue.delete", queue="plain"),
            method(1, "exchange.delete", exchange="d", if_unused=True),
            publish(1, "", "durable", 12, PERSISTENT),
            method(2, "basic.ack", delivery_tag=99),
            publish(2, "", "durable", 13, PERSISTENT),
            method(2, "channel.close-ok"),
            method(2, "channel.open"),
            publish(2, "", "durable", 14, PERSISTENT),
            method(1, "channel.close", reply_code=200),
            method(0, "connection.close", reply_code=200, reply_text="bye"),
        ]
    )


def acts() -> list[bytes]:
    """The whole dialogue."""
    return [
        login(1, 2, 3, frame_max=FRAME_MAX),
        topology(),
        publishes(),
        consuming(),
        settling(),
        ending(),
    ]


def interleaved() -> bytes:
    """Frames of other channels between those of a content: any may be the last for a while, and wants its answer."""
    one, header, *bodies = split(publish(1, "", "q", 9000))
    return b"".join(
        [
            one,
            method(2, "tx.select"),
            header,
            HEARTBEAT,
            method(2, "tx.commit"),
            bodies[0],
            method(2, "basic.get", queue="q"),
            *bodies[1:],
            method(1, "basic.publish", routing_key="q"),
            method(2, "tx.rollback"),
            HEARTBEAT,
            raw_peer.frame(2, 1, raw_peer.content_header(3)),
            method(2, "basic.get", queue="q", no_ack=True),
            raw_peer.frame(3, 1, b"abc"),
            method(2, "basic.get", queue="q", no_ack=True),
            method(1, "basic.publish", routing_key="q"),
            raw_peer.frame(2, 1, raw_peer.content_header(0)),
            one,
            raw_peer.frame(2, 1, raw_peer.content_header(3000)),
            method(2, "tx.commit"),
            raw_peer.frame(3, 1, body(3000)),
            one,
            raw_peer.frame(2, 1, raw_peer.content_header(4000)),
            method(0, "connection.close"),
        ]
    )
