"""Rows side by side: who has a broker of their own, what is at once, and that nothing is left when it is stopped."""

from pathlib import Path

import pytest

from interop.brokers import Amqpd, BrokerFailed
from interop.drive import FAILED, PASSED, Cell
from interop.lanes import Lane, Race, split_into_lanes
from interop.matrix import Row
from tests.interop.fakes import Recorder, make_client

SCENARIOS = ["connect", "rpc"]


class Reporter:
    """What a race has to tell."""

    def __init__(self) -> None:
        self.told: list[tuple[str, ...]] = []

    def on_cell(self, row: Row, scenario: str, cell: Cell) -> None:
        self.told.append((row.name, scenario, cell.outcome))

    def on_row(self, row: Row, broker: str, seconds: float) -> None:
        self.told.append((row.name, broker))


class Broken(Recorder):
    """Does not start."""

    def start(self) -> None:
        raise BrokerFailed("no memory")


def make_row(program: str, name: str = "fake", **facts: object) -> Row:
    return Row(make_client(program, name=name, **facts), "", cells={"recorder": {}})


def run(tmp_path: Path, *lanes: Lane, reporter: Reporter | None = None) -> list[str]:
    """The complaints."""
    reporter = reporter or Reporter()
    race = Race(SCENARIOS, tmp_path, on_cell=reporter.on_cell, on_row=reporter.on_row)
    race.run(lanes, jobs=2)
    return race.complaints


def test_amqpd_is_started_for_each_row_and_others_once() -> None:
    rows = [make_row("", "a"), make_row("", "b")]
    lanes = split_into_lanes(["amqpd", "rabbitmq", "amqp://elsewhere:1234"], rows)
    shares = [(lane.broker.name, [row.name for row in lane.rows]) for lane in lanes]
    both = ["a", "b"]
    assert shares == [("rabbitmq", both), ("elsewhere:1234", both), ("amqpd", ["a"]), ("amqpd", ["b"])]
    assert list(rows[0].cells) == ["recorder", "amqpd", "rabbitmq", "elsewhere:1234"]
    assert isinstance(lanes[2].broker, Amqpd)
    assert lanes[2].broker is not lanes[3].broker


def test_rows_of_a_lane_take_turns(tmp_path: Path) -> None:
    reporter = Reporter()
    row, other = make_row("sys.exit(sys.argv[1] == 'rpc')", "a"), make_row("print('version 2')", "b")
    assert run(tmp_path, Lane(Recorder(), [row, other]), reporter=reporter) == []
    assert reporter.told == [
        ("a", "connect", PASSED),
        ("a", "rpc", FAILED),
        ("a", "recorder"),
        ("b", "connect", PASSED),
        ("b", "rpc", PASSED),
        ("b", "recorder"),
    ]
    assert (row.version, other.version) == ("unknown", "2")
    assert [cell.outcome for cell in row.cells["recorder"].values()] == [PASSED, FAILED]


def test_lanes_run_at_once(tmp_path: Path) -> None:
    """Each driver waits for a file that the other makes."""
    first, second = tmp_path / "first", tmp_path / "second"
    meet = (
        "import pathlib, time\nif sys.argv[1] == 'rpc':\n"
        " pathlib.Path({mine!r}).touch()\n while not os.path.exists({other!r}): time.sleep(0.01)"
    )
    rows = [
        make_row(meet.format(mine=str(first), other=str(second)), "a"),
        make_row(meet.format(mine=str(second), other=str(first)), "b"),
    ]
    assert run(tmp_path, *(Lane(Recorder(), [row]) for row in rows)) == []
    assert [cell.outcome for row in rows for cell in row.cells["recorder"].values()] == [PASSED] * 4


def test_a_client_that_cannot_be_set_up_is_not_run(tmp_path: Path) -> None:
    missing, there = make_row("", "a", needs=["no-such-program"]), make_row("", "b")
    broker = Recorder()
    assert run(tmp_path, Lane(broker, [missing]), Lane(Recorder(), [missing, there])) == []
    assert "needs no-such-program" in missing.not_run
    assert broker.told == [], "started for nobody"
    assert missing.cells == {"recorder": {}}
    assert list(there.cells["recorder"]) == SCENARIOS


def test_a_broker_that_does_not_start_is_complained_of(tmp_path: Path) -> None:
    row = make_row("")
    assert run(tmp_path, Lane(Broken(), [make_row("", "a")]), Lane(Recorder(), [row])) == [
        "recorder: not run: no memory"
    ]
    assert list(row.cells["recorder"]) == SCENARIOS


def test_stopped_in_the_middle_it_leaves_nothing(tmp_path: Path) -> None:
    """What is raised in one lane ends the driver of another, which would hang, and its broker."""

    class Impatient(Reporter):
        def on_cell(self, row: Row, scenario: str, cell: Cell) -> None:
            raise KeyboardInterrupt

    hanging = Recorder()
    rows = [make_row("input()", "a"), make_row("", "b")]
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, Lane(Recorder(), [rows[1]]), Lane(hanging, [rows[0]]), reporter=Impatient())
    assert hanging.told in ([("stop",)], [])
