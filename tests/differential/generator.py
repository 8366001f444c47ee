"""Sequences, drawn by Hypothesis: first a small world is laid out and declared, then things happen in it.

Every extension is a feature that adds arguments to the world and operations to what may happen. A sequence has some of
the features that are on, not all: so each is met alone and together with others.

Two things that a broker may do in either order are kept apart: what consumes from a queue does so on channels of that
queue alone.
"""

from collections.abc import Callable
from typing import Any, Final

from hypothesis import strategies as st

from tests.differential.operations import Operation, Sequence
from tests.differential.world import DESK, PUBLISHING, World, worlds
from tests.support.raw_peer import Typed

ACTS: Final = 3  # Hypothesis prefers short lists to long ones: a sequence is made of a few
ACT_MAX: Final = 12
REPLY_TO: Final = "amq.rabbitmq.reply-to"

Draw = Callable[[st.SearchStrategy[Any]], Any]
Maker = Callable[[Draw, World], Operation]

rarely: Final = st.integers(0, 15).map(lambda number: number == 15)
often: Final = st.integers(0, 3).map(lambda number: number > 0)
flags: Final = st.booleans()
KEYS: Final = st.sampled_from(("k", "k.l", "", "k.l.m", "l", "~q0"))
BINDING_KEYS: Final = st.sampled_from(("k", "#", "k.*", "*.l", "k.#", "#.m", "", "*", "*.#.l", "~q0"))


def _desk(draw: Draw) -> tuple[int, int]:
    """Where names are declared and looked after: mostly by the first connection."""
    return (1 if draw(rarely) else 0), DESK


# -- topology


def declare_queue(draw: Draw, world: World) -> Operation:
    """Again as it was, or somewhat different."""
    queue = draw(st.sampled_from(world.queues))
    args = dict(queue.args)
    match draw(st.sampled_from(("same", "passive", "flag", "argument", "nowait"))):
        case "passive":
            args = {"queue": queue.name, "passive": True}
        case "flag":
            flag = draw(st.sampled_from(("durable", "exclusive", "auto_delete")))
            args[flag] = not args.get(flag, False)
        case "argument":
            key, value = draw(st.sampled_from(world.arguments_to_try))
            args["arguments"] = {**args.get("arguments", {}), key: value}
        case "nowait":
            args["nowait"] = True
        case _:
            pass
    return Operation("queue.declare", *_desk(draw), args)


def declare_odd_queue(draw: Draw, world: World) -> Operation:
    name = draw(st.sampled_from(("", "~q9", "amq.q", "amq.rabbitmq.q")))
    passive = draw(flags)
    return Operation("queue.declare", *_desk(draw), {"queue": name, "passive": passive, "exclusive": draw(flags)})


def delete_queue(draw: Draw, world: World) -> Operation:
    args = {"queue": draw(st.sampled_from((*world.queue_names, "~q9")))}
    for flag in draw(st.sampled_from((("if_unused",), ("if_empty",), ("if_unused", "if_empty"), (), ("nowait",)))):
        args[flag] = True
    return Operation("queue.delete", *_desk(draw), args)


def purge_queue(draw: Draw, world: World) -> Operation:
    name = draw(st.sampled_from(world.queue_names)) if not draw(rarely) else "~q9"
    return Operation("queue.purge", *_desk(draw), {"queue": name, "nowait": draw(rarely)})


def declare_exchange(draw: Draw, world: World) -> Operation:
    exchange = draw(st.sampled_from(world.exchanges))
    args = dict(exchange.args)
    match draw(st.sampled_from(("same", "passive", "flag", "type", "nowait"))):
        case "passive":
            args = {"exchange": exchange.name, "passive": True}
        case "flag":
            flag = draw(st.sampled_from(("durable", "internal", "auto_delete")))
            args[flag] = not args.get(flag, False)
        case "type":
            args["type"] = draw(st.sampled_from(("direct", "fanout", "topic", "headers")))
        case "nowait":
            args["nowait"] = True
        case _:
            pass
    return Operation("exchange.declare", *_desk(draw), args)


def declare_odd_exchange(draw: Draw, world: World) -> Operation:
    name = draw(st.sampled_from(("~e9", "amq.direct", "amq.e", "", "amq.topic", "amq.match")))
    kind = draw(st.sampled_from(("direct", "topic", "fanout", "headers")))
    args = {"exchange": name, "type": kind, "passive": draw(flags), "durable": draw(often)}
    return Operation("exchange.declare", *_desk(draw), args)


def delete_exchange(draw: Draw, world: World) -> Operation:
    name = draw(st.sampled_from((*world.exchange_names, "~e9", "amq.direct", "")))
    return Operation("exchange.delete", *_desk(draw), {"exchange": name, "if_unused": draw(often)})


def bind(draw: Draw, world: World) -> Operation:
    """A queue or an exchange, bound or unbound; RabbitMQ sends a history to an exchange backwards, or crashes."""
    destination = draw(st.sampled_from(("queue", "queue", "queue", "exchange")))
    odd = draw(rarely)
    sources = world.exchange_names if destination == "queue" else world.exchanges_without_history
    source = draw(st.sampled_from((*sources, "~e9", "") if odd or not sources else sources))
    args: dict[str, Any] = {"routing_key": draw(BINDING_KEYS)}
    if destination == "queue":
        args |= {"queue": draw(st.sampled_from((*world.queue_names, "~q9") if odd else world.queue_names))}
        args |= {"exchange": source}
    else:
        args |= {"destination": draw(st.sampled_from(world.exchange_names)), "source": source}
    if draw(rarely) or source in world.headers_exchanges:
        args["arguments"] = draw(st.sampled_from(WISHES))
    verb = "bind" if draw(often) else "unbind"
    return Operation(f"{destination}.{verb}", *_desk(draw), args)


WISHES: Final[tuple[dict[str, Any], ...]] = (
    {},
    {"h": "1"},
    {"h": "1", "x-match": "any"},
    {"h": "1", "i": 1, "x-match": "all"},
    {"h": None},
    {"i": Typed("l", 1), "x-match": "any"},
    {"x-h": "1", "x-match": "any-with-x"},
    {"x-match": "some"},
    {"x-match": 1},
)
HEADERS: Final[tuple[dict[str, Any], ...]] = (
    {"h": "1"},
    {"i": 1},
    {"h": "1", "i": 1},
    {"h": Typed("V", None)},
    {
        "i": Typed("s", 1),
        "d": Typed("D", (2, 314)),
        "t": True,
        "T": Typed("T", 1),
        "x": b"\x00\xff",
        "F": {"A": [1, "a"]},
    },
    {"x-h": "1", "b": Typed("b", -1), "l": Typed("l", 1 << 40), "f": 0.5, "a": [], "e": {}},
)

# -- messages


def publish(draw: Draw, world: World) -> Operation:
    """To a queue by its name, or to an exchange; one message or a few at once."""
    if draw(flags):
        args = {"exchange": "", "routing_key": draw(st.sampled_from(world.queue_names))}
    else:
        args = {"exchange": draw(st.sampled_from(world.exchange_names)), "routing_key": draw(KEYS)}
    if draw(rarely):
        args["exchange"] = draw(st.sampled_from(("~e9", "")))
    args["mandatory"] = draw(flags)
    # Two of them in a queue that holds one message for a moment: the second is quick enough or not.
    is_race = {"ttl", "length"} <= set(world.features)
    args["count"] = 1 if is_race else draw(st.integers(1, 4))
    args["properties"] = _properties(draw, world)
    place = 1 if draw(rarely) else 0
    return Operation("publish", place, PUBLISHING, {**args, **world.message_arguments(draw)})


def _properties(draw: Draw, world: World) -> dict[str, Any]:
    props: dict[str, Any] = {}
    if draw(flags):
        props["delivery_mode"] = draw(st.sampled_from((1, 2)))
    if draw(rarely):
        props |= {"content_type": "text/plain", "content_encoding": "c", "correlation_id": "1", "message_id": "m"}
        props |= {"timestamp": 1, "type": "t", "app_id": "a", "cluster_id": "i", "priority": 3}
    if draw(flags) or world.headers_exchanges:
        props["headers"] = draw(st.sampled_from(HEADERS))
    return world.properties(draw, props)


def get(draw: Draw, world: World) -> Operation:
    """On the channel that consumes, if one does, so that both are numbered together."""
    index = draw(st.integers(0, len(world.queues) - 1))
    name = world.queue_names[index] if not draw(rarely) else "~q9"
    return Operation("basic.get", 1 if draw(rarely) else 0, 1 + index, {"queue": name, "no_ack": draw(rarely)})


def consume(draw: Draw, world: World) -> Operation:
    index = draw(st.integers(0, len(world.queues) - 1))
    args = {"queue": world.queue_names[index], "consumer_tag": draw(st.sampled_from("abcdefgh"))}
    args |= {"no_ack": draw(rarely), "exclusive": draw(rarely), "no_local": draw(rarely), "nowait": draw(rarely)}
    if draw(rarely):
        args["queue"] = "~q9"
    arguments = world.consumer_arguments(draw)
    if arguments:
        args["arguments"] = arguments
    return Operation("basic.consume", draw(st.sampled_from((0, 0, 1))), 1 + index, args)


def cancel(draw: Draw, world: World) -> Operation:
    channel = 1 + draw(st.integers(0, len(world.queues) - 1))
    tag = draw(st.sampled_from("abcdefgh"))
    return Operation("basic.cancel", draw(st.sampled_from((0, 0, 1))), channel, {"consumer_tag": tag})


def qos(draw: Draw, world: World) -> Operation:
    channel = 1 + draw(st.integers(0, len(world.queues) - 1))
    args = {"prefetch_count": draw(st.integers(0, 3)), "global_": draw(rarely)}
    return Operation("basic.qos", draw(st.sampled_from((0, 0, 1))), channel, args)


def settle(draw: Draw, world: World) -> Operation:
    """ack, nack or reject what was delivered; rarely what was not."""
    verb = draw(st.sampled_from(("ack", "nack", "reject")))
    args: dict[str, Any] = {"nth": draw(st.integers(0, 3))}
    if verb != "reject":
        args["multiple"] = draw(flags)
    if verb != "ack":
        args["requeue"] = draw(flags)
    if draw(rarely):
        args["tag"] = draw(st.sampled_from((0, 1, 99)))
    channel = 1 + draw(st.integers(0, len(world.queues) - 1))
    return Operation(verb, 1 if draw(rarely) else 0, channel, args)


def recover(draw: Draw, world: World) -> Operation:
    channel = 1 + draw(st.integers(0, len(world.queues) - 1))
    return Operation("basic.recover", 0, channel, {"requeue": not draw(rarely)})


# -- channels and connections


def close_channel(draw: Draw, world: World) -> Operation:
    channel = draw(st.integers(1, DESK))
    return Operation("close channel", draw(st.sampled_from((0, 1))), channel)


def drop_connection(draw: Draw, world: World) -> Operation:
    return Operation("drop connection", draw(st.sampled_from((1, 0))), 0)


def confirm(draw: Draw, world: World) -> Operation:
    return Operation("confirm.select", 0, PUBLISHING, {"nowait": draw(rarely)})


def transaction(draw: Draw, world: World) -> Operation:
    """On the publishing channel, or on one that consumes: acks are held, too."""
    verb = draw(st.sampled_from(("tx.commit", "tx.rollback", "tx.select")))
    channel = draw(st.sampled_from((PUBLISHING, PUBLISHING, 1)))
    return Operation(verb, 0, channel)


# -- extensions


def declare_and_consume(draw: Draw, world: World) -> Operation:
    """In one write, so that a queue that soon expires has a consumer in time."""
    index = draw(st.integers(0, len(world.queues) - 1))
    queue = world.queues[index]
    consumer = {"queue": queue.name, "consumer_tag": draw(st.sampled_from("abcdefgh")), "no_ack": draw(rarely)}
    methods = [("queue.declare", queue.args), ("basic.consume", consumer)]
    return Operation("together", draw(st.sampled_from((0, 0, 1))), 1 + index, {"methods": methods})


def await_replies(draw: Draw, world: World) -> Operation:
    """Replies come to the channel that sends requests."""
    args = {"queue": REPLY_TO, "consumer_tag": draw(st.sampled_from("rs")), "no_ack": not draw(rarely)}
    verb = draw(st.sampled_from(("basic.consume", "basic.consume", "basic.consume", "basic.cancel")))
    if verb == "basic.cancel":
        args = {"consumer_tag": args["consumer_tag"]}
    elif draw(rarely):
        args["exclusive"] = True
    return Operation(verb, draw(st.sampled_from((0, 0, 1))), PUBLISHING, args)


def request(draw: Draw, world: World) -> Operation:
    name = draw(st.sampled_from(world.queue_names))
    props = {"reply_to": REPLY_TO, "correlation_id": "1"}
    args = {"exchange": "", "routing_key": name, "properties": props, "mandatory": draw(flags)}
    return Operation("publish", draw(st.sampled_from((0, 0, 1))), PUBLISHING, args)


def reply(draw: Draw, world: World) -> Operation:
    """To an address that a request came with; to one that is none, or that nobody may use."""
    if draw(rarely):
        name = draw(st.sampled_from((REPLY_TO, f"{REPLY_TO}.nobody", f"{REPLY_TO}.")))
        verb = draw(st.sampled_from(("publish", "queue.declare", "basic.get")))
        if verb == "publish":
            return Operation(verb, 0, DESK, {"exchange": "", "routing_key": name, "mandatory": draw(flags)})
        return Operation(verb, 0, DESK, {"queue": name, **({"passive": draw(often)} if verb != "basic.get" else {})})
    channel = draw(st.sampled_from((DESK, PUBLISHING)))
    # On a channel that may await it, whether it is returned before or after it is delivered is nobody's business.
    mandatory = channel == DESK and draw(flags)
    args = {"nth": draw(st.integers(0, 2)), "mandatory": mandatory, "size": 1}
    return Operation("reply", draw(st.sampled_from((0, 1))), channel, args)


def set_policy(draw: Draw, world: World) -> Operation:
    """On some of the queues or exchanges of the sequence; sometimes an operator's."""
    kind = draw(st.sampled_from(("policy", "policy", "operator policy")))
    definition: dict[str, Any] = {}
    for _ in range(draw(st.integers(1, 3))):
        definition |= draw(st.sampled_from(world.policy_definitions(kind)))
    name = draw(st.sampled_from(("~p0", "~p1")))
    args = {
        "kind": kind,
        "name": name,
        "pattern": draw(st.sampled_from(("^~q", "^~q0$", "^~", "^~e", "^~q[01]"))),
        "apply_to": draw(st.sampled_from(("all", "queues", "exchanges") if kind == "policy" else ("queues", "all"))),
        # Never the same for both: which of the two RabbitMQ would take is not said.
        "priority": 2 * draw(st.integers(0, 1)) + (name == "~p1"),
        "definition": definition,
    }
    return Operation("set policy", 0, DESK, args)


def clear_policy(draw: Draw, world: World) -> Operation:
    kind = draw(st.sampled_from(("policy", "policy", "operator policy")))
    return Operation("clear policy", 0, DESK, {"kind": kind, "name": draw(st.sampled_from(("~p0", "~p1")))})


CORE: Final[tuple[tuple[int, Maker], ...]] = (
    (16, publish),
    (6, get),
    (6, consume),
    (12, settle),
    (3, declare_queue),
    (4, bind),
    (2, qos),
    (2, cancel),
    (1, purge_queue),
    (1, recover),
    (2, delete_queue),
    (1, declare_exchange),
    (1, delete_exchange),
    (1, declare_odd_queue),
    (1, declare_odd_exchange),
    (1, close_channel),
    (1, drop_connection),
    (1, confirm),
)
EXTENSIONS: Final[dict[str, tuple[tuple[int, Maker], ...]]] = {
    "tx": ((8, transaction),),
    "expires": ((4, declare_and_consume),),
    "replyto": ((6, await_replies), (8, request), (6, reply)),
    "policy": ((6, set_policy), (3, clear_policy)),
}


@st.composite
def sequences(draw: Draw, features: tuple[str, ...]) -> tuple[tuple[str, ...], Sequence]:
    """A world made of some of the features, which are named, and what happens in it."""
    world = draw(worlds(features))
    weighted = [*CORE, *(pair for name in world.features for pair in EXTENSIONS.get(name, ()))]
    makers = tuple(maker for weight, maker in weighted for _ in range(weight))
    acts = st.lists(_operation(world, makers), max_size=ACT_MAX)
    return world.features, (*world.declarations, *(operation for _ in range(ACTS) for operation in draw(acts)))


@st.composite
def _operation(draw: Draw, world: World, makers: tuple[Maker, ...]) -> Operation:
    maker: Maker = draw(st.sampled_from(makers))
    return maker(draw, world)
