"""What the tests of this folder share: peers in any state of the handshake, stores that are slow."""

from typing import Any, Final

from amqpd.protocols.amqp091.handshake import Tuning
from tests.support.raw_peer import ALL_CAPABILITIES, HEADER, properties
from tests.support.wire import DelayedStore, Peer, Said, Server, method

PERSISTENT: Final = properties(delivery_mode=2)
HEARTBEAT: Final = b"\x08\x00\x00\x00\x00\x00\x00\xce"
GUEST: Final = b"\x00guest\x00guest"


def start_ok(mechanism: str = "PLAIN", response: bytes = GUEST, **capabilities: bool) -> bytes:
    """connection.start-ok of a client with these capabilities, all if none is named."""
    client = {"product": "tests", "version": "1", "capabilities": capabilities or ALL_CAPABILITIES}
    return method(
        0, "connection.start-ok", client_properties=client, mechanism=mechanism, response=response, locale="en_US"
    )


def tune_ok(channel_max: int = 2047, frame_max: int = 131_072, heartbeat: int = 0) -> bytes:
    return method(0, "connection.tune-ok", channel_max=channel_max, frame_max=frame_max, heartbeat=heartbeat)


def opening(vhost: str = "/") -> bytes:
    return method(0, "connection.open", virtual_host=vhost)


# State -> the bytes that lead to it.
STATES: Final = {
    "header": b"",
    "starting": HEADER,
    "tuning": HEADER + start_ok(),
    "opening": HEADER + start_ok() + tune_ok(),
    "running": HEADER + start_ok() + tune_ok() + opening(),
    "closing": HEADER + start_ok() + tune_ok() + opening() + method(5, "tx.select"),
}


def peer_at(state: str, *, tuning: Tuning | None = None, heartbeat: int = 0) -> Peer:
    """A peer whose connection is in this state, its answers heard."""
    peer = Server(tuning=tuning).connect()
    data = STATES[state].replace(tune_ok(), tune_ok(heartbeat=heartbeat))
    if data:
        peer.feed(data)
    peer.turn()
    peer.take_bytes()
    return peer


def slow_server() -> tuple[Server, DelayedStore]:
    """Its store completes at once until ``is_delaying`` is set."""
    store = DelayedStore()
    store.is_delaying = False
    return Server(store), store


def names(peer: Peer) -> list[str]:
    """What the broker said since the last look."""
    peer.turn()
    return [said.name for said in peer.output()]


def one(peer: Peer) -> Said:
    """The one thing that it said."""
    peer.turn()
    (said,) = peer.output()
    return said


def closes(said: Said) -> tuple[str, int, str, int, int]:
    """Method, code, text and culprit of a close."""
    args: dict[str, Any] = said.args
    return said.name, args["reply_code"], args["reply_text"], args["class_id"], args["method_id"]
