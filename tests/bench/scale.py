"""``python -m tests.bench.scale``: what one more costs when there are a hundred, a thousand, ten thousand already.

Connections that only keep alive, connections and queues that work, bindings, channels, queues behind a fanout exchange,
connections that come and go: for each, the broker's processor time and memory an item, by how many there are. Flat is
what they should be. Peers other than amqpd are asked for no more than ``peer_most`` of a kind.
"""

import argparse
import resource
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.bench import loadgen, programs, scale_report
from tests.bench.broker import PeerError
from tests.bench.lives import Lives
from tests.bench.peers import COMPILED
from tests.bench.programs import Workshop, say
from tests.bench.results import CONNECTION_CPU, CPU
from tests.bench.scale_report import Run
from tests.bench.vitals import Watch
from tests.support.raw_peer import (
    BODY,
    CONTENT_HEADER,
    METHOD,
    RawPeer,
    content_header,
    decode_method,
    frame,
    method_payload,
)

PLOT_NAME: Final = "performance-scale.png"
HEARTBEAT_S: Final = 10
SETTLE_S: Final = 1.0  # before memory is read
FIRST_SETTLE_S: Final = 3.0  # after a start: RabbitMQ gives back what it took for that
CHANNEL_MESSAGES: Final = 20_000
BATCH: Final = 1000  # messages in a write, however many channels they are spread over
SPARE_FILES: Final = 200  # open files of a process beside its connections

Figures = dict[str, float]


@dataclass(frozen=True, slots=True)
class Job:
    """What a measurement works with; ``seconds`` a load takes, ``idle_s`` connections stay idle."""

    lives: Lives
    amqpload: Path
    seconds: float
    idle_s: float

    def load(self, *options: str, seconds: float | None = None) -> loadgen.Figures:
        """amqpload's figures; raises when it complains."""
        options = ("--pid", str(self.lives.pid), *options)
        outcome = loadgen.run(self.amqpload, self.lives.port, [*options], seconds or self.seconds)
        if outcome.message:
            raise PeerError(outcome.message)
        return outcome.figures


@dataclass(frozen=True, slots=True)
class Kind:
    """So many of what; ``fresh``: each on a broker of its own, as its memory is measured."""

    name: str
    counts: tuple[int, ...]
    measure: Callable[[Job, int], Figures]
    fresh: bool = False
    peer_most: int = 10_000
    files_each: int = 0  # open files of a process


def idle_connections(job: Job, count: int) -> Figures:
    figures = job.load("--idle", str(count), "--heartbeat", str(HEARTBEAT_S), seconds=job.idle_s)
    return {
        "opened_us": figures["open_cpu_us"],
        "kb": figures["kb_per_connection"],
        "minute_us": figures["idle_cpu_percent"] / 100 * 60e6 / count,
    }


def active_connections(job: Job, count: int) -> Figures:
    """Half of them publish, each to a queue of its own, from which one of the other half consumes."""
    half = str(max(1, count // 2))
    flow = ("--confirm", "20", "--ack", "1", "--prefetch", "200")
    return _message(job.load("--producers", half, "--consumers", half, "--queues", half, *flow))


def active_queues(job: Job, count: int) -> Figures:
    """One producer goes through them in turn, and one consumer has them all."""
    return _message(job.load("--queues", str(count), "--backlog", "20000", "--ack", "1", "--prefetch", "200"))


def bindings(job: Job, count: int) -> Figures:
    return _message(job.load("--exchange", "topic", "--bindings", str(count), "--backlog", "20000"))


def fanout(job: Job, count: int) -> Figures:
    """With so few under way that the one consumer is never owed more than its connection may be."""
    return _message(job.load("--fanout-queues", str(count), "--backlog", "8000"))


def churn(job: Job, count: int) -> Figures:
    return {"churned_us": job.load("--connections-only", str(count))[CONNECTION_CPU]}


def channels(job: Job, count: int) -> Figures:
    """Opened one after another; then each publishes to a queue of its own and consumes from it, in turn."""
    watch = Watch(job.lives.pid, job.lives.directory)
    with RawPeer("127.0.0.1", job.lives.port) as client:
        client.login()
        client.open_channel(count + 1)  # the first makes pools and tables
        time.sleep(SETTLE_S)
        before = watch.read()
        _ask(client, count, "channel.open")
        opened_s = watch.read().cpu_s - before.cpu_s
        time.sleep(SETTLE_S)
        kept_mb = watch.read().anon_mb - before.anon_mb
        _ask(client, count, "queue.declare", exclusive=True)
        _ask(client, count, "basic.consume", no_ack=True)
        rounds = max(1, CHANNEL_MESSAGES // BATCH)
        batch = b"".join(_publish(index % count + 1) for index in range(BATCH))
        _exchange(client, batch)
        since_s = watch.read().cpu_s
        for _ in range(rounds):
            _exchange(client, batch)
        took_s = watch.read().cpu_s - since_s
    return {
        "opened_us": opened_s / count * 1e6,
        "kb": kept_mb * 1e3 / count,
        "message_us": took_s / (rounds * BATCH) * 1e6,
    }


def _ask(client: RawPeer, count: int, name: str, **arguments: Any) -> None:
    """Have the same done on each of the channels; a queue is named after its channel."""
    for first in range(1, count + 1, BATCH):
        some = range(first, min(first + BATCH, count + 1))
        for channel in some:
            named = {} if name == "channel.open" else {"queue": _queue(channel)}
            client.send(channel, name, **named, **arguments)
        for channel in some:
            answer = decode_method(client.next_frame(channel).payload)
            if answer.name != f"{name}-ok":
                raise PeerError(f"{name} was answered with {answer}")


def _queue(channel: int) -> str:
    return f"bench.scale.{channel:05d}"


def _publish(channel: int) -> bytes:
    method = method_payload("basic.publish", routing_key=_queue(channel))
    body = bytes(16)
    return (
        frame(METHOD, channel, method)
        + frame(CONTENT_HEADER, channel, content_header(len(body)))
        + frame(BODY, channel, body)
    )


def _exchange(client: RawPeer, batch: bytes) -> None:
    """Publish them in one write, and take as many."""
    client.send_bytes(batch)
    left = BATCH
    while left:
        left -= client.read_frame().kind == BODY


def _message(figures: loadgen.Figures) -> Figures:
    return {"message_us": figures[CPU]}


KINDS: Final = (
    Kind(scale_report.IDLE, (100, 1_000, 10_000), idle_connections, fresh=True, files_each=1),
    Kind(scale_report.ACTIVE, (10, 100, 1_000), active_connections, files_each=1),
    Kind(scale_report.QUEUES, (100, 1_000, 10_000), active_queues),
    Kind(scale_report.BINDINGS, (1_000, 10_000, 100_000), bindings),
    Kind(scale_report.CHANNELS, (10, 100, 1_000), channels, fresh=True),
    Kind(scale_report.FANOUT, (10, 100, 1_000), fanout),
    Kind(scale_report.CHURN, (100, 1_000, 10_000), churn, peer_most=1_000),
)


def measure(arguments: argparse.Namespace, workshop: Workshop) -> Iterator[Run]:
    files_max = _raise_file_limit()
    for peer in workshop.peers:
        for together in _rounds(arguments.most, ours=peer.name == COMPILED):
            with Lives(peer, workshop.directory, workshop.amqpload) as lives:
                for kind, count in together:
                    job = Job(lives, workshop.amqpload, arguments.seconds, arguments.idle_seconds)
                    run = _run(job, kind, count, files_max)
                    say(f"{peer.name}, {count:,} {kind.name}: {run.message or scale_report.in_short(run)}")
                    yield run


def _rounds(most: int, *, ours: bool) -> list[list[tuple[Kind, int]]]:
    """What is measured on one broker: those that need a fresh one each, then all others."""
    asked = [
        (kind, count)
        for kind in KINDS
        for count in kind.counts
        if count <= (most if ours else min(most, kind.peer_most))
    ]
    return [*([each] for each in asked if each[0].fresh), [each for each in asked if not each[0].fresh]]


def _run(job: Job, kind: Kind, count: int, files_max: int) -> Run:
    name = job.lives.peer.name
    needed = count * kind.files_each + SPARE_FILES
    if needed > files_max:
        return Run(name, kind.name, count, f"needs {needed:,} open files, and `ulimit -Hn` is {files_max:,}")
    try:
        if not job.lives.running:
            job.lives.start()
            if kind.fresh:
                time.sleep(FIRST_SETTLE_S)
        return Run(name, kind.name, count, "", kind.measure(job, count))
    except (PeerError, AssertionError, OSError) as error:
        return Run(name, kind.name, count, str(error) or type(error).__name__)


def _raise_file_limit() -> int:
    """As many open files as the system allows this process and those it starts."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else sys.maxsize


def render(facts: programs.Facts, runs: list[Run], arguments: argparse.Namespace) -> str:
    if not arguments.out:
        return scale_report.render(facts, runs, "")
    from tests.bench import scale_plot  # here, so that measuring does not need matplotlib

    scale_plot.draw(runs, arguments.out.parent / PLOT_NAME)
    return scale_report.render(facts, runs, PLOT_NAME)


def load_run(value: dict[str, Any]) -> Run:
    """A run again, of its JSON."""
    return Run(**value)


def main() -> int:
    parser = programs.options("scale", "What one more costs, by how many there are.")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long each load takes (2)")
    parser.add_argument("--idle-seconds", type=float, default=20.0, help="how long connections stay idle (20)")
    parser.add_argument("--most", type=int, default=100_000, help="leave out what is more than that (100,000)")
    arguments = programs.check(parser, parser.parse_args())
    return programs.Program("bench-scale", measure, render, load_run).main(arguments)


if __name__ == "__main__":
    sys.exit(main())
