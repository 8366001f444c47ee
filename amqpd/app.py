"""The composition root: from settings to a server that is ready to run. The only module that knows every part.

A process around it: ``process.py``. A broker inside of a test: ``testing/``.
"""

import importlib
import socket
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from amqpd.broker import recovery
from amqpd.broker.broker import Broker
from amqpd.broker.ids import RandomIds
from amqpd.broker.ports import Store
from amqpd.clock import Clock
from amqpd.protocols.amqp091.handshake import Tuning
from amqpd.protocols.amqp091.sasl import LoginRules
from amqpd.server import resources
from amqpd.server.alarms import Resource
from amqpd.server.lifecycle import Server
from amqpd.server.listeners import listen
from amqpd.settings import Settings
from amqpd.store.memory import MemoryStore


class StartError(Exception):
    """The broker cannot start: one line for a person, with what to do."""


def make_server(
    settings: Settings,
    clock: Clock,
    *,
    store: Store | None = None,
    make_broker: Callable[..., Broker] = Broker,
    prepare: Callable[[Broker], None] | None = None,
    watched: Sequence[Resource] = (),
    patience_s: float = 0.0,
) -> Server:
    """A server that listens, on a broker with what ``store`` holds, or what the settings keep messages in.

    ``prepare`` is the last to touch the broker before it serves. Raises StartError, and what ``prepare`` raises; then
    nothing is left open.
    """
    sockets = _listen(settings)
    try:
        broker = _make_broker(settings, clock, store or _open_store(settings), make_broker, prepare)
    except BaseException:
        for sock in sockets:
            sock.close()
        raise
    return Server(
        broker,
        sockets,
        _tuning(settings),
        clock,
        max_connections=settings.max_connections,
        patience_s=patience_s,
        resources=watched,
    )


def url_host(host: str) -> str:
    """A host as URLs have it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def _listen(settings: Settings) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    port = settings.port
    for host in settings.hosts:
        try:
            sockets.append(listen(host, port))
        except OSError as error:
            for sock in sockets:
                sock.close()
            raise StartError(
                f"cannot listen on {host}:{port}: {error.strerror}; is another broker running? "
                "--port 0 picks a free port"
            ) from error
        port = sockets[0].getsockname()[1]
    return sockets


def _open_store(settings: Settings) -> Store:
    if settings.durability == "memory":
        return MemoryStore()
    lmdb_store = importlib.import_module("amqpd.store.lmdb_store")  # 10 ms that only a broker on disk pays
    try:
        store: Store = lmdb_store.LmdbStore(Path(settings.data_dir), durability=settings.durability)
    except lmdb_store.DataDirectoryError as error:
        raise StartError(str(error)) from error
    return store


def _make_broker(
    settings: Settings,
    clock: Clock,
    store: Store,
    make_broker: Callable[..., Broker],
    prepare: Callable[[Broker], None] | None,
) -> Broker:
    """A broker with what ``store`` holds. Closes the store if that cannot be used."""
    broker = make_broker(store, RandomIds(), queue_window_bytes=settings.queue_window_bytes)
    broker.turn.epoch_ms = int(clock.epoch() * 1000.0)
    broker.turn.begin(clock.now())
    try:
        recovery.restore(broker)
        if settings.definitions:
            _take_definitions(broker, settings)
        if prepare is not None:
            prepare(broker)
    except recovery.UnusableStore as error:
        store.close()
        raise StartError(f"the data directory {settings.data_dir} {error}; use another directory") from error
    except BaseException:
        store.close()
        raise
    return broker


def _take_definitions(broker: Broker, settings: Settings) -> None:
    file = importlib.import_module("amqpd.management.definitions.file")  # 8 ms that only a start with one pays
    try:
        file.load(broker, Path(settings.definitions))
    except ValueError as error:
        raise StartError(f"the definitions {settings.definitions} cannot be taken, none of them: {error}") from error


def _tuning(settings: Settings) -> Tuning:
    return Tuning(
        channel_max=settings.channel_max,
        frame_max=settings.frame_max_bytes,
        heartbeat_s=settings.heartbeat_s,
        max_message_size=settings.max_message_size_bytes,
        handshake_timeout_s=settings.handshake_timeout_s,
        consumer_timeout_ms=int(settings.consumer_timeout_s * 1000),
        consumer_timeout_closes_channel=settings.consumer_timeout_closes_channel,
        login=LoginRules(
            mechanisms=tuple(settings.auth_mechanisms.split(",")),
            loopback_users=frozenset(settings.loopback_users.split(",")) - {"none"},
            anonymous_user=settings.anonymous_login_user,
        ),
    )


def resources_of(settings: Settings) -> Iterator[Resource]:
    """What publishers have to wait for when it runs short."""
    if settings.memory_high_watermark > 0:
        there_is = resources.memory_bytes()
        yield Resource(
            name="memory",
            limit_bytes=int(there_is * settings.memory_high_watermark),
            is_ceiling=True,
            measure=resources.used_memory_bytes,
            setting=f"memory_high_watermark {settings.memory_high_watermark:g} of {there_is / 1e6:,.0f} MB",
            advice="let consumers catch up, lower queue_window_bytes, or give the broker more memory",
            relieve=resources.release_free_memory,
        )
    if settings.disk_free_limit_bytes > 0 and settings.durability != "memory":
        yield Resource(
            name="disk",
            limit_bytes=settings.disk_free_limit_bytes,
            is_ceiling=False,
            measure=lambda: resources.free_disk_bytes(settings.data_dir),
            setting="disk_free_limit_bytes",
            advice=f"make room on the disk of {settings.data_dir}",
        )
