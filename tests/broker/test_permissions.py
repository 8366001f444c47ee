"""Which names a user may use how, and that permissions are there after a restart. Texts: tests/conformance."""

import pytest

from amqpd import limits
from amqpd.broker import records
from amqpd.broker.journal import Journal
from amqpd.broker.patterns import InvalidPattern
from amqpd.broker.permissions import NoSuchPermission, Permission, Permissions, TopicPermission, Verb
from amqpd.broker.ports import ENTITIES
from amqpd.errors import AccessRefused
from amqpd.store.memory import MemoryStore


class World:
    def __init__(self, store: MemoryStore | None = None) -> None:
        self.change_count = 0
        self.permissions = Permissions(Journal(store or MemoryStore()), self.on_change)

    def on_change(self) -> None:
        self.change_count += 1

    def restarted(self) -> "World":
        """What the next start of the broker reads."""
        self.permissions.journal.seal()
        store = self.permissions.journal.store
        assert isinstance(store, MemoryStore)
        again = World(store)
        for key, value in store.scan(ENTITIES, b""):
            again.permissions.restore(records.decode(key, value))
        return again

    def allows(self, user: str, verb: Verb, name: str, vhost: str = "/") -> bool:
        try:
            self.permissions.check(user, vhost, verb, "queue", name)
        except AccessRefused:
            return False
        return True

    def allows_key(self, user: str, key: str, exchange: str = "t", vhost: str = "/") -> bool:
        try:
            self.permissions.check_topic(user, vhost, "write", exchange, key)
        except AccessRefused:
            return False
        return True


@pytest.fixture
def world() -> World:
    return World()


def test_first_guest_may_everything_in_the_default_virtual_host(world: World) -> None:
    for known in (world, world.restarted()):
        assert known.permissions.may_enter("guest", "/")
        assert not known.permissions.may_enter("guest", "other")
        assert not known.permissions.may_enter("ada", "/")
        assert known.allows("guest", "configure", "q")
    assert world.permissions.journal.is_idle()


def test_each_verb_has_its_pattern(world: World) -> None:
    world.permissions.set(Permission("ada", "/", "^c", "^w", "^r"))
    verbs: tuple[Verb, ...] = ("configure", "write", "read")
    for verb in verbs:
        assert [name for name in ("c", "w", "r") if world.allows("ada", verb, name)] == [verb[0]]


@pytest.mark.parametrize(
    ("pattern", "name", "allowed"),
    [
        ("", "q", False),
        ("", "amq.default", False),
        ("^$", "", False),  # the default exchange has a name here
        ("^amq\\.default$", "", True),
        (".*", "", True),
        ("q", "a queue", True),
        ("^q$", "a queue", False),
        ("^(?!amq\\.)", "amq.topic", False),
    ],
)
def test_patterns(world: World, pattern: str, name: str, *, allowed: bool) -> None:
    world.permissions.set(Permission("ada", "/", pattern, pattern, pattern))
    assert world.allows("ada", "write", name) is allowed


def test_texts(world: World) -> None:
    with pytest.raises(AccessRefused) as caught:
        world.permissions.check("ada", "v", "configure", "queue", "q")
    assert caught.value.text == "configure access to queue 'q' in vhost 'v' refused for user 'ada'"
    with pytest.raises(AccessRefused) as caught:
        world.permissions.check("ada", "v", "write", "exchange", "")
    assert caught.value.text == "write access to exchange 'amq.default' in vhost 'v' refused for user 'ada'"
    world.permissions.set_topic(TopicPermission("ada", "v", "t", "", ""))
    with pytest.raises(AccessRefused) as caught:
        world.permissions.check_topic("ada", "v", "write", "t", "k")
    assert caught.value.text == "write access to topic 'k' in exchange 't' in vhost 'v' refused for user 'ada'"


def test_after_a_restart(world: World) -> None:
    ada = Permission("ada", "v", "^c", "", "é")
    topic = TopicPermission("ada", "v", "t", "^w", "^r")
    world.permissions.set(ada)
    world.permissions.set_topic(topic)
    again = world.restarted().permissions
    assert again.all() == world.permissions.all() == [Permission("guest", "/", ".*", ".*", ".*"), ada]
    assert again.all_topics() == [topic]


def test_topic_permission_alone_leaves_guest_what_he_has(world: World) -> None:
    world.permissions.set_topic(TopicPermission("guest", "/", "t", "^w", ""))
    assert world.restarted().permissions.may_enter("guest", "/")


def test_replaced_and_cleared(world: World) -> None:
    world.permissions.set(Permission("ada", "/", ".*", ".*", ".*"))
    assert world.permissions.set(Permission("ada", "/", "^x", "", "")) == world.permissions.journal.ticket
    assert not world.allows("ada", "configure", "q")
    assert world.permissions.clear("ada", "/") == world.permissions.journal.ticket
    for known in (world, world.restarted()):
        assert not known.allows("ada", "configure", "x")
        assert not known.permissions.may_enter("ada", "/")
        assert known.permissions.may_enter("guest", "/")
    with pytest.raises(NoSuchPermission, match="user 'ada' has no permissions in vhost '/'"):
        world.permissions.clear("ada", "/")


def test_guests_may_be_cleared(world: World) -> None:
    world.permissions.clear("guest", "/")
    assert world.restarted().permissions.all() == []


def test_every_change_is_told(world: World) -> None:
    world.permissions.set(Permission("ada", "/", ".*", ".*", ".*"))
    world.permissions.set_topic(TopicPermission("ada", "/", "t", "", ""))
    world.permissions.clear_topic("ada", "/")
    world.permissions.clear("ada", "/")
    assert world.change_count == 4


@pytest.mark.parametrize("verb", ["configure", "write", "read"])
def test_invalid_pattern_changes_nothing(world: World, verb: str) -> None:
    patterns = {"configure": ".*", "write": ".*", "read": ".*", verb: "("}
    with pytest.raises(InvalidPattern):
        world.permissions.set(Permission("guest", "/", **patterns))
    assert world.allows("guest", "configure", "q")
    assert world.change_count == 0
    assert world.permissions.journal.is_idle()


def test_invalid_topic_pattern_changes_nothing(world: World) -> None:
    with pytest.raises(InvalidPattern):
        world.permissions.set_topic(TopicPermission("guest", "/", "t", ".*", "("))
    assert world.allows_key("guest", "k")
    assert world.permissions.journal.is_idle()


# -- topics --


def test_without_topic_permission_every_key_is_allowed(world: World) -> None:
    world.permissions.set_topic(TopicPermission("ada", "/", "t", "^a\\.", "^$"))
    assert world.allows_key("ada", "a.b")
    assert not world.allows_key("ada", "b")
    assert world.allows_key("ada", "b", exchange="other")
    assert world.allows_key("ada", "b", vhost="other")
    assert world.allows_key("guest", "b")


def test_write_and_read_are_two(world: World) -> None:
    world.permissions.set_topic(TopicPermission("ada", "/", "t", "^w", "^r"))
    world.permissions.check_topic("ada", "/", "read", "t", "r")
    with pytest.raises(AccessRefused, match="read access to topic 'w'"):
        world.permissions.check_topic("ada", "/", "read", "t", "w")


@pytest.mark.parametrize("exchange", [None, "t"])
def test_topic_permissions_cleared(world: World, exchange: str | None) -> None:
    for name in ("t", "u"):
        world.permissions.set_topic(TopicPermission("ada", "/", name, "", ""))
    assert world.permissions.clear_topic("ada", "/", exchange) == world.permissions.journal.ticket
    for known in (world, world.restarted()):
        assert known.allows_key("ada", "k")
        assert known.allows_key("ada", "k", exchange="u") is (exchange is None)
    assert world.permissions.clear_topic("nobody", "/") == 0


@pytest.mark.parametrize(
    ("pattern", "user", "vhost", "key", "allowed"),
    [
        ("^{username}\\.", "ada", "/", "ada.x", True),
        ("^{username}\\.", "ada", "/", "bob.x", False),
        ("^{vhost}\\.{username}$", "ada", "v", "v.ada", True),
        # Names that look like patterns stand for themselves.
        ("^{username}$", ".*", "/", "anything", False),
        ("^{username}$", ".*", "/", ".*", True),
        ("^{username}$", "a|.*", "/", "b", False),
        ("^{username}\\.", "(a+)+$", "/", "(a+)+$.x", True),
        ("^{username}\\.", "(", "/", "(.x", True),
        ("^{vhost}$", "ada", "[a-z]", "b", False),
        ("^{vhost}$", "ada", "{username}", "ada", False),
        ("^{username}$", "é", "/", "é", True),
        ("^{client_id}$", "ada", "/", "{client_id}", True),
        ("^{client_id}$", "ada", "/", "ada", False),
    ],
)
def test_variables(world: World, pattern: str, user: str, vhost: str, key: str, *, allowed: bool) -> None:
    world.permissions.set_topic(TopicPermission(user, vhost, "t", pattern, ""))
    assert world.allows_key(user, key, vhost=vhost) is allowed


def test_pattern_that_another_version_took_allows_nothing(world: World, caplog: pytest.LogCaptureFixture) -> None:
    for kind, exchange in (("permission", {}), ("topic_permission", {"exchange": "t"})):
        fact = {"kind": kind, "user": "ada", "vhost": "/", "configure": ".*", "write": "(", "read": "(", **exchange}
        if exchange:
            del fact["configure"]
        world.permissions.restore(fact)
    assert world.allows("ada", "configure", "q")
    assert not world.allows("ada", "write", "")
    assert not world.allows_key("ada", "")
    assert not world.allows_key("ada", "(")
    assert caplog.text.count("cannot be used any more, and allows nothing: invalid pattern '('") == 1


# -- the end of users and virtual hosts --


def test_user_and_virtual_host_forgotten(world: World) -> None:
    for user in ("ada", "bob"):
        for vhost in ("/", "v"):
            world.permissions.set(Permission(user, vhost, ".*", ".*", ".*"))
            world.permissions.set_topic(TopicPermission(user, vhost, "t", "", ""))
    world.permissions.set_topic(TopicPermission("ada", "topics only", "t", "", ""))
    world.permissions.clear_user("ada")
    world.permissions.clear_vhost("v")
    for known in (world.permissions, world.restarted().permissions):
        assert [(one.user, one.vhost) for one in known.all()] == [("bob", "/"), ("guest", "/")]
        assert [(one.user, one.vhost) for one in known.all_topics()] == [("bob", "/")]


# -- bounds --


def test_compiled_patterns_are_bounded_and_shared(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "PATTERNS_MAX", 4)
    for number in range(20):
        world.permissions.set(Permission(f"user {number}", "/", ".*", f"^{number}$", ".*"))
        assert len(world.permissions._patterns) <= 4
    for number in range(20):
        assert world.allows(f"user {number}", "write", str(number))
        assert not world.allows(f"user {number}", "write", "x")


def test_hostile_pattern_refuses(world: World) -> None:
    world.permissions.set(Permission("ada", "/", "^(a|aa)+$", ".*", ".*"))
    assert not world.allows("ada", "configure", "a" * 250 + "!")
