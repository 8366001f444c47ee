"""The control socket, over a socket: who may open it, what is said on it, and that nothing on it stalls or ends the
broker."""

import json
import os
import socket
import stat
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from amqpd.broker.broker import Broker
from amqpd.clock import SystemClock
from amqpd.errors import PreconditionFailed
from amqpd.management import control
from amqpd.management.control import Control
from amqpd.management.node import Node
from amqpd.management.requests import Aside, Done, Listing, Refused, Request, Result, Steps
from amqpd.protocols.amqp091.handshake import Tuning
from amqpd.server.lifecycle import Server
from tests.support.wire import CountingIds, DelayedStore

TIMEOUT_S = 10


def add(node: Node, request: Request) -> Done:
    return Done(ticket=node.broker.add_vhost(request.text("name")))


def count(node: Node, request: Request) -> Listing:
    return Listing(["n"], ([n] for n in range(request.whole("to", 0))))


def aside(node: Node, request: Request) -> Aside:
    loop = threading.get_ident()
    return Aside(threading.get_ident, lambda worker: Done({"is_aside": worker != loop}))


def steps(node: Node, request: Request) -> Steps:
    for _ in range(3):
        yield
    return Done({"turns": 3})


def refuse(node: Node, request: Request) -> Result:
    raise Refused("no")


def fault(node: Node, request: Request) -> Result:
    raise PreconditionFailed("x is not y")


def bug(node: Node, request: Request) -> Result:
    raise ZeroDivisionError


def bug_aside(node: Node, request: Request) -> Result:
    return Aside(lambda: 1 // 0, lambda _: Done())


VERBS: Mapping[str, Callable[[Node, Request], Result]] = {
    verb.__name__: verb for verb in (add, count, aside, steps, refuse, fault, bug, bug_aside)
}


class Peer:
    """A client that blocks: for threads."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(TIMEOUT_S)
        self.socket.connect(str(path))
        self.lines = self.socket.makefile("rb")

    def __enter__(self) -> "Peer":
        return self

    def __exit__(self, *_: object) -> None:
        self.lines.close()
        self.socket.close()

    def say(self, line: bytes) -> None:
        self.socket.sendall(line + b"\n")

    def hear(self) -> Any:
        return json.loads(self.lines.readline())

    def ask(self, verb: str, **values: Any) -> Any:
        self.say(json.dumps({"verb": verb, "values": values}).encode())
        return self.hear()


@asynccontextmanager
async def serving(path: Path, store: DelayedStore | None = None) -> AsyncIterator[Server]:
    store = store or DelayedStore()
    server = Server(Broker(store, CountingIds()), [], Tuning(), SystemClock(), max_connections=1, patience_s=0.0)
    async with anyio.create_task_group() as group:
        group.start_soon(server.run)
        await group.start(Control(Node(server, {}), path, lambda: VERBS).serve)
        yield server
        store.is_delaying = False
        store.complete()
        group.cancel_scope.cancel()


def talk(path: Path, conversation: Callable[[Peer], None]) -> None:
    """Serve, and have a thread talk to the socket."""

    def run() -> None:
        with Peer(path) as peer:
            conversation(peer)

    async def main() -> None:
        store = DelayedStore()
        store.is_delaying = False
        async with serving(path, store):
            await anyio.to_thread.run_sync(run)

    anyio.run(main)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "control.sock"


def test_what_changed_is_done(path: Path) -> None:
    def conversation(peer: Peer) -> None:
        assert peer.ask("add", name="a") == {"done": {}}

    talk(path, conversation)


def test_a_listing_comes_in_pieces(path: Path) -> None:
    def conversation(peer: Peer) -> None:
        assert peer.ask("count", to=control.ROWS_A_TURN + 1) == {"columns": ["n"]}
        assert [len(peer.hear()["rows"]) for _ in range(2)] == [control.ROWS_A_TURN, 1]
        assert peer.hear() == {"done": {}}
        assert peer.ask("count") == {"columns": ["n"]}
        assert peer.hear() == {"done": {}}

    talk(path, conversation)


def test_many_who_ask_at_once_have_a_turn_each(path: Path) -> None:
    moments: list[int] = []

    async def main() -> None:
        store = DelayedStore()
        async with serving(path, store) as server:
            door = Control(Node(server, {}), path.with_name("other.sock"), lambda: VERBS)
            async with anyio.create_task_group() as group:
                await group.start(door.serve)
                async with anyio.create_task_group() as visitors:
                    for _ in range(5):
                        visitors.start_soon(door.in_turn, lambda: moments.append(server.broker.turn.now_us))
                group.cancel_scope.cancel()

    anyio.run(main)
    assert len(set(moments)) == 5


def test_slow_work_is_done_in_a_thread_and_long_work_in_steps(path: Path) -> None:
    def conversation(peer: Peer) -> None:
        assert peer.ask("aside") == {"done": {"is_aside": True}}
        assert peer.ask("steps") == {"done": {"turns": 3}}

    talk(path, conversation)


def test_refusals_and_bugs_end_neither_the_conversation_nor_the_broker(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def conversation(peer: Peer) -> None:
        assert peer.ask("refuse") == {"error": "no", "is_misuse": False}
        assert peer.ask("fault") == {"error": "x is not y", "is_misuse": False}
        for verb in ("bug", "bug_aside"):
            assert peer.ask(verb) == {
                "error": "a bug of amqpd: the broker's log has the traceback",
                "is_misuse": False,
            }
        assert peer.ask("add") == {"error": "name must be a text", "is_misuse": True}
        assert peer.ask("nothing") == {"error": "there is no verb 'nothing'", "is_misuse": True}
        assert peer.ask("steps") == {"done": {"turns": 3}}

    talk(path, conversation)
    assert [record.message for record in caplog.records if record.exc_info] == ["a bug of amqpd"] * 2


@pytest.mark.parametrize(
    "line",
    [b"", b"x", b"[]", b"1", b"{}", b'{"verb": 1}', b'{"verb": "add", "values": []}', b"\xff", b"[" * 100_000],
    ids=lambda line: repr(line[:30]),
)
def test_lines_that_are_no_requests(path: Path, line: bytes) -> None:
    def conversation(peer: Peer) -> None:
        peer.say(line)
        assert peer.hear()["is_misuse"] is True
        assert peer.ask("steps") == {"done": {"turns": 3}}

    talk(path, conversation)


def test_a_line_that_is_too_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "REQUEST_MAX_BYTES", 100)

    def conversation(peer: Peer) -> None:
        peer.socket.sendall(b"x" * 101)
        assert peer.hear() == {"error": "the request is longer than 100 bytes", "is_misuse": True}
        assert peer.lines.readline() == b""

    talk(path, conversation)


def test_too_many_peers(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "PEERS_MAX", 1)

    def conversation(peer: Peer) -> None:
        peer.ask("steps")
        with Peer(path) as other:
            assert other.hear()["error"] == "1 control connections are open already"
        assert peer.ask("steps") == {"done": {"turns": 3}}

    talk(path, conversation)


def test_who_neither_asks_nor_reads_is_left(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "PATIENCE_S", 0.05)
    talk(path, lambda peer: assert_end(peer))


def assert_end(peer: Peer) -> None:
    assert peer.lines.readline() == b""


def ask_for_a_turn(path: Path) -> None:
    with Peer(path) as peer:
        peer.ask("steps")


def test_an_answer_waits_for_the_disk(path: Path) -> None:
    store = DelayedStore()

    def conversation(started: threading.Event, answers: list[Any]) -> None:
        with Peer(path) as peer:
            peer.say(b'{"verb": "add", "values": {"name": "a"}}')
            ask_for_a_turn(path)  # asked later, and answered: so the first one only waits for the disk
            started.set()
            answers.append(peer.hear())

    async def main() -> None:
        started, answers = threading.Event(), list[Any]()
        async with serving(path, store), anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, conversation, started, answers)
            await anyio.to_thread.run_sync(started.wait, TIMEOUT_S)
            assert (started.is_set(), answers) == (True, [])
            store.is_delaying = False
            store.complete()
            await anyio.to_thread.run_sync(ask_for_a_turn, path)
        assert answers == [{"done": {}}]

    anyio.run(main)


def test_a_disk_that_takes_too_long(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "DURABLE_PATIENCE_S", 0.02)

    def ask() -> Any:
        with Peer(path) as peer:
            return peer.ask("add", name="a")

    async def main() -> Any:
        async with serving(path):
            return await anyio.to_thread.run_sync(ask)

    words = "it is done, but not on disk yet (the disk is slow): a crash now would undo it"
    assert anyio.run(main) == {"error": words, "is_misuse": False}


@pytest.fixture
def left_behind(path: Path) -> Path:
    with socket.socket(socket.AF_UNIX) as crashed:
        crashed.bind(str(path))
    return path


def test_only_its_owner_may_open_it_and_it_goes_with_the_broker(left_behind: Path) -> None:
    async def main() -> None:
        async with serving(left_behind):
            status = os.stat(left_behind)
            assert (stat.S_IMODE(status.st_mode), status.st_uid) == (0o600, os.getuid())

    anyio.run(main)
    assert not left_behind.exists()


def test_a_socket_that_another_broker_serves_is_not_taken(path: Path) -> None:
    async def main() -> None:
        async with serving(path) as server:
            with pytest.raises(OSError, match="another broker listens there"):
                await Control(Node(server, {}), path).serve()
            await anyio.to_thread.run_sync(ask_for_a_turn, path)

    anyio.run(main)
