"""Fixtures of the dialogues: the broker, peers that must leave nothing unread, names that are deleted afterwards."""

import secrets
from collections.abc import Callable, Generator, Iterator
from typing import Final, Protocol

import pytest

from tests.support.brokers import Broker, running_broker
from tests.support.raw_peer import RawPeer

FAILED: Final = pytest.StashKey[bool]()


Name = Callable[[str], str]


class Connect(Protocol):
    """Opens a peer; logged in with channel 1 open."""

    def __call__(
        self, *, capabilities: dict[str, bool] | None = None, channel_max: int = 2047, frame_max: int = 131072
    ) -> RawPeer: ...


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "amqpd_only(reason): what we chose to do differently from RabbitMQ 3.10")


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    with running_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running


@pytest.fixture(autouse=True)
def _skip_what_only_amqpd_does(request: pytest.FixtureRequest, broker: Broker) -> None:
    marker = request.node.get_closest_marker("amqpd_only")
    if marker is not None and broker.kind != "amqpd":
        pytest.skip(marker.args[0])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:  # the broker's last words belong to a failure
    report = yield
    if report.failed:
        item.stash[FAILED] = True
    running = getattr(item, "funcargs", {}).get("broker")
    if report.failed and running is not None and running.stderr:
        report.sections.append(("broker stderr", "".join(running.stderr[-10:])))
    return report


@pytest.fixture
def raw(broker: Broker) -> Iterator[Callable[[], RawPeer]]:
    """Opens peers that have said nothing yet; they are dropped at the end."""
    peers: list[RawPeer] = []

    def open_peer() -> RawPeer:
        peers.append(broker.connect())
        return peers[-1]

    yield open_peer
    for peer in peers:
        peer.abort()


@pytest.fixture
def connect(broker: Broker, request: pytest.FixtureRequest, name: Name) -> Iterator[Connect]:
    """Peers logged in, channel 1 open; ``name`` is asked for so that it cleans up after they are gone."""
    peers: list[RawPeer] = []

    def open_peer(
        *, capabilities: dict[str, bool] | None = None, channel_max: int = 2047, frame_max: int = 131072
    ) -> RawPeer:
        peers.append(broker.connect())
        peers[-1].login(capabilities=capabilities, channel_max=channel_max, frame_max=frame_max)
        peers[-1].open_channel(1)
        return peers[-1]

    yield open_peer
    for peer in peers:
        if peer.open and not request.node.stash.get(FAILED, False):
            peer.close()
        peer.abort()


@pytest.fixture
def peer(connect: Connect) -> RawPeer:
    """Logged in, channel 1 open."""
    return connect()


@pytest.fixture(scope="session")
def governed(broker: Broker) -> Broker:
    """A broker that operators can talk to; other tests do not, so what is said stays between these."""
    if broker.control is None:
        pytest.skip("nobody can control this broker")
    return broker


class Control(Protocol):
    """An operator's command, in rabbitmqctl's words; what it prints. Raises BrokerFailed."""

    def __call__(self, *words: str) -> str: ...


@pytest.fixture(scope="session")
def control(governed: Broker) -> Control:
    assert governed.control is not None
    return governed.control


class Enter(Protocol):
    """Opens a peer of the governed broker that asks for a virtual host; the answer is not read yet."""

    def __call__(self, vhost: str = "/", user: str = "guest", password: str = "guest") -> RawPeer: ...


@pytest.fixture
def enter(governed: Broker) -> Iterator[Enter]:
    peers: list[RawPeer] = []

    def open_peer(vhost: str = "/", user: str = "guest", password: str = "guest") -> RawPeer:
        peers.append(governed.connect())
        peers[-1].start()
        peers[-1].start_ok(response=f"\0{user}\0{password}".encode())
        peers[-1].expect(0, "connection.tune")
        peers[-1].tune_ok()
        peers[-1].send(0, "connection.open", virtual_host=vhost)
        return peers[-1]

    yield open_peer
    for peer in peers:
        peer.abort()


@pytest.fixture
def name(broker: Broker) -> Iterator[Name]:
    """Names no other test has; queues and exchanges of these names are deleted at the end."""
    given: list[str] = []

    def new(prefix: str) -> str:
        given.append(f"{prefix}-{secrets.token_hex(4)}")
        return given[-1]

    yield new
    if not given:
        return
    with broker.connect() as cleaner:
        cleaner.login()
        cleaner.open_channel(1)
        for each in given:
            cleaner.send(1, "queue.delete", queue=each, nowait=True)
            cleaner.send(1, "exchange.delete", exchange=each, nowait=True)
        cleaner.close_channel(1)
        cleaner.close()
