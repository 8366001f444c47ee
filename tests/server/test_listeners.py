"""Connections as they arrive: how many, from where, and what is said of them in the log."""

import contextlib
import fcntl
import resource
import socket
import struct
import time

import pytest

from tests.server.conftest import Serve
from tests.server.serving import Served, wait_until
from tests.support.raw_peer import PeerError, RawPeer


def own_address() -> str:
    """An IPv4 address of this machine that is no loopback one, "" without one."""
    with contextlib.closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as probe:
        for _, name in socket.if_nameindex():
            request = struct.pack("256s", name.encode())
            with contextlib.suppress(OSError):
                address = socket.inet_ntoa(fcntl.ioctl(probe, 0x8915, request)[20:24])  # SIOCGIFADDR
                if not address.startswith("127."):
                    return address
    return ""


def test_max_connections(serve: Serve) -> None:
    broker = serve("--max-connections", "3")
    peers = [broker.login() for _ in range(3)]
    for _ in range(2):
        refused = broker.connect()
        refused.expect_socket_closed()
    found = broker.wait_log(r"warning .*refused: there are 3 connections \(max_connections\)")
    assert broker.log().count("refused:") == 1, f"once a time of fullness, not once a connection: {found}"
    for peer in peers:
        peer.call(1, "basic.qos")
    peers[0].close()
    wait_until(lambda: can_log_in(broker), "a place is free again")


def can_log_in(broker: Served) -> bool:
    with contextlib.suppress(PeerError, OSError):
        with broker.connect() as peer:
            peer.login()
            peer.close()
            return True
    return False


def test_out_of_files(serve_on: Serve) -> None:
    """Nobody who is there suffers, it is said in the log, and not a thousand times a second."""
    broker = serve_on()
    peer = broker.login()
    broker.limit(resource.RLIMIT_NOFILE, 24)
    others = []
    with contextlib.suppress(PeerError, OSError):
        for _ in range(40):
            others.append(broker.connect())
    broker.wait_log("error .*not accepted: Too many open files; raise the limit of open files")
    before, lines = broker.cpu_s(), broker.log().count("\n")
    time.sleep(0.5)
    spent, said = broker.cpu_s() - before, broker.log().count("\n") - lines
    peer.call(1, "basic.qos")
    for each in others:
        each.abort()
    wait_until(lambda: can_log_in(broker), "there is room again")
    assert said <= 5, f"{said} lines in half a second"
    assert spent < 0.3, f"{spent} s of CPU in half a second, doing nothing"


def test_guest_is_for_this_machine_only(serve: Serve) -> None:
    address = own_address()
    if not address:
        pytest.skip("this machine has no address but the loopback one")
    broker = serve("--host", "0.0.0.0")
    with RawPeer(address, broker.port) as peer:
        peer.start()
        peer.start_ok()
        text = (
            "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. "
            "For details see the broker logfile."
        )
        peer.expect(0, "connection.close", reply_code=403, reply_text=text)
    broker.wait_log(r"login refused \(PLAIN\): user 'guest'")
    broker.login().call(1, "basic.qos")


def test_log_says_who_came_and_why_they_left(serve: Serve) -> None:
    broker = serve()
    peer = broker.connect()
    peer.start()
    client = {"product": "a tester", "version": "1.2.3", "capabilities": {}}
    peer.send(
        0,
        "connection.start-ok",
        client_properties=client,
        mechanism="PLAIN",
        response=b"\x00guest\x00guest",
        locale="en_US",
    )
    peer.expect(0, "connection.tune")
    peer.tune_ok()
    peer.call(0, "connection.open", virtual_host="/")
    port = peer.socket.getsockname()[1]
    name = rf"127\.0\.0\.1:{port} -> 127\.0\.0\.1:{broker.port}"
    broker.wait_log(rf"info amqpd\.connection: {name}: a tester 1\.2\.3 as user 'guest' to virtual host '/'$")
    peer.send(0, "connection.close", reply_code=200, reply_text="enough")
    peer.expect(0, "connection.close-ok")
    peer.abort()
    broker.wait_log(rf"info amqpd\.server: {name}: left: closed by the client: 200 enough$")


@pytest.mark.parametrize(
    ("ending", "why"),
    [
        ("abort", "the client closed the socket without connection.close"),
        ("reset", "the socket failed: Connection reset by peer|the client closed the socket without connection.close"),
        ("error", "503 COMMAND_INVALID"),
        ("frame", "501 FRAME_ERROR"),
        ("http", r"wrong protocol header b'GET / HT'"),
    ],
)
def test_log_says_why_it_broke(serve_on: Serve, ending: str, why: str) -> None:
    broker = serve_on()
    peer = broker.connect() if ending == "http" else broker.login()
    if ending == "http":
        peer.send_bytes(b"GET / HTTP/1.0\r\n\r\n")
        assert peer.read_bytes(8) == b"AMQP\x00\x00\x09\x01"
    elif ending == "error":
        peer.send(1, "queue.declare-ok", queue="q")
        peer.expect(0, "connection.close")
    elif ending == "frame":
        peer.send_bytes(b"\x01\x00\x01\x00\x00\x00\x04\x00\x00\x00\x00!")
        peer.expect(0, "connection.close")
    elif ending == "reset":
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    peer.abort()
    broker.wait_log(rf"left: .*({why})")
