"""One input against a broker of its own, and everything that must hold meanwhile and afterwards.

Raises nothing for a fault of the input: what it notices of a fault of the broker is a ``Violation``.
"""

import logging
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Final

from amqpd.broker.recovery import restore
from tests.fuzz.inputs import Input
from tests.support import wire
from tests.support.raw_peer import PeerError
from tests.support.wire import DelayedStore, Peer, Server

SLOW_S: Final = 1.0  # the goal is 0.1 s; what a busy machine adds is no fault of the broker
# The reply codes of the standard and of RabbitMQ. 541 says that the broker is at fault.
CODES: Final = frozenset({200, 312, 320, 403, 404, 405, 406, 501, 503, 504, 505, 530, 540})
FAULT_LEVEL: Final = logging.ERROR  # what a peer does is a warning at most


class Violation(Exception):
    """The broker did what it must never do."""


@dataclass
class Tally:
    """What was seen."""

    inputs: int = 0
    codes: Counter[int] = field(default_factory=Counter)
    families: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0
    slowest: str = ""
    held_max: int = 0

    def add_time(self, seconds: float, what: str) -> None:
        if seconds > self.slowest_s:
            self.slowest_s, self.slowest = seconds, what


class _Faults(logging.Handler):
    """Errors that the broker logged: each is one of its own."""

    def __init__(self) -> None:
        super().__init__(FAULT_LEVEL)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        self.texts.append(f"{text}: {record.exc_info[1]!r}" if record.exc_info else text)


class Runner:
    """Runs inputs and keeps the tally. A context, because it listens to the broker's log."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.faults = _Faults()
        self.logger = logging.getLogger("amqpd")
        self.before = (self.logger.level, self.logger.propagate)

    def __enter__(self) -> "Runner":
        self.before = (self.logger.level, self.logger.propagate)
        self.logger.addHandler(self.faults)
        self.logger.setLevel(FAULT_LEVEL)
        self.logger.propagate = False
        return self

    def __exit__(self, *_: object) -> None:
        self.logger.removeHandler(self.faults)
        self.logger.setLevel(self.before[0])
        self.logger.propagate = self.before[1]

    def run(self, given: Input, what: str = "") -> list[int]:
        """The reply codes that the broker answered with. Raises Violation."""
        self.faults.texts.clear()
        self.tally.inputs += 1
        self.tally.families[given.family] += 1
        server = Server(DelayedStore() if given.is_store_slow else None, queue_window_bytes=given.window_bytes)
        restore(server.broker)
        peer = server.connect()
        try:
            self._play(server, peer, given, what)
            codes = reply_codes(peer.take_bytes())
            self._end(server, peer)
        except Exception as error:
            raise Violation(f"{type(error).__name__}: {error}") from error
        if self.faults.texts:
            raise Violation(f"logged as a fault of the broker: {self.faults.texts}")
        self.tally.codes.update(codes)
        if not CODES.issuperset(codes):
            raise Violation(f"reply codes {codes}")
        return codes

    def _play(self, server: Server, peer: Peer, given: Input, what: str) -> None:
        longest = 0
        for number, chunk in enumerate(given.chunks()):
            longest = max(longest, len(chunk))
            event = given.events.get(number)
            if event:
                _happen(server, peer, event)
            started = time.perf_counter()
            peer.feed(chunk)
            self._check_held(peer, longest)
            if number in given.turns:
                server.turn()
            self._check_time(time.perf_counter() - started, f"{what} chunk {number}")
            server.check()
        server.turn()
        for _ in range(100):
            if not (isinstance(server.store, DelayedStore) and server.store.complete()):
                break
            server.turn()
        server.check()

    def _check_held(self, peer: Peer, longest_chunk: int) -> None:
        connection = peer.connection
        held = sum(map(len, connection.held))
        self.tally.held_max = max(self.tally.held_max, held)
        if held != connection.held_size:
            raise Violation(f"{held} bytes are held, counted as {connection.held_size}")
        # A publish, its header and one body frame at most, or what came behind a method that waits for the disk.
        if held > 2 * (connection.frame_max + 8) + 1024 + longest_chunk:
            raise Violation(f"{held} bytes are held")

    def _check_time(self, seconds: float, what: str) -> None:
        self.tally.add_time(seconds, what)
        if seconds > SLOW_S:
            raise Violation(f"took {seconds:.2f} s")

    def _end(self, server: Server, peer: Peer) -> None:
        """The connection goes; nothing of it stays, and the broker serves the next one."""
        peer.hang_up()
        if isinstance(server.store, DelayedStore):
            server.store.is_delaying = False
            server.store.complete()
        server.turn()
        wire.check_left(server)
        if self.tally.inputs % 16 == 0:
            witness = server.peer(1)
            witness.call(1, "queue.declare", queue="witness", durable=True)
            witness.publish(1, "", "witness", b"still there")
            witness.send(1, "basic.get", queue="witness")
            witness.turn()
            if [said.body for said in witness.output()] != [b"still there"]:
                raise Violation("the broker does not serve another connection")


def _happen(server: Server, peer: Peer, event: str) -> None:
    """Something that comes from the server's side."""
    connection = peer.connection
    if peer.is_gone:
        return
    match event:
        case "alarm":
            connection.set_alarm("low on disk")
        case "no alarm":
            connection.set_alarm("")
        case "force close":
            connection.force_close("shutdown")
        case "tick":
            connection.tick(0.0, 0.0, 0.0)
        case "late tick":
            connection.tick(1e6, 0.0, 0.0)
        case _ if isinstance(server.store, DelayedStore):
            server.store.complete()
    server.turn()


def reply_codes(data: bytes) -> list[int]:
    """What the broker refused; all that it said must make sense to a client."""
    codes: list[int] = []
    closed_by_us = False
    for said in wire.assemble(wire.split_frames(data)):
        if closed_by_us and said.name != "connection.close-ok":
            raise PeerError(f"{said.name} behind connection.close")
        if said.name in ("channel.close", "connection.close"):
            codes.append(said.args["reply_code"])
            closed_by_us = said.name == "connection.close"
        elif said.name == "basic.return":
            codes.append(said.args["reply_code"])
    return codes


def answer_of(given: Input, *, is_cut: bool) -> tuple[bytes, dict[str, object]]:
    """What the broker says to the input, in one chunk or in its own, when nothing else happens."""
    server = Server(queue_window_bytes=given.window_bytes)
    restore(server.broker)
    peer = server.connect()
    for chunk in given.chunks() if is_cut else [given.data]:
        peer.feed(chunk)
    server.turn()
    state = wire.snapshot(server.broker)
    peer.hang_up()
    return peer.take_bytes(), state


def check_cuts(given: Input) -> None:
    """Where the input is cut must not be heard. Raises Violation."""
    if answer_of(given, is_cut=True) != answer_of(given, is_cut=False):
        raise Violation("the answer depends on where the input is cut")
