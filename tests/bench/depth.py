"""``python -m tests.bench.depth``: what a broker does while one queue grows without a consumer, and then drains.

One producer fills one queue and ends; then one consumer drains it. amqpload reports every so many messages, which
divides both into buckets by depth; at each report the broker's processor time, memory and disk are read. Beside that a
second connection asks for the length of another queue every other millisecond. What it sees at an idle broker, and
beside a load whose queue stays short, is the measure for what it sees beside the deep queue.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.bench import depth_report, programs
from tests.bench.broker import PeerError
from tests.bench.buckets import Bucket, Sample, by_depth
from tests.bench.depth_report import DRAIN, FLOW, IDLE, PUBLISH, REST, Load, Phase, Space
from tests.bench.feed import Feed
from tests.bench.lives import Lives
from tests.bench.pinger import Ping, Pinger, Stalls, summarise
from tests.bench.programs import Workshop, loop_thread, messages_for, say
from tests.bench.vitals import Watch

REST_S: Final = 2.0  # how long it is let be before the load, and at full depth
FLOW_S: Final = 4.0
FLOW_BACKLOG: Final = 20_000  # the most that waits in the load whose queue stays short
WINDOW: Final = 4000  # unconfirmed publishes, and the prefetch of the consumer
ACK_EVERY: Final = 100
IDLE_SECONDS_MAX: Final = 60  # amqpload gives up after so long without a message
PLOT_NAME: Final = "performance-depth.png"


@dataclass(slots=True)
class Span:
    """One phase while it is measured; what the pinger saw is known only at the end of all."""

    name: str
    from_ns: int
    to_ns: int = 0
    rate: float | None = None
    message: str = ""
    samples: list[Sample] = field(default_factory=list)
    anon_mb: float = 0.0
    file_mb: float = 0.0
    peak_mb: float = 0.0


class Depth:
    """One load against one broker that is up: phase after phase."""

    def __init__(self, lives: Lives, workshop: Workshop, load: Load, bucket_count: int) -> None:
        self._lives = lives
        self._amqpload = workshop.amqpload
        self._load = load
        self._progress = max(1, load.messages // bucket_count)
        self._watch = Watch(lives.pid, lives.directory)
        self.spans: list[Span] = []
        self.spaces: list[Space] = []

    def run(self) -> None:
        self._rest(IDLE)
        self._feed(FLOW, ["--seconds", f"{FLOW_S:g}", "--confirm", str(WINDOW), "--backlog", str(FLOW_BACKLOG), *_OUT])
        keep = ["--keep", "--progress", str(self._progress)]
        count = str(self._load.messages)
        self._feed(PUBLISH, ["--messages", count, "--consumers", "0", "--confirm", str(WINDOW), *keep])
        self._rest(REST)
        self._space("full", self._load.messages)
        self._feed(DRAIN, ["--resume", count, *_OUT, *keep])
        half = min(self.spans[-1].samples, key=lambda sample: abs(sample.count - self._load.messages / 2))
        self.spaces.append(Space("half drained", self._load.messages - half.count, half.disk_mb, half.in_use_mb))
        self._rest("")
        self._space("empty", 0)

    def _rest(self, name: str) -> None:
        """Let it be; unnamed, that is only for what it still has to do."""
        span = self._begin(name)
        time.sleep(REST_S)
        self._end(span)

    def _feed(self, name: str, options: list[str]) -> None:
        span = self._begin(name)
        kind = ["--durable", "--persistent"] if self._load.persistent else []
        common = ["--size", str(self._load.size), "--drain", str(IDLE_SECONDS_MAX), *kind]
        with Feed(self._amqpload, self._lives.port, [*common, *options]) as feed:
            for progress in feed.progress():
                sample = self._look(span, progress.at_ns if progress else 0, progress.count if progress else 0)
                if progress:
                    span.samples.append(sample)
                    self._tell(span, sample)
                else:
                    self._lives.check()
            outcome = feed.outcome()
        self._end(span)
        self._lives.check()
        span.message = outcome.message
        span.rate = outcome.figures.get("publish_rate" if name == PUBLISH else "consume_rate")
        if span.message:
            raise PeerError(f"{name}: {span.message}")

    def _begin(self, name: str) -> Span:
        self._watch.reset_peak()
        span = Span(name, time.monotonic_ns())
        if name:
            self.spans.append(span)
        return span

    def _end(self, span: Span) -> None:
        span.to_ns = time.monotonic_ns()
        self._look(span, span.to_ns, 0)
        span.peak_mb = self._watch.peak_mb()
        if span.name:
            say(f"  {span.name}: {(span.to_ns - span.from_ns) / 1e9:.1f} s, at most {span.peak_mb:.0f} MB resident")

    def _look(self, span: Span, at_ns: int, count: int) -> Sample:
        now = self._watch.read()
        span.anon_mb, span.file_mb = max(span.anon_mb, now.anon_mb), max(span.file_mb, now.file_mb)
        return Sample(at_ns, count, now.cpu_s, now.anon_mb, now.file_mb, now.disk_mb, now.in_use_mb)

    def _space(self, when: str, waiting: int) -> None:
        now = self._watch.read()
        self.spaces.append(Space(when, waiting, now.disk_mb, now.in_use_mb))

    def _tell(self, span: Span, sample: Sample) -> None:
        """Four times a phase."""
        if sample.count and len(span.samples) % max(1, self._load.messages // self._progress // 4) == 0:
            say(
                f"  {span.name} {sample.count / self._load.messages:.0%}: {sample.anon_mb:.0f} MB anonymous, "
                f"{sample.file_mb:.0f} MB of files, {sample.disk_mb:.0f} MB on disk"
            )


_OUT: Final = ["--ack", str(ACK_EVERY), "--prefetch", str(WINDOW)]


def measure(arguments: argparse.Namespace, workshop: Workshop) -> Iterator[depth_report.Run]:
    for peer in workshop.peers:
        for load in _loads(arguments):
            count = messages_for(peer, arguments, load.messages)
            if count:
                kept = Load(load.name, count, load.size, persistent=load.persistent)
                say(f"{peer.name}, {load.name}: {count:,} messages of {load.size} bytes")
                with Lives(peer, workshop.directory, workshop.amqpload) as lives:
                    yield _run(lives, workshop, kept, arguments.buckets)


def _run(lives: Lives, workshop: Workshop, load: Load, bucket_count: int) -> depth_report.Run:
    lines = workshop.directory / "pings"
    lines.unlink(missing_ok=True)
    message, pings = "", list[Ping]()
    spans, spaces = list[Span](), list[Space]()
    try:
        lives.start()
        depth = Depth(lives, workshop, load, bucket_count)
        spans, spaces = depth.spans, depth.spaces
        with Pinger(workshop.amqpload, lives.port, loop_thread(lives.peer, lives.pid), lines) as pinger:
            depth.run()
        pings = pinger.pings()
    except PeerError as error:
        message = str(error)
        say(f"  FAILED: {message}")
    return depth_report.Run(lives.peer.name, load, [_phase(span, pings, load) for span in spans], spaces, message)


def _phase(span: Span, pings: list[Ping], load: Load) -> Phase:
    deep = span.name in (PUBLISH, DRAIN)
    buckets = by_depth(span.samples, pings, load.messages if span.name == DRAIN else None) if deep else []
    stalls = summarise(pings, span.from_ns, span.to_ns)
    return Phase(span.name, span.rate, span.peak_mb, span.anon_mb, span.file_mb, stalls, buckets)


def _loads(arguments: argparse.Namespace) -> list[Load]:
    return [
        Load("persistent", arguments.messages, arguments.size, persistent=True),
        Load("transient", arguments.transient_messages, arguments.transient_size, persistent=False),
    ]


def load_run(value: dict[str, Any]) -> depth_report.Run:
    """A run again, of its JSON."""
    phases = [
        Phase(
            **phase
            | {"stalls": Stalls(**phase["stalls"]), "buckets": [Bucket(**bucket) for bucket in phase["buckets"]]}
        )
        for phase in value["phases"]
    ]
    spaces = [Space(**space) for space in value["spaces"]]
    return depth_report.Run(value["peer"], Load(**value["load"]), phases, spaces, value["message"])


def render(facts: programs.Facts, runs: list[depth_report.Run], arguments: argparse.Namespace) -> str:
    plot = arguments.plot or (arguments.out.parent / PLOT_NAME if arguments.out else None)
    if plot is None:
        return depth_report.render(facts, runs, "")
    from tests.bench.plots import draw  # here, so that measuring does not need matplotlib

    draw(runs, plot)
    return depth_report.render(facts, runs, plot.name)


def main() -> int:
    parser = programs.options("depth", "What a queue costs as it grows to millions of messages, and as it drains.")
    parser.add_argument("--messages", type=int, default=10_000_000, help="persistent ones (10,000,000)")
    parser.add_argument("--size", type=int, default=100, help="of their bodies, in bytes (100)")
    parser.add_argument("--transient-messages", type=int, default=1_000_000, help="(1,000,000; 0: none)")
    parser.add_argument("--transient-size", type=int, default=1024, help="of their bodies, in bytes (1024)")
    parser.add_argument("--buckets", type=int, default=40, help="how many depths to tell apart (40)")
    parser.add_argument("--plot", type=Path, help=f"default: {PLOT_NAME} beside --out")
    arguments = programs.check(parser, parser.parse_args())
    return programs.Program("bench-depth", measure, render, load_run).main(arguments)


if __name__ == "__main__":
    sys.exit(main())
