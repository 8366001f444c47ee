"""The composition root: from settings to a running broker. The only module that knows every part."""

import dataclasses
import importlib
import logging
import os
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import anyio
import anyio.abc

from amqpd import __version__
from amqpd.broker import recovery
from amqpd.broker.broker import Broker
from amqpd.broker.ids import RandomIds
from amqpd.broker.ports import Store, StoreFailed
from amqpd.clock import SystemClock
from amqpd.management.control import Control
from amqpd.management.control_path import SOCKET_NAME
from amqpd.management.node import Node
from amqpd.protocols.amqp091.handshake import Tuning
from amqpd.protocols.amqp091.sasl import LoginRules
from amqpd.server import resources
from amqpd.server.alarms import Resource
from amqpd.server.lifecycle import Server
from amqpd.server.listeners import listen
from amqpd.settings import Settings
from amqpd.store.lmdb_store import DataDirectoryError, LmdbStore
from amqpd.store.memory import MemoryStore

logger = logging.getLogger("amqpd")


PATIENCE_S = 0.001  # of the pump in a process of its own; a signal or timer may come that much later

PROMISES = {  # durability -> what a confirm is worth, in the ready line
    "fsync": "data in {data_dir}, confirmed messages survive a power cut",
    "write": "data in {data_dir}, confirmed messages survive a killed amqpd, not a power cut",
    "memory": "in memory, nothing survives a stop",
}


class StartError(Exception):
    """The broker cannot start: one line for a person, with what to do."""


def run(settings: Settings) -> int:
    """Serve until SIGTERM or SIGINT; the process's exit code. Raises StartError."""
    if settings.backend == "trio":
        _check_trio()
    sockets = _listen(settings)
    store = _open_store(settings)
    clock = SystemClock()
    broker = Broker(store, RandomIds(), queue_window_bytes=settings.queue_window_bytes)
    broker.turn.epoch_ms = int(clock.epoch() * 1000.0)
    broker.turn.begin(clock.now())
    try:
        recovery.restore(broker)
    except recovery.UnusableStore as error:
        store.close()
        raise StartError(f"the data directory {settings.data_dir} {error}; use another directory") from error
    if settings.definitions:
        _take_definitions(broker, settings)
    server = Server(
        broker,
        sockets,
        _tuning(settings),
        clock,
        max_connections=settings.max_connections,
        patience_s=PATIENCE_S,
        resources=list(_resources(settings)),
    )
    return anyio.run(_serve, server, settings, backend=settings.backend)


def _check_trio() -> None:
    try:
        __import__("trio")
    except ImportError:
        raise StartError("backend = trio needs the package trio: pip install trio") from None


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
    try:
        return LmdbStore(Path(settings.data_dir), durability=settings.durability)
    except DataDirectoryError as error:
        raise StartError(str(error)) from error


def _take_definitions(broker: Broker, settings: Settings) -> None:
    file = importlib.import_module("amqpd.management.definitions.file")  # 8 ms that only a start with one pays
    try:
        file.load(broker, Path(settings.definitions))
    except ValueError as error:
        broker.journal.store.close()
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


def _resources(settings: Settings) -> Iterator[Resource]:
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


async def _serve(server: Server, settings: Settings) -> int:
    """Serve until a signal or a failed store; the exit code. A second signal ends the process where it stands."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with anyio.create_task_group() as group:
            serving = anyio.CancelScope()
            group.start_soon(_stop_on_signal, signals, serving)
            await _open_control(group, server, settings)
            _say_ready(server, settings)
            code = 0
            try:
                with serving:
                    await server.run()
            except StoreFailed as error:
                logger.critical("%s: the broker stops, because it could not keep a promise any more", error)
                code = 1
            group.cancel_scope.cancel()
    return code


async def _open_control(group: anyio.abc.TaskGroup, server: Server, settings: Settings) -> None:
    """A broker that cannot be reached by amqpd ctl serves all the same."""
    if settings.control_socket:
        path = Path(settings.control_socket)
    elif settings.durability != "memory":
        path = settings.data_dir / SOCKET_NAME
    else:
        return
    node = Node(server, {field.name: getattr(settings, field.name) for field in dataclasses.fields(settings)})
    try:
        await group.start(Control(node, path).serve)
    except OSError as error:
        logger.warning("no control socket at %s: %s; amqpd ctl cannot reach this broker", path, error)


async def _stop_on_signal(signals: AsyncIterator[signal.Signals], serving: anyio.CancelScope) -> None:
    async for number in signals:
        if serving.cancel_called:
            logger.warning("%s again: ended at once", number.name)
            os._exit(1)
        logger.info("%s: stopping", number.name)
        serving.cancel()


def _say_ready(server: Server, settings: Settings) -> None:
    urls = " ".join(f"amqp://{_url_host(name)}:{port}/" for name, port in _addresses(server))
    promise = PROMISES[settings.durability].format(data_dir=settings.data_dir)
    print(f"amqpd {__version__} ready: {urls} ({promise})", flush=True)  # noqa: T201 - the one line on standard output


def _addresses(server: Server) -> list[tuple[str, int]]:
    return [listener.sock.getsockname()[:2] for listener in server.listeners]


def _url_host(host: str) -> str:
    return f"[{host}]" if ":" in host else host
