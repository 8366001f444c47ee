"""What depth, restart and holes have in common: options, peers, a workshop that is cleared away, where results go.

A program measures one run after another and hands each over when it is done, so that all of them end alike: with the
report, or on Ctrl-C with nothing written and nothing left behind.
"""

import argparse
import json
import shlex
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, ClassVar, Final, Generic, Protocol, TypeVar

from tests.bench import disk, loadgen, machine, peers, report
from tests.bench.broker import Peer, PeerError
from tests.bench.disk import Sync
from tests.bench.peers import COMPILED, PEERS

BUILT: Final = "--amqpd"
INTERRUPTED: Final = 130  # as a shell reports Ctrl-C


class Run(Protocol):
    """A dataclass, a row or more of a report; ``message`` says what failed, if anything did."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def message(self) -> str: ...


R = TypeVar("R", bound="Run")


@dataclass(slots=True)
class Facts:
    """What was measured, on what."""

    machine: dict[str, str]
    command: str
    versions: dict[str, str] = field(default_factory=dict)
    confirms: dict[str, str] = field(default_factory=dict)
    syncs: list[Sync] = field(default_factory=list)

    def note(self, peer: Peer) -> None:
        self.versions[peer.name], self.confirms[peer.name] = peer.version, peer.confirm


@dataclass(frozen=True, slots=True)
class Workshop:
    """Where a program works: a directory for everything, the load generator, and what there is to measure."""

    directory: Path
    amqpload: Path
    peers: list[Peer]


@dataclass(frozen=True, slots=True)
class Program(Generic[R]):
    """``section`` names the marks in the page; ``load`` makes a run again of what was written as JSON."""

    section: str
    measure: Callable[[argparse.Namespace, Workshop], Iterator[R]]
    render: Callable[[Facts, list[R], argparse.Namespace], str]
    load: Callable[[dict[str, Any]], R]

    def main(self, arguments: argparse.Namespace) -> int:
        signal.signal(signal.SIGTERM, _interrupt)
        try:
            facts, runs = self._load(arguments.from_json) if arguments.from_json else self._measure(arguments)
        except PeerError as error:
            print(f"tests.bench: {error}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("interrupted: no report", file=sys.stderr)
            return INTERRUPTED
        if arguments.json:
            text = json.dumps({"facts": asdict(facts), "runs": [asdict(run) for run in runs]}, indent=1)
            arguments.json.write_text(text + "\n")
        text = self.render(facts, runs, arguments)
        if arguments.out:
            report.write_between_marks(arguments.out, text, self.section)
        else:
            print(text, end="")
        return 1 if any(run.message for run in runs) else 0

    def _measure(self, arguments: argparse.Namespace) -> tuple[Facts, list[R]]:
        with tempfile.TemporaryDirectory(prefix="amqpd-bench-") as name:
            directory = Path(name)
            say(f"building in {directory}")
            facts = Facts(machine.describe(directory), command(f"tests.bench.{Path(sys.argv[0]).stem}"))
            if facts.machine["data directories on"] == "tmpfs":
                say("warning: the data directories are in memory, fsync is free: set TMPDIR")
            names = [COMPILED, *arguments.peer]
            workshop = Workshop(
                directory, loadgen.build(directory), peers.prepare(names, "", directory, arguments.amqpd)
            )
            facts.syncs += disk.probe(directory)
            runs = list(self.measure(arguments, workshop))
            facts.syncs += disk.probe(directory)
            for peer in workshop.peers:
                facts.note(peer)
        return facts, runs

    def _load(self, path: Path) -> tuple[Facts, list[R]]:
        value = json.loads(path.read_text())
        facts = Facts(**value["facts"] | {"syncs": [Sync(**sync) for sync in value["facts"]["syncs"]]})
        return facts, [self.load(run) for run in value["runs"]]


def options(name: str, description: str) -> argparse.ArgumentParser:
    """Those that all of them take."""
    parser = argparse.ArgumentParser(prog=f"python -m tests.bench.{name}", description=description)
    others = [peer for peer in PEERS if peer != COMPILED]
    parser.add_argument("--peer", action="append", choices=others, default=[], help="measure it too")
    parser.add_argument("--peer-messages", type=int, default=1_000_000, help="how many for such a peer (1,000,000)")
    parser.add_argument(BUILT, type=Path, metavar="DIR", help="a directory that holds a compiled amqpd: build none")
    parser.add_argument("--out", type=Path, help="page whose part between the marks is replaced; default: print it")
    parser.add_argument("--json", type=Path, help="file for every single figure")
    parser.add_argument("--from-json", type=Path, help="measure nothing, report what such a file holds")
    return parser


def check(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> argparse.Namespace:
    """Complain now, not after ten minutes."""
    for path in (arguments.out, arguments.json):
        if path and not path.parent.is_dir():
            parser.error(f"there is no directory {path.parent}")
    return arguments


def say(what: str) -> None:
    print(what, file=sys.stderr, flush=True)


def messages_for(peer: Peer, arguments: argparse.Namespace, count: int) -> int:
    """What is asked of amqpd, or the fewer that are asked of others."""
    return count if peer.name == COMPILED else min(count, arguments.peer_messages)


def loop_thread(peer: Peer, pid: int) -> int | None:
    """The thread that answers: known of amqpd only, whose event loop is its main thread."""
    return pid if isinstance(peer, peers.Amqpd) else None


def describe(facts: Facts) -> str:
    lines = [f"* {name}: {value}" for name, value in facts.machine.items()]
    lines += [f"* {peer}: {version}; confirms {facts.confirms[peer]}" for peer, version in facts.versions.items()]
    for what in dict.fromkeys(sync.what for sync in facts.syncs):
        of_it = [sync for sync in facts.syncs if sync.what == what]
        p50, p99 = [sync.p50_us for sync in of_it], [sync.p99_us for sync in of_it]
        spans = [f"{report.number(min(us))} to {report.number(max(us))}" for us in (p50, p99)]
        lines.append(f"* {what}, before and after: p50 {spans[0]} us, p99 {spans[1]} us")
    return "\n".join([*lines, f"* command: `{facts.command}`"])


def command(module: str) -> str:
    """What was typed; where amqpd was built already says nothing about the figures and is left out."""
    words = iter(sys.argv[1:])
    kept = []
    for word in words:
        if word == BUILT:
            next(words, "")
        else:
            kept.append(word)
    return shlex.join(["python", "-m", module, *kept])


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt
