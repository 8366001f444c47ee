"""Runs what people use against a broker: every client in clients/, each through every scenario of scenarios.toml.

    python -m interop.run                                   # amqpd and RabbitMQ, all clients: writes the matrix
    python -m interop.run --client amqplib                  # the same for one client
    python -m interop.run --broker amqpd --client pika --client amqplib
    python -m interop.run --broker amqp://guest:guest@127.0.0.1:5672/%2F --scenario rpc --scenario tx
    python -m interop.run --ci                              # the Python clients against amqpd, nothing written

Sets up what a client needs from PyPI, npm or Debian in a directory that is kept for the next run, and starts brokers of
its own on free ports: an amqpd for each row, one RabbitMQ for all of them, so many at once as there are jobs. Says how
it goes on, and ends with a table. Where all scenarios ran on both brokers, docs/interop.json and docs/interop.md have
these clients anew; other clients stay there as they were. A client whose tools are missing, or that cannot be set up,
is reported as not run, never as passed. Exit code 1 if anything failed on amqpd, or nothing could be run, or a broker
that was asked for; with --ci, if a client could not.
"""

from __future__ import annotations

import argparse
import itertools
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

from interop import matrix
from interop.brokers import BROKERS, ROOT, Amqpd
from interop.client import Client, find_clients
from interop.drive import FAILED, Cell
from interop.lanes import Race, split_into_lanes
from interop.matrix import SCENARIOS, Row

CACHE = Path.home() / ".cache" / "amqpd-interop"
JOBS = 4  # clients wait more than they work: twice the cores of a small machine


def main() -> int:
    """Run what the command line asks for and report; the exit code."""
    arguments = _parse_arguments()
    if arguments.page:
        matrix.write_page(ROOT / "docs")
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # leaves the race: drivers and brokers end with us
    rows = [
        Row(client, variant)
        for client in find_clients()
        if _is_wanted(client, arguments)
        for variant in client.variants
    ]
    lanes = split_into_lanes(arguments.broker, rows)
    board = Board(sum(len(lane.rows) for lane in lanes), is_detailed=arguments.is_detailed)
    race = Race(arguments.scenario, arguments.cache, on_cell=board.on_cell, on_row=board.on_row)
    race.run(lanes, arguments.jobs)
    print(matrix.as_text(rows, arguments.scenario))
    print(*race.complaints, sep="\n")
    if arguments.is_whole and not race.complaints:
        matrix.write(rows, ROOT / "docs")
    is_whole = not race.complaints and not (arguments.ci and any(row.not_run for row in rows))
    return 0 if is_whole and matrix.is_good(rows) else 1


def _is_wanted(client: Client, arguments: argparse.Namespace) -> bool:
    if arguments.ci:
        return client.is_in_ci
    return not arguments.client or client.name in arguments.client


class Board:
    """What is seen while it goes on: a line a row, or a line a scenario, and every failure in full."""

    def __init__(self, row_count: int, *, is_detailed: bool) -> None:
        self._row_count = row_count
        self._is_detailed = is_detailed
        self._done = itertools.count(1)

    def on_cell(self, row: Row, scenario: str, cell: Cell) -> None:
        """A scenario has ended."""
        if self._is_detailed or cell.outcome == FAILED:
            head = f"{cell.broker:9} {row.name:24} {scenario:20} {cell.outcome} {cell.seconds:5.1f} s"
            why = cell.lines if cell.outcome == FAILED else ()
            _say(head, *(f"    {line}" for line in why))

    def on_row(self, row: Row, broker: str, seconds: float) -> None:
        """All of a row's scenarios have ended."""
        count = matrix.count(row.cells[broker].values())
        _say(f"[{next(self._done)}/{self._row_count}] {broker:9} {row.name:24} {count}, {seconds:.0f} s")


def _say(*lines: str) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))  # in one go: other threads have their say as well
    sys.stdout.flush()


def _parse_arguments() -> argparse.Namespace:
    summary, _, rest = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        prog="python -m interop.run",
        description=summary,
        epilog=rest,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--broker", action="append", help=f"{', '.join(BROKERS)}, or a URL; all of ours by default")
    parser.add_argument("--client", action="append", help="all by default")
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), metavar="NAME", help="all by default")
    parser.add_argument("--ci", action="store_true", help="the clients that CI runs, against amqpd")
    parser.add_argument("--page", action="store_true", help="only write docs/interop.md anew, from what is kept")
    parser.add_argument("--jobs", type=int, default=JOBS, help=f"brokers at once ({JOBS})")
    parser.add_argument("--cache", type=Path, default=CACHE, help=f"where clients are set up ({CACHE})")
    arguments = parser.parse_args()
    arguments.is_detailed = bool(arguments.client or arguments.scenario)
    arguments.is_whole = not (arguments.broker or arguments.scenario or arguments.ci)
    arguments.broker = arguments.broker or ([Amqpd.name] if arguments.ci else list(BROKERS))
    arguments.scenario = list(_in_order(arguments.scenario))
    unknown = set(arguments.client or ()) - {client.name for client in find_clients()}
    if unknown:
        parser.error(f"no client is called {', '.join(sorted(unknown))}")
    return arguments


def _in_order(chosen: list[str] | None) -> Iterator[str]:
    return (name for name in SCENARIOS if not chosen or name in chosen)


if __name__ == "__main__":
    sys.exit(main())
