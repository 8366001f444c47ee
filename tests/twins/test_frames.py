"""``frames.digest`` and ``take_publish`` against the plain road.

The same dialogue, sent so that the fast path takes it and so that it cannot, is answered with the same bytes and leaves
the same broker. A heartbeat between a publish and its header keeps the fast path from any publish; a body in two frames
keeps it from one that has a body.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from amqpd.protocols.amqp091 import codec, commands
from amqpd.protocols.amqp091.constants import BASIC_ACK, BASIC_PUBLISH
from amqpd.protocols.amqp091.handshake import Tuning
from tests.support import wire
from tests.support.raw_peer import Typed, content_header, frame, properties
from tests.support.wire import Peer, Server, method

FRAME_MAX: Final = 4096
HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"
CHANNELS: Final = (1, 2, 3)  # plain, confirming, transactional
BOUNDED: Final[dict[str, dict[str, Any]]] = {
    "brief": {"x-message-ttl": 60_000, "x-max-length": 3},
    "levels": {"x-max-priority": 3},
    "full": {
        "x-max-length": 1,
        "x-overflow": "reject-publish-dlx",
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": "levels",
    },
}


@dataclass(frozen=True)
class Publish:
    """One basic.publish. ``props`` are flags and values as on the wire, right or not."""

    channel: int
    exchange: str = ""
    key: str = ""
    body: bytes = b""
    props: bytes = b"\x00\x00"
    mandatory: bool = False
    immediate: bool = False

    def method(self) -> bytes:
        return method(
            self.channel,
            "basic.publish",
            exchange=self.exchange,
            routing_key=self.key,
            mandatory=self.mandatory,
            immediate=self.immediate,
        )

    def header(self) -> bytes:
        return frame(2, self.channel, content_header(len(self.body), self.props))

    def bodies(self, step: int = FRAME_MAX - 8) -> list[bytes]:
        return [frame(3, self.channel, self.body[at : at + step]) for at in range(0, len(self.body), step)]


@dataclass(frozen=True)
class Turn:
    """The server takes one."""


@dataclass(frozen=True)
class Call:
    """A method without a content."""

    channel: int
    name: str
    args: tuple[tuple[str, Any], ...] = ()

    def frame(self) -> bytes:
        return method(self.channel, self.name, **dict(self.args))


@dataclass(frozen=True)
class Get:
    """One basic.get. By the queue's name it takes the fast path; "", the queue declared last, is the plain road's."""

    channel: int  # 1 or 3, which have declared just one at the end
    no_ack: bool = False

    def frame(self, road: "Road") -> bytes:
        queue = "" if road is not whole else "q" if self.channel == 1 else "durable"
        return method(self.channel, "basic.get", queue=queue, no_ack=self.no_ack)


Step = Publish | Call | Get | Turn
Road = Callable[[Publish], list[bytes]]


def whole(publish: Publish) -> list[bytes]:
    """In one chunk: the fast path's."""
    return [b"".join([publish.method(), publish.header(), *publish.bodies()])]


def frame_by_frame(publish: Publish) -> list[bytes]:
    """The fast path waits for the rest of each."""
    return [publish.method(), publish.header(), *publish.bodies()]


def behind_a_heartbeat(publish: Publish) -> list[bytes]:
    """The plain road: what follows the method is no header."""
    return [b"".join([publish.method(), HEARTBEAT, publish.header(), *publish.bodies()])]


def split_body(publish: Publish) -> list[bytes]:
    """The plain road, when there is a body to split."""
    size = len(publish.body)
    return [b"".join([publish.method(), publish.header(), *publish.bodies(max(1, min(size // 2, FRAME_MAX - 8)))])]


def with_an_empty_body_frame(publish: Publish) -> list[bytes]:
    """The plain road, when there is a body."""
    first = [frame(3, publish.channel, b"")] if publish.body else []
    return [b"".join([publish.method(), publish.header(), *first, *publish.bodies()])]


PLAIN_ROADS: Final[tuple[Road, ...]] = (frame_by_frame, behind_a_heartbeat, split_body, with_an_empty_body_frame)


def new_server() -> tuple[Server, Peer]:
    """Exchanges of all types, one of them internal, one that leads to headers; three channels of different modes."""
    server = Server()
    peer = server.peer(*CHANNELS, frame_max=FRAME_MAX)
    peer.feed(
        b"".join(
            [
                method(1, "queue.declare", queue="q", nowait=True),
                method(1, "queue.declare", queue="durable", durable=True, nowait=True),
                *(
                    method(1, "queue.declare", queue=name, durable=True, arguments=arguments, nowait=True)
                    for name, arguments in BOUNDED.items()
                ),
                method(1, "exchange.declare", exchange="fanout", type="fanout", nowait=True),
                method(1, "exchange.declare", exchange="topic", type="topic", nowait=True),
                method(1, "exchange.declare", exchange="headers", type="headers", nowait=True),
                method(1, "exchange.declare", exchange="mixed", type="direct", nowait=True),
                method(1, "exchange.declare", exchange="internal", type="fanout", internal=True, nowait=True),
                method(1, "queue.bind", queue="q", exchange="fanout", nowait=True),
                method(1, "queue.bind", queue="durable", exchange="fanout", nowait=True),
                method(1, "queue.bind", queue="q", exchange="topic", routing_key="#.a", nowait=True),
                method(1, "queue.bind", queue="durable", exchange="headers", arguments={"n": 1}, nowait=True),
                method(1, "exchange.bind", source="mixed", destination="headers", routing_key="q", nowait=True),
                method(1, "exchange.bind", source="mixed", destination="fanout", routing_key="a", nowait=True),
                method(2, "confirm.select", nowait=True),
                method(3, "tx.select"),
                method(1, "queue.declare", queue="q", passive=True, nowait=True),
                method(3, "queue.declare", queue="durable", passive=True, nowait=True),
            ]
        )
    )
    peer.turn()
    assert [said.name for said in peer.output()] == ["tx.select-ok"]
    return server, peer


def play(steps: list[Step], road: Road, *, in_one_chunk: bool = False) -> tuple[bytes, dict[str, Any]]:
    """What the broker says, and what it holds afterwards."""
    server, peer = new_server()
    waiting = b""
    for step in [*steps, Turn()]:
        if isinstance(step, Turn):
            if waiting:
                peer.feed(waiting)
                waiting = b""
            peer.turn()
            server.check()
            continue
        if isinstance(step, Call):
            chunks = [step.frame()]
        else:
            chunks = [step.frame(road)] if isinstance(step, Get) else road(step)
        if in_one_chunk:
            waiting += b"".join(chunks)
            continue
        for chunk in chunks:
            peer.feed(chunk)
    said = peer.take_bytes()
    state = wire.snapshot(server.broker)
    peer.hang_up()
    server.turn()
    wire.check_left(server)
    return said, state


# -- that the roads are what they say --


def test_the_roads_differ() -> None:
    _, peer = new_server()
    publish = Publish(1, "", "q", b"body")
    peer.feed(publish.method())
    channel = peer.connection.channels[1]
    assert channel.content_method == 0, "the fast path waits and remembers nothing"
    assert len(peer.connection.routes) == 1
    peer.feed(HEARTBEAT)
    assert channel.content_method == BASIC_PUBLISH, "the plain road has it"
    peer.feed(publish.header() + publish.bodies()[0])
    assert channel.content_method == 0
    for road in (split_body, with_an_empty_body_frame):
        (chunk,) = road(publish)
        peer.feed(chunk[:-6])
        assert channel.content_method == BASIC_PUBLISH
        peer.feed(chunk[-6:])
    (chunk,) = whole(publish)
    peer.feed(chunk[:-6])
    assert channel.content_method == 0
    peer.feed(chunk[-6:])
    peer.turn()
    peer.send(1, "queue.declare", queue="q", passive=True)
    peer.turn()
    (answer,) = peer.output()
    assert answer.args["message_count"] == 4


# -- examples of each outcome --

ALL_PROPERTIES: Final = properties(
    content_type="t",
    headers={"n": 1, "a": [1, None, {"x": Typed("D", (2, 7))}]},
    delivery_mode=2,
    priority=3,
    correlation_id="c",
    timestamp=1,
    user_id="guest",
)
ASKER: Final = f"amq.rabbitmq.reply-to.{2:022d}.1"  # the second name that the broker makes up
EXAMPLES: Final[dict[str, list[Step]]] = {
    "routed": [Publish(1, "", "q", b"x")],
    "empty body": [Publish(1, "", "q")],
    "one frame to the brim": [Publish(1, "", "q", bytes(FRAME_MAX - 8))],
    "one octet more": [Publish(1, "", "q", bytes(FRAME_MAX - 7))],
    "all properties": [Publish(2, "headers", "", b"x", ALL_PROPERTIES)],
    "by headers behind another exchange": [
        Publish(1, "mixed", "q", b"x", ALL_PROPERTIES),
        Publish(1, "mixed", "a", b"y"),
    ],
    "returned": [Publish(2, "", "nowhere", b"x", mandatory=True)],
    "dropped": [Publish(2, "", "nowhere", b"x")],
    "no exchange": [Publish(1, "missing", "q", b"x"), Publish(1, "", "q", b"ignored"), Publish(2, "", "q", b"y")],
    "internal exchange": [Publish(1, "internal", "q", b"x")],
    "immediate": [Publish(1, "", "q", b"x", immediate=True)],
    "delivery mode 0": [Publish(1, "", "q", b"x", properties(delivery_mode=0))],
    "delivery mode 3": [Publish(2, "", "q", b"x", b"\x10\x00\x03")],
    "delivery mode 255 and headers": [Publish(2, "", "q", b"x", properties(headers={}, delivery_mode=255))],
    "another's name": [Publish(1, "", "q", b"x", properties(user_id="root"))],
    "properties cut short": [Publish(1, "", "q", b"x", b"\x80\x00\x05ab"), Publish(2, "", "q", b"ignored")],
    "properties with octets left": [Publish(1, "", "q", b"x", b"\x00\x00x")],
    "properties continued": [Publish(1, "", "q", b"x", b"\x00\x01\x00\x00")],
    "malformed and nobody there": [Publish(1, "missing", "q", b"x", b"\x80\x00\x05ab")],
    "in a transaction": [
        Publish(3, "", "q", b"x"),
        Publish(3, "", "nowhere", b"y", mandatory=True),
        Turn(),
        Call(3, "tx.commit"),
        Publish(3, "", "q", b"z"),
        Call(3, "tx.rollback"),
    ],
    "a topology that changes": [
        Publish(1, "", "new", b"before", mandatory=True),
        Call(1, "queue.declare", (("queue", "new"),)),
        Publish(1, "", "new", b"there", mandatory=True),
        Call(1, "queue.delete", (("queue", "new"),)),
        Publish(1, "", "new", b"after", mandatory=True),
    ],
    "a time to live": [
        Publish(1, "", "q", b"x", properties(expiration="5000")),
        Publish(1, "", "q", b"y", properties(expiration="0")),
        Publish(1, "", "brief", b"x", properties(expiration="5000")),
        Publish(1, "", "brief", b"y", properties(expiration="500000")),
    ],
    "no time to live": [Publish(2, "", "q", b"x", properties(expiration="5s"))],
    "no time at all": [Publish(2, "headers", "q", b"x", properties(expiration="", headers={"n": 1}))],
    "priorities": [
        Publish(1, "", "levels", b"x", properties(priority=priority, delivery_mode=priority % 2 + 1))
        for priority in (0, 3, 1, 9, 255, 3)
    ],
    "refused": [Publish(2, "", "full", b"x", properties(delivery_mode=2)) for _ in range(3)],
    "refused in a transaction": [*[Publish(3, "", "full", b"x") for _ in range(2)], Call(3, "tx.commit")],
    "too much": [Publish(2, "", "brief", b"%d" % number) for number in range(6)],
    "copies": [
        Publish(2, "", "q", b"x", properties(headers={"CC": ["durable", "levels"], "BCC": ["brief", "nowhere"]})),
        Publish(2, "topic", "none", b"x", properties(headers={"BCC": ["b.a"]}), mandatory=True),
        Publish(2, "", "nowhere", b"x", properties(headers={"CC": ["nor here"]}), mandatory=True),
    ],
    "copies that are none": [Publish(1, "", "q", b"x", properties(headers={"CC": "durable"}))],
    "a request without an asker": [Publish(1, "", "q", b"x", properties(reply_to="amq.rabbitmq.reply-to"))],
    "a request and its answer": [
        Call(1, "basic.consume", (("queue", "amq.rabbitmq.reply-to"), ("consumer_tag", "r"), ("no_ack", True))),
        Publish(1, "", "q", b"request", properties(reply_to="amq.rabbitmq.reply-to")),
        Publish(2, "", ASKER, b"answer"),
        Publish(2, "", ASKER[:-1] + "2", b"to nobody"),
    ],
    "got": [
        Publish(2, "", "durable", b"1", properties(delivery_mode=2)),
        Publish(1, "", "q", b"2"),
        Turn(),
        Get(1),
        Get(1, no_ack=True),
        Get(3, no_ack=True),
        Turn(),
        Get(3),
        Call(1, "basic.ack", (("delivery_tag", 1),)),
        Call(1, "queue.delete", (("queue", "q"),)),
    ],
    "confirmed in runs": [
        Publish(2, "", "durable", b"1", properties(delivery_mode=2)),
        Publish(2, "", "q", b"2"),
        Turn(),
        Publish(2, "", "q", b"3"),
        Publish(2, "", "durable", b"4", properties(delivery_mode=2)),
    ],
}


@pytest.mark.parametrize("road", PLAIN_ROADS)
@pytest.mark.parametrize("name", EXAMPLES)
def test_examples(name: str, road: Road) -> None:
    assert play(EXAMPLES[name], road) == play(EXAMPLES[name], whole)


def test_only_a_get_by_name_is_remembered() -> None:
    _, peer = new_server()
    for road in PLAIN_ROADS:
        peer.feed(Get(1).frame(road))
    assert not peer.connection.sources
    for get in (Get(1), Get(3), Get(1), Get(3, no_ack=True)):
        peer.feed(get.frame(whole))
    assert len(peer.connection.sources) == 3
    peer.send(2, "queue.delete", queue="full")
    peer.turn()
    peer.feed(Get(1).frame(whole))
    assert len(peer.connection.sources) == 1, "of a topology that changed nothing is kept"


def test_the_answer_arrives() -> None:
    said, _ = play(EXAMPLES["a request and its answer"], whole)
    told = [(each.name, each.body) for each in wire.assemble(wire.split_frames(said))]
    assert told == [("basic.consume-ok", b""), ("basic.deliver", b"answer"), ("basic.ack", b"")]


@pytest.mark.parametrize("size", [9, 10, 11, 2000])
def test_a_message_above_the_configured_size(size: int) -> None:
    """Refused on both roads, and on both only above it."""
    answers = []
    for road in (whole, behind_a_heartbeat):
        server = Server(tuning=Tuning(max_message_size=10))
        peer = server.peer(1, frame_max=FRAME_MAX)
        peer.call(1, "queue.declare", queue="q")
        for chunk in road(Publish(1, "", "q", bytes(size))):
            peer.feed(chunk)
        peer.turn()
        answers.append([said.args["reply_code"] for said in peer.output()])
    assert answers == [[406] if size > 10 else []] * 2


# -- anything --

keys = st.sampled_from(["q", "durable", "a", "b.a", "", "nowhere", "\udcff", *BOUNDED])
exchanges = st.sampled_from(["", "", "", "fanout", "topic", "headers", "mixed", "amq.direct", "internal", "missing"])
sound_properties = st.sampled_from(
    [
        b"\x00\x00",
        b"\x10\x00\x01",
        b"\x10\x00\x02",
        ALL_PROPERTIES,
        properties(headers={"n": 1}),
        properties(headers={"n": Typed("l", 1), "m": "x"}, delivery_mode=1),
        properties(headers={"n": 2}, message_id="m"),
        properties(reply_to="r", expiration="1"),
        properties(priority=2, expiration="0"),
        properties(headers={"CC": ["levels", "full"], "BCC": ["q"]}, priority=7, delivery_mode=2),
    ]
)
odd_properties = st.one_of(
    st.sampled_from(
        [
            b"\x01\x00\x011x",
            b"\x01\x00\x02-1",
            b"\x10\x00\x03",
            b"\x10\x00\x00",
            b"\x00\x00\x00",
            b"\x00\x02",
            b"\x00\x10\x04root",
            b"\x20\x00",
        ]
    ),
    st.binary(min_size=2, max_size=12),
)
bodies = st.one_of(
    st.binary(max_size=6),
    st.sampled_from([FRAME_MAX - 9, FRAME_MAX - 8, FRAME_MAX - 7, 3 * FRAME_MAX]).map(lambda size: b"\xce" * size),
)


def publishes(props: st.SearchStrategy[bytes]) -> st.SearchStrategy[Publish]:
    flags = st.sampled_from([(False, False)] * 4 + [(True, False)] * 4 + [(False, True)])
    return st.builds(
        lambda channel, exchange, key, body, chosen, both: Publish(channel, exchange, key, body, chosen, *both),
        st.sampled_from(CHANNELS),
        exchanges,
        keys,
        bodies,
        props,
        flags,
    )


calls = st.sampled_from(
    [
        Call(2, "queue.declare", (("queue", "nowhere"),)),
        Call(1, "queue.delete", (("queue", "nowhere"),)),
        Call(1, "queue.unbind", (("queue", "q"), ("exchange", "fanout"))),
        Call(1, "queue.purge", (("queue", "q"),)),
        Call(2, "basic.consume", (("queue", "durable"), ("consumer_tag", "c"), ("no_ack", True))),
        Call(1, "basic.ack", (("delivery_tag", 1),)),
        Call(2, "basic.ack", (("delivery_tag", 2), ("multiple", True))),
        Call(3, "tx.commit"),
        Call(3, "tx.rollback"),
        Call(1, "channel.close-ok"),
        Call(2, "channel.close"),
        Call(2, "channel.open"),
    ]
)
gets = st.builds(Get, st.sampled_from([1, 3]), st.booleans())
# Most steps are sound, so that dialogues last; an odd one ends a channel or the connection.
steps_ = st.lists(
    st.one_of(
        publishes(sound_properties),
        publishes(sound_properties),
        publishes(sound_properties),
        publishes(odd_properties),
        calls,
        gets,
        st.just(Turn()),
    ),
    max_size=14,
)


@settings(max_examples=200)
@given(steps_, st.sampled_from(PLAIN_ROADS))
def test_any_dialogue(steps: list[Step], road: Road) -> None:
    assert play(steps, road) == play(steps, whole)


@settings(max_examples=80)
@given(steps_)
def test_any_dialogue_in_one_chunk_a_turn(steps: list[Step]) -> None:
    assert play(steps, whole, in_one_chunk=True) == play(steps, whole)
    assert play(steps, behind_a_heartbeat, in_one_chunk=True) == play(steps, whole)


def nested(pairs: list[tuple[Publish, Publish]]) -> list[bytes]:
    """Each pair with its frames in one another's way, so that neither is whole; they end in the order they came in."""
    chunks = []
    for one, other in pairs:
        chunks.append(
            b"".join([one.method(), other.method(), one.header(), *one.bodies(), other.header(), *other.bodies()])
        )
    return chunks


on_1 = publishes(sound_properties).map(lambda publish: Publish(1, publish.exchange, publish.key, publish.body))
on_2 = st.one_of(publishes(sound_properties), publishes(odd_properties)).map(
    lambda publish: Publish(2, publish.exchange, publish.key, publish.body, publish.props, publish.mandatory)
)


@settings(max_examples=80)
@given(st.lists(st.tuples(on_1, on_2), max_size=5))
def test_channels_interleaved(pairs: list[tuple[Publish, Publish]]) -> None:
    _, peer = new_server()
    for chunk in nested(pairs):
        peer.feed(chunk)
    peer.turn()
    state = wire.snapshot(peer.server.broker)
    assert (peer.take_bytes(), state) == play([publish for pair in pairs for publish in pair], whole)


# -- acks --


def settle(plain: bool, acks: list[tuple[int, bool]], *, in_tx: bool) -> tuple[bytes, dict[str, Any]]:
    """Acks of eight deliveries, by the hot loop or by the command."""
    server = Server()
    peer = server.peer(1)
    peer.call(1, "queue.declare", queue="q")
    if in_tx:
        peer.call(1, "tx.select")
    server.peer(1).publish(1, "", "q", b"")
    other = server.peer(1)
    for number in range(8):
        other.publish(1, "", "q", bytes([number]))
    peer.feed(method(1, "basic.consume", queue="q", consumer_tag="c"))
    peer.turn()
    peer.take_bytes()
    connection = peer.connection
    for tag, multiple in acks:
        ack = method(1, "basic.ack", delivery_tag=tag, multiple=multiple)
        channel = connection.channels[1]
        if not plain or channel.is_closing:
            peer.feed(ack)
            continue
        connection.at_channel, connection.at_method = 1, BASIC_ACK
        try:
            commands.COMMANDS[BASIC_ACK](channel, codec.decode(codec.SCHEMAS[BASIC_ACK], ack[7:-1], 4))
        except Exception as error:  # noqa: BLE001 - what the connection itself does at its edge
            connection._on_error(error)
    if in_tx and not connection.channels[1].is_closing:
        peer.send(1, "tx.commit")
    peer.turn()
    server.check()
    return peer.take_bytes(), wire.snapshot(server.broker)


tags = st.one_of(st.integers(0, 10), st.sampled_from([2**63 - 1, 2**63, 2**64 - 1]))


@settings(max_examples=100)
@given(st.lists(st.tuples(tags, st.booleans()), max_size=5), st.booleans())
def test_acks(acks: list[tuple[int, bool]], in_tx: bool) -> None:
    assert settle(True, acks, in_tx=in_tx) == settle(False, acks, in_tx=in_tx)
