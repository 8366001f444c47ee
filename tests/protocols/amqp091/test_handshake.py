"""Channel 0: each state and what it takes, what a login leaves behind. Over sockets: tests/conformance."""

from typing import Any

import pytest

from amqpd.broker.permissions import Permission
from amqpd.protocols.amqp091.handshake import Tuning
from amqpd.protocols.amqp091.states import STATE_NAMES
from tests.protocols.amqp091.dialogue import GUEST, STATES, closes, names, one, opening, peer_at, start_ok, tune_ok
from tests.support.raw_peer import HEADER, METHODS, Typed, decode_method
from tests.support.wire import Peer, Server, method


def state(peer: Peer) -> str:
    return STATE_NAMES[peer.connection.state]


@pytest.mark.parametrize("wanted", STATES)
def test_the_way_to_each_state(wanted: str) -> None:
    assert state(peer_at(wanted)) == wanted


def test_step_by_step() -> None:
    peer = Server().connect()
    for data, answer in (
        (HEADER, ["connection.start"]),
        (start_ok(), ["connection.tune"]),
        (tune_ok(), []),
        (opening(), ["connection.open-ok"]),
        (method(0, "connection.update-secret", new_secret=b"guest", reason="r"), ["connection.update-secret-ok"]),
        (method(0, "connection.close"), ["connection.close-ok"]),
    ):
        peer.feed(data)
        assert names(peer) == answer
    assert peer.is_gone
    assert state(peer) == "closed"


# -- the protocol header --


@pytest.mark.parametrize("header", [HEADER, b"AMQP\x01\x01\x00\x09"])
@pytest.mark.parametrize("cut", range(1, 8))
def test_a_header_in_two_parts(header: bytes, cut: int) -> None:
    peer = Server().connect()
    peer.feed(header[:cut])
    assert names(peer) == []
    peer.feed(header[cut:] + start_ok())
    assert names(peer) == ["connection.start", "connection.tune"]


@pytest.mark.parametrize("data", [b"G", b"AMQQ", b"AMQP\x02", b"AMQP\x00\x00\x09\x00", HEADER[:7] + b"\x02rest"])
def test_a_wrong_header_is_answered_as_soon_as_it_is_wrong(data: bytes) -> None:
    peer = Server().connect()
    peer.feed(data)
    peer.turn()
    assert peer.take_bytes() == HEADER
    assert peer.connection.is_finished
    assert peer.connection.why == f"wrong protocol header {data[:8]!r}"


# -- who it is --


def tuned_offer(peer: Peer) -> dict[str, int]:
    said = one(peer)
    assert said.name == "connection.tune"
    return said.args


def test_the_offer_is_what_was_set() -> None:
    tuning = Tuning(channel_max=10, frame_max=8192, heartbeat_s=7)
    peer = peer_at("starting", tuning=tuning)
    peer.feed(start_ok())
    assert tuned_offer(peer) == {"channel_max": 10, "frame_max": 8192, "heartbeat": 7}


def test_what_is_remembered_of_the_client() -> None:
    peer = peer_at("starting")
    peer.feed(start_ok(yes=True, no=False))
    connection = peer.connection
    assert connection.user_name == "guest"
    assert connection.client == "tests 1"
    assert connection.has_capability("yes")
    assert not connection.has_capability("no")
    assert not connection.has_capability("never heard of")


@pytest.mark.parametrize(
    ("properties", "client"),
    [
        ({}, ""),
        ({"product": 1, "version": None}, ""),
        ({"product": "p" * 100, "version": "v"}, "p" * 64 + " v"),
        ({"version": "v"}, "v"),
        ({"product": "\udcff"}, "\udcff"),
    ],
)
def test_odd_names_of_clients(properties: dict[str, object], client: str) -> None:
    peer = peer_at("starting")
    peer.send(0, "connection.start-ok", client_properties=properties, mechanism="PLAIN", response=GUEST)
    assert names(peer) == ["connection.tune"]
    assert peer.connection.client == client


@pytest.mark.parametrize("capabilities", [True, "all", Typed("V", None), ["basic.nack"], {"basic.nack": 1}])
def test_capabilities_that_are_none(capabilities: object) -> None:
    """Only a table is one, and only true is yes."""
    peer = peer_at("starting")
    client = {"capabilities": capabilities}
    peer.send(0, "connection.start-ok", client_properties=client, mechanism="PLAIN", response=GUEST)
    assert names(peer) == ["connection.tune"]
    assert not peer.connection.has_capability("basic.nack")


REFUSED = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile."


@pytest.mark.parametrize("response", [b"\x00guest\x00wrong", b"\x00nobody\x00guest", b"nonsense", b""])
def test_a_refused_login_is_told_to_who_understands(response: bytes) -> None:
    peer = peer_at("starting")
    peer.feed(start_ok(response=response, authentication_failure_close=True) + tune_ok() + opening())
    assert closes(one(peer)) == ("connection.close", 403, REFUSED, 0, 0)
    assert state(peer) == "closing", "php-amqplib does not tell of a refusal when the stream ends before its close-ok"
    assert not peer.connection.is_finished
    peer.send(0, "connection.close-ok")
    assert peer.connection.is_finished


@pytest.mark.parametrize("response", [b"\x00guest\x00wrong", b"nonsense"])
def test_a_refused_login_is_not_told_to_others(response: bytes) -> None:
    peer = peer_at("starting")
    peer.feed(start_ok(response=response, authentication_failure_close=False))
    assert names(peer) == []
    assert peer.connection.why.startswith("login refused (PLAIN): ")
    assert not peer.connection.is_finished, "the socket closes after a pause"
    peer.feed(start_ok())
    assert names(peer) == [], "and nothing is listened to meanwhile"
    assert not peer.connection.is_finished


def test_a_refused_login_waits_whatever_follows_it() -> None:
    peer = peer_at("starting")
    refused = start_ok(response=b"\x00guest\x00wrong", authentication_failure_close=False)
    peer.feed(refused + tune_ok() + opening())
    assert names(peer) == []
    assert not peer.connection.is_finished


def test_guest_from_elsewhere() -> None:
    peer = peer_at("starting")
    peer.connection.is_loopback = False
    peer.feed(start_ok())
    assert closes(one(peer))[1] == 403
    assert peer.connection.why == "403 " + REFUSED


def test_an_unknown_mechanism() -> None:
    peer = peer_at("starting")
    peer.feed(start_ok(mechanism="EXTERNAL"))
    text = "COMMAND_INVALID - unknown authentication mechanism 'EXTERNAL'"
    assert closes(one(peer)) == ("connection.close", 503, text, 0, 0)


# -- tune-ok --


@pytest.mark.parametrize(
    ("channel_max", "frame_max", "text"),
    [
        (11, 8192, "channel_max = 11 is higher than the maximum allowed value (10)"),
        (0, 8192, "channel_max = 0 (no limit) is higher than the maximum allowed value (10)"),
        (10, 8193, "frame_max = 8193 is higher than the maximum allowed value (8192)"),
        (10, 0, "frame_max = 0 is higher than the maximum allowed value (8192)"),
        (10, 4095, "frame_max = 4095 is lower than the minimum allowed value (4096)"),
        (0, 0, "channel_max = 0 (no limit) is higher than the maximum allowed value (10)"),
    ],
)
def test_tuned_outside_the_offer(channel_max: int, frame_max: int, text: str) -> None:
    peer = peer_at("tuning", tuning=Tuning(channel_max=10, frame_max=8192))
    peer.feed(tune_ok(channel_max, frame_max) + opening())
    assert closes(one(peer)) == ("connection.close", 530, f"NOT_ALLOWED - negotiated {text}", 10, 30)
    assert not peer.connection.is_finished
    peer.send(0, "connection.close-ok")
    assert peer.connection.is_finished


@pytest.mark.parametrize(("channel_max", "frame_max", "heartbeat"), [(10, 8192, 0), (1, 4096, 65535), (5, 5000, 3)])
def test_tuned_within_the_offer(channel_max: int, frame_max: int, heartbeat: int) -> None:
    peer = peer_at("tuning", tuning=Tuning(channel_max=10, frame_max=8192, heartbeat_s=60))
    peer.feed(tune_ok(channel_max, frame_max, heartbeat))
    connection = peer.connection
    assert (connection.channel_max, connection.frame_max, connection.heartbeat_s) == (channel_max, frame_max, heartbeat)
    assert state(peer) == "opening"


def test_the_frame_size_holds_from_tune_ok_on() -> None:
    peer = peer_at("tuning")
    peer.feed(tune_ok(frame_max=4096) + b"\x01\x00\x00" + (4097).to_bytes(4, "big") + b"x")
    assert closes(one(peer))[1] == 501


# -- open and close --


def test_an_unknown_virtual_host() -> None:
    peer = peer_at("opening")
    peer.feed(opening("nowhere"))
    assert closes(one(peer)) == ("connection.close", 530, "NOT_ALLOWED - vhost nowhere not found", 10, 40)
    assert state(peer) == "closing"


def test_another_virtual_host() -> None:
    peer = peer_at("opening")
    broker = peer.server.broker
    broker.add_vhost("mine")
    broker.permissions.set(Permission("guest", "mine", "", "", ""))
    peer.feed(opening("mine"))
    assert names(peer) == ["connection.open-ok"]
    assert peer.connection.vhost is broker.vhosts["mine"]


def test_why_it_was_closed() -> None:
    peer = peer_at("running")
    peer.send(0, "connection.close", reply_code=320, reply_text="done")
    assert peer.connection.why == "closed by the client: 320 done"
    peer = peer_at("running")
    peer.send(0, "connection.close", reply_code=200)
    assert peer.connection.why == "closed by the client: 200"


def test_while_we_close_only_the_end_counts() -> None:
    peer = peer_at("closing")
    peer.feed(method(1, "channel.open") + opening() + start_ok() + method(0, "connection.update-secret"))
    assert names(peer) == []
    peer.feed(method(0, "connection.close"))
    assert names(peer) == ["connection.close-ok"]
    assert state(peer) == "closing"
    peer.feed(method(0, "connection.close-ok"))
    peer.turn()
    assert peer.is_gone


def test_a_fault_while_we_close_is_the_end() -> None:
    peer = peer_at("closing")
    peer.feed(b"\x09\x00\x00\x00\x00\x00\x00\xce")
    assert names(peer) == []
    assert peer.is_gone


# -- everything else, everywhere --

TAKEN = {
    "starting": {"connection.start-ok"},
    "tuning": {"connection.tune-ok"},
    "opening": {"connection.open"},
    "running": {"connection.close", "connection.update-secret"},
}
FILLED: dict[str, dict[str, Any]] = {
    "connection.start-ok": {"mechanism": "PLAIN", "response": GUEST},
    "connection.tune-ok": {"channel_max": 1, "frame_max": 4096},
    "connection.open": {"virtual_host": "/"},
    "connection.update-secret": {"new_secret": b"guest"},
}


@pytest.mark.parametrize("where", TAKEN)
@pytest.mark.parametrize("name", [name for name in METHODS if name.startswith("connection.")] + ["queue.declare"])
def test_every_method_in_every_state(where: str, name: str) -> None:
    peer = peer_at(where)
    peer.send(0, name, **FILLED.get(name, {}))
    peer.turn()
    said = peer.output()
    if name in TAKEN[where]:
        assert [each.name for each in said] != ["connection.close"]
    elif where in ("starting", "tuning"):
        assert said == [], "nothing is said to who is not known"
        assert peer.connection.why == f"unexpected {name} while {where}"
        assert peer.is_gone
    else:
        text = f"CHANNEL_ERROR - unexpected method in connection state {where}"
        class_id, method_id, _ = METHODS[name]
        assert [closes(each) for each in said] == [("connection.close", 504, text, class_id, method_id)]


@pytest.mark.parametrize("where", ["starting", "tuning", "opening"])
def test_channels_before_the_open(where: str) -> None:
    peer = peer_at(where)
    peer.send(1, "channel.open")
    assert closes(one(peer))[1] == 505


def test_start() -> None:
    peer = Server().connect()
    peer.feed(HEADER)
    peer.turn()
    start = decode_method(peer.take_bytes()[7:-1])
    assert start["mechanisms"] == "AMQPLAIN PLAIN"
    assert start["server_properties"]["product"] == "amqpd"
    assert start["server_properties"]["capabilities"]["connection.blocked"] is True
