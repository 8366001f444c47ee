"""The command: runs every scenario against every peer in turn, and writes the report and the raw figures.

For each run, for each scenario, for each peer: so a slow hour of the machine meets all peers alike. Each peer is
started once a run, and again after a failure, so that one failure does not spoil what follows.
"""

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from tests.bench import disk, history, loadgen, machine, peers, programs, report
from tests.bench.broker import Broker, Peer, PeerError, tail
from tests.bench.peers import PEERS, RABBITMQ
from tests.bench.results import (
    CONFIRM_BEYOND_DISK,
    CONNECTION_CPU,
    CPU,
    DISK_COMMIT,
    LifeCycle,
    Results,
    Run,
)
from tests.bench.scenarios import SCENARIOS, Scenario

IDLE_S: Final = 3.0  # after a start, before its memory is read
BESIDE_DISK_EVERY_S: Final = 1 / 2000  # as often as the scenarios publish that are measured beside the disk


class Progress:
    """A line a step on standard error, with the time left if the steps to come take as long as those before."""

    def __init__(self, step_count: int) -> None:
        self._step_count = step_count
        self._done = 0
        self._start = time.monotonic()

    def step(self, what: str) -> None:
        self._done += 1
        elapsed_s = time.monotonic() - self._start
        left_s = elapsed_s / self._done * (self._step_count - self._done)
        times = f"{_clock(elapsed_s)} elapsed, {_clock(left_s)} left"
        print(f"[{self._done}/{self._step_count}, {times}] {what}", file=sys.stderr, flush=True)


class Bench:
    """One benchmark: what it is made with, the brokers that are up, and the results so far."""

    def __init__(self, arguments: argparse.Namespace, workshop: Path) -> None:
        self._arguments = arguments
        self._workshop = workshop
        self._amqpload = loadgen.build(workshop)
        self._peers = peers.prepare(arguments.peers, arguments.against, workshop, arguments.amqpd)
        self._turns = [
            (peer, SCENARIOS[name])
            for name in arguments.scenarios or SCENARIOS
            for peer in self._peers
            if arguments.scenarios or not (SCENARIOS[name].long_elsewhere and peer.name == RABBITMQ)
        ]
        self._progress = Progress(len(self._peers) * arguments.starts + len(self._turns) * arguments.runs)
        self._brokers: dict[str, Broker] = {}  # those of this round, by peer
        self._failed: dict[str, str] = {}  # peers that do not start: not tried again before the next round
        self._results = Results(machine.describe(workshop), programs.command("tests.bench"))

    def measure(self) -> Results:
        if self._results.machine["data directories on"] == "tmpfs":
            print("warning: the data directories are in memory, fsync is free: set TMPDIR", file=sys.stderr)
        try:
            self._life_cycles()
            for number in range(1, self._arguments.runs + 1):
                self._round(number)
        except KeyboardInterrupt:
            print("interrupted: the report has what was measured until now", file=sys.stderr)
        for peer in self._peers:
            self._results.versions[peer.name], self._results.confirms[peer.name] = peer.version, peer.confirm
        return self._results

    def _life_cycles(self) -> None:
        for number in range(1, self._arguments.starts + 1):
            for peer in self._peers:
                cycle = self._life_cycle(peer, with_memory=number == self._arguments.starts)
                self._results.life_cycles.append(cycle)
                what = f"FAILED: {cycle.message}" if cycle.message else f"{report.number(cycle.ready_ms)} ms"
                self._progress.step(f"start {number}, {peer.name}: {what}")

    def _life_cycle(self, peer: Peer, *, with_memory: bool) -> LifeCycle:
        try:
            broker = Broker(peer, self._workshop, self._amqpload)
        except PeerError as error:
            return LifeCycle(peer.name, str(error))
        idle = loadgen.Outcome({}, "")
        try:
            if with_memory:
                broker.idle(IDLE_S)
                options = ["--pid", str(broker.pid), *SCENARIOS["M"].options]
                idle = loadgen.run(self._amqpload, broker.port, options, seconds=1)
        except PeerError as error:
            idle = loadgen.Outcome({}, str(error))
        finally:
            stop = broker.stop()
        memory = idle.figures.get("rss_before_mb"), idle.figures.get("kb_per_connection")
        return LifeCycle(peer.name, idle.message, broker.ready_ms, stop.seconds, stop.status, *memory)

    def _round(self, number: int) -> None:
        self._results.syncs += disk.probe(self._workshop)
        self._failed.clear()
        try:
            for peer, scenario in self._turns:
                run = self._run(peer, scenario, number)
                self._results.runs.append(run)
                self._progress.step(f"run {number}, {scenario.name}, {peer.name}: {_in_short(run)}")
        finally:
            while self._brokers:
                self._brokers.popitem()[1].stop()
        self._results.syncs += disk.probe(self._workshop)

    def _run(self, peer: Peer, scenario: Scenario, number: int) -> Run:
        try:
            broker = self._broker(peer)
        except PeerError as error:
            return Run(peer.name, scenario.name, number, str(error), {})
        options = ["--pid", str(broker.pid), "--name", scenario.name, *scenario.options]
        outcome = self._load(broker, options, scenario)
        message = outcome.message
        if (status := broker.exit_status()) is not None:
            message = f"{message} (the broker exited with status {status}: {tail(broker.output())})".lstrip()
        if message:  # start it anew, so that one failure does not spoil what follows
            self._brokers.pop(peer.name).stop()
        return Run(peer.name, scenario.name, number, message, outcome.figures)

    def _load(self, broker: Broker, options: list[str], scenario: Scenario) -> loadgen.Outcome:
        if not scenario.beside_disk:
            return loadgen.run(self._amqpload, broker.port, options, self._arguments.seconds)
        before = disk.commit(self._workshop, BESIDE_DISK_EVERY_S)
        outcome = loadgen.run(self._amqpload, broker.port, options, self._arguments.seconds)
        after = disk.commit(self._workshop, BESIDE_DISK_EVERY_S)
        p50_us = (before.p50_us + after.p50_us) / 2
        of_disk: loadgen.Figures = {DISK_COMMIT: {"p50": p50_us, "p99": (before.p99_us + after.p99_us) / 2}}
        if confirm_us := outcome.figures.get("confirm_latency_us"):
            of_disk[CONFIRM_BEYOND_DISK] = confirm_us["p50"] - p50_us
        return loadgen.Outcome(outcome.figures | of_disk, outcome.message)

    def _broker(self, peer: Peer) -> Broker:
        if peer.name in self._failed:
            raise PeerError(self._failed[peer.name])
        if peer.name not in self._brokers:
            try:
                self._brokers[peer.name] = Broker(peer, self._workshop, self._amqpload)
            except PeerError as error:
                self._failed[peer.name] = str(error)
                raise
        return self._brokers[peer.name]


def main() -> int:
    arguments = _arguments()
    try:
        if arguments.from_json:
            results = Results.from_json(json.loads(arguments.from_json.read_text()))
        else:
            with tempfile.TemporaryDirectory(prefix="amqpd-bench-") as workshop:
                print(f"building in {workshop}", file=sys.stderr, flush=True)
                results = Bench(arguments, Path(workshop)).measure()
            if arguments.history:
                history.add(results, arguments.history)
    except PeerError as error:
        print(f"tests.bench: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        arguments.json.write_text(json.dumps(results.to_json(), indent=1) + "\n")
    if arguments.out:
        text = report.render(results, *_draw(results, arguments))
        report.write_between_marks(arguments.out, text, report.SECTION)
    else:
        print(report.render(results), end="")
    return 1 if any(run.message for run in results.runs) or any(life.message for life in results.life_cycles) else 0


def _draw(results: Results, arguments: argparse.Namespace) -> list[str]:
    """The pictures of a page lie beside it and are named after it; one of the history needs two runs."""
    from tests.bench import history_plot, scenario_plot  # here, so that measuring does not need matplotlib

    page: Path = arguments.out
    pictures = [page.with_name(f"{page.stem}-scenarios.png")]
    scenario_plot.draw(results, pictures[0])
    entries = history_plot.drawable(history.load(arguments.history)) if arguments.history else []
    if len(entries) > 1:
        pictures.append(page.with_name(f"{page.stem}-history.png"))
        history_plot.draw(entries, pictures[1])
    return [picture.name for picture in pictures]


def _in_short(run: Run) -> str:
    if run.message:
        return f"FAILED: {run.message}"
    facts = {
        f"{report.number(run.get(CPU))} us a message": CPU,
        f"{report.number(run.get('consume_rate') or run.get('publish_rate'))} a second": "publish_rate",
        f"{report.number(run.get(CONNECTION_CPU))} us a connection": CONNECTION_CPU,
        f"{report.number(run.get('kb_per_connection'))} KB a connection": "kb_per_connection",
        f"others {report.number(run.get('other_cpus'))} CPUs": "other_cpus",
    }
    return ", ".join(fact for fact, figure in facts.items() if run.get(figure) is not None)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__.partition("\n")[0])
    parser.add_argument("--peers", type=_names(PEERS), default=list(PEERS), help=f"of {','.join(PEERS)}; default: all")
    parser.add_argument("--scenarios", type=_names(SCENARIOS), default=[], help="A,B,...; default: all")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long each run of a scenario takes (5)")
    parser.add_argument("--runs", type=int, default=3, help="how often each scenario is run (3)")
    parser.add_argument("--starts", type=int, default=5, help="how often each peer is started for the life cycle (5)")
    parser.add_argument("--against", default="", metavar="REF", help="measure the compiled amqpd of a git commit too")
    parser.add_argument("--amqpd", type=Path, metavar="DIR", help="a directory that holds a compiled amqpd: build none")
    parser.add_argument("--history", type=Path, default=history.DIRECTORY, metavar="DIR", help="where figures are kept")
    parser.add_argument("--no-history", dest="history", action="store_const", const=None, help="keep none")
    parser.add_argument("--out", type=Path, help="page whose part between the marks is replaced; default: print it")
    parser.add_argument("--json", type=Path, help="file for every single figure")
    parser.add_argument("--from-json", type=Path, help="measure nothing, report what such a file holds")
    arguments = parser.parse_args()
    for path in (arguments.out, arguments.json):  # now, not after half an hour
        if path and not path.parent.is_dir():
            parser.error(f"there is no directory {path.parent}")
    return arguments


class _names:  # noqa: N801 -- argparse names it in its messages
    def __init__(self, known: "tuple[str, ...] | dict[str, Scenario]") -> None:
        self._known = known

    def __call__(self, text: str) -> list[str]:
        names = [name for name in text.split(",") if name]
        for name in names:
            if name not in self._known:
                raise argparse.ArgumentTypeError(f"unknown: {name}; choose from {','.join(self._known)}")
        return names


if __name__ == "__main__":
    sys.exit(main())
