"""Publishes as a broker for tests sees them: each client's, once, and no others."""

from collections.abc import Iterator

import pytest

from amqpd.broker.publication import Publication
from amqpd.protocols.amqp091.connection import Connection
from amqpd.testing.observed import Interference, ObservedBroker
from tests.support.passwords import CheckerOfStrangers
from tests.support.raw_peer import properties
from tests.support.wire import CountingIds, Peer, Said, Server, login


class Notes:
    """Who writes down: exchange, routing key, queues, virtual host."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, str, tuple[str, ...], str]] = []

    def note(self, publication: Publication, queues: tuple[str, ...], vhost: str) -> None:
        self.taken.append((publication.exchange, publication.routing_key, queues, vhost))


class ObservedServer(Server):
    """A server whose broker is observed."""

    def __init__(self, notes: Notes | None = None) -> None:
        super().__init__()
        self.observed = ObservedBroker(self.store, CountingIds(), history=notes)
        self.observed.logins.checker = CheckerOfStrangers()
        self.broker = self.observed

    def interfere(self, count: int, *, is_nack: bool) -> Interference:
        interference = Interference(count, is_nack=is_nack)
        self.observed.watch.begin(interference)
        return interference


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def recording(notes: Notes) -> Iterator[ObservedServer]:
    server = ObservedServer(notes)
    yield server
    server.check()


@pytest.fixture
def server() -> Iterator[ObservedServer]:
    server = ObservedServer()
    yield server
    server.check()


def said_by(peer: Peer) -> list[tuple[str, object]]:
    """What came, and what is worth a look of each."""
    peer.turn()
    return [(said.name, said.args.get("delivery_tag", said.args.get("reply_code"))) for said in peer.output()]


def ready(server: Server, queue: str) -> int:
    return server.broker.vhosts["/"].queues[queue].ready_count


# -- what is written down --


def test_every_publish_is_noted_with_where_it_went(recording: ObservedServer, notes: Notes) -> None:
    peer = recording.peer(1)
    peer.call(1, "queue.declare", queue="q")
    peer.call(1, "queue.declare", queue="r")
    for queue in ("q", "r"):
        peer.call(1, "queue.bind", queue=queue, exchange="amq.fanout")
    peer.publish(1, "", "q", b"a")
    peer.publish(1, "", "q", b"b")  # the same bytes of the method: the route is known
    peer.publish(1, "amq.fanout", "k", b"c")
    peer.publish(1, "amq.direct", "nobody", b"d")
    peer.turn()
    assert notes.taken == [
        ("", "q", ("q",), "/"),
        ("", "q", ("q",), "/"),
        ("amq.fanout", "k", ("q", "r"), "/"),
        ("amq.direct", "nobody", (), "/"),
    ]
    assert (ready(recording, "q"), ready(recording, "r")) == (3, 1)


def test_another_virtual_host_is_seen_as_well(recording: ObservedServer, notes: Notes) -> None:
    recording.broker.add_vhost("other")
    vhost = recording.broker.vhosts["other"]
    assert vhost.needs_message(vhost.exchanges[""])


def test_dead_letters_are_not_published_by_a_client(recording: ObservedServer, notes: Notes) -> None:
    peer = recording.peer(1)
    dying = {"x-dead-letter-exchange": "amq.fanout", "x-max-length": 1}
    peer.call(1, "queue.declare", queue="q", arguments=dying)
    peer.call(1, "queue.declare", queue="dead")
    peer.call(1, "queue.bind", queue="dead", exchange="amq.fanout")
    peer.publish(1, "", "q", b"a")
    peer.publish(1, "", "q", b"b")
    peer.turn()
    assert ready(recording, "dead") == 1
    assert [key for _, key, _, _ in notes.taken] == ["q", "q"]


def test_delayed_messages_are_noted_when_they_are_published(recording: ObservedServer, notes: Notes) -> None:
    peer = recording.peer(1)
    arguments = {"x-delayed-type": "fanout"}
    peer.call(1, "exchange.declare", exchange="later", type="x-delayed-message", arguments=arguments)
    peer.call(1, "queue.declare", queue="q")
    peer.call(1, "queue.bind", queue="q", exchange="later")
    peer.publish(1, "later", "k", b"a", properties(headers={"x-delay": 1000}))
    peer.turn()
    assert notes.taken == [("later", "k", (), "/")]
    recording.broker.turn.begin(2.0)
    peer.turn()
    assert ready(recording, "q") == 1
    assert len(notes.taken) == 1


def test_what_an_exchange_remembers_is_not_published_again(notes: Notes, server: ObservedServer) -> None:
    peer = server.peer(1)
    peer.call(1, "exchange.declare", exchange="recent", type="x-recent-history")
    peer.call(1, "queue.declare", queue="q")
    peer.publish(1, "recent", "k", b"a")
    peer.turn()
    server.observed.watch.recorder = notes
    server.interfere(1, is_nack=True)
    peer.call(1, "queue.bind", queue="q", exchange="recent")
    assert ready(server, "q") == 1
    assert notes.taken == []


def test_a_transaction_is_published_when_it_is_committed(recording: ObservedServer, notes: Notes) -> None:
    peer = recording.peer(1)
    peer.call(1, "queue.declare", queue="q")
    peer.call(1, "tx.select")
    peer.publish(1, "", "q", b"a")
    peer.call(1, "tx.rollback")
    assert notes.taken == []
    peer.publish(1, "", "q", b"b")
    peer.call(1, "tx.commit")
    assert notes.taken == [("", "q", ("q",), "/")]


def test_answers_to_requests_are_noted(recording: ObservedServer, notes: Notes) -> None:
    asking, answering = recording.peer(1), recording.peer(1)
    asking.call(1, "queue.declare", queue="rpc")
    asking.call(1, "basic.consume", queue="amq.rabbitmq.reply-to", no_ack=True)
    asking.publish(1, "", "rpc", b"?", properties(reply_to="amq.rabbitmq.reply-to"))
    asking.turn()
    [name] = recording.broker.vhosts["/"].askers
    answering.publish(1, "", name, b"!")
    assert said_by(asking) == [("basic.deliver", 1)]
    assert [key for _, key, _, _ in notes.taken] == ["rpc", name]


# -- nacks and returns --


def test_the_next_publishes_are_nacked(server: ObservedServer) -> None:
    peer = server.peer(1)
    peer.call(1, "queue.declare", queue="q")
    peer.call(1, "confirm.select")
    peer.publish(1, "", "q", b"a")  # its route is remembered
    assert said_by(peer) == [("basic.ack", 1)]
    nacks = server.interfere(2, is_nack=True)
    for _ in range(3):
        peer.publish(1, "", "q", b"b", mandatory=True)
        peer.turn()
    assert said_by(peer) == [("basic.nack", 2), ("basic.nack", 3), ("basic.ack", 4)]
    assert nacks.left == 0
    assert ready(server, "q") == 2


def test_a_nacked_publish_goes_nowhere(server: ObservedServer) -> None:
    """Not into an exchange that would deliver it later, either."""
    peer = server.peer(1)
    arguments = {"x-delayed-type": "fanout"}
    peer.call(1, "exchange.declare", exchange="later", type="x-delayed-message", arguments=arguments)
    peer.call(1, "confirm.select")
    server.interfere(1, is_nack=True)
    peer.publish(1, "later", "k", b"a", properties(headers={"x-delay": 1000}), mandatory=True)
    assert said_by(peer) == [("basic.nack", 1)]
    assert server.broker.turn.next_timer() < 0


def test_the_next_publish_is_returned(server: ObservedServer) -> None:
    peer = server.peer(1)
    peer.call(1, "queue.declare", queue="q")
    peer.call(1, "confirm.select")
    server.interfere(1, is_nack=False)
    peer.publish(1, "", "q", b"a", mandatory=True)
    peer.publish(1, "", "q", b"b", mandatory=True)
    peer.turn()
    returned, *confirms = peer.output()
    assert returned == Said(
        1,
        "basic.return",
        {"reply_code": 312, "reply_text": "NO_ROUTE", "exchange": "", "routing_key": "q"},
        b"\x00\x00",
        b"a",
    )
    assert [said.name for said in confirms] == ["basic.ack"]
    assert ready(server, "q") == 1


def test_what_is_not_mandatory_is_lost(server: ObservedServer) -> None:
    peer = server.peer(1)
    peer.call(1, "queue.declare", queue="q")
    server.interfere(1, is_nack=False)
    peer.publish(1, "", "q", b"a")
    assert said_by(peer) == []
    assert ready(server, "q") == 0


def test_each_publish_has_its_own_trouble(server: ObservedServer, notes: Notes) -> None:
    server.observed.watch.recorder = notes
    peer = server.peer(1)
    peer.call(1, "queue.declare", queue="q")
    peer.call(1, "confirm.select")
    server.interfere(1, is_nack=False)
    server.interfere(1, is_nack=True)
    for _ in range(3):
        peer.publish(1, "", "q", b"a", mandatory=True)
        peer.turn()
    assert said_by(peer) == [("basic.return", 312), ("basic.ack", 1), ("basic.nack", 2), ("basic.ack", 3)]
    assert [queues for _, _, queues, _ in notes.taken] == [(), (), ("q",)]


def test_dead_letters_use_up_no_nack(server: ObservedServer) -> None:
    peer = server.peer(1)
    peer.call(1, "queue.declare", queue="q", arguments={"x-dead-letter-exchange": "amq.fanout"})
    peer.call(1, "queue.declare", queue="dead")
    peer.call(1, "queue.bind", queue="dead", exchange="amq.fanout")
    peer.publish(1, "", "q", b"a")
    peer.send(1, "basic.get", queue="q")
    peer.turn()
    nacks = server.interfere(1, is_nack=True)
    peer.send(1, "basic.reject", delivery_tag=1)
    peer.turn()
    assert ready(server, "dead") == 1
    assert nacks.left == 1


def test_a_nack_fails_a_transaction_when_it_is_committed(server: ObservedServer) -> None:
    peer = server.peer(1)
    peer.call(1, "queue.declare", queue="q")
    peer.call(1, "tx.select")
    nacks = server.interfere(1, is_nack=True)
    peer.publish(1, "", "q", b"a")
    peer.call(1, "tx.rollback")
    assert nacks.left == 1
    peer.publish(1, "", "q", b"b")
    peer.send(1, "tx.commit")
    assert said_by(peer) == [("channel.close", 406)]
    assert ready(server, "q") == 0


def test_what_is_taken_back_happens_to_nobody(server: ObservedServer) -> None:
    peer = server.peer(1)
    peer.call(1, "queue.declare", queue="q")
    peer.call(1, "confirm.select")
    nacks = server.interfere(2, is_nack=True)
    peer.publish(1, "", "q", b"a")
    server.observed.watch.end(nacks)
    server.observed.watch.end(nacks)
    peer.publish(1, "", "q", b"b")
    assert said_by(peer) == [("basic.nack", 1), ("basic.ack", 2)]
    assert nacks.left == 1


# -- and when nothing is --


def test_while_nothing_watches_routes_are_remembered(server: ObservedServer) -> None:
    peer = server.peer(1)
    peer.call(1, "queue.declare", queue="q")
    connection = peer.connection
    assert isinstance(connection, Connection)

    def by_message() -> list[bool]:
        peer.publish(1, "", "q", b"a")
        peer.turn()
        return [route.by_message for route in connection.routes.values()]

    assert by_message() == [False]
    server.interfere(1, is_nack=False)
    assert by_message() == [True]
    assert by_message() == [False], "it is used up"
    server.observed.watch.recorder = Notes()
    server.observed.forget_routes()
    assert by_message() == [True]


# -- logins --


def test_refused_logins_are_as_with_a_wrong_password(server: ObservedServer) -> None:
    def log_in() -> list[tuple[str, object]]:
        peer = server.connect()
        peer.feed(login())
        return said_by(peer)[1:2]

    server.observed.logins.refusals += 1
    assert log_in() == [("connection.close", 403)]
    server.observed.logins.refusals -= 1
    assert log_in() == [("connection.tune", None)]
