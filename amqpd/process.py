"""A broker as a process: signals, the control socket, the line that says it is ready, the exit code."""

import dataclasses
import gc
import logging
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import anyio
import anyio.abc

from amqpd import __version__
from amqpd.app import StartError, make_server, resources_of, url_host
from amqpd.broker.ports import StoreFailed
from amqpd.clock import SystemClock
from amqpd.management.control import Control
from amqpd.management.control_path import SOCKET_NAME
from amqpd.management.node import Node
from amqpd.server.lifecycle import STOP_TIMEOUT_S, Server
from amqpd.settings import Settings

logger = logging.getLogger("amqpd")

PATIENCE_S = 0.001  # of the pump in a process of its own; a signal or timer may come that much later

PROMISES = {  # durability -> what a confirm is worth, in the ready line
    "fsync": "data in {data_dir}, confirmed messages survive a power cut",
    "write": "data in {data_dir}, confirmed messages survive a killed amqpd, not a power cut",
    "memory": "in memory, nothing survives a stop",
}


def say_ready(server: Server, settings: Settings) -> None:
    """The one line on standard output."""
    urls = " ".join(f"amqp://{url_host(name)}:{port}/" for name, port in addresses(server))
    promise = PROMISES[settings.durability].format(data_dir=settings.data_dir)
    print(f"amqpd {__version__} ready: {urls} ({promise})", flush=True)  # noqa: T201 - the one line on standard output


def run(
    settings: Settings,
    *,
    say_ready: Callable[[Server, Settings], None] = say_ready,
    until: Callable[[], Awaitable[None]] = anyio.sleep_forever,
    stop_timeout_s: float = STOP_TIMEOUT_S,
) -> int:
    """Serve until SIGTERM or SIGINT, or until ``until`` returns; the process's exit code. Raises StartError.

    ``say_ready`` is called once clients can connect. ``stop_timeout_s``: how long to wait at the end for clients to
    answer connection.close.
    """
    if settings.backend == "trio":
        _check_trio()
    server = make_server(settings, SystemClock(), watched=list(resources_of(settings)), patience_s=PATIENCE_S)
    server.stop_timeout_s = stop_timeout_s

    async def serve() -> int:
        return await _serve(server, settings, say_ready, until)

    return anyio.run(serve, backend=settings.backend)


def _check_trio() -> None:
    try:
        __import__("trio")
    except ImportError:
        raise StartError("backend = trio needs the package trio: pip install trio") from None


async def _serve(
    server: Server,
    settings: Settings,
    say_ready: Callable[[Server, Settings], None],
    until: Callable[[], Awaitable[None]],
) -> int:
    """Serve until a signal or a failed store; the exit code. A second signal ends the process where it stands."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with anyio.create_task_group() as group:
            serving = anyio.CancelScope()
            group.start_soon(_stop_on_signal, signals, serving)
            group.start_soon(_stop_after, until, serving)
            await _open_control(group, server, settings)
            gc.freeze()  # what a start has made stays; no collection looks at it again
            gc.enable()
            say_ready(server, settings)
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


async def _stop_after(until: Callable[[], Awaitable[None]], serving: anyio.CancelScope) -> None:
    await until()
    serving.cancel()


def addresses(server: Server) -> list[tuple[str, int]]:
    """Where it listens: hosts and ports."""
    return [listener.sock.getsockname()[:2] for listener in server.listeners]
