"""``python -m tests.bench.topology``: what a queue costs that nobody uses, and a binding among very many.

Queues are declared, and a queue is bound to one topic exchange, a hundred requests in a write. Measured is the time of
each, the broker's processor time for it, and the memory that is its own when all are there, divided by their number.
The first of each kind, which makes pools and tables, is not counted. How such an exchange routes: scenario H-100K.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from tests.bench import programs
from tests.bench.broker import PeerError
from tests.bench.lives import Lives
from tests.bench.peers import COMPILED
from tests.bench.programs import Workshop, messages_for, say
from tests.bench.report import number, table
from tests.bench.vitals import Watch
from tests.support.raw_peer import METHOD, Frame, RawPeer, decode_method, frame, method_payload

BATCH: Final = 100
SETTLE_S: Final = 1.0  # before memory is read
EXCHANGE: Final = "bench.topology"
EACH_US_MAX: Final = 100.0  # a transient queue; a durable one waits for the disk
EACH_KB_MAX: Final = 2.0  # a queue

Payload = Callable[[int], bytes]  # the n-th request


@dataclass(frozen=True, slots=True)
class Run:
    """So many of one kind; ``message`` says what failed, if anything did."""

    peer: str
    what: str
    count: int
    message: str = ""
    each_us: float | None = None
    cpu_us: float | None = None
    each_kb: float | None = None


def queue(durable: bool) -> Payload:
    kind = "durable" if durable else "transient"
    return lambda index: method_payload("queue.declare", queue=f"{EXCHANGE}.{kind}.{index:06d}", durable=durable)


def binding(durable: bool) -> Payload:
    """Patterns as amqpload's: a word at the start, in the middle or at the end tells them apart."""
    where = f"{EXCHANGE}.bound.{durable}"
    forms = ("a{0:06d}.b{1:02d}.d{0:06d}", "a{0:06d}.*.c{1:02d}", "*.b{1:02d}.d{0:06d}", "a{0:06d}.#", "#.d{0:06d}")

    def bind(index: int) -> bytes:
        key = forms[index % len(forms)].format(index, index % 17)
        return method_payload("queue.bind", queue=where, exchange=where, routing_key=key)

    return bind


def measure(arguments: argparse.Namespace, workshop: Workshop) -> Iterator[Run]:
    for peer in workshop.peers:
        for durable in (False, True):
            kind = "durable" if durable else "transient"
            for what, payload, asked in (
                (f"{kind} queues", queue(durable), arguments.queues),
                (f"bindings of a {kind} queue to a topic exchange", binding(durable), arguments.bindings),
            ):
                count = messages_for(peer, arguments, asked)
                with Lives(peer, workshop.directory, workshop.amqpload) as lives:
                    try:
                        run = _declare(lives, what, payload, count, durable=durable)
                    except (PeerError, AssertionError, OSError) as error:
                        run = Run(peer.name, what, count, str(error))
                say(f"{peer.name}: {count:,} {what}: {run.message or _in_short(run)}")
                yield run


def _declare(lives: Lives, what: str, payload: Payload, count: int, *, durable: bool) -> Run:
    lives.start()
    watch = Watch(lives.pid, lives.directory)
    with RawPeer("127.0.0.1", lives.port) as client:
        client.login()
        client.open_channel(1)
        where = f"{EXCHANGE}.bound.{durable}"
        client.call(1, "exchange.declare", exchange=where, type="topic", durable=durable)
        client.call(1, "queue.declare", queue=where, durable=durable)
        _ask(client, [payload(0)])
        time.sleep(SETTLE_S)
        before, start = watch.read(), time.monotonic()
        for first in range(1, count + 1, BATCH):
            _ask(client, [payload(index) for index in range(first, min(first + BATCH, count + 1))])
        took_s = time.monotonic() - start
        busy_s = watch.read().cpu_s - before.cpu_s
        time.sleep(SETTLE_S)
        lives.check()
        grown_kb = (watch.read().anon_mb - before.anon_mb) * 1e3
    return Run(lives.peer.name, what, count, "", took_s / count * 1e6, busy_s / count * 1e6, grown_kb / count)


def _ask(client: RawPeer, payloads: list[bytes]) -> None:
    """Have all of them done."""
    client.send_bytes(b"".join(frame(METHOD, 1, payload) for payload in payloads))
    for _ in payloads:
        answer: Frame = client.next_frame(1)
        name = decode_method(answer.payload).name
        if name not in ("queue.declare-ok", "queue.bind-ok"):
            raise PeerError(f"answered with {decode_method(answer.payload)}")


def _in_short(run: Run) -> str:
    return f"{number(run.each_us)} us each, {number(run.cpu_us)} us of CPU, {number(run.each_kb)} KB"


def render(facts: programs.Facts, runs: list[Run], _arguments: argparse.Namespace) -> str:
    rows = [
        [run.peer, f"{run.count:,} {run.what}", *map(number, (run.each_us, run.cpu_us, run.each_kb)), _judged(run)]
        for run in runs
        if not run.message
    ]
    head = "peer|what|time of each, us|broker CPU of each, us|memory of each, KB|goal"
    text = table(head, "l l r r r l", rows)
    failures = [f"* {run.peer}, {run.count:,} {run.what}: {run.message}" for run in runs if run.message]
    if failures:
        text += "\n\nFailed:\n\n" + "\n".join(failures)
    return f"{text}\n\n{programs.describe(facts)}\n"


def _judged(run: Run) -> str:
    if run.peer != COMPILED or not run.what.endswith("queues"):
        return ""
    goals = [(run.each_kb, EACH_KB_MAX, "KB")]
    if run.what == "transient queues":
        goals.append((run.each_us, EACH_US_MAX, "us"))
    return ", ".join(
        f"{limit:g} {unit}: {'reached' if value is not None and value <= limit else '**not reached**'}"
        for value, limit, unit in goals
    )


def load_run(value: dict[str, Any]) -> Run:
    """A run again, of its JSON."""
    return Run(**value)


def main() -> int:
    parser = programs.options("topology", "What idle queues cost, and bindings of one topic exchange.")
    parser.add_argument("--queues", type=int, default=10_000, help="how many (10,000)")
    parser.add_argument("--bindings", type=int, default=100_000, help="how many (100,000)")
    arguments = programs.check(parser, parser.parse_args())
    return programs.Program("bench-topology", measure, render, load_run).main(arguments)


if __name__ == "__main__":
    sys.exit(main())
