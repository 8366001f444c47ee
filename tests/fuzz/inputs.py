"""Inputs that a peer should not send, or should: made from a seed and an index, the same ones every time.

A family is a function from chance to a stream of bytes. Sizes are small on purpose: what costs much for few bytes is
what a broker must fear.
"""

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.fuzz import dialogue
from tests.support.raw_peer import (
    HEADER,
    METHODS,
    Typed,
    content_header,
    frame,
    longstr,
    method_payload,
    properties,
    shortstr,
    table,
)
from tests.support.wire import login, method

NAMES: Final = ("", "q", "r", "durable", "e", "f", "amq.direct", "amq.topic", "amq.headers", "amq.x", "a.b.c", "#.*.#")
BAD_NAMES: Final = ("\udcff\udcfe", "x" * 255, "\udcc3" * 255, "\x00", "a\r\nb", "'", "%s%d", "é" * 127)
SIZES: Final = (0, 1, 2, 7, 8, 13, 14, 15, 22, 255, 256, 4087, 4088, 4096, 4097, 65535, 131_064, 131_072, 131_073)
HUGE: Final = (2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**63, 2**64 - 1)
PLACEHOLDERS: Final = (b"\x00", b"\xff", b"\xce", b"\x7f", b"\x80", b"\x01")


@dataclass
class Input:
    """One input. ``events``: what a server does of its own accord, before the chunk of that number."""

    family: str
    data: bytes
    cuts: list[int] = field(default_factory=list)  # where chunks end
    turns: set[int] = field(default_factory=set)  # numbers of chunks behind which there is a turn
    events: dict[int, str] = field(default_factory=dict)
    is_store_slow: bool = False
    window_bytes: int = 8_388_608

    def chunks(self) -> list[bytes]:
        edges = [0, *self.cuts, len(self.data)]
        return [self.data[start:end] for start, end in itertools.pairwise(edges)]


EVENTS: Final = ("alarm", "no alarm", "force close", "tick", "late tick", "store")
Chance = random.Random
Family = Callable[[Chance], bytes]


def make(seed: int, index: int) -> Input:
    """The input ``index`` of ``seed``."""
    chance = random.Random(f"{seed}:{index}")
    family = FAMILIES[index % len(FAMILIES)]
    made = Input(family.__name__.strip("_"), family(chance))
    size = len(made.data)
    made.cuts = sorted(chance.randrange(size + 1) for _ in range(chance.choice((0, 0, 1, 2, 5, 20)))) if size else []
    chunk_count = len(made.cuts) + 1
    made.turns = {number for number in range(chunk_count) if chance.random() < 0.4}
    if chance.random() < 0.3:
        made.events = {chance.randrange(chunk_count): chance.choice(EVENTS) for _ in range(chance.choice((1, 3)))}
    made.is_store_slow = chance.random() < 0.25
    if chance.random() < 0.25:
        made.window_bytes = chance.choice((300, 1000, 4096))
    return made


# -- pieces --


def octets(chance: Chance, longest: int = 200) -> bytes:
    return chance.randbytes(chance.randrange(longest + 1))


def name(chance: Chance) -> str:
    return chance.choice(BAD_NAMES) if chance.random() < 0.1 else chance.choice(NAMES)


def value(chance: Chance, depth: int = 3) -> Any:
    """A value of a table, of any type."""
    kind = chance.choice("tbBsuIilfdDSxVT" + ("FA" if depth else ""))
    widths = {"b": 7, "B": 8, "s": 15, "u": 16, "I": 31, "i": 32, "l": 63, "T": 64}
    if kind in widths:
        return Typed(kind, chance.getrandbits(widths[kind]))
    made: Any = None
    match kind:
        case "t":
            made = chance.random() < 0.5
        case "f" | "d":
            made = chance.choice((0.0, -1.5, float("inf"), float("nan")))
        case "D":
            made = (chance.randrange(256), chance.randrange(2**31))
        case "S":
            made = name(chance)
        case "x":
            made = octets(chance, 20)
        case "A":
            made = [value(chance, depth - 1) for _ in range(chance.randrange(4))]
        case "F":
            made = {name(chance): value(chance, depth - 1) for _ in range(chance.randrange(4))}
    return Typed(kind, made)


def arguments(chance: Chance) -> dict[str, Any]:
    if chance.random() < 0.7:
        return {}
    keys = (
        "x-match",
        "x-message-ttl",
        "x-max-length",
        "alternate-exchange",
        "x-dead-letter-exchange",
        "n",
        name(chance),
    )
    return {key: value(chance) for key in chance.sample(keys, chance.randrange(1, 4))}


def argument(chance: Chance, key: str, kind: str) -> Any:
    """A value of this domain: mostly one that means something."""
    match kind:
        case "bit":
            return chance.random() < 0.3
        case "shortstr" if key == "type":
            return chance.choice(("direct", "fanout", "topic", "headers", name(chance)))
        case "shortstr":
            return name(chance)
        case "longstr":
            return octets(chance, 30)
        case "table":
            return arguments(chance)
    bound = {"octet": 8, "short": 16, "long": 32, "longlong": 64}[kind]
    if chance.random() < 0.8:
        return chance.randrange(4)
    return min(chance.choice((*SIZES, *HUGE, chance.getrandbits(bound))), 2**bound - 1)


def any_method(chance: Chance) -> bytes:
    """A well-formed method frame; most are ones that a client sends, on an open channel."""
    of_client = chance.random() < 0.9
    name_ = chance.choice(CLIENT_METHODS if of_client else tuple(METHODS))
    given = {key: argument(chance, key, kind) for key, kind in _signature(name_)}
    channel = 0 if name_.startswith("connection") and chance.random() < 0.9 else chance.choice((1, 1, 1, 1, 2, 2, 3))
    return method(channel, name_, **given)


def _signature(name_: str) -> list[tuple[str, str]]:
    return [(key, kind) for key, kind in (field_.split(":") for field_ in METHODS[name_][2].split())]


CLIENT_METHODS: Final = tuple(
    name_
    for name_ in METHODS
    if name_.split(".")[0] in ("exchange", "queue", "basic", "confirm", "tx", "channel")
    and not name_.endswith("-ok")
    and name_ not in ("basic.deliver", "basic.return", "basic.get-empty", "basic.recover-async", "channel.flow")
)


def any_properties(chance: Chance) -> bytes:
    kinds = chance.random()
    if kinds < 0.5:
        return properties(delivery_mode=chance.choice((1, 2, 2, 2)))
    if kinds < 0.7:
        return properties(headers=arguments(chance), delivery_mode=chance.choice((1, 2)), correlation_id=name(chance))
    if kinds < 0.9:
        return chance.getrandbits(16).to_bytes(2, "big") + octets(chance, 30)
    return octets(chance, 4)


def any_publish(chance: Chance, channel: int = 1) -> bytes:
    """A publish whose parts fit, or not."""
    size = chance.choice((0, 0, 1, 5, 100, 300, 5000))
    claimed = size if chance.random() < 0.9 else chance.choice((0, size + 1, *SIZES, *HUGE))
    class_id = 60 if chance.random() < 0.97 else chance.choice((0, 50, 61))
    head = method(
        channel,
        "basic.publish",
        exchange=chance.choice(("", "", "e", name(chance))),
        routing_key=chance.choice(("q", "durable", name(chance))),
        mandatory=chance.random() < 0.3,
        immediate=chance.random() < 0.02,
    )
    header = content_header(claimed, any_properties(chance), class_id=class_id, weight=int(chance.random() < 0.02))
    body = dialogue.body(size)
    step = chance.choice((1000, 4088, 5000, 7))
    bodies = [frame(3, channel, body[at : at + step]) for at in range(0, size, step)]
    if chance.random() < 0.05:
        bodies += [frame(3, channel, b"")] * chance.choice((1, 100))
    return head + frame(2, channel, header) + b"".join(bodies)


def any_frame(chance: Chance) -> bytes:
    """A frame whose framing is right, with anything in it."""
    kind = chance.choice((1, 1, 2, 3, 8, 0, 4, 255))
    return frame(kind, chance.choice((0, 1, 2, 3, 9, 65535)), octets(chance, 60))


def logged_in(rest: bytes, frame_max: int = 131_072) -> bytes:
    return LOGINS[frame_max] + rest


# -- families --


def _noise(chance: Chance) -> bytes:
    """Anything at all, sometimes behind a right beginning."""
    return chance.choice((b"", b"AMQP", HEADER, b"AMQP\x00\x00\x09\x02", b"\x16\x03\x01")) + octets(chance)


def _noise_after_login(chance: Chance) -> bytes:
    return logged_in(octets(chance))


def _frames(chance: Chance) -> bytes:
    return logged_in(b"".join(any_frame(chance) for _ in range(chance.randrange(1, 6))))


def _methods(chance: Chance) -> bytes:
    return logged_in(b"".join(any_method(chance) for _ in range(chance.randrange(1, 20))))


def _traffic(chance: Chance) -> bytes:
    """A busy client: mostly right."""
    parts = [
        method(1, "queue.declare", queue="q", auto_delete=chance.random() < 0.2, exclusive=chance.random() < 0.2),
        method(1, "queue.declare", queue="durable", durable=True),
        method(1, "exchange.declare", exchange="e", type=chance.choice(("direct", "fanout", "topic", "headers"))),
        method(1, "queue.bind", queue="q", exchange="e", routing_key=name(chance), arguments=arguments(chance)),
    ]
    for _ in range(chance.randrange(4, 40)):
        channel = chance.choice((1, 1, 2))
        if chance.random() < 0.45:
            parts.append(any_publish(chance, channel))
        elif chance.random() < 0.6:
            tag = (
                {"delivery_tag": chance.randrange(6)}
                if chance.random() < 0.97
                else {"delivery_tag": chance.choice(HUGE)}
            )
            parts.append(
                chance.choice(
                    (
                        method(
                            channel, "basic.get", queue=chance.choice(("q", "durable")), no_ack=chance.random() < 0.3
                        ),
                        method(
                            channel,
                            "basic.consume",
                            queue=chance.choice(("q", "durable")),
                            no_ack=chance.random() < 0.3,
                        ),
                        method(channel, "basic.qos", prefetch_count=chance.randrange(4), global_=chance.random() < 0.3),
                        method(channel, "basic.ack", multiple=chance.random() < 0.4, **tag),
                        method(
                            channel, "basic.nack", multiple=chance.random() < 0.4, requeue=chance.random() < 0.5, **tag
                        ),
                        method(channel, "basic.recover", requeue=True),
                        method(channel, "confirm.select"),
                        method(channel, "tx.select"),
                        method(channel, "tx.commit"),
                        method(channel, "tx.rollback"),
                        method(channel, "channel.close-ok"),
                        method(channel, "channel.open"),
                    )
                )
            )
        else:
            parts.append(any_method(chance))
    return logged_in(b"".join(parts), chance.choice((4096, 131_072)))


def _mutation(chance: Chance) -> bytes:
    """The valid dialogue, with a few faults in it."""
    acts = ACTS[: chance.randrange(2, len(ACTS) + 1)]
    frames = [part for act in acts[1:] for part in act]
    start = chance.randrange(len(frames))
    chosen = frames[start : start + chance.randrange(2, 25)]
    for _ in range(chance.choice((1, 1, 2, 4))):
        _mutate(chance, chosen)
    is_login_hurt = chance.random() < 0.2
    greeting = [LOGIN[:8], *dialogue.split(LOGIN[8:])]
    if is_login_hurt:
        _mutate(chance, greeting)
    return b"".join(greeting) + b"".join(chosen)


def _mutate(chance: Chance, frames: list[bytes]) -> None:
    """One fault: in the bytes of a frame, or in the order of frames."""
    at = chance.randrange(len(frames))
    victim = bytearray(frames[at])
    place = chance.randrange(len(victim)) if victim else 0
    match chance.randrange(11):
        case 0 if victim:
            victim[place] ^= 1 << chance.randrange(8)
        case 1 if victim:
            victim[place : place + 1] = chance.choice(PLACEHOLDERS)
        case 2:
            victim[place:place] = octets(chance, 8)
        case 3:
            del victim[place : place + chance.randrange(1, 9)]
        case 4:
            frames.insert(at, bytes(victim))
        case 5:
            other = chance.randrange(len(frames))
            victim, frames[other] = bytearray(frames[other]), bytes(victim)
        case 6 if victim:
            victim[0] = chance.choice((0, 1, 2, 3, 4, 8, 255))
        case 7 if len(victim) > 7:
            victim[3:7] = chance.choice((*SIZES, *HUGE[:3])).to_bytes(4, "big")
        case 8 if len(victim) > 3:
            victim[1:3] = chance.choice((0, 1, 2, 3, 9, 65535)).to_bytes(2, "big")
        case 9 if len(victim) > 20:
            width = chance.choice((1, 2, 4, 8))
            number = min(chance.choice((*SIZES, *HUGE)), 2 ** (8 * width) - 1)
            place = chance.randrange(7, len(victim) - width)
            victim[place : place + width] = number.to_bytes(width, "big")
        case _:
            del victim[place:]
    frames[at] = bytes(victim)


def _sizes(chance: Chance) -> bytes:
    """Lies about sizes: of frames, bodies, strings, tables."""
    size = chance.choice((*SIZES, *HUGE[:3]))
    frame_max = chance.choice((4096, 131_072))
    match chance.randrange(5):
        case 0:
            made = bytes([chance.choice((1, 2, 3, 8))]) + b"\x00\x01" + size.to_bytes(4, "big") + octets(chance, 40)
        case 1:
            claimed = chance.choice((*SIZES, *HUGE))
            bodies = b"".join(frame(3, 1, octets(chance, 20)) for _ in range(chance.randrange(6)))
            made = method(1, "basic.publish", routing_key="q") + frame(2, 1, content_header(claimed)) + bodies
        case 2:
            payload = method_payload("queue.declare", queue="q")[:-4] + size.to_bytes(4, "big") + octets(chance, 40)
            made = frame(1, 1, payload)
        case 3:
            header = content_header(3, b"\x20\x00" + size.to_bytes(4, "big") + octets(chance, 30))
            made = method(1, "basic.publish", routing_key="q") + frame(2, 1, header) + frame(3, 1, b"abc")
        case _:
            made = method(1, "basic.publish", routing_key="q") + frame(3, 1, bytes(min(size, frame_max - 8)))
    return logged_in(made, frame_max)


def _tables(chance: Chance) -> bytes:
    """Tables that nest deep, are wide for nothing, or claim what they do not have; where tables go."""
    is_large = chance.random() < 0.05  # these cost the broker most, and the loop too
    match chance.randrange(5):
        case 0:
            made = nested(10_000 if is_large else chance.choice((1, 62, 63, 64, 65, 66, 300)), chance.choice("FA"))
        case 1:
            width = chance.choice((65_000, 65_536, 100_000) if is_large else (1, 100, 1000))
            made = longstr(b"\x01aA" + longstr(b"V" * width))
        case 2:
            made = longstr(b"\x01aA" + chance.choice((2**31, 2**32 - 1, 70_000)).to_bytes(4, "big") + b"V" * 50)
        case 3:
            made = longstr(b"\x00V" * (50_000 if is_large else chance.choice((1, 100, 1000))))
        case _:
            made = longstr(octets(chance, 60))
    return logged_in(chance.choice((_table_in_declare, _table_in_headers, _table_in_bind))(made))


def nested(depth: int, kind: str) -> bytes:
    """A table with ``depth`` tables or arrays inside one another."""
    inner = b""
    for _ in range(depth):
        inner = (b"\x00" if kind == "F" else b"") + kind.encode() + len(inner).to_bytes(4, "big") + inner
    return longstr(inner if kind == "F" else b"\x00" + inner)


def _table_in_declare(made: bytes) -> bytes:
    return frame(1, 1, method_payload("queue.declare", queue="q")[:-4] + made)


def _table_in_bind(made: bytes) -> bytes:
    bind = method_payload("queue.bind", queue="q", exchange="amq.headers")[:-4]
    return method(1, "queue.declare", queue="q") + frame(1, 1, bind + made)


def _table_in_headers(made: bytes) -> bytes:
    header = content_header(0, b"\x20\x00" + made)
    return method(1, "basic.publish", exchange="amq.headers") + frame(2, 1, header)


def _handshake(chance: Chance) -> bytes:
    """Every step of it, right or not; responses of all shapes for both mechanisms."""
    responses = (
        b"\x00guest\x00guest",
        b"guest\x00guest\x00guest",
        b"\x00guest",
        b"\x00\x00\x00",
        b"\x00guest\x00" + b"x" * 1000,
        b"\x00\xff\xfe\x00guest",
        table({"LOGIN": "guest", "PASSWORD": "guest"})[4:],
        table({"LOGIN": 1, "PASSWORD": None})[4:],
        nested(100, "F")[4:],
        octets(chance, 40),
    )
    capabilities = chance.choice(({}, {"authentication_failure_close": True}, {"authentication_failure_close": 1}))
    steps = [
        chance.choice((HEADER, HEADER, HEADER, b"AMQP\x01\x01\x00\x09", b"AMQP\x00\x00\x09\x00")),
        method(
            0,
            "connection.start-ok",
            client_properties={"capabilities": capabilities, "product": value(chance)},
            mechanism=chance.choice(("PLAIN", "PLAIN", "PLAIN", "AMQPLAIN", "EXTERNAL", name(chance))),
            response=chance.choice(responses) if chance.random() < 0.5 else responses[0],
            locale=name(chance),
        ),
        method(
            0,
            "connection.tune-ok",
            channel_max=chance.choice((1, 2047, 2047, 0, 2048, 65535)),
            frame_max=chance.choice((4096, 131_072, 131_072, 0, 1, 4095, 131_073, 2**32 - 1)),
            heartbeat=chance.choice((0, 1, 60, 65535)),
        ),
        method(0, "connection.open", virtual_host=chance.choice(("/", "/", "/", name(chance)))),
        method(chance.choice((1, 1, 0, 2047, 2048, 65535)), "channel.open"),
        method(0, "connection.update-secret", new_secret=octets(chance, 5), reason=name(chance)),
        method(0, "connection.close", reply_code=200, reply_text=name(chance)),
    ]
    if chance.random() < 0.3:
        _mutate(chance, steps)
    return b"".join(steps)


def _names(chance: Chance) -> bytes:
    """Names of 255 bytes, outside UTF-8, with control characters: in every place that has one."""
    raw = chance.choice(
        (b"\xff" * 255, b"\xc3\x28", b"\x00" * 255, chance.randbytes(255), b"x" * 255, octets(chance, 30))
    )
    long_name = raw.decode("utf-8", "surrogateescape")
    return logged_in(
        b"".join(
            [
                method(1, "queue.declare", queue=long_name, durable=chance.random() < 0.5),
                method(
                    1, "exchange.declare", exchange=long_name, type=chance.choice(("topic", "direct")), durable=True
                ),
                method(1, "queue.bind", queue=long_name, exchange=long_name, routing_key=long_name),
                method(1, "basic.consume", queue=long_name, consumer_tag=long_name, no_ack=chance.random() < 0.5),
                method(1, "basic.publish", exchange=long_name, routing_key=long_name, mandatory=True),
                frame(2, 1, content_header(0, b"\x04\x00" + shortstr(long_name))),
                method(1, chance.choice(("queue.delete", "queue.purge")), queue=long_name),
                method(1, "queue.declare", queue=long_name, passive=True, arguments={long_name: long_name}),
            ]
        )
    )


LOGINS: Final = {frame_max: login(1, 2, frame_max=frame_max) for frame_max in (4096, 131_072)}
LOGIN: Final = login(1, 2, 3, frame_max=dialogue.FRAME_MAX)
ACTS: Final = [dialogue.split(act) if number else [] for number, act in enumerate(dialogue.acts())]
FAMILIES: Final[tuple[Family, ...]] = (
    _noise,
    _noise_after_login,
    _frames,
    _methods,
    _traffic,
    _mutation,
    _sizes,
    _tables,
    _handshake,
    _names,
    _traffic,
    _mutation,
)
