"""Rows side by side, as many as there are jobs: a lane is a broker, and the rows that take turns at it.

What a scenario does to its broker (kill it, freeze it, raise an alarm) is felt by all who share it. amqpd starts in
half a second, so each row has one of its own. A RabbitMQ node takes a quarter of a minute, and somebody else's broker
is there once: all rows are one lane.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from interop.brokers import Amqpd, Broker, BrokerFailed, find_broker
from interop.client import Client, NotSetUp
from interop.drive import Cell, Stage
from interop.matrix import Row

ON_DISK = ("--data-dir", "{directory}/data", "--control-socket", "{directory}/control.sock")


@dataclass(frozen=True, slots=True)
class Lane:
    """A broker, not started yet, and the rows that take turns at it."""

    broker: Broker
    rows: Sequence[Row]


def split_into_lanes(names: Sequence[str], rows: Sequence[Row]) -> list[Lane]:
    """For brokers of these names or URLs, the longest lanes first."""
    lanes: list[Lane] = []
    for name in names:
        if name == Amqpd.name:
            lanes += [Lane(Amqpd(*ON_DISK), [row]) for row in rows]
        else:
            lanes.append(Lane(find_broker(name), rows))
    for lane in lanes:
        for row in lane.rows:
            row.cells.setdefault(lane.broker.name, {})  # in this order, whoever is done first
    return sorted(lanes, key=lambda lane: -len(lane.rows))


class Race:
    """Sets clients up and runs lanes, so many at once; ``complaints`` are of brokers that did not run.

    ``on_cell`` and ``on_row`` are called from the threads of the lanes, with what has just been found out.
    """

    def __init__(
        self,
        scenarios: Sequence[str],
        cache: Path,
        *,
        on_cell: Callable[[Row, str, Cell], None],
        on_row: Callable[[Row, str, float], None],
    ) -> None:
        self.complaints: list[str] = []
        self._scenarios = list(scenarios)
        self._cache = cache
        self._on_cell = on_cell
        self._on_row = on_row
        self._stopping = threading.Event()  # somebody does not want to wait for the rest
        self._set_up: dict[str, Future[str]] = {}  # by client: why it cannot be set up, or nothing

    def run(self, lanes: Sequence[Lane], jobs: int) -> None:
        """Until all is done. Whatever is raised meanwhile, drivers and brokers have ended when it leaves."""
        clients = {row.client.name: row.client for lane in lanes for row in lane.rows}
        with ThreadPoolExecutor(jobs) as pool:
            try:
                # First in the queue: no lane can wait for a client that waits for a thread.
                self._set_up = {name: pool.submit(self._prepare, client) for name, client in clients.items()}
                for done in [pool.submit(self._run_lane, lane) for lane in lanes]:
                    done.result()
            except BaseException:
                self._stopping.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _prepare(self, client: Client) -> str:
        try:
            client.set_up(self._cache)
        except NotSetUp as error:
            return str(error)
        return ""

    def _run_lane(self, lane: Lane) -> None:
        rows = list(self._those_set_up(lane.rows))
        if not rows:
            return
        try:
            with lane.broker as broker:
                for row in rows:
                    self._run_row(row, broker)
        except BrokerFailed as error:
            self.complaints.append(f"{lane.broker.name}: not run: {error}")

    def _those_set_up(self, rows: Sequence[Row]) -> Iterator[Row]:
        for row in rows:
            row.not_run = self._set_up[row.client.name].result()
            if not row.not_run:
                yield row

    def _run_row(self, row: Row, broker: Broker) -> None:
        since = time.monotonic()
        cells = row.cells[broker.name]
        with Stage(row.client, row.variant, broker, self._scenarios, stopping=self._stopping) as stage:
            row.version = row.version or stage.version()
            for scenario in self._scenarios:
                cell = stage.play(scenario)
                if self._stopping.is_set():
                    return
                cells[scenario] = cell
                self._on_cell(row, scenario, cell)
        self._on_row(row, broker.name, time.monotonic() - since)
