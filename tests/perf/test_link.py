"""A connection that is set up, or why it is not."""

import socket
from collections.abc import Callable

import pytest

from amqpd.perf import address, link
from amqpd.perf.link import BrokerError, Link, Refused
from amqpd.protocols.amqp091.constants import BASIC_CONSUME, QUEUE_DECLARE
from amqpd.testing import Broker
from tests.perf.stranger import stranger
from tests.support.raw_peer import HEADER, content_header, frame, method_payload


def connect(broker: Broker, login: str = "guest:guest", vhost: str = "%2F") -> Link:
    return Link(address.parse(f"amqp://{login}@{broker.host}:{broker.port}/{vhost}"), "a name")


def test_who_it_is_can_be_seen(broker: Broker) -> None:
    opened = connect(broker)
    (seen,) = broker.connections
    assert (seen.client_properties["product"], seen.client_properties["connection_name"]) == ("amqpd perf", "a name")
    assert opened.frame_max == 131_072
    opened.close(5.0)
    broker.wait_for(lambda: not broker.connections)


def test_a_call_has_an_answer_and_what_follows_is_kept(broker: Broker) -> None:
    opened = connect(broker)
    there = opened.call(QUEUE_DECLARE, "queue.declare-ok", queue="kept")
    assert (there["queue"], there["message_count"]) == ("kept", 0)
    other = connect(broker)
    publish = frame(1, 1, method_payload("basic.publish", routing_key="kept")) + frame(2, 1, content_header(0))
    other.socket.sendall(publish)
    broker.wait_for("kept", ready=1)
    opened.call(BASIC_CONSUME, "basic.consume-ok", queue="kept", consumer_tag="t")
    broker.wait_for("kept", unacked=1)
    assert opened.rest or opened.socket.recv(1000)
    opened.close(5.0)
    other.close(5.0)


def test_a_refusal_says_why(broker: Broker) -> None:
    opened = connect(broker)
    with pytest.raises(Refused, match=r"^404 NOT_FOUND - no queue 'nowhere' in vhost '/'$") as told:
        opened.call(QUEUE_DECLARE, "queue.declare-ok", queue="nowhere", passive=True)
    assert told.value.code == 404
    opened.call(QUEUE_DECLARE, "queue.declare-ok", queue="kept")  # on another channel
    opened.close(5.0)


def test_a_login_that_is_refused(broker: Broker) -> None:
    with pytest.raises(
        BrokerError, match=r"^127.0.0.1:\d+ refuses user 'guest', vhost '/': 403 ACCESS_REFUSED"
    ) as told:
        connect(broker, "guest:secret")
    assert "secret" not in str(told.value)


def test_no_such_vhost(broker: Broker) -> None:
    with pytest.raises(BrokerError, match="refuses user 'guest', vhost 'nowhere': 530 NOT_ALLOWED"):
        connect(broker, vhost="nowhere")


def test_no_broker() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(BrokerError, match=f"^cannot connect to 127.0.0.1:{port}: Connection refused$"):
        Link(address.parse(f"amqp://127.0.0.1:{port}"), "")


def test_no_such_host(monkeypatch: pytest.MonkeyPatch) -> None:
    def resolve(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with pytest.raises(BrokerError, match=r"^cannot connect to broker.example:5672: Name or service not known$"):
        Link(address.parse("amqp://broker.example"), "")


def start(mechanisms: bytes) -> bytes:
    return frame(1, 0, method_payload("connection.start", version_minor=9, mechanisms=mechanisms, locales=b"en_US"))


def hang_up(peer: socket.socket) -> None:
    peer.recv(100)


def say(data: bytes) -> Callable[[socket.socket], None]:
    def behave(peer: socket.socket) -> None:
        peer.recv(100)
        peer.sendall(data)
        peer.recv(100)

    return behave


@pytest.mark.parametrize(
    ("behave", "complaint"),
    [
        (hang_up, "closed the connection without a word"),
        (say(HEADER), "another protocol"),
        (say(b"HTTP/1.1 400 Bad Request\r\n"), "another protocol"),
        (say(start(b"EXTERNAL")), "no login with a password"),
        (say(frame(1, 0, b"\0\x0a\0\x63")), "does not have: 0x000a0063"),
        (say(b""), "does not answer"),
    ],
)
def test_strangers(monkeypatch: pytest.MonkeyPatch, behave: Callable[[socket.socket], None], complaint: str) -> None:
    monkeypatch.setattr(link, "TIMEOUT_S", 0.3)
    with stranger(behave) as port, pytest.raises(BrokerError, match=complaint):
        Link(address.parse(f"amqp://127.0.0.1:{port}"), "")
