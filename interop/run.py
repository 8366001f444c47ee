"""Runs what people use against a broker: every client in clients/, each through every scenario of scenarios.toml.

    python -m interop.run                                   # amqpd and RabbitMQ, all clients: writes the matrix
    python -m interop.run --client amqplib                  # the same for one client
    python -m interop.run --broker amqpd --client pika --client amqplib
    python -m interop.run --broker amqp://guest:guest@127.0.0.1:5672/%2F --scenario rpc --scenario tx
    python -m interop.run --ci                              # the Python clients against amqpd, nothing written

Sets up what a client needs from PyPI, npm or Debian in a directory that is kept for the next run, starts brokers of its
own on free ports, and prints a table as it goes. Where all scenarios ran on both brokers, docs/interop.json and
docs/interop.md have these clients anew; other clients stay there as they were. A client whose tools are missing, or
that cannot be set up, is reported as not run, never as passed. Exit code 1 if anything failed on amqpd, or nothing
could be run.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

from interop import matrix
from interop.brokers import BROKERS, ROOT, Amqpd, Broker, BrokerFailed, find_broker
from interop.client import Client, NotSetUp, find_clients
from interop.drive import FAILED, Cell, Stage
from interop.matrix import Row

SCENARIOS: dict[str, str] = tomllib.loads((Path(__file__).parent / "scenarios.toml").read_text(encoding="utf-8"))
CACHE = Path.home() / ".cache" / "amqpd-interop"
ON_DISK = ("--data-dir", "{directory}/data", "--control-socket", "{directory}/control.sock")


def main() -> int:
    """Run what the command line asks for and report; the exit code."""
    arguments = _parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))  # leaves the `with` block: brokers end with us
    clients = [client for client in find_clients() if _is_wanted(client, arguments)]
    rows = {(client.name, variant): Row(client, variant) for client in clients for variant in client.variants}
    for client in clients:
        _set_up(client, arguments.cache, rows)
    for name in arguments.broker:
        try:
            with _broker(name) as broker:
                for row in rows.values():
                    _run_row(row, broker, arguments.scenario)
        except BrokerFailed as error:
            print(f"{name}: not run: {error}", file=sys.stderr)
    print(matrix.as_text(list(rows.values()), arguments.scenario))
    if arguments.is_whole:
        matrix.write(list(rows.values()), SCENARIOS, ROOT / "docs")
    cells = [cell for row in rows.values() for by_name in row.cells.values() for cell in by_name.values()]
    is_bad = any(cell.outcome == FAILED and cell.broker != "rabbitmq" for cell in cells)
    return 1 if is_bad or not cells or (arguments.ci and any(row.not_run for row in rows.values())) else 0


def _is_wanted(client: Client, arguments: argparse.Namespace) -> bool:
    if arguments.ci:
        return client.is_in_ci
    return not arguments.client or client.name in arguments.client


def _set_up(client: Client, cache: Path, rows: dict[tuple[str, str], Row]) -> None:
    print(f"{client.name}: setting up", file=sys.stderr, flush=True)
    try:
        client.set_up(cache)
    except NotSetUp as error:
        print(f"{client.name}: not run: {error}", file=sys.stderr)
        for variant in client.variants:
            rows[client.name, variant].not_run = str(error)


def _broker(name: str) -> Broker:
    return Amqpd(*ON_DISK) if name == Amqpd.name else find_broker(name)


def _run_row(row: Row, broker: Broker, scenarios: list[str]) -> None:
    if row.not_run:
        return
    cells = row.cells.setdefault(broker.name, {})
    with Stage(row.client, row.variant, broker, scenarios) as stage:
        row.version = row.version or stage.version()
        for scenario in scenarios:
            cells[scenario] = cell = stage.play(scenario)
            _say(row, broker, scenario, cell)


def _say(row: Row, broker: Broker, scenario: str, cell: Cell) -> None:
    print(f"{broker.name:9} {row.name:24} {scenario:20} {cell.outcome} {cell.seconds:5.1f} s", flush=True)
    if cell.outcome == FAILED:
        print(*(f"    {line}" for line in cell.lines), sep="\n", flush=True)


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
    parser.add_argument("--cache", type=Path, default=CACHE, help=f"where clients are set up ({CACHE})")
    arguments = parser.parse_args()
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
