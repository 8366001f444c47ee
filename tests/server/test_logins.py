"""The settings of logins reach the sockets, and passwords that are slow to look at are looked at."""

import json
from pathlib import Path

import pytest

from amqpd.broker.passwords import hash_password
from tests.server.conftest import Serve
from tests.server.serving import Served
from tests.server.test_listeners import own_address
from tests.support.raw_peer import RawPeer

REFUSED = "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. For details see the broker logfile."


def start_of(broker: Served) -> tuple[RawPeer, str]:
    """A peer that has connected, and the mechanisms that it is offered."""
    peer = broker.connect()
    mechanisms: str = peer.start()["mechanisms"]
    return peer, mechanisms


def test_mechanisms_and_places(serve_on: Serve) -> None:
    environ = {
        "AMQPD_AUTH_MECHANISMS": "plain,external,anonymous",
        "AMQPD_ANONYMOUS_LOGIN_USER": "guest",
        "AMQPD_LOOPBACK_USERS": "none",
    }
    broker = serve_on("--host", "0.0.0.0", environ=environ)
    peer, mechanisms = start_of(broker)
    assert mechanisms == "PLAIN ANONYMOUS"
    peer.start_ok("ANONYMOUS", b"")
    peer.expect(0, "connection.tune")
    address = own_address()
    if address:
        with RawPeer(address, broker.port) as remote:
            remote.login()
            remote.close()


def test_usual_mechanisms(serve_on: Serve) -> None:
    assert start_of(serve_on())[1] == "AMQPLAIN PLAIN"


@pytest.fixture
def definitions(tmp_path: Path) -> str:
    """A file with the user ada, whose password is ``secret``."""
    kept = hash_password(b"secret", b"salt")
    user = {"name": "ada", "password_hash": kept.text, "hashing_algorithm": kept.algorithm, "tags": ""}
    permission = {"user": "ada", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"}
    vhost = {"name": "/"}
    path = tmp_path / "definitions.json"
    path.write_text(json.dumps({"users": [user], "vhosts": [vhost], "permissions": [permission]}), encoding="utf-8")
    return str(path)


def test_slow_passwords(serve: Serve, definitions: str) -> None:
    broker = serve("--definitions", definitions)
    for password in (b"secret", b"wrong", b"secret"):
        peer, _ = start_of(broker)
        peer.start_ok(response=b"\0ada\0" + password)
        if password == b"secret":
            peer.expect(0, "connection.tune")
        else:
            peer.expect_connection_close(403, REFUSED, lingers=True)
    broker.wait_log(r"login refused \(PLAIN\): user 'ada'")
