"""The control socket: operators talk to the running broker through it, ``amqpd ctl`` among them.

A Unix socket in the data directory that only the broker's own user may open. Lines of JSON both ways. A request names a
verb and its values: ``{"verb": "list_queues", "values": {"vhost": "/"}}``. The answer is one line, ``{"done": {...}}``
or ``{"error": "...", "is_misuse": false}``; before it, a listing has ``{"columns": [...]}`` and any number of lines
``{"rows": [[...], ...]}``. What changed is durable when ``done`` is said.

Verbs run inside the reactor's turns, one after the other, on the broker's own objects; a turn's end follows each.
"""

import errno
import importlib
import json
import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, Final, Generic, TypeAlias, TypeVar

import anyio
import anyio.abc
import anyio.to_thread
from anyio.streams.buffered import BufferedByteReceiveStream

from amqpd.errors import AmqpError
from amqpd.management.control_path import reachable
from amqpd.management.node import Node
from amqpd.management.requests import Aside, Done, Listing, Misused, Refused, Request, Result, Steps
from amqpd.server.reactor import Door

logger = logging.getLogger("amqpd.control")

REQUEST_MAX_BYTES: Final = 67_108_864  # one line: definitions with half a million objects
PEERS_MAX: Final = 64
ROWS_A_TURN: Final = 200  # a millisecond or two
PATIENCE_S: Final = 60.0  # with a peer that neither asks nor reads
DURABLE_PATIENCE_S: Final = 30.0  # with a disk that is full
DURABLE_POLL_S: Final = 0.002

_Value = TypeVar("_Value")
Verbs: TypeAlias = Mapping[str, Callable[[Node, Request], Result]]


class Control(Door):
    """The socket at ``path``, and the door through which what it is asked for comes into the reactor's turns."""

    def __init__(self, node: Node, path: Path, load_verbs: Callable[[], Verbs] | None = None) -> None:
        self.node = node
        self.path = path
        self.load_verbs = load_verbs or _load_verbs
        self.visits: deque[_Visit[Any]] = deque()
        self.descriptor = -1
        self.peer_count = 0

    def on_readable(self) -> None:
        """One visit a turn; the descriptor counts those that are left."""
        os.eventfd_read(self.descriptor)
        self.visits.popleft().run()

    async def serve(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; the socket is there when the task says that it has started. Raises OSError."""
        self.descriptor = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC | os.EFD_SEMAPHORE)
        try:
            with reachable(self.path) as address:
                _check_free(address)
                listener = await anyio.create_unix_listener(address, mode=0o600)
            try:
                self.node.server.reactor.watch(self.descriptor, self)
                async with listener:
                    task_status.started()
                    await listener.serve(self._serve_peer)
            finally:
                self.path.unlink(missing_ok=True)
        finally:
            os.close(self.descriptor)  # the reactor's poller forgets it with that

    async def _serve_peer(self, stream: anyio.abc.SocketStream) -> None:
        self.peer_count += 1
        try:
            async with stream:
                if self.peer_count > PEERS_MAX:
                    await _say_error(stream, Refused(f"{PEERS_MAX} control connections are open already"))
                else:
                    await self._converse(stream)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, TimeoutError):
            pass  # it left, or waits for nothing
        finally:
            self.peer_count -= 1

    async def _converse(self, stream: anyio.abc.SocketStream) -> None:
        lines = BufferedByteReceiveStream(stream)
        while True:
            try:
                with anyio.fail_after(PATIENCE_S):
                    line = await lines.receive_until(b"\n", REQUEST_MAX_BYTES)
            except anyio.IncompleteRead:
                return
            except anyio.DelimiterNotFound:
                await _say_error(stream, Misused(f"the request is longer than {REQUEST_MAX_BYTES} bytes"))
                return
            await self._reply(stream, line)

    async def _reply(self, stream: anyio.abc.SocketStream, line: bytes) -> None:
        try:
            await self._answer(stream, line)
        except (Refused, AmqpError) as error:
            await _say_error(stream, error)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError, TimeoutError):
            raise
        except Exception:  # the edge of a task: a verb's bug is no reason for the broker to end
            logger.exception("a bug of amqpd")
            await _say_error(stream, Refused("a bug of amqpd: the broker's log has the traceback"))

    async def _answer(self, stream: anyio.abc.SocketStream, line: bytes) -> None:
        verb, values = await anyio.to_thread.run_sync(_parse, line)
        act = (await anyio.to_thread.run_sync(self.load_verbs)).get(verb)
        if act is None:
            raise Misused(f"there is no verb {verb!r}")
        logger.debug("%s", verb)
        result = await self.in_turn(lambda: act(self.node, Request(values)))
        while isinstance(result, Aside):
            aside = result
            value = await anyio.to_thread.run_sync(aside.work)
            result = await self.in_turn(_bound(aside.then, value))
        if isinstance(result, Listing):
            await self._send_rows(stream, result)
            done = Done()
        elif isinstance(result, Done):
            done = result
        else:
            done = await self._take_steps(result)
        await self._wait_until_durable(done.ticket)
        await _say(stream, {"done": done.facts})

    async def _send_rows(self, stream: anyio.abc.SocketStream, listing: Listing) -> None:
        await _say(stream, {"columns": listing.columns})
        while rows := await self.in_turn(lambda: list(islice(listing.rows, ROWS_A_TURN))):
            await _say(stream, {"rows": rows})

    async def _take_steps(self, steps: Steps) -> Done:
        while True:
            done = await self.in_turn(lambda: _take_step(steps))
            if done is not None:
                return done

    async def in_turn(self, act: Callable[[], _Value]) -> _Value:
        """What ``act`` returns or raises, called inside the next turn."""
        visit = _Visit(act)
        self.visits.append(visit)
        os.eventfd_write(self.descriptor, 1)
        await visit.ended.wait()
        return visit.outcome()

    async def _wait_until_durable(self, ticket: int) -> None:
        journal = self.node.broker.journal
        with anyio.move_on_after(DURABLE_PATIENCE_S):
            while journal.durable < ticket:  # noqa: ASYNC110 - the journal has nothing to tell tasks with
                await anyio.sleep(DURABLE_POLL_S)
        if journal.durable < ticket:
            why = journal.store.alarm() or "the disk is slow"
            raise Refused(f"it is done, but not on disk yet ({why}): a crash now would undo it")


class _Visit(Generic[_Value]):
    """A call from outside of the reactor's turns into one of them."""

    def __init__(self, act: Callable[[], _Value]) -> None:
        self.act = act
        self.ended = anyio.Event()
        self.values: list[_Value] = []
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            self.values.append(self.act())
        except Exception as error:  # noqa: BLE001  # the edge of a turn: it is raised again outside
            self.error = error
        self.ended.set()

    def outcome(self) -> _Value:
        if self.error is not None:
            raise self.error
        return self.values[0]


def _check_free(address: str) -> None:
    """A socket that somebody serves is not taken from him; one that a crash left is. Raises OSError."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(address)
        except OSError:
            return
    raise OSError(errno.EADDRINUSE, "another broker listens there")


def _load_verbs() -> Verbs:
    """15 ms that a start without an operator does not pay."""
    verbs: Verbs = importlib.import_module("amqpd.management.verbs.registry").VERBS
    return verbs


def _bound(then: Callable[[Any], Result], value: Any) -> Callable[[], Result]:
    return lambda: then(value)


def _take_step(steps: Steps) -> Done | None:
    try:
        next(steps)
    except StopIteration as stop:
        done: Done = stop.value
        return done
    return None


def _parse(line: bytes) -> tuple[str, Mapping[str, Any]]:
    try:
        request = json.loads(line)
        verb, values = request["verb"], request.get("values", {})
    except (ValueError, TypeError, LookupError, RecursionError):
        raise Misused('a request is one line of JSON: {"verb": "...", "values": {...}}') from None
    if not isinstance(verb, str) or not isinstance(values, dict):
        raise Misused("the verb must be a text and its values an object")
    return verb, values


async def _say_error(stream: anyio.abc.SocketStream, error: Exception) -> None:
    text = error.text if isinstance(error, AmqpError) else str(error)
    await _say(stream, {"error": text, "is_misuse": isinstance(error, Misused)})


async def _say(stream: anyio.abc.SocketStream, fact: Mapping[str, Any]) -> None:
    with anyio.fail_after(PATIENCE_S):
        await stream.send(json.dumps(fact, separators=(",", ":")).encode() + b"\n")
