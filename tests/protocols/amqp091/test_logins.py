"""Logging in: passwords that are looked at elsewhere, new secrets, and mechanisms without a password."""

import logging
from dataclasses import replace

import pytest

from amqpd.broker.logins import Check, Checker
from amqpd.broker.passwords import NO_PASSWORD, hash_like_rabbitmq
from amqpd.broker.users import GUEST, User
from amqpd.protocols.amqp091.handshake import Tuning
from amqpd.protocols.amqp091.sasl import LoginRules
from amqpd.protocols.amqp091.states import STATE_NAMES
from tests.protocols.amqp091.dialogue import closes, names, one, opening, start_ok, tune_ok
from tests.support.passwords import quick_hash
from tests.support.raw_peer import HEADER, decode_method
from tests.support.wire import Peer, Server, method

ADA = User("ada", quick_hash(b"secret"))
AS_ADA = b"\x00ada\x00secret"


class CheckerLater(Checker):
    """Runs what is waiting when the test says so."""

    def __init__(self) -> None:
        self.waiting: list[Check] = []
        self.done: list[Check] = []

    def begin(self, check: Check) -> None:
        self.waiting.append(check)

    def take_done(self) -> list[Check]:
        done = self.done
        self.done = []
        return done


class World:
    """A server that knows ada, whose password is looked at when the test says so."""

    def __init__(self, rules: LoginRules | None = None) -> None:
        self.server = Server(tuning=Tuning(login=rules))
        self.broker = self.server.broker
        self.broker.users.set(ADA)
        self.broker.permissions.set(self.broker.permissions.all()[0]._replace(user="ada"))
        self.checker = CheckerLater()
        self.broker.logins.checker = self.checker

    def started(self, certificate_name: str | None = None) -> Peer:
        peer = self.server.connect()
        peer.connection.certificate_name = certificate_name
        peer.feed(HEADER)
        assert names(peer) == ["connection.start"]
        return peer

    def look(self) -> None:
        """Every password that waits is looked at."""
        for check in self.checker.waiting:
            check.run()
        self.checker.done += self.checker.waiting
        self.checker.waiting = []
        self.broker.logins.collect()
        self.server.turn()


@pytest.fixture
def world() -> World:
    return World()


def state(peer: Peer) -> str:
    return STATE_NAMES[peer.connection.state]


LOGIN = start_ok(response=AS_ADA) + tune_ok() + opening() + method(1, "channel.open")
LOGGED_IN = ["connection.tune", "connection.open-ok", "channel.open-ok"]
REFUSED = "ACCESS_REFUSED - Login was refused using authentication mechanism {}. For details see the broker logfile."


# -- passwords that are looked at elsewhere --


def test_who_does_not_wait_for_the_answer_is_served_in_order(world: World) -> None:
    peer = world.started()
    peer.feed(LOGIN)
    assert names(peer) == []
    assert not peer.connection.is_reading
    world.look()
    assert names(peer) == LOGGED_IN
    assert peer.connection.user_name == "ada"


@pytest.mark.parametrize("size", [1, 7, 100])
def test_in_pieces(world: World, size: int) -> None:
    peer = world.started()
    for at in range(0, len(LOGIN), size):
        peer.feed(LOGIN[at : at + size])
    assert names(peer) == []
    world.look()
    assert names(peer) == LOGGED_IN


def test_who_waits_is_not_in_the_way_of_others(world: World) -> None:
    slow = world.started()
    slow.feed(LOGIN)
    other = world.server.peer(1)
    other.call(1, "queue.declare", queue="q")
    assert names(slow) == []
    world.look()
    assert names(slow) == LOGGED_IN


def test_remembered_password_is_not_waited_for(world: World) -> None:
    first = world.started()
    first.feed(LOGIN)
    world.look()
    again = world.started()
    again.feed(LOGIN)
    assert names(again) == LOGGED_IN
    assert world.checker.waiting == []


def test_wrong_password_is_told_to_who_understands(world: World) -> None:
    peer = world.started()
    peer.feed(start_ok(response=b"\x00ada\x00wrong", authentication_failure_close=True) + tune_ok())
    assert names(peer) == []
    world.look()
    assert closes(one(peer)) == ("connection.close", 403, REFUSED.format("PLAIN"), 0, 0)
    assert state(peer) == "closing"
    peer.send(0, "connection.close-ok")
    assert peer.connection.is_finished


def test_wrong_password_is_not_told_to_others_and_the_socket_stays_a_while(world: World) -> None:
    peer = world.started()
    peer.feed(start_ok(response=b"\x00ada\x00wrong", authentication_failure_close=False) + tune_ok())
    world.look()
    assert names(peer) == []
    connection = peer.connection
    assert not connection.is_finished
    ends_at = connection.tick(10.0, 0.0, 0.0)
    assert ends_at == 11.0
    assert not connection.is_finished
    connection.tick(ends_at, 0.0, 0.0)
    assert connection.is_finished


def test_who_hangs_up_meanwhile(world: World) -> None:
    peer = world.started()
    peer.feed(LOGIN)
    peer.hang_up()
    world.look()
    assert peer.take_bytes() == b""
    assert list(world.broker.connections) == []


@pytest.mark.parametrize("how", ["timeout", "shutdown"])
def test_who_is_closed_meanwhile(world: World, how: str) -> None:
    peer = world.started()
    peer.feed(LOGIN)
    if how == "timeout":
        peer.connection.tick(10.0, 0.0, 0.0)
    else:
        peer.connection.force_close("shutdown")
    world.look()
    assert peer.take_bytes() == b""
    assert state(peer) == "closed"


def test_deleted_meanwhile(world: World) -> None:
    peer = world.started()
    peer.feed(LOGIN)
    world.broker.delete_user("ada")
    world.look()
    assert closes(one(peer))[1] == 403


@pytest.mark.parametrize("user", [b"ada", b"nobody", b"guest"])
def test_empty_password_lets_nobody_in(world: World, user: bytes) -> None:
    world.broker.users.set(User("nobody", NO_PASSWORD))
    world.broker.users.set(replace(GUEST, password=hash_like_rabbitmq(b"", b"salt")))
    peer = world.started()
    peer.feed(start_ok(response=b"\x00" + user + b"\x00"))
    world.look()
    assert closes(one(peer))[1] == 403


@pytest.mark.parametrize("name", [".*", "(a+)+$", "a'b", "%s", "\udcff", "x" * 10_000, "\n"])
def test_odd_names_are_refused_like_others(world: World, name: str) -> None:
    peer = world.started()
    peer.feed(start_ok(response=b"\x00" + name.encode("utf-8", "surrogateescape") + b"\x00secret"))
    world.look()
    assert closes(one(peer))[1:3] == (403, REFUSED.format("PLAIN"))


def test_no_password_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        for response in (AS_ADA, b"\x00ada\x00secret1", b"\x00ada\x00secret\x00", b"secret"):
            peer = world.started()
            peer.feed(start_ok(response=response) + tune_ok() + opening())
            world.look()
        ada(world).send(0, "connection.update-secret", new_secret=b"secret2", reason="r")
        world.look()
    assert "login refused (PLAIN)" in caplog.text
    assert "secret1" not in caplog.text
    assert "secret2" not in caplog.text
    assert "secret" not in caplog.text.replace("update-secret", "").replace("New secret", "")


# -- where from --


def test_loopback_users_are_who_is_named() -> None:
    world = World(LoginRules(loopback_users=frozenset({"ada"})))
    for name, is_in in (("ada", False), ("guest", True)):
        peer = world.started()
        peer.connection.is_loopback = False
        peer.feed(start_ok(response=AS_ADA if name == "ada" else b"\x00guest\x00guest"))
        world.look()
        assert (one(peer).name == "connection.tune") is is_in


def test_guest_from_elsewhere_is_refused_like_a_wrong_password(world: World) -> None:
    peer = world.started()
    peer.connection.is_loopback = False
    peer.feed(start_ok())
    assert closes(one(peer))[1:3] == (403, REFUSED.format("PLAIN"))


# -- connection.update-secret --


def ada(world: World) -> Peer:
    peer = world.started()
    peer.feed(LOGIN)
    world.look()
    peer.take_bytes()
    return peer


def test_new_secret_is_looked_at(world: World) -> None:
    peer = ada(world)
    changed = replace(ADA, password=quick_hash(b"new"))
    world.broker.users.set(changed)
    peer.send(0, "connection.update-secret", new_secret=b"new", reason="rotation")
    peer.send(1, "queue.declare", queue="q")
    assert names(peer) == []
    world.look()
    assert names(peer) == ["connection.update-secret-ok", "queue.declare-ok"]


def test_wrong_secret_is_the_end(world: World) -> None:
    peer = ada(world)
    peer.send(0, "connection.update-secret", new_secret=b"wrong", reason="rotation")
    peer.send(1, "queue.declare", queue="q")
    world.look()
    text = "NOT_ALLOWED - New secret was refused by one of the backends"
    assert closes(one(peer)) == ("connection.close", 530, text, 10, 70)
    peer.send(0, "connection.close-ok")
    peer.turn()
    assert peer.is_gone
    assert "q" not in world.broker.vhosts["/"].queues


def test_many_secrets_are_looked_at_one_by_one(world: World) -> None:
    peer = ada(world)
    for number in range(100):
        peer.send(0, "connection.update-secret", new_secret=f"wrong {number}".encode(), reason="r")
    peer.turn()
    assert len(world.checker.waiting) == 1


# -- mechanisms without a password --


def offered(peer: Peer) -> str:
    peer.feed(HEADER)
    peer.turn()
    mechanisms: str = decode_method(peer.take_bytes()[7:-1])["mechanisms"]
    return mechanisms


def test_what_is_offered() -> None:
    world = World(LoginRules(mechanisms=("EXTERNAL", "PLAIN", "ANONYMOUS"), anonymous_user="ada"))
    assert offered(world.server.connect()) == "PLAIN ANONYMOUS"
    secured = world.server.connect()
    secured.connection.certificate_name = "ada"
    assert offered(secured) == "EXTERNAL PLAIN ANONYMOUS"


@pytest.mark.parametrize("mechanism", ["EXTERNAL", "ANONYMOUS", "AMQPLAIN", "CRAM-MD5", "external", ""])
def test_what_was_not_offered(mechanism: str) -> None:
    world = World(LoginRules(mechanisms=("EXTERNAL", "PLAIN", "ANONYMOUS")))
    peer = world.started()
    peer.feed(start_ok(mechanism))
    text = f"COMMAND_INVALID - unknown authentication mechanism '{mechanism}'"
    assert closes(one(peer)) == ("connection.close", 503, text, 0, 0)


EXTERNAL = LoginRules(mechanisms=("EXTERNAL",))


def test_external_is_the_name_in_the_certificate() -> None:
    peer = World(EXTERNAL).started("ada")
    peer.feed(start_ok("EXTERNAL", b"bob") + tune_ok() + opening())
    assert names(peer) == ["connection.tune", "connection.open-ok"]
    assert peer.connection.user_name == "ada"


@pytest.mark.parametrize("name", ["", "bob", ".*", "ada "])
def test_external_that_names_no_user(name: str) -> None:
    peer = World(EXTERNAL).started(name)
    peer.feed(start_ok("EXTERNAL", b""))
    assert closes(one(peer))[1:3] == (403, REFUSED.format("EXTERNAL"))


def test_anonymous_is_the_user_of_the_setting() -> None:
    peer = World(LoginRules(mechanisms=("ANONYMOUS",), anonymous_user="ada")).started()
    peer.feed(start_ok("ANONYMOUS", b"trace") + tune_ok() + opening())
    assert names(peer) == ["connection.tune", "connection.open-ok"]
    assert peer.connection.user_name == "ada"


def test_anonymous_obeys_the_rules_of_places() -> None:
    peer = World(LoginRules(mechanisms=("ANONYMOUS",), anonymous_user="guest")).started()
    peer.connection.is_loopback = False
    peer.feed(start_ok("ANONYMOUS", b""))
    assert closes(one(peer))[1:3] == (403, REFUSED.format("ANONYMOUS"))


def test_anonymous_user_that_is_missing() -> None:
    peer = World(LoginRules(mechanisms=("ANONYMOUS",), anonymous_user="bob")).started()
    peer.feed(start_ok("ANONYMOUS", b""))
    assert closes(one(peer))[1] == 403


# -- the end of a user --


def test_deleted_user_is_put_out(world: World) -> None:
    peer = ada(world)
    other = world.server.peer(1)
    world.broker.delete_user("ada")
    text = "CONNECTION_FORCED - user 'ada' is deleted"
    assert closes(one(peer)) == ("connection.close", 320, text, 0, 0)
    other.call(1, "queue.declare", queue="q")
    assert not world.broker.permissions.may_enter("ada", "/")


def test_impersonator(world: World) -> None:
    assert not ada(world).connection.is_impersonator
    world.broker.users.set(replace(ADA, tags=("management", "impersonator")))
    peer = ada(world)
    assert peer.connection.is_impersonator
    world.broker.users.set(ADA)
    assert peer.connection.is_impersonator, "tags count from the login on"
    peer.send(0, "connection.update-secret", new_secret=b"secret", reason="r")
    assert names(peer) == ["connection.update-secret-ok"]
    assert not peer.connection.is_impersonator
