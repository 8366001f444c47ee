"""Permissions: what each method asks for, in which order, and that changes reach who is there already."""

import secrets
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.conformance.conftest import Control, Enter
from tests.support.brokers import Broker
from tests.support.raw_peer import RawPeer

pytestmark = pytest.mark.timeout(300)  # rabbitmqctl takes seconds a command, on a busy machine many

EVERYTHING = (".*", ".*", ".*")  # configure, write, read
VERBS = ("configure", "write", "read")
As = Callable[[str], RawPeer]


@pytest.fixture(scope="module")
def users(control: Control) -> Iterator[Callable[..., str]]:
    """Makes users with these permissions; the password is ``secret``."""
    made: list[str] = []

    def make(configure: str, write: str, read: str) -> str:
        made.append(f"u-{secrets.token_hex(4)}")
        control("add_user", made[-1], "secret")
        control("set_permissions", made[-1], configure, write, read)
        return made[-1]

    yield make
    for user in made:
        control("delete_user", user)


@pytest.fixture(scope="module")
def lacking(users: Callable[..., str]) -> dict[str, str]:
    """By verb: a user who may do everything but that."""
    return {verb: users(*("" if verb == other else ".*" for other in VERBS)) for verb in VERBS}


@pytest.fixture
def as_user(enter: Enter) -> As:
    """A connection of a user, channel 1 open."""

    def log_in(user: str) -> RawPeer:
        peer = enter("/", user, "secret")
        peer.expect(0, "connection.open-ok")
        peer.open_channel(1)
        return peer

    return log_in


Text = Callable[[str, str, str], str]


@pytest.fixture
def text(governed: Broker) -> Text:
    """What is said to ``user`` who lacks ``verb`` for ``what``."""

    def words(verb: str, what: str, user: str) -> str:
        asked = "" if governed.kind == "rabbitmq" else f"{verb} "  # which verb it was is said since 3.11
        return f"ACCESS_REFUSED - {asked}access to {what} in vhost '/' refused for user '{user}'"

    return words


DLX = {"x-dead-letter-exchange": "amq.fanout"}
ALTERNATE = {"alternate-exchange": "amq.fanout"}
ASKED: list[tuple[str, dict[str, Any], str, str]] = [
    ("queue.declare", {"queue": "new"}, "configure", "queue 'new'"),
    ("queue.declare", {"queue": "new", "arguments": DLX}, "read", "queue 'new'"),
    ("queue.declare", {"queue": "new", "arguments": DLX}, "write", "exchange 'amq.fanout'"),
    ("queue.delete", {"queue": "missing"}, "configure", "queue 'missing'"),
    ("queue.purge", {"queue": "missing"}, "read", "queue 'missing'"),
    ("queue.bind", {"queue": "missing", "exchange": "amq.fanout"}, "write", "queue 'missing'"),
    ("queue.bind", {"queue": "missing", "exchange": "amq.fanout"}, "read", "exchange 'amq.fanout'"),
    ("queue.bind", {"queue": "missing", "exchange": ""}, "write", "queue 'missing'"),
    ("queue.unbind", {"queue": "missing", "exchange": "missing"}, "write", "queue 'missing'"),
    ("queue.unbind", {"queue": "missing", "exchange": "missing"}, "read", "exchange 'missing'"),
    ("exchange.declare", {"exchange": "amq.fanout", "type": "fanout"}, "configure", "exchange 'amq.fanout'"),
    ("exchange.declare", {"exchange": "new", "type": "fanout", "arguments": ALTERNATE}, "read", "exchange 'new'"),
    (
        "exchange.declare",
        {"exchange": "new", "type": "fanout", "arguments": ALTERNATE},
        "write",
        "exchange 'amq.fanout'",
    ),
    ("exchange.delete", {"exchange": "missing"}, "configure", "exchange 'missing'"),
    ("exchange.bind", {"source": "amq.fanout", "destination": "amq.topic"}, "write", "exchange 'amq.topic'"),
    ("exchange.bind", {"source": "amq.fanout", "destination": "amq.topic"}, "read", "exchange 'amq.fanout'"),
    ("exchange.bind", {"source": "amq.fanout", "destination": ""}, "write", "exchange 'amq.default'"),
    ("exchange.unbind", {"source": "amq.fanout", "destination": "amq.topic"}, "write", "exchange 'amq.topic'"),
    ("exchange.unbind", {"source": "missing", "destination": "amq.topic"}, "read", "exchange 'missing'"),
    ("basic.get", {"queue": "missing"}, "read", "queue 'missing'"),
    ("basic.consume", {"queue": "missing"}, "read", "queue 'missing'"),
]


@pytest.mark.parametrize(("name", "args", "verb", "what"), ASKED)
def test_refused_without_the_permission(
    as_user: As, lacking: dict[str, str], text: Text, name: str, args: dict[str, Any], verb: str, what: str
) -> None:
    peer = as_user(lacking[verb])
    peer.refused(1, 403, text(verb, what, lacking[verb]), name, **args)


@pytest.mark.parametrize(("exchange", "name"), [("", "amq.default"), ("amq.fanout", "amq.fanout"), ("nope", "nope")])
def test_publishing_needs_write(as_user: As, lacking: dict[str, str], text: Text, exchange: str, name: str) -> None:
    user = lacking["write"]
    peer = as_user(user)
    peer.publish(1, exchange, "key", b"m")
    peer.expect_channel_close(1, 403, text("write", f"exchange '{name}'", user), "basic.publish")


def test_passive_declarations_ask_for_nothing(as_user: As, lacking: dict[str, str]) -> None:
    peer = as_user(lacking["configure"])
    peer.call(1, "exchange.declare", exchange="amq.fanout", passive=True)
    gone = "NOT_FOUND - no queue 'missing' in vhost '/'"
    peer.refused(1, 404, gone, "queue.declare", queue="missing", passive=True)


def test_what_the_server_names_is_asked_about_by_that_name(as_user: As, users: Callable[..., str]) -> None:
    peer = as_user(users(r"^amq\.gen-.{22}$", ".*", ".*"))
    queue = peer.call(1, "queue.declare", exclusive=True)["queue"]
    assert queue.startswith("amq.gen-")
    peer.call(1, "queue.delete", queue=queue)
    peer.send(1, "queue.declare", queue="mine")
    peer.expect(1, "channel.close", reply_code=403)


def test_declaring_again_needs_no_way_to_the_exchange(
    control: Control, as_user: As, users: Callable[..., str], text: Text
) -> None:
    user = users(*EVERYTHING)
    peer = as_user(user)
    queue = peer.call(1, "queue.declare", queue=f"q-{user}", arguments=DLX)["queue"]
    control("set_permissions", user, ".*", "", "")
    peer.call(1, "queue.declare", queue=queue, arguments=DLX)
    peer.call(1, "queue.delete", queue=queue)
    refused = text("read", f"queue '{queue}'", user)
    as_user(user).refused(1, 403, refused, "queue.declare", queue=queue, arguments=DLX)


@pytest.mark.parametrize(
    ("pattern", "allowed", "refused"),
    [
        ("q", "a queue", "other"),  # found anywhere
        ("^q$", "q", "q2"),
        (r"^(?!amq\.)mine", "mine.1", "yours"),
        ("^(a|b)$", "b", "ab"),
        ("^[.*]$", ".", "x"),
    ],
)
def test_patterns(
    control: Control,
    as_user: As,
    users: Callable[..., str],
    text: Text,
    pattern: str,
    allowed: str,
    refused: str,
) -> None:
    user = users(".*", ".*", pattern)
    peer = as_user(user)
    peer.refused(1, 404, f"NOT_FOUND - no queue '{allowed}' in vhost '/'", "basic.get", queue=allowed)
    peer.refused(1, 403, text("read", f"queue '{refused}'", user), "basic.get", queue=refused)


def test_changes_reach_who_is_there(control: Control, as_user: As, users: Callable[..., str], text: Text) -> None:
    """Consumers go on. RabbitMQ remembers what a channel was allowed a little while ago."""
    user = users(*EVERYTHING)
    peer = as_user(user)
    queue = peer.call(1, "queue.declare", exclusive=True)["queue"]
    peer.call(1, "basic.consume", queue=queue, consumer_tag="c", no_ack=True)
    control("set_permissions", user, "", r"^amq\.default$", "")
    peer.publish(1, "", queue, b"m")
    peer.expect_deliver(1, b"m")
    peer.open_channel(2)
    peer.refused(2, 403, text("read", f"queue '{queue}'", user), "basic.get", queue=queue)
    control("clear_permissions", user)
    peer.refused(2, 403, text("configure", "queue 'x'", user), "queue.declare", queue="x")
    peer.call(1, "basic.qos")


# -- topic permissions --


@pytest.fixture(scope="module")
def writer(control: Control, users: Callable[..., str]) -> str:
    """May write ``<his name>.*`` to amq.topic, and read ``r.*`` from it."""
    user = users(*EVERYTHING)
    control("set_topic_permissions", user, "amq.topic", r"^{username}\.", r"^r\.")
    return user


def topic_refused(text: Text, verb: str, key: str, user: str) -> str:
    return text(verb, f"topic '{key}' in exchange 'amq.topic'", user)


def test_routing_keys_of_publishes(as_user: As, writer: str, text: Text) -> None:
    peer = as_user(writer)
    peer.call(1, "confirm.select")
    peer.publish(1, "amq.topic", f"{writer}.x", b"m")
    peer.expect(1, "basic.ack")
    peer.publish(1, "amq.fanout", "x", b"m")
    peer.expect(1, "basic.ack")
    peer.publish(1, "amq.topic", "x", b"m")
    peer.expect_channel_close(1, 403, topic_refused(text, "write", "x", writer), "basic.publish")


@pytest.mark.parametrize("name", ["queue.bind", "queue.unbind"])
def test_keys_of_bindings(as_user: As, writer: str, text: Text, name: str) -> None:
    peer = as_user(writer)
    queue = peer.call(1, "queue.declare", exclusive=True)["queue"]
    peer.call(1, name, queue=queue, exchange="amq.topic", routing_key="r.#")
    refused = topic_refused(text, "read", "#", writer)
    peer.refused(1, 403, refused, name, queue=queue, exchange="amq.topic", routing_key="#")


def test_topic_permission_taken_back(control: Control, as_user: As, users: Callable[..., str], text: Text) -> None:
    user = users(*EVERYTHING)
    control("set_topic_permissions", user, "amq.topic", "^a$", "")
    peer = as_user(user)
    peer.publish(1, "amq.topic", "b", b"m")
    peer.expect_channel_close(1, 403, topic_refused(text, "write", "b", user), "basic.publish")
    control("clear_topic_permissions", user, "amq.topic")
    peer.open_channel(1)
    peer.publish(1, "amq.topic", "b", b"m")
    peer.call(1, "basic.qos")


@pytest.mark.amqpd_only("RabbitMQ 3.10 takes a name in a pattern for a pattern")
def test_names_in_topic_permissions_are_no_patterns(control: Control, enter: Enter, text: Text) -> None:
    user = ".*"
    control("add_user", user, "secret")
    try:
        control("set_permissions", user, *EVERYTHING)
        control("set_topic_permissions", user, "amq.topic", "^{username}$", "")
        peer = enter("/", user, "secret")
        peer.expect(0, "connection.open-ok")
        peer.open_channel(1)
        peer.publish(1, "amq.topic", "anything", b"m")
        peer.expect_channel_close(1, 403, topic_refused(text, "write", "anything", user), "basic.publish")
    finally:
        control("delete_user", user)


# -- users --


def test_changed_password(control: Control, enter: Enter, users: Callable[..., str]) -> None:
    user = users(*EVERYTHING)
    control("change_password", user, "new")
    enter("/", user, "new").expect(0, "connection.open-ok")
    control("authenticate_user", user, "new")


def test_user_that_is_a_pattern_is_nobody_else(control: Control, enter: Enter) -> None:
    control("add_user", "g.*", "secret")
    try:
        refused = "NOT_ALLOWED - access to vhost '/' refused for user 'g.*'"
        enter("/", "g.*", "secret").expect_connection_close(530, refused, "connection.open")
    finally:
        control("delete_user", "g.*")
